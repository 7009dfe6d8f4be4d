//! AVX-512 VNNI: `vpdpbusd` sums four u8 × i8 products into each 32-bit lane, without saturation.

use std::arch::x86_64::*;

use super::{COLUMN, PlanesView, QUARTER, QueryTerms, RowTerms, View};
use crate::simd::{GROUP, TILE, fastscan};

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

/// The sums of a tile: for each query, a group's rows in four registers.
///
/// # Safety
/// AVX-512F, BW and VNNI, and a view made by `View::checked` for codes of BITS bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn sums<const BITS: usize, const NQ: usize>(view: View<'_>) -> [[__m512i; 4]; NQ] {
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
    acc
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
    // SAFETY: the caller's features and view.
    let acc = unsafe { sums::<BITS, NQ>(view) };
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
/// AVX-512F, BW and VNNI, and a view made by `View::checked` for codes of BITS bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(crate) unsafe fn scores<const BITS: usize, const NQ: usize>(
    view: View<'_>,
    rows: fastscan::RowTerms<'_>,
    terms: &fastscan::QueryTerms,
    values: &mut [[f32; GROUP]; TILE],
) -> [u64; TILE] {
    // SAFETY: the caller's features and view.
    let acc = unsafe { sums::<BITS, NQ>(view) };
    let mut masks = [0; TILE];
    for (i, acc) in acc.into_iter().enumerate() {
        let alpha = _mm512_set1_ps(terms.alpha[i]);
        let beta = _mm512_set1_ps(terms.beta[i]);
        let limit = _mm512_set1_ps(terms.limit[i]);
        let mut found = [_mm512_setzero_ps(); 4];
        let mut mask = 0;
        for (v, sums) in acc.into_iter().enumerate() {
            // SAFETY: each array has GROUP = 4 × 16 values.
            let (scale, offset) = unsafe {
                (
                    _mm512_loadu_ps(rows.scale.as_ptr().add(16 * v)),
                    _mm512_loadu_ps(rows.offset.as_ptr().add(16 * v)),
                )
            };
            let product = _mm512_fmadd_ps(alpha, _mm512_cvtepi32_ps(sums), beta);
            found[v] = _mm512_fmadd_ps(scale, product, offset);
            let pass = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(found[v], limit);
            mask |= u64::from(_cvtmask16_u32(pass)) << (16 * v);
        }
        if mask != 0 {
            for (v, found) in found.into_iter().enumerate() {
                // SAFETY: the array has GROUP = 4 × 16 values.
                unsafe { _mm512_storeu_ps(values[i].as_mut_ptr().add(16 * v), found) };
            }
        }
        masks[i] = mask;
    }
    masks
}

/// # Safety
/// AVX-512F, BW and VNNI, and a view made by `PlanesView::checked` for codes of BITS bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(crate) unsafe fn dots<const BITS: usize>(view: PlanesView<'_>) -> [[i32; QUARTER]; 2] {
    // Two accumulators a plane, taken in turn, so that no sum waits for the one before.
    let mut acc = [[_mm512_setzero_si512(); 2]; 2];
    let mut sums = [[0_i32; QUARTER]; 2];
    // SAFETY: the codes are `columns` columns of COLUMN = 4 × 64 bytes (PlanesView, Check 1), of which a quarter
    // (Check 3) is one register; the planes have two lanes for each of their halves (Check 2); an array of
    // QUARTER = 16 lanes is one register.
    unsafe {
        let (mut codes, mut planes) = (view.codes.as_ptr().add(64 * view.quarter), view.planes.as_ptr());
        for t in 0..view.columns {
            let bytes = _mm512_loadu_si512(codes.cast());
            for half in 0..8 / BITS {
                let rows = unpack::<BITS>(bytes, half);
                let turn = (t + half) % 2;
                for (p, acc) in acc.iter_mut().enumerate() {
                    acc[turn] = _mm512_dpbusd_epi32(acc[turn], rows, _mm512_set1_epi32(*planes.add(p)));
                }
                planes = planes.add(2);
            }
            codes = codes.add(COLUMN);
        }
        for (sums, [even, odd]) in sums.iter_mut().zip(acc) {
            _mm512_storeu_si512(sums.as_mut_ptr().cast(), _mm512_add_epi32(even, odd));
        }
    }
    sums
}
