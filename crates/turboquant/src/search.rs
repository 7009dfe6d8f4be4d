//! The search call: staged, or over all codes in full, then exact on kept vectors.

use counterpoint_core::index::{SearchError, SearchOptions};
use counterpoint_core::scan::{self, At, Hits, Masks, Scan, rows_of};
use counterpoint_core::select::{Hit, TopK};
use counterpoint_core::simd::{GROUP, Simd, TILE};
use counterpoint_core::table::{Store, rerank};
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::{InputError, Keep, RowSource};

use crate::staged::{Query, Scratch, Staged};
use crate::store::Codes;

/// Searches, and re-ranks on kept vectors where there are any.
pub(crate) fn search(
    codes: &Codes,
    queries: &dyn RowSource,
    options: &SearchOptions<'_>,
    masks: &Masks,
    control: &Control,
) -> Result<Hits, SearchError> {
    let candidates = match (codes.parameters().keep, options.rerank) {
        (Keep::None, _) => 0,
        (_, Some(candidates)) => candidates,
        (_, None) => default_rerank(codes.parameters().bits, options.k),
    };
    let width = candidates.max(options.k);
    let hits = if options.exact_scan.unwrap_or(false) {
        scan::search(&Full(codes), queries, width, masks, control)?
    } else {
        scan::search(&Staged(codes), queries, width, masks, control)?
    };
    if candidates == 0 {
        return Ok(hits);
    }
    rerank(&codes.kept, codes.metric, queries, hits, options.k, control)
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

/// Every row by all its bits, one by one: what the staged search is measured against.
struct Full<'a>(&'a Codes);

impl Scan for Full<'_> {
    type Query = Query;
    type Tile = ();
    type Chunk = (usize, Scratch);
    type Top = TopK;

    const SPARSE: u32 = u64::BITS;

    fn rows(&self) -> usize {
        Store::len(self.0)
    }

    #[inline(always)]
    fn query<S: Simd>(&self, simd: S, values: &mut [f32], index: usize) -> Result<Query, InputError> {
        self.0.prepare(simd, values, index)
    }

    fn tile<S: Simd>(&self, _: S, _: &[Query]) {}

    fn chunk(&self, _: usize) -> (usize, Scratch) {
        (0, self.0.scratch())
    }

    fn top(&self, k: usize) -> TopK {
        TopK::new(k)
    }

    fn enter<S: Simd>(&self, _: S, chunk: &mut (usize, Scratch), _: usize, index: usize) {
        chunk.0 = index;
    }

    #[inline(always)]
    fn survivors<S: Simd>(
        &self,
        _: S,
        _: &mut (usize, Scratch),
        _: usize,
        (): &(),
        _: &[Query],
        _: &[f32; TILE],
    ) -> [u64; TILE] {
        [u64::MAX; TILE]
    }

    #[inline(always)]
    fn score<S: Simd>(
        &self,
        simd: S,
        (index, scratch): &mut (usize, Scratch),
        _: At,
        query: &Query,
        mask: u64,
        top: &mut TopK,
    ) {
        for r in rows_of(mask) {
            let row = *index * GROUP + r;
            let distance = self.0.full_distance(simd, query, row, scratch);
            top.push(Hit { distance, row: row as u32 });
        }
    }

    fn finish<S: Simd>(&self, _: S, _: &Query, top: TopK) -> Vec<Hit> {
        top.into_sorted()
    }
}
