//! The `fastscan` family against agreements summed in integers and values put together by fused multiply-adds: masks
//! and values to the bit.

use counterpoint_core::simd::fastscan::{
    self, MAX_BITS, MOST, QueryTerms, RowTerms, TRIPLE_BITS, Tile, Weights,
};
use counterpoint_core::simd::{self, GROUP, Level, Simd, TILE, Work};

use super::{LONGEST, Random, Tally};

/// The most that 16 bits hold.
const LARGEST_SUM: u32 = 65_535;

struct Scan<'a>(&'a [u8], RowTerms<'a>, &'a [Weights], &'a QueryTerms);

impl Work for Scan<'_> {
    type Output = ([u64; TILE], [[f32; GROUP]; TILE]);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let Self(group, rows, weights, terms) = self;
        let tile = Tile::new(S::TABLES, weights.iter());
        let mut values = [[0.0; GROUP]; TILE];
        let masks = simd.fastscan_survivors(group, rows, &tile, terms, &mut values);
        (masks, values)
    }
}

/// 64 rows of bits and a tile of queries, with the agreement of each pair.
struct Case {
    bits: usize,
    /// Between guards, at an odd address.
    guarded: Vec<u8>,
    weights: Vec<Weights>,
    agreements: Vec<[u32; GROUP]>,
    scale: [f32; GROUP],
    offset: [f32; GROUP],
}

impl Case {
    /// `row(r, s)` is bit s of row r. Bits beyond the end are noise: the weights' zeros must silence it.
    fn new(
        bits: usize,
        weights: Vec<Weights>,
        random: &mut Random,
        mut row: impl FnMut(&mut Random, usize, usize) -> bool,
    ) -> Self {
        let bytes = fastscan::group_bytes(bits);
        let mut guarded = vec![0xff; bytes + 129];
        let mut agreements = vec![[0; GROUP]; weights.len()];
        for r in 0..GROUP {
            let mut packed = random.many(bits.div_ceil(TRIPLE_BITS) * 3, |random| random.bits() as u8);
            for s in 0..bits {
                let bit = row(random, r, s);
                packed[s / 8] = packed[s / 8] & !(1 << (s % 8)) | u8::from(bit) << (s % 8);
                for (weights, agreements) in weights.iter().zip(&mut agreements) {
                    let w = weights.values()[s];
                    if (w > 0) == bit {
                        agreements[r] += u32::from(w.unsigned_abs());
                    }
                }
            }
            fastscan::write_row(&mut guarded[65..65 + bytes], r, &packed);
        }
        Self { bits, guarded, weights, agreements, scale: [1.0; GROUP], offset: [0.0; GROUP] }
    }

    fn value(&self, terms: &QueryTerms, i: usize, r: usize) -> f32 {
        let sum = terms.alpha[i].mul_add(self.agreements[i][r] as f32, terms.beta[i]);
        self.scale[r].mul_add(sum, self.offset[r])
    }

    /// The first `count` queries, under `terms`.
    fn check(&self, level: Level, tally: &mut Tally, count: usize, terms: &QueryTerms, what: &str) {
        let group = &self.guarded[65..65 + fastscan::group_bytes(self.bits)];
        let rows = RowTerms { scale: &self.scale, offset: &self.offset };
        let (masks, values) = simd::run(level, Scan(group, rows, &self.weights[..count], terms));
        let held = (0..TILE).all(|i| {
            let mut want = 0;
            let values = (0..GROUP).all(|r| {
                if i >= count {
                    return true;
                }
                let (got, value) = (values[i][r], self.value(terms, i, r));
                want |= u64::from(!value.lt(&terms.limit[i])) << r;
                masks[i] == 0 || got.to_bits() == value.to_bits() || got.is_nan() && value.is_nan()
            });
            values && masks[i] == want
        });
        tally
            .check(held, || format!("{} fastscan {} × {count}, {what}: {masks:x?}", level.name(), self.bits));
    }
}

/// Terms that decide nothing but by the agreement: a value is its sum.
fn plain() -> QueryTerms {
    QueryTerms { alpha: [1.0; TILE], beta: [0.0; TILE], limit: [0.0; TILE] }
}

/// Every number of bits and of queries.
pub(super) fn sums(level: Level, tally: &mut Tally) {
    let mut random = Random(9);
    for bits in (0..=LONGEST).chain([1000, 4097, MAX_BITS, MAX_BITS + 24]) {
        let weights = random.many(TILE, |random| Weights::new(&random.many(bits, Random::unit)));
        let mut case = Case::new(bits, weights, &mut random, |random, _, _| random.below(2) == 0);
        for count in 1..=TILE {
            case.scale.fill_with(|| random.unit());
            case.offset.fill_with(|| random.unit());
            let mut terms = QueryTerms::default();
            terms.alpha.fill_with(|| random.unit());
            terms.beta.fill_with(|| random.whole());
            for i in 0..count {
                // A value, so that ties occur; now and then what no row reaches, or all.
                terms.limit[i] = match random.below(8) {
                    0 => f32::INFINITY,
                    1 => f32::NEG_INFINITY,
                    _ => case.value(&terms, i, random.below(GROUP)),
                };
            }
            case.check(level, tally, count, &terms, "random");
        }
    }
}

/// Query `i` of those whose every field sums to [`MOST`]: one weight alone, even ones, or any; above, below or on both
/// sides of 0.
fn full(bits: usize, i: usize, random: &mut Random) -> Vec<f32> {
    let mut values = vec![0.0; bits];
    for (f, field) in values.chunks_mut(6).enumerate() {
        // Bits 4 and 5 of the first three fields share a nibble with what the fourth puts there.
        let places = field.len().min(if f % 4 < 3 { 4 } else { 6 });
        for unit in 0..MOST as usize {
            let at = match i % 3 {
                0 => f / 4 % places,
                1 => unit % places,
                _ => random.below(places),
            };
            field[at] += 1.0;
        }
        for value in field {
            let below = [false, true, random.below(2) == 0][i / 2 % 3];
            *value = if below { -*value } else { *value };
        }
    }
    values
}

/// What brings bytes closest to 255 and sums to 65,535, with all bits agreeing, none, and others.
pub(super) fn extremes(level: Level, tally: &mut Tally) {
    let mut random = Random(10);
    // The most whole triples that are full in every field: 528 × 4 × 31 = 65,472. One more takes the 63 that are left.
    let most = 528 * TRIPLE_BITS;
    for bits in [6, 24, 48, 72, 120, 2400, most - 24, most, most + 24, MAX_BITS - 1, MAX_BITS] {
        let queries: Vec<Vec<f32>> = (0..TILE)
            .map(|i| {
                let sign = if i % 2 == 0 { 1.0 } else { -1.0 };
                match bits {
                    _ if bits <= most => full(bits, i, &mut random),
                    _ if bits == most + 24 => {
                        let mut values = full(most, i, &mut random);
                        values.resize(bits, 0.0);
                        [values[most], values[most + 6], values[most + 12]] = [31.0, -31.0, 1.0];
                        values
                    }
                    // One unit each, and two where there are any left.
                    _ => (0..bits).map(|s| sign * if s < 65_535 - bits { 2.0 } else { 1.0 }).collect(),
                }
            })
            .collect();
        let weights: Vec<Weights> = queries.iter().map(|values| Weights::new(values)).collect();
        for (values, weights) in queries.iter().zip(&weights) {
            let exact = values.iter().zip(weights.values()).all(|(value, &w)| *value == f32::from(w));
            let total = if bits > most { LARGEST_SUM } else { bits as u32 / 6 * MOST };
            tally.check(exact && weights.total == total, || {
                format!("weights of {bits} bits: {}", weights.total)
            });
        }
        let signs: Vec<Vec<i8>> = weights.iter().map(|weights| weights.values().to_vec()).collect();
        let case = Case::new(bits, weights, &mut random, |random, r, s| match r % 5 {
            0 => true,
            1 => false,
            2 => signs[r % TILE][s] > 0,
            3 => signs[r % TILE][s] <= 0,
            _ => random.below(2) == 0,
        });
        let all = |i: usize| case.agreements[i].contains(&case.weights[i].total);
        let reached = (0..TILE).all(|i| all(i) && case.agreements[i].contains(&0));
        tally.check(reached, || format!("{bits} bits: no row agrees with all, or none"));
        for count in 1..=TILE {
            let mut terms = plain();
            for i in 0..count {
                terms.limit[i] = case.weights[i].total as f32;
            }
            case.check(level, tally, count, &terms, "all agree");
            case.check(level, tally, count, &plain(), "extreme");
        }
    }
}

/// What cannot be compared survives: NaN and infinities in the terms of rows and queries, and in limits.
pub(super) fn unordered(level: Level, tally: &mut Tally) {
    let mut random = Random(11);
    let bits = 37;
    let weights = random.many(TILE, |random| Weights::new(&random.many(bits, Random::unit)));
    let mut case = Case::new(bits, weights, &mut random, |random, _, _| random.below(2) == 0);
    for r in 0..GROUP {
        for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            // Above everything, so that only the poisoned rows and queries can survive.
            let clean = QueryTerms { limit: [f32::MAX; TILE], ..plain() };
            let i = r % TILE;
            case.scale[r] = poison;
            case.check(level, tally, TILE, &clean, "a scale");
            // 0 × inf is NaN.
            case.check(
                level,
                tally,
                TILE,
                &QueryTerms { alpha: [0.0; TILE], ..clean.clone() },
                "a scale × 0",
            );
            case.scale[r] = 1.0;
            case.offset[r] = poison;
            case.check(level, tally, TILE, &clean, "an offset");
            case.offset[r] = 0.0;
            for part in 0..3 {
                let mut terms = clean.clone();
                [&mut terms.alpha, &mut terms.beta, &mut terms.limit][part][i] = poison;
                case.check(level, tally, TILE, &terms, "a query's terms");
            }
        }
    }
}
