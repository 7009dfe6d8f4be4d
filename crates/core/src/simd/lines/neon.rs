//! NEON with the dot-product extension: `sdot` sums four i8 × i8 products into each 32-bit lane.
//!
//! **8 bits.** c ⊕ 0x80 read as i8 is c − 128; 128·Σ query is added at the end. Lanes add modulo 2³², and the whole sum fits.
//!
//! **4 bits.** A nibble is an i8 as it is.

use std::arch::aarch64::*;

use super::{LINE, TOGETHER, View};
use crate::simd::int8::neon::sdot;

/// # Safety
/// NEON and dotprod, and a view made by `View::checked` for codes of BITS bits and as many sums.
#[inline]
#[target_feature(enable = "neon,dotprod")]
pub(crate) unsafe fn dots<const BITS: usize>(view: View<'_>, sums: &mut [[i32; 2]]) {
    for (ids, sums) in view.ids.chunks(TOGETHER).zip(sums.chunks_mut(TOGETHER)) {
        // Where there are fewer rows, the last again.
        // SAFETY: each id has a row (View, Check 2).
        let rows = std::array::from_fn(|r| unsafe {
            view.bytes.as_ptr().add(ids[r.min(ids.len() - 1)] as usize * view.row_bytes)
        });
        // SAFETY: the rows have `lines` lines, both planes as many dimensions (Check 3).
        let found = unsafe { together::<BITS>(rows, view) };
        for (r, sums) in sums.iter_mut().enumerate() {
            *sums = [found[0][r], found[1][r]];
        }
    }
}

/// # Safety
/// As `dots`, and `lines` lines at each of the rows.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn together<const BITS: usize>(rows: [*const u8; TOGETHER], view: View<'_>) -> [[i32; TOGETHER]; 2] {
    let mut acc = [[vdupq_n_s32(0); TOGETHER]; 2];
    let (nibble, sign) = (vdupq_n_u8(15), vdupq_n_u8(0x80));
    for line in 0..view.lines {
        let at = line * LINE * 8 / BITS;
        for part in (0..LINE).step_by(16) {
            for (plane, acc) in [view.high, view.low].into_iter().zip(&mut acc) {
                // SAFETY: `line` is below `lines`, 16 of its 64 bytes, and each plane has 64 values for it, or 128 of 4
                // bits.
                unsafe {
                    let plane = plane.as_ptr().add(at + part);
                    let first = vld1q_s8(plane);
                    for (acc, row) in acc.iter_mut().zip(rows) {
                        let codes = vld1q_u8(row.add(line * LINE + part));
                        if BITS == 8 {
                            *acc = sdot(*acc, vreinterpretq_s8_u8(veorq_u8(codes, sign)), first);
                        } else {
                            let second = vld1q_s8(plane.add(LINE));
                            *acc = sdot(*acc, vreinterpretq_s8_u8(vandq_u8(codes, nibble)), first);
                            *acc = sdot(*acc, vreinterpretq_s8_u8(vshrq_n_u8::<4>(codes)), second);
                        }
                    }
                }
            }
        }
    }
    let mut sums = [[0; TOGETHER]; 2];
    for ((sums, acc), total) in sums.iter_mut().zip(acc).zip(view.totals) {
        let more = if BITS == 8 { total.wrapping_mul(128) } else { 0 };
        for (sum, acc) in sums.iter_mut().zip(acc) {
            *sum = vaddvq_s32(acc).wrapping_add(more);
        }
    }
    sums
}
