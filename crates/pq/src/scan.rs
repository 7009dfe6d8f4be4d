//! Distances as sums of table entries.
//!
//! With x̂ what a row's code stands for, its distance from q is A + Σₘ T\[m\]\[code\[m\]\]:
//!
//! ```text
//! l2:      A = 0   T[m][k] = ‖qₘ − cₘₖ‖²      ip:      A = 0   T[m][k] = −⟨qₘ, cₘₖ⟩
//!                                              cosine:  A = 1   T[m][k] = −⟨qₘ, cₘₖ⟩
//! ```
//!
//! The block kernel ([`lookups`]) sums entries rounded down to a byte, and names the rows whose distance may be within the
//! bound; theirs are summed from the tables as they are. No row that belongs to the answer is lost to rounding: the
//! outcome is that of summing every row, the same on every level.

use counterpoint_core::index::{SearchError, SearchOptions};
use counterpoint_core::metric::Metric;
use counterpoint_core::rerank::reranked;
use counterpoint_core::scan::{self, At, Hits, Masks, Scan, rows_of};
use counterpoint_core::select::{Hit, TopK};
use counterpoint_core::simd::{GROUP, Simd, TILE, lookups};
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::{InputError, RowSource};

use crate::store::Codes;

/// Searches, and re-ranks on kept vectors where there are any.
pub(crate) fn search(
    codes: &Codes,
    queries: &dyn RowSource,
    options: &SearchOptions<'_>,
    masks: &Masks,
    control: &Control,
) -> Result<Hits, SearchError> {
    reranked(&codes.kept, codes.metric, queries, options, default_rerank(options.k), control, |k| {
        scan::search(codes, queries, k, masks, control)
    })
}

/// Candidates scored exactly where the caller does not say.
fn default_rerank(k: usize) -> usize {
    (20 * k).max(k + 50)
}

/// The groups a thread is at.
pub struct Chunk {
    indices: [usize; Codes::CHUNK],
}

impl Codes {
    /// A.
    fn base(&self) -> f32 {
        if self.metric == Metric::Cosine { 1.0 } else { 0.0 }
    }
}

impl Scan for Codes {
    /// T.
    type Query = Vec<f32>;
    type Tile = lookups::Tile;
    type Chunk = Chunk;
    type Top = TopK;

    /// A block of 64 rows costs what a few rows cost one by one.
    const SPARSE: u32 = 2;
    /// A tile's tables stay in the nearest cache: a chunk of groups is read from the next.
    const CHUNK: usize = 32;
    /// Tables as they are, 8 KiB a query for eight parts, stay in the second cache beside the chunk.
    const BATCH: usize = 16 * TILE;

    fn rows(&self) -> usize {
        counterpoint_core::table::Store::len(self)
    }

    #[inline(always)]
    fn query<S: Simd>(&self, simd: S, values: &mut [f32], index: usize) -> Result<Vec<f32>, InputError> {
        self.metric.prepare(values, index)?;
        let mut tables = Vec::new();
        if let Some(quantizer) = &self.quantizer {
            if self.metric == Metric::L2 {
                quantizer.squared_distances(simd, values, &mut tables);
            } else {
                quantizer.inner_products(simd, values, &mut tables);
                tables.iter_mut().for_each(|value| *value = -*value);
            }
        }
        Ok(tables)
    }

    #[inline(always)]
    fn tile<S: Simd>(&self, _: S, queries: &[Vec<f32>]) -> lookups::Tile {
        lookups::Tile::new(self.parameters.bits, queries.iter().map(Vec::as_slice))
    }

    fn chunk(&self, _: usize) -> Chunk {
        Chunk { indices: [0; Self::CHUNK] }
    }

    fn top(&self, k: usize) -> TopK {
        TopK::new(k)
    }

    #[inline(always)]
    fn enter<S: Simd>(&self, _: S, chunk: &mut Chunk, slot: usize, index: usize) {
        chunk.indices[slot] = index;
    }

    #[inline(always)]
    fn survivors<S: Simd>(
        &self,
        simd: S,
        chunk: &mut Chunk,
        slot: usize,
        tile: &lookups::Tile,
        _: &[Vec<f32>],
        bounds: &[f32; TILE],
    ) -> [u64; TILE] {
        let base = self.base();
        // A distance of a sum is rounded once more.
        let mut limits = [0.0; TILE];
        for (limit, bound) in limits.iter_mut().zip(bounds) {
            *limit = (bound - base) + (base + bound.abs()) * f32::EPSILON;
        }
        simd.lookup_survivors(self.group_at(chunk.indices[slot]), None, tile, &limits)
    }

    #[inline(always)]
    fn score<S: Simd>(&self, _: S, chunk: &mut Chunk, at: At, query: &Vec<f32>, mask: u64, top: &mut TopK) {
        let (index, base) = (chunk.indices[at.slot], self.base());
        let group = self.group_at(index);
        for r in rows_of(mask) {
            let sum = lookups::score(self.parameters.bits, group, r, query);
            top.push(Hit { distance: self.metric.clamp(base + sum), row: (index * GROUP + r) as u32 });
        }
    }

    #[inline(always)]
    fn finish<S: Simd>(&self, _: S, _: &mut Chunk, _: &Vec<f32>, top: TopK) -> Vec<Hit> {
        top.into_sorted()
    }
}
