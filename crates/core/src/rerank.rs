//! The re-ranker: candidates of a search, scored again on the vectors themselves.

use crate::index::{SearchError, SearchOptions};
use crate::metric::Metric;
use crate::scan::Hits;
use crate::select::{Hit, TopK};
use crate::simd::{Simd, Work, run};
use crate::threads::Control;
use crate::vectors::{Keep, Kept, RowSource, padded, read_checked};

/// Searches with `scan`, which gives as many candidates as it is asked for, and re-ranks them on kept vectors where
/// there are any: `options.rerank` candidates, or `default` where the caller does not say.
///
/// # Errors
/// [`SearchError`]: that of `scan`, a query is refused, or the call was cancelled.
pub fn reranked(
    kept: &Kept,
    metric: Metric,
    queries: &dyn RowSource,
    options: &SearchOptions<'_>,
    default: usize,
    control: &Control,
    scan: impl FnOnce(usize) -> Result<Hits, SearchError>,
) -> Result<Hits, SearchError> {
    let candidates = candidates(kept, options, default);
    let hits = scan(candidates.max(options.k))?;
    if candidates == 0 {
        return Ok(hits);
    }
    control.map(hits.into_iter().enumerate(), |(index, hits)| {
        let mut query = vec![0.0; queries.dim()];
        read_checked(queries, index, &mut query)?;
        metric.prepare(&mut query, index)?;
        Ok(run(control.level(), Rerank { kept, metric, query: &padded(&query), hits, k: options.k }))
    })
}

/// How many candidates are re-ranked: `options.rerank`, or `default` where the caller does not say; 0 where no vectors are
/// kept.
pub fn candidates(kept: &Kept, options: &SearchOptions<'_>, default: usize) -> usize {
    match kept {
        Kept::None => 0,
        Kept::Int8(_) | Kept::F16(_) | Kept::F32(_) => options.rerank.unwrap_or(default),
    }
}

/// Refuses candidates where no vectors are kept to score them on.
///
/// # Errors
/// [`SearchError::Knob`].
pub fn check_rerank(keep: Keep, options: &SearchOptions<'_>) -> Result<(), SearchError> {
    if options.rerank.is_some_and(|rerank| rerank > 0) && keep == Keep::None {
        let reason = "expected 0 or none: this index keeps no vectors to re-rank on (keep=\"none\")";
        return Err(SearchError::Knob { knob: "rerank", reason });
    }
    Ok(())
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
        let Self { kept, metric, query, hits, k } = self;
        rescored(simd, kept, metric, query, &hits, k, None, &mut vec![0.0; query.len()])
    }
}

/// Rows asked for line by line, side by side.
const TOGETHER: usize = 4;
/// Hits scored before errors are believed; so many rows are asked for ahead.
const LEAST: usize = 8;

/// Puts each hit at its distance as kept from a prepared and padded query (exact but under [`Keep::Int8`]); where no vectors
/// are kept it stays where it is. `scratch` has the query's length.
#[inline(always)]
pub fn rescore<S: Simd>(
    simd: S,
    kept: &Kept,
    metric: Metric,
    query: &[f32],
    hits: &mut [Hit],
    scratch: &mut [f32],
) {
    kept.prefetch(hits.iter().take(LEAST).map(|hit| hit.row as usize));
    for i in 0..hits.len() {
        kept.prefetch(hits.get(i + LEAST).map(|hit| hit.row as usize).into_iter());
        let hit = &mut hits[i];
        hit.distance = kept.distance(simd, metric, query, hit.row as usize, scratch).unwrap_or(hit.distance);
    }
}

/// The `k` nearest of `hits`, each at its distance as kept from a prepared and padded query (exact but under
/// [`Keep::Int8`]); at the distance it has where no vectors are kept. `scratch` has the query's length.
///
/// With `patience`, hits are sorted by their estimates, and those are left that are nearer than the k-th only if
/// their estimate errs by more than `patience` standard deviations from the mean error, both as seen until then.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "the inner loop of searches")]
pub fn rescored<S: Simd>(
    simd: S,
    kept: &Kept,
    metric: Metric,
    query: &[f32],
    hits: &[Hit],
    k: usize,
    patience: Option<f32>,
    scratch: &mut [f32],
) -> Vec<Hit> {
    let mut top = TopK::new(k);
    // Squares of errors of squares: f32 does not reach as far as legal values do.
    let (mut sum, mut squares) = (0.0_f64, 0.0_f64);
    for hits in hits[..hits.len().min(LEAST)].chunks(TOGETHER) {
        kept.prefetch(hits.iter().map(|hit| hit.row as usize));
    }
    for (i, hit) in hits.iter().enumerate() {
        if let Some(patience) = patience
            && i > k
            && i >= LEAST
        {
            let mean = sum / i as f64;
            let deviation = (squares / i as f64 - mean * mean).max(0.0).sqrt();
            let nearest = f64::from(hit.distance) + mean - f64::from(patience) * deviation;
            if nearest > f64::from(top.bound()) {
                break;
            }
        }
        if let Some(hit) = hits.get(i + LEAST) {
            kept.prefetch(std::iter::once(hit.row as usize));
        }
        let exact = kept.distance(simd, metric, query, hit.row as usize, scratch).unwrap_or(hit.distance);
        let error = f64::from(exact) - f64::from(hit.distance);
        sum += error;
        squares += error * error;
        top.push(Hit { distance: exact, row: hit.row });
    }
    top.into_sorted()
}
