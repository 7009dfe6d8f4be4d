//! NEON: 4 lanes, widened by integer arithmetic, scalar tails.

use std::arch::aarch64::*;

use half::f16;

use super::{EXPONENT, LEAST, REBIAS, value};
use crate::simd::f32::neon::total;

/// # Safety
/// NEON, and `query.len() == row.len()`.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) unsafe fn dot(query: &[f32], row: &[f16]) -> f32 {
    // SAFETY: the caller's promise.
    unsafe { sum::<false>(query, row) }
}

/// # Safety
/// As `dot`.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) unsafe fn squared_l2(query: &[f32], row: &[f16]) -> f32 {
    // SAFETY: the caller's promise.
    unsafe { sum::<true>(query, row) }
}

/// Four finite values in f32, as [`value`] has them.
#[inline]
#[target_feature(enable = "neon")]
fn widened(halves: uint16x4_t) -> float32x4_t {
    let bits = vmovl_u16(halves);
    let shifted = vshlq_n_u32::<13>(vandq_u32(bits, vdupq_n_u32(0x7fff)));
    let normal = vaddq_u32(shifted, vdupq_n_u32(REBIAS));
    let front = vreinterpretq_f32_u32(vaddq_u32(normal, vdupq_n_u32(1 << 23)));
    let tiny = vreinterpretq_u32_f32(vsubq_f32(front, vdupq_n_f32(LEAST)));
    let has_exponent = vtstq_u32(shifted, vdupq_n_u32(EXPONENT));
    let magnitude = vbslq_u32(has_exponent, normal, tiny);
    let sign = vshlq_n_u32::<16>(vandq_u32(bits, vdupq_n_u32(0x8000)));
    vreinterpretq_f32_u32(vorrq_u32(magnitude, sign))
}

/// # Safety
/// As `dot`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn sum<const L2: bool>(query: &[f32], row: &[f16]) -> f32 {
    let mut acc = [vdupq_n_f32(0.0); 4];
    let mut tail = 0.0_f32;
    let mut i = 0;
    // SAFETY: loads below `query.len()`, equal to `row.len()` by the caller's check.
    unsafe {
        let (q, halves, n) = (query.as_ptr(), row.as_ptr(), query.len());
        while i + 16 <= n {
            for (u, acc) in acc.iter_mut().enumerate() {
                let values = widened(vld1_u16(halves.add(i + 4 * u).cast()));
                let q = vld1q_f32(q.add(i + 4 * u));
                let diff = vsubq_f32(q, values);
                *acc = if L2 { vfmaq_f32(*acc, diff, diff) } else { vfmaq_f32(*acc, q, values) };
            }
            i += 16;
        }
        while i < n {
            let (q, value) = (*q.add(i), value(*halves.add(i)));
            tail = if L2 { (q - value).mul_add(q - value, tail) } else { q.mul_add(value, tail) };
            i += 1;
        }
    }
    total(acc, tail)
}
