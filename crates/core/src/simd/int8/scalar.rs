//! The reference twin.

use super::{PlanesView, QUARTER, QueryTerms, RowTerms, View};
use crate::simd::{GROUP, TILE, fastscan};

/// The four codes of row `r` in a column: plane 0 of 8-bit codes, or nibble plane 0 or 1 of 4-bit codes.
#[inline(always)]
fn codes<const BITS: usize>(column: &[u8; 4 * GROUP], r: usize, plane: usize) -> [i32; 4] {
    let byte = |j: usize| {
        let byte = column[4 * r + j];
        i32::from(if BITS == 8 { byte } else { (byte >> (4 * plane)) & 15 })
    };
    [byte(0), byte(1), byte(2), byte(3)]
}

#[inline(always)]
fn dot4(codes: [i32; 4], quad: i32) -> i32 {
    let q = quad.to_le_bytes().map(|byte| i32::from(byte.cast_signed()));
    codes[0] * q[0] + codes[1] * q[1] + codes[2] * q[2] + codes[3] * q[3]
}

/// The sums of each query and row.
#[inline(always)]
fn sums<const BITS: usize, const NQ: usize>(view: View<'_>) -> [[i32; GROUP]; NQ] {
    let planes = 8 / BITS;
    let mut sums = [[0_i32; GROUP]; NQ];
    let (columns, _) = view.codes.as_chunks::<{ 4 * GROUP }>();
    for (t, column) in columns.iter().enumerate().take(view.columns) {
        for plane in 0..planes {
            let quads = &view.tile[(t * planes + plane) * TILE..][..TILE];
            for r in 0..GROUP {
                let codes = codes::<BITS>(column, r, plane);
                for (sum, &quad) in sums.iter_mut().zip(quads) {
                    sum[r] += dot4(codes, quad);
                }
            }
        }
    }
    sums
}

pub(crate) fn survivors<const BITS: usize, const NQ: usize>(
    view: View<'_>,
    rows: &RowTerms,
    terms: &QueryTerms,
) -> [u64; TILE] {
    let sums = sums::<BITS, NQ>(view);
    let mut masks = [0; TILE];
    for (i, sum) in sums.iter().enumerate() {
        for (r, &sum) in sum.iter().enumerate() {
            let value = rows.scale[r] * (terms.alpha[i] * sum as f32 + terms.beta[i])
                + (rows.bias[r] * terms.gamma[i] - rows.offset[r]);
            // Not `>=`: an unordered comparison must survive.
            let pruned = value < terms.limit[i];
            masks[i] |= u64::from(!pruned) << r;
        }
    }
    masks
}

pub(crate) fn scores<const BITS: usize, const NQ: usize>(
    view: View<'_>,
    rows: fastscan::RowTerms<'_>,
    terms: &fastscan::QueryTerms,
    values: &mut [[f32; GROUP]; TILE],
) -> [u64; TILE] {
    let sums = sums::<BITS, NQ>(view);
    let mut masks = [0; TILE];
    for (i, sum) in sums.iter().enumerate() {
        for (r, &sum) in sum.iter().enumerate() {
            let product = terms.alpha[i].mul_add(sum as f32, terms.beta[i]);
            let value = rows.scale[r].mul_add(product, rows.offset[r]);
            values[i][r] = value;
            // Not `>=`: an unordered comparison must survive.
            let pruned = value < terms.limit[i];
            masks[i] |= u64::from(!pruned) << r;
        }
    }
    masks
}

pub(crate) fn dots<const BITS: usize>(view: PlanesView<'_>) -> [[i32; QUARTER]; 2] {
    let halves = 8 / BITS;
    let mut sums = [[0_i32; QUARTER]; 2];
    let (columns, _) = view.codes.as_chunks::<{ 4 * GROUP }>();
    for (t, column) in columns.iter().enumerate().take(view.columns) {
        for half in 0..halves {
            let quads = &view.planes[(t * halves + half) * 2..][..2];
            for r in 0..QUARTER {
                let codes = codes::<BITS>(column, view.quarter * QUARTER + r, half);
                for (sum, &quad) in sums.iter_mut().zip(quads) {
                    sum[r] += dot4(codes, quad);
                }
            }
        }
    }
    sums
}
