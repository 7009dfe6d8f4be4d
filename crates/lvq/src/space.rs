//! Where codes live: around the mean, in a unit that f16 constants can express.
//!
//! A vector x is coded as x' = 2ᵖ·(x − μ). μ is the data's mean. p is 0, as published, where the largest |xⱼ − μⱼ| of the
//! data lies between 2⁻⁶ and 2¹⁵; other data would lose its detail to f16's smallest step, or not fit f16 at all, and is
//! multiplied by the power of two that takes that value to between 2⁷ and 2⁸. Both are learned at the first fit.

use std::sync::atomic::{AtomicU32, Ordering};

use counterpoint_core::file::{Contents, FormatError};
use counterpoint_core::intake::mean_of;
use counterpoint_core::metric::Metric;
use counterpoint_core::simd::int8::largest;
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::{InputError, Matrix, RowSource, read_checked};
use serde_json::{Value, json};

/// p is at most so far from 0: values of 10⁻¹⁹ to 10¹⁵ come into range.
const FARTHEST: i32 = 64;
/// So many rows, evenly spread, say how small the values are.
const SAMPLE: usize = 4096;
/// The values that need no scaling.
const ORDINARY: std::ops::RangeInclusive<f32> = 1.0 / 64.0..=32_768.0;

/// μ and p.
#[derive(Clone)]
pub struct Space {
    mean: Matrix<f32>,
    exponent: i32,
}

impl Space {
    /// Learns from rows, which are checked and prepared for `metric` as they are read.
    ///
    /// # Errors
    /// [`InputError`] of the first offending row.
    pub fn learn(rows: &dyn RowSource, metric: Metric, control: &Control) -> Result<Self, InputError> {
        let read = |row: usize, values: &mut [f32]| {
            read_checked(rows, row, values)?;
            metric.prepare(values, row)
        };
        // Magnitudes order as their bits do.
        let most = AtomicU32::new(0);
        let mean = mean_of(rows.len(), rows.dim(), control, |row, values| {
            read(row, values)?;
            most.fetch_max(largest(values).to_bits(), Ordering::Relaxed);
            control.advance(1);
            Ok::<_, InputError>(())
        })?;
        let most = f32::from_bits(most.into_inner());
        // Around the mean values are at most twice as large: only large ones must all be looked at.
        let step = if 2.0 * most > *ORDINARY.end() { 1 } else { rows.len().div_ceil(SAMPLE).max(1) };
        let parts = control.map((0..rows.len()).step_by(1024 * step), |first| {
            let mut values = vec![0.0; rows.dim()];
            let mut most = 0.0_f32;
            for row in (first..rows.len().min(first + 1024 * step)).step_by(step) {
                read(row, &mut values)?;
                values.iter_mut().zip(&mean).for_each(|(value, mean)| *value -= mean);
                most = most.max(largest(&values));
            }
            Ok::<_, InputError>(most)
        })?;
        let exponent = exponent(parts.into_iter().fold(0.0, f32::max));
        let mut matrix = Matrix::zeroed(1, rows.dim());
        matrix.row_mut(0).copy_from_slice(&mean);
        Ok(Self { mean: matrix, exponent })
    }

    /// Values of a vector.
    pub fn dim(&self) -> usize {
        self.mean.dim()
    }

    /// μ.
    pub fn mean(&self) -> &[f32] {
        self.mean.row(0)
    }

    /// p.
    pub fn exponent(&self) -> i32 {
        self.exponent
    }

    /// 2⁻ᵖ: the value of 1 of a code's space.
    pub fn unit(&self) -> f64 {
        f64::from_bits(((1023 - i64::from(self.exponent)) as u64) << 52)
    }

    /// x' of x.
    #[inline(always)]
    pub fn enter(&self, values: &mut [f32]) {
        let scale = f32::from_bits(((127 + self.exponent) as u32) << 23);
        for (value, mean) in values.iter_mut().zip(self.mean()) {
            *value = (*value - mean) * scale;
        }
    }

    /// x of x'.
    #[inline(always)]
    pub fn leave(&self, values: &mut [f32]) {
        let unit = f32::from_bits(((127 - self.exponent) as u32) << 23);
        for (value, mean) in values.iter_mut().zip(self.mean()) {
            *value = *value * unit + mean;
        }
    }

    /// The matrix that holds μ, for a file.
    pub fn matrix(&self) -> &Matrix<f32> {
        &self.mean
    }

    /// p, for a file.
    pub fn param(&self) -> (String, Value) {
        ("exponent".to_owned(), json!(self.exponent))
    }

    /// Takes μ and p out of a file.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn take(contents: &mut Contents, dim: usize) -> Result<Self, FormatError> {
        let given = contents.params().get("exponent").cloned().unwrap_or_default();
        let exponent = given.as_i64().and_then(|p| i32::try_from(p).ok()).filter(|p| p.abs() <= FARTHEST);
        let exponent = exponent
            .ok_or_else(|| FormatError::content("exponent", "a whole number from -64 to 64", given))?;
        Ok(Self { mean: Matrix::take(contents, "mean", 1, dim)?, exponent })
    }

    /// Checks that μ is one that data may have.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn check(&self, control: &Control) -> Result<(), FormatError> {
        self.mean.check_values("mean", control)
    }
}

/// p for data whose largest magnitude around the mean is `most`.
fn exponent(most: f32) -> i32 {
    if most == 0.0 || ORDINARY.contains(&most) {
        return 0;
    }
    // ⌊log₂ most⌋; below the normal numbers, which are all beyond FARTHEST, −127.
    let log = (most.to_bits() >> 23) as i32 - 127;
    (7 - log).clamp(-FARTHEST, FARTHEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use counterpoint_core::vectors::Rows;
    use proptest::prelude::*;

    fn learned(values: &[f32], dim: usize) -> Space {
        let rows = Rows::new(values, dim).expect("whole rows");
        Space::learn(&rows, Metric::L2, &Control::default()).expect("sound rows")
    }

    proptest! {
        #[test]
        fn values_come_into_range_and_back(
            size in -50_i32..49, seeds in prop::collection::vec(-1.0_f32..1.0, 2..60), shift in any::<bool>()
        ) {
            let size = 2.0_f32.powi(size);
            let values: Vec<f32> = seeds.iter().map(|v| (v + f32::from(shift)) * size).collect();
            let space = learned(&values, 1);
            for &value in &values {
                let mut x = [value];
                space.enter(&mut x);
                prop_assert!(x[0].abs() <= 32_768.0);
                space.leave(&mut x);
                prop_assert!((x[0] - value).abs() <= 1e-6 * size);
            }
            let most = values.iter().map(|v| (v - space.mean()[0]).abs()).fold(0.0, f32::max);
            if ORDINARY.contains(&most) {
                prop_assert_eq!((space.exponent(), space.unit()), (0, 1.0));
            } else if most > 0.0 {
                prop_assert!((127.99..=256.01).contains(&(f64::from(most) / space.unit())));
            }
        }
    }

    #[test]
    fn equal_rows_need_no_scaling() {
        assert_eq!(learned(&[1e-12; 6], 3).exponent(), 0);
        assert_eq!(learned(&[1e15; 6], 3).exponent(), 0);
        assert_eq!(learned(&[], 3).exponent(), 0);
        assert_eq!((exponent(1e-40), exponent(1e15)), (64, -42));
        assert_eq!((exponent(1.0 / 64.0), exponent(32_768.0), exponent(32_769.0)), (0, 0, -8));
    }
}
