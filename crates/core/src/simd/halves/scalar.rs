//! The reference twin: plain loops in the kernels' own order of dimensions.

use half::f16;

use super::value;
use crate::simd::f32::scalar::sum;

#[inline(always)]
pub(crate) fn dot(query: &[f32], row: &[f16]) -> f32 {
    sum(query, row, |q, half| q * value(half))
}

#[inline(always)]
pub(crate) fn squared_l2(query: &[f32], row: &[f16]) -> f32 {
    sum(query, row, |q, half| (q - value(half)) * (q - value(half)))
}
