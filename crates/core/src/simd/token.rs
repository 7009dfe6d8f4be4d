//! A token for each level: checks arguments, then calls the level's kernels. Only this room can make one, in
//! [`run`](super::run).

use super::kernels::{Simd, sealed::Sealed};
use super::{GROUP, TILE};
use super::{bytes, f32, fastscan, hadamard, halves, int8, lines, lookups, nibbles, planes, product, rows};

macro_rules! token {
    ($(#[$doc:meta])* $name:ident, $module:ident, $level:literal, $tables:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name(pub(super) ());

        impl Sealed for $name {}

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
