//! Rows in 8 bits about an origin near them: what leaves and pruning compare.
//!
//! About an origin o a row is x − o ≈ σ·q, q whole and within ±127, σ its largest magnitude / 127. The inner product of
//! two such rows is σᵢσᵣ·Σ qᵢqᵣ; it is wrong by about (σᵢ‖xᵣ − o‖ + σᵣ‖xᵢ − o‖)/√12, which is 5·10⁻⁴ of the product
//! of norms where the values are like 384 normal ones. An origin near the rows (the mean of a leaf, the vertex whose
//! candidates they are) keeps that small beside their distances, wherever the rows lie.
//!
//! The integer sums are exact on every level, and what is made of them is fused alike on all but the scalar.

use crate::buffer::Buffer;
use crate::simd::fastscan::{QueryTerms, RowTerms};
use crate::simd::int8::{self, Bits, Group, Tile};
use crate::simd::{GROUP, Simd, TILE};

/// Largest magnitude of a code.
const LARGEST: f32 = 127.0;
/// What makes a signed code unsigned.
const MIDDLE: u8 = 128;
/// Rows no value of which is above are as good as their origin.
const SMALLEST: f32 = 1e-30;

/// The values of a tile's rows for one group.
pub(super) type Values = [[f32; GROUP]; TILE];

/// Rows about one origin.
pub(super) struct Local {
    dim: usize,
    /// Codes of a row: whole quads.
    stride: usize,
    rows: usize,
    /// Signed, row after row.
    codes: Vec<i8>,
    /// The same, unsigned, in groups.
    groups: Buffer,
    /// σ.
    step: Vec<[f32; GROUP]>,
    /// Added to a row's inner products; −∞ where there is no row.
    offset: Vec<[f32; GROUP]>,
    /// −128·Σq.
    shift: Vec<f32>,
    tile: Tile,
    unsigned: Vec<u8>,
}

impl Local {
    /// Without rows.
    pub(super) fn new(dim: usize) -> Self {
        let stride = dim.next_multiple_of(4);
        let zeros = vec![0; stride];
        Self {
            dim,
            stride,
            rows: 0,
            codes: Vec::new(),
            groups: Buffer::new(),
            step: Vec::new(),
            offset: Vec::new(),
            shift: Vec::new(),
            tile: Tile::new(Bits::Eight, stride, [&zeros[..]]),
            unsigned: vec![MIDDLE; stride],
        }
    }

    /// Forgets all rows, and makes room for others.
    pub(super) fn begin(&mut self, rows: usize) {
        self.rows = 0;
        self.codes.clear();
        self.shift.clear();
        self.step.clear();
        self.offset.clear();
        let groups = rows.div_ceil(GROUP);
        self.step.resize(groups, [0.0; GROUP]);
        self.offset.resize(groups, [f32::NEG_INFINITY; GROUP]);
        let bytes = groups * int8::group_bytes(Bits::Eight, self.stride);
        if self.groups.len() < bytes {
            self.groups.resize(bytes);
        }
    }

    /// How many groups there are.
    #[inline(always)]
    pub(super) fn groups(&self) -> usize {
        self.step.len()
    }

    /// Takes in a row, one of those there is room for, about `origin`. `offset` gives what is added to its inner products,
    /// from ‖σq‖².
    #[inline(always)]
    pub(super) fn push(&mut self, values: &[f32], origin: &[f32], offset: impl FnOnce(f32) -> f32) {
        let row = self.rows;
        let bytes = int8::group_bytes(Bits::Eight, self.stride);
        let (values, origin) = (&values[..self.dim], &origin[..self.dim]);
        // The bits of magnitudes rise with them, and whole numbers have one largest in whatever order.
        let most = values.iter().zip(origin).map(|(value, origin)| (value - origin).abs().to_bits()).max();
        let most = f32::from_bits(most.unwrap_or_default());
        let (step, inverse) = if most > SMALLEST { (most / LARGEST, LARGEST / most) } else { (0.0, 0.0) };
        let first = self.codes.len();
        self.codes.resize(first + self.stride, 0);
        let codes = &mut self.codes[first..];
        let (mut sum, mut square) = (0_i32, 0_i32);
        let out = codes.iter_mut().zip(&mut self.unsigned);
        for (((code, unsigned), &value), &origin) in out.zip(values).zip(origin) {
            let whole = whole((value - origin) * inverse);
            *code = whole as i8;
            *unsigned = (whole as u8).wrapping_add(MIDDLE);
            sum += whole;
            square += whole * whole;
        }
        let group = &mut self.groups.as_mut_bytes()[row / GROUP * bytes..][..bytes];
        int8::write_row(Bits::Eight, group, row % GROUP, &self.unsigned);
        self.step[row / GROUP][row % GROUP] = step;
        // A step is at most 2·10¹⁵ / 127, a sum of squares at most 127²·65,536: the product is finite.
        self.offset[row / GROUP][row % GROUP] = offset(step * step * square as f32);
        self.shift.push(-f32::from(MIDDLE) * sum as f32);
        self.rows += 1;
    }

    /// Writes to `values[g]`, for the groups from `first` on, offset + inner product of each of its rows and each of the
    /// `chosen` ones (1 to 6).
    #[inline(always)]
    pub(super) fn products<S: Simd>(
        &mut self,
        simd: S,
        chosen: &[usize],
        first: usize,
        values: &mut Vec<Values>,
    ) {
        let mut terms = QueryTerms { limit: [f32::NEG_INFINITY; TILE], ..QueryTerms::default() };
        for (i, &row) in chosen.iter().enumerate() {
            terms.alpha[i] = self.step[row / GROUP][row % GROUP];
            terms.beta[i] = terms.alpha[i] * self.shift[row];
        }
        let (codes, stride) = (&self.codes, self.stride);
        self.tile.refill(chosen.iter().map(|&row| &codes[row * stride..][..stride]));
        values.resize(self.groups(), [[0.0; GROUP]; TILE]);
        let bytes = int8::group_bytes(Bits::Eight, stride);
        let groups = self.groups.as_bytes().chunks_exact(bytes.max(1)).zip(&self.step).zip(&self.offset);
        for (((group, scale), offset), values) in groups.zip(values).skip(first) {
            let group = Group::new(Bits::Eight, group);
            simd.int8_scores(group, RowTerms { scale, offset }, &self.tile, &terms, values);
        }
    }
}

/// The nearest whole number, of two the even one; `value` is within ±127.5.
#[inline(always)]
fn whole(value: f32) -> i32 {
    // Where one unit is the last bit of a value: the sum is rounded to whole units, and its last bits are the number's.
    i32::from((value + 12_582_912.0).to_bits() as i8)
}
