//! Bits × small integer weights, 32 rows at a time, by look-ups of four bits (FastScan: André, Kermarrec, Le Scouarnec,
//! "Cache locality is not enough", VLDB 2015), fused with an estimate and a bound: how the neighbours of a vertex are
//! scored. And the bits of such rows: the signs of what leads from one vector to another.
//!
//! Four bits may as well number one of 16 centroids: then a query has any 16 values for them ([`Query::refill_tables`]).
//!
//! **Sum.** A row has S bits, a query an integer weight w for each. The *agreement* is A = Σ |wₛ| over the bits that are
//! set where wₛ > 0 and clear where wₛ < 0; then Σ wₛ·(±1) = 2A − Σ|wₛ|.
//!
//! **Layout of a block** (32 rows of S bits, S a multiple of 32, [`block_bytes`] bytes): for every four bits 16 bytes, in
//! whose byte [`lane`]`(r)` the low half has those of row r < 16 and the high half those of row r + 16. So one table
//! serves both halves, and a table lies where its bytes lie, in registers of any width. The 16-bit sums of even bytes
//! are rows 0 to 7, those of odd bytes rows 8 to 15.
//!
//! **Ranges.** Σ|w| of four bits is at most [`MOST`] = 63, so that four look-ups fit a byte; 16-bit sums take
//! 256 lines of four tables each (64,512), and are then added up in 32 bits: all of 65,536 bits are 1,032,192.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon;
pub(super) mod scalar;
#[cfg(test)]
mod tests;

use half::bf16;

use crate::buffer::{Buffer, LINE};

/// Rows of a block.
pub const BLOCK: usize = 32;
/// Rows have a multiple of so many bits.
pub const STEP: usize = 32;
/// Largest sum of magnitudes in one look-up.
pub const MOST: u32 = 63;
/// Bits in one line of a block.
const LINE_BITS: usize = 16;
/// Lines whose look-ups 16 bits hold.
const PART: usize = 256;
const _: () = assert!(PART * 4 * (MOST as usize) < 1 << 16);

/// Bytes of a block of 32 rows of `bits` bits.
pub fn block_bytes(bits: usize) -> usize {
    bits / LINE_BITS * LINE
}

/// The byte, of 16, that belongs to rows `r` and `r + 16`.
#[inline(always)]
pub fn lane(r: usize) -> usize {
    if r < 8 { 2 * r } else { 2 * r - 15 }
}

/// Writes the bits of 32 rows, one after another, as a block. (Bit s of a row is bit s mod 8 of byte s div 8.)
///
/// # Panics
/// If the rows are not of the block's length.
#[inline(always)]
pub fn write_block(block: &mut [u8], rows: &[u8]) {
    assert_eq!(block.len(), rows.len(), "a block and rows of different lengths");
    let row_bytes = rows.len() / BLOCK;
    // A column is one byte of each row: 16 bytes of the block for its low halves, and 16 for its high ones.
    for (column, to) in block.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
        let byte = |r: usize| rows[r * row_bytes + column];
        let (low, high) = to.split_at_mut(BLOCK / 2);
        for r in 0..BLOCK / 2 {
            let (first, second) = (byte(r), byte(r + 16));
            low[lane(r)] = first & 15 | second << 4;
            high[lane(r)] = first >> 4 | second & 0xf0;
        }
    }
}

/// Reads the bits of row `r` of a block.
///
/// # Panics
/// If `r` is not below 32, or `bits` is not a row's.
pub fn read_row(block: &[u8], r: usize, bits: &mut [u8]) {
    assert!(r < BLOCK && block.len() == BLOCK * bits.len(), "no such row of a block");
    let (at, shift) = (lane(r % 16), r / 16 * 4);
    for (to, column) in bits.iter_mut().zip(block.as_chunks::<BLOCK>().0) {
        *to = column[at] >> shift & 15 | (column[16 + at] >> shift & 15) << 4;
    }
}

/// A query's tables: its values v ≈ `step` · w, or for every four bits 16 values ≈ `step` · w and a constant.
///
/// Plain arithmetic in a fixed order: the same tables on every level.
#[derive(Clone, Debug, Default)]
pub struct Query {
    tables: Buffer,
    lines: usize,
    /// The value of one unit.
    pub step: f32,
    /// Σ|w|.
    pub total: u32,
}

impl Query {
    /// Makes the tables of finite `values`, of as many as rows have bits.
    ///
    /// # Panics
    /// If there is no multiple of [`STEP`] of them, or more than a vector may have.
    #[inline(always)]
    pub fn refill(&mut self, values: &[f32]) {
        assert!(values.len().is_multiple_of(STEP) && values.len() <= crate::vectors::MAX_DIM);
        // In four lanes: an order that depends only on the length, and that vectorises.
        let mut largest = [0.0_f32; 4];
        for fours in values.as_chunks::<16>().0 {
            for (largest, [a, b, c, d]) in largest.iter_mut().zip(fours.as_chunks::<4>().0) {
                *largest = largest.max((a.abs() + b.abs()) + (c.abs() + d.abs()));
            }
        }
        let most = largest[0].max(largest[1]).max(largest[2].max(largest[3]));
        // Rounding adds at most a half to each of four.
        let step = most / (MOST - 2) as f32;
        // Below, 1 / step would not be finite: such a query is nothing.
        let (step, inverse) = if step < 1e-30 { (0.0, 0.0) } else { (step, 1.0 / step) };
        self.tables.resize(values.len() * 4);
        self.lines = values.len() / LINE_BITS;
        self.step = step;
        let mut total = 0;
        let tables = self.tables.as_mut_bytes().as_chunks_mut::<LINE>().0;
        for (values, tables) in values.as_chunks::<LINE_BITS>().0.iter().zip(tables) {
            let mut weights = [0_i32; LINE_BITS];
            for (weight, value) in weights.iter_mut().zip(values) {
                *weight = (value * inverse).round_ties_even() as i32;
                total += weight.unsigned_abs();
            }
            for (weights, table) in weights.as_chunks::<4>().0.iter().zip(tables.as_chunks_mut::<16>().0) {
                fill(table, *weights);
            }
        }
        self.total = total;
    }

    /// Makes the tables of `values`, finite, 16 for every four bits: their sum for a row is near `step` · A and what is
    /// returned, A being the sum that the kernel finds. `total` is 0.
    ///
    /// # Panics
    /// If there are no whole [`STEP`]s of bits, or more than a vector may have values.
    #[inline(always)]
    pub fn refill_tables(&mut self, values: &[f32]) -> f32 {
        let bits = values.len() / 4;
        assert!(values.len().is_multiple_of(4 * STEP) && bits <= crate::vectors::MAX_DIM);
        let tables = || values.as_chunks::<16>().0.iter();
        let mut widest = 0.0_f32;
        for table in tables() {
            let (least, most) = range(table);
            widest = widest.max(most - least);
        }
        let step = widest / MOST as f32;
        let (step, inverse) = if step < 1e-30 { (0.0, 0.0) } else { (step, 1.0 / step) };
        self.tables.resize(values.len());
        (self.lines, self.step, self.total) = (bits / LINE_BITS, step, 0);
        let mut rest = 0.0;
        for (values, table) in tables().zip(self.tables.as_mut_bytes().as_chunks_mut::<16>().0) {
            let (least, _) = range(values);
            rest += least;
            for (entry, value) in table.iter_mut().zip(values) {
                *entry = ((value - least) * inverse).round_ties_even().min(MOST as f32) as u8;
            }
        }
        rest
    }

    /// Bits of the rows that the query can be compared with.
    pub fn bits(&self) -> usize {
        self.lines * LINE_BITS
    }
}

/// The least and the largest of 16 values.
#[inline(always)]
fn range(values: &[f32; 16]) -> (f32, f32) {
    let (mut least, mut most) = (*values, *values);
    let mut half = 8;
    while half > 0 {
        for i in 0..half {
            least[i] = least[i].min(least[i + half]);
            most[i] = most[i].max(most[i + half]);
        }
        half /= 2;
    }
    (least[0], most[0])
}

/// Whether bit `bit` of each index is set, as a mask.
const fn with(bit: usize) -> [u8; 16] {
    let mut masks = [0; 16];
    let mut index = 0;
    while index < 16 {
        masks[index] = if index >> bit & 1 == 1 { 0xff } else { 0 };
        index += 1;
    }
    masks
}
const WITH: [[u8; 16]; 4] = [with(0), with(1), with(2), with(3)];

/// Fills a table over four weights: the agreement of every index.
#[inline(always)]
fn fill(table: &mut [u8; 16], weights: [i32; 4]) {
    let mut none = 0;
    for weight in weights {
        none += weight.min(0).unsigned_abs() as u8;
    }
    // A set bit gains a positive weight and loses a negative one; sums within a byte, differences modulo 256.
    let [a, b, c, d] = weights;
    let [a, b, c, d] = [a as u8, b as u8, c as u8, d as u8];
    for (i, entry) in table.iter_mut().enumerate() {
        let gain = (WITH[0][i] & a).wrapping_add(WITH[1][i] & b);
        let more = (WITH[2][i] & c).wrapping_add(WITH[3][i] & d);
        *entry = none.wrapping_add(gain).wrapping_add(more);
    }
}

/// What a row's agreement becomes part of, in 8 bits of precision: a scale, which multiplies the query's value, and an
/// offset, which is added. The upper half of a f32 each (bf16), for an estimate is far rougher than that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(transparent)]
pub struct RowTerms(u32);

impl RowTerms {
    /// The nearest to these.
    #[inline(always)]
    pub fn new(scale: f32, offset: f32) -> Self {
        let [scale, offset] = [scale, offset].map(|value| u32::from(bf16::from_f32(value).to_bits()));
        Self(offset << 16 | scale)
    }

    /// Multiplies the query's value.
    #[inline(always)]
    pub fn scale(self) -> f32 {
        f32::from_bits(self.0 << 16)
    }

    /// Added.
    #[inline(always)]
    pub fn offset(self) -> f32 {
        f32::from_bits(self.0 & UPPER)
    }
}

/// The half of a [`RowTerms`] that is the offset.
const UPPER: u32 = 0xffff_0000;

/// The terms of a call; see [`crate::simd::Simd::nibbles_below`].
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Multiplies the agreement.
    pub alpha: f32,
    /// Added to it.
    pub beta: f32,
    /// Multiplies a row's part.
    pub unit: f32,
    /// Added to that.
    pub base: f32,
    /// Rows below pass.
    pub bound: f32,
}

/// What leads from one vector to another, r = to − from, seen through the signs of its values, s = ±1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Residual {
    /// Σ r².
    pub square: f32,
    /// Σ r·s = Σ |r|.
    pub absolute: f32,
    /// Σ from·s.
    pub along: f32,
}

/// What the block kernel reads, with its lengths checked.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    /// `lines` lines of 64 bytes.
    pub(super) codes: &'a [u8],
    /// As many.
    pub(super) tables: &'a [u8],
    pub(super) lines: usize,
    pub(super) rows: &'a [RowTerms; BLOCK],
}

impl<'a> View<'a> {
    #[inline(always)]
    pub(super) fn checked(codes: &'a [u8], rows: &'a [RowTerms; BLOCK], query: &'a Query) -> Self {
        let tables = query.tables.as_bytes();
        assert_eq!(codes.len(), query.lines * LINE, "rows and query of different lengths"); // Check 1
        assert!(tables.len() >= query.lines * LINE); // Check 2
        Self { codes, tables, lines: query.lines, rows }
    }
}

/// What the residual kernel reads and writes, with its lengths checked.
pub(super) struct ResidualView<'a> {
    pub(super) from: &'a [f32],
    pub(super) to: &'a [f32],
    /// One bit for each value.
    pub(super) bits: &'a mut [u8],
}

impl<'a> ResidualView<'a> {
    #[inline(always)]
    pub(super) fn checked(from: &'a [f32], to: &'a [f32], bits: &'a mut [u8]) -> Self {
        let len = from.len();
        assert!(len.is_multiple_of(STEP) && to.len() == len, "residual: rows of different lengths"); // Check 1
        assert_eq!(bits.len(), len / 8, "residual: room for another number of bits"); // Check 2
        Self { from, to, bits }
    }
}
