//! The layout, checks at entry, and random rows. The sweep over every length and the extremes are
//! `tests/kernels/planes.rs`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;

use super::*;
use crate::simd::{self, Level, Simd, Work};

struct Sum<'a>(&'a [u8], &'a [usize], &'a [i8]);

impl Work for Sum<'_> {
    type Output = i32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> i32 {
        simd.planes_sum(self.0, self.1, self.2)
    }
}

struct Expand<'a>(&'a [u8], u32, &'a mut [u8]);

impl Work for Expand<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        simd.planes_expand(self.0, self.1, self.2);
    }
}

struct Dots<'a>(Codes<'a>, &'a [[u8; LEVELS]], &'a [i8], &'a [i8]);

impl Work for Dots<'_> {
    type Output = [i32; 2];

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> [i32; 2] {
        simd.planes_dots(self.0, self.1, self.2, self.3)
    }
}

#[test]
fn the_layout_is_the_one_written_down() {
    // Plane 0 reaches 64 dimensions and has bits 0 and 41; plane 1 reaches 32 and has bits 0 and 15.
    let planes = [1, 0, 0, 0, 0, 2, 0, 0, 1, 0x80, 0, 0];
    let spans = [64, 32];
    assert_eq!(row_bytes(&spans), planes.len());
    let mut weights = [0; 64];
    (weights[0], weights[15], weights[41]) = (1, 10, 100);
    for level in Level::available() {
        assert_eq!(simd::run(level, Sum(&planes, &spans, &weights)), 2 * 101 + 11);
        assert_eq!(simd::run(level, Sum(&[], &[], &[])), 0);
        assert_eq!(simd::run(level, Sum(&[], &[0, 0], &[])), 0);
        let mut codes = [0; 42];
        simd::run(level, Expand(&planes[..8], 1, &mut codes));
        simd::run(level, Expand(&planes[8..], 0, &mut codes[..32]));
        assert_eq!((codes[0], codes[15], codes[41]), (3, 1, 2));
        assert_eq!(codes.iter().sum::<u8>(), 6);
    }
}

#[test]
fn what_does_not_fit_panics() {
    let (planes, weights) = ([0xff; 64], [1; 128]);
    let too_long = vec![1; MAX_DIM + STEP];
    for level in Level::available() {
        let refused = |planes: &[u8], spans: &[usize], weights: &[i8]| {
            catch_unwind(|| simd::run(level, Sum(planes, spans, weights))).is_err()
        };
        assert!(!refused(&planes[..20], &[96, 64], &weights[..96]));
        assert!(refused(&planes[..20], &[96, 64], &weights[..95]), "too few weights");
        assert!(refused(&planes[..19], &[96, 64], &weights), "too few bytes");
        assert!(refused(&planes[..21], &[96, 64], &weights), "too many bytes");
        assert!(refused(&planes[..20], &[64, 96], &weights), "a plane longer than the one before");
        assert!(refused(&planes[..5], &[40], &weights), "no multiple of 32");
        assert!(refused(&planes[..36], &[32; 9], &weights), "nine planes");
        assert!(refused(&vec![0; too_long.len() / 8], &[too_long.len()], &too_long), "beyond MAX_DIM");

        let refused = |bits: &[u8], shift: u32, codes: usize| {
            let mut codes = vec![0; codes];
            catch_unwind(AssertUnwindSafe(|| simd::run(level, Expand(bits, shift, &mut codes)))).is_err()
        };
        assert!(!refused(&planes[..2], 7, 16));
        assert!(refused(&planes[..2], 7, 17), "more codes than bits");
        assert!(refused(&planes[..2], 8, 16), "no such bit");

        // Two runs of 16: two top planes of 4 bytes, three low ones of 2.
        let fits = Codes { top: &planes[..8], tops: 2, low: &planes[..6], lows: 3, run: 16 };
        let refused = |codes: Codes<'_>, tables: usize, high: usize, low: usize| {
            let tables = vec![[1; LEVELS]; tables];
            let (high, low) = (&too_long[..high], &too_long[..low]);
            catch_unwind(|| simd::run(level, Dots(codes, &tables, high, low))).is_err()
        };
        assert!(!refused(fits, 2, 32, 32));
        assert!(refused(fits, 2, 31, 32) && refused(fits, 2, 32, 33), "planes of another length");
        assert!(refused(fits, 1, 32, 32) && refused(fits, 3, 32, 32), "other tables");
        assert!(refused(Codes { run: 12, ..fits }, 2, 24, 24), "no multiple of 8");
        assert!(refused(Codes { top: &planes[..7], ..fits }, 2, 32, 32), "a short top plane");
        assert!(refused(Codes { low: &planes[..7], ..fits }, 2, 32, 32), "a long low plane");
        assert!(refused(Codes { tops: usize::MAX, ..fits }, 2, 32, 32), "no such planes");
        let seven = Codes { top: &planes[..16], tops: 4, ..fits };
        assert!(refused(seven, 2, 32, 32), "seven planes");
        let long = Codes { top: &[], tops: 0, low: &[], lows: 0, run: MAX_DIM / 2 + 8 };
        assert!(refused(long, 2, too_long.len(), too_long.len()), "beyond MAX_DIM");
        assert!(refused(Codes { run: usize::MAX - 7, ..long }, 2, 0, 0), "more than there can be");
    }
}

proptest! {
    #[test]
    fn a_row_is_the_same_by_planes_and_by_codes(
        dims in prop::collection::vec((0..64_u8, any::<i8>(), any::<i8>()), 0..1200),
        count in 1..=6_usize,
        table in any::<[u8; 32]>(),
    ) {
        // Whole steps of dimensions, as planes of `count` bits.
        let dim = dims.len() / STEP * STEP;
        let codes: Vec<u8> = dims[..dim].iter().map(|&(code, _, _)| code & ((1 << count) - 1)).collect();
        let [high, low]: [Vec<i8>; 2] =
            [dims[..dim].iter().map(|d| d.1).collect(), dims[..dim].iter().map(|d| d.2).collect()];
        let mut planes = vec![0; count * dim / 8];
        for (p, plane) in planes.chunks_mut((dim / 8).max(1)).enumerate() {
            for (j, code) in codes.iter().enumerate() {
                plane[j / 8] |= (code >> (count - 1 - p) & 1) << (j % 8);
            }
        }
        let table: [u8; LEVELS] = std::array::from_fn(|k| table[k / 2]);
        let identity: [u8; LEVELS] = std::array::from_fn(|k| k as u8);
        let want = [&high, &low].map(|plane| {
            codes.iter().zip(plane).map(|(&c, &q)| i32::from(table[usize::from(c)]) * i32::from(q)).sum::<i32>()
        });
        for level in Level::available() {
            let sum = simd::run(level, Sum(&planes, &vec![dim; count], &high));
            for tops in 0..=count {
                let (top, bottom) = planes.split_at(tops * dim / 8);
                let codes = Codes { top, tops, low: bottom, lows: count - tops, run: dim };
                prop_assert_eq!([sum, sum], simd::run(level, Dots(codes, &[identity], &high, &high)));
                prop_assert_eq!(simd::run(level, Dots(codes, &[table], &high, &low)), want);
            }
            let mut back = vec![0; dim];
            for (p, plane) in planes.chunks((dim / 8).max(1)).enumerate() {
                simd::run(level, Expand(plane, (count - 1 - p) as u32, &mut back));
            }
            prop_assert_eq!(&back, &codes);
        }
    }
}
