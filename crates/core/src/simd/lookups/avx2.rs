//! AVX2: `vpshufb` looks up 32 rows in a table of 16 bytes; a table of 256 is 16 of those.

use std::arch::x86_64::*;

use super::View;
use crate::simd::{GROUP, TILE};

/// Queries whose sums stay in registers together.
const AT_ONCE: usize = 3;

/// # Safety
/// AVX2, FMA and BMI2, and a view made by `View::checked` for BITS bits and NQ queries.
#[inline]
#[target_feature(enable = "avx2,fma,bmi2")]
pub(crate) unsafe fn survivors<const BITS: usize, const NQ: usize>(view: View<'_>) -> [u64; TILE] {
    let mut masks = [0; TILE];
    for half in 0..2 {
        let mut first = 0;
        while first < NQ {
            // SAFETY: the caller's features and view; `first` and the queries after it are below NQ.
            unsafe {
                match NQ - first {
                    1 => queries::<BITS, NQ, 1>(view, half, first, &mut masks),
                    2 => queries::<BITS, NQ, 2>(view, half, first, &mut masks),
                    _ => queries::<BITS, NQ, AT_ONCE>(view, half, first, &mut masks),
                }
            }
            first += AT_ONCE;
        }
    }
    masks
}

/// Half a group (bytes 32·half.. of each line) against N of the tile's NQ queries.
///
/// # Safety
/// As `survivors`; half < 2, first + N ≤ NQ.
#[inline]
#[target_feature(enable = "avx2,fma,bmi2")]
unsafe fn queries<const BITS: usize, const NQ: usize, const N: usize>(
    view: View<'_>,
    half: usize,
    first: usize,
    masks: &mut [u64; TILE],
) {
    let bytes = if BITS == 8 { 256 } else { 32 };
    let nibble = _mm256_set1_epi8(0x0f);
    // 16-bit sums: of byte pairs as one number, modulo 2¹⁶, and of odd bytes.
    let mut all = [_mm256_setzero_si256(); N];
    let mut odd = [_mm256_setzero_si256(); N];
    // SAFETY: the codes are `lines` lines of 64 bytes (View, Check 1), the tables 256 or 32 bytes for each of NQ queries
    // for each of them (Check 2).
    unsafe {
        let (mut codes, mut tables) =
            (view.codes.as_ptr().add(32 * half), view.tables.as_ptr().add(bytes * first));
        for _ in 0..view.lines {
            let line = _mm256_loadu_si256(codes.cast());
            let mut found = [_mm256_setzero_si256(); N];
            if BITS == 8 {
                for high in 0..16 {
                    // Of a code with these high bits the low ones below 0x70; of others above 0x7f, which looks up 0.
                    let other = _mm256_xor_si256(line, _mm256_set1_epi8((high << 4) as i8));
                    let index = _mm256_adds_epu8(other, _mm256_set1_epi8(0x70));
                    for (i, found) in found.iter_mut().enumerate() {
                        let table = tables.add(256 * i + 16 * high).cast::<__m128i>();
                        let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table));
                        *found = _mm256_or_si256(*found, _mm256_shuffle_epi8(table, index));
                    }
                }
            } else {
                let low = _mm256_and_si256(line, nibble);
                let high = _mm256_and_si256(_mm256_srli_epi16::<4>(line), nibble);
                for (i, found) in found.iter_mut().enumerate() {
                    let table = tables.add(32 * i).cast::<__m128i>();
                    let of_low = _mm256_broadcastsi128_si256(_mm_loadu_si128(table));
                    let of_high = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.add(1)));
                    *found =
                        _mm256_add_epi8(_mm256_shuffle_epi8(of_low, low), _mm256_shuffle_epi8(of_high, high));
                }
            }
            for ((all, odd), found) in all.iter_mut().zip(&mut odd).zip(found) {
                *all = _mm256_add_epi16(*all, found);
                *odd = _mm256_add_epi16(*odd, _mm256_srli_epi16::<8>(found));
            }
            codes = codes.add(GROUP);
            tables = tables.add(bytes * NQ);
        }
    }
    for i in 0..N {
        let q = first + i;
        let even = _mm256_sub_epi16(all[i], _mm256_slli_epi16::<8>(odd[i]));
        let mask = match view.terms {
            None => whole(even, odd[i], view.whole[q]),
            Some(terms) => with_terms(even, odd[i], terms, half, view.step[q], view.limit[q]),
        };
        masks[q] |= mask << (8 * half);
    }
}

/// Rows whose sums are at most `most`: those of the first half.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn whole(even: __m256i, odd: __m256i, most: i32) -> u64 {
    if most < 0 {
        return 0;
    }
    let most = _mm256_set1_epi16(most as i16); // its bits, as u16
    let even = _mm256_cmpeq_epi16(_mm256_min_epu16(even, most), even);
    let odd = _mm256_cmpeq_epi16(_mm256_min_epu16(odd, most), odd);
    let even = _mm256_movemask_epi8(even).cast_unsigned();
    let odd = _mm256_movemask_epi8(odd).cast_unsigned();
    // Lane 2j is of rows j (even bytes) and 16 + j (odd), lane 2j + 1 of rows 32 + j and 48 + j.
    let parts = [
        _pext_u32(even, 0x1111_1111),
        _pext_u32(odd, 0x1111_1111),
        _pext_u32(even, 0x4444_4444),
        _pext_u32(odd, 0x4444_4444),
    ];
    parts.into_iter().enumerate().fold(0, |mask, (v, part)| mask | u64::from(part) << (16 * v))
}

/// Rows whose step·sum + term is not above `limit`: those of the first half.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn with_terms(even: __m256i, odd: __m256i, terms: &[f32; GROUP], half: usize, step: f32, limit: f32) -> u64 {
    let low = _mm256_set1_epi32(0xffff);
    let (step, limit) = (_mm256_set1_ps(step), _mm256_set1_ps(limit));
    let sums = [
        _mm256_and_si256(even, low),
        _mm256_and_si256(odd, low),
        _mm256_srli_epi32::<16>(even),
        _mm256_srli_epi32::<16>(odd),
    ];
    let mut mask = 0;
    for (v, sums) in sums.into_iter().enumerate() {
        // SAFETY: the array has GROUP = 64 values, and half is below 2.
        let terms = unsafe { _mm256_loadu_ps(terms.as_ptr().add(16 * v + 8 * half)) };
        let value = _mm256_fmadd_ps(step, _mm256_cvtepi32_ps(sums), terms);
        let pass = _mm256_cmp_ps::<_CMP_NGT_UQ>(value, limit);
        mask |= u64::from(_mm256_movemask_ps(pass).cast_unsigned()) << (16 * v);
    }
    mask
}
