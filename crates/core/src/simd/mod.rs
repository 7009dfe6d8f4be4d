//! Kernels and the processor level they run at.
//!
//! A [`Level`] is detected once (or forced by `COUNTERPOINT_SIMD`) and is a proof: it can only be made for
//! features this processor has. [`run`] executes a [`Work`] under one level's features, so that a whole search
//! loop (not only its innermost kernel) is compiled for them. Inside, the [`Simd`] token passed to
//! [`Work::run`] gives the kernels, without further detection.
//!
//! | family | operation | exactness across levels |
//! |---|---|---|
//! | [`mod@f32`] | dot and squared l2 of two rows; query tile × row group with a fused threshold, or with their scores | within a derived bound |
//! | [`bytes`] | dot and squared l2 of a f32 row and a row of one byte a value | within a derived bound |
//! | [`halves`] | dot and squared l2 of a f32 row and a row of half precision | within a derived bound |
//! | [`int8`] | 8- and 4-bit codes × signed 8-bit query, row group, with a fused threshold | sums and scores bit-exact |
//! | [`rows`] | a row's 8- or 4-bit codes × both planes of a query | bit-exact |
//! | [`fastscan`] | bits × small integer weights, row group, by look-ups, with a fused threshold | bit-exact |
//! | [`lookups`] | entries of tables of 256 or 16 by codes, row group, with a fused threshold | bit-exact |
//! | [`nibbles`] | bits × small integer weights, block of 32 rows, fused with an estimate and a bound; signs of residuals | bit-exact; residuals' sums within rounding |
//! | [`lines`] | rows of 8- and 4-bit codes × signed 8-bit query, a few from anywhere | bit-exact |
//! | [`planes`] | a row's bit planes, or the levels of its codes, × signed 8-bit query; planes to codes | bit-exact |
//! | [`hadamard`] | Hadamard transform of a row | bit-exact |
//! | [`product`] | products of a matrix: vectors × 64 outputs | bit-exact |
//!
//! Each family is a folder: `mod.rs` (layouts, the argument for ranges), `scalar.rs` (the reference twin and
//! the fallback), `avx2.rs`, `avx512.rs`, `neon.rs`.
//!
//! **Shapes.** Every block kernel works on a *group* of [`GROUP`] rows and a *tile* of at most [`TILE`]
//! queries. On AVX-512 that is 4 registers of rows × 6 queries = 24 accumulators, 4 row registers and 1
//! broadcast: 29 of 32 registers, 24 multiply-adds for 10 loads. A 64-row survivor set is one `u64`.

pub mod bytes;
pub mod f32;
pub mod fastscan;
pub mod hadamard;
pub mod halves;
pub mod int8;
mod level;
pub mod lines;
pub mod lookups;
pub mod nibbles;
pub mod planes;
mod prefetch;
pub mod product;
pub mod rows;

pub use level::{Level, LevelError};
pub use prefetch::{prefetch, prefetch_far};

/// Rows of one group: what a block kernel scans at once. A survivor set of a group is a `u64`.
pub const GROUP: usize = 64;
/// Queries of one tile: what a block kernel scores against a group at once.
pub const TILE: usize = 6;

/// A computation to run under one level's instruction set.
///
/// Mark the implementation of `run` `#[inline(always)]`: only then is its body compiled with the level's
/// features. Closures handed to other threads do not inherit them; call [`run`] inside the thread.
pub trait Work {
    /// What the computation gives.
    type Output;
    /// Runs with the kernels of `simd`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Runs `work` compiled for the features of `level`.
#[inline]
pub fn run<W: Work>(level: Level, work: W) -> W::Output {
    match level.kind() {
        level::Kind::Scalar => work.run(Scalar(())),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a `Level` of this kind is only made after its features were detected (level.rs, Check 1).
        level::Kind::Avx2 => unsafe { run_avx2(work) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        level::Kind::Avx512 => unsafe { run_avx512(work) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        level::Kind::Neon => unsafe { run_neon(work) },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt")]
fn run_avx2<W: Work>(work: W) -> W::Output {
    work.run(Avx2(()))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(
    enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt"
)]
fn run_avx512<W: Work>(work: W) -> W::Output {
    work.run(Avx512(()))
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon,dotprod")]
fn run_neon<W: Work>(work: W) -> W::Output {
    work.run(Neon(()))
}

mod sealed {
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
    /// If their number is no power of two, or below [`hadamard::SHORTEST`].
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

macro_rules! token {
    ($(#[$doc:meta])* $name:ident, $module:ident, $level:literal, $tables:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name(());

        impl sealed::Sealed for $name {}

        impl Simd for $name {
            const NAME: &'static str = $level;

            #[inline(always)]
            fn dot(self, a: &[f32], b: &[f32]) -> f32 {
                assert_eq!(a.len(), b.len(), "dot: rows of different lengths"); // Check 1
                // SAFETY: `self` proves the features; lengths by Check 1.
                #[allow(unused_unsafe, reason = "the scalar twin is a safe function")]
                unsafe { f32::$module::dot(a, b) }
            }

            #[inline(always)]
            fn squared_l2(self, a: &[f32], b: &[f32]) -> f32 {
                assert_eq!(a.len(), b.len(), "squared_l2: rows of different lengths"); // Check 1
                // SAFETY: `self` proves the features; lengths by Check 1.
                #[allow(unused_unsafe, reason = "the scalar twin is a safe function")]
                unsafe { f32::$module::squared_l2(a, b) }
            }

            #[inline(always)]
            fn bytes_dot(self, query: &[f32], row: bytes::Row<'_>) -> f32 {
                assert_eq!(query.len(), row.codes.len(), "bytes_dot: rows of different lengths"); // Check 1
                // SAFETY: `self` proves the features; lengths by Check 1.
                #[allow(unused_unsafe, reason = "the scalar twin is a safe function")]
                unsafe { bytes::$module::dot(query, row) }
            }

            #[inline(always)]
            fn bytes_squared_l2(self, query: &[f32], row: bytes::Row<'_>) -> f32 {
                assert_eq!(query.len(), row.codes.len(), "bytes_squared_l2: rows of different lengths"); // Check 1
                // SAFETY: `self` proves the features; lengths by Check 1.
                #[allow(unused_unsafe, reason = "the scalar twin is a safe function")]
                unsafe { bytes::$module::squared_l2(query, row) }
            }

            #[inline(always)]
            fn halves_dot(self, query: &[f32], row: &[half::f16]) -> f32 {
                assert_eq!(query.len(), row.len(), "halves_dot: rows of different lengths"); // Check 1
                // SAFETY: `self` proves the features; lengths by Check 1.
                #[allow(unused_unsafe, reason = "the scalar twin is a safe function")]
                unsafe { halves::$module::dot(query, row) }
            }

            #[inline(always)]
            fn halves_squared_l2(self, query: &[f32], row: &[half::f16]) -> f32 {
                assert_eq!(query.len(), row.len(), "halves_squared_l2: rows of different lengths"); // Check 1
                // SAFETY: `self` proves the features; lengths by Check 1.
                #[allow(unused_unsafe, reason = "the scalar twin is a safe function")]
                unsafe { halves::$module::squared_l2(query, row) }
            }

            #[inline(always)]
            fn f32_survivors(self, panel: &f32::Panel, tile: &f32::Tile, limits: &[f32; TILE]) -> [u64; TILE] {
                let view = f32::View::checked(panel, tile);
                // SAFETY: `self` proves the features; the lengths by the checks in `View::checked`.
                #[allow(unused_unsafe, reason = "the scalar twin is a safe function")]
                unsafe {
                    match tile.queries() {
                        1 => f32::$module::survivors::<1>(view, limits),
                        2 => f32::$module::survivors::<2>(view, limits),
                        3 => f32::$module::survivors::<3>(view, limits),
                        4 => f32::$module::survivors::<4>(view, limits),
                        5 => f32::$module::survivors::<5>(view, limits),
                        _ => f32::$module::survivors::<6>(view, limits),
                    }
                }
            }

            #[inline(always)]
            fn f32_scores(
                self,
                panel: &f32::Panel,
                vectors: product::Vectors<'_>,
                limits: &[f32; TILE],
                scores: &mut product::Sums,
            ) -> [u64; TILE] {
                let view = f32::ScoresView::checked(panel, vectors);
                // SAFETY: `self` proves the features; the lengths by the checks in `ScoresView` and `Vectors`.
                #[allow(unused_unsafe, reason = "the scalar twin is a safe function")]
                unsafe {
                    match vectors.count() {
                        1 => f32::$module::scores::<1>(view, limits, scores),
                        2 => f32::$module::scores::<2>(view, limits, scores),
                        3 => f32::$module::scores::<3>(view, limits, scores),
                        4 => f32::$module::scores::<4>(view, limits, scores),
                        5 => f32::$module::scores::<5>(view, limits, scores),
                        _ => f32::$module::scores::<6>(view, limits, scores),
                    }
                }
            }

            #[inline(always)]
            fn hadamard(self, values: &mut [f32]) {
                let view = hadamard::View::checked(values);
                // SAFETY: `self` proves the features; the length by the check in `View::checked`.
                #[allow(unused_unsafe, reason = "the scalar twin is a safe function")]
                unsafe { hadamard::$module::transform(view) }
            }

            #[inline(always)]
            fn add_products(self, panel: &[f32], vectors: product::Vectors<'_>, sums: &mut product::Sums) {
                let view = product::View::checked(panel, vectors);
                // SAFETY: `self` proves the features; the lengths by the checks in `View` and `Vectors`.
                #[allow(unused_unsafe, reason = "the scalar twin is a safe function")]
                unsafe {
                    match vectors.count() {
                        1 => product::$module::add::<1>(view, sums),
                        2 => product::$module::add::<2>(view, sums),
                        3 => product::$module::add::<3>(view, sums),
                        4 => product::$module::add::<4>(view, sums),
                        5 => product::$module::add::<5>(view, sums),
                        _ => product::$module::add::<6>(view, sums),
                    }
                }
            }

            #[inline(always)]
            fn int8_survivors(
                self,
                group: int8::Group<'_>,
                rows: &int8::RowTerms,
                tile: &int8::Tile,
                terms: &int8::QueryTerms,
            ) -> [u64; TILE] {
                let view = int8::View::checked(group, tile);
                // SAFETY: `self` proves the features; the lengths by the checks in `View::checked`.
                #[allow(unused_unsafe, reason = "the scalar twin is a safe function")]
                unsafe {
                    match (group.bits(), tile.queries()) {
                        (int8::Bits::Eight, 1) => int8::$module::survivors::<8, 1>(view, rows, terms),
                        (int8::Bits::Eight, 2) => int8::$module::survivors::<8, 2>(view, rows, terms),
                        (int8::Bits::Eight, 3) => int8::$module::survivors::<8, 3>(view, rows, terms),
                        (int8::Bits::Eight, 4) => int8::$module::survivors::<8, 4>(view, rows, terms),
                        (int8::Bits::Eight, 5) => int8::$module::survivors::<8, 5>(view, rows, terms),
                        (int8::Bits::Eight, _) => int8::$module::survivors::<8, 6>(view, rows, terms),
                        (int8::Bits::Four, 1) => int8::$module::survivors::<4, 1>(view, rows, terms),
                        (int8::Bits::Four, 2) => int8::$module::survivors::<4, 2>(view, rows, terms),
                        (int8::Bits::Four, 3) => int8::$module::survivors::<4, 3>(view, rows, terms),
                        (int8::Bits::Four, 4) => int8::$module::survivors::<4, 4>(view, rows, terms),
                        (int8::Bits::Four, 5) => int8::$module::survivors::<4, 5>(view, rows, terms),
                        (int8::Bits::Four, _) => int8::$module::survivors::<4, 6>(view, rows, terms),
                    }
                }
            }

            #[inline(always)]
            fn int8_scores(
                self,
                group: int8::Group<'_>,
                rows: fastscan::RowTerms<'_>,
                tile: &int8::Tile,
                terms: &fastscan::QueryTerms,
                values: &mut [[f32; GROUP]; TILE],
            ) -> [u64; TILE] {
                let view = int8::View::checked(group, tile);
                // SAFETY: `self` proves the features; the lengths by the checks in `View::checked`.
                #[allow(unused_unsafe, reason = "the scalar twin is a safe function")]
                unsafe {
                    match (group.bits(), tile.queries()) {
                        (int8::Bits::Eight, 1) => int8::$module::scores::<8, 1>(view, rows, terms, values),
                        (int8::Bits::Eight, 2) => int8::$module::scores::<8, 2>(view, rows, terms, values),
                        (int8::Bits::Eight, 3) => int8::$module::scores::<8, 3>(view, rows, terms, values),
                        (int8::Bits::Eight, 4) => int8::$module::scores::<8, 4>(view, rows, terms, values),
                        (int8::Bits::Eight, 5) => int8::$module::scores::<8, 5>(view, rows, terms, values),
                        (int8::Bits::Eight, _) => int8::$module::scores::<8, 6>(view, rows, terms, values),
                        (int8::Bits::Four, 1) => int8::$module::scores::<4, 1>(view, rows, terms, values),
                        (int8::Bits::Four, 2) => int8::$module::scores::<4, 2>(view, rows, terms, values),
                        (int8::Bits::Four, 3) => int8::$module::scores::<4, 3>(view, rows, terms, values),
                        (int8::Bits::Four, 4) => int8::$module::scores::<4, 4>(view, rows, terms, values),
                        (int8::Bits::Four, 5) => int8::$module::scores::<4, 5>(view, rows, terms, values),
                        (int8::Bits::Four, _) => int8::$module::scores::<4, 6>(view, rows, terms, values),
                    }
                }
            }

            #[inline(always)]
            fn int8_dots(
                self,
                group: int8::Group<'_>,
                quarter: usize,
                planes: &int8::Planes,
            ) -> [[i32; int8::QUARTER]; 2] {
                let view = int8::PlanesView::checked(group, quarter, planes);
                // SAFETY: `self` proves the features; the lengths by the checks in `PlanesView::checked`.
                #[allow(unused_unsafe, reason = "the scalar twin is a safe function")]
                unsafe {
                    match group.bits() {
                        int8::Bits::Eight => int8::$module::dots::<8>(view),
                        int8::Bits::Four => int8::$module::dots::<4>(view),
                    }
                }
            }

            #[inline(always)]
            fn lines_dots(self, rows: lines::Rows<'_>, ids: &[u32], query: &lines::Query, sums: &mut [[i32; 2]]) {
                let view = lines::View::checked(rows, ids, query, sums.len());
                // SAFETY: `self` proves the features; the lengths by the checks in `View::checked`.
                #[allow(unused_unsafe, reason = "the scalar twin is a safe function")]
                unsafe {
                    match rows.bits() {
                        int8::Bits::Eight => lines::$module::dots::<8>(view, sums),
                        int8::Bits::Four => lines::$module::dots::<4>(view, sums),
                    }
                }
            }

            #[inline(always)]
            fn rows_dots(self, bits: int8::Bits, row: &[u8], high: &[i8], low: &[i8]) -> [i32; 2] {
                let view = rows::View::checked(bits, row, high, low);
                // SAFETY: `self` proves the features; the lengths by the checks in `View::checked`.
                #[allow(unused_unsafe, reason = "the scalar twin is a safe function")]
                unsafe {
                    match bits {
                        int8::Bits::Eight => rows::$module::dots::<8>(view),
                        int8::Bits::Four => rows::$module::dots::<4>(view),
                    }
                }
            }

            const TABLES: fastscan::Tables = fastscan::Tables::$tables;

            #[inline(always)]
            fn fastscan_survivors(
                self,
                group: &[u8],
                rows: fastscan::RowTerms<'_>,
                tile: &fastscan::Tile,
                terms: &fastscan::QueryTerms,
                values: &mut [[f32; GROUP]; TILE],
            ) -> [u64; TILE] {
                let view = fastscan::View::checked(group, tile, Self::TABLES);
                // SAFETY: `self` proves the features; the lengths by the checks in `View::checked`.
                #[allow(unused_unsafe, reason = "the scalar twin is a safe function")]
                unsafe {
                    match tile.queries() {
                        1 => fastscan::$module::survivors::<1>(view, rows, terms, values),
                        2 => fastscan::$module::survivors::<2>(view, rows, terms, values),
                        3 => fastscan::$module::survivors::<3>(view, rows, terms, values),
                        4 => fastscan::$module::survivors::<4>(view, rows, terms, values),
                        5 => fastscan::$module::survivors::<5>(view, rows, terms, values),
                        _ => fastscan::$module::survivors::<6>(view, rows, terms, values),
                    }
                }
            }

            #[inline(always)]
            fn lookup_survivors(
                self,
                group: &[u8],
                terms: Option<&[f32; GROUP]>,
                tile: &lookups::Tile,
                limits: &[f32; TILE],
            ) -> [u64; TILE] {
                let view = lookups::View::checked(group, terms, tile, limits);
                // SAFETY: `self` proves the features; the lengths by the checks in `View::checked`.
                #[allow(unused_unsafe, reason = "the scalar twin is a safe function")]
                unsafe {
                    match (tile.bits(), tile.queries()) {
                        (int8::Bits::Eight, 1) => lookups::$module::survivors::<8, 1>(view),
                        (int8::Bits::Eight, 2) => lookups::$module::survivors::<8, 2>(view),
                        (int8::Bits::Eight, 3) => lookups::$module::survivors::<8, 3>(view),
                        (int8::Bits::Eight, 4) => lookups::$module::survivors::<8, 4>(view),
                        (int8::Bits::Eight, 5) => lookups::$module::survivors::<8, 5>(view),
                        (int8::Bits::Eight, _) => lookups::$module::survivors::<8, 6>(view),
                        (int8::Bits::Four, 1) => lookups::$module::survivors::<4, 1>(view),
                        (int8::Bits::Four, 2) => lookups::$module::survivors::<4, 2>(view),
                        (int8::Bits::Four, 3) => lookups::$module::survivors::<4, 3>(view),
                        (int8::Bits::Four, 4) => lookups::$module::survivors::<4, 4>(view),
                        (int8::Bits::Four, 5) => lookups::$module::survivors::<4, 5>(view),
                        (int8::Bits::Four, _) => lookups::$module::survivors::<4, 6>(view),
                    }
                }
            }

            #[inline(always)]
            fn nibbles_below(
                self,
                block: &[u8],
                rows: &[nibbles::RowTerms; nibbles::BLOCK],
                query: &nibbles::Query,
                terms: nibbles::Terms,
                values: &mut [f32; nibbles::BLOCK],
            ) -> u32 {
                let view = nibbles::View::checked(block, rows, query);
                // SAFETY: `self` proves the features; the lengths by the checks in `View::checked`.
                #[allow(unused_unsafe, reason = "the scalar twin is a safe function")]
                unsafe { nibbles::$module::below(view, terms, values) }
            }

            #[inline(always)]
            fn residual(self, from: &[f32], to: &[f32], bits: &mut [u8]) -> nibbles::Residual {
                let view = nibbles::ResidualView::checked(from, to, bits);
                // SAFETY: `self` proves the features; the lengths by the checks in `ResidualView::checked`.
                #[allow(unused_unsafe, reason = "the scalar twin is a safe function")]
                unsafe { nibbles::$module::residual(view) }
            }

            #[inline(always)]
            fn planes_sum(self, planes: &[u8], spans: &[usize], weights: &[i8]) -> i32 {
                let view = planes::SumView::checked(planes, spans, weights);
                // SAFETY: `self` proves the features; the lengths by the checks in `SumView::checked`.
                #[allow(unused_unsafe, reason = "the scalar twin is a safe function")]
                unsafe { planes::$module::sum(view) }
            }

            #[inline(always)]
            fn planes_expand(self, bits: &[u8], shift: u32, codes: &mut [u8]) {
                let view = planes::ExpandView::checked(bits, shift, codes);
                // SAFETY: `self` proves the features; the lengths by the checks in `ExpandView::checked`.
                #[allow(unused_unsafe, reason = "the scalar twin is a safe function")]
                unsafe { planes::$module::expand(view) }
            }

            #[inline(always)]
            fn planes_dots(
                self,
                codes: planes::Codes<'_>,
                tables: &[[u8; planes::LEVELS]],
                high: &[i8],
                low: &[i8],
            ) -> [i32; 2] {
                let view = planes::DotsView::checked(codes, tables, high, low);
                // SAFETY: `self` proves the features; the lengths by the checks in `DotsView::checked`.
                #[allow(unused_unsafe, reason = "the scalar twin is a safe function")]
                unsafe { planes::$module::dots(view) }
            }
        }
    };
}

token!(
    /// No instruction set beyond the target's own: the reference twin, and the fallback.
    Scalar, scalar, "scalar", Fields
);
#[cfg(target_arch = "x86_64")]
token!(
    /// AVX2 with FMA and F16C.
    Avx2, avx2, "avx2", Nibbles
);
#[cfg(target_arch = "x86_64")]
token!(
    /// AVX-512 F, BW, DQ, VL, VNNI and VBMI.
    Avx512, avx512, "avx512", Fields
);
#[cfg(target_arch = "aarch64")]
token!(
    /// NEON with the dot-product extension.
    Neon, neon, "neon", Nibbles
);
