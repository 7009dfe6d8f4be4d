//! f16 to f32, compiled for the caller's level.

use half::f16;

use crate::simd::halves;

/// Writes the values of `from` to `to`, as far as both go.
#[inline(always)]
pub fn widen(from: &[f16], to: &mut [f32]) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = halves::value(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value() {
        let all: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
        let mut values = vec![0.0; all.len()];
        widen(&all, &mut values);
        for (from, to) in all.iter().zip(values) {
            let want = from.to_f32();
            assert!(want.to_bits() == to.to_bits() || want.is_nan() && to.is_nan(), "{from:?} became {to}");
        }
    }
}
