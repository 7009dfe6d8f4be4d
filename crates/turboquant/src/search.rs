//! The search call: staged, or over all codes in full, then exact on kept vectors.

use counterpoint_core::index::{SearchError, SearchOptions};
use counterpoint_core::rerank::reranked;
use counterpoint_core::scan::{self, Hits, Masks};
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::RowSource;

use crate::full::Full;
use crate::staged::Staged;
use crate::store::Codes;

/// Searches, and re-ranks on kept vectors where there are any.
pub(crate) fn search(
    codes: &Codes,
    queries: &dyn RowSource,
    options: &SearchOptions<'_>,
    masks: &Masks,
    control: &Control,
) -> Result<Hits, SearchError> {
    let default = default_rerank(codes.parameters().bits, options.k);
    reranked(&codes.kept, codes.metric, queries, options, default, control, |k| {
        if options.exact_scan.unwrap_or(false) {
            scan::search(&Full(codes), queries, k, masks, control)
        } else {
            scan::search(&Staged::new(codes, queries.len(), masks, control), queries, k, masks, control)
        }
    })
}

/// Candidates scored exactly where the caller does not say.
fn default_rerank(bits: u32, k: usize) -> usize {
    match bits {
        1 => 12 * k + 20,
        2 => 4 * k + 10,
        3 => 2 * k + 10,
        _ => 2 * k,
    }
}
