//! NEON: `tbl` looks up 16 bytes in a table of 16.

use std::arch::aarch64::*;

use super::{BLOCK, PART, Residual, ResidualView, Terms, UPPER, View};
use crate::buffer::LINE;

/// # Safety
/// NEON, and a view made by `View::checked`.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) unsafe fn below(view: View<'_>, terms: Terms, values: &mut [f32; BLOCK]) -> u32 {
    let nibble = vdupq_n_u8(0x0f);
    // Of four rows each.
    let mut sums = [vdupq_n_u32(0); 8];
    let mut left = view.lines;
    let (mut codes, mut tables) = (view.codes.as_ptr(), view.tables.as_ptr());
    while left > 0 {
        let lines = left.min(PART);
        // 16-bit sums: of even bytes and of odd ones.
        let mut even = [vdupq_n_u16(0); 2];
        let mut odd = [vdupq_n_u16(0); 2];
        for _ in 0..lines {
            // Four look-ups of at most 63 fit a byte.
            let mut bytes = [vdupq_n_u8(0); 2];
            for part in 0..LINE / 16 {
                // SAFETY: codes and tables are `lines` lines of 64 bytes (View, Checks 1 and 2).
                let (line, table) =
                    unsafe { (vld1q_u8(codes.add(16 * part)), vld1q_u8(tables.add(16 * part))) };
                bytes[0] = vaddq_u8(bytes[0], vqtbl1q_u8(table, vandq_u8(line, nibble)));
                bytes[1] = vaddq_u8(bytes[1], vqtbl1q_u8(table, vshrq_n_u8::<4>(line)));
            }
            (codes, tables) = (codes.wrapping_add(LINE), tables.wrapping_add(LINE));
            for i in 0..2 {
                let pairs = vreinterpretq_u16_u8(bytes[i]);
                even[i] = vaddq_u16(even[i], vandq_u16(pairs, vdupq_n_u16(0xff)));
                odd[i] = vaddq_u16(odd[i], vshrq_n_u16::<8>(pairs));
            }
        }
        for i in 0..2 {
            for (h, part) in [even[i], odd[i]].into_iter().enumerate() {
                let at = 4 * i + 2 * h;
                sums[at] = vaddw_u16(sums[at], vget_low_u16(part));
                sums[at + 1] = vaddw_u16(sums[at + 1], vget_high_u16(part));
            }
        }
        left -= lines;
    }
    let alpha = vdupq_n_f32(terms.alpha);
    let beta = vdupq_n_f32(terms.beta);
    let unit = vdupq_n_f32(terms.unit);
    let base = vdupq_n_f32(terms.base);
    let bound = vdupq_n_f32(terms.bound);
    let mut mask = 0;
    for (i, sums) in sums.into_iter().enumerate() {
        // SAFETY: each array has 8 × 4 values.
        let value = unsafe {
            let rows = vld1q_u32(view.rows.as_ptr().add(4 * i).cast());
            let scale = vreinterpretq_f32_u32(vshlq_n_u32::<16>(rows));
            let offset = vreinterpretq_f32_u32(vandq_u32(rows, vdupq_n_u32(UPPER)));
            let product = vfmaq_f32(beta, alpha, vcvtq_f32_u32(sums));
            let value = vfmaq_f32(base, unit, vfmaq_f32(offset, scale, product));
            vst1q_f32(values.as_mut_ptr().add(4 * i), value);
            value
        };
        mask |= set(vcltq_f32(value, bound)) << (4 * i);
    }
    mask
}

/// The four lanes that are all ones, as bits.
#[inline]
#[target_feature(enable = "neon")]
fn set(lanes: uint32x4_t) -> u32 {
    let weights = vcombine_u32(vcreate_u32(0x2_0000_0001), vcreate_u32(0x8_0000_0004));
    vaddvq_u32(vandq_u32(lanes, weights))
}

/// # Safety
/// NEON, and a view made by `ResidualView::checked`.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) unsafe fn residual(view: ResidualView<'_>) -> Residual {
    let zero = vdupq_n_f32(0.0);
    let mut square = [zero; 2];
    let mut absolute = [zero; 2];
    let mut along = [zero; 2];
    // SAFETY: both rows have a multiple of 32 values (ResidualView, Check 1), and there is a byte for each 8 of them
    // (Check 2).
    unsafe {
        let (from, to, bits) = (view.from.as_ptr(), view.to.as_ptr(), view.bits.as_mut_ptr());
        for i in (0..view.from.len()).step_by(8) {
            let mut byte = 0;
            for h in 0..2 {
                let origin = vld1q_f32(from.add(i + 4 * h));
                let r = vsubq_f32(vld1q_f32(to.add(i + 4 * h)), origin);
                let lanes = vcgtq_f32(r, zero);
                square[h] = vfmaq_f32(square[h], r, r);
                absolute[h] = vaddq_f32(absolute[h], vabsq_f32(r));
                along[h] = vaddq_f32(along[h], vbslq_f32(lanes, origin, vnegq_f32(origin)));
                byte |= set(lanes) << (4 * h);
            }
            bits.add(i / 8).write(byte as u8);
        }
    }
    let sum = |parts: [float32x4_t; 2]| vaddvq_f32(vaddq_f32(parts[0], parts[1]));
    Residual { square: sum(square), absolute: sum(absolute), along: sum(along) }
}
