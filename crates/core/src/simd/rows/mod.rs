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
