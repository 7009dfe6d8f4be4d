//! AVX-512: 16 lanes, masked tails.

use std::arch::x86_64::*;

use super::{ScoresView, View};
use crate::simd::product::Sums;
use crate::simd::{GROUP, TILE};

/// # Safety
/// AVX-512F, and `a.len() == b.len()`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut acc = [_mm512_setzero_ps(); 4];
    let mut i = 0;
    // SAFETY: loads below `a.len()`, equal to `b.len()` by the caller's check; the masked tail reads only
    // lanes below it.
    unsafe {
        let (pa, pb, n) = (a.as_ptr(), b.as_ptr(), a.len());
        while i + 64 <= n {
            for (u, acc) in acc.iter_mut().enumerate() {
                let x = _mm512_loadu_ps(pa.add(i + 16 * u));
                *acc = _mm512_fmadd_ps(x, _mm512_loadu_ps(pb.add(i + 16 * u)), *acc);
            }
            i += 64;
        }
        while i + 16 <= n {
            acc[0] = _mm512_fmadd_ps(_mm512_loadu_ps(pa.add(i)), _mm512_loadu_ps(pb.add(i)), acc[0]);
            i += 16;
        }
        if i < n {
            let tail = _cvtu32_mask16((1 << (n - i)) - 1);
            let x = _mm512_maskz_loadu_ps(tail, pa.add(i));
            acc[1] = _mm512_fmadd_ps(x, _mm512_maskz_loadu_ps(tail, pb.add(i)), acc[1]);
        }
    }
    let [a0, a1, a2, a3] = acc;
    _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(a0, a1), _mm512_add_ps(a2, a3)))
}

/// # Safety
/// AVX-512F, and `a.len() == b.len()`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn squared_l2(a: &[f32], b: &[f32]) -> f32 {
    let mut acc = [_mm512_setzero_ps(); 4];
    let mut i = 0;
    // SAFETY: as in `dot`.
    unsafe {
        let (pa, pb, n) = (a.as_ptr(), b.as_ptr(), a.len());
        while i + 64 <= n {
            for (u, acc) in acc.iter_mut().enumerate() {
                let x = _mm512_loadu_ps(pa.add(i + 16 * u));
                let diff = _mm512_sub_ps(x, _mm512_loadu_ps(pb.add(i + 16 * u)));
                *acc = _mm512_fmadd_ps(diff, diff, *acc);
            }
            i += 64;
        }
        while i + 16 <= n {
            let diff = _mm512_sub_ps(_mm512_loadu_ps(pa.add(i)), _mm512_loadu_ps(pb.add(i)));
            acc[0] = _mm512_fmadd_ps(diff, diff, acc[0]);
            i += 16;
        }
        if i < n {
            let tail = _cvtu32_mask16((1 << (n - i)) - 1);
            let x = _mm512_maskz_loadu_ps(tail, pa.add(i));
            let diff = _mm512_sub_ps(x, _mm512_maskz_loadu_ps(tail, pb.add(i)));
            acc[1] = _mm512_fmadd_ps(diff, diff, acc[1]);
        }
    }
    let [a0, a1, a2, a3] = acc;
    _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(a0, a1), _mm512_add_ps(a2, a3)))
}

/// # Safety
/// AVX-512F, and a view made by `View::checked`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn survivors<const NQ: usize>(view: View<'_>, limits: &[f32; TILE]) -> [u64; TILE] {
    let mut acc = [[_mm512_setzero_ps(); 4]; NQ];
    // SAFETY: the panel has `dim * GROUP` values and the tile `dim * TILE` (View, Check 2); NQ ≤ TILE.
    unsafe {
        let (mut panel, mut tile) = (view.panel.as_ptr(), view.tile.as_ptr());
        for _ in 0..view.dim {
            let rows = [
                _mm512_loadu_ps(panel),
                _mm512_loadu_ps(panel.add(16)),
                _mm512_loadu_ps(panel.add(32)),
                _mm512_loadu_ps(panel.add(48)),
            ];
            for (i, acc) in acc.iter_mut().enumerate() {
                let q = _mm512_set1_ps(*tile.add(i));
                for (acc, row) in acc.iter_mut().zip(rows) {
                    *acc = _mm512_fmadd_ps(q, row, *acc);
                }
            }
            panel = panel.add(GROUP);
            tile = tile.add(TILE);
        }
    }
    let mut masks = [0; TILE];
    for (i, acc) in acc.iter().enumerate() {
        let limit = _mm512_set1_ps(limits[i]);
        for (v, (&sum, terms)) in acc.iter().zip(view.terms.as_chunks::<16>().0).enumerate() {
            // SAFETY: 16 values are loaded from an array of 16.
            let term = unsafe { _mm512_loadu_ps(terms.as_ptr()) };
            let pass = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(_mm512_sub_ps(sum, term), limit);
            masks[i] |= u64::from(_cvtmask16_u32(pass)) << (16 * v);
        }
    }
    masks
}

/// # Safety
/// AVX-512F, and a view made by `ScoresView::checked`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn scores<const NQ: usize>(
    view: ScoresView<'_>,
    limits: &[f32; TILE],
    scores: &mut Sums,
) -> [u64; TILE] {
    let mut acc = [[_mm512_setzero_ps(); 4]; NQ];
    // SAFETY: the panel has `depth * GROUP` values (ScoresView, Checks 3 and 4); NQ ≤ TILE, and vector i ends at
    // `i * stride + depth`, within the values (Vectors, Check 2).
    unsafe {
        let (panel, values) = (view.panel.as_ptr(), view.vectors.values.as_ptr());
        for j in 0..view.vectors.depth {
            let panel = panel.add(j * GROUP);
            let rows = [
                _mm512_loadu_ps(panel),
                _mm512_loadu_ps(panel.add(16)),
                _mm512_loadu_ps(panel.add(32)),
                _mm512_loadu_ps(panel.add(48)),
            ];
            for (i, acc) in acc.iter_mut().enumerate() {
                let value = _mm512_set1_ps(*values.add(i * view.vectors.stride + j));
                for (acc, row) in acc.iter_mut().zip(rows) {
                    *acc = _mm512_fmadd_ps(value, row, *acc);
                }
            }
        }
    }
    let mut masks = [0; TILE];
    for (i, (acc, scores)) in acc.iter().zip(scores.iter_mut()).enumerate() {
        let limit = _mm512_set1_ps(limits[i]);
        for (v, &sum) in acc.iter().enumerate() {
            // SAFETY: both arrays have GROUP = 4 × 16 values.
            unsafe {
                let score = _mm512_sub_ps(sum, _mm512_loadu_ps(view.terms.as_ptr().add(16 * v)));
                _mm512_storeu_ps(scores.as_mut_ptr().add(16 * v), score);
                let pass = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(score, limit);
                masks[i] |= u64::from(_cvtmask16_u32(pass)) << (16 * v);
            }
        }
    }
    masks
}
