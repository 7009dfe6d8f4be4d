//! NEON: 4 lanes, scalar tails.

use std::arch::aarch64::*;

use super::{ScoresView, View};
use crate::simd::product::Sums;
use crate::simd::{GROUP, TILE};

#[inline]
#[target_feature(enable = "neon")]
pub(in crate::simd) fn total([a0, a1, a2, a3]: [float32x4_t; 4], tail: f32) -> f32 {
    vaddvq_f32(vaddq_f32(vaddq_f32(a0, a1), vaddq_f32(a2, a3))) + tail
}

/// # Safety
/// NEON, and `a.len() == b.len()`.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) unsafe fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut acc = [vdupq_n_f32(0.0); 4];
    let mut tail = 0.0_f32;
    let mut i = 0;
    // SAFETY: loads below `a.len()`, equal to `b.len()` by the caller's check.
    unsafe {
        let (pa, pb, n) = (a.as_ptr(), b.as_ptr(), a.len());
        while i + 16 <= n {
            for (u, acc) in acc.iter_mut().enumerate() {
                *acc = vfmaq_f32(*acc, vld1q_f32(pa.add(i + 4 * u)), vld1q_f32(pb.add(i + 4 * u)));
            }
            i += 16;
        }
        while i + 4 <= n {
            acc[0] = vfmaq_f32(acc[0], vld1q_f32(pa.add(i)), vld1q_f32(pb.add(i)));
            i += 4;
        }
        while i < n {
            tail = (*pa.add(i)).mul_add(*pb.add(i), tail);
            i += 1;
        }
    }
    total(acc, tail)
}

/// # Safety
/// NEON, and `a.len() == b.len()`.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) unsafe fn squared_l2(a: &[f32], b: &[f32]) -> f32 {
    let mut acc = [vdupq_n_f32(0.0); 4];
    let mut tail = 0.0_f32;
    let mut i = 0;
    // SAFETY: as in `dot`.
    unsafe {
        let (pa, pb, n) = (a.as_ptr(), b.as_ptr(), a.len());
        while i + 16 <= n {
            for (u, acc) in acc.iter_mut().enumerate() {
                let diff = vsubq_f32(vld1q_f32(pa.add(i + 4 * u)), vld1q_f32(pb.add(i + 4 * u)));
                *acc = vfmaq_f32(*acc, diff, diff);
            }
            i += 16;
        }
        while i + 4 <= n {
            let diff = vsubq_f32(vld1q_f32(pa.add(i)), vld1q_f32(pb.add(i)));
            acc[0] = vfmaq_f32(acc[0], diff, diff);
            i += 4;
        }
        while i < n {
            let diff = *pa.add(i) - *pb.add(i);
            tail = diff.mul_add(diff, tail);
            i += 1;
        }
    }
    total(acc, tail)
}

/// # Safety
/// NEON, and a view made by `View::checked`.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) unsafe fn survivors<const NQ: usize>(view: View<'_>, limits: &[f32; TILE]) -> [u64; TILE] {
    // At most 24 of the 32 registers accumulate; the others hold rows and queries.
    // SAFETY: the caller's features and view.
    unsafe {
        match NQ {
            1 => blocks::<NQ, 16>(view, limits),
            2 | 3 => blocks::<NQ, 8>(view, limits),
            _ => blocks::<NQ, 4>(view, limits),
        }
    }
}

/// The group in sub-blocks of V registers of rows; V divides 16.
///
/// # Safety
/// As `survivors`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn blocks<const NQ: usize, const V: usize>(view: View<'_>, limits: &[f32; TILE]) -> [u64; TILE] {
    let mut masks = [0; TILE];
    for first in (0..GROUP).step_by(4 * V) {
        let mut acc = [[vdupq_n_f32(0.0); V]; NQ];
        // SAFETY: the panel has `dim * GROUP` values and the tile `dim * TILE` (View, Check 2); NQ ≤ TILE and
        // `first + 4 * V` ≤ GROUP, so the last load of a column ends within it.
        unsafe {
            let (panel, tile) = (view.panel.as_ptr(), view.tile.as_ptr());
            for j in 0..view.dim {
                let (panel, tile) = (panel.add(j * GROUP + first), tile.add(j * TILE));
                let mut rows = [vdupq_n_f32(0.0); V];
                for (v, row) in rows.iter_mut().enumerate() {
                    *row = vld1q_f32(panel.add(4 * v));
                }
                for (i, acc) in acc.iter_mut().enumerate() {
                    let q = vdupq_n_f32(*tile.add(i));
                    for (acc, row) in acc.iter_mut().zip(rows) {
                        *acc = vfmaq_f32(*acc, q, row);
                    }
                }
            }
        }
        let (terms, _) = view.terms[first..].as_chunks::<4>();
        for (i, acc) in acc.iter().enumerate() {
            let limit = vdupq_n_f32(limits[i]);
            for (v, (&sum, terms)) in acc.iter().zip(terms).enumerate() {
                // SAFETY: 4 values are loaded from an array of 4.
                let term = unsafe { vld1q_f32(terms.as_ptr()) };
                masks[i] |= not_less(vsubq_f32(sum, term), limit) << (first + 4 * v);
            }
        }
    }
    masks
}

/// Bit l is set iff not `values[l] < limits[l]`; an unordered comparison is not less.
#[inline]
#[target_feature(enable = "neon")]
pub(in crate::simd) fn not_less(values: float32x4_t, limits: float32x4_t) -> u64 {
    const WEIGHTS: [u32; 4] = [1, 2, 4, 8];
    // SAFETY: 4 values are loaded from an array of 4.
    let weights = unsafe { vld1q_u32(WEIGHTS.as_ptr()) };
    u64::from(vaddvq_u32(vbicq_u32(weights, vcltq_f32(values, limits))))
}

/// # Safety
/// NEON, and a view made by `ScoresView::checked`.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) unsafe fn scores<const NQ: usize>(
    view: ScoresView<'_>,
    limits: &[f32; TILE],
    scores: &mut Sums,
) -> [u64; TILE] {
    // Registers as in `survivors`.
    // SAFETY: the caller's features and view.
    unsafe {
        match NQ {
            1 => score_blocks::<NQ, 16>(view, limits, scores),
            2 | 3 => score_blocks::<NQ, 8>(view, limits, scores),
            _ => score_blocks::<NQ, 4>(view, limits, scores),
        }
    }
}

/// The group in sub-blocks of V registers of rows; V divides 16.
///
/// # Safety
/// As `scores`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn score_blocks<const NQ: usize, const V: usize>(
    view: ScoresView<'_>,
    limits: &[f32; TILE],
    scores: &mut Sums,
) -> [u64; TILE] {
    let mut masks = [0; TILE];
    for first in (0..GROUP).step_by(4 * V) {
        let mut acc = [[vdupq_n_f32(0.0); V]; NQ];
        // SAFETY: the panel has `depth * GROUP` values (ScoresView, Checks 3 and 4) and `first + 4 * V` ≤ GROUP, so the
        // last load of a column ends within it; NQ ≤ TILE, and vector i ends at `i * stride + depth`, within the
        // values (Vectors, Check 2).
        unsafe {
            let (panel, values) = (view.panel.as_ptr(), view.vectors.values.as_ptr());
            for j in 0..view.vectors.depth {
                let panel = panel.add(j * GROUP + first);
                let mut rows = [vdupq_n_f32(0.0); V];
                for (v, row) in rows.iter_mut().enumerate() {
                    *row = vld1q_f32(panel.add(4 * v));
                }
                for (i, acc) in acc.iter_mut().enumerate() {
                    let value = vdupq_n_f32(*values.add(i * view.vectors.stride + j));
                    for (acc, row) in acc.iter_mut().zip(rows) {
                        *acc = vfmaq_f32(*acc, value, row);
                    }
                }
            }
        }
        for (i, (acc, scores)) in acc.iter().zip(scores.iter_mut()).enumerate() {
            let limit = vdupq_n_f32(limits[i]);
            for (v, &sum) in acc.iter().enumerate() {
                let at = first + 4 * v;
                // SAFETY: both arrays have GROUP values, of which 4 from `at` on are read or written.
                unsafe {
                    let score = vsubq_f32(sum, vld1q_f32(view.terms.as_ptr().add(at)));
                    vst1q_f32(scores.as_mut_ptr().add(at), score);
                    masks[i] |= not_less(score, limit) << at;
                }
            }
        }
    }
    masks
}
