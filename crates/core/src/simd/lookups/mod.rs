//! Sums of table entries by codes of 8 or 4 bits, 64 rows at a time, by look-ups in registers, against a limit: how product
//! and residual quantisers are scanned (FastScan: André, Kermarrec, Le Scouarnec, "Cache locality is not enough", VLDB
//! 2015; here with tables of 256 entries as well).
//!
//! **Sum.** A row has M codes, one a *stage* (a subspace, say), each a number below K = 256 or 16; a query has a table T of
//! K values for each stage; a row may have a term of its own. What is compared with a limit is
//!
//! > V = Σₘ T\[m\]\[code\[m\]\] + term.
//!
//! **Tables.** A [`Tile`] holds them rounded down to whole steps above each stage's least, E = ⌊(T − min)/step⌋, with the
//! step that the widest stage needs: V ≥ step·ΣE + Σ min + term. A row whose bound is above its query's limit is out; for
//! the others, the survivors, the caller sums the values themselves ([`score`]). The comparison allows for rounding, of the
//! caller's sums too: no row is out whose V, summed in f32 in any order, is at most the limit.
//!
//! **Layout of a group** (64 rows, [`group_bytes`] bytes): lines of 64 bytes, one for each stage, or for each two of 4 bits:
//! the low halves of its bytes are the codes of the first. Row r has byte [`lane`]`(r)` = 4·(r mod 16) + r div 16 of each
//! line, so that 16-bit sums of even and odd bytes, split into 32-bit lanes, are rows in order.
//!
//! **Ranges.** An entry is at most 255 (8 bits) or 127 (4 bits, so that a line's two look-ups fit a byte), and less where
//! there are so many stages that 16 bits would not hold their sum. Sums are exact, so that survivors are the same on every
//! level.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon;
pub(super) mod scalar;
#[cfg(test)]
mod tests;

use crate::buffer::Buffer;
use crate::simd::int8::Bits;
use crate::simd::{GROUP, TILE};

/// The most stages.
pub const MAX_STAGES: usize = 65_535;

/// Lines of a group of rows of so many codes.
#[inline(always)]
fn lines(bits: Bits, stages: usize) -> usize {
    match bits {
        Bits::Eight => stages,
        Bits::Four => stages.div_ceil(2),
    }
}

/// Bytes of a group of 64 rows of `stages` codes.
#[inline(always)]
pub fn group_bytes(bits: Bits, stages: usize) -> usize {
    lines(bits, stages) * GROUP
}

/// The byte of a line that belongs to row `r` of 64.
#[inline(always)]
pub fn lane(r: usize) -> usize {
    4 * (r % 16) + r / 16
}

/// Writes the codes of row `r`, one byte a stage, into its group, over older ones.
///
/// # Panics
/// If `r` is not below 64, or the group is not of that many codes.
pub fn write_row(bits: Bits, group: &mut [u8], r: usize, codes: &[u8]) {
    assert!(r < GROUP && group.len() == group_bytes(bits, codes.len()), "no such row of a group");
    let lines = group.as_chunks_mut::<GROUP>().0;
    match bits {
        Bits::Eight => lines.iter_mut().zip(codes).for_each(|(line, &code)| line[lane(r)] = code),
        Bits::Four => lines.iter_mut().zip(codes.chunks(2)).for_each(|(line, codes)| {
            line[lane(r)] = codes[0] & 15 | codes.get(1).map_or(0, |code| code << 4);
        }),
    }
}

/// Reads the codes of row `r`.
///
/// # Panics
/// If `r` is not below 64, or the group is not of that many codes.
pub fn read_row(bits: Bits, group: &[u8], r: usize, codes: &mut [u8]) {
    assert!(r < GROUP && group.len() == group_bytes(bits, codes.len()), "no such row of a group");
    for (m, code) in codes.iter_mut().enumerate() {
        *code = code_at(bits, group, r, m);
    }
}

/// The code of row `r` at stage `m`.
#[inline(always)]
fn code_at(bits: Bits, group: &[u8], r: usize, m: usize) -> u8 {
    match bits {
        Bits::Eight => group[m * GROUP + lane(r)],
        Bits::Four => group[m / 2 * GROUP + lane(r)] >> (m % 2 * 4) & 15,
    }
}

/// Copies the codes of row `from_row` of one group over row `to_row` of another of the same length.
///
/// # Panics
/// If a row is not below 64, or the groups differ in length.
pub fn copy_row(to: &mut [u8], to_row: usize, from: &[u8], from_row: usize) {
    assert!(to_row < GROUP && from_row < GROUP && to.len() == from.len());
    for (to, from) in to.chunks_exact_mut(GROUP).zip(from.chunks_exact(GROUP)) {
        to[lane(to_row)] = from[lane(from_row)];
    }
}

/// Σₘ T\[m\]\[code\[m\]\] of row `r`, in four sums. `tables` has 256 or 16 values for each stage.
///
/// # Panics
/// If `r` is not below 64, or the group has fewer codes than there are tables.
#[inline(always)]
pub fn score(bits: Bits, group: &[u8], r: usize, tables: &[f32]) -> f32 {
    let at = lane(r) % GROUP;
    let lines = group.as_chunks::<GROUP>().0;
    // Sums apart, so that they need not wait for each other.
    let mut sums = [0.0; 4];
    match bits {
        Bits::Eight => {
            let tables = tables.as_chunks::<256>().0;
            assert!(lines.len() >= tables.len(), "fewer codes than tables");
            let (lines, rest) = lines[..tables.len()].as_chunks::<4>();
            let (tables, rest_tables) = tables.as_chunks::<4>();
            for (lines, tables) in lines.iter().zip(tables) {
                for i in 0..4 {
                    sums[i] += tables[i][usize::from(lines[i][at])];
                }
            }
            for ((sum, line), table) in sums.iter_mut().zip(rest).zip(rest_tables) {
                *sum += table[usize::from(line[at])];
            }
        }
        Bits::Four => {
            let (tables, last) = tables.as_chunks::<32>();
            let stages = tables.len() + usize::from(!last.is_empty());
            assert!(lines.len() >= stages, "fewer codes than tables");
            let (whole, rest) = lines.split_at(tables.len());
            let (pairs, odd) = whole.as_chunks::<2>();
            let (pair_tables, odd_tables) = tables.as_chunks::<2>();
            for (lines, tables) in pairs.iter().zip(pair_tables) {
                for i in 0..2 {
                    let codes = lines[i][at];
                    sums[2 * i] += tables[i][usize::from(codes & 15)];
                    sums[2 * i + 1] += tables[i][16 + usize::from(codes >> 4)];
                }
            }
            for (line, table) in odd.iter().zip(odd_tables) {
                sums[0] += table[usize::from(line[at] & 15)];
                sums[1] += table[16 + usize::from(line[at] >> 4)];
            }
            // The last line may be of one stage.
            if let (Some(line), Some(table)) = (rest.first(), last.first_chunk::<16>()) {
                sums[2] += table[usize::from(line[at] & 15)];
            }
        }
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3])
}

/// The tables of up to [`TILE`] queries.
#[derive(Clone)]
pub struct Tile {
    /// Line after line, query after query: 256 bytes, or 32 for two stages of 4 bits.
    tables: Buffer,
    bits: Bits,
    lines: usize,
    queries: usize,
    /// Of each query: the value of one step, Σ min, and how far rounding may be off, for a limit of 0 and for each unit.
    step: [f32; TILE],
    base: [f32; TILE],
    margin: [f32; TILE],
    share: f32,
}

impl Tile {
    /// Rounds the tables of 1 to [`TILE`] queries: finite values, 256 or 16 for each stage.
    ///
    /// # Panics
    /// If there are no queries, more than [`TILE`], or more than [`MAX_STAGES`] stages, or they differ in length.
    #[inline(always)]
    pub fn new<'a>(bits: Bits, queries: impl ExactSizeIterator<Item = &'a [f32]> + Clone) -> Self {
        let count = queries.len();
        assert!((1..=TILE).contains(&count), "a tile has 1 to {TILE} queries");
        let (entries, bytes, most) = match bits {
            Bits::Eight => (256, 256, 255),
            Bits::Four => (16, 32, 127),
        };
        let stages = queries.clone().next().map_or(0, <[f32]>::len) / entries;
        assert!(stages <= MAX_STAGES, "at most {MAX_STAGES} stages");
        let (lines, most) = (lines(bits, stages), most.min(MAX_STAGES / stages.max(1)) as f32);
        let share = (stages + 4) as f32 / 4_194_304.0;
        let [mut step, mut base, mut margin] = [[0.0; TILE]; 3];
        let mut tables = Buffer::zeroed(lines * count * bytes);
        for (i, query) in queries.enumerate() {
            assert_eq!(query.len(), stages * entries, "queries of different lengths");
            let (mut widest, mut magnitude) = (0.0_f32, 0.0_f32);
            for values in query.chunks_exact(entries) {
                let (low, high) = range(values);
                widest = widest.max(high - low);
                magnitude += low.abs().max(high.abs());
                base[i] += low;
            }
            step[i] = widest / most;
            // Below, 1 / step would not be finite: such tables are all alike.
            let inverse = if step[i] < 1e-30 { 0.0 } else { 1.0 / step[i] };
            if inverse == 0.0 {
                step[i] = 0.0;
                magnitude += widest * stages as f32;
            }
            margin[i] = share * magnitude;
            let places = tables.as_mut_bytes().chunks_exact_mut(bytes).skip(i).step_by(count);
            for (to, from) in places.zip(query.chunks(bytes)) {
                for (to, values) in to.chunks_exact_mut(entries).zip(from.chunks_exact(entries)) {
                    let (low, _) = range(values);
                    for (to, value) in to.iter_mut().zip(values) {
                        *to = ((value - low) * inverse).min(most) as u8;
                    }
                }
            }
        }
        Self { tables, bits, lines, queries: count, step, base, margin, share }
    }

    /// How many queries the tile holds, 1 to [`TILE`].
    pub fn queries(&self) -> usize {
        self.queries
    }

    /// The width of the codes it is for.
    pub fn bits(&self) -> Bits {
        self.bits
    }
}

/// The least and the largest of 16 or 256 values.
#[inline(always)]
fn range(values: &[f32]) -> (f32, f32) {
    let (mut least, mut most) = ([f32::INFINITY; 16], [f32::NEG_INFINITY; 16]);
    for values in values.as_chunks::<16>().0 {
        for (l, &value) in values.iter().enumerate() {
            least[l] = if value < least[l] { value } else { least[l] };
            most[l] = if value > most[l] { value } else { most[l] };
        }
    }
    let low = least.into_iter().fold(f32::INFINITY, f32::min);
    (low, most.into_iter().fold(f32::NEG_INFINITY, f32::max))
}

/// What a kernel reads, with its lengths checked, and what it compares with.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    /// `lines * GROUP` bytes.
    pub(super) codes: &'a [u8],
    /// At least `lines * queries` times 256 or 32 bytes.
    pub(super) tables: &'a [u8],
    pub(super) lines: usize,
    /// Of each row.
    pub(super) terms: Option<&'a [f32; GROUP]>,
    pub(super) step: &'a [f32; TILE],
    /// A row is out whose step·ΣE + term is above.
    pub(super) limit: [f32; TILE],
    /// The same without terms: a row is out whose ΣE is above. Below 0 where all are.
    pub(super) whole: [i32; TILE],
}

impl<'a> View<'a> {
    #[inline(always)]
    pub(super) fn checked(
        codes: &'a [u8],
        terms: Option<&'a [f32; GROUP]>,
        tile: &'a Tile,
        limits: &[f32; TILE],
    ) -> Self {
        let tables = tile.tables.as_bytes();
        let bytes = if tile.bits == Bits::Eight { 256 } else { 32 };
        assert_eq!(codes.len(), tile.lines * GROUP, "rows and queries of different lengths"); // Check 1
        assert!(tables.len() >= tile.lines * tile.queries * bytes); // Check 2
        let (mut limit, mut whole) = ([f32::NEG_INFINITY; TILE], [-1; TILE]);
        for i in 0..tile.queries {
            limit[i] = (limits[i] - tile.base[i]) + (tile.margin[i] + tile.share * limits[i].abs());
            // Sums are at most 65,535. A limit that is no number keeps all.
            let most = (limit[i] / tile.step[i]).min(65_535.0);
            whole[i] = if limit[i] < 0.0 { -1 } else { most as i32 };
            if limit[i].is_nan() || (tile.step[i] == 0.0 && limit[i] >= 0.0) {
                whole[i] = 65_535;
            }
        }
        Self { codes, tables, lines: tile.lines, terms, step: &tile.step, limit, whole }
    }
}
