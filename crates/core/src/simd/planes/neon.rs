//! NEON with the dot-product extension: `sdot` sums four i8 × i8 products into each 32-bit lane.
//!
//! **Planes.** With at most 7 planes a value is at most 127, an i8 as it is. The first of 8 planes is summed apart.
//!
//! **Levels** less 128 are i8, as queries are: `sdot` takes both, and 128·Σ query is added.

use std::arch::aarch64::*;

use super::{DotsView, ExpandView, LEVELS, MAX_PLANES, SumView};
use crate::simd::int8::neon::sdot;

/// Dimensions of a register.
const BLOCK: usize = 16;

/// Bytes whose byte j is all ones iff bit j of the word is 1.
#[inline]
#[target_feature(enable = "neon")]
fn spread(word: [u8; 2]) -> uint8x16_t {
    // 1 << (j % 8)
    let bit_of = vreinterpretq_u8_u64(vdupq_n_u64(0x8040_2010_0804_0201));
    vtstq_u8(vcombine_u8(vdup_n_u8(word[0]), vdup_n_u8(word[1])), bit_of)
}

/// # Safety
/// NEON and dotprod, and a view made by `SumView::checked`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
pub(crate) unsafe fn sum(view: SumView<'_>) -> i32 {
    // SAFETY: the caller's features; both parts hold what `SumView::checked` checked of the whole.
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
#[target_feature(enable = "neon,dotprod")]
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
#[target_feature(enable = "neon,dotprod")]
unsafe fn segment_sum<const A: usize>(view: SumView<'_>, start: usize, end: usize) -> i32 {
    let mut acc = [vdupq_n_s32(0); 2];
    // SAFETY: plane p < A has bits up to `end` where `starts` says (Checks 2 and 4), and as many weights exist
    // (Check 2). A step reads 2 × BLOCK = 32 bits and weights from j ≤ end − 32 on, all being multiples of 32.
    unsafe {
        let planes = view.starts::<A>();
        for j in (start..end).step_by(2 * BLOCK) {
            for (half, acc) in acc.iter_mut().enumerate() {
                let j = j + half * BLOCK;
                let mut row = vdupq_n_u8(0);
                for plane in planes {
                    let set = spread(plane.add(j / 8).cast::<[u8; 2]>().read());
                    row = vsubq_u8(vaddq_u8(row, row), set); // all ones is −1
                }
                *acc = sdot(*acc, vreinterpretq_s8_u8(row), vld1q_s8(view.weights.as_ptr().add(j)));
            }
        }
    }
    vaddvq_s32(vaddq_s32(acc[0], acc[1]))
}

/// # Safety
/// NEON, and a view made by `ExpandView::checked`.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) unsafe fn expand(view: ExpandView<'_>) {
    let (words, last) = view.bits.as_chunks::<{ BLOCK / 8 }>();
    let (blocks, rest) = view.codes.as_chunks_mut::<BLOCK>();
    let whole = blocks.len();
    for (codes, &word) in blocks.iter_mut().zip(words) {
        // SAFETY: NEON.
        unsafe { or_into(codes, word, view.value) };
    }
    if rest.is_empty() {
        return;
    }
    // The bits of an incomplete block: a whole word, or what is left of one.
    let mut word = [0; BLOCK / 8];
    word.iter_mut().zip(words.get(whole).map_or(last, |word| word)).for_each(|(to, &from)| *to = from);
    let mut codes = [0; BLOCK];
    // SAFETY: NEON.
    unsafe { or_into(&mut codes, word, view.value) };
    rest.iter_mut().zip(codes).for_each(|(to, from)| *to |= from);
}

/// # Safety
/// NEON.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn or_into(codes: &mut [u8; BLOCK], word: [u8; 2], value: u8) {
    // SAFETY: `codes` has BLOCK = 16 bytes.
    unsafe {
        let new = vandq_u8(spread(word), vdupq_n_u8(value));
        vst1q_u8(codes.as_mut_ptr(), vorrq_u8(vld1q_u8(codes.as_ptr()), new));
    }
}

/// # Safety
/// NEON and dotprod, and a view made by `DotsView::checked`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
pub(crate) unsafe fn dots(view: DotsView<'_>) -> [i32; 2] {
    let mut acc = [vdupq_n_s32(0); 2];
    let mut shifts = acc;
    view.blocks::<BLOCK>(
        // SAFETY: NEON.
        |view| unsafe { expand(view) },
        // SAFETY: NEON and dotprod.
        |codes, table, high, low| unsafe { block_dots(codes, table, [high, low], &mut acc, &mut shifts) },
    );
    [0, 1].map(|i| vaddvq_s32(acc[i]) + 128 * vaddvq_s32(shifts[i]))
}

/// # Safety
/// NEON and dotprod.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn block_dots(
    codes: &[u8; BLOCK],
    table: &[u8; LEVELS],
    planes: [&[i8; BLOCK]; 2],
    acc: &mut [int32x4_t; 2],
    shifts: &mut [int32x4_t; 2],
) {
    // SAFETY: BLOCK = 16 values each, and a table of LEVELS = 64.
    unsafe {
        let levels = vqtbl4q_u8(vld1q_u8_x4(table.as_ptr()), vld1q_u8(codes.as_ptr()));
        let levels = vreinterpretq_s8_u8(veorq_u8(levels, vdupq_n_u8(128)));
        for ((acc, shifts), plane) in acc.iter_mut().zip(shifts).zip(planes) {
            let plane = vld1q_s8(plane.as_ptr());
            *acc = sdot(*acc, levels, plane);
            *shifts = sdot(*shifts, vdupq_n_s8(1), plane);
        }
    }
}
