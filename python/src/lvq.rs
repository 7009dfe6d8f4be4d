//! The class `LVQ`.
#![allow(non_snake_case, reason = "Q is the name of the argument in Python")]

use std::path::PathBuf;

use counterpoint_core::simd::int8::Bits;
use counterpoint_core::vectors::Keep;
use counterpoint_lvq::Levels;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::enter::{Call, enter};
use crate::files::{self, Loaded};
use crate::index::Index;
use crate::made::Made;
use crate::scalars::{self, Given};
use crate::search::Steering;

/// Locally-adaptive vector quantisation: each vector in 4 or 8 bits per dimension, scanned by integer kernels.
///
/// Around the mean of the data, each vector is rounded to a grid between its own least and largest value. A residual
/// code may follow, of what the first one leaves: candidates of the first are scored again by both.
/// Codes are the same on every processor and for any number of threads.
///
/// Parameters
/// ----------
/// metric : {"l2", "ip", "cosine"}
///     What a distance is; see `Index`.
/// primary : {4, 8}, default 8
///     Bits per dimension of the codes that are scanned.
/// residual : {0, 4, 8}, default 0
///     Bits per dimension of the residual codes, 0 for none: with primary=4 any, with primary=8 0 or 8.
/// keep : {"none", "int8", "f16", "f32"}, default "none"
///     Whether the vectors themselves are kept, and how precisely. If they are, the best candidates of a search
///     are scored again on them, distances are then exact (for the vectors as kept), and `reconstruct`
///     gives them back.
///
/// Notes
/// -----
/// The mean stays that of the first `fit`; `compact` encodes around the mean of the vectors there are, if it has moved
/// and they are kept as "f16" or "f32".
///
/// The method is that of C. Aguerrebere, I. Bhati, M. Hildebrand, M. Tepper, T. Willke: "Similarity search in
/// the blink of an eye with compressed indices", PVLDB 16 (11), 2023, definitions 1 and 2.
///
/// Examples
/// --------
/// >>> import counterpoint as cp
/// >>> index = cp.LVQ("l2", primary=4, keep="f16").fit([[0.0, 0.0], [3.0, 4.0], [1.0, 0.0]])
/// >>> ids, distances = index.search([0.9, 0.0], k=2, rerank=3)
/// >>> ids.tolist()
/// [2, 0]
#[pyclass(frozen, extends = Index, name = "LVQ", module = "counterpoint")]
pub(crate) struct Lvq;

#[pymethods]
impl Lvq {
    #[new]
    #[pyo3(
        signature = (metric, primary=Given(None), residual=Given(None), keep=Given(None)),
        text_signature = "(metric, primary=8, residual=0, keep=\"none\")"
    )]
    fn new(
        metric: &Bound<'_, PyAny>,
        primary: Given<'_>,
        residual: Given<'_>,
        keep: Given<'_>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let metric = scalars::named("metric", metric)?;
        let primary = primary.0.map_or(Ok(Bits::Eight), |primary| scalars::code_bits("primary", &primary))?;
        let residual = residual.0.map_or(Ok(0), |residual| scalars::optional_bits("residual", &residual))?;
        let levels = Levels::new(primary.width(), residual);
        let levels = levels.map_err(|error| PyValueError::new_err(error.to_string()))?;
        let keep = keep.0.map_or(Ok(Keep::None), |keep| scalars::named("keep", &keep))?;
        let made = Made::Lvq { levels, keep };
        let index = Index::new(Box::new(counterpoint_lvq::new(metric, levels, keep)), made, None);
        Ok(PyClassInitializer::from(index).add_subclass(Self))
    }

    /// Find the nearest neighbours of each query.
    ///
    /// Parameters
    /// ----------
    /// Q, k, filter, threads, recall
    ///     As for `Index.search`.
    /// rerank : int, optional
    ///     How many candidates are scored again by the best there is: exactly on the kept vectors, or, where none are
    ///     kept, by both codes. At least k are, 0 is for none. By default a few more than k. (Where there are both, the
    ///     residual codes choose the candidates for the vectors.)
    ///
    /// Returns
    /// -------
    /// Result
    ///     As for `Index.search`. Distances are estimates, or exact where scored on kept vectors.
    ///
    /// Raises
    /// ------
    /// ValueError, TypeError
    ///     As for `Index.search`; also rerank > 0 where there are neither kept vectors nor residual codes.
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

    /// The same index without its residual codes.
    ///
    /// To the byte what an index made without them would be, if not tuned. Of a mapped file (`load` with mmap=True,
    /// verify=False) the residual codes are never read; else the other codes are copied.
    ///
    /// Returns
    /// -------
    /// LVQ
    ///     Another index; a copy if this one has no residual codes.
    ///
    /// Examples
    /// --------
    /// >>> import counterpoint as cp
    /// >>> index = cp.LVQ("l2", primary=4, residual=8).fit([[0.0, 0.0], [3.0, 4.0], [1.0, 0.0]])
    /// >>> index.without_residual()
    /// <LVQ("l2", primary=4, keep="none"): 3 vectors of dimension 2>
    fn without_residual<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let this = slf.as_super().get();
        let (levels, keep) = constructed(slf);
        let (index, map) = enter(slf.py(), &Call::watched(1)?, None, |call| {
            this.shared.read(call, |state| {
                let index = state.index();
                (index.without_residual().unwrap_or_else(|| index.boxed_clone()), state.map.clone())
            })
        })?;
        let made = Made::Lvq { levels: levels.without_residual(), keep };
        Index::wrap(slf.py(), Loaded { index, made, map })
    }

    /// Bits per dimension of the codes that are scanned: 4 or 8.
    #[getter]
    fn primary(slf: &Bound<'_, Self>) -> usize {
        constructed(slf).0.primary().width()
    }

    /// Bits per dimension of the residual codes: 4 or 8, or 0 for none.
    #[getter]
    fn residual(slf: &Bound<'_, Self>) -> usize {
        constructed(slf).0.residual().map_or(0, Bits::width)
    }

    /// How vectors are kept: "none", "int8", "f16" or "f32".
    #[getter]
    fn keep(slf: &Bound<'_, Self>) -> &'static str {
        constructed(slf).1.name()
    }

    /// Load an LVQ index from a file; see `counterpoint.load`. Another method's file is a FormatError.
    #[staticmethod]
    #[pyo3(signature = (path, *, mmap=false, verify=true))]
    fn load(py: Python<'_>, path: PathBuf, mmap: bool, verify: bool) -> PyResult<Bound<'_, PyAny>> {
        files::open(py, &path, mmap, verify, Some("LVQ"))
    }

    /// Load an LVQ index from the bytes of a file. Another method's are a FormatError.
    #[staticmethod]
    fn from_bytes<'py>(py: Python<'py>, data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        files::read(py, data, Some("LVQ"))
    }
}

fn constructed(slf: &Bound<'_, Lvq>) -> (Levels, Keep) {
    match slf.as_super().get().made() {
        Made::Lvq { levels, keep } => (levels, keep),
        _ => (Bits::Eight.into(), Keep::None), // no LVQ object is made so
    }
}
