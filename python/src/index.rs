//! The class `Index`: the verbs all methods share.
#![allow(non_snake_case, reason = "X and Q are the names of the arguments in Python")]

use std::path::PathBuf;
use std::sync::Arc;

use counterpoint_core::file::Map;
use counterpoint_core::metric::Metric;
use counterpoint_core::vectors::RowSource;
use numpy::PyArray1;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};

use crate::arrays;
use crate::enter::{Call, LONG_BUILD, Progress, enter};
use crate::files::{self, Loaded};
use crate::flat::Flat;
use crate::ids;
use crate::lorann::Lorann;
use crate::lvq::Lvq;
use crate::made::Made;
use crate::pq::Pq;
use crate::result;
use crate::rvq::Rvq;
use crate::scalars::{Given, threads};
use crate::search::Steering;
use crate::shared::{AnyIndex, Shared};
use crate::symphony_qg::SymphonyQg;
use crate::tune::Tuning;
use crate::turboquant::TurboQuant;

/// Vectors, searched by distance: what Flat, LVQ and all other methods share.
///
/// Not to be constructed: make one of its subclasses, or `counterpoint.load` a file.
///
/// Notes
/// -----
/// **Distances.** Smaller is nearer. "l2" gives squared Euclidean distances, "ip" gives -<q, x>, "cosine" gives
/// 1 - cos, between 0 and 2.
///
/// **Vectors.** Arrays of float32, float64, float16, int8 or uint8 with any strides, anything with `__array__`, and
/// lists of numbers; they are read as float32. NaN, infinities, magnitudes above 1e15 and, under cosine, zero vectors
/// are rejected.
/// Large arrays are not copied but read in place while the GIL is released: do not write to them meanwhile.
///
/// **Ids.** 64-bit integers, given or counted up from 0, never reused.
///
/// **Errors.** A rejected, failed or cancelled call leaves the index as it was. ValueError and TypeError name
/// the argument, what was expected and what came; ids that the index does not have are a KeyError.
///
/// **Threads.** Any number of threads may use an index at once; searches run side by side, and go on while `fit`
/// works. The GIL is released. Ctrl-C stops a long fit, add, search, save or load; the index, and a file that was to be
/// replaced, are then as they were.
/// After a fork the child has a copy that works, unless another thread was changing the index at that moment.
#[pyclass(frozen, subclass, module = "counterpoint")]
pub(crate) struct Index {
    pub(crate) shared: Shared,
    method: &'static str,
    metric: Metric,
    made: Made,
}

impl Index {
    pub(crate) fn new(index: Box<AnyIndex>, made: Made, map: Option<Arc<Map>>) -> Self {
        let (method, metric) = (index.method(), index.metric());
        Self { shared: Shared::new(index, map), method, metric, made }
    }

    /// An object of the subclass for what was loaded.
    pub(crate) fn wrap(py: Python<'_>, loaded: Loaded) -> PyResult<Bound<'_, PyAny>> {
        let Loaded { index, made, map } = loaded;
        let base = PyClassInitializer::from(Self::new(index, made, map));
        Ok(match made {
            Made::Flat => Bound::new(py, base.add_subclass(Flat))?.into_any(),
            Made::Lorann(_) => Bound::new(py, base.add_subclass(Lorann))?.into_any(),
            Made::Pq(_) => Bound::new(py, base.add_subclass(Pq))?.into_any(),
            Made::Rvq(_) => Bound::new(py, base.add_subclass(Rvq))?.into_any(),
            Made::Lvq { .. } | Made::LvqGraph(_) => Bound::new(py, base.add_subclass(Lvq))?.into_any(),
            Made::SymphonyQg(_) => Bound::new(py, base.add_subclass(SymphonyQg))?.into_any(),
            Made::TurboQuant(_) => Bound::new(py, base.add_subclass(TurboQuant))?.into_any(),
        })
    }

    pub(crate) fn made(&self) -> Made {
        self.made
    }

    /// Looks at the index; any thread may have it meanwhile.
    fn look<T: Send>(&self, py: Python<'_>, look: impl Fn(&AnyIndex) -> T + Send + Sync) -> PyResult<T> {
        if let Some(seen) = self.shared.glance(|state| look(state.index())) {
            return Ok(seen);
        }
        let call = Call::short(1)?;
        enter(py, &call, None, |call| self.shared.read(call, |state| look(state.index())))
    }

    /// The call of something that reads `values` values and is watched from `long` on, or if it must wait.
    fn call(&self, threads: usize, values: usize, long: usize, progress: bool) -> PyResult<Call> {
        let busy = || self.shared.glance(|_| ()).is_none();
        if progress || values >= long || busy() { Call::watched(threads) } else { Call::short(threads) }
    }
}

#[pymethods]
impl Index {
    /// Replace all vectors: learn what the method learns from data, then encode them.
    ///
    /// Parameters
    /// ----------
    /// X : array_like, shape (n, d)
    ///     The vectors; 1 to 65,536 dimensions. Under "cosine" they are scaled to unit length.
    /// ids : array_like of int, shape (n,), optional
    ///     Distinct ids. By default 0, 1, 2, ...
    /// threads : int, optional
    ///     At most this many threads, at least 1. By default all processors.
    /// progress : callable, optional
    ///     Called now and then, and once at the end, as progress(done, total), in vectors. If it raises, the
    ///     work stops, the index stays as it was, and the exception is raised (out of the last call, after the
    ///     work, it is only raised).
    ///
    /// Returns
    /// -------
    /// Index
    ///     This index.
    ///
    /// Raises
    /// ------
    /// ValueError
    ///     Wrong shape, values that cannot be indexed (named by row and column), repeated ids, threads < 1.
    /// TypeError
    ///     An array of another dtype, ids that are not integers.
    #[pyo3(signature = (X, ids=None, *, threads=None, progress=None))]
    fn fit<'py>(
        slf: &Bound<'py, Self>,
        X: &Bound<'py, PyAny>,
        ids: Option<&Bound<'py, PyAny>>,
        threads: Option<&Bound<'py, PyAny>>,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Self>> {
        let this = slf.get();
        let vectors = arrays::data(X)?;
        let ids = ids::listed(ids)?;
        let threads = self::threads(threads)?;
        let rows = vectors.rows()?;
        let progress = Progress::new(progress, rows.len())?;
        let call = this.call(threads, rows.values(), LONG_BUILD, progress.is_some())?;
        enter(slf.py(), &call, progress.as_ref(), |call| {
            let mut fresh = this.shared.read(call, |state| state.index().blank())?;
            fresh.fit(&rows, ids.as_deref(), &call.control)?;
            this.shared.replace(call, fresh)
        })?;
        Ok(slf.clone())
    }

    /// Add vectors under new ids. An index that was never fitted is fitted on them, except a
    /// TurboQuant, which needs no fit.
    ///
    /// Parameters
    /// ----------
    /// X : array_like, shape (m, d)
    ///     The vectors.
    /// ids : array_like of int, shape (m,), optional
    ///     Distinct ids that the index does not have. By default counted up from the largest ever given.
    /// threads, progress
    ///     As for `fit`.
    ///
    /// Returns
    /// -------
    /// ndarray of int64, shape (m,)
    ///     The ids of the vectors.
    ///
    /// Raises
    /// ------
    /// ValueError, TypeError
    ///     As for `fit`; also another dimension than the index's, or an id that it has.
    /// UnsupportedError
    ///     The index must be fitted first (a TurboQuant with allocation="fitted").
    #[pyo3(signature = (X, ids=None, *, threads=None, progress=None))]
    fn add<'py>(
        &self,
        py: Python<'py>,
        X: &Bound<'py, PyAny>,
        ids: Option<&Bound<'py, PyAny>>,
        threads: Option<&Bound<'py, PyAny>>,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyArray1<i64>>> {
        let vectors = arrays::data(X)?;
        let ids = ids::listed(ids)?;
        let threads = self::threads(threads)?;
        let rows = vectors.rows()?;
        let progress = Progress::new(progress, rows.len())?;
        let call = self.call(threads, rows.values(), LONG_BUILD, progress.is_some())?;
        let added = enter(py, &call, progress.as_ref(), |call| {
            Ok(self.shared.write(call, |index| index.add(&rows, ids.as_deref(), &call.control))??)
        })?;
        Ok(PyArray1::from_vec(py, added))
    }

    /// Replace the vectors whose ids the index has, and add the others.
    ///
    /// Parameters
    /// ----------
    /// X : array_like, shape (m, d)
    ///     The vectors.
    /// ids : array_like of int, shape (m,)
    ///     Distinct ids.
    /// threads, progress
    ///     As for `fit`.
    ///
    /// Raises
    /// ------
    /// ValueError, TypeError, UnsupportedError
    ///     As for `add`, but for an id that it has.
    #[pyo3(signature = (X, ids, *, threads=None, progress=None))]
    fn upsert<'py>(
        &self,
        py: Python<'py>,
        X: &Bound<'py, PyAny>,
        ids: &Bound<'py, PyAny>,
        threads: Option<&Bound<'py, PyAny>>,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let vectors = arrays::data(X)?;
        let ids = ids::listed(Some(ids))?.unwrap_or_default();
        let threads = self::threads(threads)?;
        let rows = vectors.rows()?;
        let progress = Progress::new(progress, rows.len())?;
        let call = self.call(threads, rows.values(), LONG_BUILD, progress.is_some())?;
        enter(py, &call, progress.as_ref(), |call| {
            Ok(self.shared.write(call, |index| index.upsert(&rows, &ids, &call.control))??)
        })
    }

    /// Remove vectors.
    ///
    /// Parameters
    /// ----------
    /// ids : int or array_like of int, shape (m,)
    ///     Distinct ids that the index has.
    ///
    /// Raises
    /// ------
    /// KeyError
    ///     An id that the index does not have.
    /// ValueError
    ///     An id given twice.
    fn remove(&self, py: Python<'_>, ids: &Bound<'_, PyAny>) -> PyResult<()> {
        let (ids, _) = ids::ids(ids)?;
        let call = self.call(1, ids.len(), LONG_BUILD, false)?;
        enter(py, &call, None, |call| Ok(self.shared.write(call, |index| index.remove(&ids))??))
    }

    /// Find the nearest neighbours of each query.
    ///
    /// Parameters
    /// ----------
    /// Q : array_like, shape (nq, d) or (d,)
    ///     The queries, or a single one.
    /// k : int, default 10
    ///     How many neighbours, at least 1; more than there are is legal.
    /// filter : optional
    ///     Which vectors may be found:
    ///
    ///     - a 1-D array or list of integers: those with these ids; unknown ones are ignored;
    ///     - a 1-D boolean array or list: those flagged, in the order of `Index.ids`;
    ///     - a 2-D boolean array of shape (nq, n): one such mask for each query;
    ///     - a list or tuple of these, or None for all, one for each query. It is read so if its first entry is
    ///       None or array-like; [3, 5] are two ids, [] allows nothing.
    /// threads : int, optional
    ///     At most this many threads, at least 1. By default all processors. Results do not depend on it.
    /// recall : float, optional
    ///     Use the cheapest knobs that reached it when `tune` measured this k or a larger one (without a filter). Exact
    ///     methods reach any recall and need no tuning.
    ///
    /// Returns
    /// -------
    /// Result
    ///     A named tuple (ids, distances): int64 and float32 of shape (nq, min(k, vectors allowed)), or without
    ///     nq for a single query; nearest first, ties in the order of rows. With one filter for each query, rows that
    ///     allow fewer vectors than others end in id -1 at distance inf.
    ///
    /// Raises
    /// ------
    /// ValueError
    ///     Wrong shape or dimension, values that cannot be searched for, k < 1, a mask of the wrong length; a
    ///     recall that no point of `tune` reaches, for which there are no points, or beside a knob.
    /// TypeError
    ///     An array of another dtype, k that is not an int.
    #[pyo3(
        signature = (Q, k=Given(None), *, filter=None, threads=None, recall=None),
        text_signature = "($self, Q, k=10, *, filter=None, threads=None, recall=None)"
    )]
    fn search<'py>(
        &self,
        py: Python<'py>,
        Q: &Bound<'py, PyAny>,
        k: Given<'py>,
        filter: Option<&Bound<'py, PyAny>>,
        threads: Option<&Bound<'py, PyAny>>,
        recall: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.find(py, Q, &k, Steering { filter, threads, recall, ..Steering::default() })
    }

    /// Measure recall and speed over the method's knobs, and store the best settings for `search(recall=...)`.
    ///
    /// They hold for k and below. `add`, `upsert` and `remove` keep them (approximate, then), files, pickles and copies
    /// too; `fit` drops them. `stats` shows them.
    ///
    /// Parameters
    /// ----------
    /// Q : array_like, shape (nq, d) or (d,), optional
    ///     Queries such as will be searched for. By default up to 1,000 stored vectors, each without itself as a neighbour.
    /// X : array_like, shape (n, d), optional
    ///     The vectors, in the order of `Index.ids`, for the true neighbours. By default those kept; needed if none are.
    /// recall : float, default 0.95
    ///     Above 0, at most 1. Larger knobs are tried until one reaches it; that none does is no error.
    /// k : int, default 10
    ///     How many neighbours, at least 1.
    /// threads, progress
    ///     As for `fit`. Threads find the true neighbours; settings are timed on one. Progress is in settings.
    ///
    /// Returns
    /// -------
    /// list of OperatingPoint
    ///     (recall, queries_per_second, knobs), of rising recall and falling speed; the last shows what was reached.
    ///     Recalls are the same each time; which points are best depends on measured time.
    ///
    /// Raises
    /// ------
    /// ValueError, TypeError
    ///     As for `search`; also an X that has not one vector for each id, or none where needed; an index of no
    ///     vectors (without Q, of one).
    /// RuntimeError
    ///     Another thread fitted the index anew meanwhile.
    #[pyo3(
        signature = (Q=None, X=None, recall=Given(None), k=Given(None), *, threads=None, progress=None),
        text_signature = "($self, Q=None, X=None, recall=0.95, k=10, *, threads=None, progress=None)"
    )]
    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    fn tune<'py>(
        &self,
        py: Python<'py>,
        Q: Option<&Bound<'py, PyAny>>,
        X: Option<&Bound<'py, PyAny>>,
        recall: Given<'py>,
        k: Given<'py>,
        threads: Option<&Bound<'py, PyAny>>,
        progress: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        self.measured(py, Tuning { queries: Q, vectors: X, recall, k, threads, progress })
    }

    /// Give vectors back, as well as they are known: exact where kept, else decoded.
    ///
    /// Parameters
    /// ----------
    /// ids : int or array_like of int, shape (m,)
    ///     Ids that the index has; they may repeat.
    ///
    /// Returns
    /// -------
    /// ndarray of float32, shape (m, d), or (d,) for a single id
    ///     The vectors; under "cosine" of unit length.
    ///
    /// Raises
    /// ------
    /// KeyError
    ///     An id that the index does not have.
    fn reconstruct<'py>(&self, py: Python<'py>, ids: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.decoded(py, ids)
    }

    /// Give spare memory back, and do what the method defers.
    fn compact(&self, py: Python<'_>) -> PyResult<()> {
        let call = Call::short(threads(None)?)?;
        enter(py, &call, None, |call| Ok(self.shared.write(call, |index| index.compact(&call.control))??))
    }

    /// Save to a file: whatever happens, there is the old file or the new one.
    ///
    /// Parameters
    /// ----------
    /// path : str or os.PathLike
    ///     Where to; an existing file is replaced, also if this index is mapped from it.
    /// durable : bool, default True
    ///     Wait for the disk, so that the promise holds for a power cut too.
    ///
    /// Raises
    /// ------
    /// OSError
    ///     What the system says, with errno and filename.
    #[pyo3(signature = (path, *, durable=true))]
    fn save(&self, py: Python<'_>, path: PathBuf, durable: bool) -> PyResult<()> {
        files::save(py, &self.shared, &path, durable)
    }

    /// Return the bytes of the file that `save` would write.
    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        files::write(py, &self.shared)
    }

    /// Load an index of any method from a file; see `counterpoint.load`.
    #[staticmethod]
    #[pyo3(signature = (path, *, mmap=false, verify=true))]
    fn load(py: Python<'_>, path: PathBuf, mmap: bool, verify: bool) -> PyResult<Bound<'_, PyAny>> {
        files::open(py, &path, mmap, verify, None)
    }

    /// Load an index of any method from the bytes of a file; see `counterpoint.from_bytes`.
    #[staticmethod]
    fn from_bytes<'py>(py: Python<'py>, data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        files::read(py, data, None)
    }

    /// Check every invariant, and for an index that is mapped from a file every digest of that file again.
    ///
    /// Raises
    /// ------
    /// FormatError
    ///     What does not hold.
    fn verify(&self, py: Python<'_>) -> PyResult<()> {
        files::check(py, &self.shared)
    }

    /// Figures for people: method, metric, n, dim, bytes of each part, bytes_per_vector, tuned, the method's own.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        result::object(py, &self.look(py, |index| index.stats())?)
    }

    /// What the method can do: exact (bool), reconstruct (bool), knobs (the names of its search arguments).
    #[getter]
    fn capabilities<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let capabilities = self.look(py, |index| index.capabilities())?;
        let dict = PyDict::new(py);
        dict.set_item("exact", capabilities.exact)?;
        dict.set_item("reconstruct", capabilities.reconstruct)?;
        let knobs = capabilities.knobs.iter().map(|knob| knob.name.as_str());
        dict.set_item("knobs", PyTuple::new(py, knobs.collect::<Vec<_>>())?)?;
        Ok(dict)
    }

    /// The ids, in the order of rows (which masks follow): int64 of shape (n,).
    #[getter]
    fn ids<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray1<i64>>> {
        Ok(PyArray1::from_vec(py, self.look(py, |index| index.ids().to_vec())?))
    }

    /// The dimension of the vectors; None until there have been any.
    #[getter]
    fn dim(&self, py: Python<'_>) -> PyResult<Option<usize>> {
        self.look(py, |index| index.dim())
    }

    /// "l2", "ip" or "cosine".
    #[getter]
    fn metric(&self) -> &'static str {
        self.metric.name()
    }

    /// The name of the method, which is the class's.
    #[getter]
    fn method(&self) -> &'static str {
        self.method
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.look(py, |index| index.len())
    }

    fn __contains__(&self, py: Python<'_>, id: &Bound<'_, PyAny>) -> PyResult<bool> {
        match ids::one(id)? {
            Some(id) => self.look(py, |index| index.ids().row(id).is_some()),
            None => Ok(false),
        }
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let (n, dim) = self.look(py, |index| (index.len(), index.dim()))?;
        let made = self.made.written(self.metric);
        let dim = dim.map_or_else(String::new, |dim| format!(" of dimension {dim}"));
        Ok(format!("<{made}: {n} vectors{dim}>"))
    }

    fn __copy__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let call = Call::short(1)?;
        let (index, map) = enter(py, &call, None, |call| {
            self.shared.read(call, |state| (state.index().boxed_clone(), state.map.clone()))
        })?;
        Self::wrap(py, Loaded { index, made: self.made, map })
    }

    fn __deepcopy__<'py>(&self, py: Python<'py>, _memo: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.__copy__(py)
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        let from_bytes = py.import("counterpoint._counterpoint")?.getattr("from_bytes")?;
        Ok((from_bytes, (self.to_bytes(py)?,)))
    }
}
