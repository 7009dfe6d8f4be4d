//! AVX2: a plane's bits become bytes by a broadcast, a shuffle and a comparison.
//!
//! **Planes.** `vpmaddubsw` sums two products of value × weight in 16 saturating bits: with at most 7 planes a value is
//! at most 127, and two products at most 2·127·128 = 32,512 < 32,767 in magnitude. The first of 8 planes is summed
//! apart. `vpmaddwd` by ones widens each pair.
//!
//! **Levels** are zero-extended to i16 and queries sign-extended, and `vpmaddwd` sums two products in 32 bits.

use std::arch::x86_64::*;

use super::{DotsView, ExpandView, LEVELS, MAX_PLANES, SumView};

/// Dimensions of a register.
const BLOCK: usize = 32;

/// Bytes whose byte j is not zero iff bit j of the word is 1.
#[inline]
#[target_feature(enable = "avx2")]
fn spread(word: u32) -> __m256i {
    let byte_of = _mm256_setr_epi64x(0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303);
    // 1 << (j % 8)
    let bit_of = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64.cast_signed());
    let bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(word.cast_signed()), byte_of);
    // All ones, −1, where the bit is.
    _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit_of), bit_of)
}

#[inline]
#[target_feature(enable = "avx2")]
fn reduce(acc: __m256i) -> i32 {
    let acc = _mm_add_epi32(_mm256_castsi256_si128(acc), _mm256_extracti128_si256::<1>(acc));
    let acc = _mm_add_epi32(acc, _mm_unpackhi_epi64(acc, acc));
    _mm_cvtsi128_si32(_mm_add_epi32(acc, _mm_shuffle_epi32::<1>(acc)))
}

/// # Safety
/// AVX2, and a view made by `SumView::checked`.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn sum(view: SumView<'_>) -> i32 {
    // SAFETY: the caller's feature; both parts hold what `SumView::checked` checked of the whole.
    unsafe {
        match view.split_first() {
            Some((first, rest)) if view.spans.len() == MAX_PLANES => 128 * up_to_7(first) + up_to_7(rest),
            _ => up_to_7(view),
        }
    }
}

/// # Safety
/// As `sum`, and at most 7 planes.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn up_to_7(view: SumView<'_>) -> i32 {
    let mut total = 0;
    for segment in view.segments() {
        let (start, end) = (segment.start, segment.end);
        // SAFETY: `start` and `end` are multiples of STEP (SumView, Check 3), and the first `active` spans are at
        // least `end` (`segments`).
        let sum = unsafe {
            match segment.active {
                1 => segment_sum::<1>(view, start, end),
                2 => segment_sum::<2>(view, start, end),
                3 => segment_sum::<3>(view, start, end),
                4 => segment_sum::<4>(view, start, end),
                5 => segment_sum::<5>(view, start, end),
                6 => segment_sum::<6>(view, start, end),
                _ => segment_sum::<7>(view, start, end),
            }
        };
        total += sum << (view.spans.len() - segment.active);
    }
    total
}

/// Σ Σ_{p < A} 2^(A−1−p)·bit_pj·weights\[j\] over `start..end`, A ≤ 7.
///
/// # Safety
/// As `sum`; `start` and `end` are multiples of STEP, and each of the first A spans is at least `end`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn segment_sum<const A: usize>(view: SumView<'_>, start: usize, end: usize) -> i32 {
    let ones = _mm256_set1_epi16(1);
    let mut acc = _mm256_setzero_si256();
    // SAFETY: plane p < A has bits up to `end` where `starts` says (Checks 2 and 4), and as many weights exist
    // (Check 2). A block reads BLOCK = 32 bits and weights from j ≤ end − 32 on, all being multiples of 32.
    unsafe {
        let planes = view.starts::<A>();
        for j in (start..end).step_by(BLOCK) {
            let mut row = _mm256_setzero_si256();
            for plane in planes {
                let set = spread(plane.add(j / 8).cast::<u32>().read_unaligned());
                row = _mm256_sub_epi8(_mm256_add_epi8(row, row), set);
            }
            let weights = _mm256_loadu_si256(view.weights.as_ptr().add(j).cast());
            acc = _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(row, weights), ones));
        }
    }
    reduce(acc)
}

/// # Safety
/// AVX2, and a view made by `ExpandView::checked`.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn expand(view: ExpandView<'_>) {
    let value = _mm256_set1_epi8(view.value.cast_signed());
    let (words, last) = view.bits.as_chunks::<{ BLOCK / 8 }>();
    let (blocks, rest) = view.codes.as_chunks_mut::<BLOCK>();
    let whole = blocks.len();
    for (codes, &word) in blocks.iter_mut().zip(words) {
        // SAFETY: BLOCK = 32 bytes.
        unsafe { or_into(codes, u32::from_le_bytes(word), value) };
    }
    if rest.is_empty() {
        return;
    }
    // The bits of an incomplete block: a whole word, or what is left of one.
    let mut word = [0; BLOCK / 8];
    word.iter_mut().zip(words.get(whole).map_or(last, |word| word)).for_each(|(to, &from)| *to = from);
    let mut codes = [0; BLOCK];
    // SAFETY: BLOCK = 32 bytes.
    unsafe { or_into(&mut codes, u32::from_le_bytes(word), value) };
    rest.iter_mut().zip(codes).for_each(|(to, from)| *to |= from);
}

/// # Safety
/// AVX2.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn or_into(codes: &mut [u8; BLOCK], word: u32, value: __m256i) {
    let codes = codes.as_mut_ptr().cast::<__m256i>();
    // SAFETY: `codes` has BLOCK = 32 bytes.
    unsafe {
        let new = _mm256_and_si256(spread(word), value);
        _mm256_storeu_si256(codes, _mm256_or_si256(_mm256_loadu_si256(codes), new));
    }
}

/// # Safety
/// AVX2, and a view made by `DotsView::checked`.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn dots(view: DotsView<'_>) -> [i32; 2] {
    let mut acc = [_mm256_setzero_si256(); 2];
    view.blocks::<BLOCK>(
        // SAFETY: AVX2.
        |view| unsafe { expand(view) },
        // SAFETY: AVX2.
        |codes, table, high, low| unsafe { block_dots(codes, table, high, low, &mut acc) },
    );
    acc.map(|acc| reduce(acc))
}

/// # Safety
/// AVX2.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn block_dots(
    codes: &[u8; BLOCK],
    table: &[u8; LEVELS],
    high: &[i8; BLOCK],
    low: &[i8; BLOCK],
    acc: &mut [__m256i; 2],
) {
    // SAFETY: BLOCK = 32 values each, and a table of LEVELS = 4 × 16.
    unsafe {
        let part = |i: usize| _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().add(16 * i).cast()));
        let codes = _mm256_loadu_si256(codes.as_ptr().cast());
        let entry = _mm256_and_si256(codes, _mm256_set1_epi8(15));
        let mut levels = _mm256_shuffle_epi8(part(0), entry);
        // Codes of up to 4 bits are done.
        if _mm256_testz_si256(codes, _mm256_set1_epi8(0x30)) == 0 {
            let [second, third, fourth] = [1, 2, 3].map(|i| _mm256_shuffle_epi8(part(i), entry));
            // Bits 4 and 5 to where a blend looks; what crosses into another byte does not reach its top bit.
            let (bit_4, bit_5) = (_mm256_slli_epi16::<3>(codes), _mm256_slli_epi16::<2>(codes));
            let upper = _mm256_blendv_epi8(third, fourth, bit_4);
            levels = _mm256_blendv_epi8(_mm256_blendv_epi8(levels, second, bit_4), upper, bit_5);
        }
        let halves = [
            _mm256_cvtepu8_epi16(_mm256_castsi256_si128(levels)),
            _mm256_cvtepu8_epi16(_mm256_extracti128_si256::<1>(levels)),
        ];
        for (acc, plane) in acc.iter_mut().zip([high, low]) {
            for (i, half) in halves.into_iter().enumerate() {
                let plane = _mm256_cvtepi8_epi16(_mm_loadu_si128(plane.as_ptr().add(16 * i).cast()));
                *acc = _mm256_add_epi32(*acc, _mm256_madd_epi16(half, plane));
            }
        }
    }
}
