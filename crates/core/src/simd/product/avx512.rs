//! AVX-512: 16 lanes; 24 of 32 registers accumulate.

use std::arch::x86_64::*;

use super::{Sums, View, product};
use crate::simd::GROUP;

product!(
    "avx512f",
    16,
    [4, 4, 4],
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_set1_ps,
    _mm512_mul_ps,
    _mm512_add_ps
);
