//! Search over every row by all its bits: what the staged search is measured against.
//!
//! **Groups as bytes.** A group of 64 rows is put together once for all queries of a batch: every dimension's level,
//! plus 128, is an 8-bit code as [`int8`] lays them out. With q' ≈ step·(256·h + l) and c = level + 128, ⟨q', level⟩ =
//! step·(256·⟨h, c⟩ + ⟨l, c⟩ − 128·(256·Σh + Σl)): the exact integers of [`Codes::full_distance`], so the same
//! distances to the bit. For few queries, rows are scored by that, one by one.
//!
//! **Pruning.** A row is at most `bound` far where its similarity a + w·⟨q', level⟩ is at least (A − bound)/ω. By
//! Cauchy-Schwarz, w·|⟨l, level⟩| ≤ ‖l‖·reach, reach being the largest w·‖level‖ of the group, so such a row has
//!
//! ```text
//! w·256·step·(⟨h, c⟩ − 128·Σh) + a ≥ (A − bound)/ω − step·‖l‖·reach
//! ```
//!
//! which is the kernel's threshold, lowered by 2⁻²⁰ of the largest terms for its f32 arithmetic: 16 units roundoff,
//! where the longest chain has 8.

use counterpoint_core::scan::{At, Scan, rows_of};
use counterpoint_core::select::{Hit, TopK};
use counterpoint_core::simd::int8::{self, Bits, Planes, QUARTER, QueryTerms, RowTerms, Tile};
use counterpoint_core::simd::{GROUP, Simd, TILE};
use counterpoint_core::table::Store;
use counterpoint_core::vectors::InputError;

use crate::quantizer::Segment;
use crate::staged::{self, Scratch};
use crate::store::Codes;

/// Up to this many queries, putting a group together costs more than it saves.
const FEW: usize = TILE;

/// All rows of an index, by all their bits.
pub(crate) struct Full<'a>(pub(crate) &'a Codes);

/// A prepared query.
pub(crate) struct Query {
    query: staged::Query,
    planes: Planes,
    /// 128·Σ of either plane.
    high: i64,
    low: i64,
    /// What the high plane's sums are at most, in magnitude, with those 128·Σh.
    magnitude: f32,
}

/// Up to [`TILE`] queries: their high planes, and what their thresholds are made of.
pub(crate) struct QueryTile {
    high: Tile,
    /// All but the limits.
    terms: QueryTerms,
}

/// The group a thread is at.
pub(crate) struct Group {
    index: usize,
    /// Levels + 128; empty for few queries.
    codes: Vec<u8>,
    /// Whether that is this group's.
    entered: bool,
    rows: RowTerms,
    /// The largest w, a and w·‖level‖.
    scale: f32,
    offset: f32,
    reach: f32,
    scratch: Scratch,
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most: f32, value| most.max(value.abs()))
}

impl Full<'_> {
    /// Puts the group together.
    #[inline(always)]
    fn fill<S: Simd>(&self, simd: S, group: &mut Group) {
        let Some(quantizer) = self.0.quantizer() else { return };
        let terms = self.0.terms(group.index);
        (group.scale, group.offset, group.reach) = (largest(terms.scale), largest(terms.offset), 0.0);
        for r in 0..GROUP {
            self.0.unpack(simd, quantizer, group.index * GROUP + r, &mut group.scratch);
            let codes = &mut group.scratch.codes;
            for (dims, table) in quantizer.segments.iter().flat_map(Segment::runs) {
                codes[dims].iter_mut().for_each(|code| *code = table[usize::from(*code) % table.len()]);
            }
            let square: i32 = codes.iter().map(|&code| (i32::from(code) - 128).pow(2)).sum();
            int8::write_row(Bits::Eight, &mut group.codes, r, codes);
            group.reach = group.reach.max(terms.scale[r] * (square as f32).sqrt());
            (group.rows.scale[r], group.rows.offset[r]) = (terms.scale[r], -terms.offset[r]);
        }
    }
}

impl Scan for Full<'_> {
    type Query = Query;
    type Tile = QueryTile;
    type Chunk = Group;
    type Top = TopK;

    /// A few rows cost less one by one than a group put together.
    const SPARSE: u32 = 4;

    fn rows(&self) -> usize {
        Store::len(self.0)
    }

    #[inline(always)]
    fn query<S: Simd>(&self, simd: S, values: &mut [f32], index: usize) -> Result<Query, InputError> {
        let query = self.0.prepare(simd, values, index)?;
        let planes = Planes::new(Bits::Eight, &query.exact.high, &query.exact.low);
        let sum = |plane: &[i8]| 128 * plane.iter().map(|&v| i64::from(v)).sum::<i64>();
        let (high, low) = (sum(&query.exact.high), sum(&query.exact.low));
        let all: i64 = query.exact.high.iter().map(|v| i64::from(v.unsigned_abs())).sum();
        let magnitude = 256.0 * query.exact.step * (256 * all) as f32;
        Ok(Query { query, planes, high, low, magnitude })
    }

    fn tile<S: Simd>(&self, _: S, queries: &[Query]) -> QueryTile {
        let dim = queries.first().map_or(0, |query| query.query.exact.high.len());
        let mut terms = QueryTerms::default();
        for (i, Query { query, high, .. }) in queries.iter().enumerate() {
            terms.alpha[i] = 256.0 * query.exact.step;
            terms.beta[i] = -terms.alpha[i] * *high as f32;
        }
        let planes = queries.iter().map(|query| query.query.exact.high.as_slice());
        QueryTile { high: Tile::new(Bits::Eight, dim, planes), terms }
    }

    fn chunk(&self, queries: usize) -> Group {
        let padded = self.0.quantizer().map_or(0, |quantizer| quantizer.padded());
        let bytes = if queries > FEW { int8::group_bytes(Bits::Eight, padded) } else { 0 };
        Group {
            index: 0,
            codes: vec![0; bytes],
            entered: false,
            rows: RowTerms { scale: [0.0; GROUP], bias: [0.0; GROUP], offset: [0.0; GROUP] },
            scale: 0.0,
            offset: 0.0,
            reach: 0.0,
            scratch: self.0.scratch(),
        }
    }

    fn top(&self, k: usize) -> TopK {
        TopK::new(k)
    }

    fn enter<S: Simd>(&self, _: S, group: &mut Group, _: usize, index: usize) {
        (group.index, group.entered) = (index, false);
    }

    #[inline(always)]
    fn survivors<S: Simd>(
        &self,
        simd: S,
        group: &mut Group,
        _: usize,
        tile: &QueryTile,
        queries: &[Query],
        bounds: &[f32; TILE],
    ) -> [u64; TILE] {
        if group.codes.is_empty() {
            return [u64::MAX; TILE];
        }
        if !group.entered {
            self.fill(simd, group);
            group.entered = true;
        }
        let inverse = (1.0 / self.0.omega()) as f32;
        let mut terms = tile.terms.clone();
        for ((limit, Query { query, magnitude, .. }), bound) in
            terms.limit.iter_mut().zip(queries).zip(bounds)
        {
            let (base, bound) = (query.base as f32 * inverse, bound * inverse);
            let missed = query.exact.step * (query.exact.low_norm * group.reach);
            let size = group.scale * magnitude + group.offset + missed + (base.abs() + bound.abs());
            let rounding = size * (1.0 / 1_048_576.0) + f32::MIN_POSITIVE;
            *limit = (base - bound) - missed - rounding;
        }
        simd.int8_survivors(int8::Group::new(Bits::Eight, &group.codes), &group.rows, &tile.high, &terms)
    }

    #[inline(always)]
    fn score<S: Simd>(&self, simd: S, group: &mut Group, _: At, query: &Query, mask: u64, top: &mut TopK) {
        let codes = int8::Group::new(Bits::Eight, &group.codes);
        let mut scored = usize::MAX;
        let [mut high, mut low] = [[0; QUARTER]; 2];
        for r in rows_of(mask) {
            let row = group.index * GROUP + r;
            let distance = if group.entered {
                if r / QUARTER != scored {
                    scored = r / QUARTER;
                    [high, low] = simd.int8_dots(codes, scored, &query.planes);
                }
                let [high, low] = [high, low].map(|sums| i64::from(sums[r % QUARTER]));
                let sum = 256 * (high - query.high) + (low - query.low);
                self.0.distance(&query.query, row, f64::from(query.query.exact.step) * sum as f64)
            } else {
                self.0.full_distance(simd, &query.query, row, &mut group.scratch)
            };
            top.push(Hit { distance, row: row as u32 });
        }
    }

    fn finish<S: Simd>(&self, _: S, _: &mut Group, _: &Query, top: TopK) -> Vec<Hit> {
        top.into_sorted()
    }
}

#[cfg(test)]
mod tests {
    use counterpoint_core::ids::Allow;
    use counterpoint_core::index::{AnnIndex, Filter, Neighbors, SearchOptions};
    use counterpoint_core::metric::Metric;
    use counterpoint_core::simd::{Level, Work, run};
    use counterpoint_core::synth::{Shape, sample};
    use counterpoint_core::threads::Control;
    use counterpoint_core::vectors::{Keep, Rows};
    use proptest::prelude::*;

    use super::*;
    use crate::{Allocation, Center, Parameters, TurboQuant};

    /// The rows of `allowed`, each scored by [`Codes::full_distance`], the `k` best first.
    struct OneByOne<'a>(&'a Codes, &'a [f32], &'a [bool], usize);

    impl Work for OneByOne<'_> {
        type Output = Vec<(i64, u32)>;

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> Self::Output {
            let Self(codes, query, allowed, k) = self;
            let query = codes.prepare(simd, &mut query.to_vec(), 0).expect("a sound query");
            let (mut top, mut scratch) = (TopK::new(k), codes.scratch());
            for row in (0..allowed.len()).filter(|&row| allowed[row]) {
                let distance = codes.full_distance(simd, &query, row, &mut scratch);
                top.push(Hit { distance, row: row as u32 });
            }
            top.into_sorted().iter().map(|hit| (i64::from(hit.row), hit.distance.to_bits())).collect()
        }
    }

    fn fitted(metric: Metric, bits: u32, center: Center, data: &Rows<'_>) -> TurboQuant {
        let parameters = Parameters { bits, allocation: Allocation::Even, center, keep: Keep::None, seed: 5 };
        let mut index = crate::new(metric, parameters).expect("1 to 4 bits");
        index.fit(data, None, &Control::default()).expect("sound rows");
        index
    }

    fn hits(found: &Neighbors, query: usize) -> Vec<(i64, u32)> {
        let at = query * found.width..(query + 1) * found.width;
        found.ids[at.clone()].iter().copied().zip(found.distances[at].iter().map(|d| d.to_bits())).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn an_exact_scan_is_every_row_by_its_full_distance(
            (n, dim, count) in (1_usize..400, 1_usize..150, 1_usize..24),
            metric in prop::sample::select(vec![Metric::L2, Metric::Ip, Metric::Cosine]),
            (bits, centred, threads) in (1_u32..=4, any::<bool>(), 1_usize..=2),
            (decay, shift) in (0.0_f32..1.5, prop::sample::select(vec![0.0_f32, 1.0, 1000.0])),
            size in prop::sample::select(vec![1e-15_f32, 1.0, 1e10]),
            // Of 256 rows, how many are allowed.
            (dense, k, seed) in (prop::sample::select(vec![4_u64, 100, 256]), 1_usize..30, any::<u64>()),
        ) {
            let mut drawn = sample(Shape::PowerLaw { decay }, n, count, dim, seed);
            drawn.data.iter_mut().chain(&mut drawn.queries).for_each(|value| *value = (*value + shift) * size);
            let center = if centred { Center::Mean } else { Center::None };
            let rows = Rows::new(&drawn.data, dim).expect("whole rows");
            let queries = Rows::new(&drawn.queries, dim).expect("whole rows");
            let index = fitted(metric, bits, center, &rows);
            let allowed: Vec<bool> =
                (0..n as u64).map(|row| (row ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56 < dense).collect();
            let filter = Filter::Shared(Allow::Mask(&allowed));
            let options = SearchOptions { filter, exact_scan: Some(true), ..SearchOptions::new(k) };
            for level in Level::available() {
                let found = index.search(&queries, &options, &Control::new(level, Some(threads))).expect("found");
                for (i, query) in drawn.queries.chunks(dim).enumerate() {
                    let want = run(level, OneByOne(index.store(), query, &allowed, k));
                    prop_assert_eq!(hits(&found, i), want, "query {} on {}", i, level.name());
                }
            }
        }
    }
}
