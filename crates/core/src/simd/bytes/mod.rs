//! A f32 query × one row of one byte a value: inner product and squared l2.
//!
//! **Values.** A row's value at dimension j is x̂ⱼ = scale·cⱼ + offset: a product, rounded, and a sum, rounded
//! ([`Row::value`]), the same at every level; a kernel makes them in registers. What follows is as for rows of f32
//! ([`super::f32`]): the rounding of the sum has the same bound.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon;
pub(super) mod scalar;

/// A row of codes, and what turns them into values.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// One byte a dimension.
    pub codes: &'a [u8],
    /// The value of one step of a code.
    pub scale: f32,
    /// The value of code 0.
    pub offset: f32,
}

impl Row<'_> {
    /// The value of a code.
    #[inline(always)]
    pub fn value(&self, code: u8) -> f32 {
        self.scale * f32::from(code) + self.offset
    }
}
