//! The reference twin: plain loops in the kernels' own order of dimensions.

use super::{ScoresView, View};
use crate::simd::product::Sums;
use crate::simd::{GROUP, TILE};

/// Partial sums kept apart, so that the compiler may use whatever registers the target has.
const LANES: usize = 16;

#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum(a, b, |x, y| x * y)
}

#[inline(always)]
pub(crate) fn squared_l2(a: &[f32], b: &[f32]) -> f32 {
    sum(a, b, |x, y| (x - y) * (x - y))
}

#[inline(always)]
pub(in crate::simd) fn sum<B: Copy>(a: &[f32], b: &[B], term: impl Fn(f32, B) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (a_blocks, a_tail) = a.as_chunks::<LANES>();
    let (b_blocks, b_tail) = b.as_chunks::<LANES>();
    for (x, y) in a_blocks.iter().zip(b_blocks) {
        for l in 0..LANES {
            lanes[l] += term(x[l], y[l]);
        }
    }
    for (l, (&x, &y)) in a_tail.iter().zip(b_tail).enumerate() {
        lanes[l] += term(x, y);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for l in 0..width {
            lanes[l] += lanes[l + width];
        }
        width /= 2;
    }
    lanes[0]
}

pub(crate) fn survivors<const NQ: usize>(view: View<'_>, limits: &[f32; TILE]) -> [u64; TILE] {
    let mut sums = [[0.0_f32; GROUP]; NQ];
    let (columns, _) = view.panel.as_chunks::<GROUP>();
    let (queries, _) = view.tile.as_chunks::<TILE>();
    for (column, query) in columns.iter().zip(queries).take(view.dim) {
        for (sum, &q) in sums.iter_mut().zip(query) {
            for (s, &x) in sum.iter_mut().zip(column) {
                *s += q * x;
            }
        }
    }
    let mut masks = [0; TILE];
    for ((mask, sum), &limit) in masks.iter_mut().zip(&sums).zip(limits) {
        for (r, (&s, &term)) in sum.iter().zip(view.terms).enumerate() {
            // Not `>=`: an unordered comparison must survive.
            let pruned = s - term < limit;
            *mask |= u64::from(!pruned) << r;
        }
    }
    masks
}

pub(crate) fn scores<const NQ: usize>(
    view: ScoresView<'_>,
    limits: &[f32; TILE],
    scores: &mut Sums,
) -> [u64; TILE] {
    let mut masks = [0; TILE];
    let (columns, _) = view.panel.as_chunks::<GROUP>();
    for (i, ((mask, scores), &limit)) in masks.iter_mut().zip(scores).zip(limits).enumerate().take(NQ) {
        let vector = &view.vectors.values[i * view.vectors.stride..][..view.vectors.depth];
        scores.fill(0.0);
        for (&value, column) in vector.iter().zip(columns) {
            for (score, &x) in scores.iter_mut().zip(column) {
                *score += value * x;
            }
        }
        for (r, (score, &term)) in scores.iter_mut().zip(view.terms).enumerate() {
            *score -= term;
            // Not `>=`: an unordered comparison must survive.
            let pruned = *score < limit;
            *mask |= u64::from(!pruned) << r;
        }
    }
    masks
}
