//! AVX2, which has no four-way product without saturation: two-way products that cannot reach it.
//!
//! **8 bits.** Even and odd bytes of a column are zero-extended to i16, the query's likewise sign-extended, and
//! `vpmaddwd` sums two products in 32 bits: at most 2·255·128 = 65,280 < 2³¹ in magnitude, exact.
//!
//! **4 bits.** `vpmaddubsw` sums two products of nibble × i8 in 16 saturating bits: at most 2·15·128 = 3,840 in
//! magnitude. One column adds two of them (low and high nibbles) to each 16-bit lane, so [`WIDEN`] = 4 columns
//! reach at most 8·3,840 = 30,720 < 32,767 before they are widened: no step saturates or wraps.

use std::arch::x86_64::*;
use std::ops::Range;

use super::{COLUMN, PlanesView, QUARTER, QueryTerms, RowTerms, View};
use crate::simd::{GROUP, TILE, fastscan};

/// Columns of 8-bit codes whose queries are sign-extended at once.
const BLOCK: usize = 32;
/// Columns of 4-bit codes that 16-bit lanes can sum; see the module's range argument.
const WIDEN: usize = 4;
/// Registers of 32-bit lanes, one lane a row, in a group.
const REGISTERS: usize = GROUP / 8;

type Sums<const NQ: usize> = [[i32; GROUP]; NQ];

/// # Safety
/// AVX2 and FMA, and a view made by `View::checked` for codes of BITS bits.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn survivors<const BITS: usize, const NQ: usize>(
    view: View<'_>,
    rows: &RowTerms,
    terms: &QueryTerms,
) -> [u64; TILE] {
    // SAFETY: the lengths `sums` asks for, by View, Checks 1 and 2; NQ ≤ TILE.
    let sums = unsafe { sums::<BITS, NQ, TILE>(view.codes, view.tile, view.columns, 0..REGISTERS) };
    let mut masks = [0; TILE];
    for v in 0..REGISTERS {
        // SAFETY: each array has GROUP = 8 × 8 values.
        let (scale, bias, offset) = unsafe {
            (
                _mm256_loadu_ps(rows.scale.as_ptr().add(8 * v)),
                _mm256_loadu_ps(rows.bias.as_ptr().add(8 * v)),
                _mm256_loadu_ps(rows.offset.as_ptr().add(8 * v)),
            )
        };
        for (i, sums) in sums.iter().enumerate() {
            // SAFETY: `sums` has GROUP = 8 × 8 lanes.
            let sum = _mm256_cvtepi32_ps(unsafe { _mm256_loadu_si256(sums.as_ptr().add(8 * v).cast()) });
            let alpha = _mm256_set1_ps(terms.alpha[i]);
            let product = _mm256_fmadd_ps(alpha, sum, _mm256_set1_ps(terms.beta[i]));
            let rest = _mm256_fmsub_ps(bias, _mm256_set1_ps(terms.gamma[i]), offset);
            let value = _mm256_fmadd_ps(scale, product, rest);
            let pass = _mm256_cmp_ps::<_CMP_NLT_UQ>(value, _mm256_set1_ps(terms.limit[i]));
            masks[i] |= u64::from(_mm256_movemask_ps(pass).cast_unsigned()) << (8 * v);
        }
    }
    masks
}

/// # Safety
/// AVX2 and FMA, and a view made by `View::checked` for codes of BITS bits.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn scores<const BITS: usize, const NQ: usize>(
    view: View<'_>,
    rows: fastscan::RowTerms<'_>,
    terms: &fastscan::QueryTerms,
    values: &mut [[f32; GROUP]; TILE],
) -> [u64; TILE] {
    // SAFETY: the lengths `sums` asks for, by View, Checks 1 and 2; NQ ≤ TILE.
    let sums = unsafe { sums::<BITS, NQ, TILE>(view.codes, view.tile, view.columns, 0..REGISTERS) };
    let mut masks = [0; TILE];
    for (i, sums) in sums.iter().enumerate() {
        let alpha = _mm256_set1_ps(terms.alpha[i]);
        let beta = _mm256_set1_ps(terms.beta[i]);
        let limit = _mm256_set1_ps(terms.limit[i]);
        for v in 0..REGISTERS {
            // SAFETY: each array has GROUP = 8 × 8 values.
            let value = unsafe {
                let scale = _mm256_loadu_ps(rows.scale.as_ptr().add(8 * v));
                let offset = _mm256_loadu_ps(rows.offset.as_ptr().add(8 * v));
                let sum = _mm256_cvtepi32_ps(_mm256_loadu_si256(sums.as_ptr().add(8 * v).cast()));
                let value = _mm256_fmadd_ps(scale, _mm256_fmadd_ps(alpha, sum, beta), offset);
                _mm256_storeu_ps(values[i].as_mut_ptr().add(8 * v), value);
                value
            };
            let pass = _mm256_cmp_ps::<_CMP_NLT_UQ>(value, limit);
            masks[i] |= u64::from(_mm256_movemask_ps(pass).cast_unsigned()) << (8 * v);
        }
    }
    masks
}

/// # Safety
/// AVX2, and a view made by `PlanesView::checked` for codes of BITS bits.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn dots<const BITS: usize>(view: PlanesView<'_>) -> [[i32; QUARTER]; 2] {
    let first = 2 * view.quarter;
    // SAFETY: the lengths `sums` asks for, by PlanesView, Checks 1 and 2; the registers by Check 3.
    let sums = unsafe { sums::<BITS, 2, 2>(view.codes, view.planes, view.columns, first..first + 2) };
    sums.map(|sums| std::array::from_fn(|r| sums[QUARTER * view.quarter + r]))
}

/// The sums of NQ ≤ STRIDE queries whose lanes lie STRIDE apart, for the rows of an even number of `registers`
/// (or all); 0 for other rows.
///
/// # Safety
/// AVX2, `columns * COLUMN` bytes of codes and `columns * (8 / BITS) * STRIDE` lanes of queries; `registers`
/// ends at most at REGISTERS, and is all or a pair.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn sums<const BITS: usize, const NQ: usize, const STRIDE: usize>(
    codes: &[u8],
    lanes: &[i32],
    columns: usize,
    registers: Range<usize>,
) -> Sums<NQ> {
    let mut sums = [[0; GROUP]; NQ];
    let block = if BITS == 8 { BLOCK } else { WIDEN };
    for start in (0..columns).step_by(block) {
        let count = block.min(columns - start);
        // SAFETY: `start + count` ≤ `columns`, so that both functions find `count` columns of codes and their
        // lanes behind these pointers, by the caller's promise on lengths.
        unsafe {
            let codes = codes.as_ptr().add(start * COLUMN);
            let lanes = lanes.as_ptr().add(start * (8 / BITS) * STRIDE);
            match (BITS, NQ) {
                (8, 1) => bytes::<NQ, STRIDE, 4>(codes, lanes, count, registers.clone(), &mut sums),
                (8, _) => bytes::<NQ, STRIDE, 2>(codes, lanes, count, registers.clone(), &mut sums),
                (_, 1) => nibbles::<NQ, STRIDE, 4>(codes, lanes, count, registers.clone(), &mut sums),
                (_, 2 | 3) => nibbles::<NQ, STRIDE, 2>(codes, lanes, count, registers.clone(), &mut sums),
                _ => nibbles::<NQ, STRIDE, 1>(codes, lanes, count, registers.clone(), &mut sums),
            }
        }
    }
    sums
}

/// Adds `count` columns of 8-bit codes to `sums`, V registers of rows (V divides their number) at a time.
///
/// # Safety
/// AVX2, `count` ≤ BLOCK, `count * COLUMN` bytes at `codes`, `count * STRIDE` lanes at `lanes`;
/// NQ ≤ STRIDE ≤ TILE; `registers` ends at most at REGISTERS.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn bytes<const NQ: usize, const STRIDE: usize, const V: usize>(
    codes: *const u8,
    lanes: *const i32,
    count: usize,
    registers: Range<usize>,
    sums: &mut Sums<NQ>,
) {
    // Dimensions 0 and 2, and 1 and 3, of each lane: pairs of i16.
    let (mut evens, mut odds) = ([0_i32; BLOCK * TILE], [0_i32; BLOCK * TILE]);
    // SAFETY: the caller's promise.
    let lanes = unsafe { std::slice::from_raw_parts(lanes, count * STRIDE) };
    for ((&lane, even), odd) in lanes.iter().zip(&mut evens).zip(&mut odds) {
        *even = ((lane << 24) >> 24) & 0xffff | ((lane << 8) >> 24) << 16;
        *odd = ((lane << 16) >> 24) & 0xffff | (lane >> 24) << 16;
    }
    let low = _mm256_set1_epi16(255);
    for v in registers.step_by(V) {
        let mut acc = [[_mm256_setzero_si256(); V]; NQ];
        for t in 0..count {
            let mut even = [_mm256_setzero_si256(); V];
            let mut odd = even;
            for u in 0..V {
                // SAFETY: t < count, and a column is COLUMN = 8 × 32 bytes, of which v + u < REGISTERS.
                let row = unsafe { _mm256_loadu_si256(codes.add(t * COLUMN + 32 * (v + u)).cast()) };
                even[u] = _mm256_and_si256(row, low);
                odd[u] = _mm256_srli_epi16::<8>(row);
            }
            for (i, acc) in acc.iter_mut().enumerate() {
                // SAFETY: t < count ≤ BLOCK and i < NQ ≤ STRIDE ≤ TILE.
                let (q_even, q_odd) = unsafe {
                    let at = t * STRIDE + i;
                    (_mm256_set1_epi32(*evens.as_ptr().add(at)), _mm256_set1_epi32(*odds.as_ptr().add(at)))
                };
                for ((acc, even), odd) in acc.iter_mut().zip(even).zip(odd) {
                    *acc = _mm256_add_epi32(*acc, _mm256_madd_epi16(even, q_even));
                    *acc = _mm256_add_epi32(*acc, _mm256_madd_epi16(odd, q_odd));
                }
            }
        }
        for (sums, acc) in sums.iter_mut().zip(acc) {
            for (u, acc) in acc.into_iter().enumerate() {
                // SAFETY: `sums` has GROUP = 8 × 8 lanes, and v + u < REGISTERS.
                unsafe { add_to(sums.as_mut_ptr().add(8 * (v + u)), acc) };
            }
        }
    }
}

/// Adds `count` columns of 4-bit codes to `sums`, V registers of rows (V divides their number) at a time.
///
/// # Safety
/// AVX2, `count` ≤ WIDEN, `count * COLUMN` bytes at `codes`, `count * 2 * STRIDE` lanes at `lanes`;
/// NQ ≤ STRIDE; `registers` ends at most at REGISTERS.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn nibbles<const NQ: usize, const STRIDE: usize, const V: usize>(
    codes: *const u8,
    lanes: *const i32,
    count: usize,
    registers: Range<usize>,
    sums: &mut Sums<NQ>,
) {
    let low = _mm256_set1_epi8(15);
    let ones = _mm256_set1_epi16(1);
    for v in registers.step_by(V) {
        let mut acc = [[_mm256_setzero_si256(); V]; NQ];
        for t in 0..count {
            let (mut first, mut second) = ([_mm256_setzero_si256(); V], [_mm256_setzero_si256(); V]);
            for u in 0..V {
                // SAFETY: t < count, and a column is COLUMN = 8 × 32 bytes, of which v + u < REGISTERS.
                let row = unsafe { _mm256_loadu_si256(codes.add(t * COLUMN + 32 * (v + u)).cast()) };
                first[u] = _mm256_and_si256(row, low);
                second[u] = _mm256_and_si256(_mm256_srli_epi16::<4>(row), low);
            }
            for (plane, rows) in [first, second].into_iter().enumerate() {
                for (i, acc) in acc.iter_mut().enumerate() {
                    // SAFETY: t < count, plane < 2, i < NQ ≤ STRIDE.
                    let q = _mm256_set1_epi32(unsafe { *lanes.add((2 * t + plane) * STRIDE + i) });
                    for (acc, row) in acc.iter_mut().zip(rows) {
                        *acc = _mm256_add_epi16(*acc, _mm256_maddubs_epi16(row, q));
                    }
                }
            }
        }
        for (sums, acc) in sums.iter_mut().zip(acc) {
            for (u, acc) in acc.into_iter().enumerate() {
                // SAFETY: `sums` has GROUP = 8 × 8 lanes, and v + u < REGISTERS.
                unsafe { add_to(sums.as_mut_ptr().add(8 * (v + u)), _mm256_madd_epi16(acc, ones)) };
            }
        }
    }
}

/// # Safety
/// AVX2, and 8 lanes at `sums`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add_to(sums: *mut i32, acc: __m256i) {
    // SAFETY: the caller's promise.
    unsafe {
        let sums = sums.cast::<__m256i>();
        _mm256_storeu_si256(sums, _mm256_add_epi32(_mm256_loadu_si256(sums), acc));
    }
}
