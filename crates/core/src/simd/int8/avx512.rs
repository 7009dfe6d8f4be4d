//! AVX-512 VNNI: `vpdpbusd` sums four u8 × i8 products into each 32-bit lane, without saturation.

use std::arch::x86_64::*;

use super::{COLUMN, PlaneView, QueryTerms, RowTerms, View};
use crate::simd::{GROUP, TILE};

/// One column's registers: plane 0 (and 1 where a byte holds two codes).
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn unpack<const BITS: usize>(bytes: __m512i, plane: usize) -> __m512i {
    match (BITS, plane) {
        (8, _) => bytes,
        (_, 0) => _mm512_and_si512(bytes, _mm512_set1_epi8(15)),
        _ => _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), _mm512_set1_epi8(15)),
    }
}

/// # Safety
/// AVX-512F, BW and VNNI, and a view made by `View::checked` for codes of BITS bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(crate) unsafe fn survivors<const BITS: usize, const NQ: usize>(
    view: View<'_>,
    rows: &RowTerms,
    terms: &QueryTerms,
) -> [u64; TILE] {
    let mut acc = [[_mm512_setzero_si512(); 4]; NQ];
    // SAFETY: the codes are `columns` columns of COLUMN = 256 bytes (View, Check 1), the tile TILE lanes for
    // each of their planes (Check 2); NQ ≤ TILE.
    unsafe {
        let (mut codes, mut tile) = (view.codes.as_ptr(), view.tile.as_ptr());
        for _ in 0..view.columns {
            let column = codes.cast::<__m512i>();
            let bytes = [
                _mm512_loadu_si512(column),
                _mm512_loadu_si512(column.add(1)),
                _mm512_loadu_si512(column.add(2)),
                _mm512_loadu_si512(column.add(3)),
            ];
            for plane in 0..8 / BITS {
                let rows = bytes.map(|bytes| unpack::<BITS>(bytes, plane));
                for (i, acc) in acc.iter_mut().enumerate() {
                    let q = _mm512_set1_epi32(*tile.add(i));
                    for (acc, row) in acc.iter_mut().zip(rows) {
                        *acc = _mm512_dpbusd_epi32(*acc, row, q);
                    }
                }
                tile = tile.add(TILE);
            }
            codes = codes.add(COLUMN);
        }
    }
    let mut masks = [0; TILE];
    for v in 0..4 {
        // SAFETY: each array has GROUP = 4 × 16 values.
        let (scale, bias, offset) = unsafe {
            (
                _mm512_loadu_ps(rows.scale.as_ptr().add(16 * v)),
                _mm512_loadu_ps(rows.bias.as_ptr().add(16 * v)),
                _mm512_loadu_ps(rows.offset.as_ptr().add(16 * v)),
            )
        };
        for (i, acc) in acc.iter().enumerate() {
            let sum = _mm512_cvtepi32_ps(acc[v]);
            let alpha = _mm512_set1_ps(terms.alpha[i]);
            let product = _mm512_fmadd_ps(alpha, sum, _mm512_set1_ps(terms.beta[i]));
            let rest = _mm512_fmsub_ps(bias, _mm512_set1_ps(terms.gamma[i]), offset);
            let value = _mm512_fmadd_ps(scale, product, rest);
            let pass = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(value, _mm512_set1_ps(terms.limit[i]));
            masks[i] |= u64::from(_cvtmask16_u32(pass)) << (16 * v);
        }
    }
    masks
}

/// # Safety
/// AVX-512F, BW and VNNI, and a view made by `PlaneView::checked` for codes of BITS bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(crate) unsafe fn dots<const BITS: usize>(view: PlaneView<'_>) -> [i32; GROUP] {
    let mut acc = [_mm512_setzero_si512(); 4];
    let mut sums = [0_i32; GROUP];
    // SAFETY: the codes are `columns` columns of COLUMN = 256 bytes (PlaneView, Check 1), the plane one lane
    // for each of their planes (Check 2); `sums` has GROUP = 4 × 16 lanes.
    unsafe {
        let (mut codes, mut plane) = (view.codes.as_ptr(), view.plane.as_ptr());
        for _ in 0..view.columns {
            let column = codes.cast::<__m512i>();
            let bytes = [
                _mm512_loadu_si512(column),
                _mm512_loadu_si512(column.add(1)),
                _mm512_loadu_si512(column.add(2)),
                _mm512_loadu_si512(column.add(3)),
            ];
            for half in 0..8 / BITS {
                let q = _mm512_set1_epi32(*plane);
                for (acc, bytes) in acc.iter_mut().zip(bytes) {
                    *acc = _mm512_dpbusd_epi32(*acc, unpack::<BITS>(bytes, half), q);
                }
                plane = plane.add(1);
            }
            codes = codes.add(COLUMN);
        }
        for (v, acc) in acc.into_iter().enumerate() {
            _mm512_storeu_si512(sums.as_mut_ptr().add(16 * v).cast(), acc);
        }
    }
    sums
}
