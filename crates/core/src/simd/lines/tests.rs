//! The layout, and checks at entry. The sweep over every length and the extremes are `tests/kernels/lines.rs`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::simd::{self, Level, Simd, Work};

struct Dots<'a>(Rows<'a>, &'a [u32], &'a Query, &'a mut [[i32; 2]]);

impl Work for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        simd.lines_dots(self.0, self.1, self.2, self.3);
    }
}

#[test]
fn the_layout_is_the_one_written_down() {
    let codes: Vec<u8> = (0..200).map(|j| (j % 16) as u8).collect();
    let mut row = vec![0xff; row_bytes(Bits::Four, 200)];
    write_row(Bits::Four, &codes, &mut row);
    assert_eq!((row.len(), row[3], row[LINE + 1]), (128, 3 | 3 << 4, (129 % 16) as u8 | (193 % 16) << 4));
    let mut back = vec![0; 200];
    read_row(Bits::Four, &row, &mut back);
    assert!(back == codes && is_padded(Bits::Four, 200, &row) && !is_padded(Bits::Four, 199, &row));
    for dim in 1..300 {
        for bits in [Bits::Four, Bits::Eight] {
            let codes: Vec<u8> = (0..dim).map(|j| (j * 37 + 1) as u8 & bits.max_code() | 1).collect();
            let mut row = vec![0xff; row_bytes(bits, dim)];
            write_row(bits, &codes, &mut row);
            let mut back = vec![0; dim];
            read_row(bits, &row, &mut back);
            assert!(back == codes && is_padded(bits, dim, &row), "{dim}");
            if row_bytes(bits, dim - 1) == row.len() {
                assert!(!is_padded(bits, dim - 1, &row), "{dim}");
            }
        }
    }
}

#[test]
fn what_does_not_fit_panics() {
    let values = int8::Query::new(&[0.5; 130]);
    let mut query = Query::default();
    query.refill(Bits::Four, &values);
    let bytes = vec![0x11; 3 * 128];
    for level in Level::available() {
        let refused = |dim: usize, ids: &[u32], sums: usize| {
            let mut sums = vec![[0; 2]; sums];
            let rows = Rows::new(Bits::Four, dim, &bytes);
            catch_unwind(AssertUnwindSafe(|| simd::run(level, Dots(rows, ids, &query, &mut sums)))).is_err()
        };
        assert!(!refused(130, &[0, 2, 1, 1, 0], 5) && !refused(256, &[2], 1) && !refused(130, &[], 0));
        assert!(refused(130, &[0, 3], 2), "no such row");
        assert!(refused(130, &[0], 2), "more sums than rows");
        assert!(refused(128, &[0], 1) && refused(257, &[0], 1), "a query of another dimension");
    }
    assert!(catch_unwind(|| Rows::new(Bits::Four, MAX_DIM + 1, &[]).row_bytes).is_err());
}
