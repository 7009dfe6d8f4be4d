//! AVX2 with FMA: 8 lanes, masked tails.

use std::arch::x86_64::*;

use super::Row;
use crate::simd::f32::avx2::{tail_mask, total};

/// # Safety
/// AVX2 and FMA, and `query.len() == row.codes.len()`.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn dot(query: &[f32], row: Row<'_>) -> f32 {
    // SAFETY: the caller's promise.
    unsafe { sum::<false>(query, row) }
}

/// # Safety
/// As `dot`.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn squared_l2(query: &[f32], row: Row<'_>) -> f32 {
    // SAFETY: the caller's promise.
    unsafe { sum::<true>(query, row) }
}

/// Adds the products of 8 dimensions, whose codes are the low 8 bytes, or the squares of their differences.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add<const L2: bool>(acc: __m256, query: __m256, codes: __m128i, scale: __m256, offset: __m256) -> __m256 {
    let codes = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(codes));
    let values = _mm256_add_ps(_mm256_mul_ps(scale, codes), offset);
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
#[target_feature(enable = "avx2,fma")]
unsafe fn sum<const L2: bool>(query: &[f32], row: Row<'_>) -> f32 {
    let (scale, offset) = (_mm256_set1_ps(row.scale), _mm256_set1_ps(row.offset));
    let mut acc = [_mm256_setzero_ps(); 4];
    let mut i = 0;
    // SAFETY: loads below `query.len()`, equal to `codes.len()` by the caller's check; the masked tail reads only
    // lanes below it.
    unsafe {
        let (q, codes, n) = (query.as_ptr(), row.codes.as_ptr(), query.len());
        while i + 32 <= n {
            for (u, acc) in acc.iter_mut().enumerate() {
                let (q, codes) = (_mm256_loadu_ps(q.add(i + 8 * u)), codes.add(i + 8 * u).cast());
                *acc = add::<L2>(*acc, q, _mm_loadl_epi64(codes), scale, offset);
            }
            i += 32;
        }
        while i + 8 <= n {
            let codes = _mm_loadl_epi64(codes.add(i).cast());
            acc[0] = add::<L2>(acc[0], _mm256_loadu_ps(q.add(i)), codes, scale, offset);
            i += 8;
        }
        if i < n {
            let tail = tail_mask(n - i);
            let mut last = [0_u8; 8];
            last.iter_mut().zip(&row.codes[i..]).for_each(|(to, &from)| *to = from);
            let codes = _mm_loadl_epi64(last.as_ptr().cast());
            // Beyond the tail scale and offset are 0, and so are query and value.
            let [scale, offset] = [scale, offset].map(|v| _mm256_and_ps(v, _mm256_castsi256_ps(tail)));
            acc[1] = add::<L2>(acc[1], _mm256_maskload_ps(q.add(i), tail), codes, scale, offset);
        }
    }
    total(acc)
}
