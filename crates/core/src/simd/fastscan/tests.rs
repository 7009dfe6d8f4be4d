//! Layout, weights, checks at entry. The sweep over every length is `tests/kernels.rs`.

use std::panic::catch_unwind;

use proptest::prelude::*;

use super::*;
use crate::simd::{self, Level, Simd, Work};

/// Where bit `s` of row `r` lies in its group: the byte, and the bit within it.
fn place(r: usize, s: usize) -> (usize, usize) {
    let (triple, field, bit) = (s / TRIPLE_BITS, s % TRIPLE_BITS / 6, s % 6);
    let (line, bit) = if field < 3 { (field, bit) } else { (bit / 2, 6 + bit % 2) };
    (triple * TRIPLE + line * GROUP + lane(r), bit)
}

/// Bit `s` of row `r`.
fn bit(r: usize, s: usize) -> bool {
    (r * 7 + s * 13 + r * s) % 5 < 2
}

fn row(r: usize, bits: usize) -> Vec<u8> {
    let mut bytes = vec![0; bits.div_ceil(8)];
    (0..bits).for_each(|s| bytes[s / 8] |= u8::from(bit(r, s)) << (s % 8));
    bytes
}

#[test]
fn rows_come_back_as_written() {
    for bits in 0..=200 {
        let mut group = vec![0; group_bytes(bits)];
        for r in (0..GROUP).rev() {
            write_row(&mut group, r, &[0xff; 40]);
            write_row(&mut group, r, &row(r, bits));
        }
        for r in 0..GROUP {
            let mut back = vec![0; bits.div_ceil(8)];
            read_row(&group, r, &mut back);
            assert_eq!(back, row(r, bits), "{bits} bits, row {r}");
            for s in 0..bits {
                let (byte, at) = place(r, s);
                assert_eq!(group[byte] >> at & 1 == 1, bit(r, s), "bit {s} of row {r}");
            }
            let mut copy = vec![0; group_bytes(bits)];
            copy_row(&mut copy, 63 - r, &group, r);
            read_row(&copy, 63 - r, &mut back);
            assert_eq!(back, row(r, bits));
        }
        let mut rows = vec![0xff; GROUP * bits.div_ceil(8)];
        read_rows(&group, &mut rows);
        assert_eq!(rows, (0..GROUP).flat_map(|r| row(r, bits)).collect::<Vec<_>>(), "{bits} bits, all rows");
    }
}

#[test]
fn the_layout_is_the_one_written_down() {
    assert_eq!(place(0, 0), (0, 0));
    assert_eq!(place(17, 5), (4 + 1, 5));
    assert_eq!(place(1, 6), (GROUP + 4, 0));
    assert_eq!(place(0, 18), (0, 6));
    assert_eq!(place(0, 23), (2 * GROUP, 7));
    assert_eq!(place(0, 24), (TRIPLE, 0));
}

struct Survivors<'a>(&'a [u8], &'a [Weights]);

impl Work for Survivors<'_> {
    type Output = ([u64; TILE], [[f32; GROUP]; TILE]);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let tile = Tile::new(S::TABLES, self.1.iter());
        let rows = RowTerms { scale: &[1.0; GROUP], offset: &[0.0; GROUP] };
        let terms = QueryTerms { alpha: [1.0; TILE], ..QueryTerms::default() };
        let mut values = [[0.0; GROUP]; TILE];
        let masks = simd.fastscan_survivors(self.0, rows, &tile, &terms, &mut values);
        (masks, values)
    }
}

proptest! {
    #[test]
    fn agreement_is_that_of_the_weights(
        values in prop::collection::vec(prop::collection::vec(-1.0_f32..1.0, 1..150), 1..=TILE),
    ) {
        let bits = values.iter().map(Vec::len).max().unwrap_or(0);
        let weights: Vec<Weights> = values
            .iter()
            .map(|v| Weights::new(&v.iter().copied().chain(std::iter::repeat(0.0)).take(bits).collect::<Vec<_>>()))
            .collect();
        let mut group = vec![0; group_bytes(bits)];
        (0..GROUP).for_each(|r| write_row(&mut group, r, &row(r, bits)));
        for level in Level::available() {
            let (masks, found) = simd::run(level, Survivors(&group, &weights));
            for (i, weights) in weights.iter().enumerate() {
                prop_assert_eq!(masks[i], u64::MAX);
                for (r, &found) in found[i].iter().enumerate() {
                    let agree = (0..bits).filter(|&s| bit(r, s) == (weights.values()[s] > 0));
                    let sum: u32 = agree.map(|s| u32::from(weights.values()[s].unsigned_abs())).sum();
                    prop_assert_eq!(found, sum as f32);
                }
            }
        }
    }

    #[test]
    fn weights_are_within_half_a_step_and_fit_every_look_up(values in prop::collection::vec(-1e15_f32..1e15, 0..300)) {
        let weights = Weights::new(&values);
        prop_assert_eq!(weights.values().len() % TRIPLE_BITS, 0);
        for (value, &w) in values.iter().zip(weights.values()) {
            prop_assert!((value - weights.step * f32::from(w)).abs() <= weights.step * 0.501);
        }
        let sum = |w: &[i8]| w.iter().map(|w| u32::from(w.unsigned_abs())).sum::<u32>();
        prop_assert_eq!(weights.total, sum(weights.values()));
        for triple in weights.values().as_chunks::<TRIPLE_BITS>().0 {
            prop_assert!(triple.as_chunks::<6>().0.iter().all(|field| sum(field) <= MOST));
            prop_assert!(nibbles(triple).iter().all(|nibble| sum(nibble) <= MOST));
        }
    }
}

#[test]
fn odd_queries_have_weights() {
    assert_eq!(Weights::new(&[]).values().len(), 0);
    let zero = Weights::new(&[0.0; 5]);
    assert_eq!((zero.total, zero.error), (0, 0.0));
    let tiny = Weights::new(&[1e-35; 5]);
    assert_eq!((tiny.total, tiny.step), (0, 0.0));
    let most = Weights::new(&[1.0; MAX_BITS]);
    assert!(most.total <= 65_535 && most.values().iter().all(|&w| w == 1));
    let equal = Weights::new(&[1.0; MAX_BITS + 24]);
    assert_eq!((equal.total, equal.error), (0, ((MAX_BITS + 24) as f32).sqrt()));
    let values: Vec<f32> = (0..200_000).map(|i| ((i % 1000) as f32 / 500.0 - 1.0).powi(3)).collect();
    let long = Weights::new(&values);
    let length = values.iter().map(|v| f64::from(v * v)).sum::<f64>().sqrt();
    assert!((10_000..=65_535).contains(&long.total), "{}", long.total);
    assert!(f64::from(long.error) < 0.9 * length, "{} of {length}", long.error);
}

#[test]
fn what_does_not_fit_panics() {
    let weights = [Weights::new(&[1.0; 24])];
    assert!(catch_unwind(|| simd::run(Level::detect(), Survivors(&[0; 2 * TRIPLE], &weights))).is_err());
    assert!(catch_unwind(|| Tile::new(Tables::Fields, [].iter())).is_err());
    let other = [Weights::new(&[1.0; 24]), Weights::new(&[1.0; 25])];
    assert!(catch_unwind(|| Tile::new(Tables::Fields, other.iter())).is_err());
    assert!(catch_unwind(|| write_row(&mut [0; TRIPLE], GROUP, &[])).is_err());
}
