//! Clusters of like size.
//!
//! Each centroid has a price, added to its distances, that rises while its cluster is larger than the mean and falls
//! while it is smaller: the dual variables of the assignment problem with equal sizes, moved after every round of
//! Lloyd's algorithm, so that centroids and prices settle together. (The rising penalty of R. de Maeyer, S. Sieranoja,
//! P. Fränti, "Balanced k-means revisited", 2023, does that row after row; here rows are still assigned in parallel,
//! and the result does not depend on their order.) What is still too large in the end gives its farthest rows to the
//! nearest clusters with room.

use super::centroids::Centroids;
use super::kmeans::count;
use super::seeds::select;
use crate::metric::Metric;
use crate::threads::{Cancelled, Control};
use crate::vectors::Matrix;

/// No cluster is larger than the mean times this, rounded up.
pub const LARGEST: f64 = 1.25;
/// How far a price moves in a round where its cluster is of twice the mean size, in mean distances between a row's
/// nearest cluster and its second.
const STEP: f64 = 0.5;
/// Clusters that a row which must go elsewhere looks at before it goes where there is most room.
const ELSEWHERE: usize = 32;

/// The most rows a cluster may have.
fn capacity(rows: usize, clusters: usize) -> usize {
    (rows as f64 / clusters as f64 * LARGEST).ceil() as usize
}

/// Moves prices by the sizes that `labels` says; `gap` is the mean difference of a row's two least distances.
pub(super) fn adjust(prices: &mut [f32], labels: &[u32], gap: f64, metric: Metric) {
    let mean = labels.len() as f64 / prices.len().max(1) as f64;
    let unit = STEP * gap * if metric == Metric::L2 { 0.5 } else { 1.0 };
    let counts = count(labels, prices.len());
    for (price, count) in prices.iter_mut().zip(counts) {
        let excess = (f64::from(count) / mean - 1.0).min(1.0);
        *price = (f64::from(*price) + unit * excess) as f32;
    }
}

/// Assigns rows to clusters of at most [`LARGEST`] times the mean size. `centroids` have prices.
pub(super) fn assign(
    rows: &Matrix<f32>,
    centroids: &Centroids,
    control: &Control,
) -> Result<Vec<u32>, Cancelled> {
    let clusters = centroids.len();
    let nearest = centroids.nearest(rows, 1, control)?;
    let mut labels = nearest.clusters().to_vec();
    let mut counts = count(&labels, clusters);
    let capacity = capacity(rows.rows(), clusters.max(1));
    let full = |counts: &[u32], cluster: usize| counts[cluster] as usize >= capacity;
    let mut members: Vec<Vec<u32>> = vec![Vec::new(); clusters];
    for (row, &label) in labels.iter().enumerate() {
        if counts[label as usize] as usize > capacity {
            members[label as usize].push(row as u32);
        }
    }
    let mut leaving = Vec::new();
    for (members, count) in members.iter_mut().zip(&mut counts) {
        if members.is_empty() {
            continue;
        }
        members.sort_unstable_by(|&a, &b| {
            let distance = |row: u32| nearest.distances()[row as usize];
            distance(a).total_cmp(&distance(b)).then(a.cmp(&b))
        });
        leaving.extend(members[capacity..].iter().map(|&row| row as usize));
        *count = capacity as u32;
    }
    leaving.sort_unstable();
    let elsewhere = centroids.nearest(&select(rows, &leaving), ELSEWHERE, control)?;
    for (i, &row) in leaving.iter().enumerate() {
        let near = elsewhere.of(i).iter().copied().find(|&cluster| !full(&counts, cluster as usize));
        let emptiest = || (0..clusters).min_by_key(|&cluster| counts[cluster]).map(|cluster| cluster as u32);
        if let Some(cluster) = near.or_else(emptiest) {
            labels[row] = cluster;
            counts[cluster as usize] += 1;
        }
    }
    Ok(labels)
}
