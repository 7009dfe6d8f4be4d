//! The `nibbles` family against agreements summed in integers and values put together by fused multiply-adds: masks and
//! values to the bit; the sums of residuals within rounding, their signs to the bit.

use counterpoint_core::simd::nibbles::{
    BLOCK, MOST, Query, Residual, RowTerms, STEP, Terms, block_bytes, write_block,
};
use counterpoint_core::simd::{self, Level, Simd, Work};

use super::{LARGEST, LONGEST, Random, Tally, U};

struct Below<'a>(&'a [u8], &'a [RowTerms; BLOCK], &'a Query, Terms);

impl Work for Below<'_> {
    type Output = (u32, [f32; BLOCK]);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let mut values = [f32::NAN; BLOCK];
        let mask = simd.nibbles_below(self.0, self.1, self.2, self.3, &mut values);
        (mask, values)
    }
}

/// 32 rows of bits and a query of whole numbers.
struct Case {
    /// The block, between guards, at an odd address.
    guarded: Vec<u8>,
    query: Query,
    agreements: [u32; BLOCK],
    rows: [RowTerms; BLOCK],
}

impl Case {
    /// `row(r, s)` is bit s of row r. The largest four weights sum to 61, so that a unit is worth 1.
    fn new(
        weights: &[f32],
        random: &mut Random,
        mut row: impl FnMut(&mut Random, usize, usize) -> bool,
    ) -> Self {
        let bits = weights.len();
        let mut rows = vec![0_u8; BLOCK * bits / 8];
        let mut agreements = [0; BLOCK];
        for (r, agreement) in agreements.iter_mut().enumerate() {
            for (s, &weight) in weights.iter().enumerate() {
                let bit = row(random, r, s);
                rows[r * bits / 8 + s / 8] |= u8::from(bit) << (s % 8);
                if (weight > 0.0) == bit {
                    *agreement += weight.abs() as u32;
                }
            }
        }
        let mut guarded = vec![0xff; block_bytes(bits) + 129];
        write_block(&mut guarded[65..65 + block_bytes(bits)], &rows);
        let mut query = Query::default();
        query.refill(weights);
        Self { guarded, query, agreements, rows: [RowTerms::new(1.0, 0.0); BLOCK] }
    }

    fn value(&self, terms: Terms, r: usize) -> f32 {
        let sum = terms.alpha.mul_add(self.agreements[r] as f32, terms.beta);
        let row = self.rows[r];
        terms.unit.mul_add(row.scale().mul_add(sum, row.offset()), terms.base)
    }

    fn check(&self, level: Level, tally: &mut Tally, terms: Terms, what: &str) {
        let bits = self.query.bits();
        let block = &self.guarded[65..65 + block_bytes(bits)];
        let (mask, values) = simd::run(level, Below(block, &self.rows, &self.query, terms));
        let mut want = 0;
        let mut held = true;
        for (r, &got) in values.iter().enumerate() {
            let value = self.value(terms, r);
            want |= u32::from(value < terms.bound) << r;
            held &= got.to_bits() == value.to_bits() || got.is_nan() && value.is_nan();
        }
        tally.check(held && mask == want, || {
            format!("{} nibbles {bits}, {what}: {mask:x}, not {want:x}", level.name())
        });
    }
}

fn plain(bound: f32) -> Terms {
    Terms { alpha: 1.0, beta: 0.0, unit: 1.0, base: 0.0, bound }
}

/// Whole weights of which no four sum to more than 61, and the first four do.
fn weights(bits: usize, random: &mut Random) -> Vec<f32> {
    let mut weights = random.many(bits, |random| random.below(31) as f32 - 15.0);
    if let Some(first) = weights.first_chunk_mut::<4>() {
        *first = [15.0, -16.0, 20.0, -10.0];
    }
    weights
}

/// Every number of bits.
pub(super) fn sums(level: Level, tally: &mut Tally) {
    let mut random = Random(21);
    for bits in (0..=2 * LONGEST).step_by(STEP).chain([1024, 4064, 4096, 4128, 8224, LARGEST]) {
        let weights = weights(bits, &mut random);
        let mut case = Case::new(&weights, &mut random, |random, _, _| random.below(2) == 0);
        let total: f32 = weights.iter().map(|w| w.abs()).sum();
        let known = bits == 0 || (case.query.step == 1.0 && case.query.total == total as u32);
        tally.check(known, || format!("the tables of {bits} bits: a unit of {}", case.query.step));
        for round in 0..8 {
            case.rows.fill_with(|| RowTerms::new(random.unit(), random.unit()));
            let [alpha, beta, unit, base] = [0; 4].map(|_| random.unit());
            let mut terms = Terms { alpha, beta, unit, base, bound: f32::INFINITY };
            // A value, so that ties occur; now and then what every row is below, or none.
            match round {
                0 => {}
                1 => terms.bound = f32::NEG_INFINITY,
                _ => terms.bound = case.value(terms, random.below(BLOCK)),
            }
            case.check(level, tally, terms, "random");
        }
    }
}

/// What brings bytes, 16-bit sums and 32-bit sums closest to their ends, with all bits agreeing, none, and others.
pub(super) fn extremes(level: Level, tally: &mut Tally) {
    let mut random = Random(22);
    for bits in [32, 64, 96, 4096, 4128, 65_536] {
        for sign in [1.0_f32, -1.0] {
            // Four times 15.25, rounded to 15 or 16, make at most 63.
            let values = vec![sign; bits];
            let mut query = Query::default();
            query.refill(&values);
            let unit = query.total as usize / bits;
            tally.check(unit * 4 <= MOST as usize && unit >= 15, || format!("{unit} a bit"));
            let whole = vec![sign * 15.25; bits];
            let mut case = Case::new(&whole, &mut random, |random, r, _| match r % 3 {
                0 => true,
                1 => false,
                _ => random.below(2) == 0,
            });
            case.agreements.iter_mut().for_each(|agreement| *agreement = *agreement / 15 * unit as u32);
            for bound in [f32::INFINITY, query.total as f32] {
                case.check(level, tally, plain(bound), "extreme");
            }
        }
    }
}

/// What cannot be compared is not below.
pub(super) fn unordered(level: Level, tally: &mut Tally) {
    let mut random = Random(23);
    let weights = weights(64, &mut random);
    let mut case = Case::new(&weights, &mut random, |random, _, _| random.below(2) == 0);
    for r in 0..BLOCK {
        for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            case.rows[r] = RowTerms::new(poison, 0.0);
            case.check(level, tally, plain(f32::MAX), "a scale");
            case.rows[r] = RowTerms::new(1.0, poison);
            case.check(level, tally, plain(f32::MAX), "an offset");
            case.rows[r] = RowTerms::new(1.0, 0.0);
            case.check(level, tally, plain(poison), "a bound");
            case.check(level, tally, Terms { base: poison, ..plain(1.0) }, "a base");
        }
    }
}

struct Between<'a>(&'a [f32], &'a [f32], usize);

impl Work for Between<'_> {
    type Output = (Residual, Vec<u8>);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let mut bits = vec![0xff; self.2];
        let residual = simd.residual(self.0, self.1, &mut bits);
        (residual, bits)
    }
}

/// Every length, at odd addresses too, between NaNs that a read beyond either end would bring in.
pub(super) fn residuals(level: Level, tally: &mut Tally) {
    let mut random = Random(24);
    for len in (0..=2 * LONGEST).step_by(STEP).chain([1024, 4128]) {
        for start in 0..4 {
            let mut guarded = |_| {
                let mut values = vec![f32::NAN; len + 32];
                values[8 + start..8 + start + len].fill_with(|| random.unit());
                values
            };
            let [from, mut to] = [0, 1].map(&mut guarded);
            // What is equal has no sign.
            (8 + start..8 + start + len).step_by(7).for_each(|i| to[i] = from[i]);
            let (from, to) = (&from[8 + start..8 + start + len], &to[8 + start..8 + start + len]);
            let (got, bits) = simd::run(level, Between(from, to, len / 8));
            let (mut square, mut absolute, mut along, mut size) = (0.0, 0.0, 0.0, 0.0);
            let mut signs = true;
            for (s, (&from, &to)) in from.iter().zip(to).enumerate() {
                let r = f64::from(to - from);
                square += r * r;
                absolute += r.abs();
                along += f64::from(if r > 0.0 { from } else { -from });
                size += f64::from(from.abs());
                signs &= (bits[s / 8] >> (s % 8) & 1 == 1) == (r > 0.0);
            }
            let bound = (len as f64 + 2.0) * U;
            let near = |got: f32, want: f64, size: f64| (f64::from(got) - want).abs() <= bound * size;
            let held = near(got.square, square, square)
                && near(got.absolute, absolute, absolute)
                && near(got.along, along, size);
            tally.check(signs && held, || format!("{} residual of {len}: {got:?}", level.name()));
        }
    }
}
