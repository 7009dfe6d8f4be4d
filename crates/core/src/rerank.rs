//! The re-ranker: candidates of a search, scored again on the vectors themselves.

use crate::index::SearchError;
use crate::metric::Metric;
use crate::scan::Hits;
use crate::select::{Hit, TopK};
use crate::simd::{Simd, Work, run};
use crate::threads::Control;
use crate::vectors::{Kept, RowSource, padded, read_checked};

/// Scores candidates exactly on kept vectors and returns the best `k` of each query.
///
/// # Errors
/// [`SearchError`]: a query is refused, or the call was cancelled.
pub fn rerank(
    kept: &Kept,
    metric: Metric,
    queries: &dyn RowSource,
    candidates: Hits,
    k: usize,
    control: &Control,
) -> Result<Hits, SearchError> {
    control.map(candidates.into_iter().enumerate(), |(index, hits)| {
        let mut query = vec![0.0; queries.dim()];
        read_checked(queries, index, &mut query)?;
        metric.prepare(&mut query, index)?;
        Ok(run(control.level(), Rerank { kept, metric, query: &padded(&query), hits, k }))
    })
}

struct Rerank<'a> {
    kept: &'a Kept,
    metric: Metric,
    query: &'a [f32],
    hits: Vec<Hit>,
    k: usize,
}

impl Work for Rerank<'_> {
    type Output = Vec<Hit>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Vec<Hit> {
        let mut scratch = vec![0.0; self.query.len()];
        let mut top = TopK::new(self.k);
        for hit in self.hits {
            let exact = self.kept.distance(simd, self.metric, self.query, hit.row as usize, &mut scratch);
            top.push(Hit { distance: exact.unwrap_or(hit.distance), row: hit.row });
        }
        top.into_sorted()
    }
}
