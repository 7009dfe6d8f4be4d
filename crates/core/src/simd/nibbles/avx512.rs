//! AVX-512: `vpshufb` looks up four times 16 bytes, each in a table of its own.

use std::arch::x86_64::*;

use super::{BLOCK, PART, Residual, ResidualView, Terms, UPPER, View};
use crate::buffer::LINE;

/// Look-ups that a byte holds: 4 × 63 = 252.
const FLUSH: usize = 4;

/// # Safety
/// AVX-512F and BW, and a view made by `View::checked`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) unsafe fn below(view: View<'_>, terms: Terms, values: &mut [f32; BLOCK]) -> u32 {
    let nibble = _mm512_set1_epi8(0x0f);
    // Of rows 0 to 15, and 16 to 31.
    let mut sums = [_mm512_setzero_si512(); 2];
    let mut left = view.lines;
    let (mut codes, mut tables) = (view.codes.as_ptr(), view.tables.as_ptr());
    while left > 0 {
        let lines = left.min(PART);
        // 16-bit sums: of byte pairs as one number, modulo 2¹⁶, and of odd bytes.
        let mut all = [_mm512_setzero_si512(); 2];
        let mut odd = [_mm512_setzero_si512(); 2];
        let mut first = 0;
        while first < lines {
            let last = lines.min(first + FLUSH);
            let mut bytes = [_mm512_setzero_si512(); 2];
            for _ in first..last {
                // SAFETY: codes and tables are `lines` lines of 64 bytes (View, Checks 1 and 2).
                let (line, table) =
                    unsafe { (_mm512_loadu_si512(codes.cast()), _mm512_loadu_si512(tables.cast())) };
                (codes, tables) = (codes.wrapping_add(LINE), tables.wrapping_add(LINE));
                let low = _mm512_and_si512(line, nibble);
                let high = _mm512_and_si512(_mm512_srli_epi16::<4>(line), nibble);
                bytes[0] = _mm512_add_epi8(bytes[0], _mm512_shuffle_epi8(table, low));
                bytes[1] = _mm512_add_epi8(bytes[1], _mm512_shuffle_epi8(table, high));
            }
            for i in 0..2 {
                all[i] = _mm512_add_epi16(all[i], bytes[i]);
                odd[i] = _mm512_add_epi16(odd[i], _mm512_srli_epi16::<8>(bytes[i]));
            }
            first = last;
        }
        for i in 0..2 {
            let even = _mm512_sub_epi16(all[i], _mm512_slli_epi16::<8>(odd[i]));
            let rows = _mm256_set_m128i(quarters(odd[i]), quarters(even));
            sums[i] = _mm512_add_epi32(sums[i], _mm512_cvtepu16_epi32(rows));
        }
        left -= lines;
    }
    let alpha = _mm512_set1_ps(terms.alpha);
    let beta = _mm512_set1_ps(terms.beta);
    let unit = _mm512_set1_ps(terms.unit);
    let base = _mm512_set1_ps(terms.base);
    let bound = _mm512_set1_ps(terms.bound);
    let mut mask = 0;
    for (i, sums) in sums.into_iter().enumerate() {
        // SAFETY: each array has 2 × 16 values.
        let rows = unsafe { _mm512_loadu_si512(view.rows.as_ptr().add(16 * i).cast()) };
        let scale = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(rows));
        let offset = _mm512_castsi512_ps(_mm512_and_si512(rows, _mm512_set1_epi32(UPPER.cast_signed())));
        let product = _mm512_fmadd_ps(alpha, _mm512_cvtepi32_ps(sums), beta);
        let value = _mm512_fmadd_ps(unit, _mm512_fmadd_ps(scale, product, offset), base);
        // SAFETY: as above.
        unsafe { _mm512_storeu_ps(values.as_mut_ptr().add(16 * i), value) };
        mask |= _cvtmask16_u32(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(value, bound)) << (16 * i);
    }
    mask
}

/// The sum of the four quarters, in eight 16-bit lanes.
#[inline]
#[target_feature(enable = "avx512f")]
fn quarters(sums: __m512i) -> __m128i {
    let half = _mm256_add_epi16(_mm512_castsi512_si256(sums), _mm512_extracti64x4_epi64::<1>(sums));
    _mm_add_epi16(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half))
}

/// # Safety
/// AVX-512F, and a view made by `ResidualView::checked`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn residual(view: ResidualView<'_>) -> Residual {
    let mut square = [_mm512_setzero_ps(); 2];
    let mut absolute = [_mm512_setzero_ps(); 2];
    let mut along = [_mm512_setzero_ps(); 2];
    // SAFETY: both rows have a multiple of 32 values (ResidualView, Check 1), and there are two bytes for each 16 of
    // them (Check 2).
    unsafe {
        let (from, to, bits) = (view.from.as_ptr(), view.to.as_ptr(), view.bits.as_mut_ptr());
        for i in (0..view.from.len()).step_by(32) {
            for h in 0..2 {
                let i = i + 16 * h;
                let origin = _mm512_loadu_ps(from.add(i));
                let r = _mm512_sub_ps(_mm512_loadu_ps(to.add(i)), origin);
                let set = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(r, _mm512_setzero_ps());
                square[h] = _mm512_fmadd_ps(r, r, square[h]);
                absolute[h] = _mm512_add_ps(absolute[h], _mm512_abs_ps(r));
                let minus = _mm512_sub_ps(along[h], origin);
                along[h] = _mm512_mask_add_ps(minus, set, along[h], origin);
                bits.add(i / 8).cast::<u16>().write_unaligned(set);
            }
        }
    }
    let sum = |parts: [__m512; 2]| _mm512_reduce_add_ps(_mm512_add_ps(parts[0], parts[1]));
    Residual { square: sum(square), absolute: sum(absolute), along: sum(along) }
}
