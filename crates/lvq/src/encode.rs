//! One vector's codes, as published: plain f32 arithmetic in a fixed order, so that every level, thread count
//! and platform gives the same bytes.
//!
//! **Primary.** With l and u the least and largest x'ⱼ: b = f16(l), s = f16((u − l) / (2ᴮ − 1)),
//! cⱼ = clamp(round((x'ⱼ − b) / s), 0, 2ᴮ − 1), decoded as x̂'ⱼ = s·cⱼ + b.
//!
//! **Residual.** The step r = s / (2ᴮ² − 1) divides one primary step, from the middle of the one before:
//! c2ⱼ = clamp(round((x'ⱼ − x̂'ⱼ + s/2) / r), 0, 2ᴮ² − 1), decoded as x̂'ⱼ + r·c2ⱼ − s/2. No further constants. As one
//! integer, Cⱼ = (2ᴮ² − 1)·cⱼ + c2ⱼ, the value is r·Cⱼ + (b − s/2): both codes together are a code of a finer step.
//!
//! **Rows of hardly any range.** Where (u − l) ≤ 7·10⁻⁵·(2ᴮ − 1), s would flush to zero as an f16. Published LVQ sets
//! s = 1 there, so that all detail of the row is lost; here s = f16(7·10⁻⁵), the least step there is. Rows of equal
//! values are decoded to b either way.

use counterpoint_core::simd::int8::Bits;
use counterpoint_core::simd::{Simd, Work};
use counterpoint_core::vectors::InputError;
use half::f16;

use crate::levels::Levels;

/// The least step: a range of no more than so many times the largest code would flush to zero as an f16 scale.
const SMALLEST_STEP: f32 = 7e-5;

/// The constants of one encoded vector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Constants {
    /// s: the value of one code step.
    pub scale: f16,
    /// b: the value of code 0.
    pub bias: f16,
    /// What stands for the squared length of the primary code's vector around the mean: ‖x̂'‖² − ‖x̂' − x'‖².
    pub square: f32,
    /// The same of the vector of both codes; 0 where there is no residual.
    pub full_square: f32,
    /// s·‖c − (2ᴮ−1)/2‖: how far the primary codes reach around their middle, rounded up.
    pub radius: f32,
}

/// Encodes a centred vector; `centred` holds x' = x − μ.
pub struct Encode<'a> {
    /// x'.
    pub centred: &'a [f32],
    /// The widths of the codes.
    pub levels: Levels,
    /// Where the primary codes go, one a byte.
    pub codes: &'a mut [u8],
    /// Where the residual codes go, one a byte; not looked at where the levels have none.
    pub residual: &'a mut [u8],
    /// The vector's number in its input, for the error.
    pub row: usize,
}

impl Work for Encode<'_> {
    type Output = Result<Constants, InputError>;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Self::Output {
        let Self { centred, levels, codes, residual, row } = self;
        let (low, high) = range(centred);
        let largest = f32::from(levels.primary().max_code());
        let bias = f16::from_f32(low);
        let wide = high - low > SMALLEST_STEP * largest;
        let scale = f16::from_f32(if wide { (high - low) / largest } else { SMALLEST_STEP });
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
        let (whole, square) = (f64::from(sum), squares as f64);
        let (count, mid) = (codes.len() as f64, f64::from(largest) / 2.0);
        let error = lost(centred, codes, codes, |code, _| s * f32::from(code) + b);
        let grid = Grid { step: f64::from(s), start: f64::from(b), count };
        let radius = grid.step * (square - 2.0 * mid * whole + count * mid * mid).max(0.0).sqrt();
        let mut constants = Constants {
            scale,
            bias,
            square: (grid.square(whole, square) - error) as f32,
            full_square: 0.0,
            radius: radius as f32 * 1.000_001,
        };
        if let Some(bits) = levels.residual() {
            let fine = Fine::new(s, b, bits);
            for ((to, &code), &value) in residual.iter_mut().zip(&*codes).zip(centred) {
                *to = fine.code(value, code);
            }
            // Of C = m·c + c2: ΣC² = m²·Σc² + 2m·Σc·c2 + Σc2², at most 2³²·d.
            let m = u64::from(bits.max_code());
            let fine_sum: u32 = residual.iter().map(|&c| u32::from(c)).sum();
            let fine_squares: u64 = residual.chunks(1024).map(|part| u64::from(self::squares(part))).sum();
            let products = codes.chunks(1024).zip(residual.chunks(1024));
            let products: u64 = products.map(|(a, b)| u64::from(product(a, b))).sum();
            let sum = m * u64::from(sum) + u64::from(fine_sum);
            let squares = m * m * squares + 2 * m * products + fine_squares;
            let error = lost(centred, codes, residual, |code, residual| fine.value(code, residual));
            let half = f64::from(s) / 2.0;
            let grid = Grid { step: f64::from(s) / m as f64, start: f64::from(b) - half, count };
            constants.full_square = (grid.square(sum as f64, squares as f64) - error) as f32;
        }
        Ok(constants)
    }
}

/// The values step·C + start of a vector of integers C.
struct Grid {
    step: f64,
    start: f64,
    count: f64,
}

impl Grid {
    /// ‖step·C + start‖², from ΣC and ΣC².
    fn square(&self, sum: f64, squares: f64) -> f64 {
        let Self { step, start, count } = *self;
        (step * step * squares + 2.0 * step * start * sum + count * start * start).max(0.0)
    }
}

/// The residual's part of a vector's values.
#[derive(Clone, Copy, Debug)]
pub struct Fine {
    scale: f32,
    bias: f32,
    /// r.
    step: f32,
    /// s/2.
    half: f32,
    largest: f32,
}

impl Fine {
    /// Of a vector of scale s and bias b.
    #[inline(always)]
    pub fn new(scale: f32, bias: f32, residual: Bits) -> Self {
        let largest = f32::from(residual.max_code());
        Self { scale, bias, step: scale / largest, half: scale / 2.0, largest }
    }

    /// c2 of a value x' whose primary code is `code`.
    #[inline(always)]
    fn code(&self, value: f32, code: u8) -> u8 {
        let decoded = self.scale * f32::from(code) + self.bias;
        round(((value - decoded) + self.half) / self.step, self.largest)
    }

    /// The value of both codes, around the mean.
    #[inline(always)]
    pub fn value(&self, code: u8, residual: u8) -> f32 {
        (self.scale * f32::from(code) + self.bias) + (self.step * f32::from(residual) - self.half)
    }
}

fn squares(part: &[u8]) -> u32 {
    product(part, part)
}

#[inline(always)]
fn product(a: &[u8], b: &[u8]) -> u32 {
    a.iter().zip(b).map(|(&a, &b)| u32::from(a) * u32::from(b)).sum()
}

/// Σ(value − x')² of the values of two codes each, summed in lanes: an order that depends only on the length, and that
/// vectorises.
#[inline(always)]
fn lost(centred: &[f32], codes: &[u8], residual: &[u8], value: impl Fn(u8, u8) -> f32) -> f64 {
    const LANES: usize = 16;
    let mut total = 0.0_f64;
    // A chunk's sums in f32, chunks in f64.
    for ((centred, codes), residual) in
        centred.chunks(1024).zip(codes.chunks(1024)).zip(residual.chunks(1024))
    {
        let mut sums = [0.0_f32; LANES];
        let (xs, last_xs) = centred.as_chunks::<LANES>();
        let (firsts, last_firsts) = codes.as_chunks::<LANES>();
        let (seconds, last_seconds) = residual.as_chunks::<LANES>();
        for ((xs, firsts), seconds) in xs.iter().zip(firsts).zip(seconds) {
            for l in 0..LANES {
                let error = value(firsts[l], seconds[l]) - xs[l];
                sums[l] += error * error;
            }
        }
        for (((sum, &x), &first), &second) in sums.iter_mut().zip(last_xs).zip(last_firsts).zip(last_seconds)
        {
            let error = value(first, second) - x;
            *sum += error * error;
        }
        total += sums.iter().map(|&sum| f64::from(sum)).sum::<f64>();
    }
    total
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
                let levels = bits.into();
                let encode = Encode { centred: &values, levels, codes: &mut codes, residual: &mut [], row: 0 };
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

    /// The published definition, written down again.
    fn published(x: &[f32], primary: u32, residual: u32) -> (f16, f16, Vec<u8>, Vec<u8>) {
        let (m1, m2) = ((2_u32.pow(primary) - 1) as f32, (2_u32.pow(residual) - 1) as f32);
        let l = x.iter().copied().fold(f32::INFINITY, f32::min);
        let u = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let b = f16::from_f32(l);
        let s = if u - l > 7e-5 * m1 { f16::from_f32((u - l) / m1) } else { f16::ONE };
        let (s32, b32) = (s.to_f32(), b.to_f32());
        let c: Vec<u8> = x.iter().map(|x| ((x - b32) / s32).round().clamp(0.0, m1) as u8).collect();
        let r = s32 / m2;
        let c2 = x.iter().zip(&c).map(|(x, &c)| {
            let decoded = s32 * f32::from(c) + b32;
            ((x - decoded + s32 / 2.0) / r).round().clamp(0.0, m2) as u8
        });
        let c2 = c2.collect();
        (s, b, c, c2)
    }

    /// All of a code, by the level's kernels.
    fn encoded(level: Level, x: &[f32], levels: Levels) -> (Constants, Vec<u8>, Vec<u8>) {
        let (mut codes, mut residual) = (vec![7; x.len()], vec![7; x.len()]);
        let encode = Encode { centred: x, levels, codes: &mut codes, residual: &mut residual, row: 0 };
        let constants = run(level, encode).expect("in f16's range");
        (constants, codes, residual)
    }

    proptest! {
        #[test]
        fn both_codes_are_the_published_ones(
            mut x in prop::collection::vec(-10.0_f32..10.0, 1..300),
            size in prop::sample::select(vec![1e-2_f32, 1.0, 6_000.0]),
            pair in prop::sample::select(Levels::SUPPORTED.to_vec()),
        ) {
            x.iter_mut().for_each(|x| *x *= size);
            x.push(x[0] + 0.02 * size.max(1.0)); // a range above the published limit
            let levels = Levels::new(pair.0, pair.1).expect("supported");
            let bits = pair.1.max(1) as u32;
            let (scale, bias, codes, residual) = published(&x, pair.0 as u32, bits);
            for level in Level::available() {
                let (constants, got, got_residual) = encoded(level, &x, levels);
                prop_assert_eq!((constants.scale, constants.bias), (scale, bias));
                prop_assert_eq!(&got, &codes);
                let (s, b) = (f64::from(scale.to_f32()), f64::from(bias.to_f32()));
                let largest = f64::from(2_u32.pow(bits) - 1);
                let mut decoded: Vec<f64> = codes.iter().map(|&c| s * f64::from(c) + b).collect();
                let square = |decoded: &[f64]| {
                    let lengths = decoded.iter().map(|v| v * v).sum::<f64>();
                    (lengths, decoded.iter().zip(&x).map(|(v, &x)| (v - f64::from(x)).powi(2)).sum::<f64>())
                };
                let near = |got: f32, (length, lost): (f64, f64)| {
                    (f64::from(got) - (length - lost)).abs() <= 1e-6 * (length + lost)
                };
                prop_assert!(near(constants.square, square(&decoded)));
                if pair.1 == 0 {
                    prop_assert_eq!(constants.full_square, 0.0);
                    continue;
                }
                prop_assert_eq!(&got_residual, &residual);
                let step = s / largest;
                for (j, value) in decoded.iter_mut().enumerate() {
                    *value += step * f64::from(residual[j]) - s / 2.0;
                    let whole = step * (largest * f64::from(codes[j]) + f64::from(residual[j])) + (b - s / 2.0);
                    prop_assert!((*value - whole).abs() <= 1e-12 * whole.abs().max(s));
                    let bits = levels.residual().expect("there is one");
                    let fine = Fine::new(scale.to_f32(), bias.to_f32(), bits).value(codes[j], residual[j]);
                    // f32 rounding, of values of at most the row's size.
                    let size = b.abs() + 256.0 * s;
                    prop_assert!((f64::from(fine) - *value).abs() <= 2e-7 * size);
                    // Half a fine step, and what f16 moves the grid's ends by beyond the residual's reach.
                    let moved = (b.abs() + f64::from(2_u32.pow(pair.0 as u32)) * s) / 2048.0;
                    let most = step / 2.0 + (moved - s / 2.0).max(0.0) + 4e-7 * size;
                    prop_assert!((*value - f64::from(x[j])).abs() <= most, "{} of {step}", x[j]);
                }
                prop_assert!(near(constants.full_square, square(&decoded)));
            }
        }
    }

    #[test]
    fn constant_and_huge_vectors() {
        for (primary, residual) in Levels::SUPPORTED {
            let levels = Levels::new(primary, residual).expect("supported");
            let (flat, codes, residual) = encoded(Level::SCALAR, &[0.25; 3], levels);
            assert_eq!((codes, flat.scale, flat.bias.to_f32()), (vec![0; 3], f16::from_f32(7e-5), 0.25));
            if let Some(bits) = levels.residual() {
                let fine = Fine::new(flat.scale.to_f32(), 0.25, bits).value(0, residual[0]);
                assert!((fine - 0.25).abs() < 5e-6, "{fine}");
            }
            // Below the least step there is still some detail.
            let (tiny, codes, _) = encoded(Level::SCALAR, &[1e-3, 0.0, -4e-4], levels);
            let value = |code: u8| tiny.scale.to_f32() * f32::from(code) + tiny.bias.to_f32();
            assert!((value(codes[0]) - 1e-3).abs() < 4e-5 && value(codes[1]).abs() < 4e-5);
        }
        let levels = Bits::Eight.into();
        let huge =
            Encode { centred: &[0.0, -70_000.0], levels, codes: &mut [0; 2], residual: &mut [], row: 5 };
        assert_eq!(run(Level::SCALAR, huge), Err(InputError::BeyondF16 { row: 5, value: -70_000.0 }));
    }
}
