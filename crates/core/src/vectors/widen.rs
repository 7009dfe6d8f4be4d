//! f16 to f32, compiled for the caller's level.

use half::f16;

/// Writes the values of `from` to `to`, as far as both go. Plain integer arithmetic, which vectorises; no operand is
/// subnormal in f32, so it does not depend on how the processor is told to treat such.
#[inline(always)]
pub fn widen(from: &[f16], to: &mut [f32]) {
    // f16 has an exponent of 5 bits about 15, f32 one of 8 bits about 127, and 13 bits more of mantissa.
    const EXPONENT: u32 = 0x1f << 23;
    const REBIAS: u32 = (127 - 15) << 23;
    // Of exponent 0: the same with 1 in front, from which the 1 is taken off again.
    const LEAST: f32 = f32::from_bits(REBIAS + (1 << 23));
    for (to, from) in to.iter_mut().zip(from) {
        let bits = u32::from(from.to_bits());
        let shifted = (bits & 0x7fff) << 13;
        let exponent = shifted & EXPONENT;
        let normal = shifted + REBIAS;
        let tiny = (f32::from_bits(normal + (1 << 23)) - LEAST).to_bits();
        let beyond = normal + REBIAS;
        let finite = if exponent == 0 { tiny } else { normal };
        let magnitude = if exponent == EXPONENT { beyond } else { finite };
        *to = f32::from_bits(magnitude | (bits & 0x8000) << 16);
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
