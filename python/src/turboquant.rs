//! The class `TurboQuant`.
#![allow(non_snake_case, reason = "Q is the name of the argument in Python")]

use std::path::PathBuf;

use counterpoint_core::vectors::Keep;
use counterpoint_turboquant::{Allocation, Center, Parameters};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::files;
use crate::index::Index;
use crate::made::Made;
use crate::scalars::{self, Given};
use crate::search::Steering;

const DEFAULTS: Parameters =
    Parameters { bits: 4, allocation: Allocation::Even, center: Center::Mean, keep: Keep::None, seed: 0 };

/// TurboQuant: 1 to 4 bits per dimension by a random rotation and a fixed codebook, without training.
///
/// Rotated, the coordinates of any vector look like those of a random one, so one codebook suits all data. A search
/// reads one bit per dimension of every vector, and the others of those that may be among the nearest. Distances are
/// unbiased estimates. Codes are the same on every processor and for any number of threads.
///
/// `add` needs no `fit`: vectors are then coded as they are, whatever came before, so that any number of machines
/// make the same codes. `fit` learns the centre, which codes are then differences from: better on most data.
///
/// A vector takes `bits` / 8 bytes per dimension (rounded up to a multiple of 32 dimensions), and 8 to 10 bytes.
///
/// Parameters
/// ----------
/// metric : {"l2", "ip", "cosine"}
///     What a distance is; see `Index`.
/// bits : {1, 2, 3, 4}, default 4
///     Bits per dimension.
/// allocation : {"even", "fitted"}, default "even"
///     Where the bits go: the same number to every dimension, or more where the vectors given to `fit` vary more, the
///     same number in all. "fitted" is refused by `add` before `fit`.
/// center : {"mean", "none"}, default "mean"
///     What codes are differences from: the mean of the vectors given to `fit`, or nothing.
/// keep : {"none", "int8", "f16", "f32"}, default "none"
///     Whether the vectors themselves are kept, and how precisely. If they are, the best candidates of a search
///     are scored again on them, distances are then exact (for the vectors as kept), and `reconstruct`
///     gives them back.
/// seed : int, default 0
///     Of the rotation; 0 to 2**64 - 1.
///
/// Notes
/// -----
/// The method is that of A. Zandieh, M. Daliri, M. Hadian, V. Mirrokni: "TurboQuant: online vector quantization with
/// near-optimal distortion rate", ICLR 2026, algorithm 1.
///
/// Examples
/// --------
/// >>> import counterpoint as cp
/// >>> index = cp.TurboQuant("l2", bits=4, keep="f16")
/// >>> index.add([[0.0, 0.0], [3.0, 4.0], [1.0, 0.0]]).tolist()
/// [0, 1, 2]
/// >>> ids, distances = index.search([0.9, 0.0], k=2, rerank=3)
/// >>> ids.tolist()
/// [2, 0]
#[pyclass(frozen, extends = Index, name = "TurboQuant", module = "counterpoint")]
pub(crate) struct TurboQuant;

#[pymethods]
impl TurboQuant {
    #[new]
    #[pyo3(
        signature = (
            metric, bits=Given(None), allocation=Given(None), center=Given(None), keep=Given(None), seed=Given(None)
        ),
        text_signature = "(metric, bits=4, allocation=\"even\", center=\"mean\", keep=\"none\", seed=0)"
    )]
    fn new(
        metric: &Bound<'_, PyAny>,
        bits: Given<'_>,
        allocation: Given<'_>,
        center: Given<'_>,
        keep: Given<'_>,
        seed: Given<'_>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let metric = scalars::named("metric", metric)?;
        let mut parameters = DEFAULTS;
        if let Some(bits) = bits.0 {
            parameters.bits = scalars::within("bits", 1..=4, &bits)?;
        }
        if let Some(allocation) = allocation.0 {
            parameters.allocation = scalars::named("allocation", &allocation)?;
        }
        if let Some(center) = center.0 {
            parameters.center = scalars::named("center", &center)?;
        }
        if let Some(keep) = keep.0 {
            parameters.keep = scalars::named("keep", &keep)?;
        }
        if let Some(seed) = seed.0 {
            parameters.seed = scalars::within("seed", 0..=u64::MAX, &seed)?;
        }
        let index = counterpoint_turboquant::new(metric, parameters).ok_or_else(|| {
            PyValueError::new_err(format!("bits: expected 1 to 4, got {}", parameters.bits))
        })?;
        let index = Index::new(Box::new(index), Made::TurboQuant(parameters), None);
        Ok(PyClassInitializer::from(index).add_subclass(Self))
    }

    /// Find the nearest neighbours of each query.
    ///
    /// Parameters
    /// ----------
    /// Q, k, filter, threads, recall
    ///     As for `Index.search`.
    /// rerank : int, optional
    ///     How many candidates are scored exactly on the kept vectors; at least k are, 0 is for none. By default, where
    ///     vectors are kept, 2 k (for 4 bits) to 12 k + 20 (for 1 bit), else none.
    /// exact_scan : bool, default False
    ///     Whether every vector is scored by all its bits: slow, and what the search in stages is measured against.
    ///     The two differ in about one of a thousand neighbours.
    ///
    /// Returns
    /// -------
    /// Result
    ///     As for `Index.search`. Distances are estimates, or exact where re-ranked.
    ///
    /// Raises
    /// ------
    /// ValueError, TypeError
    ///     As for `Index.search`; also rerank > 0 where no vectors are kept.
    #[pyo3(
        signature = (Q, k=Given(None), *, filter=None, threads=None, recall=None, rerank=None, exact_scan=Given(None)),
        text_signature = "($self, Q, k=10, *, filter=None, threads=None, recall=None, rerank=None, exact_scan=False)"
    )]
    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    fn search<'py>(
        slf: &Bound<'py, Self>,
        Q: &Bound<'py, PyAny>,
        k: Given<'py>,
        filter: Option<&Bound<'py, PyAny>>,
        threads: Option<&Bound<'py, PyAny>>,
        recall: Option<&Bound<'py, PyAny>>,
        rerank: Option<&Bound<'py, PyAny>>,
        exact_scan: Given<'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let exact_scan = exact_scan.0.map(|flag| scalars::flag("exact_scan", &flag)).transpose()?;
        let steering = Steering { filter, threads, recall, rerank, exact_scan, ..Steering::default() };
        slf.as_super().get().find(slf.py(), Q, &k, steering)
    }

    /// Bits per dimension: 1 to 4.
    #[getter]
    fn bits(slf: &Bound<'_, Self>) -> u32 {
        constructed(slf).bits
    }

    /// Where the bits go: "even" or "fitted".
    #[getter]
    fn allocation(slf: &Bound<'_, Self>) -> &'static str {
        constructed(slf).allocation.name()
    }

    /// What codes are differences from: "mean" or "none".
    #[getter]
    fn center(slf: &Bound<'_, Self>) -> &'static str {
        constructed(slf).center.name()
    }

    /// How vectors are kept: "none", "int8", "f16" or "f32".
    #[getter]
    fn keep(slf: &Bound<'_, Self>) -> &'static str {
        constructed(slf).keep.name()
    }

    /// Of the rotation.
    #[getter]
    fn seed(slf: &Bound<'_, Self>) -> u64 {
        constructed(slf).seed
    }

    /// Load a TurboQuant index from a file; see `counterpoint.load`. Another method's file is a FormatError.
    #[staticmethod]
    #[pyo3(signature = (path, *, mmap=false, verify=true))]
    fn load(py: Python<'_>, path: PathBuf, mmap: bool, verify: bool) -> PyResult<Bound<'_, PyAny>> {
        files::open(py, &path, mmap, verify, Some("TurboQuant"))
    }

    /// Load a TurboQuant index from the bytes of a file. Another method's are a FormatError.
    #[staticmethod]
    fn from_bytes<'py>(py: Python<'py>, data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        files::read(py, data, Some("TurboQuant"))
    }
}

fn constructed(slf: &Bound<'_, TurboQuant>) -> Parameters {
    match slf.as_super().get().made() {
        Made::TurboQuant(parameters) => parameters,
        _ => DEFAULTS, // no TurboQuant object is made so
    }
}
