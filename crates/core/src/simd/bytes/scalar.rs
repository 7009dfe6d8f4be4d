//! The reference twin: plain loops in the kernels' own order of dimensions.

use super::Row;
use crate::simd::f32::scalar::sum;

#[inline(always)]
pub(crate) fn dot(query: &[f32], row: Row<'_>) -> f32 {
    sum(query, row.codes, |q, code| q * row.value(code))
}

#[inline(always)]
pub(crate) fn squared_l2(query: &[f32], row: Row<'_>) -> f32 {
    sum(query, row.codes, |q, code| (q - row.value(code)) * (q - row.value(code)))
}
