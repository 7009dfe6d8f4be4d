//! NEON: `tbl` looks up 16 rows in a table of 16 bytes, four bits of each at once.

use std::arch::aarch64::*;

use super::{QueryTerms, RowTerms, TRIPLE, View};
use crate::simd::f32::neon::not_less;
use crate::simd::{GROUP, TILE};

/// # Safety
/// NEON, and a view made by `View::checked` for nibbles and NQ queries.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) unsafe fn survivors<const NQ: usize>(
    view: View<'_>,
    rows: RowTerms<'_>,
    terms: &QueryTerms,
    values: &mut [[f32; GROUP]; TILE],
) -> [u64; TILE] {
    let nibble = vdupq_n_u8(0x0f);
    let mut masks = [0; TILE];
    for quarter in 0..4 {
        // 16-bit sums: of even bytes and of odd ones.
        let mut even = [vdupq_n_u16(0); NQ];
        let mut odd = [vdupq_n_u16(0); NQ];
        // SAFETY: the codes are `triples` triples of 3 × 64 bytes (View, Check 2), the tables 6 × 16 bytes for each
        // of NQ queries for each of them (Checks 1 and 3).
        unsafe {
            let (mut codes, mut tables) = (view.codes.as_ptr().add(16 * quarter), view.tables.as_ptr());
            for _ in 0..view.triples {
                // Six look-ups of at most 31 fit a byte.
                let mut bytes = [vdupq_n_u8(0); NQ];
                for line in 0..3 {
                    let line_bytes = vld1q_u8(codes.add(GROUP * line));
                    let low = vandq_u8(line_bytes, nibble);
                    let high = vshrq_n_u8::<4>(line_bytes);
                    for (i, bytes) in bytes.iter_mut().enumerate() {
                        let table = tables.add(96 * i + 32 * line);
                        *bytes = vaddq_u8(*bytes, vqtbl1q_u8(vld1q_u8(table), low));
                        *bytes = vaddq_u8(*bytes, vqtbl1q_u8(vld1q_u8(table.add(16)), high));
                    }
                }
                for ((even, odd), bytes) in even.iter_mut().zip(&mut odd).zip(bytes) {
                    let pairs = vreinterpretq_u16_u8(bytes);
                    *even = vaddq_u16(*even, vandq_u16(pairs, vdupq_n_u16(0xff)));
                    *odd = vaddq_u16(*odd, vshrq_n_u16::<8>(pairs));
                }
                codes = codes.add(TRIPLE);
                tables = tables.add(96 * NQ);
            }
        }
        for i in 0..NQ {
            let alpha = vdupq_n_f32(terms.alpha[i]);
            let beta = vdupq_n_f32(terms.beta[i]);
            let limit = vdupq_n_f32(terms.limit[i]);
            let (even, odd) = (vreinterpretq_u32_u16(even[i]), vreinterpretq_u32_u16(odd[i]));
            let low = vdupq_n_u32(0xffff);
            let sums =
                [vandq_u32(even, low), vandq_u32(odd, low), vshrq_n_u32::<16>(even), vshrq_n_u32::<16>(odd)];
            for (v, sums) in sums.into_iter().enumerate() {
                // Byte 4j + v of this quarter is row 16v + 4·quarter + j.
                let row = 16 * v + 4 * quarter;
                // SAFETY: each array has GROUP = 64 values, and row ≤ 60.
                let value = unsafe {
                    let scale = vld1q_f32(rows.scale.as_ptr().add(row));
                    let offset = vld1q_f32(rows.offset.as_ptr().add(row));
                    let product = vfmaq_f32(beta, alpha, vcvtq_f32_u32(sums));
                    let value = vfmaq_f32(offset, scale, product);
                    vst1q_f32(values[i].as_mut_ptr().add(row), value);
                    value
                };
                masks[i] |= not_less(value, limit) << row;
            }
        }
    }
    masks
}
