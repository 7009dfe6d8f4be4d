//! Learning codebooks: k-means in every subspace, each by one thread.

use super::{ProductQuantizer, centroids, span};
use crate::axes::choose;
use crate::cluster::{Clustering, KMeans};
use crate::metric::Metric;
use crate::simd::int8::Bits;
use crate::threads::{Cancelled, Control};
use crate::vectors::Matrix;

/// What codebooks are to be, and how thoroughly they are learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Training {
    /// Number of subspaces, at least 1; no more than values are made.
    pub subspaces: usize,
    /// The width of a code: 16 or 256 centroids a subspace.
    pub bits: Bits,
    /// Rounds of Lloyd's algorithm at most.
    pub iterations: usize,
    /// Rows learned from, for each centroid: the memory that learning takes beyond its input is that of so many
    /// sub-vectors for each thread.
    pub sample: usize,
    /// What is drawn at random follows from it.
    pub seed: u64,
}

impl Training {
    /// So many subspaces of codes of so many bits, with defaults for the rest.
    pub fn new(subspaces: usize, bits: Bits) -> Self {
        Self { subspaces, bits, iterations: 15, sample: 256, seed: 0 }
    }

    /// The rows, of `count`, that [`Training::fit`] learns from, in rising order: at most `sample` for each centroid.
    pub fn chosen(&self, count: usize) -> Vec<usize> {
        choose(count, centroids(self.bits).saturating_mul(self.sample.max(1)), self.seed)
    }

    /// Learns codebooks from (a sample of) `rows`, of finite values of legal magnitude.
    ///
    /// # Errors
    /// [`Cancelled`].
    pub fn fit(&self, rows: &Matrix<f32>, control: &Control) -> Result<ProductQuantizer, Cancelled> {
        let (dim, count) = (rows.dim(), centroids(self.bits));
        let subspaces = self.subspaces.clamp(1, dim.max(1));
        let chosen = self.chosen(rows.rows());
        let learned = control.map(0..subspaces, |m| {
            let span = span(dim, subspaces, m);
            let mut part = Matrix::zeroed(chosen.len(), span.len());
            for (to, &from) in chosen.iter().enumerate() {
                part.row_mut(to).copy_from_slice(&rows.row(from)[span.clone()]);
            }
            let plan = KMeans {
                clusters: count,
                iterations: self.iterations,
                sample: self.sample,
                balanced: false,
                seed: self.seed ^ (m as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            };
            let found = plan.fit(&part, Metric::L2, 1, &control.single())?;
            Ok::<_, Cancelled>(filled(&part, &found, count))
        })?;
        let mut codebooks = Matrix::zeroed(dim, count);
        for (m, learned) in learned.iter().enumerate() {
            for (j, value) in span(dim, subspaces, m).enumerate() {
                let to = codebooks.row_mut(value).iter_mut().enumerate();
                to.for_each(|(k, to)| *to = learned.row(k)[j]);
            }
        }
        Ok(ProductQuantizer { bits: self.bits, subspaces, codebooks })
    }
}

/// `count` centroids: those that k-means found; then, as it leaves out clusters that lost all rows, the rows farthest from
/// theirs, each in a cluster of its own; then the first again and again.
fn filled(rows: &Matrix<f32>, found: &Clustering, count: usize) -> Matrix<f32> {
    let centroids = found.centroids.rows();
    let mut all = Matrix::zeroed(count, rows.dim());
    let mut have = centroids.rows().min(count);
    (0..have).for_each(|k| all.copy_row(k, centroids, k));
    if have < count {
        let distances = found.nearest.distances();
        let mut far: Vec<usize> = (0..rows.rows()).filter(|&row| distances[row] > 0.0).collect();
        far.sort_by(|&a, &b| distances[b].total_cmp(&distances[a]));
        for row in far {
            if have < count && (0..have).all(|k| all.row(k) != rows.row(row)) {
                all.copy_row(have, rows, row);
                have += 1;
            }
        }
        (have..count)
            .filter(|&k| k > 0)
            .for_each(|k| all.values_mut().copy_within(..rows.stride(), k * rows.stride()));
    }
    all
}
