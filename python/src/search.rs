//! `search` and `reconstruct` of every class: the arguments, the call, the result.

use counterpoint_core::index::SearchOptions;
use numpy::PyArrayMethods;
use pyo3::prelude::*;

use crate::arrays;
use crate::enter::{Call, LONG_SEARCH, enter};
use crate::filter::Wanted;
use crate::ids;
use crate::index::Index;
use crate::made::Made;
use crate::result;
use crate::scalars::{Given, at_least, real, threads};
use crate::shared::AnyIndex;

/// Vectors that could be compared in the time that a graph's search takes for each of its candidates, and more.
const WALKED: usize = 16;

/// What `search` was given besides Q and k. A method's class leaves out what it does not have.
#[derive(Clone, Copy, Default)]
pub(crate) struct Steering<'a, 'py> {
    pub(crate) filter: Option<&'a Bound<'py, PyAny>>,
    pub(crate) threads: Option<&'a Bound<'py, PyAny>>,
    pub(crate) recall: Option<&'a Bound<'py, PyAny>>,
    pub(crate) ef: Option<&'a Bound<'py, PyAny>>,
    pub(crate) n_probe: Option<&'a Bound<'py, PyAny>>,
    pub(crate) stages: Option<&'a Bound<'py, PyAny>>,
    pub(crate) rerank: Option<&'a Bound<'py, PyAny>>,
    pub(crate) exact_scan: Option<bool>,
}

impl Index {
    /// `search`.
    pub(crate) fn find<'py>(
        &self,
        py: Python<'py>,
        q: &Bound<'py, PyAny>,
        k: &Given<'py>,
        given: Steering<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let k = k.0.as_ref().map_or(Ok(10), |k| at_least("k", 1, k))?;
        let ef = given.ef.map(|ef| at_least("ef", 1, ef)).transpose()?;
        let n_probe = given.n_probe.map(|n_probe| at_least("n_probe", 1, n_probe)).transpose()?;
        let stages = given.stages.map(|stages| at_least("stages", 1, stages)).transpose()?;
        let rerank = given.rerank.map(|rerank| at_least("rerank", 0, rerank)).transpose()?;
        let recall = given.recall.map(|recall| real("recall", recall)).transpose()?;
        let threads = threads(given.threads)?;
        let (queries, single) = arrays::queries(q)?;
        let wanted = Wanted::new(given.filter, single)?;
        let rows = queries.rows()?;
        let indexed = self.shared.glance(|state| state.index().len());
        // A graph's search goes past most vectors; how many it meets under a filter or for a recall is not known here.
        let walks = matches!(self.made(), Made::SymphonyQg(_)) && given.filter.is_none() && recall.is_none();
        let met = if walks { WALKED.saturating_mul(ef.unwrap_or(100).max(k)) } else { usize::MAX };
        let indexed = indexed.map(|indexed| indexed.min(met));
        let work = indexed.map_or(usize::MAX, |indexed| rows.values().saturating_mul(indexed));
        let call = if work >= LONG_SEARCH { Call::watched(threads)? } else { Call::short(threads)? };
        let found = enter(py, &call, None, |call| {
            let search = |index: &AnyIndex| {
                wanted.with(index.len(), |filter| {
                    let exact_scan = given.exact_scan;
                    let options =
                        SearchOptions { k, filter, ef, n_probe, stages, rerank, exact_scan, recall };
                    index.search(&rows, &options, &call.control)
                })
            };
            Ok(self.shared.read(call, |state| search(state.index()))??)
        })?;
        result::result(py, found, single)
    }

    /// `reconstruct`.
    pub(crate) fn decoded<'py>(
        &self,
        py: Python<'py>,
        ids: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (ids, single) = ids::ids(ids)?;
        let call = Call::short(1)?;
        let (values, dim) = enter(py, &call, None, |call| {
            let vectors = self.shared.read(call, |state| state.index().reconstruct(&ids))??;
            let mut values = Vec::with_capacity(vectors.rows() * vectors.dim());
            (0..vectors.rows()).for_each(|row| values.extend_from_slice(vectors.row(row)));
            Ok((values, vectors.dim()))
        })?;
        let table = result::table(py, values, ids.len(), dim)?;
        if single { Ok(table.reshape([dim])?.into_any()) } else { Ok(table.into_any()) }
    }
}
