//! Metrics, and the meaning of a distance: smaller is nearer.
//!
//! | metric | distance | stored rows |
//! |---|---|---|
//! | `l2` | ‖q − x‖² (squared Euclidean) | as given |
//! | `ip` | −⟨q, x⟩ | as given |
//! | `cosine` | 1 − ⟨q, x⟩/(‖q‖‖x‖), in [0, 2] | scaled to unit length |

use crate::simd::Simd;
use crate::vectors::InputError;

/// How far apart two vectors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Squared Euclidean distance.
    L2,
    /// Negative inner product.
    Ip,
    /// One minus the cosine of the angle.
    Cosine,
}

/// Not the name of a metric.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("metric: expected \"l2\", \"ip\" or \"cosine\", got {0:?}")]
pub struct UnknownMetric(pub String);

impl std::str::FromStr for Metric {
    type Err = UnknownMetric;

    fn from_str(name: &str) -> Result<Self, UnknownMetric> {
        match name {
            "l2" => Ok(Metric::L2),
            "ip" => Ok(Metric::Ip),
            "cosine" => Ok(Metric::Cosine),
            _ => Err(UnknownMetric(name.to_owned())),
        }
    }
}

impl Metric {
    /// `"l2"`, `"ip"` or `"cosine"`.
    pub fn name(self) -> &'static str {
        match self {
            Metric::L2 => "l2",
            Metric::Ip => "ip",
            Metric::Cosine => "cosine",
        }
    }

    /// Makes a row (data or query) ready: under cosine, of unit length.
    ///
    /// # Errors
    /// [`InputError::ZeroVector`] with `index` under cosine.
    #[inline(always)]
    pub fn prepare(self, row: &mut [f32], index: usize) -> Result<(), InputError> {
        if self == Metric::Cosine {
            // In f64, where no square of an f32 overflows or vanishes.
            let norm = square(row).sqrt();
            if norm == 0.0 {
                return Err(InputError::ZeroVector { row: index });
            }
            let inverse = 1.0 / norm;
            for value in row {
                *value = (f64::from(*value) * inverse) as f32;
            }
        }
        Ok(())
    }

    /// The distance of two prepared rows of equal length, by the one-row kernels: the exact distance.
    ///
    /// # Panics
    /// If the lengths differ.
    #[inline(always)]
    pub fn distance<S: Simd>(self, simd: S, query: &[f32], row: &[f32]) -> f32 {
        match self {
            Metric::L2 => simd.squared_l2(query, row),
            Metric::Ip => -simd.dot(query, row),
            Metric::Cosine => self.clamp(1.0 - simd.dot(query, row)),
        }
    }

    /// Puts an estimate into the metric's range: l2 is not negative, cosine lies in [0, 2].
    #[inline(always)]
    pub fn clamp(self, distance: f32) -> f32 {
        match self {
            Metric::L2 => distance.max(0.0),
            Metric::Ip => distance,
            Metric::Cosine => distance.clamp(0.0, 2.0),
        }
    }
}

/// Σ v², in eight sums: an order that depends only on the length, and that vectorises.
#[inline(always)]
fn square(row: &[f32]) -> f64 {
    let mut sums = [0.0_f64; 8];
    let (whole, rest) = row.as_chunks::<8>();
    for values in whole {
        for (sum, &value) in sums.iter_mut().zip(values) {
            *sum += f64::from(value) * f64::from(value);
        }
    }
    for (sum, &value) in sums.iter_mut().zip(rest) {
        *sum += f64::from(value) * f64::from(value);
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Level, Work, run};

    struct Distance<'a>(Metric, &'a [f32], &'a [f32]);

    impl Work for Distance<'_> {
        type Output = f32;
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> f32 {
            self.0.distance(simd, self.1, self.2)
        }
    }

    #[test]
    fn smaller_is_nearer_under_every_metric() {
        for level in Level::available() {
            for metric in [Metric::L2, Metric::Ip, Metric::Cosine] {
                let [mut q, mut near, mut far] = [[1.0, 2.0, 0.5], [1.0, 2.5, 0.5], [-1.0, 0.5, -2.0]];
                for row in [&mut q, &mut near, &mut far] {
                    metric.prepare(row, 0).expect("nonzero");
                }
                let [near, far] = [near, far].map(|row| run(level, Distance(metric, &q, &row)));
                assert!(near < far, "{metric:?}: {near} against {far}");
            }
        }
    }

    #[test]
    fn tiny_and_huge_rows_have_a_direction() {
        for scale in [1e-30_f32, 1e15] {
            let mut row = [3.0 * scale, 4.0 * scale];
            Metric::Cosine.prepare(&mut row, 0).expect("nonzero");
            assert!((row[0] - 0.6).abs() < 1e-6 && (row[1] - 0.8).abs() < 1e-6, "{row:?}");
        }
        let zero = Metric::Cosine.prepare(&mut [0.0, 0.0], 7);
        assert_eq!(zero, Err(InputError::ZeroVector { row: 7 }));
    }

    #[test]
    fn names_round_trip() {
        for metric in [Metric::L2, Metric::Ip, Metric::Cosine] {
            assert_eq!(metric.name().parse(), Ok(metric));
        }
        assert!("dot".parse::<Metric>().is_err());
    }
}
