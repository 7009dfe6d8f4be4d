//! One vector's code, as published: plain f32 arithmetic in a fixed order, so that every level, thread count
//! and platform gives the same bytes.

use counterpoint_core::simd::int8::Bits;
use counterpoint_core::simd::{Simd, Work};
use counterpoint_core::vectors::InputError;
use half::f16;

/// Below this many times the largest code, a range would flush to zero as an f16 scale.
const SMALLEST_STEP: f32 = 7e-5;

/// The constants of one encoded vector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Constants {
    /// s: the value of one code step.
    pub scale: f16,
    /// b: the value of code 0.
    pub bias: f16,
    /// ‖s·c + b‖², the squared length of the decoded vector around the mean.
    pub square: f32,
    /// s·‖c − (2ᴮ−1)/2‖: how far the codes reach around their middle, rounded up.
    pub radius: f32,
}

/// Encodes a centred vector; `centred` holds x' = x − μ.
pub struct Encode<'a> {
    /// x'.
    pub centred: &'a [f32],
    /// The width of a code.
    pub bits: Bits,
    /// Where the codes go, one a byte.
    pub codes: &'a mut [u8],
    /// The vector's number in its input, for the error.
    pub row: usize,
}

impl Work for Encode<'_> {
    type Output = Result<Constants, InputError>;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Self::Output {
        let Self { centred, bits, codes, row } = self;
        let (low, high) = range(centred);
        let largest = f32::from(bits.max_code());
        let bias = f16::from_f32(low);
        let wide = high - low > SMALLEST_STEP * largest;
        let scale = if wide { f16::from_f32((high - low) / largest) } else { f16::ONE };
        if !(bias.is_finite() && scale.is_finite()) {
            let value = if bias.is_finite() { high } else { low };
            return Err(InputError::BeyondF16 { row, value });
        }
        let (b, s) = (bias.to_f32(), scale.to_f32());
        for (code, &value) in codes.iter_mut().zip(centred) {
            *code = round((value - b) / s, largest);
        }
        // Exact in integers (d ≤ 65,536), then one rounding.
        let sum: u32 = codes.iter().map(|&c| u32::from(c)).sum();
        let squares: u64 = codes.chunks(1024).map(|part| u64::from(squares(part))).sum();
        let (sum, squares, count) = (f64::from(sum), squares as f64, codes.len() as f64);
        let (b, s, mid) = (f64::from(b), f64::from(s), f64::from(largest) / 2.0);
        let square = (s * s * squares + 2.0 * s * b * sum + count * b * b).max(0.0) as f32;
        let radius = s * (squares - 2.0 * mid * sum + count * mid * mid).max(0.0).sqrt();
        Ok(Constants { scale, bias, square, radius: radius as f32 * 1.000_001 })
    }
}

fn squares(part: &[u8]) -> u32 {
    part.iter().map(|&c| u32::from(c) * u32::from(c)).sum()
}

/// Rounds half away from zero and clamps to 0..=largest: `f32::round` in a form that vectorises.
#[inline(always)]
fn round(value: f32, largest: f32) -> u8 {
    let value = value.clamp(-1.0, largest + 1.0);
    let whole = value.trunc();
    let up = if value - whole >= 0.5 { 1.0 } else { 0.0 };
    (whole + up).clamp(0.0, largest) as u8
}

/// The least and the largest value; (0, 0) of none.
#[inline(always)]
fn range(values: &[f32]) -> (f32, f32) {
    const LANES: usize = 16;
    let first = values.first().copied().unwrap_or(0.0);
    let (mut low, mut high) = ([first; LANES], [first; LANES]);
    let (blocks, tail) = values.as_chunks::<LANES>();
    for block in blocks {
        for l in 0..LANES {
            low[l] = if block[l] < low[l] { block[l] } else { low[l] };
            high[l] = if block[l] > high[l] { block[l] } else { high[l] };
        }
    }
    let low = low.iter().chain(tail).fold(first, |least, &v| if v < least { v } else { least });
    let high = high.iter().chain(tail).fold(first, |most, &v| if v > most { v } else { most });
    (low, high)
}

#[cfg(test)]
mod tests {
    use counterpoint_core::simd::{Level, run};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rounds_half_away_from_zero(value in -20.0_f32..300.0, half in any::<bool>()) {
            let value = if half { value.trunc() + 0.5 } else { value };
            prop_assert_eq!(round(value, 255.0), value.round().clamp(0.0, 255.0) as u8);
        }

        #[test]
        fn decodes_within_half_a_step_on_every_level(
            values in prop::collection::vec(-10.0_f32..10.0, 1..300), four in any::<bool>()
        ) {
            let bits = if four { Bits::Four } else { Bits::Eight };
            let mut expected = None;
            for level in Level::available() {
                let mut codes = vec![0; values.len()];
                let encode = Encode { centred: &values, bits, codes: &mut codes, row: 0 };
                let constants = run(level, encode).expect("in f16's range");
                let (s, b) = (constants.scale.to_f32(), constants.bias.to_f32());
                for (&value, &code) in values.iter().zip(&codes) {
                    // Half a step, and what rounding scale and bias to f16 moves the grid by.
                    let error = (s * f32::from(code) + b - value).abs();
                    prop_assert!(error <= 0.5 * s + 0.011 + s * 0.13, "{value}: {error} against step {s}");
                }
                prop_assert_eq!(expected.get_or_insert((codes.clone(), constants)), &(codes, constants));
            }
        }
    }

    #[test]
    fn constant_and_huge_vectors() {
        let mut codes = [9; 3];
        let flat =
            run(Level::SCALAR, Encode { centred: &[0.25; 3], bits: Bits::Four, codes: &mut codes, row: 0 });
        let flat = flat.expect("in f16's range");
        assert_eq!((codes, flat.scale, flat.bias.to_f32()), ([0; 3], f16::ONE, 0.25));
        let huge = Encode { centred: &[0.0, -70_000.0], bits: Bits::Eight, codes: &mut [0; 2], row: 5 };
        assert_eq!(run(Level::SCALAR, huge), Err(InputError::BeyondF16 { row: 5, value: -70_000.0 }));
    }
}
