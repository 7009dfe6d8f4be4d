//! AVX-512: 16 lanes.

use std::arch::x86_64::*;

use super::{View, transform};

/// The four stages within a register: each swaps neighbours 1, 2, 4 or 8 lanes apart and adds the old value, negated
/// in the upper lane of each pair.
#[inline]
#[target_feature(enable = "avx512f")]
fn within(x: __m512) -> __m512 {
    let (p, m) = (1.0, -1.0);
    let signs = _mm512_setr_ps(p, m, p, m, p, m, p, m, p, m, p, m, p, m, p, m);
    let x = _mm512_fmadd_ps(x, signs, _mm512_permute_ps::<0b10_11_00_01>(x));
    let signs = _mm512_setr_ps(p, p, m, m, p, p, m, m, p, p, m, m, p, p, m, m);
    let x = _mm512_fmadd_ps(x, signs, _mm512_permute_ps::<0b01_00_11_10>(x));
    let signs = _mm512_setr_ps(p, p, p, p, m, m, m, m, p, p, p, p, m, m, m, m);
    let x = _mm512_fmadd_ps(x, signs, _mm512_shuffle_f32x4::<0b10_11_00_01>(x, x));
    let signs = _mm512_setr_ps(p, p, p, p, p, p, p, p, m, m, m, m, m, m, m, m);
    _mm512_fmadd_ps(x, signs, _mm512_shuffle_f32x4::<0b01_00_11_10>(x, x))
}

transform!("avx512f", 16, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_add_ps, _mm512_sub_ps, within);
