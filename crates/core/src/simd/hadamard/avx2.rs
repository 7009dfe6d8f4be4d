//! AVX2 with FMA: 8 lanes.

use std::arch::x86_64::*;

use super::{View, transform};

/// The three stages within a register: each swaps neighbours 1, 2 or 4 lanes apart and adds the old value, negated
/// in the upper lane of each pair.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn within(x: __m256) -> __m256 {
    let (p, m) = (1.0, -1.0);
    let signs = _mm256_setr_ps(p, m, p, m, p, m, p, m);
    let x = _mm256_fmadd_ps(x, signs, _mm256_permute_ps::<0b10_11_00_01>(x));
    let signs = _mm256_setr_ps(p, p, m, m, p, p, m, m);
    let x = _mm256_fmadd_ps(x, signs, _mm256_permute_ps::<0b01_00_11_10>(x));
    let signs = _mm256_setr_ps(p, p, p, p, m, m, m, m);
    _mm256_fmadd_ps(x, signs, _mm256_permute2f128_ps::<1>(x, x))
}

transform!("avx2,fma", 8, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_add_ps, _mm256_sub_ps, within);
