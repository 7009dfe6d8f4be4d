//! NEON: `tbl` looks up 16 rows in a table of 16 or of 64 bytes; one of 256 is four of the latter.

use std::arch::aarch64::*;

use super::View;
use crate::simd::f32::neon::not_less;
use crate::simd::{GROUP, TILE};

/// # Safety
/// NEON, and a view made by `View::checked` for BITS bits and NQ queries.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) unsafe fn survivors<const BITS: usize, const NQ: usize>(view: View<'_>) -> [u64; TILE] {
    let nibble = vdupq_n_u8(0x0f);
    let mut masks = [0; TILE];
    for quarter in 0..4 {
        // 16-bit sums: of even bytes and of odd ones.
        let mut even = [vdupq_n_u16(0); NQ];
        let mut odd = [vdupq_n_u16(0); NQ];
        // SAFETY: the codes are `lines` lines of 64 bytes (View, Check 1), the tables 256 or 32 bytes for each of NQ
        // queries for each of them (Check 2).
        unsafe {
            let (mut codes, mut tables) = (view.codes.as_ptr().add(16 * quarter), view.tables.as_ptr());
            for _ in 0..view.lines {
                let line = vld1q_u8(codes);
                for (even, odd) in even.iter_mut().zip(&mut odd) {
                    let found = if BITS == 8 {
                        let mut found = vdupq_n_u8(0);
                        for part in 0..4 {
                            // An index beyond its 64 entries looks up 0.
                            let index = vsubq_u8(line, vdupq_n_u8(64 * part));
                            let table = vld1q_u8_x4(tables.add(64 * usize::from(part)));
                            found = vorrq_u8(found, vqtbl4q_u8(table, index));
                        }
                        tables = tables.add(256);
                        found
                    } else {
                        let low = vqtbl1q_u8(vld1q_u8(tables), vandq_u8(line, nibble));
                        let high = vqtbl1q_u8(vld1q_u8(tables.add(16)), vshrq_n_u8::<4>(line));
                        tables = tables.add(32);
                        vaddq_u8(low, high)
                    };
                    let pairs = vreinterpretq_u16_u8(found);
                    *even = vaddq_u16(*even, vandq_u16(pairs, vdupq_n_u16(0xff)));
                    *odd = vaddq_u16(*odd, vshrq_n_u16::<8>(pairs));
                }
                codes = codes.add(GROUP);
            }
        }
        for i in 0..NQ {
            let mask = match view.terms {
                None => whole(even[i], odd[i], view.whole[i]),
                Some(terms) => with_terms(even[i], odd[i], terms, quarter, view.step[i], view.limit[i]),
            };
            masks[i] |= mask << (4 * quarter);
        }
    }
    masks
}

/// Rows whose sums are at most `most`: those of the first quarter.
#[inline]
#[target_feature(enable = "neon")]
fn whole(even: uint16x8_t, odd: uint16x8_t, most: i32) -> u64 {
    if most < 0 {
        return 0;
    }
    let most = vdupq_n_u16(most as u16);
    // Lane 2j is of rows j (even bytes) and 16 + j (odd), lane 2j + 1 of rows 32 + j and 48 + j.
    // SAFETY: the array has eight values.
    let places = unsafe { vld1q_u16([1, 1 << 8, 2, 2 << 8, 4, 4 << 8, 8, 8 << 8].as_ptr()) };
    let even = u64::from(vaddvq_u16(vandq_u16(vcleq_u16(even, most), places)));
    let odd = u64::from(vaddvq_u16(vandq_u16(vcleq_u16(odd, most), places)));
    even & 15 | (odd & 15) << 16 | (even >> 8) << 32 | (odd >> 8) << 48
}

/// Rows whose step·sum + term is not above `limit`: those of the first quarter.
#[inline]
#[target_feature(enable = "neon")]
fn with_terms(
    even: uint16x8_t,
    odd: uint16x8_t,
    terms: &[f32; GROUP],
    quarter: usize,
    step: f32,
    limit: f32,
) -> u64 {
    let (even, odd) = (vreinterpretq_u32_u16(even), vreinterpretq_u32_u16(odd));
    let low = vdupq_n_u32(0xffff);
    let sums = [vandq_u32(even, low), vandq_u32(odd, low), vshrq_n_u32::<16>(even), vshrq_n_u32::<16>(odd)];
    let mut mask = 0;
    for (v, sums) in sums.into_iter().enumerate() {
        // SAFETY: the array has GROUP = 64 values, and quarter is below 4.
        let terms = unsafe { vld1q_f32(terms.as_ptr().add(16 * v + 4 * quarter)) };
        let value = vfmaq_f32(terms, vdupq_n_f32(step), vcvtq_f32_u32(sums));
        // Not above the limit: the limit not less.
        mask |= not_less(vdupq_n_f32(limit), value) << (16 * v);
    }
    mask
}
