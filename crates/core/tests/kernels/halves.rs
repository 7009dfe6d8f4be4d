//! The `halves` family against oracles in f64, at odd addresses, between guards that a read beyond either end would
//! bring in.

use counterpoint_core::simd::{self, Level, Simd, Work, f32};
use half::f16;

use super::{LARGEST, LONGEST, Random, Tally, U, dot, norm, squared_l2};

struct Pair<'a>(&'a [f32], &'a [f16]);

impl Work for Pair<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> (f32, f32) {
        (simd.halves_dot(self.0, self.1), simd.halves_squared_l2(self.0, self.1))
    }
}

/// A query × one row.
pub(super) fn rows(level: Level, tally: &mut Tally) {
    let mut random = Random(31);
    for len in (0..=LONGEST).chain([1000, 4097, LARGEST]) {
        for start in 0..4 {
            let mut query = vec![f32::NAN; len + 32];
            query[8 + start..8 + start + len].fill_with(|| random.unit());
            let query = &query[8 + start..8 + start + len];
            let mut row = vec![f16::NAN; len + 64];
            row[16 + start..16 + start + len].fill_with(|| f16::from_f32(random.unit()));
            let row = &row[16 + start..16 + start + len];
            let values: Vec<f32> = row.iter().map(|value| value.to_f32()).collect();
            let (got_dot, got_l2) = simd::run(level, Pair(query, row));
            let error = f64::from(f32::dot_error(len));
            let want = dot(query, &values);
            tally.check((f64::from(got_dot) - want).abs() <= error * norm(query) * norm(&values), || {
                format!("{} dot of {len} halves: {got_dot}, not {want}", level.name())
            });
            let want = squared_l2(query, &values);
            tally.check((f64::from(got_l2) - want).abs() <= (error + 3.0 * U) * want, || {
                format!("{} squared l2 of {len} halves: {got_l2}, not {want}", level.name())
            });
        }
    }
}

/// Every finite value at some place of a block, subnormal ones too.
pub(super) fn values(level: Level, tally: &mut Tally) {
    let finite = (0..=u16::MAX).map(f16::from_bits).filter(|value| value.is_finite());
    for (number, value) in finite.enumerate() {
        let len = [1, 7, 16, 17, 35, 64][number % 6];
        let (mut query, mut row) = (vec![0.0; len], vec![f16::ZERO; len]);
        let place = number / 6 % len;
        (query[place], row[place]) = (1.0, value);
        let wide = value.to_f32();
        let got = simd::run(level, Pair(&query, &row));
        tally.check(got == (wide, (1.0 - wide) * (1.0 - wide)), || {
            format!("{} half {value:e} at {place} of {len}: {got:?}", level.name())
        });
    }
}
