//! Values of queries as whole numbers.

/// Maxima kept apart, so that they fill registers.
const LANES: usize = 16;
/// Values no larger are coded as zeros: the inverse of their step could be infinite.
const SMALLEST: f32 = 1e-33;
/// Largest magnitude in 8 bits, and in two planes of 8 bits: the higher one is then at most 127.
const LARGEST: f32 = 127.0;
const LARGEST_OF_PLANES: f32 = 32_639.0;
/// Where one unit is the last bit of a number: a sum with it is rounded to whole units (of two the even one), and its
/// last bits are the number's.
const UNITS: f32 = 12_582_912.0;

/// Codes finite values in signed 8 bits; gives the step and the sum.
#[inline(always)]
pub(crate) fn quantise(values: &[f32], codes: &mut [i8]) -> (f32, i32) {
    let largest = largest(values);
    if largest < SMALLEST {
        codes.fill(0);
        return (0.0, 0);
    }
    let inverse = LARGEST / largest;
    let mut sum = 0;
    for (code, &value) in codes.iter_mut().zip(values) {
        *code = (value * inverse + UNITS).to_bits() as i8;
        sum += i32::from(*code);
    }
    (largest / LARGEST, sum)
}

/// Codes finite values v ≈ step·(256·high + low) in two planes of signed 8 bits; gives the step and each plane's sum.
#[inline(always)]
pub(crate) fn quantise_finely(values: &[f32], high: &mut [i8], low: &mut [i8]) -> (f32, [i32; 2]) {
    let largest = largest(values);
    if largest < SMALLEST {
        high.fill(0);
        low.fill(0);
        return (0.0, [0, 0]);
    }
    let inverse = LARGEST_OF_PLANES / largest;
    let mut sums = [0, 0];
    for ((high, low), &value) in high.iter_mut().zip(low).zip(values) {
        let fine = (value * inverse + UNITS).to_bits().wrapping_sub(UNITS.to_bits()).cast_signed();
        *low = fine as i8;
        *high = ((fine + 128) >> 8) as i8;
        sums[0] += i32::from(*high);
        sums[1] += i32::from(*low);
    }
    (largest / LARGEST_OF_PLANES, sums)
}

/// The largest magnitude.
#[inline(always)]
fn largest(values: &[f32]) -> f32 {
    let larger = |most: f32, value: f32| if value.abs() > most { value.abs() } else { most };
    let (sixteens, rest) = values.as_chunks::<LANES>();
    let mut most = [0.0_f32; LANES];
    for values in sixteens {
        most.iter_mut().zip(values).for_each(|(most, &value)| *most = larger(*most, value));
    }
    most.iter().chain(rest).copied().fold(0.0, larger)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(count: usize) -> Vec<f32> {
        (0..count).map(|j| ((j * 37 + 11) % 101) as f32 * 0.37 - 18.0).collect()
    }

    #[test]
    fn codes_are_the_nearest_whole_numbers() {
        for count in 1..100 {
            let values = values(count);
            let mut codes = vec![0; count];
            let (step, sum) = quantise(&values, &mut codes);
            let most = values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            assert_eq!(step, most / 127.0);
            assert_eq!(sum, codes.iter().map(|&code| i32::from(code)).sum::<i32>());
            let inverse = 127.0 / most;
            for (&code, value) in codes.iter().zip(values) {
                assert_eq!(f32::from(code), (value * inverse).round_ties_even());
            }
        }
    }

    #[test]
    fn planes_are_within_half_a_step() {
        for count in 1..100 {
            let values = values(count);
            let (mut high, mut low) = (vec![0; count], vec![0; count]);
            let (step, sums) = quantise_finely(&values, &mut high, &mut low);
            let total = |plane: &[i8]| plane.iter().map(|&code| i32::from(code)).sum::<i32>();
            assert_eq!(sums, [total(&high), total(&low)]);
            for ((&high, &low), value) in high.iter().zip(&low).zip(values) {
                let back = step * (256.0 * f32::from(high) + f32::from(low));
                assert!((back - value).abs() <= 0.51 * step, "{value} became {back}");
            }
        }
    }

    #[test]
    fn nothing_is_coded_as_zeros() {
        let (mut high, mut low) = ([1], [1]);
        assert_eq!(quantise_finely(&[1e-34], &mut high, &mut low), (0.0, [0, 0]));
        assert_eq!((high, low, quantise(&[-1e-34], &mut high)), ([0], [0], (0.0, 0)));
    }
}
