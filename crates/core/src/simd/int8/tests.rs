//! Layouts, checks at entry, and random codes. The sweep over every length and the extremes are `tests/kernels.rs`.

use std::panic::catch_unwind;

use proptest::prelude::*;

use super::*;
use crate::simd::{self, Level, Simd, Work};

const WIDTHS: [Bits; 2] = [Bits::Four, Bits::Eight];

struct Dots<'a>(Group<'a>, usize, &'a Planes);

impl Work for Dots<'_> {
    type Output = [[i32; QUARTER]; 2];

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> [[i32; QUARTER]; 2] {
        simd.int8_dots(self.0, self.1, self.2)
    }
}

struct Scan<'a>(Group<'a>, &'a Tile);

impl Work for Scan<'_> {
    type Output = [u64; TILE];

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> [u64; TILE] {
        let rows = RowTerms { scale: [1.0; GROUP], bias: [0.0; GROUP], offset: [0.0; GROUP] };
        simd.int8_survivors(self.0, &rows, self.1, &QueryTerms::default())
    }
}

/// A code for row `r`, dimension `j`, over the whole range of the width.
fn code(bits: Bits, r: usize, j: usize) -> u8 {
    ((r * 7 + j * 37 + r * j) % 256) as u8 & bits.max_code()
}

#[test]
fn rows_come_back_as_written() {
    for bits in WIDTHS {
        for dim in 0..=130 {
            let mut group = vec![0; group_bytes(bits, dim)];
            let rows: Vec<Vec<u8>> =
                (0..GROUP).map(|r| (0..dim).map(|j| code(bits, r, j)).collect()).collect();
            // Twice over, last row first: rows must not touch each other, and older codes must go.
            for shift in [1, 0] {
                for r in (0..GROUP).rev() {
                    write_row(bits, &mut group, r, &rows[(r + shift) % GROUP]);
                }
                let mut back = vec![0xff; dim];
                for r in 0..GROUP {
                    read_row(bits, &group, r, &mut back);
                    assert_eq!(back, rows[(r + shift) % GROUP], "{bits:?}, {dim} dimensions, row {r}");
                }
            }
            // Missing dimensions are code 0.
            let sum: u64 = rows.iter().flatten().map(|&code| u64::from(code)).sum();
            let width = bits.width();
            let stored: u64 = group
                .iter()
                .map(|&b| if width == 8 { b.into() } else { u64::from(b & 15) + u64::from(b >> 4) })
                .sum();
            assert_eq!(stored, sum);
        }
    }
}

#[test]
fn the_layout_is_the_one_written_down() {
    let mut group = vec![0; group_bytes(Bits::Eight, 9)];
    assert_eq!(group.len(), 3 * COLUMN);
    write_row(Bits::Eight, &mut group, 5, &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!((&group[20..24], &group[COLUMN + 20..COLUMN + 24]), (&[1, 2, 3, 4][..], &[5, 6, 7, 8][..]));
    assert_eq!(group[2 * COLUMN + 20], 9);

    let mut group = vec![0; group_bytes(Bits::Four, 9)];
    assert_eq!(group.len(), 2 * COLUMN);
    write_row(Bits::Four, &mut group, 5, &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!((&group[20..24], group[COLUMN + 20]), (&[0x51, 0x62, 0x73, 0x84][..], 9));
}

#[test]
fn queries_are_packed_four_to_a_lane() {
    let values: Vec<i8> = (0..9).map(|j| j - 4).collect();
    let lane = |values: [i8; 4]| i32::from_le_bytes(values.map(i8::cast_unsigned));
    let lanes = [lane([-4, -3, -2, -1]), lane([0, 1, 2, 3]), lane([4, 0, 0, 0]), 0];
    let zeros = [0; 9];
    let first: Vec<i32> = lanes.iter().flat_map(|&lane| [lane, 0]).collect();
    let second: Vec<i32> = lanes.iter().flat_map(|&lane| [0, lane]).collect();
    assert_eq!(Planes::new(Bits::Eight, &values, &zeros).quads, first[..6]);
    assert_eq!(Planes::new(Bits::Four, &zeros, &values).quads, second);
    let tile = Tile::new(Bits::Four, 9, [[0; 9].as_slice(), &values]);
    assert_eq!(tile.queries(), 2);
    for (lanes_of, &lane) in tile.quads.chunks_exact(TILE).zip(&lanes) {
        assert_eq!(lanes_of, [0, lane, 0, 0, 0, 0]);
    }
}

#[test]
fn what_does_not_fit_panics() {
    for bits in WIDTHS {
        let mut bytes = vec![0; group_bytes(bits, 16)];
        assert!(catch_unwind(|| Group::new(bits, &bytes[1..])).is_err());
        assert!(catch_unwind(|| write_row(bits, &mut bytes.clone(), GROUP, &[0])).is_err());
        assert!(catch_unwind(|| write_row(bits, &mut bytes.clone(), 0, &[0; 17])).is_err());
        assert!(catch_unwind(|| read_row(bits, &bytes, 0, &mut [0; 17])).is_err());
        let beyond = vec![0; group_bytes(bits, MAX_DIM) + COLUMN];
        assert!(catch_unwind(|| Group::new(bits, &beyond)).is_err());
        assert!(catch_unwind(|| Tile::new(bits, 16, [])).is_err());
        assert!(catch_unwind(|| Tile::new(bits, 16, [[0; 16].as_slice(); TILE + 1])).is_err());
        assert!(catch_unwind(|| Tile::new(bits, 16, [[0; 15].as_slice()])).is_err());
        bytes.fill(1);
        let group = Group::new(bits, &bytes);
        for level in Level::available() {
            let planes = Planes::new(bits, &[1; 16], &[1; 16]);
            assert!(catch_unwind(|| simd::run(level, Dots(group, 4, &planes))).is_err());
            for dim in [0, 8, 24] {
                let query = vec![1; dim];
                let (planes, tile) =
                    (Planes::new(bits, &query, &query), Tile::new(bits, dim, [query.as_slice()]));
                assert!(catch_unwind(|| simd::run(level, Dots(group, 0, &planes))).is_err());
                assert!(catch_unwind(|| simd::run(level, Scan(group, &tile))).is_err());
            }
        }
    }
}

proptest! {
    #[test]
    fn any_codes_give_exact_sums(
        dims in prop::collection::vec((any::<[u8; 3]>(), any::<i8>()), 0..1500),
        wide in any::<bool>(),
        place in 0..GROUP,
    ) {
        let bits = if wide { Bits::Eight } else { Bits::Four };
        let query: Vec<i8> = dims.iter().map(|&(_, q)| q).collect();
        let mut group = vec![0; group_bytes(bits, dims.len())];
        let mut want = [0_i64; GROUP];
        for k in 0..3 {
            let r = (place + 21 * k) % GROUP;
            let codes: Vec<u8> = dims.iter().map(|(codes, _)| codes[k] & bits.max_code()).collect();
            write_row(bits, &mut group, r, &codes);
            want[r] = codes.iter().zip(&query).map(|(&c, &q)| i64::from(c) * i64::from(q)).sum();
        }
        let planes = Planes::new(bits, &query, &query);
        for level in Level::available() {
            for (quarter, want) in want.chunks(QUARTER).enumerate() {
                for got in simd::run(level, Dots(Group::new(bits, &group), quarter, &planes)) {
                    prop_assert_eq!(&got.map(i64::from)[..], want, "{}", level.name());
                }
            }
        }
    }
}
