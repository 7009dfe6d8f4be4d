//! The Hadamard transform: a row times the ±1 matrix whose entry (i, j) is −1 to the number of ones in i & j.
//!
//! **Exactness.** The transform of 2ᵏ values is k stages; stage s replaces each pair of values 2ˢ apart by its sum
//! and its difference. Every level performs these very additions, each rounded once, so all give the same bytes. (In
//! registers a difference is written `x · (−1) + y` with one rounding, which is `y − x`.)
//!
//! **Passes.** Stages within a register come first, in the pass that also does the first two between registers; later
//! passes do two stages each, so that a value is loaded and stored half as often.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon;
pub(super) mod scalar;

/// The fewest values a transform takes: two of the widest registers.
pub const SHORTEST: usize = 32;

/// Values a kernel may transform.
pub(super) struct View<'a>(&'a mut [f32]);

impl<'a> View<'a> {
    #[inline(always)]
    pub(super) fn checked(values: &'a mut [f32]) -> Self {
        let n = values.len();
        assert!(n.is_power_of_two() && n >= SHORTEST, "hadamard: {n} values are no power of two from 32"); // Check 1
        Self(values)
    }
}

/// Writes a level's `transform` from its registers of `$lanes` values (at most 16): how to load, store, add and
/// subtract them, and `$within`, the stages within one.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! transform {
    ($features:literal, $lanes:literal, $load:ident, $store:ident, $add:ident, $sub:ident, $within:ident) => {
        /// # Safety
        #[doc = concat!("The features ", $features, ", and a view made by `View::checked`.")]
        #[inline]
        #[target_feature(enable = $features)]
        pub(crate) unsafe fn transform(view: View<'_>) {
            // SAFETY: every loop below runs over whole parts of the n values: n is a power of two and at least twice
            // `$lanes` (View, Check 1), and so is every stride up to it; each part is loaded before it is stored.
            unsafe {
                let (values, n) = (view.0.as_mut_ptr(), view.0.len());
                let mut stride = $lanes;
                if n >= 4 * $lanes {
                    for first in (0..n).step_by(4 * $lanes) {
                        let at = |i: usize| values.add(first + i * $lanes);
                        let [a, b, c, d] = [0, 1, 2, 3].map(|i| $within($load(at(i))));
                        let (s, t, u, v) = ($add(a, b), $sub(a, b), $add(c, d), $sub(c, d));
                        $store(at(0), $add(s, u));
                        $store(at(1), $add(t, v));
                        $store(at(2), $sub(s, u));
                        $store(at(3), $sub(t, v));
                    }
                    stride = 4 * $lanes;
                } else {
                    for first in (0..n).step_by($lanes) {
                        $store(values.add(first), $within($load(values.add(first))));
                    }
                }
                if !(n / stride).ilog2().is_multiple_of(2) {
                    for block in (0..n).step_by(2 * stride) {
                        for first in (block..block + stride).step_by($lanes) {
                            let (low, high) = (values.add(first), values.add(first + stride));
                            let (a, b) = ($load(low), $load(high));
                            $store(low, $add(a, b));
                            $store(high, $sub(a, b));
                        }
                    }
                    stride *= 2;
                }
                while stride < n {
                    for block in (0..n).step_by(4 * stride) {
                        for first in (block..block + stride).step_by($lanes) {
                            let at = |i: usize| values.add(first + i * stride);
                            let [a, b, c, d] = [0, 1, 2, 3].map(|i| $load(at(i)));
                            let (s, t, u, v) = ($add(a, b), $sub(a, b), $add(c, d), $sub(c, d));
                            $store(at(0), $add(s, u));
                            $store(at(1), $add(t, v));
                            $store(at(2), $sub(s, u));
                            $store(at(3), $sub(t, v));
                        }
                    }
                    stride *= 4;
                }
            }
        }
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use transform;
