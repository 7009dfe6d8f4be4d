//! NEON: 4 lanes.

use std::arch::aarch64::*;

use super::{View, transform};

/// The two stages within a register: each swaps neighbours 1 or 2 lanes apart and adds the old value, negated in the
/// upper lane of each pair.
#[inline]
#[target_feature(enable = "neon")]
fn within(x: float32x4_t) -> float32x4_t {
    const SIGNS: [[f32; 4]; 2] = [[1.0, -1.0, 1.0, -1.0], [1.0, 1.0, -1.0, -1.0]];
    // SAFETY: 4 values are loaded from arrays of 4.
    let [one, two] = unsafe { [vld1q_f32(SIGNS[0].as_ptr()), vld1q_f32(SIGNS[1].as_ptr())] };
    let x = vfmaq_f32(vrev64q_f32(x), x, one);
    vfmaq_f32(vextq_f32::<2>(x, x), x, two)
}

transform!("neon", 4, vld1q_f32, vst1q_f32, vaddq_f32, vsubq_f32, within);
