//! Synthetic data for the tables of the prototypes, for kernels and for tests. Recall that matters is measured
//! on real data.
//!
//! Every set is drawn from one ChaCha stream: the same seed gives the same values everywhere. Queries are drawn
//! from the distribution of the data, and from its own clusters.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How the data is spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// Independent standard normal coordinates.
    Gaussian,
    /// `clusters` centres of standard normal coordinates times `spread`, and standard normal coordinates around
    /// them.
    Clusters {
        /// Number of centres.
        clusters: usize,
        /// Standard deviation of a centre's coordinates.
        spread: f32,
    },
    /// Independent normal coordinates, the j-th (from 1) of standard deviation j^−`decay`: the spectrum that
    /// embeddings have along their principal axes.
    PowerLaw {
        /// The exponent.
        decay: f32,
    },
}

/// Data and queries, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// `n` rows of `dim` values.
    pub data: Vec<f32>,
    /// Rows of `dim` values.
    pub queries: Vec<f32>,
    /// Values in a row.
    pub dim: usize,
}

/// Draws `n` rows and `queries` queries of `dim` values.
pub fn sample(shape: Shape, n: usize, queries: usize, dim: usize, seed: u64) -> Sample {
    let mut source = Normal { random: ChaCha8Rng::seed_from_u64(seed), spare: None };
    let centres: Vec<f32> = match shape {
        Shape::Clusters { clusters, spread } => {
            (0..clusters.max(1) * dim).map(|_| spread * source.draw()).collect()
        }
        Shape::Gaussian | Shape::PowerLaw { .. } => Vec::new(),
    };
    let mut rows = |count: usize| {
        let mut values = Vec::with_capacity(count * dim);
        for _ in 0..count {
            let centre = (!centres.is_empty()).then(|| source.below(centres.len() / dim.max(1)) * dim);
            for j in 0..dim {
                let normal = source.draw();
                values.push(match (shape, centre) {
                    (Shape::PowerLaw { decay }, _) => normal * ((j + 1) as f32).powf(-decay),
                    (_, Some(centre)) => centres[centre + j] + normal,
                    (_, None) => normal,
                });
            }
        }
        values
    };
    let data = rows(n);
    Sample { data, queries: rows(queries), dim }
}

/// Standard normal values by Box and Muller's method.
struct Normal {
    random: ChaCha8Rng,
    spare: Option<f32>,
}

impl Normal {
    /// Uniform in (0, 1].
    fn uniform(&mut self) -> f64 {
        ((self.random.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, count: usize) -> usize {
        ((self.uniform() * count as f64) as usize).min(count.saturating_sub(1))
    }

    fn draw(&mut self) -> f32 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * self.uniform()).sin_cos();
        self.spare = Some((radius * sin) as f32);
        (radius * cos) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_values_have_mean_0_and_variance_1() {
        let sample = sample(Shape::Gaussian, 2_000, 10, 50, 7);
        let n = sample.data.len() as f64;
        let mean = sample.data.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let variance = sample.data.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / n - mean * mean;
        assert!(mean.abs() < 0.015 && (variance - 1.0).abs() < 0.03, "{mean}, {variance}");
        assert_eq!(sample.queries.len(), 500);
    }

    #[test]
    fn the_seed_decides() {
        let clusters = Shape::Clusters { clusters: 5, spread: 3.0 };
        assert_eq!(sample(clusters, 20, 3, 8, 1), sample(clusters, 20, 3, 8, 1));
        assert_ne!(sample(clusters, 20, 3, 8, 1), sample(clusters, 20, 3, 8, 2));
    }

    #[test]
    fn queries_lie_in_the_datas_clusters() {
        let sample = sample(Shape::Clusters { clusters: 4, spread: 100.0 }, 400, 20, 16, 3);
        for query in sample.queries.chunks(16) {
            let nearest = sample
                .data
                .chunks(16)
                .map(|row| row.iter().zip(query).map(|(a, b)| (a - b).powi(2)).sum::<f32>())
                .fold(f32::INFINITY, f32::min);
            assert!(nearest < 200.0, "a query {nearest} from all data");
        }
    }

    #[test]
    fn power_law_spectra_fall() {
        let sample = sample(Shape::PowerLaw { decay: 0.5 }, 4_000, 0, 16, 5);
        let deviation = |j: usize| {
            let squares: f32 = sample.data.chunks(16).map(|row| row[j] * row[j]).sum();
            (squares / 4_000.0).sqrt()
        };
        assert!((deviation(0) - 1.0).abs() < 0.05 && (deviation(15) - 0.25).abs() < 0.02);
    }
}
