//! The `bytes` family against oracles in f64, at odd addresses, between guards that a read beyond either end would
//! bring in.

use counterpoint_core::simd::{self, Level, Simd, Work, bytes, f32};

use super::{LARGEST, LONGEST, Random, Tally, U, dot, norm, squared_l2};

struct Pair<'a>(&'a [f32], bytes::Row<'a>);

impl Work for Pair<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> (f32, f32) {
        (simd.bytes_dot(self.0, self.1), simd.bytes_squared_l2(self.0, self.1))
    }
}

/// A query × one row of codes.
pub(super) fn rows(level: Level, tally: &mut Tally) {
    let mut random = Random(9);
    for len in (0..=LONGEST).chain([1000, 4097, LARGEST]) {
        for start in 0..4 {
            let mut query = vec![f32::NAN; len + 32];
            query[8 + start..8 + start + len].fill_with(|| random.unit());
            let query = &query[8 + start..8 + start + len];
            let mut codes = vec![255; len + 64];
            codes[16 + start..16 + start + len].fill_with(|| random.below(256) as u8);
            let codes = &codes[16 + start..16 + start + len];
            let row = bytes::Row { codes, scale: 0.01 * (1.0 + random.unit()), offset: random.unit() };
            // The values are made by two roundings, the same everywhere.
            let values: Vec<f32> = codes.iter().map(|&code| row.value(code)).collect();
            let (got_dot, got_l2) = simd::run(level, Pair(query, row));
            let error = f64::from(f32::dot_error(len));
            let want = dot(query, &values);
            tally.check((f64::from(got_dot) - want).abs() <= error * norm(query) * norm(&values), || {
                format!("{} dot of {len} bytes: {got_dot}, not {want}", level.name())
            });
            let want = squared_l2(query, &values);
            tally.check((f64::from(got_l2) - want).abs() <= (error + 3.0 * U) * want, || {
                format!("{} squared l2 of {len} bytes: {got_l2}, not {want}", level.name())
            });
        }
    }
}

/// Every code at every place of a block, in sums that are exact: lanes do not mix, and codes are unsigned.
pub(super) fn codes(level: Level, tally: &mut Tally) {
    for len in [1, 3, 8, 15, 16, 17, 31, 64, 67, 130] {
        for place in 0..len {
            let mut query = vec![0.0; len];
            query[place] = 1.0;
            for code in [0, 1, 127, 128, 200, 255] {
                let mut codes = vec![7; len];
                codes[place] = code;
                let row = bytes::Row { codes: &codes, scale: 2.0, offset: -3.0 };
                let value = 2.0 * f32::from(code) - 3.0;
                // All others are 2·7 − 3 = 11.
                let squares = 121.0 * (len - 1) as f32 + (1.0 - value) * (1.0 - value);
                let got = simd::run(level, Pair(&query, row));
                tally.check(got == (value, squares), || {
                    format!("{} code {code} at {place} of {len}: {got:?}", level.name())
                });
            }
        }
    }
}
