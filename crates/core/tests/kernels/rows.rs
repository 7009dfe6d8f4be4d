//! The `rows` family against oracles in i64, between guards that a read beyond either end would reach.

use counterpoint_core::simd::int8::Bits;
use counterpoint_core::simd::{self, Level, Simd, Work, rows};

use super::{LARGEST, LONGEST, Random, Tally};

struct Dots<'a>(Bits, &'a [u8], [&'a [i8]; 2]);

impl Work for Dots<'_> {
    type Output = [i32; 2];

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> [i32; 2] {
        simd.rows_dots(self.0, self.1, self.2[0], self.2[1])
    }
}

/// The sums of a row, found between guards, at odd addresses.
fn dot(level: Level, tally: &mut Tally, bits: Bits, codes: &[u8], planes: [&[i8]; 2], what: &str) {
    let mut row = vec![0x55; rows::row_bytes(bits, codes.len())];
    rows::write_row(bits, &mut row, codes);
    let mut back = vec![0xff; codes.len()];
    rows::read_row(bits, &row, &mut back);
    tally.check(back == codes, || format!("{bits:?} row of {}, {what}: {back:?}", codes.len()));
    let want = planes
        .map(|plane| plane.iter().zip(codes).map(|(&q, &code)| i64::from(q) * i64::from(code)).sum::<i64>());
    let guarded = [&[0xff; 1], row.as_slice(), &[0xff; 64]].concat();
    let guards = planes.map(|plane| [&[127; 3], plane, &[127; 64]].concat());
    let planes = [0, 1].map(|i| &guards[i][3..][..codes.len()]);
    let got = simd::run(level, Dots(bits, &guarded[1..][..row.len()], planes)).map(i64::from);
    tally.check(got == want, || {
        format!("{} {bits:?} row of {}, {what}: {got:?}, not {want:?}", level.name(), codes.len())
    });
}

pub(super) fn dots(level: Level, tally: &mut Tally) {
    let mut random = Random(11);
    for bits in [Bits::Four, Bits::Eight] {
        for dim in (0..=LONGEST + 8).chain([1000, 4097]) {
            let codes = random.many(dim, |random| random.bits() as u8 & bits.max_code());
            let [high, low] = [0, 1].map(|_| random.many(dim, |random| random.bits() as i8));
            dot(level, tally, bits, &codes, [&high, &low], "random");
        }
        // Where 16 and 32 bits end.
        for dim in [1, 2, 31, 32, 33, 64, 127, 128, LARGEST - 1, LARGEST] {
            for pair in [[-128, -128], [127, 127], [-128, 127], [127, 0]] {
                let plane: Vec<i8> = (0..dim).map(|j| pair[j % 2]).collect();
                let codes = vec![bits.max_code(); dim];
                dot(level, tally, bits, &codes, [&plane, &plane], "extreme");
            }
        }
    }
}
