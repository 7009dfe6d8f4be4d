//! One row of unsigned 8- or 4-bit codes × both signed 8-bit planes of a query: exact integer sums, for rows that are
//! read one by one.
//!
//! **Layout of a row** of d codes ([`row_bytes`] bytes): a byte each, or two a byte. Of 4-bit codes, with h = ⌈d/2⌉, the
//! low half of byte j is dimension j and its high half dimension h + j (0 where there is none): both halves of a
//! register are consecutive dimensions.
//!
//! **Ranges.** As in [`super::int8`]: at most 255·128·65,536 < 2³¹ in magnitude.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon;
pub(super) mod scalar;

use crate::simd::int8::Bits;
use crate::vectors::MAX_DIM;

/// Bytes of a row of `dim` codes.
pub fn row_bytes(bits: Bits, dim: usize) -> usize {
    match bits {
        Bits::Eight => dim,
        Bits::Four => dim.div_ceil(2),
    }
}

/// Writes codes, one a byte, as a row.
///
/// # Panics
/// If the row is not of that many codes.
#[inline(always)]
pub fn write_row(bits: Bits, row: &mut [u8], codes: &[u8]) {
    assert_eq!(row.len(), row_bytes(bits, codes.len()), "a row of another dimension");
    match bits {
        Bits::Eight => row.copy_from_slice(codes),
        Bits::Four => {
            let (first, second) = codes.split_at(row.len());
            for (byte, &code) in row.iter_mut().zip(first) {
                *byte = code & 15;
            }
            for (byte, &code) in row.iter_mut().zip(second) {
                *byte |= code << 4;
            }
        }
    }
}

/// Reads the codes of a row, one a byte.
///
/// # Panics
/// If the row is not of that many codes.
#[inline(always)]
pub fn read_row(bits: Bits, row: &[u8], codes: &mut [u8]) {
    assert_eq!(row.len(), row_bytes(bits, codes.len()), "a row of another dimension");
    match bits {
        Bits::Eight => codes.copy_from_slice(row),
        Bits::Four => {
            let (first, second) = codes.split_at_mut(row.len());
            first.iter_mut().zip(row).for_each(|(code, &byte)| *code = byte & 15);
            second.iter_mut().zip(row).for_each(|(code, &byte)| *code = byte >> 4);
        }
    }
}

/// What the kernel reads, with its lengths checked.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    /// As many bytes as `high` has values, or for 4 bits half as many, rounded up.
    pub(super) row: &'a [u8],
    pub(super) high: &'a [i8],
    /// As many.
    pub(super) low: &'a [i8],
}

impl<'a> View<'a> {
    #[inline(always)]
    pub(super) fn checked(bits: Bits, row: &'a [u8], high: &'a [i8], low: &'a [i8]) -> Self {
        assert!(high.len() <= MAX_DIM && low.len() == high.len(), "planes of different dimensions"); // Check 1
        assert_eq!(row.len(), row_bytes(bits, high.len()), "codes and query of different dimensions"); // Check 2
        Self { row, high, low }
    }
}

#[cfg(test)]
mod tests {
    //! Layouts and checks at entry. The sweep over every length and the extremes are `tests/kernels/rows.rs`.

    use std::panic::catch_unwind;

    use super::*;
    use crate::simd::{self, Level, Simd, Work};

    struct Dots<'a>(Bits, &'a [u8], &'a [i8], &'a [i8]);

    impl Work for Dots<'_> {
        type Output = [i32; 2];

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> [i32; 2] {
            simd.rows_dots(self.0, self.1, self.2, self.3)
        }
    }

    #[test]
    fn the_layout_is_the_one_written_down() {
        let mut row = [0xff; 3];
        write_row(Bits::Four, &mut row, &[1, 2, 3, 4, 5]);
        assert_eq!(row, [0x41, 0x52, 0x03]);
        write_row(Bits::Eight, &mut row, &[1, 2, 3]);
        assert_eq!(row, [1, 2, 3]);
    }

    #[test]
    fn what_does_not_fit_panics() {
        for (bits, bytes) in [(Bits::Four, 8), (Bits::Eight, 16)] {
            let (row, plane) = (vec![0; bytes], [0; 16]);
            for level in Level::available() {
                let dots = |row, high, low| catch_unwind(|| simd::run(level, Dots(bits, row, high, low)));
                assert!(dots(&row, &plane, &plane).is_ok());
                assert!(dots(&row[1..], &plane, &plane).is_err());
                assert!(dots(&row, &plane, &plane[1..]).is_err());
                assert!(dots(&row, &plane[2..], &plane[2..]).is_err());
            }
            let mut codes = [0; 17];
            assert!(catch_unwind(|| write_row(bits, &mut row.clone(), &codes)).is_err());
            assert!(catch_unwind(move || read_row(bits, &row, &mut codes)).is_err());
        }
    }
}
