//! Products of a matrix: a tile of at most 6 vectors × a panel of 64 outputs.
//!
//! **Layouts.** A panel holds 64 columns, depth-major: `panel[j * 64 + c]` is what value j of a vector adds to output c,
//! so that accumulators run along outputs. Vectors are rows of one slice, `stride` apart.
//!
//! **Exactness.** Every sum is taken value after value, each product and each sum rounded once, never fused: a sum
//! depends on nothing but its own vector and column, and all levels give the same bytes. Since sums are added to what
//! was there, a long product may be taken in parts without changing them. (Fused, a Zen 4 core would be a fourth
//! faster; the scalar level would have to call a function for each.) The error is at most twice that of
//! [`crate::simd::f32::dot_error`].

use crate::simd::{GROUP, TILE};

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon;
pub(super) mod scalar;

/// The sums of a tile: those of one vector in a row.
pub type Sums = [[f32; GROUP]; TILE];

/// 1 to [`TILE`] vectors of equal length.
#[derive(Clone, Copy)]
pub struct Vectors<'a> {
    pub(super) values: &'a [f32],
    pub(super) stride: usize,
    count: usize,
    pub(super) depth: usize,
}

impl<'a> Vectors<'a> {
    /// `count` vectors of `depth` values, the next `stride` values after the one before.
    ///
    /// # Panics
    /// If there are none or more than [`TILE`], or one ends beyond `values`.
    #[inline(always)]
    pub fn new(values: &'a [f32], stride: usize, count: usize, depth: usize) -> Self {
        assert!((1..=TILE).contains(&count), "a tile has 1 to {TILE} vectors, got {count}"); // Check 1
        let last = (count - 1).checked_mul(stride).and_then(|last| last.checked_add(depth));
        assert!(last.is_some_and(|end| end <= values.len()), "a vector ends beyond the values"); // Check 2
        Self { values, stride, count, depth }
    }

    /// How many.
    #[inline(always)]
    pub fn count(self) -> usize {
        self.count
    }
}

/// What a kernel reads, with its lengths checked.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    /// `vectors.depth * GROUP` values.
    panel: &'a [f32],
    vectors: Vectors<'a>,
}

impl<'a> View<'a> {
    #[inline(always)]
    pub(super) fn checked(panel: &'a [f32], vectors: Vectors<'a>) -> Self {
        assert_eq!(panel.len(), vectors.depth * GROUP, "panel and vectors of different depths"); // Check 3
        Self { panel, vectors }
    }
}

/// Writes a level's `add` from its registers of `$lanes` values; `$one`, `$two` and `$more` are the registers of a row
/// that accumulate for one, two or more vectors.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! product {
    (
        $features:literal, $lanes:literal, [$one:literal, $two:literal, $more:literal],
        $load:ident, $store:ident, $set:ident, $mul:ident, $add:ident
    ) => {
        /// # Safety
        #[doc = concat!("The features ", $features, ", a view made by `View::checked`, and its number of vectors.")]
        #[inline]
        #[target_feature(enable = $features)]
        pub(crate) unsafe fn add<const NQ: usize>(view: View<'_>, sums: &mut Sums) {
            // SAFETY: the caller's features and view.
            unsafe {
                match NQ {
                    1 => blocks::<NQ, $one>(view, sums),
                    2 => blocks::<NQ, $two>(view, sums),
                    _ => blocks::<NQ, $more>(view, sums),
                }
            }
        }

        /// The panel in sub-blocks of V registers; V times the lanes divides 64.
        ///
        /// # Safety
        /// As `add`.
        #[inline]
        #[target_feature(enable = $features)]
        unsafe fn blocks<const NQ: usize, const V: usize>(view: View<'_>, sums: &mut Sums) {
            for first in (0..GROUP).step_by($lanes * V) {
                let mut acc = [[$set(0.0); V]; NQ];
                // SAFETY: NQ ≤ TILE (Check 1) and `first + $lanes * V` ≤ GROUP, so all loads and stores of sums lie in
                // their rows; the panel has `depth * GROUP` values (Check 3); vector i ends at `i * stride + depth`,
                // within the values (Check 2).
                unsafe {
                    for (acc, sums) in acc.iter_mut().zip(sums.iter()) {
                        for (v, acc) in acc.iter_mut().enumerate() {
                            *acc = $load(sums.as_ptr().add(first + $lanes * v));
                        }
                    }
                    let (panel, values) = (view.panel.as_ptr(), view.vectors.values.as_ptr());
                    for j in 0..view.vectors.depth {
                        let panel = panel.add(j * GROUP + first);
                        let mut rows = [$set(0.0); V];
                        for (v, row) in rows.iter_mut().enumerate() {
                            *row = $load(panel.add($lanes * v));
                        }
                        for (i, acc) in acc.iter_mut().enumerate() {
                            let value = $set(*values.add(i * view.vectors.stride + j));
                            for (acc, row) in acc.iter_mut().zip(rows) {
                                *acc = $add(*acc, $mul(value, row));
                            }
                        }
                    }
                    for (acc, sums) in acc.iter().zip(sums.iter_mut()) {
                        for (v, &acc) in acc.iter().enumerate() {
                            $store(sums.as_mut_ptr().add(first + $lanes * v), acc);
                        }
                    }
                }
            }
        }
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use product;
