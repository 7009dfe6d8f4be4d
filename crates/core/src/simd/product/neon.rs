//! NEON: 4 lanes; at most 24 of 32 registers accumulate.

use std::arch::aarch64::*;

use super::{Sums, View, product};
use crate::simd::GROUP;

product!("neon", 4, [16, 8, 4], vld1q_f32, vst1q_f32, vdupq_n_f32, vmulq_f32, vaddq_f32);
