//! AVX2, which has no four-way product without saturation: two-way products that cannot reach it.
//!
//! **8 bits.** Codes and query are extended to i16, and `vpmaddwd` sums two products in 32 bits: exact.
//!
//! **4 bits.** `vpmaddubsw` sums two products of nibble × i8 in 16 saturating bits: at most 2·15·128 = 3,840 in magnitude. A
//! line adds four of them to a lane, at most 15,360, before they are widened.

use std::arch::x86_64::*;

use super::{LINE, TOGETHER, View};

/// # Safety
/// AVX2, and a view made by `View::checked` for codes of BITS bits and as many sums.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn dots<const BITS: usize>(view: View<'_>, sums: &mut [[i32; 2]]) {
    for (ids, sums) in view.ids.chunks(TOGETHER).zip(sums.chunks_mut(TOGETHER)) {
        // Where there are fewer rows, the last again.
        // SAFETY: each id has a row (View, Check 2).
        let rows = std::array::from_fn(|r| unsafe {
            view.bytes.as_ptr().add(ids[r.min(ids.len() - 1)] as usize * view.row_bytes)
        });
        // SAFETY: the rows have `lines` lines, both planes as many dimensions (Check 3).
        let [high, low] = unsafe { together::<BITS>(rows, view) };
        for (sums, (high, low)) in sums.iter_mut().zip(high.into_iter().zip(low)) {
            *sums = [high, low];
        }
    }
}

/// # Safety
/// As `dots`, and `lines` lines at each of the rows.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn together<const BITS: usize>(rows: [*const u8; TOGETHER], view: View<'_>) -> [[i32; TOGETHER]; 2] {
    let mut acc = [[_mm256_setzero_si256(); TOGETHER]; 2];
    for line in 0..view.lines {
        let at = line * LINE * 8 / BITS;
        // SAFETY: `line` is below `lines`, and each plane has 64 values for it, or 128 of 4 bits.
        unsafe {
            let planes = [view.high, view.low].map(|plane| plane.as_ptr().add(at));
            let rows = rows.map(|row| row.add(line * LINE));
            if BITS == 8 { bytes(rows, planes, &mut acc) } else { nibbles(rows, planes, &mut acc) }
        }
    }
    let [high, low] = acc;
    [total(high), total(low)]
}

/// Adds a line of 8-bit codes.
///
/// # Safety
/// AVX2; 64 bytes at each row, 64 values at each plane.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn bytes(rows: [*const u8; TOGETHER], planes: [*const i8; 2], acc: &mut [[__m256i; TOGETHER]; 2]) {
    for part in (0..LINE).step_by(16) {
        // SAFETY: 16 of 64.
        unsafe {
            let query = planes.map(|plane| _mm256_cvtepi8_epi16(_mm_loadu_si128(plane.add(part).cast())));
            let codes = rows.map(|row| _mm256_cvtepu8_epi16(_mm_loadu_si128(row.add(part).cast())));
            for (acc, query) in acc.iter_mut().zip(query) {
                for (acc, codes) in acc.iter_mut().zip(codes) {
                    *acc = _mm256_add_epi32(*acc, _mm256_madd_epi16(codes, query));
                }
            }
        }
    }
}

/// Adds a line of 4-bit codes.
///
/// # Safety
/// AVX2; 64 bytes at each row, 128 values at each plane.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn nibbles(rows: [*const u8; TOGETHER], planes: [*const i8; 2], acc: &mut [[__m256i; TOGETHER]; 2]) {
    let (nibble, ones) = (_mm256_set1_epi8(15), _mm256_set1_epi16(1));
    let mut words = [[_mm256_setzero_si256(); TOGETHER]; 2];
    for part in [0, 32] {
        // SAFETY: 32 of 64 bytes; 32 of each half of 128 values.
        unsafe {
            let codes = rows.map(|row| _mm256_loadu_si256(row.add(part).cast()));
            let lows = codes.map(|codes| _mm256_and_si256(codes, nibble));
            let highs = codes.map(|codes| _mm256_and_si256(_mm256_srli_epi16::<4>(codes), nibble));
            for (words, plane) in words.iter_mut().zip(planes) {
                let first = _mm256_loadu_si256(plane.add(part).cast());
                let second = _mm256_loadu_si256(plane.add(LINE + part).cast());
                for ((word, low), high) in words.iter_mut().zip(lows).zip(highs) {
                    let pair = _mm256_add_epi16(
                        _mm256_maddubs_epi16(low, first),
                        _mm256_maddubs_epi16(high, second),
                    );
                    *word = _mm256_add_epi16(*word, pair);
                }
            }
        }
    }
    for (acc, words) in acc.iter_mut().zip(words) {
        for (acc, word) in acc.iter_mut().zip(words) {
            *acc = _mm256_add_epi32(*acc, _mm256_madd_epi16(word, ones));
        }
    }
}

/// The sum of the lanes of each.
#[inline]
#[target_feature(enable = "avx2")]
fn total([a, b, c, d]: [__m256i; TOGETHER]) -> [i32; TOGETHER] {
    let sums = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    let sums = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
    // SAFETY: as many bytes.
    unsafe { std::mem::transmute::<__m128i, [i32; TOGETHER]>(sums) }
}
