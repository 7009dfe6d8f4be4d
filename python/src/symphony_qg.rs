//! The class `SymphonyQG`.
#![allow(non_snake_case, reason = "Q is the name of the argument in Python")]

use std::path::PathBuf;

use counterpoint_core::vectors::Keep;
use counterpoint_symphony_qg::{MOST_DEGREE, Parameters};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::files;
use crate::index::Index;
use crate::made::Made;
use crate::scalars::{self, Given, at_least};
use crate::search::Steering;

/// SymphonyQG: a graph whose edges carry their own codes.
///
/// Each vector has up to `degree` neighbours, near it and in different directions. Its row holds the vector itself, the
/// ids of its neighbours, and for each of them a code of one bit a dimension of the difference to it. A search goes from the nearest
/// vector it knows to that vector's neighbours, whose distances are estimated from those bits, 32 at once; every vector it
/// stops at is scored exactly, so that nothing is left to re-rank. The same vectors and seed give the same index for
/// any number of threads.
///
/// A vector of d dimensions takes about 4 d + `degree` (d / 8 + 8) bytes, with `keep="f16"` 2 d and with "int8" d in place of
/// 4 d. Distances are those to the vectors as they are kept.
///
/// Parameters
/// ----------
/// metric : {"l2", "ip", "cosine"}
///     What a distance is; see `Index`.
/// degree : int, default 32
///     Neighbours of a vector: a multiple of 32, up to 1,024.
/// ef_construction : int, default 64
///     Candidates of the searches that `fit` refines the graph with, and `add` places vectors with, at least 1.
/// keep : {"f32", "f16", "int8"}, default "f32"
///     How the vectors are kept: exactly, in half precision (values up to 65,504), or in one byte a value with a scale and
///     an offset for each vector, whose distances are near, not exact.
/// seed : int, default 0
///     Of all that is random; 0 to 2**64 - 1.
/// edge_codes : {"rabitq", "pq4"}
///     What the bits are: the sign of each rotated dimension, by default, or for every four dimensions one of 16 centroids
///     that `fit` learns. Codes are as long either way; "pq4" is there for comparison.
///
/// Notes
/// -----
/// The method is that of Y. Gou, J. Gao, Y. Xu, C. Long: "SymphonyQG: towards symphonious integration of quantization and
/// graph for approximate nearest neighbor search", SIGMOD 2025.
///
/// Examples
/// --------
/// >>> import counterpoint as cp
/// >>> index = cp.SymphonyQG("l2").fit([[0.0, 0.0], [3.0, 4.0], [1.0, 0.0]])
/// >>> ids, distances = index.search([0.9, 0.0], k=2, ef=20)
/// >>> ids.tolist()
/// [2, 0]
#[pyclass(frozen, extends = Index, name = "SymphonyQG", module = "counterpoint")]
pub(crate) struct SymphonyQg;

#[pymethods]
impl SymphonyQg {
    #[new]
    #[pyo3(
        signature = (
            metric, degree=Given(None), ef_construction=Given(None), keep=Given(None), seed=Given(None),
            edge_codes=Given(None)
        ),
        text_signature = "(metric, degree=32, ef_construction=64, keep=\"f32\", seed=0, edge_codes=\"rabitq\")"
    )]
    fn new(
        metric: &Bound<'_, PyAny>,
        degree: Given<'_>,
        ef_construction: Given<'_>,
        keep: Given<'_>,
        seed: Given<'_>,
        edge_codes: Given<'_>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let metric = scalars::named("metric", metric)?;
        let mut parameters = Parameters::default();
        if let Some(degree) = degree.0 {
            parameters.degree = scalars::multiple("degree", 32, MOST_DEGREE, &degree)?;
        }
        if let Some(ef) = ef_construction.0 {
            parameters.ef_construction = at_least("ef_construction", 1, &ef)?;
        }
        if let Some(codes) = edge_codes.0 {
            parameters.edge_codes = scalars::named("edge_codes", &codes)?;
        }
        if let Some(keep) = keep.0 {
            parameters.keep = kept(&keep)?;
        }
        if let Some(seed) = seed.0 {
            parameters.seed = scalars::within("seed", 0..=u64::MAX, &seed)?;
        }
        let index = counterpoint_symphony_qg::new(metric, parameters).ok_or_else(|| {
            PyValueError::new_err(format!("degree: expected a multiple of 32, got {}", parameters.degree))
        })?;
        let index = Index::new(Box::new(index), Made::SymphonyQg(parameters), None);
        Ok(PyClassInitializer::from(index).add_subclass(Self))
    }

    /// Find the nearest neighbours of each query.
    ///
    /// Parameters
    /// ----------
    /// Q, k, filter, threads, recall
    ///     As for `Index.search`.
    /// ef : int, optional
    ///     How many candidates the search keeps in view, at least 1; fewer than k are k. The more, the more it finds and the
    ///     longer it takes. By default 2 k, at least 100.
    /// rerank : int, optional
    ///     0 for distances as they were estimated. By default every vector that the search stops at is scored as it
    ///     is kept.
    ///
    /// Returns
    /// -------
    /// Result
    ///     As for `Index.search`. Distances are those to the vectors as they are kept, or estimates under rerank=0.
    ///
    /// Raises
    /// ------
    /// ValueError, TypeError
    ///     As for `Index.search`; also ef < 1 and rerank > 0.
    #[pyo3(
        signature = (Q, k=Given(None), *, filter=None, threads=None, recall=None, ef=None, rerank=None),
        text_signature = "($self, Q, k=10, *, filter=None, threads=None, recall=None, ef=None, rerank=None)"
    )]
    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    fn search<'py>(
        slf: &Bound<'py, Self>,
        Q: &Bound<'py, PyAny>,
        k: Given<'py>,
        filter: Option<&Bound<'py, PyAny>>,
        threads: Option<&Bound<'py, PyAny>>,
        recall: Option<&Bound<'py, PyAny>>,
        ef: Option<&Bound<'py, PyAny>>,
        rerank: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let steering = Steering { filter, threads, recall, ef, rerank, ..Steering::default() };
        slf.as_super().get().find(slf.py(), Q, &k, steering)
    }

    /// Neighbours of a vector, at most.
    #[getter]
    fn degree(slf: &Bound<'_, Self>) -> usize {
        constructed(slf).degree
    }

    /// Candidates of the searches that the graph is made with.
    #[getter]
    fn ef_construction(slf: &Bound<'_, Self>) -> usize {
        constructed(slf).ef_construction
    }

    /// How vectors are kept: "f32", "f16" or "int8".
    #[getter]
    fn keep(slf: &Bound<'_, Self>) -> &'static str {
        constructed(slf).keep.name()
    }

    /// What the codes of edges are: "rabitq" or "pq4".
    #[getter]
    fn edge_codes(slf: &Bound<'_, Self>) -> &'static str {
        constructed(slf).edge_codes.name()
    }

    /// Of all that is random.
    #[getter]
    fn seed(slf: &Bound<'_, Self>) -> u64 {
        constructed(slf).seed
    }

    /// Load a SymphonyQG index from a file; see `counterpoint.load`. Another method's file is a FormatError.
    #[staticmethod]
    #[pyo3(signature = (path, *, mmap=false, verify=true))]
    fn load(py: Python<'_>, path: PathBuf, mmap: bool, verify: bool) -> PyResult<Bound<'_, PyAny>> {
        files::open(py, &path, mmap, verify, Some("SymphonyQG"))
    }

    /// Load a SymphonyQG index from the bytes of a file. Another method's are a FormatError.
    #[staticmethod]
    fn from_bytes<'py>(py: Python<'py>, data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        files::read(py, data, Some("SymphonyQG"))
    }
}

/// One of the ways to keep vectors: there is no search without them.
fn kept(given: &Bound<'_, PyAny>) -> PyResult<Keep> {
    match scalars::named("keep", given)? {
        Keep::None => Err(PyValueError::new_err("keep: expected \"int8\", \"f16\" or \"f32\", got \"none\"")),
        keep => Ok(keep),
    }
}

fn constructed(slf: &Bound<'_, SymphonyQg>) -> Parameters {
    match slf.as_super().get().made() {
        Made::SymphonyQg(parameters) => parameters,
        _ => Parameters::default(), // no SymphonyQG object is made so
    }
}
