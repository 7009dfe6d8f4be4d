//! Unsigned 8- and 4-bit codes × signed 8-bit queries: exact integer sums, row group by row group.
//!
//! **Layout of a group** (64 rows, [`group_bytes`] bytes): a sequence of 256-byte columns. Column t holds four
//! bytes of each row: row r at bytes `256·t + 4·r ..+4`.
//! - 8 bits: those bytes are dimensions 4t..4t+4.
//! - 4 bits: their low nibbles are dimensions 8t..8t+4, their high nibbles dimensions 8t+4..8t+8.
//!
//! A register of a column then holds four dimensions of 16 (AVX-512), 8 (AVX2) or 4 (NEON) rows, which is
//! what a four-way dot-product instruction reduces into one 32-bit lane per row: no horizontal sums. One
//! group is one contiguous stream. Missing dimensions are code 0 against query 0.
//!
//! **Query.** A [`Query`] is q ≈ step·(256·high + low) with high and low in signed 8 bits. The scan uses the
//! high plane alone and prunes under a bound on what the low plane can add; survivors add it exactly.
//!
//! **Ranges.** A code is at most 255 and a query value at least −128, so a sum over d ≤ 65,536 dimensions is
//! at most 255·128·65,536 = 2,139,095,040 < 2³¹ in magnitude: 32-bit lanes cannot overflow. Kernels must not
//! use 16-bit saturating pair sums of full codes (255·127·2 = 64,770 > 32,767); of nibbles they may
//! (15·128·2 = 3,840, eight of which still fit).

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon;
mod query;
pub(super) mod scalar;
#[cfg(test)]
mod tests;

pub use query::{Query, largest};

use crate::simd::{GROUP, TILE};
use crate::vectors::MAX_DIM;

/// Bytes of one column of a group: four of each row.
pub const COLUMN: usize = 4 * GROUP;
/// Rows that the one-query kernel scores at once.
pub const QUARTER: usize = GROUP / 4;

/// Width of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bits {
    /// One nibble a dimension.
    Four,
    /// One byte a dimension.
    Eight,
}

impl Bits {
    /// 4 or 8.
    pub fn width(self) -> usize {
        match self {
            Bits::Four => 4,
            Bits::Eight => 8,
        }
    }

    /// The largest code: 15 or 255.
    pub fn max_code(self) -> u8 {
        match self {
            Bits::Four => 15,
            Bits::Eight => 255,
        }
    }

    /// Dimensions in one column of a group: 8 or 4.
    fn dims_per_column(self) -> usize {
        32 / self.width()
    }
}

/// Bytes of a group of 64 rows of `dim` codes.
pub fn group_bytes(bits: Bits, dim: usize) -> usize {
    dim.div_ceil(bits.dims_per_column()) * COLUMN
}

/// Where dimension `j` of row `r` lies in its group: the byte, and the shift within it.
#[inline(always)]
fn place(bits: Bits, r: usize, j: usize) -> (usize, u32) {
    match bits {
        Bits::Eight => (j / 4 * COLUMN + r * 4 + j % 4, 0),
        Bits::Four => (j / 8 * COLUMN + r * 4 + j % 4, if j % 8 < 4 { 0 } else { 4 }),
    }
}

/// Writes the codes of row `r` (one per byte) into its group, over zeros or older codes.
///
/// # Panics
/// If `r` is not below 64, or the group is too short for that many codes.
#[inline]
pub fn write_row(bits: Bits, group: &mut [u8], r: usize, codes: &[u8]) {
    assert!(r < GROUP && group.len() >= group_bytes(bits, codes.len()));
    match bits {
        Bits::Eight => {
            // Whole quads are stored as such; a copy of unknown length would be a call for each.
            let (quads, rest) = codes.as_chunks::<4>();
            let (columns, _) = group.as_chunks_mut::<COLUMN>();
            let (whole, last) = columns.split_at_mut(quads.len());
            for (column, quad) in whole.iter_mut().zip(quads) {
                column[4 * r..4 * r + 4].copy_from_slice(quad);
            }
            if let Some(column) = last.first_mut() {
                column[4 * r..4 * r + rest.len()].copy_from_slice(rest);
            }
        }
        Bits::Four => {
            for (column, octet) in group.chunks_exact_mut(COLUMN).zip(codes.chunks(8)) {
                let mut bytes = [0; 4];
                for (j, &code) in octet.iter().enumerate() {
                    bytes[j % 4] |= (code & 15) << if j < 4 { 0 } else { 4 };
                }
                column[4 * r..4 * r + 4].copy_from_slice(&bytes);
            }
        }
    }
}

/// Reads the codes of row `r` (one per byte) from its group.
///
/// # Panics
/// If `r` is not below 64, or the group is too short for that many codes.
pub fn read_row(bits: Bits, group: &[u8], r: usize, codes: &mut [u8]) {
    assert!(r < GROUP && group.len() >= group_bytes(bits, codes.len()));
    for (j, code) in codes.iter_mut().enumerate() {
        let (byte, shift) = place(bits, r, j);
        *code = (group[byte] >> shift) & bits.max_code();
    }
}

/// Copies the codes of row `from_row` of one group over row `to_row` of another, of the same width and dimension.
///
/// # Panics
/// If a row is not below 64, or the groups differ in length.
pub fn copy_row(to: &mut [u8], to_row: usize, from: &[u8], from_row: usize) {
    assert!(to_row < GROUP && from_row < GROUP && to.len() == from.len());
    for (to, from) in to.chunks_exact_mut(COLUMN).zip(from.chunks_exact(COLUMN)) {
        to[4 * to_row..4 * to_row + 4].copy_from_slice(&from[4 * from_row..4 * from_row + 4]);
    }
}

/// The codes of 64 rows.
#[derive(Clone, Copy)]
pub struct Group<'a> {
    codes: &'a [u8],
    bits: Bits,
}

impl<'a> Group<'a> {
    /// A group over `codes`, whose length must be that of [`group_bytes`].
    ///
    /// # Panics
    /// If the length is not a multiple of a column, or is that of more than `MAX_DIM` dimensions.
    pub fn new(bits: Bits, codes: &'a [u8]) -> Self {
        assert!(codes.len().is_multiple_of(COLUMN), "a group is whole columns of {COLUMN} bytes");
        assert!(codes.len() <= group_bytes(bits, MAX_DIM), "more than {MAX_DIM} dimensions");
        Self { codes, bits }
    }

    /// The width of its codes.
    pub fn bits(&self) -> Bits {
        self.bits
    }
}

/// What a row's integer sums become part of: the terms of 64 rows.
#[derive(Clone)]
pub struct RowTerms {
    /// Multiplies the query's sum.
    pub scale: [f32; GROUP],
    /// Multiplies the query's `gamma`.
    pub bias: [f32; GROUP],
    /// Subtracted.
    pub offset: [f32; GROUP],
}

/// The terms of a tile's queries; see [`crate::simd::Simd::int8_survivors`].
#[derive(Clone, Default)]
pub struct QueryTerms {
    /// Multiplies the integer sum.
    pub alpha: [f32; TILE],
    /// Added to it.
    pub beta: [f32; TILE],
    /// Multiplies the row's bias.
    pub gamma: [f32; TILE],
    /// A row whose value is below is pruned.
    pub limit: [f32; TILE],
}

/// Packs four signed bytes as one 32-bit lane, first dimension lowest.
fn quads(values: &[i8], count: usize) -> impl Iterator<Item = i32> {
    (0..count).map(|t| {
        let mut quad = [0_u8; 4];
        for (byte, &value) in quad.iter_mut().zip(values.get(4 * t..).unwrap_or_default()) {
            *byte = value.cast_unsigned();
        }
        i32::from_le_bytes(quad)
    })
}

/// Both signed 8-bit planes of a query: lanes 2t and 2t + 1 hold dimensions 4t..4t+4 of the one and the other.
#[derive(Clone)]
pub struct Planes {
    quads: Vec<i32>,
}

impl Planes {
    /// Packs two planes for groups of codes of that width.
    ///
    /// # Panics
    /// If the planes differ in length.
    pub fn new(bits: Bits, high: &[i8], low: &[i8]) -> Self {
        assert_eq!(high.len(), low.len(), "planes of different dimensions");
        let count = high.len().div_ceil(bits.dims_per_column()) * 8 / bits.width();
        Self { quads: quads(high, count).zip(quads(low, count)).flat_map(|(h, l)| [h, l]).collect() }
    }
}

/// One plane of up to [`TILE`] queries: lane `t * TILE + i` holds dimensions 4t..4t+4 of query i.
#[derive(Clone)]
pub struct Tile {
    quads: Vec<i32>,
    queries: usize,
}

impl Tile {
    /// Packs 1 to [`TILE`] queries of `dim` values each.
    ///
    /// # Panics
    /// If there are none or more than [`TILE`], or their lengths differ from `dim`.
    pub fn new<'a>(
        bits: Bits,
        dim: usize,
        queries: impl IntoIterator<Item = &'a [i8], IntoIter: ExactSizeIterator>,
    ) -> Self {
        let count = dim.div_ceil(bits.dims_per_column()) * 8 / bits.width();
        let mut tile = Self { quads: vec![0; count * TILE], queries: 0 };
        tile.refill(
            queries.into_iter().inspect(|query| assert_eq!(query.len(), dim, "a query of another dimension")),
        );
        tile
    }

    /// Packs other queries in the place of these, 1 to [`TILE`] again, each of as many values as the first ones had.
    ///
    /// # Panics
    /// As [`Tile::new`], with `bits` and `dim` of that time.
    #[inline(always)]
    pub fn refill<'a>(&mut self, queries: impl ExactSizeIterator<Item = &'a [i8]>) {
        assert!((1..=TILE).contains(&queries.len()), "a tile has 1 to {TILE} queries");
        self.queries = queries.len();
        for (i, query) in queries.enumerate() {
            let (quads, rest) = query.as_chunks::<4>();
            assert!(query.len().div_ceil(4) * TILE <= self.quads.len(), "a query of another dimension");
            let mut lanes = self.quads.chunks_exact_mut(TILE);
            for (lanes, &quad) in lanes.by_ref().zip(quads) {
                lanes[i] = i32::from_le_bytes(quad.map(i8::cast_unsigned));
            }
            if let Some(lanes) = self.quads[quads.len() * TILE..].first_chunk_mut::<TILE>() {
                let mut quad = [0_u8; 4];
                quad.iter_mut().zip(rest).for_each(|(byte, value)| *byte = value.cast_unsigned());
                lanes[i] = i32::from_le_bytes(quad);
            }
        }
    }

    /// How many queries the tile holds, 1 to [`TILE`].
    pub fn queries(&self) -> usize {
        self.queries
    }
}

/// What the block kernel reads, with its lengths checked.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    /// `columns * COLUMN` bytes.
    pub(super) codes: &'a [u8],
    /// `columns * (8 / bits) * TILE` lanes.
    pub(super) tile: &'a [i32],
    pub(super) columns: usize,
}

impl<'a> View<'a> {
    #[inline(always)]
    pub(super) fn checked(group: Group<'a>, tile: &'a Tile) -> Self {
        let columns = group.codes.len() / COLUMN;
        assert_eq!(group.codes.len(), columns * COLUMN); // Check 1
        assert_eq!(
            tile.quads.len(),
            columns * (8 / group.bits.width()) * TILE,
            "codes and queries of different dimensions"
        ); // Check 2
        Self { codes: group.codes, tile: &tile.quads, columns }
    }
}

/// What the one-query kernel reads, with its lengths checked.
#[derive(Clone, Copy)]
pub(super) struct PlanesView<'a> {
    /// `columns * COLUMN` bytes.
    pub(super) codes: &'a [u8],
    /// `columns * (8 / bits) * 2` lanes.
    pub(super) planes: &'a [i32],
    pub(super) columns: usize,
    /// Below 4.
    pub(super) quarter: usize,
}

impl<'a> PlanesView<'a> {
    #[inline(always)]
    pub(super) fn checked(group: Group<'a>, quarter: usize, planes: &'a Planes) -> Self {
        let columns = group.codes.len() / COLUMN;
        assert_eq!(group.codes.len(), columns * COLUMN); // Check 1
        assert_eq!(
            planes.quads.len(),
            columns * (8 / group.bits.width()) * 2,
            "codes and query of different dimensions"
        ); // Check 2
        assert!(quarter < GROUP / QUARTER, "a group has {} quarters", GROUP / QUARTER); // Check 3
        Self { codes: group.codes, planes: &planes.quads, columns, quarter }
    }
}
