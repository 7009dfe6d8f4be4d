//! Layout, tables, checks at entry. The sweep over every length is `tests/kernels.rs`.

use std::panic::catch_unwind;

use proptest::prelude::*;

use super::*;
use crate::simd::{self, Level, Simd, Work};

struct Below<'a>(&'a [u8], &'a [f32]);

impl Work for Below<'_> {
    type Output = (u32, [f32; BLOCK], f32, u32);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let mut query = Query::default();
        query.refill(self.1);
        let rows = &[RowTerms::new(1.0, 0.0); BLOCK];
        let terms = Terms { alpha: 1.0, beta: 0.0, unit: 1.0, base: 0.0, bound: f32::INFINITY };
        let mut values = [0.0; BLOCK];
        let mask = simd.nibbles_below(self.0, rows, &query, terms, &mut values);
        (mask, values, query.step, query.total)
    }
}

proptest! {
    #[test]
    fn rows_come_back_as_written(steps in 0_usize..5, seed in any::<u32>()) {
        let row_bytes = steps * STEP / 8;
        let rows: Vec<u8> =
            (0..BLOCK * row_bytes).map(|i| (seed.wrapping_mul(i as u32 + 1) >> 13) as u8).collect();
        let mut block = vec![0xff; block_bytes(steps * STEP)];
        write_block(&mut block, &rows);
        for r in 0..BLOCK {
            let mut back = vec![0; row_bytes];
            read_row(&block, r, &mut back);
            prop_assert_eq!(&back[..], &rows[r * row_bytes..][..row_bytes]);
        }
    }

    /// The product of a query with ±1 is known to half a step for each bit.
    #[test]
    fn sums_are_those_of_the_values(values in prop::collection::vec(-1.0_f32..1.0, 64), rows in prop::collection::vec(any::<u8>(), 256)) {
        let mut block = vec![0; block_bytes(64)];
        write_block(&mut block, &rows);
        for level in Level::available() {
            let (mask, found, step, total) = simd::run(level, Below(&block, &values));
            prop_assert_eq!(mask, u32::MAX);
            for (row, found) in rows.chunks(8).zip(found) {
                let sign = |s: usize| if row[s / 8] >> (s % 8) & 1 == 1 { 1.0 } else { -1.0 };
                let exact: f32 = values.iter().enumerate().map(|(s, v)| v * sign(s)).sum();
                let product = step * (2.0 * found - total as f32);
                prop_assert!((product - exact).abs() <= 64.0 * 0.501 * step, "{product}, not {exact}");
            }
        }
    }
}

/// A query of 16 values for every four bits.
struct Looked<'a>(&'a [u8], &'a [f32]);

impl Work for Looked<'_> {
    type Output = ([f32; BLOCK], f32, f32);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let mut query = Query::default();
        let rest = query.refill_tables(self.1);
        let rows = &[RowTerms::new(1.0, 0.0); BLOCK];
        let terms = Terms { alpha: query.step, beta: rest, unit: 1.0, base: 0.0, bound: f32::INFINITY };
        let mut values = [0.0; BLOCK];
        simd.nibbles_below(self.0, rows, &query, terms, &mut values);
        (values, query.step, rest)
    }
}

proptest! {
    #[test]
    fn sums_are_those_of_any_tables(values in prop::collection::vec(-3.0_f32..9.0, 256), rows in prop::collection::vec(any::<u8>(), 256)) {
        let mut block = vec![0; block_bytes(64)];
        write_block(&mut block, &rows);
        for level in Level::available() {
            let (found, step, _) = simd::run(level, Looked(&block, &values));
            for (row, found) in rows.chunks(8).zip(found) {
                let entry = |m: usize| values[16 * m + usize::from(row[m / 2] >> (m % 2 * 4) & 15)];
                let exact: f32 = (0..16).map(entry).sum();
                prop_assert!((found - exact).abs() <= 16.0 * 0.51 * step, "{found}, not {exact}");
            }
        }
    }
}

#[test]
fn equal_values_need_no_tables() {
    let (values, step, rest) = simd::run(Level::detect(), Looked(&[0x5a; 128], &[2.5; 128]));
    assert_eq!((values, step, rest), ([20.0; BLOCK], 0.0, 20.0));
}

#[test]
fn odd_queries_have_tables() {
    let mut query = Query::default();
    assert_eq!((query.bits(), query.total), (0, 0));
    query.refill(&[0.0; 32]);
    assert_eq!((query.bits(), query.total, query.step), (32, 0, 0.0));
    query.refill(&[1e-35; 32]);
    assert_eq!((query.total, query.step), (0, 0.0));
    query.refill(&[1e38; 64]);
    assert!(query.step.is_infinite() && query.total == 0, "beyond what a vector may hold");
    query.refill(&[1e15; 96]);
    assert!((query.step * query.total as f32 / 96e15 - 1.0).abs() < 0.02);
}

proptest! {
    #[test]
    fn terms_have_eight_bits(scale in -1e35_f32..1e35, offset in -1e35_f32..1e35, small in any::<bool>()) {
        let (scale, offset) = if small { (scale * 1e-35, offset * 1e-35) } else { (scale, offset) };
        let terms = RowTerms::new(scale, offset);
        prop_assert!((terms.scale() - scale).abs() <= scale.abs() / 256.0);
        prop_assert!((terms.offset() - offset).abs() <= offset.abs() / 256.0);
        prop_assert_eq!(RowTerms::new(terms.scale(), terms.offset()), terms);
    }
}

#[test]
fn what_does_not_fit_panics() {
    let values = [1.0; 32];
    assert!(catch_unwind(|| simd::run(Level::detect(), Below(&[0; 64], &values))).is_err());
    assert!(catch_unwind(|| simd::run(Level::detect(), Below(&[0; 128], &[1.0; 16]))).is_err());
    assert!(catch_unwind(|| write_block(&mut [0; 64], &[0; 128])).is_err());
    assert!(catch_unwind(|| read_row(&[0; 128], BLOCK, &mut [0; 4])).is_err());
}
