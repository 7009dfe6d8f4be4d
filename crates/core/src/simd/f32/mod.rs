//! f32 rows: dot and squared l2, one row × one row; query tile × row group, with or without the scores.
//!
//! **Layouts.** A [`Panel`] holds a group of 64 rows dimension-major: `panel[j * 64 + r]`; a [`Tile`] up to 6
//! queries likewise: `tile[j * 6 + i]`. Accumulators then run along rows: no horizontal sums, and the
//! threshold compares a register of rows at once. Packing a panel costs one pass over its rows, spread over
//! all queries of a batch.
//!
//! **Rounding.** With unit roundoff u = 2⁻²⁴, a sum of d products in any order has error at most
//! γ(d)·Σ|aᵢbᵢ| ≤ γ(d)·‖a‖‖b‖, γ(d) = d·u/(1−d·u) (Higham, Accuracy and Stability of Numerical Algorithms,
//! eq. 3.5). [`dot_error`] is that factor: block kernels and the one-row kernels order their sums
//! differently, so a block kernel only *prunes*, under a threshold widened by it, and survivors are scored
//! by the one-row kernel. Results are therefore those of the one-row kernel, whatever the batch.
//!
//! **Scores** ([`crate::simd::Simd::f32_scores`]) are for those who choose between few rows (centroids) and can do with
//! the block kernel's own rounding: each is summed dimension after dimension in one accumulator, so it depends on its
//! vector and its row only, never on what else is in the tile. Vectors are read where they lie ([`Vectors`]), not packed.

use crate::buffer::Buffer;
use crate::simd::product::Vectors;
use crate::simd::{GROUP, TILE};

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon;
pub(super) mod scalar;
#[cfg(test)]
mod tests;

/// γ(d): the relative rounding bound of an inner product of `dim` terms, in units of ‖a‖‖b‖.
pub fn dot_error(dim: usize) -> f32 {
    let du = (dim + 2) as f64 * f64::from(f32::EPSILON) * 0.5;
    (du / (1.0 - du)) as f32 * 1.000_001
}

/// A group of rows, dimension-major, with a term subtracted from each row's inner product.
#[derive(Clone)]
pub struct Panel {
    data: Buffer,
    dim: usize,
    /// Subtracted from each row's inner product before the threshold: ½‖x‖² for l2, 0 for ip and cosine.
    pub terms: [f32; GROUP],
}

impl Panel {
    /// A panel of zero rows of `dim` values.
    pub fn new(dim: usize) -> Self {
        Self { data: Buffer::zeroed(dim * GROUP * size_of::<f32>()), dim, terms: [0.0; GROUP] }
    }

    /// Packs `rows` (at most 64, each of at least `dim` values); absent rows keep what was there before.
    ///
    /// # Panics
    /// If there are more than 64 rows or a row is shorter than the panel's dimension.
    pub fn pack<'a>(&mut self, rows: impl ExactSizeIterator<Item = &'a [f32]>) {
        assert!(rows.len() <= GROUP, "a panel has {GROUP} rows, got {}", rows.len());
        let dim = self.dim;
        let data = self.data.as_mut_slice::<f32>();
        // Four rows at a time: the stores of one dimension then share a cache line's write.
        let rows: Vec<&[f32]> = rows.map(|row| &row[..dim]).collect();
        let (fours, rest) = rows.as_chunks::<4>();
        for (block, [a, b, c, d]) in fours.iter().enumerate() {
            let columns = data.chunks_exact_mut(GROUP);
            for ((((column, &a), &b), &c), &d) in columns.zip(*a).zip(*b).zip(*c).zip(*d) {
                column[block * 4..block * 4 + 4].copy_from_slice(&[a, b, c, d]);
            }
        }
        for (r, row) in rest.iter().enumerate() {
            for (column, &value) in data.chunks_exact_mut(GROUP).zip(*row) {
                column[fours.len() * 4 + r] = value;
            }
        }
    }
}

/// Up to [`TILE`] queries, dimension-major.
#[derive(Clone)]
pub struct Tile {
    data: Vec<f32>,
    dim: usize,
    queries: usize,
}

impl Tile {
    /// Packs 1 to [`TILE`] queries of at least `dim` values each.
    ///
    /// # Panics
    /// If there are none or more than [`TILE`], or one is shorter than `dim`.
    pub fn new<'a>(dim: usize, queries: impl IntoIterator<Item = &'a [f32]>) -> Self {
        let mut data = vec![0.0; dim * TILE];
        let mut count = 0;
        for (i, query) in queries.into_iter().enumerate() {
            assert!(i < TILE, "a tile has at most {TILE} queries");
            for (column, &value) in data.chunks_exact_mut(TILE).zip(&query[..dim]) {
                column[i] = value;
            }
            count = i + 1;
        }
        assert!(count > 0, "a tile has at least one query");
        Self { data, dim, queries: count }
    }

    /// How many queries the tile holds, 1 to [`TILE`].
    pub fn queries(&self) -> usize {
        self.queries
    }
}

/// What a kernel reads, with its lengths checked.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    /// `dim * GROUP` values.
    pub(super) panel: &'a [f32],
    /// `dim * TILE` values.
    pub(super) tile: &'a [f32],
    pub(super) terms: &'a [f32; GROUP],
    pub(super) dim: usize,
}

impl<'a> View<'a> {
    #[inline(always)]
    pub(super) fn checked(panel: &'a Panel, tile: &'a Tile) -> Self {
        let dim = panel.dim;
        assert_eq!(dim, tile.dim, "panel and tile of different dimensions"); // Check 1
        let values = panel.data.as_slice::<f32>();
        assert!(values.len() >= dim * GROUP && tile.data.len() == dim * TILE); // Check 2
        Self { panel: &values[..dim * GROUP], tile: &tile.data, terms: &panel.terms, dim }
    }
}

/// What [`crate::simd::Simd::f32_scores`] reads, with its lengths checked.
#[derive(Clone, Copy)]
pub(super) struct ScoresView<'a> {
    /// `depth * GROUP` values, for the depth of the vectors.
    pub(super) panel: &'a [f32],
    /// Vector i has `depth` values from `i * stride` on (checks of [`Vectors`]).
    pub(super) vectors: Vectors<'a>,
    pub(super) terms: &'a [f32; GROUP],
}

impl<'a> ScoresView<'a> {
    #[inline(always)]
    pub(super) fn checked(panel: &'a Panel, vectors: Vectors<'a>) -> Self {
        assert_eq!(panel.dim, vectors.depth, "panel and vectors of different dimensions"); // Check 3
        let values = panel.data.as_slice::<f32>();
        Self { panel: &values[..panel.dim * GROUP], vectors, terms: &panel.terms } // Check 4
    }
}
