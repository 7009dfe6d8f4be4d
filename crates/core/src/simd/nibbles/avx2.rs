//! AVX2: `vpshufb` looks up two times 16 bytes, each in a table of its own.

use std::arch::x86_64::*;

use super::{BLOCK, PART, Residual, ResidualView, Terms, UPPER, View};
use crate::buffer::LINE;

/// Lines whose look-ups a byte holds, two in each: 4 × 63 = 252.
const FLUSH: usize = 2;

/// # Safety
/// AVX2 and FMA, and a view made by `View::checked`.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn below(view: View<'_>, terms: Terms, values: &mut [f32; BLOCK]) -> u32 {
    let nibble = _mm256_set1_epi8(0x0f);
    // Of eight rows each.
    let mut sums = [_mm256_setzero_si256(); 4];
    let mut left = view.lines;
    let (mut codes, mut tables) = (view.codes.as_ptr(), view.tables.as_ptr());
    while left > 0 {
        let lines = left.min(PART);
        // 16-bit sums: of byte pairs as one number, modulo 2¹⁶, and of odd bytes.
        let mut all = [_mm256_setzero_si256(); 2];
        let mut odd = [_mm256_setzero_si256(); 2];
        let mut first = 0;
        while first < lines {
            let last = lines.min(first + FLUSH);
            let mut bytes = [_mm256_setzero_si256(); 2];
            for _ in 0..2 * (last - first) {
                // SAFETY: codes and tables are `lines` lines of 64 bytes (View, Checks 1 and 2).
                let (line, table) =
                    unsafe { (_mm256_loadu_si256(codes.cast()), _mm256_loadu_si256(tables.cast())) };
                (codes, tables) = (codes.wrapping_add(LINE / 2), tables.wrapping_add(LINE / 2));
                let low = _mm256_and_si256(line, nibble);
                let high = _mm256_and_si256(_mm256_srli_epi16::<4>(line), nibble);
                bytes[0] = _mm256_add_epi8(bytes[0], _mm256_shuffle_epi8(table, low));
                bytes[1] = _mm256_add_epi8(bytes[1], _mm256_shuffle_epi8(table, high));
            }
            for i in 0..2 {
                all[i] = _mm256_add_epi16(all[i], bytes[i]);
                odd[i] = _mm256_add_epi16(odd[i], _mm256_srli_epi16::<8>(bytes[i]));
            }
            first = last;
        }
        for i in 0..2 {
            let even = _mm256_sub_epi16(all[i], _mm256_slli_epi16::<8>(odd[i]));
            for (h, part) in [even, odd[i]].into_iter().enumerate() {
                let rows = _mm_add_epi16(_mm256_castsi256_si128(part), _mm256_extracti128_si256::<1>(part));
                sums[2 * i + h] = _mm256_add_epi32(sums[2 * i + h], _mm256_cvtepu16_epi32(rows));
            }
        }
        left -= lines;
    }
    let alpha = _mm256_set1_ps(terms.alpha);
    let beta = _mm256_set1_ps(terms.beta);
    let unit = _mm256_set1_ps(terms.unit);
    let base = _mm256_set1_ps(terms.base);
    let bound = _mm256_set1_ps(terms.bound);
    let mut mask = 0;
    for (i, sums) in sums.into_iter().enumerate() {
        // SAFETY: each array has 4 × 8 values.
        let value = unsafe {
            let rows = _mm256_loadu_si256(view.rows.as_ptr().add(8 * i).cast());
            let scale = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(rows));
            let upper = _mm256_set1_epi32(UPPER.cast_signed());
            let offset = _mm256_castsi256_ps(_mm256_and_si256(rows, upper));
            let product = _mm256_fmadd_ps(alpha, _mm256_cvtepi32_ps(sums), beta);
            let value = _mm256_fmadd_ps(unit, _mm256_fmadd_ps(scale, product, offset), base);
            _mm256_storeu_ps(values.as_mut_ptr().add(8 * i), value);
            value
        };
        let pass = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(value, bound));
        mask |= pass.cast_unsigned() << (8 * i);
    }
    mask
}

/// # Safety
/// AVX2 and FMA, and a view made by `ResidualView::checked`.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn residual(view: ResidualView<'_>) -> Residual {
    let sign = _mm256_set1_ps(-0.0);
    let zero = _mm256_setzero_ps();
    let mut square = [zero; 2];
    let mut absolute = [zero; 2];
    let mut along = [zero; 2];
    // SAFETY: both rows have a multiple of 32 values (ResidualView, Check 1), and there is a byte for each 8 of them
    // (Check 2).
    unsafe {
        let (from, to, bits) = (view.from.as_ptr(), view.to.as_ptr(), view.bits.as_mut_ptr());
        for i in (0..view.from.len()).step_by(16) {
            for h in 0..2 {
                let i = i + 8 * h;
                let origin = _mm256_loadu_ps(from.add(i));
                let r = _mm256_sub_ps(_mm256_loadu_ps(to.add(i)), origin);
                let set = _mm256_cmp_ps::<_CMP_GT_OQ>(r, zero);
                square[h] = _mm256_fmadd_ps(r, r, square[h]);
                absolute[h] = _mm256_add_ps(absolute[h], _mm256_andnot_ps(sign, r));
                // Where it is not set, the sign is turned.
                let turned = _mm256_xor_ps(origin, _mm256_andnot_ps(set, sign));
                along[h] = _mm256_add_ps(along[h], turned);
                bits.add(i / 8).write(_mm256_movemask_ps(set) as u8);
            }
        }
    }
    let sum = |parts: [__m256; 2]| {
        let sum = _mm256_add_ps(parts[0], parts[1]);
        let half = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum));
        let pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
        _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)))
    };
    Residual { square: sum(square), absolute: sum(absolute), along: sum(along) }
}
