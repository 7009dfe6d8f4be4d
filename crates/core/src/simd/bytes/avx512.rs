//! AVX-512: 16 lanes, masked tails.

use std::arch::x86_64::*;

use super::Row;

/// # Safety
/// AVX-512F, BW and VL, and `query.len() == row.codes.len()`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(crate) unsafe fn dot(query: &[f32], row: Row<'_>) -> f32 {
    // SAFETY: the caller's promise.
    unsafe { sum::<false>(query, row) }
}

/// # Safety
/// As `dot`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(crate) unsafe fn squared_l2(query: &[f32], row: Row<'_>) -> f32 {
    // SAFETY: the caller's promise.
    unsafe { sum::<true>(query, row) }
}

/// Adds the products of 16 dimensions, or the squares of their differences.
#[inline]
#[target_feature(enable = "avx512f")]
fn add<const L2: bool>(acc: __m512, query: __m512, codes: __m128i, scale: __m512, offset: __m512) -> __m512 {
    let codes = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(codes));
    let values = _mm512_add_ps(_mm512_mul_ps(scale, codes), offset);
    if L2 {
        let diff = _mm512_sub_ps(query, values);
        _mm512_fmadd_ps(diff, diff, acc)
    } else {
        _mm512_fmadd_ps(query, values, acc)
    }
}

/// # Safety
/// As `dot`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn sum<const L2: bool>(query: &[f32], row: Row<'_>) -> f32 {
    let (scale, offset) = (_mm512_set1_ps(row.scale), _mm512_set1_ps(row.offset));
    let mut acc = [_mm512_setzero_ps(); 4];
    let mut i = 0;
    // SAFETY: loads below `query.len()`, equal to `codes.len()` by the caller's check; the masked tail reads only
    // lanes below it.
    unsafe {
        let (q, codes, n) = (query.as_ptr(), row.codes.as_ptr(), query.len());
        while i + 64 <= n {
            for (u, acc) in acc.iter_mut().enumerate() {
                let (q, codes) = (_mm512_loadu_ps(q.add(i + 16 * u)), codes.add(i + 16 * u).cast());
                *acc = add::<L2>(*acc, q, _mm_loadu_si128(codes), scale, offset);
            }
            i += 64;
        }
        while i + 16 <= n {
            let codes = _mm_loadu_si128(codes.add(i).cast());
            acc[0] = add::<L2>(acc[0], _mm512_loadu_ps(q.add(i)), codes, scale, offset);
            i += 16;
        }
        if i < n {
            let tail = _cvtu32_mask16((1 << (n - i)) - 1);
            let codes = _mm_maskz_loadu_epi8(tail, codes.add(i).cast());
            // Beyond the tail scale and offset are 0, and so are query and value.
            let (scale, offset) = (_mm512_maskz_mov_ps(tail, scale), _mm512_maskz_mov_ps(tail, offset));
            acc[1] = add::<L2>(acc[1], _mm512_maskz_loadu_ps(tail, q.add(i)), codes, scale, offset);
        }
    }
    let [a0, a1, a2, a3] = acc;
    _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(a0, a1), _mm512_add_ps(a2, a3)))
}
