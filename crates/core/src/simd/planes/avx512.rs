//! AVX-512: a plane's bits are a mask register as they are; `vpermb` looks up 64 levels; `vpdpbusd` sums four u8 × i8
//! products into each 32-bit lane, without saturation.
//!
//! **Levels** are signed and `vpdpbusd` wants one side unsigned: it sums (level + 128)·q, at most 255·128·65,536 over
//! all lanes, and 128·q apart, at most 2³⁰: no sum overflows, and their difference is Σ level·q.

use std::arch::x86_64::*;

use super::{DotsView, ExpandView, STEP, SumView};

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
/// AVX-512F, BW, VNNI and VBMI, and a view made by `DotsView::checked`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx512vbmi")]
pub(crate) unsafe fn dots(view: DotsView<'_>) -> [i32; 2] {
    let shift = _mm512_set1_epi8(-128);
    // SAFETY: the table has LEVELS = 64 bytes.
    let table = _mm512_xor_si512(unsafe { _mm512_loadu_si512(view.table.as_ptr().cast()) }, shift);
    let mut acc = [_mm512_setzero_si512(); 2];
    let mut shifts = acc;
    let len = view.codes.len();
    for j in (0..len).step_by(BLOCK) {
        let lanes = u64::MAX >> (BLOCK - BLOCK.min(len - j));
        // SAFETY: codes and both planes have `len` values (DotsView, Check 1), and only the lanes below `len` are
        // read; lanes beyond have query 0.
        let (codes, planes) = unsafe {
            (
                _mm512_maskz_loadu_epi8(lanes, view.codes.as_ptr().add(j).cast()),
                [view.high, view.low].map(|plane| _mm512_maskz_loadu_epi8(lanes, plane.as_ptr().add(j))),
            )
        };
        let levels = _mm512_permutexvar_epi8(codes, table);
        for ((acc, shifts), plane) in acc.iter_mut().zip(&mut shifts).zip(planes) {
            *acc = _mm512_dpbusd_epi32(*acc, levels, plane);
            *shifts = _mm512_dpbusd_epi32(*shifts, shift, plane);
        }
    }
    [0, 1].map(|i| _mm512_reduce_add_epi32(_mm512_sub_epi32(acc[i], shifts[i])))
}
