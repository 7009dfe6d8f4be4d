//! Layout, and checks at entry. The sweep over every length is `tests/kernels.rs`.

use std::panic::catch_unwind;

use proptest::prelude::*;

use super::*;
use crate::simd::{self, Level, Simd, Work};

struct Survivors<'a>(&'a [u8], &'a Tile);

impl Work for Survivors<'_> {
    type Output = [u64; TILE];

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> [u64; TILE] {
        simd.lookup_survivors(self.0, None, self.1, &[f32::INFINITY; TILE])
    }
}

proptest! {
    #[test]
    fn rows_come_back_as_written(stages in 0_usize..9, four in any::<bool>(), seed in any::<u32>()) {
        let bits = if four { Bits::Four } else { Bits::Eight };
        let code = |r: usize, m: usize| (seed.wrapping_mul((r * 9 + m + 1) as u32) >> 13) as u8 & bits.max_code();
        let mut group = vec![0xff; group_bytes(bits, stages)];
        for r in 0..GROUP {
            write_row(bits, &mut group, r, &(0..stages).map(|m| code(r, m)).collect::<Vec<_>>());
        }
        let mut other = vec![0; group.len()];
        let tables: Vec<f32> = (0..stages * (usize::from(bits.max_code()) + 1)).map(|i| i as f32).collect();
        for r in 0..GROUP {
            let mut back = vec![0; stages];
            copy_row(&mut other, GROUP - 1 - r, &group, r);
            read_row(bits, &other, GROUP - 1 - r, &mut back);
            prop_assert_eq!(&back, &(0..stages).map(|m| code(r, m)).collect::<Vec<_>>());
            let sum: usize = (0..stages).map(|m| m * (usize::from(bits.max_code()) + 1) + usize::from(code(r, m))).sum();
            prop_assert_eq!(score(bits, &group, r, &tables), sum as f32);
        }
    }
}

#[test]
fn what_does_not_fit_panics() {
    let table = [0.5; 256];
    let tile = Tile::new(Bits::Eight, [&table[..]].into_iter());
    assert_eq!(simd::run(Level::detect(), Survivors(&[3; 64], &tile))[0], u64::MAX);
    assert!(catch_unwind(|| simd::run(Level::detect(), Survivors(&[3; 128], &tile))).is_err());
    assert!(
        catch_unwind(|| Tile::new(Bits::Eight, std::iter::empty::<&[f32]>().collect::<Vec<_>>().into_iter()))
            .is_err()
    );
    assert!(catch_unwind(|| Tile::new(Bits::Four, [&table[..], &table[..16]].into_iter())).is_err());
    assert!(catch_unwind(|| write_row(Bits::Four, &mut [0; 64], 0, &[1, 2, 3])).is_err());
    assert!(catch_unwind(|| read_row(Bits::Eight, &[0; 64], 64, &mut [0])).is_err());
}
