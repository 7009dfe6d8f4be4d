//! NEON with the dot-product extension: `sdot` sums four i8 × i8 products into each 32-bit lane.
//!
//! **8 bits.** `sdot` wants signed codes: c ⊕ 0x80 read as i8 is c − 128, so it sums Σ(c−128)·q, in magnitude at
//! most 128·128·65,536 = 2³⁰. The lanes start at 128·Σq, also at most 2³⁰ in magnitude, and so end at Σc·q, which
//! fits (see the family's ranges); a partial sum that were to wrap would come back, for lanes add modulo 2³².
//!
//! **4 bits.** A nibble is an i8 as it is: no shift.

use std::arch::aarch64::*;
use std::arch::asm;

use super::{COLUMN, PlanesView, QUARTER, QueryTerms, RowTerms, View};
use crate::simd::f32::neon::not_less;
use crate::simd::{GROUP, TILE, fastscan};

/// Registers of 32-bit lanes, one lane a row, in a group.
const REGISTERS: usize = GROUP / 4;

/// Adds to each 32-bit lane the products of its four bytes. (The intrinsic `vdotq_s32` is not stable yet.)
#[inline]
#[target_feature(enable = "neon,dotprod")]
pub(crate) fn sdot(mut acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: reads and writes the named registers only.
    unsafe {
        asm!(
            "sdot {acc:v}.4s, {a:v}.16b, {b:v}.16b",
            acc = inlateout(vreg) acc, a = in(vreg) a, b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    acc
}

/// # Safety
/// NEON and dotprod, and a view made by `View::checked` for codes of BITS bits.
#[inline]
#[target_feature(enable = "neon,dotprod")]
pub(crate) unsafe fn survivors<const BITS: usize, const NQ: usize>(
    view: View<'_>,
    rows: &RowTerms,
    terms: &QueryTerms,
) -> [u64; TILE] {
    // At most 24 of the 32 registers accumulate; the others hold rows and queries.
    // SAFETY: the caller's features and view.
    unsafe {
        match NQ {
            1 => blocks::<BITS, NQ, 16>(view, rows, terms),
            2 | 3 => blocks::<BITS, NQ, 8>(view, rows, terms),
            _ => blocks::<BITS, NQ, 4>(view, rows, terms),
        }
    }
}

/// The group in sub-blocks of V registers of rows; V divides 16.
///
/// # Safety
/// As `survivors`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn blocks<const BITS: usize, const NQ: usize, const V: usize>(
    view: View<'_>,
    rows: &RowTerms,
    terms: &QueryTerms,
) -> [u64; TILE] {
    let mut masks = [0; TILE];
    // SAFETY: the lengths both functions ask for, by View, Checks 1 and 2; NQ ≤ TILE, and V divides REGISTERS.
    let starts = unsafe { starts::<BITS, NQ, TILE>(view.tile, view.columns) };
    for first in (0..REGISTERS).step_by(V) {
        // SAFETY: as above.
        let acc = unsafe { sums::<BITS, NQ, TILE, V>(view.codes, view.tile, view.columns, first, starts) };
        for v in 0..V {
            let row = 4 * (first + v);
            // SAFETY: each array has GROUP = 4 × REGISTERS values, and first + v < REGISTERS.
            let (scale, bias, offset) = unsafe {
                (
                    vld1q_f32(rows.scale.as_ptr().add(row)),
                    vld1q_f32(rows.bias.as_ptr().add(row)),
                    vld1q_f32(rows.offset.as_ptr().add(row)),
                )
            };
            for (i, acc) in acc.iter().enumerate() {
                let sum = vcvtq_f32_s32(acc[v]);
                let product = vfmaq_f32(vdupq_n_f32(terms.beta[i]), vdupq_n_f32(terms.alpha[i]), sum);
                let rest = vfmaq_f32(vnegq_f32(offset), bias, vdupq_n_f32(terms.gamma[i]));
                let value = vfmaq_f32(rest, scale, product);
                masks[i] |= not_less(value, vdupq_n_f32(terms.limit[i])) << row;
            }
        }
    }
    masks
}

/// # Safety
/// NEON and dotprod, and a view made by `View::checked` for codes of BITS bits.
#[inline]
#[target_feature(enable = "neon,dotprod")]
pub(crate) unsafe fn scores<const BITS: usize, const NQ: usize>(
    view: View<'_>,
    rows: fastscan::RowTerms<'_>,
    terms: &fastscan::QueryTerms,
    values: &mut [[f32; GROUP]; TILE],
) -> [u64; TILE] {
    // As `survivors`. SAFETY: the caller's features and view.
    unsafe {
        match NQ {
            1 => score_blocks::<BITS, NQ, 16>(view, rows, terms, values),
            2 | 3 => score_blocks::<BITS, NQ, 8>(view, rows, terms, values),
            _ => score_blocks::<BITS, NQ, 4>(view, rows, terms, values),
        }
    }
}

/// The group in sub-blocks of V registers of rows; V divides 16.
///
/// # Safety
/// As `scores`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn score_blocks<const BITS: usize, const NQ: usize, const V: usize>(
    view: View<'_>,
    rows: fastscan::RowTerms<'_>,
    terms: &fastscan::QueryTerms,
    values: &mut [[f32; GROUP]; TILE],
) -> [u64; TILE] {
    let mut masks = [0; TILE];
    // SAFETY: the lengths both functions ask for, by View, Checks 1 and 2; NQ ≤ TILE, and V divides REGISTERS.
    let starts = unsafe { starts::<BITS, NQ, TILE>(view.tile, view.columns) };
    for first in (0..REGISTERS).step_by(V) {
        // SAFETY: as above.
        let acc = unsafe { sums::<BITS, NQ, TILE, V>(view.codes, view.tile, view.columns, first, starts) };
        for (i, acc) in acc.into_iter().enumerate() {
            let (alpha, beta) = (vdupq_n_f32(terms.alpha[i]), vdupq_n_f32(terms.beta[i]));
            let limit = vdupq_n_f32(terms.limit[i]);
            for (v, sums) in acc.into_iter().enumerate() {
                let row = 4 * (first + v);
                // SAFETY: each array has GROUP = 4 × REGISTERS values, and first + v < REGISTERS.
                let value = unsafe {
                    let scale = vld1q_f32(rows.scale.as_ptr().add(row));
                    let offset = vld1q_f32(rows.offset.as_ptr().add(row));
                    let product = vfmaq_f32(beta, alpha, vcvtq_f32_s32(sums));
                    let value = vfmaq_f32(offset, scale, product);
                    vst1q_f32(values[i].as_mut_ptr().add(row), value);
                    value
                };
                masks[i] |= not_less(value, limit) << row;
            }
        }
    }
    masks
}

/// # Safety
/// NEON and dotprod, and a view made by `PlanesView::checked` for codes of BITS bits.
#[inline]
#[target_feature(enable = "neon,dotprod")]
pub(crate) unsafe fn dots<const BITS: usize>(view: PlanesView<'_>) -> [[i32; QUARTER]; 2] {
    let mut lanes = [[0_i32; QUARTER]; 2];
    // SAFETY: the lengths both functions ask for, by PlanesView, Checks 1 and 2; a quarter is 4 registers, and
    // the four quarters (Check 3) are all REGISTERS.
    unsafe {
        let starts = starts::<BITS, 2, 2>(view.planes, view.columns);
        let acc = sums::<BITS, 2, 2, 4>(view.codes, view.planes, view.columns, 4 * view.quarter, starts);
        for (lanes, acc) in lanes.iter_mut().zip(acc) {
            for (v, acc) in acc.into_iter().enumerate() {
                vst1q_s32(lanes.as_mut_ptr().add(4 * v), acc);
            }
        }
    }
    lanes
}

/// What the lanes of each query start at: 128·Σq for 8-bit codes, 0 for 4-bit ones.
///
/// # Safety
/// NEON and dotprod, and `columns * (8 / BITS) * STRIDE` lanes of queries; NQ ≤ STRIDE.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn starts<const BITS: usize, const NQ: usize, const STRIDE: usize>(
    lanes: &[i32],
    columns: usize,
) -> [int32x4_t; NQ] {
    let mut starts = [vdupq_n_s32(0); NQ];
    if BITS == 8 {
        // −128 is an i8 and 128 is not: sum −128·q, and negate.
        let shift = vdupq_n_s8(-128);
        for t in 0..columns {
            for (i, start) in starts.iter_mut().enumerate() {
                // SAFETY: t < columns and i < NQ ≤ STRIDE.
                let q = unsafe { vdupq_n_s32(*lanes.as_ptr().add(t * STRIDE + i)) };
                *start = sdot(*start, shift, vreinterpretq_s8_s32(q));
            }
        }
        starts = starts.map(|start| vnegq_s32(start));
    }
    starts
}

/// The sums of V registers of rows from register `first` on, for NQ queries whose lanes lie STRIDE apart.
///
/// # Safety
/// NEON and dotprod, `columns * COLUMN` bytes of codes and `columns * (8 / BITS) * STRIDE` lanes of queries;
/// NQ ≤ STRIDE and `first + V` ≤ REGISTERS.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn sums<const BITS: usize, const NQ: usize, const STRIDE: usize, const V: usize>(
    codes: &[u8],
    lanes: &[i32],
    columns: usize,
    first: usize,
    starts: [int32x4_t; NQ],
) -> [[int32x4_t; V]; NQ] {
    let mut acc = starts.map(|start| [start; V]);
    // SAFETY: a column is COLUMN = 16 × REGISTERS bytes, of which V registers from `first` are read; the lanes end
    // as the caller promises.
    unsafe {
        let (codes, mut lanes) = (codes.as_ptr(), lanes.as_ptr());
        for t in 0..columns {
            let mut bytes = [vdupq_n_u8(0); V];
            for (v, bytes) in bytes.iter_mut().enumerate() {
                *bytes = vld1q_u8(codes.add(t * COLUMN + 16 * (first + v)));
            }
            for plane in 0..8 / BITS {
                let rows = bytes.map(|bytes| unpack::<BITS>(bytes, plane));
                for (i, acc) in acc.iter_mut().enumerate() {
                    let q = vreinterpretq_s8_s32(vdupq_n_s32(*lanes.add(i)));
                    for (acc, row) in acc.iter_mut().zip(rows) {
                        *acc = sdot(*acc, row, q);
                    }
                }
                lanes = lanes.add(STRIDE);
            }
        }
    }
    acc
}

/// One register of signed codes: 8-bit codes less 128, or one of a byte's two nibbles.
#[inline]
#[target_feature(enable = "neon")]
fn unpack<const BITS: usize>(bytes: uint8x16_t, plane: usize) -> int8x16_t {
    vreinterpretq_s8_u8(match (BITS, plane) {
        (8, _) => veorq_u8(bytes, vdupq_n_u8(128)),
        (_, 0) => vandq_u8(bytes, vdupq_n_u8(15)),
        _ => vshrq_n_u8::<4>(bytes),
    })
}
