//! The centroids k-means begins with.
//!
//! k-means++ (D. Arthur, S. Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007) draws each seed
//! with a probability in proportion to its loss under the seeds before, and so needs k passes. As in k-means‖ (B.
//! Bahmani et al., "Scalable k-means++", VLDB 2012) several are drawn between passes: as many as there are already, and
//! at most k/8. They are drawn by systematic sampling, at equal steps through the running sum of losses from a random
//! beginning, so that they are distinct and no region is drawn twice by chance. That costs about k·m products for m
//! rows; m is 8k here, a random sample of the rows.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::centroids::Centroids;
use super::coded::CodedRows;
use super::kmeans::{Losses, directions};
use crate::axes::choose;
use crate::metric::Metric;
use crate::threads::{Cancelled, Control};
use crate::vectors::Matrix;

/// Rows that a seed is drawn from, for each cluster.
const CANDIDATES: usize = 8;

/// Up to `clusters` of the rows, no two of them alike; fewer if there are no more such.
pub(super) fn seeds(
    rows: &Matrix<f32>,
    metric: Metric,
    clusters: usize,
    seed: u64,
    control: &Control,
) -> Result<Matrix<f32>, Cancelled> {
    let chosen = choose(rows.rows(), clusters.saturating_mul(CANDIDATES), seed);
    let candidates = select(rows, &chosen);
    let coded = CodedRows::new(&candidates, control)?;
    let losses = Losses::new(&candidates, metric);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    // At first every row is as likely.
    let mut weights = vec![1.0_f64; candidates.rows()];
    let mut seeds = Vec::new();
    while seeds.len() < clusters {
        let wanted = seeds.len().clamp(1, (clusters / 8).max(1)).min(clusters - seeds.len());
        let drawn = draw(&weights, wanted, &mut random);
        if drawn.is_empty() {
            break;
        }
        let centroids = directions(select(&candidates, &drawn), metric);
        let centroids = Centroids::about(centroids, metric, coded.origin.clone(), Vec::new());
        let nearest = centroids.nearest_of(&candidates, Some(&coded), 1, control)?;
        let first = seeds.is_empty();
        for (row, (weight, &distance)) in weights.iter_mut().zip(nearest.distances()).enumerate() {
            let loss = losses.of(row, distance);
            *weight = if first { loss } else { weight.min(loss) };
        }
        drawn.iter().for_each(|&row| weights[row] = 0.0);
        seeds.extend(drawn);
    }
    Ok(directions(select(&candidates, &seeds), metric))
}

/// At most `count` distinct indices, each in proportion to its weight, in rising order.
fn draw(weights: &[f64], count: usize, random: &mut ChaCha8Rng) -> Vec<usize> {
    let total: f64 = weights.iter().sum();
    let step = total / count as f64;
    let mut next = step * ((random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64);
    let (mut drawn, mut sum) = (Vec::with_capacity(count), 0.0);
    for (row, &weight) in weights.iter().enumerate() {
        sum += weight;
        if weight > 0.0 && next < sum {
            drawn.push(row);
            // Where a weight spans several steps the row is drawn once.
            next += step * ((sum - next) / step).floor().max(0.0) + step;
        }
    }
    drawn.truncate(count);
    drawn
}

/// The chosen rows.
pub(super) fn select(rows: &Matrix<f32>, chosen: &[usize]) -> Matrix<f32> {
    let mut selected = Matrix::zeroed(chosen.len(), rows.dim());
    for (to, &from) in chosen.iter().enumerate() {
        selected.copy_row(to, rows, from);
    }
    selected
}
