//! AVX-512: a plane's bits are a mask register as they are; `vpermb` looks up 64 levels; `vpdpbusd` sums four u8 × i8
//! products into each 32-bit lane, without saturation.

use std::arch::x86_64::*;

use super::{Codes, DotsView, ExpandView, LEVEL_BITS, STEP, SumView};

/// Dimensions of a register.
const BLOCK: usize = 64;

/// # Safety
/// AVX-512F, BW and VNNI, and a view made by `SumView::checked`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(crate) unsafe fn sum(view: SumView<'_>) -> i32 {
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
                7 => segment_sum::<7>(view, start, end),
                _ => segment_sum::<8>(view, start, end),
            }
        };
        total += sum << (view.spans.len() - segment.active);
    }
    total
}

/// Σ Σ_{p < A} 2^(A−1−p)·bit_pj·weights\[j\] over `start..end`.
///
/// # Safety
/// As `sum`; `start` and `end` are multiples of STEP, and each of the first A spans is at least `end`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn segment_sum<const A: usize>(view: SumView<'_>, start: usize, end: usize) -> i32 {
    let mut acc = _mm512_setzero_si512();
    let mut j = start;
    // SAFETY: plane p < A has bits up to `end` where `starts` says (Checks 2 and 4), and as many weights exist
    // (Check 2). A block reads BLOCK = 64 bits and weights from j ≤ end − 64 on; the last one, of which `end` being
    // a multiple of 32 leaves just that many, 32.
    unsafe {
        let planes = view.starts::<A>();
        let weights = view.weights.as_ptr();
        while j + BLOCK <= end {
            let masks = planes.map(|plane| plane.add(j / 8).cast::<u64>().read_unaligned());
            let row = values(masks);
            acc = _mm512_dpbusd_epi32(acc, row, _mm512_loadu_si512(weights.add(j).cast()));
            j += BLOCK;
        }
        if j < end {
            let masks = planes.map(|plane| u64::from(plane.add(j / 8).cast::<u32>().read_unaligned()));
            let row = values(masks);
            acc = _mm512_dpbusd_epi32(acc, row, _mm512_maskz_loadu_epi8(u32::MAX.into(), weights.add(j)));
        }
    }
    _mm512_reduce_add_epi32(acc)
}

/// Bytes Σ_{p < A} 2^(A−1−p)·bit_pj.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn values<const A: usize>(masks: [u64; A]) -> __m512i {
    let mut row = _mm512_setzero_si512();
    for (p, mask) in masks.into_iter().enumerate() {
        row = _mm512_mask_add_epi8(row, mask, row, _mm512_set1_epi8((1_u8 << (A - 1 - p)).cast_signed()));
    }
    row
}

/// # Safety
/// AVX-512F and BW, and a view made by `ExpandView::checked`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) unsafe fn expand(view: ExpandView<'_>) {
    let value = _mm512_set1_epi8(view.value.cast_signed());
    let (words, _) = view.bits.as_chunks::<{ BLOCK / 8 }>();
    let (blocks, rest) = view.codes.as_chunks_mut::<BLOCK>();
    let mut bits = view.bits.get(blocks.len() * (BLOCK / 8)..).unwrap_or_default();
    for (codes, &word) in blocks.iter_mut().zip(words) {
        let codes = codes.as_mut_ptr().cast();
        // SAFETY: BLOCK = 64 bytes. (Not masked: the next plane's load would wait for a masked store.)
        unsafe {
            let new = _mm512_maskz_mov_epi8(u64::from_le_bytes(word), value);
            _mm512_storeu_si512(codes, _mm512_or_si512(_mm512_loadu_si512(codes), new));
        }
    }
    let (half, rest) = rest.split_at_mut(rest.len() / STEP * STEP);
    if half.len() == STEP
        && let Some((&word, after)) = bits.split_first_chunk()
    {
        bits = after;
        let codes = half.as_mut_ptr().cast();
        // SAFETY: STEP = 32 bytes.
        unsafe {
            let new = _mm512_maskz_mov_epi8(u32::from_le_bytes(word).into(), value);
            let new = _mm512_castsi512_si256(new);
            _mm256_storeu_si256(codes, _mm256_or_si256(_mm256_loadu_si256(codes), new));
        }
    }
    if !rest.is_empty() {
        let word = bits.iter().take(STEP / 8).rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
        let lanes = (1 << rest.len()) - 1;
        // SAFETY: only the lanes of `rest`, below STEP of them, are read and written.
        unsafe {
            let old = _mm512_maskz_loadu_epi8(lanes, rest.as_ptr().cast());
            let new = _mm512_or_si512(old, _mm512_maskz_mov_epi8(word, value));
            _mm512_mask_storeu_epi8(rest.as_mut_ptr().cast(), lanes, new);
        }
    }
}

/// # Safety
/// AVX-512F, BW, VL, VNNI and VBMI, and a view made by `DotsView::checked`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi")]
pub(crate) unsafe fn dots(view: DotsView<'_>) -> [i32; 2] {
    // SAFETY: the caller's promise.
    unsafe { if view.codes.tops == 1 { dots_up_to::<1>(view) } else { dots_up_to::<LEVEL_BITS>(view) } }
}

/// # Safety
/// As `dots`, and at most TOPS top planes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn dots_up_to<const TOPS: usize>(view: DotsView<'_>) -> [i32; 2] {
    let Codes { tops, lows, run, .. } = view.codes;
    // What a bit of each top plane is worth.
    let worth: [__m512i; TOPS] = std::array::from_fn(|p| {
        let shift = (tops + lows).saturating_sub(p + 1);
        _mm512_set1_epi8((1_u8 << shift).cast_signed())
    });
    let mut acc = [_mm512_setzero_si512(); 2];
    let whole = run / BLOCK * BLOCK;
    // SAFETY: dimensions below `run`.
    unsafe {
        for j in (0..whole).step_by(BLOCK) {
            block_dots(view, j, BLOCK, &worth, &mut acc);
        }
        if whole < run {
            block_dots(view, whole, run - whole, &worth, &mut acc);
        }
    }
    acc.map(|acc| _mm512_reduce_add_epi32(acc))
}

/// Dimensions j .. j + `count` of all runs.
///
/// # Safety
/// As `dots`, at most TOPS top planes, `count` is 1 to BLOCK and j + `count` at most `run`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn block_dots<const TOPS: usize>(
    view: DotsView<'_>,
    j: usize,
    count: usize,
    worth: &[__m512i; TOPS],
    acc: &mut [__m512i; 2],
) {
    let Codes { top, tops, low, lows, run } = view.codes;
    let dims = run * view.tables.len();
    let one = _mm512_set1_epi8(1);
    let lanes = u64::MAX >> (BLOCK - count);
    // SAFETY: bits j .. j + count of run r lie at r·run + j of each top plane of `dims` bits, and at j of each low
    // plane of `run`, all multiples of 8 (DotsView, Checks 1 and 4); both query planes have `dims` values (Check 2).
    // No more than `count` bits or values are read.
    unsafe {
        let mut shared = _mm512_setzero_si512();
        for p in 0..lows {
            let word = bits(low.as_ptr().add((p * run + j) / 8), count);
            let twice = _mm512_add_epi8(shared, shared);
            shared = _mm512_mask_add_epi8(twice, word, twice, one);
        }
        for (r, table) in view.tables.iter().enumerate() {
            let at = r * run + j;
            let mut codes = shared;
            for (p, &worth) in worth.iter().enumerate().take(tops) {
                let word = bits(top.as_ptr().add((p * dims + at) / 8), count);
                codes = _mm512_mask_add_epi8(codes, word, codes, worth);
            }
            let levels = _mm512_permutexvar_epi8(codes, _mm512_loadu_si512(table.as_ptr().cast()));
            for (acc, plane) in acc.iter_mut().zip([view.high, view.low]) {
                let plane = plane.as_ptr().add(at);
                let plane = if count == BLOCK {
                    _mm512_loadu_si512(plane.cast())
                } else {
                    _mm512_maskz_loadu_epi8(lanes, plane)
                };
                *acc = _mm512_dpbusd_epi32(*acc, levels, plane);
            }
        }
    }
}

/// `count` bits, a multiple of 8 up to 64.
///
/// # Safety
/// AVX-512BW and VL, and so many bits at `from`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn bits(from: *const u8, count: usize) -> u64 {
    // SAFETY: no more than `count / 8` bytes are read, by the caller's promise all there.
    unsafe {
        match count {
            64 => from.cast::<u64>().read_unaligned(),
            32 => from.cast::<u32>().read_unaligned().into(),
            _ => {
                let bytes = _mm_maskz_loadu_epi8((1 << (count / 8)) - 1, from.cast());
                _mm_cvtsi128_si64(bytes).cast_unsigned()
            }
        }
    }
}
