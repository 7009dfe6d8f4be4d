//! Bits × small integer weights, 64 rows at a time, by table look-ups in registers: how a scan of sign planes
//! runs (FastScan: André, Kermarrec, Le Scouarnec, "Cache locality is not enough", VLDB 2015, here with tables
//! over bits).
//!
//! **Sum.** A row has S bits, a query an integer weight w for each. A kernel gives the *agreement*
//! A = Σ |wₛ| over the bits that are set where wₛ > 0 and clear where wₛ < 0; then Σ wₛ·(±1) = 2A − Σ|wₛ|.
//!
//! **Layout of a group** (64 rows, [`group_bytes`] bytes): *triples* of 64-byte lines, 24 bits of each row.
//! Row r has byte [`lane`]`(r)` of each line. Bits 24t + 6f .. + 6 are *field* f of triple t: fields 0, 1, 2 are
//! the low six bits of lines 0, 1, 2, and field 3 is what is left: bits 6 and 7 of line 0, then 1, then 2. A
//! permutation of bytes (`vpermb`) looks at the low six bits of an index only, so three fields of four are
//! indices as they lie. Kernels without 64-entry tables look up nibbles, of the same bytes.
//!
//! Row r lies at byte 4·(r mod 16) + r div 16, so that 16-bit sums of even and odd bytes, split into 32-bit
//! lanes, are rows in order.
//!
//! **Ranges.** [`Weights`] keeps Σ|w| of every field and of every nibble at most [`MOST`] = 31, so that eight
//! look-ups fit a byte (248), and of all bits at most 65,535, so that 16-bit lanes hold a whole row.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon;
pub(super) mod scalar;
#[cfg(test)]
mod tests;
mod weights;

pub use weights::Weights;

use crate::buffer::Buffer;
use crate::simd::{GROUP, TILE};

/// Bits of a row in one triple of lines.
pub const TRIPLE_BITS: usize = 24;
/// Bytes of one triple of a group.
pub const TRIPLE: usize = 3 * GROUP;
/// Largest sum of magnitudes in one look-up.
pub const MOST: u32 = 31;
/// Most bits that can all weigh something: with one unit each, their sum is within 16 bits. Rows may have more.
pub const MAX_BITS: usize = 65_520;

/// Bytes of a group of 64 rows of `bits` bits.
pub fn group_bytes(bits: usize) -> usize {
    bits.div_ceil(TRIPLE_BITS) * TRIPLE
}

/// The byte of a line that belongs to row `r` of 64.
#[inline(always)]
pub fn lane(r: usize) -> usize {
    4 * (r % 16) + r / 16
}

/// Writes the bits of row `r` (bit s of `bits` is bit s mod 8 of byte s div 8) into its group, over older ones. Bits
/// beyond the end are clear.
///
/// # Panics
/// If `r` is not below 64.
pub fn write_row(group: &mut [u8], r: usize, bits: &[u8]) {
    assert!(r < GROUP);
    let at = lane(r);
    let (whole, rest) = bits.as_chunks::<3>();
    let mut last = [0; 3];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    let words = whole.iter().chain(std::iter::once(&last)).chain(std::iter::repeat(&[0; 3]));
    for (triple, &[x, y, z]) in group.as_chunks_mut::<TRIPLE>().0.iter_mut().zip(words) {
        let word = u32::from_le_bytes([x, y, z, 0]);
        for line in 0..3 {
            let byte = (word >> (6 * line) & 63) | (word >> (18 + 2 * line) & 3) << 6;
            triple[line * GROUP + at] = byte as u8;
        }
    }
}

/// Reads the bits of row `r` of a group into `bits`, as [`write_row`] took them: three bytes a triple.
///
/// # Panics
/// If `r` is not below 64.
#[inline(always)]
pub fn read_row(group: &[u8], r: usize, bits: &mut [u8]) {
    assert!(r < GROUP);
    let at = lane(r);
    let word = |triple: &[u8; TRIPLE]| {
        let [a, b, c] = [triple[at], triple[GROUP + at], triple[2 * GROUP + at]].map(u32::from);
        let fields = (a & 63) | (b & 63) << 6 | (c & 63) << 12;
        (fields | (a >> 6) << 18 | (b >> 6) << 20 | (c >> 6) << 22).to_le_bytes()
    };
    let (triples, _) = group.as_chunks::<TRIPLE>();
    let (whole, rest) = bits.as_chunks_mut::<3>();
    for (triple, [x, y, z]) in triples.iter().zip(whole.iter_mut()) {
        [*x, *y, *z, _] = word(triple);
    }
    if let Some(triple) = triples.get(whole.len()) {
        rest.iter_mut().zip(word(triple)).for_each(|(to, from)| *to = from);
    }
}

/// Reads the bits of all rows of a group, as [`read_row`] does each: row after row of `rows`, 64 of equal length.
#[inline(always)]
pub fn read_rows(group: &[u8], rows: &mut [u8]) {
    let bytes = rows.len() / GROUP;
    for (t, triple) in group.as_chunks::<TRIPLE>().0.iter().enumerate() {
        let (lines, _) = triple.as_chunks::<GROUP>();
        let mut words = [[0; GROUP]; 3];
        for (at, ((&a, &b), &c)) in lines[0].iter().zip(&lines[1]).zip(&lines[2]).enumerate() {
            words[0][at] = a & 63 | b << 6;
            words[1][at] = b >> 2 & 15 | c << 4;
            words[2][at] = c >> 4 & 3 | a >> 4 & 12 | b >> 2 & 48 | c & 192;
        }
        for (r, row) in rows.chunks_exact_mut(bytes.max(1)).enumerate() {
            let word = [0, 1, 2].map(|i: usize| words[i][lane(r)]);
            let to = row.get_mut(3 * t..).unwrap_or_default();
            match to.first_chunk_mut() {
                Some(to) => *to = word,
                None => to.iter_mut().zip(word).for_each(|(to, from)| *to = from),
            }
        }
    }
}

/// Copies the bits of row `from_row` of one group over row `to_row` of another of the same length.
///
/// # Panics
/// If a row is not below 64, or the groups differ in length.
pub fn copy_row(to: &mut [u8], to_row: usize, from: &[u8], from_row: usize) {
    assert!(to_row < GROUP && from_row < GROUP && to.len() == from.len());
    for (to, from) in to.chunks_exact_mut(GROUP).zip(from.chunks_exact(GROUP)) {
        to[lane(to_row)] = from[lane(from_row)];
    }
}

/// What a row's agreement becomes part of: the terms of 64 rows.
#[derive(Clone, Copy)]
pub struct RowTerms<'a> {
    /// Multiplies the query's value.
    pub scale: &'a [f32; GROUP],
    /// Added.
    pub offset: &'a [f32; GROUP],
}

/// The terms of a tile's queries; see [`crate::simd::Simd::fastscan_survivors`].
#[derive(Clone, Default)]
pub struct QueryTerms {
    /// Multiplies the agreement.
    pub alpha: [f32; TILE],
    /// Added to it.
    pub beta: [f32; TILE],
    /// A row whose value is below is pruned.
    pub limit: [f32; TILE],
}

/// How a level looks up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tables {
    /// 64 entries, over the four fields of a triple.
    Fields,
    /// 16 entries, over the six nibbles of a triple: low and high of each line.
    Nibbles,
}

impl Tables {
    /// Bytes of one query's tables for one triple.
    fn bytes(self) -> usize {
        match self {
            Tables::Fields => 4 * 64,
            Tables::Nibbles => 6 * 16,
        }
    }
}

/// Fills a table over `weights`, one for each bit of its index: the agreement of every index.
#[inline(always)]
fn fill<const BITS: usize>(table: &mut [u8], weights: [i8; BITS]) {
    table[0] = weights.iter().map(|&w| w.min(0).unsigned_abs()).sum();
    for (bit, weight) in weights.into_iter().enumerate() {
        let (known, new) = table.split_at_mut(1 << bit);
        for (new, known) in new.iter_mut().zip(known) {
            // A set bit gains a positive weight and loses a negative one.
            *new = known.wrapping_add_signed(weight);
        }
    }
}

/// The tables of up to [`TILE`] queries.
#[derive(Clone)]
pub struct Tile {
    /// Triple after triple, query after query.
    tables: Buffer,
    kind: Tables,
    triples: usize,
    queries: usize,
}

impl Tile {
    /// Builds the tables of 1 to [`TILE`] queries.
    ///
    /// # Panics
    /// If there are none or more than [`TILE`], or they differ in their number of bits.
    #[inline(always)]
    pub fn new<'a>(kind: Tables, queries: impl ExactSizeIterator<Item = &'a Weights> + Clone) -> Self {
        let count = queries.len();
        assert!((1..=TILE).contains(&count), "a tile has 1 to {TILE} queries");
        let triples = queries.clone().next().map_or(0, |query| query.values().len() / TRIPLE_BITS);
        let mut tables = Buffer::zeroed(triples * count * kind.bytes());
        for (i, query) in queries.enumerate() {
            assert_eq!(query.values().len(), triples * TRIPLE_BITS, "queries of different lengths");
            let places = tables.as_mut_bytes().chunks_exact_mut(kind.bytes()).skip(i).step_by(count);
            for (tables, w) in places.zip(query.values().as_chunks::<TRIPLE_BITS>().0) {
                match kind {
                    Tables::Fields => {
                        for (table, w) in tables.chunks_exact_mut(64).zip(w.as_chunks::<6>().0) {
                            fill(table, *w);
                        }
                    }
                    Tables::Nibbles => {
                        for (table, w) in tables.chunks_exact_mut(16).zip(nibbles(w)) {
                            fill(table, w);
                        }
                    }
                }
            }
        }
        Self { tables, kind, triples, queries: count }
    }

    /// How many queries the tile holds, 1 to [`TILE`].
    pub fn queries(&self) -> usize {
        self.queries
    }
}

/// The weights of a triple by nibbles: low and high of lines 0, 1, 2.
#[inline(always)]
fn nibbles(w: &[i8; TRIPLE_BITS]) -> [[i8; 4]; 6] {
    let mut nibbles = [[0; 4]; 6];
    for line in 0..3 {
        nibbles[2 * line].copy_from_slice(&w[6 * line..6 * line + 4]);
        nibbles[2 * line + 1] = [w[6 * line + 4], w[6 * line + 5], w[18 + 2 * line], w[19 + 2 * line]];
    }
    nibbles
}

/// What a kernel reads, with its lengths checked.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    /// `triples * TRIPLE` bytes.
    pub(super) codes: &'a [u8],
    /// At least `triples * queries * kind.bytes()` bytes.
    pub(super) tables: &'a [u8],
    pub(super) triples: usize,
}

impl<'a> View<'a> {
    #[inline(always)]
    pub(super) fn checked(codes: &'a [u8], tile: &'a Tile, kind: Tables) -> Self {
        let tables = tile.tables.as_bytes();
        assert_eq!(tile.kind, kind, "tables made for another level"); // Check 1
        assert_eq!(codes.len(), tile.triples * TRIPLE, "rows and queries of different lengths"); // Check 2
        assert!(tables.len() >= tile.triples * tile.queries * kind.bytes()); // Check 3
        Self { codes, tables, triples: tile.triples }
    }
}
