//! A f32 query × one row of half precision: inner product and squared l2.
//!
//! Values are widened in registers, which loses nothing; what follows is as for rows of f32 ([`super::f32`]): the
//! rounding of the sum has the same bound. Rows are finite.

use half::f16;

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon;
pub(super) mod scalar;

/// f16 has an exponent of 5 bits about 15, f32 one of 8 bits about 127, and 13 bits more of mantissa.
const EXPONENT: u32 = 0x1f << 23;
const REBIAS: u32 = (127 - 15) << 23;
/// Of exponent 0: the same with 1 in front, from which the 1 is taken off again.
const LEAST: f32 = f32::from_bits(REBIAS + (1 << 23));

/// A value in f32. Plain integer arithmetic, which vectorises; no operand is subnormal in f32, so it does not depend on
/// how the processor is told to treat such.
#[inline(always)]
pub(crate) fn value(from: f16) -> f32 {
    let bits = u32::from(from.to_bits());
    let shifted = (bits & 0x7fff) << 13;
    let exponent = shifted & EXPONENT;
    let normal = shifted + REBIAS;
    let tiny = (f32::from_bits(normal + (1 << 23)) - LEAST).to_bits();
    let beyond = normal + REBIAS;
    let finite = if exponent == 0 { tiny } else { normal };
    let magnitude = if exponent == EXPONENT { beyond } else { finite };
    f32::from_bits(magnitude | (bits & 0x8000) << 16)
}
