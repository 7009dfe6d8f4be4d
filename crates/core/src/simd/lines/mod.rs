//! Rows of 8- or 4-bit codes in whole cache lines × both signed 8-bit planes of a query: exact integer sums of a few rows
//! from anywhere.
//!
//! **Layout.** A row is whole lines of [`LINE`] bytes. 8 bits: byte i of line t is dimension 64t + i. 4 bits: its low nibble
//! is dimension 128t + i, its high one dimension 128t + 64 + i; so both are runs of 64 dimensions. Missing dimensions are code
//! 0 against query 0.
//!
//! **Ranges.** As for [`super::int8`]: a sum over at most `MAX_DIM` = 65,536 dimensions is at most 255·128·65,536 < 2³¹ in
//! magnitude.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon;
pub(super) mod scalar;
#[cfg(test)]
mod tests;

use super::int8::{self, Bits};
use crate::vectors::MAX_DIM;

pub use crate::buffer::LINE;

/// Rows that a kernel works on at once.
pub(super) const TOGETHER: usize = 4;

/// Dimensions of a line.
#[inline(always)]
fn dims_per_line(bits: Bits) -> usize {
    LINE * 8 / bits.width()
}

/// Bytes of a row of `dim` codes.
#[inline(always)]
pub fn row_bytes(bits: Bits, dim: usize) -> usize {
    dim.div_ceil(dims_per_line(bits)) * LINE
}

/// Writes codes, one a byte, as a row.
///
/// # Panics
/// If the row has not [`row_bytes`].
pub fn write_row(bits: Bits, codes: &[u8], row: &mut [u8]) {
    assert_eq!(row.len(), row_bytes(bits, codes.len()), "a row of another dimension");
    row.fill(0);
    match bits {
        Bits::Eight => row[..codes.len()].copy_from_slice(codes),
        Bits::Four => {
            for (line, codes) in row.chunks_exact_mut(LINE).zip(codes.chunks(2 * LINE)) {
                let (low, high) = codes.split_at(codes.len().min(LINE));
                line.iter_mut().zip(low).for_each(|(byte, code)| *byte = code & 15);
                line.iter_mut().zip(high).for_each(|(byte, code)| *byte |= code << 4);
            }
        }
    }
}

/// Reads the codes of a row, one a byte.
///
/// # Panics
/// If the row has not [`row_bytes`].
#[inline(always)]
pub fn read_row(bits: Bits, row: &[u8], codes: &mut [u8]) {
    assert_eq!(row.len(), row_bytes(bits, codes.len()), "a row of another dimension");
    match bits {
        Bits::Eight => codes.copy_from_slice(&row[..codes.len()]),
        Bits::Four => {
            for (line, codes) in row.chunks_exact(LINE).zip(codes.chunks_mut(2 * LINE)) {
                let (low, high) = codes.split_at_mut(codes.len().min(LINE));
                low.iter_mut().zip(line).for_each(|(code, byte)| *code = byte & 15);
                high.iter_mut().zip(line).for_each(|(code, byte)| *code = byte >> 4);
            }
        }
    }
}

/// Whether nothing but zeros is in a row's missing dimensions.
///
/// # Panics
/// If the row has not [`row_bytes`].
pub fn is_padded(bits: Bits, dim: usize, row: &[u8]) -> bool {
    assert_eq!(row.len(), row_bytes(bits, dim), "a row of another dimension");
    let line = row.len().saturating_sub(LINE);
    let used = dim - dim / dims_per_line(bits) * dims_per_line(bits);
    let full = used == 0;
    full || row[line..].iter().enumerate().all(|(i, &byte)| match bits {
        Bits::Eight => i < used || byte == 0,
        Bits::Four => (i < used || byte & 15 == 0) && (i + LINE < used || byte >> 4 == 0),
    })
}

/// Rows of one width and dimension, one after another.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    bytes: &'a [u8],
    row_bytes: usize,
    bits: Bits,
}

impl<'a> Rows<'a> {
    /// Rows of `dim` codes.
    ///
    /// # Panics
    /// If there are more than `MAX_DIM` dimensions.
    #[inline(always)]
    pub fn new(bits: Bits, dim: usize, bytes: &'a [u8]) -> Self {
        assert!(dim <= MAX_DIM, "more than {MAX_DIM} dimensions"); // Check 1
        Self { bytes, row_bytes: row_bytes(bits, dim), bits }
    }

    /// The width of a code.
    #[inline(always)]
    pub fn bits(&self) -> Bits {
        self.bits
    }

    /// One row.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline(always)]
    pub fn row(&self, row: u32) -> &'a [u8] {
        &self.bytes[row as usize * self.row_bytes..][..self.row_bytes]
    }
}

/// Both planes of a query, in the order of a row's dimensions.
#[derive(Clone, Debug, Default)]
pub struct Query {
    high: Vec<i8>,
    low: Vec<i8>,
    /// Σ of each, which a kernel of signed codes adds 128 times.
    totals: [i32; 2],
}

impl Query {
    /// Puts a query in the place of this one, for rows of codes of that width.
    #[inline(always)]
    pub fn refill(&mut self, bits: Bits, values: &int8::Query) {
        let Self { high, low, totals } = self;
        let lines = values.high.len().div_ceil(dims_per_line(bits));
        for ((to, from), total) in [(high, &values.high), (low, &values.low)].into_iter().zip(totals) {
            to.clear();
            to.extend_from_slice(from);
            to.resize(lines * dims_per_line(bits), 0);
            *total = from.iter().map(|&value| i32::from(value)).sum();
        }
    }
}

/// What the kernel reads, with its lengths checked.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) bytes: &'a [u8],
    /// `lines * LINE`.
    pub(super) row_bytes: usize,
    pub(super) lines: usize,
    /// Each has a row of `row_bytes` in `bytes`.
    pub(super) ids: &'a [u32],
    /// `lines * LINE * 8 / bits` values, as has `low`.
    pub(super) high: &'a [i8],
    pub(super) low: &'a [i8],
    #[cfg_attr(not(target_arch = "aarch64"), allow(dead_code, reason = "what signed codes want"))]
    pub(super) totals: [i32; 2],
}

impl<'a> View<'a> {
    #[inline(always)]
    pub(super) fn checked(rows: Rows<'a>, ids: &'a [u32], query: &'a Query, sums: usize) -> Self {
        assert_eq!(ids.len(), sums, "not one sum for each row"); // Check 1
        let most = ids.iter().copied().max().map_or(0, |most| most as usize + 1);
        assert!(most * rows.row_bytes <= rows.bytes.len(), "no such row"); // Check 2
        let values = rows.row_bytes * 8 / rows.bits.width();
        assert!(query.high.len() == values && query.low.len() == values, "a query of another dimension"); // Check 3
        Self {
            bytes: rows.bytes,
            row_bytes: rows.row_bytes,
            lines: rows.row_bytes / LINE,
            ids,
            high: &query.high,
            low: &query.low,
            totals: query.totals,
        }
    }
}
