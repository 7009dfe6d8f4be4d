//! AVX-512: 16 lanes, masked tails.

use std::arch::x86_64::*;

use half::f16;

/// # Safety
/// AVX-512F, BW and VL, and `query.len() == row.len()`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(crate) unsafe fn dot(query: &[f32], row: &[f16]) -> f32 {
    // SAFETY: the caller's promise.
    unsafe { sum::<false>(query, row) }
}

/// # Safety
/// As `dot`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(crate) unsafe fn squared_l2(query: &[f32], row: &[f16]) -> f32 {
    // SAFETY: the caller's promise.
    unsafe { sum::<true>(query, row) }
}

/// Adds the products of 16 dimensions, or the squares of their differences.
#[inline]
#[target_feature(enable = "avx512f")]
fn add<const L2: bool>(acc: __m512, query: __m512, halves: __m256i) -> __m512 {
    let values = _mm512_cvtph_ps(halves);
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
unsafe fn sum<const L2: bool>(query: &[f32], row: &[f16]) -> f32 {
    let mut acc = [_mm512_setzero_ps(); 4];
    let mut i = 0;
    // SAFETY: loads below `query.len()`, equal to `row.len()` by the caller's check; the masked tail reads only lanes
    // below it.
    unsafe {
        let (q, halves, n) = (query.as_ptr(), row.as_ptr(), query.len());
        while i + 64 <= n {
            for (u, acc) in acc.iter_mut().enumerate() {
                let (q, halves) = (_mm512_loadu_ps(q.add(i + 16 * u)), halves.add(i + 16 * u).cast());
                *acc = add::<L2>(*acc, q, _mm256_loadu_si256(halves));
            }
            i += 64;
        }
        while i + 16 <= n {
            let halves = _mm256_loadu_si256(halves.add(i).cast());
            acc[0] = add::<L2>(acc[0], _mm512_loadu_ps(q.add(i)), halves);
            i += 16;
        }
        if i < n {
            let tail = _cvtu32_mask16((1 << (n - i)) - 1);
            let halves = _mm256_maskz_loadu_epi16(tail, halves.add(i).cast());
            acc[1] = add::<L2>(acc[1], _mm512_maskz_loadu_ps(tail, q.add(i)), halves);
        }
    }
    let [a0, a1, a2, a3] = acc;
    _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(a0, a1), _mm512_add_ps(a2, a3)))
}
