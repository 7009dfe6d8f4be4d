//! The `lines` family against an oracle in i64, at every length, between guards.

use counterpoint_core::simd::int8::{self, Bits};
use counterpoint_core::simd::{self, Level, Simd, Work, lines};

use super::{LARGEST, LONGEST, Random, Tally};

struct Dots<'a>(lines::Rows<'a>, &'a [u32], &'a lines::Query, &'a mut [[i32; 2]]);

impl Work for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        simd.lines_dots(self.0, self.1, self.2, self.3);
    }
}

/// Rows of codes, found between others, some of them twice.
fn dots(level: Level, tally: &mut Tally, bits: Bits, rows: &[Vec<u8>], high: &[i8], low: &[i8], what: &str) {
    let dim = high.len();
    let stride = lines::row_bytes(bits, dim);
    let mut bytes = vec![0xff; (rows.len() + 1) * stride];
    for (codes, row) in rows.iter().zip(bytes.chunks_exact_mut(stride.max(1))) {
        lines::write_row(bits, codes, row);
    }
    let values = int8::Query { high: high.to_vec(), low: low.to_vec(), step: 1.0, low_sum: 0, low_norm: 0.0 };
    let mut query = lines::Query::default();
    query.refill(bits, &values);
    let ids: Vec<u32> = (0..rows.len() as u32).rev().chain([0; 2]).collect();
    for count in 0..=ids.len() {
        let mut sums = vec![[7; 2]; count];
        simd::run(level, Dots(lines::Rows::new(bits, dim, &bytes), &ids[..count], &query, &mut sums));
        for (&id, got) in ids.iter().zip(&sums) {
            let want = [high, low].map(|plane| -> i64 {
                let pairs = rows[id as usize].iter().zip(plane);
                pairs.map(|(&code, &value)| i64::from(code) * i64::from(value)).sum()
            });
            tally.check(got.map(i64::from) == want, || {
                let bits = bits.width();
                format!("{} × {bits} × {dim}, {what}, {id} of {count}: {got:?}, not {want:?}", level.name())
            });
        }
    }
}

pub(super) fn every_length(level: Level, tally: &mut Tally) {
    let mut random = Random(8);
    for bits in [Bits::Four, Bits::Eight] {
        for dim in 0..=LONGEST {
            let rows: Vec<Vec<u8>> =
                (0..5).map(|_| random.many(dim, |random| random.bits() as u8 & bits.max_code())).collect();
            let [high, low] = [0; 2].map(|_| random.many(dim, |random| random.bits() as i8));
            dots(level, tally, bits, &rows, &high, &low, "random");
        }
    }
}

/// Where 16 and 32 bits end.
pub(super) fn extremes(level: Level, tally: &mut Tally) {
    for bits in [Bits::Four, Bits::Eight] {
        for dim in [64, 256, 1000, LARGEST] {
            let rows = vec![vec![bits.max_code(); dim]];
            dots(level, tally, bits, &rows, &vec![-128; dim], &vec![127; dim], "extreme");
        }
    }
}
