//! The class `PQ`.
#![allow(non_snake_case, reason = "Q is the name of the argument in Python")]

use std::path::PathBuf;

use counterpoint_core::vectors::MAX_DIM;
use counterpoint_pq::Parameters;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::files;
use crate::index::Index;
use crate::made::Made;
use crate::scalars::{self, Given};
use crate::search::Steering;

/// Product quantisation: each vector as the numbers of the nearest centroids of its parts, scanned by look-ups.
///
/// A vector is cut into `subspaces` parts of consecutive dimensions. For each, `fit` learns 256 or 16 centroids by k-means,
/// and a vector is stored as the number of the nearest one: `subspaces` bytes at 8 bits, half of that at 4. Few bytes find
/// roughly; with `keep` the best candidates are scored again.
///
/// Parameters
/// ----------
/// metric : {"l2", "ip", "cosine"}
///     What a distance is; see `Index`.
/// subspaces : int, optional
///     Parts of a vector, at least 1; more than it has dimensions are as many as it has dimensions. By default a part has 8
///     dimensions at 8 bits and 4 at 4 bits: one bit a dimension.
/// bits : {8, 4}, default 8
///     256 or 16 centroids a part.
/// keep : {"none", "int8", "f16", "f32"}, default "none"
///     Whether the vectors themselves are kept, and how precisely. If they are, the best candidates of a search
///     are scored again on them, distances are then exact (for the vectors as kept), and `reconstruct`
///     gives them back.
/// seed : int, default 0
///     Of all that is random; 0 to 2**64 - 1.
///
/// Notes
/// -----
/// The method is that of H. Jégou, M. Douze, C. Schmid: "Product quantization for nearest neighbor search", IEEE PAMI 33
/// (1), 2011.
///
/// Examples
/// --------
/// >>> import counterpoint as cp
/// >>> index = cp.PQ("l2", subspaces=2, keep="f16").fit([[0.0, 0.0], [3.0, 4.0], [1.0, 0.0]])
/// >>> ids, distances = index.search([0.9, 0.0], k=2, rerank=3)
/// >>> ids.tolist()
/// [2, 0]
#[pyclass(frozen, extends = Index, name = "PQ", module = "counterpoint")]
pub(crate) struct Pq;

#[pymethods]
impl Pq {
    #[new]
    #[pyo3(
        signature = (metric, subspaces=None, bits=Given(None), keep=Given(None), seed=Given(None)),
        text_signature = "(metric, subspaces=None, bits=8, keep=\"none\", seed=0)"
    )]
    fn new(
        metric: &Bound<'_, PyAny>,
        subspaces: Option<&Bound<'_, PyAny>>,
        bits: Given<'_>,
        keep: Given<'_>,
        seed: Given<'_>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let metric = scalars::named("metric", metric)?;
        let mut parameters = Parameters::default();
        if let Some(subspaces) = subspaces {
            parameters.subspaces = Some(scalars::within("subspaces", 1..=MAX_DIM, subspaces)?);
        }
        if let Some(bits) = bits.0 {
            parameters.bits = scalars::code_bits("bits", &bits)?;
        }
        if let Some(keep) = keep.0 {
            parameters.keep = scalars::named("keep", &keep)?;
        }
        if let Some(seed) = seed.0 {
            parameters.seed = scalars::within("seed", 0..=u64::MAX, &seed)?;
        }
        let index = counterpoint_pq::new(metric, parameters)
            .ok_or_else(|| PyValueError::new_err("subspaces: expected at least 1"))?;
        let index = Index::new(Box::new(index), Made::Pq(parameters), None);
        Ok(PyClassInitializer::from(index).add_subclass(Self))
    }

    /// Find the nearest neighbours of each query.
    ///
    /// Parameters
    /// ----------
    /// Q, k, filter, threads, recall
    ///     As for `Index.search`.
    /// rerank : int, optional
    ///     How many candidates are scored exactly on the kept vectors; at least k are, 0 is for none. By default 20 k
    ///     where vectors are kept, at least k + 50, else none.
    ///
    /// Returns
    /// -------
    /// Result
    ///     As for `Index.search`. Distances are those of what the codes stand for, or exact where re-ranked.
    ///
    /// Raises
    /// ------
    /// ValueError, TypeError
    ///     As for `Index.search`; also rerank > 0 where no vectors are kept.
    #[pyo3(
        signature = (Q, k=Given(None), *, filter=None, threads=None, recall=None, rerank=None),
        text_signature = "($self, Q, k=10, *, filter=None, threads=None, recall=None, rerank=None)"
    )]
    fn search<'py>(
        slf: &Bound<'py, Self>,
        Q: &Bound<'py, PyAny>,
        k: Given<'py>,
        filter: Option<&Bound<'py, PyAny>>,
        threads: Option<&Bound<'py, PyAny>>,
        recall: Option<&Bound<'py, PyAny>>,
        rerank: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let steering = Steering { filter, threads, recall, rerank, ..Steering::default() };
        slf.as_super().get().find(slf.py(), Q, &k, steering)
    }

    /// Parts of a vector, as asked for; None for the default.
    #[getter]
    fn subspaces(slf: &Bound<'_, Self>) -> Option<usize> {
        constructed(slf).subspaces
    }

    /// Bits of a part's code: 8 or 4.
    #[getter]
    fn bits(slf: &Bound<'_, Self>) -> usize {
        constructed(slf).bits.width()
    }

    /// How vectors are kept: "none", "int8", "f16" or "f32".
    #[getter]
    fn keep(slf: &Bound<'_, Self>) -> &'static str {
        constructed(slf).keep.name()
    }

    /// Of all that is random.
    #[getter]
    fn seed(slf: &Bound<'_, Self>) -> u64 {
        constructed(slf).seed
    }

    /// Load a PQ index from a file; see `counterpoint.load`. Another method's file is a FormatError.
    #[staticmethod]
    #[pyo3(signature = (path, *, mmap=false, verify=true))]
    fn load(py: Python<'_>, path: PathBuf, mmap: bool, verify: bool) -> PyResult<Bound<'_, PyAny>> {
        files::open(py, &path, mmap, verify, Some("PQ"))
    }

    /// Load a PQ index from the bytes of a file. Another method's are a FormatError.
    #[staticmethod]
    fn from_bytes<'py>(py: Python<'py>, data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        files::read(py, data, Some("PQ"))
    }
}

fn constructed(slf: &Bound<'_, Pq>) -> Parameters {
    match slf.as_super().get().made() {
        Made::Pq(parameters) => parameters,
        _ => Parameters::default(), // no PQ object is made so
    }
}
