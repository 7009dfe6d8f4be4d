//! `tune`: the arguments, the call, the points as `OperatingPoint`s.

use counterpoint_core::tune::{OperatingPoint, Request, measure};
use counterpoint_core::vectors::RowSource;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList};

use crate::arrays::{self, Vectors};
use crate::enter::{Call, Progress, enter};
use crate::index::Index;
use crate::scalars::{Given, at_least, real, threads};

/// The arguments of `tune`.
pub(crate) struct Tuning<'a, 'py> {
    pub(crate) queries: Option<&'a Bound<'py, PyAny>>,
    pub(crate) vectors: Option<&'a Bound<'py, PyAny>>,
    pub(crate) recall: Given<'py>,
    pub(crate) k: Given<'py>,
    pub(crate) threads: Option<&'a Bound<'py, PyAny>>,
    pub(crate) progress: Option<&'a Bound<'py, PyAny>>,
}

impl Index {
    /// Measures beside other readers, then stores the points if the index was not fitted anew meanwhile.
    pub(crate) fn measured<'py>(
        &self,
        py: Python<'py>,
        given: Tuning<'_, 'py>,
    ) -> PyResult<Bound<'py, PyList>> {
        let recall = given.recall.0.map_or(Ok(0.95), |recall| real("recall", &recall))?;
        let k = given.k.0.map_or(Ok(10), |k| at_least("k", 1, &k))?;
        let threads = threads(given.threads)?;
        let queries = given.queries.map(arrays::queries).transpose()?;
        let vectors = given.vectors.map(arrays::data).transpose()?;
        let queries = queries.as_ref().map(|(queries, _)| queries.rows()).transpose()?;
        let vectors = vectors.as_ref().map(Vectors::rows).transpose()?;
        let progress = Progress::new(given.progress, 1)?;
        let frontier = enter(py, &Call::watched(threads)?, progress.as_ref(), |call| {
            let request = Request {
                queries: queries.as_ref().map(|rows| rows as &dyn RowSource),
                vectors: vectors.as_ref().map(|rows| rows as &dyn RowSource),
                k,
                recall,
            };
            let (fits, frontier) = self
                .shared
                .read(call, |state| (state.fits, measure(state.index(), &request, &call.control)))?;
            let frontier = frontier?;
            let tuned = Some(frontier.clone());
            self.shared.write_unless_refitted(call, fits, |index| index.set_tuned(tuned))?;
            Ok(frontier)
        })?;
        let points = PyList::empty(py);
        for point in frontier.points() {
            points.append(row(py, point)?)?;
        }
        Ok(points)
    }
}

fn row<'py>(py: Python<'py>, point: &OperatingPoint) -> PyResult<Bound<'py, PyAny>> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let class = CLASS.get_or_try_init(py, || {
        PyResult::Ok(py.import("counterpoint._result")?.getattr("OperatingPoint")?.unbind())
    })?;
    let knobs = PyDict::new(py);
    for &(name, value) in &point.knobs.0 {
        knobs.set_item(name.as_str(), value)?;
    }
    class.bind(py).call1((point.recall, 1.0 / point.seconds, knobs))
}
