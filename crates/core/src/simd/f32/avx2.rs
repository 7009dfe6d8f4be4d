//! AVX2 with FMA: 8 lanes, masked tails.

use std::arch::x86_64::*;

use super::{ScoresView, View};
use crate::simd::product::Sums;
use crate::simd::{GROUP, TILE};

/// Lanes below `count` (fewer than 8) set.
#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::simd) fn tail_mask(count: usize) -> __m256i {
    _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
}

#[inline]
#[target_feature(enable = "avx2")]
pub(in crate::simd) fn total([a0, a1, a2, a3]: [__m256; 4]) -> f32 {
    let sum = _mm256_add_ps(_mm256_add_ps(a0, a1), _mm256_add_ps(a2, a3));
    let sum = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum));
    let sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)))
}

/// # Safety
/// AVX2 and FMA, and `a.len() == b.len()`.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut acc = [_mm256_setzero_ps(); 4];
    let mut i = 0;
    // SAFETY: loads below `a.len()`, equal to `b.len()` by the caller's check; the masked tail reads only
    // lanes below it.
    unsafe {
        let (pa, pb, n) = (a.as_ptr(), b.as_ptr(), a.len());
        while i + 32 <= n {
            for (u, acc) in acc.iter_mut().enumerate() {
                let x = _mm256_loadu_ps(pa.add(i + 8 * u));
                *acc = _mm256_fmadd_ps(x, _mm256_loadu_ps(pb.add(i + 8 * u)), *acc);
            }
            i += 32;
        }
        while i + 8 <= n {
            acc[0] = _mm256_fmadd_ps(_mm256_loadu_ps(pa.add(i)), _mm256_loadu_ps(pb.add(i)), acc[0]);
            i += 8;
        }
        if i < n {
            let tail = tail_mask(n - i);
            let x = _mm256_maskload_ps(pa.add(i), tail);
            acc[1] = _mm256_fmadd_ps(x, _mm256_maskload_ps(pb.add(i), tail), acc[1]);
        }
    }
    total(acc)
}

/// # Safety
/// AVX2 and FMA, and `a.len() == b.len()`.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn squared_l2(a: &[f32], b: &[f32]) -> f32 {
    let mut acc = [_mm256_setzero_ps(); 4];
    let mut i = 0;
    // SAFETY: as in `dot`.
    unsafe {
        let (pa, pb, n) = (a.as_ptr(), b.as_ptr(), a.len());
        while i + 32 <= n {
            for (u, acc) in acc.iter_mut().enumerate() {
                let x = _mm256_loadu_ps(pa.add(i + 8 * u));
                let diff = _mm256_sub_ps(x, _mm256_loadu_ps(pb.add(i + 8 * u)));
                *acc = _mm256_fmadd_ps(diff, diff, *acc);
            }
            i += 32;
        }
        while i + 8 <= n {
            let diff = _mm256_sub_ps(_mm256_loadu_ps(pa.add(i)), _mm256_loadu_ps(pb.add(i)));
            acc[0] = _mm256_fmadd_ps(diff, diff, acc[0]);
            i += 8;
        }
        if i < n {
            let tail = tail_mask(n - i);
            let x = _mm256_maskload_ps(pa.add(i), tail);
            let diff = _mm256_sub_ps(x, _mm256_maskload_ps(pb.add(i), tail));
            acc[1] = _mm256_fmadd_ps(diff, diff, acc[1]);
        }
    }
    total(acc)
}

/// # Safety
/// AVX2 and FMA, and a view made by `View::checked`.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn survivors<const NQ: usize>(view: View<'_>, limits: &[f32; TILE]) -> [u64; TILE] {
    // At most 12 of the 16 registers accumulate; the others hold rows and a broadcast query. (Three queries of four
    // registers would spill.)
    // SAFETY: the caller's features and view.
    unsafe {
        match NQ {
            1 => blocks::<NQ, 8>(view, limits),
            2 => blocks::<NQ, 4>(view, limits),
            _ => blocks::<NQ, 2>(view, limits),
        }
    }
}

/// The group in sub-blocks of V registers of rows; V divides 8.
///
/// # Safety
/// As `survivors`.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn blocks<const NQ: usize, const V: usize>(view: View<'_>, limits: &[f32; TILE]) -> [u64; TILE] {
    let mut masks = [0; TILE];
    for first in (0..GROUP).step_by(8 * V) {
        let mut acc = [[_mm256_setzero_ps(); V]; NQ];
        // SAFETY: the panel has `dim * GROUP` values and the tile `dim * TILE` (View, Check 2); NQ ≤ TILE and
        // `first + 8 * V` ≤ GROUP, so the last load of a column ends within it.
        unsafe {
            let (panel, tile) = (view.panel.as_ptr(), view.tile.as_ptr());
            for j in 0..view.dim {
                let (panel, tile) = (panel.add(j * GROUP + first), tile.add(j * TILE));
                let mut rows = [_mm256_setzero_ps(); V];
                for (v, row) in rows.iter_mut().enumerate() {
                    *row = _mm256_loadu_ps(panel.add(8 * v));
                }
                for (i, acc) in acc.iter_mut().enumerate() {
                    let q = _mm256_set1_ps(*tile.add(i));
                    for (acc, row) in acc.iter_mut().zip(rows) {
                        *acc = _mm256_fmadd_ps(q, row, *acc);
                    }
                }
            }
        }
        let (terms, _) = view.terms[first..].as_chunks::<8>();
        for (i, acc) in acc.iter().enumerate() {
            let limit = _mm256_set1_ps(limits[i]);
            for (v, (&sum, terms)) in acc.iter().zip(terms).enumerate() {
                // SAFETY: 8 values are loaded from an array of 8.
                let term = unsafe { _mm256_loadu_ps(terms.as_ptr()) };
                let pass = _mm256_cmp_ps::<_CMP_NLT_UQ>(_mm256_sub_ps(sum, term), limit);
                let bits = _mm256_movemask_ps(pass).cast_unsigned();
                masks[i] |= u64::from(bits) << (first + 8 * v);
            }
        }
    }
    masks
}

/// # Safety
/// AVX2 and FMA, and a view made by `ScoresView::checked`.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn scores<const NQ: usize>(
    view: ScoresView<'_>,
    limits: &[f32; TILE],
    scores: &mut Sums,
) -> [u64; TILE] {
    // Registers as in `survivors`.
    // SAFETY: the caller's features and view.
    unsafe {
        match NQ {
            1 => score_blocks::<NQ, 8>(view, limits, scores),
            2 => score_blocks::<NQ, 4>(view, limits, scores),
            _ => score_blocks::<NQ, 2>(view, limits, scores),
        }
    }
}

/// The group in sub-blocks of V registers of rows; V divides 8.
///
/// # Safety
/// As `scores`.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn score_blocks<const NQ: usize, const V: usize>(
    view: ScoresView<'_>,
    limits: &[f32; TILE],
    scores: &mut Sums,
) -> [u64; TILE] {
    let mut masks = [0; TILE];
    for first in (0..GROUP).step_by(8 * V) {
        let mut acc = [[_mm256_setzero_ps(); V]; NQ];
        // SAFETY: the panel has `depth * GROUP` values (ScoresView, Checks 3 and 4) and `first + 8 * V` ≤ GROUP, so the
        // last load of a column ends within it; NQ ≤ TILE, and vector i ends at `i * stride + depth`, within the
        // values (Vectors, Check 2).
        unsafe {
            let (panel, values) = (view.panel.as_ptr(), view.vectors.values.as_ptr());
            for j in 0..view.vectors.depth {
                let panel = panel.add(j * GROUP + first);
                let mut rows = [_mm256_setzero_ps(); V];
                for (v, row) in rows.iter_mut().enumerate() {
                    *row = _mm256_loadu_ps(panel.add(8 * v));
                }
                for (i, acc) in acc.iter_mut().enumerate() {
                    let value = _mm256_set1_ps(*values.add(i * view.vectors.stride + j));
                    for (acc, row) in acc.iter_mut().zip(rows) {
                        *acc = _mm256_fmadd_ps(value, row, *acc);
                    }
                }
            }
        }
        for (i, (acc, scores)) in acc.iter().zip(scores.iter_mut()).enumerate() {
            let limit = _mm256_set1_ps(limits[i]);
            for (v, &sum) in acc.iter().enumerate() {
                let at = first + 8 * v;
                // SAFETY: both arrays have GROUP values, of which 8 from `at` on are read or written.
                unsafe {
                    let score = _mm256_sub_ps(sum, _mm256_loadu_ps(view.terms.as_ptr().add(at)));
                    _mm256_storeu_ps(scores.as_mut_ptr().add(at), score);
                    let pass = _mm256_cmp_ps::<_CMP_NLT_UQ>(score, limit);
                    masks[i] |= u64::from(_mm256_movemask_ps(pass).cast_unsigned()) << at;
                }
            }
        }
    }
    masks
}
