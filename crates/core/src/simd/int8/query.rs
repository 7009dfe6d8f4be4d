//! A query in two signed 8-bit planes.

/// Largest magnitude of a 16-bit query value: its high plane, rounded, is then at most 127.
const LARGEST: f32 = 32_639.0;

/// q ≈ `step` · (256 · `high` + `low`), to half a `step` in each dimension.
///
/// Plain f32 arithmetic in a fixed order: the same planes on every level.
#[derive(Clone, Debug)]
pub struct Query {
    /// The coarse plane: what a scan multiplies.
    pub high: Vec<i8>,
    /// The fine plane: what survivors add.
    pub low: Vec<i8>,
    /// The value of one unit of `low`.
    pub step: f32,
    /// Σ `low`.
    pub low_sum: i32,
    /// ‖`low`‖₂, rounded up: bounds what the low plane adds, by Cauchy-Schwarz.
    pub low_norm: f32,
}

impl Query {
    /// Quantises finite `values`; a zero vector gives zero planes and step 0. Inlined, so that it is compiled for
    /// its caller's level.
    #[inline(always)]
    pub fn new(values: &[f32]) -> Self {
        let largest = largest(values);
        let step = largest / LARGEST;
        let inverse = if step > 0.0 { LARGEST / largest } else { 0.0 };
        let (mut high, mut low) = (vec![0_i8; values.len()], vec![0_i8; values.len()]);
        for ((&value, high), low) in values.iter().zip(&mut high).zip(&mut low) {
            // Half away from zero, in a form that vectorises; the clamp keeps a rounding of the product in range.
            let scaled = (value * inverse).clamp(-LARGEST, LARGEST);
            let whole = scaled.trunc();
            let rest = scaled - whole;
            let fine = whole as i32 + i32::from(rest >= 0.5) - i32::from(rest <= -0.5);
            let coarse = (fine + 128) >> 8;
            *high = coarse as i8;
            *low = (fine - 256 * coarse) as i8;
        }
        let low_sum = low.iter().map(|&v| i32::from(v)).sum();
        // At most 128² · 65,536 = 2³⁰.
        let squares: i32 = low.iter().map(|&v| i32::from(v) * i32::from(v)).sum();
        let low_norm = f64::from(squares).sqrt() as f32 * 1.000_001;
        Self { high, low, step, low_sum, low_norm }
    }
}

/// The largest magnitude of finite values, 0 of none. Inlined, so that it is compiled for its caller's level.
#[inline(always)]
pub fn largest(values: &[f32]) -> f32 {
    const LANES: usize = 16;
    let more = |a: f32, b: f32| if b > a { b } else { a };
    let mut most = [0.0_f32; LANES];
    let (whole, rest) = values.as_chunks::<LANES>();
    for values in whole {
        for (most, value) in most.iter_mut().zip(values) {
            *most = more(*most, value.abs());
        }
    }
    most.into_iter().chain(rest.iter().map(|value| value.abs())).fold(0.0, more)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn planes_are_within_half_a_step(values in prop::collection::vec(-1e15_f32..1e15, 0..300)) {
            let query = Query::new(&values);
            for ((value, &high), &low) in values.iter().zip(&query.high).zip(&query.low) {
                let back = f64::from(query.step) * f64::from(256 * i32::from(high) + i32::from(low));
                let error = (f64::from(*value) - back).abs();
                // Half a step, and what f32 rounding of the product adds to it.
                prop_assert!(error <= f64::from(query.step) * 0.51, "{value} became {back}");
            }
        }
    }

    #[test]
    fn the_extremes_stay_in_range() {
        let query = Query::new(&[1.0, -1.0, 0.0, 0.003_921]);
        assert_eq!((query.high[0], query.high[1], query.high[2]), (127, -127, 0));
        let zero = Query::new(&[0.0; 5]);
        assert_eq!((zero.step, zero.low_norm), (0.0, 0.0));
        assert!(zero.high.iter().chain(&zero.low).all(|&v| v == 0));
    }
}
