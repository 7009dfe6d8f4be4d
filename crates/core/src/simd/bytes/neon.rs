//! NEON: 4 lanes, four registers of values from one of codes, scalar tails.

use std::arch::aarch64::*;

use super::Row;
use crate::simd::f32::neon::total;

/// # Safety
/// NEON, and `query.len() == row.codes.len()`.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) unsafe fn dot(query: &[f32], row: Row<'_>) -> f32 {
    // SAFETY: the caller's promise.
    unsafe { sum::<false>(query, row) }
}

/// # Safety
/// As `dot`.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) unsafe fn squared_l2(query: &[f32], row: Row<'_>) -> f32 {
    // SAFETY: the caller's promise.
    unsafe { sum::<true>(query, row) }
}

/// # Safety
/// As `dot`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn sum<const L2: bool>(query: &[f32], row: Row<'_>) -> f32 {
    let (scale, offset) = (vdupq_n_f32(row.scale), vdupq_n_f32(row.offset));
    let mut acc = [vdupq_n_f32(0.0); 4];
    let mut tail = 0.0_f32;
    let mut i = 0;
    // SAFETY: loads below `query.len()`, equal to `codes.len()` by the caller's check.
    unsafe {
        let (q, codes, n) = (query.as_ptr(), row.codes.as_ptr(), query.len());
        while i + 16 <= n {
            let bytes = vld1q_u8(codes.add(i));
            let [low, high] = [vmovl_u8(vget_low_u8(bytes)), vmovl_u8(vget_high_u8(bytes))];
            let words = [
                vmovl_u16(vget_low_u16(low)),
                vmovl_u16(vget_high_u16(low)),
                vmovl_u16(vget_low_u16(high)),
                vmovl_u16(vget_high_u16(high)),
            ];
            for (u, (acc, word)) in acc.iter_mut().zip(words).enumerate() {
                let values = vaddq_f32(vmulq_f32(scale, vcvtq_f32_u32(word)), offset);
                let q = vld1q_f32(q.add(i + 4 * u));
                let diff = vsubq_f32(q, values);
                *acc = if L2 { vfmaq_f32(*acc, diff, diff) } else { vfmaq_f32(*acc, q, values) };
            }
            i += 16;
        }
        while i < n {
            let (q, value) = (*q.add(i), row.value(*codes.add(i)));
            tail = if L2 { (q - value).mul_add(q - value, tail) } else { q.mul_add(value, tail) };
            i += 1;
        }
    }
    total(acc, tail)
}
