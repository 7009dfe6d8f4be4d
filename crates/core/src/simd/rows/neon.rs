//! NEON with the dot-product extension: `sdot` sums four i8 × i8 products into each 32-bit lane; tails copied to a
//! register's length.
//!
//! Nibbles are i8 as they are; 8-bit codes less 128 are, and 128·Σ query is added.

use std::arch::aarch64::*;

use super::View;
use crate::simd::int8::neon::sdot;

/// Bytes of a register.
const BLOCK: usize = 16;

/// The first values of a slice, up to a register; zeros beyond.
#[inline(always)]
fn first<T: Copy + Default>(from: &[T]) -> [T; BLOCK] {
    from.first_chunk::<BLOCK>().copied().unwrap_or_else(|| {
        let mut block = [T::default(); BLOCK];
        block.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
        block
    })
}

/// # Safety
/// NEON and dotprod, and a view made by `View::checked` for codes of BITS bits.
#[inline]
#[target_feature(enable = "neon,dotprod")]
pub(crate) unsafe fn dots<const BITS: usize>(view: View<'_>) -> [i32; 2] {
    let mut acc = [vdupq_n_s32(0); 2];
    let mut sums = acc;
    let width = view.row.len();
    // Of 4-bit codes, a plane's second half belongs to the bytes' high halves.
    let planes = [view.high, view.low].map(|plane| plane.split_at(width.min(plane.len())));
    for j in (0..width).step_by(BLOCK) {
        let row = first(&view.row[j..]);
        for ((acc, sums), (near, far)) in acc.iter_mut().zip(&mut sums).zip(planes) {
            let (near, far) = (first(&near[j..]), first(far.get(j..).unwrap_or_default()));
            // SAFETY: BLOCK = 16 values each.
            unsafe {
                let (row, near) = (vld1q_u8(row.as_ptr()), vld1q_s8(near.as_ptr()));
                if BITS == 8 {
                    *acc = sdot(*acc, vreinterpretq_s8_u8(veorq_u8(row, vdupq_n_u8(128))), near);
                    *sums = sdot(*sums, vdupq_n_s8(1), near);
                } else {
                    let far = vld1q_s8(far.as_ptr());
                    *acc = sdot(*acc, vreinterpretq_s8_u8(vandq_u8(row, vdupq_n_u8(15))), near);
                    *acc = sdot(*acc, vreinterpretq_s8_u8(vshrq_n_u8::<4>(row)), far);
                }
            }
        }
    }
    // Sums of less than 2³¹ in magnitude each; what is taken off comes back.
    [0, 1].map(|i| vaddvq_s32(acc[i]).wrapping_add(vaddvq_s32(sums[i]).wrapping_mul(128)))
}
