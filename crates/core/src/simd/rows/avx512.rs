//! AVX-512 VNNI: `vpdpbusd` sums four u8 × i8 products into each 32-bit lane, without saturation; masked tails.

use std::arch::x86_64::*;

use super::View;

/// Bytes of a register.
const BLOCK: usize = 64;

/// The first `count` values from `from` on, up to a register; zeros beyond.
///
/// # Safety
/// AVX-512BW, and so many values (at most BLOCK are read).
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn first<T>(from: *const T, count: usize) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        if count >= BLOCK {
            _mm512_loadu_si512(from.cast())
        } else {
            _mm512_maskz_loadu_epi8((1 << count) - 1, from.cast())
        }
    }
}

/// # Safety
/// AVX-512F, BW and VNNI, and a view made by `View::checked` for codes of BITS bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(crate) unsafe fn dots<const BITS: usize>(view: View<'_>) -> [i32; 2] {
    let (bytes, dim) = (view.row.len(), view.high.len());
    let planes = [view.high.as_ptr(), view.low.as_ptr()];
    let mut acc = [_mm512_setzero_si512(); 2];
    let nibble = _mm512_set1_epi8(15);
    // SAFETY: j < `bytes`, of which `first` reads no more; a plane has `bytes` values and, where bytes are two codes,
    // `dim` − `bytes` ≤ `bytes` more (View, Checks 1 and 2), of which at most those from `bytes` + j on are read.
    unsafe {
        let mut j = 0;
        while j < bytes {
            let row = first(view.row.as_ptr().add(j), bytes - j);
            if BITS == 8 {
                for (acc, plane) in acc.iter_mut().zip(planes) {
                    *acc = _mm512_dpbusd_epi32(*acc, row, first(plane.add(j), bytes - j));
                }
            } else {
                let near = _mm512_and_si512(row, nibble);
                let far = _mm512_and_si512(_mm512_srli_epi16::<4>(row), nibble);
                for (acc, plane) in acc.iter_mut().zip(planes) {
                    *acc = _mm512_dpbusd_epi32(*acc, near, first(plane.add(j), bytes - j));
                    // (The last byte may have no second dimension: then nothing is left to read.)
                    *acc = _mm512_dpbusd_epi32(*acc, far, first(plane.add(bytes + j), dim - bytes - j));
                }
            }
            j += BLOCK;
        }
    }
    acc.map(|acc| _mm512_reduce_add_epi32(acc))
}
