//! Where searches begin.

use crate::axes::choose;
use crate::cluster::KMeans;
use crate::metric::Metric;
use crate::threads::{Cancelled, Control};
use crate::vectors::{Matrix, RowSource};

/// Rows that an entry point is found among.
const SAMPLE: usize = 128;

/// At most `count` entry points, in rising order, at least one if there are rows: of each cluster of a sample the row
/// that is nearest to its mean.
///
/// # Errors
/// [`Cancelled`].
pub fn entries(
    rows: &dyn RowSource,
    count: usize,
    seed: u64,
    control: &Control,
) -> Result<Vec<u32>, Cancelled> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let count = count.max(1);
    let chosen = choose(rows.len(), count.saturating_mul(SAMPLE), seed);
    let mut sample = Matrix::zeroed(chosen.len(), rows.dim());
    for (to, &from) in chosen.iter().enumerate() {
        rows.read(from, sample.row_mut(to));
    }
    let clusters =
        KMeans { sample: SAMPLE, seed, ..KMeans::new(count) }.fit(&sample, Metric::L2, 1, control)?;
    let mut best = vec![(f32::INFINITY, 0); clusters.centroids.len()];
    for (row, (&label, &distance)) in clusters.labels.iter().zip(clusters.nearest.distances()).enumerate() {
        let best = &mut best[label as usize];
        if distance < best.0 {
            *best = (distance, chosen[row] as u32);
        }
    }
    let mut entries: Vec<u32> = best.into_iter().map(|(_, row)| row).collect();
    entries.sort_unstable();
    entries.dedup();
    Ok(entries)
}
