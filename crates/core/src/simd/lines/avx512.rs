//! AVX-512: `vpdpbusd` sums four u8 × i8 products into each 32-bit lane, without saturation; a line is a register.

use std::arch::x86_64::*;

use super::{LINE, TOGETHER, View};

/// # Safety
/// AVX-512F, BW and VNNI, and a view made by `View::checked` for codes of BITS bits and as many sums.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
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
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn together<const BITS: usize>(rows: [*const u8; TOGETHER], view: View<'_>) -> [[i32; TOGETHER]; 2] {
    let mut acc = [[_mm512_setzero_si512(); TOGETHER]; 2];
    let nibble = _mm512_set1_epi8(15);
    for line in 0..view.lines {
        // SAFETY: `line` is below `lines`, and each plane has 64 values for it, or 128 of 4 bits.
        unsafe {
            let at = line * LINE * 8 / BITS;
            let planes = [view.high, view.low].map(|plane| plane.as_ptr().add(at));
            let first = planes.map(|plane| _mm512_loadu_si512(plane.cast()));
            let codes = rows.map(|row| _mm512_loadu_si512(row.add(line * LINE).cast()));
            if BITS == 8 {
                for (acc, first) in acc.iter_mut().zip(first) {
                    for (acc, codes) in acc.iter_mut().zip(codes) {
                        *acc = _mm512_dpbusd_epi32(*acc, codes, first);
                    }
                }
            } else {
                let second = planes.map(|plane| _mm512_loadu_si512(plane.add(LINE).cast()));
                let lows = codes.map(|codes| _mm512_and_si512(codes, nibble));
                let highs = codes.map(|codes| _mm512_and_si512(_mm512_srli_epi16::<4>(codes), nibble));
                for ((acc, first), second) in acc.iter_mut().zip(first).zip(second) {
                    for ((acc, low), high) in acc.iter_mut().zip(lows).zip(highs) {
                        *acc = _mm512_dpbusd_epi32(*acc, low, first);
                        *acc = _mm512_dpbusd_epi32(*acc, high, second);
                    }
                }
            }
        }
    }
    let [high, low] = acc;
    [total(high), total(low)]
}

/// The sum of the lanes of each.
#[inline]
#[target_feature(enable = "avx512f")]
fn total(acc: [__m512i; TOGETHER]) -> [i32; TOGETHER] {
    let [a, b, c, d] =
        acc.map(|acc| _mm256_add_epi32(_mm512_castsi512_si256(acc), _mm512_extracti64x4_epi64::<1>(acc)));
    let sums = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    let sums = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
    // SAFETY: as many bytes.
    unsafe { std::mem::transmute::<__m128i, [i32; TOGETHER]>(sums) }
}
