//! What each level can do.

use super::{GROUP, TILE};
use super::{bytes, f32, fastscan, int8, lines, lookups, nibbles, planes, product};

pub(super) mod sealed {
    pub trait Sealed {}
}

/// The kernels of one level. Holding a value proves that the processor has the level's features.
pub trait Simd: Copy + Send + Sync + sealed::Sealed {
    /// The level's name, as `COUNTERPOINT_SIMD` spells it.
    const NAME: &'static str;

    /// Inner product of two slices of equal length. See [`f32::dot_error`] for the bound on its rounding.
    ///
    /// # Panics
    /// If the lengths differ.
    fn dot(self, a: &[f32], b: &[f32]) -> f32;

    /// Squared Euclidean distance of two slices of equal length, summed from differences (no cancellation).
    ///
    /// # Panics
    /// If the lengths differ.
    fn squared_l2(self, a: &[f32], b: &[f32]) -> f32;

    /// As [`Simd::dot`], of a query and a row of codes.
    fn bytes_dot(self, query: &[f32], row: bytes::Row<'_>) -> f32;

    /// As [`Simd::squared_l2`], of a query and a row of codes.
    fn bytes_squared_l2(self, query: &[f32], row: bytes::Row<'_>) -> f32;

    /// As [`Simd::dot`], of a query and a row of finite halves.
    ///
    /// # Panics
    /// If the lengths differ.
    fn halves_dot(self, query: &[f32], row: &[half::f16]) -> f32;

    /// As [`Simd::squared_l2`], of a query and a row of finite halves.
    ///
    /// # Panics
    /// If the lengths differ.
    fn halves_squared_l2(self, query: &[f32], row: &[half::f16]) -> f32;

    /// Rows of `panel` whose inner product with each query of `tile` passes: bit `r` of entry `i` is set iff
    /// not `dot(query i, row r) - panel.terms[r] < limits[i]` (so a NaN survives, to be scored exactly).
    fn f32_survivors(self, panel: &f32::Panel, tile: &f32::Tile, limits: &[f32; TILE]) -> [u64; TILE];

    /// Writes `dot(vector i, row r) - panel.terms[r]` to `scores[i][r]` for the vectors there are and all 64 rows; bit
    /// `r` of entry `i` is set iff not `scores[i][r] < limits[i]`. A score depends on its vector and row only, and is
    /// the same at every level that has fused multiply-adds (all but the scalar).
    ///
    /// # Panics
    /// If panel and vectors differ in dimension.
    fn f32_scores(
        self,
        panel: &f32::Panel,
        vectors: product::Vectors<'_>,
        limits: &[f32; TILE],
        scores: &mut product::Sums,
    ) -> [u64; TILE];

    /// Replaces `values` by their Hadamard transform, without normalisation: twice gives `values.len()` times what was
    /// there. The same bytes on every level.
    ///
    /// # Panics
    /// If their number is no power of two, or below [`hadamard::SHORTEST`](super::hadamard::SHORTEST).
    fn hadamard(self, values: &mut [f32]);

    /// Adds to `sums[i][c]` the inner product of vector i and column c of `panel` (depth-major, 64 columns), for the
    /// vectors there are. The same bytes on every level, whatever the other vectors.
    ///
    /// # Panics
    /// If panel and vectors differ in depth.
    fn add_products(self, panel: &[f32], vectors: product::Vectors<'_>, sums: &mut product::Sums);

    /// Rows of `group` that pass for each query of `tile`: bit `r` of entry `i` is set iff not
    /// `scale[r] * (alpha[i] * dot(i, r) + beta[i]) + bias[r] * gamma[i] - offset[r] < limit[i]`,
    /// where `dot` is the exact integer sum of code × query.
    fn int8_survivors(
        self,
        group: int8::Group<'_>,
        rows: &int8::RowTerms,
        tile: &int8::Tile,
        terms: &int8::QueryTerms,
    ) -> [u64; TILE];

    /// Rows of `group` that pass for each query of `tile`: bit `r` of entry `i` is set iff not `value < limit[i]`,
    /// where value = `scale[r] * (alpha[i] * dot(i, r) + beta[i]) + offset[r]` in fused multiply-adds and `dot` is the
    /// exact integer sum of code × query: the same values on every level. Where an entry is not 0, `values[i]` holds
    /// all 64 values; else it is left as it was, or overwritten.
    fn int8_scores(
        self,
        group: int8::Group<'_>,
        rows: fastscan::RowTerms<'_>,
        tile: &int8::Tile,
        terms: &fastscan::QueryTerms,
        values: &mut [[f32; GROUP]; TILE],
    ) -> [u64; TILE];

    /// Exact integer sums of code × plane, for both planes of a query and the [`int8::QUARTER`] rows of a
    /// group from `QUARTER * quarter` on.
    ///
    /// # Panics
    /// If `quarter` is not below 4, or codes and query differ in dimension.
    fn int8_dots(
        self,
        group: int8::Group<'_>,
        quarter: usize,
        planes: &int8::Planes,
    ) -> [[i32; int8::QUARTER]; 2];

    /// Writes the exact integer sums of code × query to `sums`, for both planes of the query and each of the rows `ids`.
    ///
    /// # Panics
    /// If there is no such row, codes and query differ in dimension, or there is not one sum for each row.
    fn lines_dots(self, rows: lines::Rows<'_>, ids: &[u32], query: &lines::Query, sums: &mut [[i32; 2]]);

    /// Exact integer sums of code × plane, for both planes of a query and one row of codes of `bits` bits.
    ///
    /// # Panics
    /// If row and planes differ in dimension, or have more than `MAX_DIM`.
    fn rows_dots(self, bits: int8::Bits, row: &[u8], high: &[i8], low: &[i8]) -> [i32; 2];

    /// How [`Simd::fastscan_survivors`] looks up: what a [`fastscan::Tile`] is made for.
    const TABLES: fastscan::Tables;

    /// Rows of a group that pass for each query of `tile`: bit `r` of entry `i` is set iff not `value < limit[i]`,
    /// where value = `scale[r] * (alpha[i] * A + beta[i]) + offset[r]` in fused multiply-adds and `A` is the
    /// agreement of row and query. Where an entry is not 0, `values[i]` holds all 64 values; else it is left as
    /// it was, or overwritten.
    ///
    /// # Panics
    /// If rows and queries differ in their number of bits, or the tile was made for another level.
    fn fastscan_survivors(
        self,
        group: &[u8],
        rows: fastscan::RowTerms<'_>,
        tile: &fastscan::Tile,
        terms: &fastscan::QueryTerms,
        values: &mut [[f32; GROUP]; TILE],
    ) -> [u64; TILE];

    /// Rows of a group of codes that may be as near as its limit to each query of `tile`: bit r of entry i is clear only if
    /// V of row r is above `limits[i]`; see [`lookups`]. `terms` are added, one for each row, where there are any. A NaN
    /// survives.
    ///
    /// # Panics
    /// If rows and queries differ in their number of codes.
    fn lookup_survivors(
        self,
        group: &[u8],
        terms: Option<&[f32; GROUP]>,
        tile: &lookups::Tile,
        limits: &[f32; TILE],
    ) -> [u64; TILE];

    /// Rows of `block` whose estimate is below `terms.bound`: bit r is set iff `values[r] < bound`, where `values[r]` =
    /// `unit * (scale * (alpha * A + beta) + offset) + base` in fused multiply-adds, with the scale and offset of `rows[r]`,
    /// and `A` is the agreement of row and query. All 32 values are written.
    ///
    /// # Panics
    /// If rows and query differ in their number of bits.
    fn nibbles_below(
        self,
        block: &[u8],
        rows: &[nibbles::RowTerms; nibbles::BLOCK],
        query: &nibbles::Query,
        terms: nibbles::Terms,
        values: &mut [f32; nibbles::BLOCK],
    ) -> u32;

    /// What leads from one row to another; `bits` are the signs, set where the difference is above 0.
    ///
    /// # Panics
    /// If the rows differ in length, which is no multiple of [`nibbles::STEP`], or there is not one bit for each value.
    fn residual(self, from: &[f32], to: &[f32], bits: &mut [u8]) -> nibbles::Residual;

    /// Exact Σ_p 2^(L−1−p)·Σ weights\[j\] over the bits j that are 1 in plane p of a row's L `planes`, which lie one
    /// after another, plane p in `spans[p] / 8` bytes.
    ///
    /// # Panics
    /// If there are more than [`planes::MAX_PLANES`] spans, one is no multiple of [`planes::STEP`] or above the one
    /// before, `weights.len()` or `MAX_DIM`, or the planes' length is not [`planes::row_bytes`].
    fn planes_sum(self, planes: &[u8], spans: &[usize], weights: &[i8]) -> i32;

    /// Sets bit `shift` of each code whose bit of a plane is 1; the bits of a plane beyond the codes are ignored.
    ///
    /// # Panics
    /// If there are more codes than bits, or `shift` is not below 8.
    fn planes_expand(self, bits: &[u8], shift: u32, codes: &mut [u8]);

    /// Exact Σ level·high and Σ level·low over all dimensions, a dimension's level being what its code looks up in its
    /// run's table.
    ///
    /// # Panics
    /// If the lengths do not fit each other, there are more than `MAX_DIM` dimensions or [`planes::LEVEL_BITS`] planes,
    /// or a run is no multiple of 8.
    fn planes_dots(
        self,
        codes: planes::Codes<'_>,
        tables: &[[u8; planes::LEVELS]],
        high: &[i8],
        low: &[i8],
    ) -> [i32; 2];
}
