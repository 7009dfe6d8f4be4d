//! AVX2 with FMA and F16C: 8 lanes, masked tails.

use std::arch::x86_64::*;

use half::f16;

use crate::simd::f32::avx2::{tail_mask, total};

/// # Safety
/// AVX2, FMA and F16C, and `query.len() == row.len()`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn dot(query: &[f32], row: &[f16]) -> f32 {
    // SAFETY: the caller's promise.
    unsafe { sum::<false>(query, row) }
}

/// # Safety
/// As `dot`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn squared_l2(query: &[f32], row: &[f16]) -> f32 {
    // SAFETY: the caller's promise.
    unsafe { sum::<true>(query, row) }
}

/// Adds the products of 8 dimensions, or the squares of their differences.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add<const L2: bool>(acc: __m256, query: __m256, halves: __m128i) -> __m256 {
    let values = _mm256_cvtph_ps(halves);
    if L2 {
        let diff = _mm256_sub_ps(query, values);
        _mm256_fmadd_ps(diff, diff, acc)
    } else {
        _mm256_fmadd_ps(query, values, acc)
    }
}

/// # Safety
/// As `dot`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn sum<const L2: bool>(query: &[f32], row: &[f16]) -> f32 {
    let mut acc = [_mm256_setzero_ps(); 4];
    let mut i = 0;
    // SAFETY: loads below `query.len()`, equal to `row.len()` by the caller's check; of the tail the query is read
    // under a mask and the row by an array of its own.
    unsafe {
        let (q, halves, n) = (query.as_ptr(), row.as_ptr(), query.len());
        while i + 32 <= n {
            for (u, acc) in acc.iter_mut().enumerate() {
                let (q, halves) = (_mm256_loadu_ps(q.add(i + 8 * u)), halves.add(i + 8 * u).cast());
                *acc = add::<L2>(*acc, q, _mm_loadu_si128(halves));
            }
            i += 32;
        }
        while i + 8 <= n {
            let halves = _mm_loadu_si128(halves.add(i).cast());
            acc[0] = add::<L2>(acc[0], _mm256_loadu_ps(q.add(i)), halves);
            i += 8;
        }
        if i < n {
            let tail = tail_mask(n - i);
            let mut last = [f16::ZERO; 8];
            last.iter_mut().zip(&row[i..]).for_each(|(to, &from)| *to = from);
            let halves = _mm_loadu_si128(last.as_ptr().cast());
            acc[1] = add::<L2>(acc[1], _mm256_maskload_ps(q.add(i), tail), halves);
        }
    }
    total(acc)
}
