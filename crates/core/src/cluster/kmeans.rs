//! Lloyd's k-means: seeds ([`super::seeds`]), then rounds in which rows go to their nearest centroids and centroids to
//! the means of their rows, on a sample; then every row to its nearest centroid.
//!
//! A cluster that loses all rows takes the row that is farthest from its centroid, so the loss falls in every round. A
//! mean is summed in f64 by one thread, in the order of its rows. Clusters that have no rows in the end are left out.

use std::borrow::Cow;

use super::balance;
#[cfg(doc)]
use super::balance::LARGEST;
use super::centroids::{Centroids, Nearest};
use super::coded::{CodedRows, mean};
use super::seeds::{seeds, select};
use crate::axes::choose;
use crate::metric::Metric;
use crate::simd::f32::dot_error;
use crate::simd::{Simd, Work, run};
use crate::threads::{Cancelled, Control};
use crate::vectors::Matrix;

/// Clusters whose centroids one item of parallel work computes.
const PART: usize = 8;

/// k-means, and how thoroughly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KMeans {
    /// Clusters wanted; fewer come out where there are fewer distinct rows.
    pub clusters: usize,
    /// Rounds of Lloyd's algorithm at most; it stops before where nothing changes.
    pub iterations: usize,
    /// Rows learned from, for each cluster.
    pub sample: usize,
    /// Whether clusters are to be of like size: none larger than [`LARGEST`] times the mean.
    pub balanced: bool,
    /// What is drawn at random follows from it.
    pub seed: u64,
}

/// Rows in clusters.
#[derive(Clone)]
pub struct Clustering {
    /// The centroids.
    pub centroids: Centroids,
    /// The cluster of each row: the nearest, unless balanced. Each cluster has rows.
    pub labels: Vec<u32>,
    /// The nearest clusters of each row.
    pub nearest: Nearest,
}

impl KMeans {
    /// So many clusters, with defaults for the rest.
    pub fn new(clusters: usize) -> Self {
        Self { clusters, iterations: 10, sample: 128, balanced: false, seed: 0 }
    }

    /// Clusters `rows` (prepared for the metric: finite, of legal magnitude), and finds the `width` nearest clusters of
    /// each row (at least one).
    ///
    /// # Errors
    /// [`Cancelled`].
    pub fn fit(
        &self,
        rows: &Matrix<f32>,
        metric: Metric,
        width: usize,
        control: &Control,
    ) -> Result<Clustering, Cancelled> {
        let clusters = self.clusters.clamp(1, rows.rows().max(1));
        let chosen = choose(rows.rows(), clusters.saturating_mul(self.sample.max(1)), self.seed);
        let sample =
            if chosen.len() < rows.rows() { Cow::Owned(select(rows, &chosen)) } else { Cow::Borrowed(rows) };
        let mut centroids = seeds(&sample, metric, clusters, self.seed ^ 1, control)?;
        let losses = Losses::new(&sample, metric);
        let coded = CodedRows::new(&sample, control)?;
        let mut prices = if self.balanced { vec![0.0; centroids.rows()] } else { Vec::new() };
        let mut labels = Vec::new();
        for _ in 0..self.iterations {
            let ready = Centroids::about(centroids.clone(), metric, coded.origin.clone(), prices.clone());
            let width = if self.balanced { 2 } else { 1 };
            let nearest = ready.nearest_of(&sample, Some(&coded), width, control)?;
            let (mut now, distances) = nearest.first();
            repair(&mut now, centroids.rows(), |row| losses.of(row, distances[row]));
            if self.balanced {
                balance::adjust(&mut prices, &now, nearest.gap(), metric);
            } else if now == labels {
                break;
            }
            labels = now;
            centroids = means(&sample, &labels, &centroids, metric, control)?;
        }
        finish(rows, centroids, prices, metric, width.max(1), control)
    }
}

/// Finds clusters for all rows, without clusters that have none.
fn finish(
    rows: &Matrix<f32>,
    mut centroids: Matrix<f32>,
    mut prices: Vec<f32>,
    metric: Metric,
    width: usize,
    control: &Control,
) -> Result<Clustering, Cancelled> {
    loop {
        let mut labels = None;
        if !prices.is_empty() {
            let origin = mean(&centroids);
            let priced = Centroids::about(centroids.clone(), metric, origin, prices.clone());
            labels = Some(balance::assign(rows, &priced, control)?);
        }
        let ready = Centroids::new(centroids, metric);
        let nearest = ready.nearest(rows, width, control)?;
        let labels = labels.unwrap_or_else(|| nearest.first().0);
        let counts = count(&labels, ready.len());
        if !counts.contains(&0) {
            return Ok(Clustering { centroids: ready, labels, nearest });
        }
        let used: Vec<usize> = (0..ready.len()).filter(|&cluster| counts[cluster] > 0).collect();
        centroids = select(ready.rows(), &used);
        if !prices.is_empty() {
            prices = used.into_iter().map(|cluster| prices[cluster]).collect();
        }
    }
}

/// How many rows each cluster has.
pub(super) fn count(labels: &[u32], clusters: usize) -> Vec<u32> {
    let mut counts = vec![0; clusters];
    labels.iter().for_each(|&label| counts[label as usize] += 1);
    counts
}

/// What k-means makes small: under l2 the squared distance of a row from its centroid, else ‖x‖ − ⟨x, c⟩.
pub(super) struct Losses {
    /// Added to a distance.
    norms: Vec<f64>,
    /// A loss within what rounding may do is none, in units of the norm.
    error: f64,
}

impl Losses {
    pub(super) fn new(rows: &Matrix<f32>, metric: Metric) -> Self {
        let norm = |row| match metric {
            Metric::L2 => 0.0,
            Metric::Ip | Metric::Cosine => {
                rows.row(row).iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt()
            }
        };
        Self { norms: (0..rows.rows()).map(norm).collect(), error: 4.0 * f64::from(dot_error(rows.dim())) }
    }

    pub(super) fn of(&self, row: usize, distance: f32) -> f64 {
        let loss = self.norms[row] + f64::from(distance);
        if loss > self.error * self.norms[row] { loss } else { 0.0 }
    }
}

/// Gives each cluster without rows the row of largest loss, that of the lowest number among equals, if its cluster can
/// spare it.
fn repair(labels: &mut [u32], clusters: usize, loss: impl Fn(usize) -> f64) {
    let mut counts = count(labels, clusters);
    let empty: Vec<usize> = (0..clusters).filter(|&cluster| counts[cluster] == 0).collect();
    if empty.is_empty() {
        return;
    }
    let mut far: Vec<(f64, usize)> = (0..labels.len()).map(|row| (loss(row), row)).collect();
    far.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut far = far.into_iter().filter(|&(loss, _)| loss > 0.0);
    for cluster in empty {
        let spare = far.find(|&(_, row)| counts[labels[row] as usize] > 1);
        let Some((_, row)) = spare else { return };
        counts[labels[row] as usize] -= 1;
        counts[cluster] = 1;
        labels[row] = cluster as u32;
    }
}

/// The mean of each cluster's rows, under ip and cosine its direction; a cluster without rows, or of no direction,
/// stays where it was. Each mean is summed by one thread in the order of the rows.
fn means(
    rows: &Matrix<f32>,
    labels: &[u32],
    before: &Matrix<f32>,
    metric: Metric,
    control: &Control,
) -> Result<Matrix<f32>, Cancelled> {
    let clusters = before.rows();
    let mut ends: Vec<usize> = Vec::with_capacity(clusters);
    let mut sum = 0;
    for count in count(labels, clusters) {
        ends.push(sum);
        sum += count as usize;
    }
    let mut members = vec![0_u32; labels.len()];
    for (row, &label) in labels.iter().enumerate() {
        let end = &mut ends[label as usize];
        members[*end] = row as u32;
        *end += 1;
    }
    let mut after = before.clone();
    let stride = after.stride();
    let parts = after.values_mut().chunks_mut(PART * stride.max(1));
    control.for_each(parts.enumerate(), |(part, out)| {
        for (cluster, out) in (part * PART..).zip(out.chunks_exact_mut(stride)) {
            let first = if cluster == 0 { 0 } else { ends[cluster - 1] };
            let members = &members[first..ends[cluster]];
            run(control.level(), Mean { rows, members, metric, out });
        }
        Ok::<_, Cancelled>(())
    })?;
    Ok(after)
}

/// The mean of some rows.
struct Mean<'a> {
    rows: &'a Matrix<f32>,
    members: &'a [u32],
    metric: Metric,
    out: &'a mut [f32],
}

impl Work for Mean<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let mut sums = vec![0.0_f64; self.out.len()];
        for &row in self.members {
            for (sum, &value) in sums.iter_mut().zip(self.rows.padded(row as usize)) {
                *sum += f64::from(value);
            }
        }
        let divisor = match self.metric {
            Metric::L2 => self.members.len() as f64,
            Metric::Ip | Metric::Cosine => sums.iter().map(|sum| sum * sum).sum::<f64>().sqrt(),
        };
        if divisor > 0.0 {
            self.out.iter_mut().zip(&sums).for_each(|(out, sum)| *out = (sum / divisor) as f32);
        }
    }
}

/// Rows as centroids: under ip and cosine of unit length, but for zeros.
pub(super) fn directions(mut rows: Matrix<f32>, metric: Metric) -> Matrix<f32> {
    if metric != Metric::L2 {
        for row in 0..rows.rows() {
            let values = rows.row_mut(row);
            let norm = values.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
            if norm > 0.0 {
                values.iter_mut().for_each(|value| *value = (f64::from(*value) / norm) as f32);
            }
        }
    }
    rows
}
