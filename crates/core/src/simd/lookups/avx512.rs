//! AVX-512 VBMI: `vpermi2b` looks up 64 rows in half a table of 256 bytes, `vpshufb` in one of 16.

use std::arch::x86_64::*;

use super::View;
use crate::simd::{GROUP, TILE};

/// # Safety
/// AVX-512F, BW and VBMI, BMI2, and a view made by `View::checked` for BITS bits and NQ queries.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,bmi2")]
pub(crate) unsafe fn survivors<const BITS: usize, const NQ: usize>(view: View<'_>) -> [u64; TILE] {
    let nibble = _mm512_set1_epi8(0x0f);
    // 16-bit sums: of byte pairs as one number, modulo 2¹⁶, and of odd bytes.
    let mut all = [_mm512_setzero_si512(); NQ];
    let mut odd = [_mm512_setzero_si512(); NQ];
    // SAFETY: the codes are `lines` lines of 64 bytes (View, Check 1), the tables 256 or 32 bytes for each of NQ queries
    // for each of them (Check 2).
    unsafe {
        let (mut codes, mut tables) = (view.codes.as_ptr(), view.tables.as_ptr());
        for _ in 0..view.lines {
            let line = _mm512_loadu_si512(codes.cast());
            let high = _mm512_and_si512(_mm512_srli_epi16::<4>(line), nibble);
            let low = _mm512_and_si512(line, nibble);
            let above = _mm512_movepi8_mask(line);
            for i in 0..NQ {
                let found = if BITS == 8 {
                    let table = tables.cast::<__m512i>();
                    let (a, b) = (_mm512_loadu_si512(table), _mm512_loadu_si512(table.add(1)));
                    let (c, d) = (_mm512_loadu_si512(table.add(2)), _mm512_loadu_si512(table.add(3)));
                    // Bits 0 to 6 of the index; bit 7 chooses between halves.
                    let first = _mm512_permutex2var_epi8(a, line, b);
                    let second = _mm512_permutex2var_epi8(c, line, d);
                    tables = tables.add(256);
                    _mm512_mask_blend_epi8(above, first, second)
                } else {
                    let table = tables.cast::<__m128i>();
                    let of_low = _mm512_broadcast_i32x4(_mm_loadu_si128(table));
                    let of_high = _mm512_broadcast_i32x4(_mm_loadu_si128(table.add(1)));
                    tables = tables.add(32);
                    _mm512_add_epi8(_mm512_shuffle_epi8(of_low, low), _mm512_shuffle_epi8(of_high, high))
                };
                all[i] = _mm512_add_epi16(all[i], found);
                odd[i] = _mm512_add_epi16(odd[i], _mm512_srli_epi16::<8>(found));
            }
            codes = codes.add(GROUP);
        }
    }
    let mut masks = [0; TILE];
    for i in 0..NQ {
        let even = _mm512_sub_epi16(all[i], _mm512_slli_epi16::<8>(odd[i]));
        masks[i] = match view.terms {
            None => whole(even, odd[i], view.whole[i]),
            Some(terms) => with_terms(even, odd[i], terms, view.step[i], view.limit[i]),
        };
    }
    masks
}

/// Rows whose sums are at most `most`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,bmi2")]
fn whole(even: __m512i, odd: __m512i, most: i32) -> u64 {
    if most < 0 {
        return 0;
    }
    let most = _mm512_set1_epi16(most as i16); // its bits, as u16
    let even = _mm512_cmple_epu16_mask(even, most);
    let odd = _mm512_cmple_epu16_mask(odd, most);
    if even | odd == 0 {
        return 0;
    }
    // Lane 2j is of rows j (even bytes) and 16 + j (odd), lane 2j + 1 of rows 32 + j and 48 + j.
    let parts = [
        _pext_u32(even, 0x5555_5555),
        _pext_u32(odd, 0x5555_5555),
        _pext_u32(even, 0xaaaa_aaaa),
        _pext_u32(odd, 0xaaaa_aaaa),
    ];
    parts.into_iter().enumerate().fold(0, |mask, (v, part)| mask | u64::from(part) << (16 * v))
}

/// Rows whose step·sum + term is not above `limit`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn with_terms(even: __m512i, odd: __m512i, terms: &[f32; GROUP], step: f32, limit: f32) -> u64 {
    let low = _mm512_set1_epi32(0xffff);
    let (step, limit) = (_mm512_set1_ps(step), _mm512_set1_ps(limit));
    let sums = [
        _mm512_and_si512(even, low),
        _mm512_and_si512(odd, low),
        _mm512_srli_epi32::<16>(even),
        _mm512_srli_epi32::<16>(odd),
    ];
    let mut mask = 0;
    for (v, sums) in sums.into_iter().enumerate() {
        // SAFETY: the array has GROUP = 4 × 16 values.
        let terms = unsafe { _mm512_loadu_ps(terms.as_ptr().add(16 * v)) };
        let value = _mm512_fmadd_ps(step, _mm512_cvtepi32_ps(sums), terms);
        let pass = _mm512_cmp_ps_mask::<_CMP_NGT_UQ>(value, limit);
        mask |= u64::from(_cvtmask16_u32(pass)) << (16 * v);
    }
    mask
}
