//! AVX2: 8 lanes; at most 12 of 16 registers accumulate.

use std::arch::x86_64::*;

use super::{Sums, View, product};
use crate::simd::GROUP;

product!(
    "avx2",
    8,
    [8, 4, 2],
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_set1_ps,
    _mm256_mul_ps,
    _mm256_add_ps
);
