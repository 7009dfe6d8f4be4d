//! AVX2: two-way products that cannot saturate (see [`crate::simd::int8`]), tails copied to a register's length.
//!
//! **8 bits.** Codes and query are widened to i16, `vpmaddwd` sums two products in 32 bits. **4 bits.** `vpmaddubsw`
//! sums two products of nibble × i8 in 16 bits, at most 3,840 in magnitude, of which two are added before they are
//! widened.

use std::arch::x86_64::*;

use super::View;

/// Bytes of a register.
const BLOCK: usize = 32;

/// The first values of a slice, up to a register; zeros beyond.
#[inline]
#[target_feature(enable = "avx2")]
fn first<T: Copy + Default>(from: &[T]) -> __m256i {
    const { assert!(size_of::<T>() == 1) };
    // SAFETY: BLOCK = 32 values of one byte.
    unsafe {
        if let Some(block) = from.first_chunk::<BLOCK>() {
            return _mm256_loadu_si256(block.as_ptr().cast());
        }
        let mut block = [T::default(); BLOCK];
        block.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
        _mm256_loadu_si256(block.as_ptr().cast())
    }
}

/// Sums of a register of codes × one of query values.
#[inline]
#[target_feature(enable = "avx2")]
fn bytes(codes: __m256i, query: __m256i) -> __m256i {
    let [a, b] = [_mm256_castsi256_si128(codes), _mm256_extracti128_si256::<1>(codes)];
    let [c, d] = [_mm256_castsi256_si128(query), _mm256_extracti128_si256::<1>(query)];
    _mm256_add_epi32(
        _mm256_madd_epi16(_mm256_cvtepu8_epi16(a), _mm256_cvtepi8_epi16(c)),
        _mm256_madd_epi16(_mm256_cvtepu8_epi16(b), _mm256_cvtepi8_epi16(d)),
    )
}

/// # Safety
/// AVX2, and a view made by `View::checked` for codes of BITS bits.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn dots<const BITS: usize>(view: View<'_>) -> [i32; 2] {
    let (nibble, ones) = (_mm256_set1_epi8(15), _mm256_set1_epi16(1));
    let mut acc = [_mm256_setzero_si256(); 2];
    let width = view.row.len();
    // Of 4-bit codes, a plane's second half belongs to the bytes' high halves.
    let planes = [view.high, view.low].map(|plane| plane.split_at(width.min(plane.len())));
    for j in (0..width).step_by(BLOCK) {
        let row = first(&view.row[j..]);
        for (acc, (near_plane, far_plane)) in acc.iter_mut().zip(planes) {
            let sums = if BITS == 8 {
                bytes(row, first(&near_plane[j..]))
            } else {
                let near = _mm256_and_si256(row, nibble);
                let far = _mm256_and_si256(_mm256_srli_epi16::<4>(row), nibble);
                let near = _mm256_maddubs_epi16(near, first(&near_plane[j..]));
                let far = _mm256_maddubs_epi16(far, first(far_plane.get(j..).unwrap_or_default()));
                _mm256_madd_epi16(_mm256_add_epi16(near, far), ones)
            };
            *acc = _mm256_add_epi32(*acc, sums);
        }
    }
    acc.map(|acc| {
        let halves = _mm_add_epi32(_mm256_castsi256_si128(acc), _mm256_extracti128_si256::<1>(acc));
        let pairs = _mm_add_epi32(halves, _mm_shuffle_epi32::<0b_11_10_11_10>(halves));
        _mm_cvtsi128_si32(_mm_add_epi32(pairs, _mm_shuffle_epi32::<0b_01>(pairs)))
    })
}
