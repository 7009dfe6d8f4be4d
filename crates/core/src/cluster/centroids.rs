//! The nearest centroids of vectors.
//!
//! The *distance* of a vector x and a centroid c is ‖x − c‖² under l2 and −⟨x, c⟩ under ip and cosine, by the kernels
//! of [`crate::simd::f32`] for one row; ties go to the lower cluster. A tile of 6 vectors first meets all centroids in 8
//! bits, 64 at a time ([`super::coded`]); only centroids that may be among the nearest are compared in f32. What is
//! found is what comparing all in f32 would find: it depends on neither the number of threads nor the vectors beside.

use super::coded::{CodedCentroids, CodedRows, CodedTile, Codes, mean};
use crate::metric::Metric;
use crate::simd::{GROUP, Simd, TILE, Work, run};
use crate::threads::{Cancelled, Control};
use crate::vectors::Matrix;

/// Vectors of one item of parallel work.
const PART: usize = 128 * TILE;

/// Up to so many are sorted rather than selected from.
const FEW: usize = 20;

/// Centroids, ready to be compared with vectors.
#[derive(Clone)]
pub struct Centroids {
    rows: Matrix<f32>,
    metric: Metric,
    prices: Vec<f32>,
    coded: CodedCentroids,
}

/// The nearest clusters of vectors, nearest first: [`Nearest::width`] for each.
///
/// Holds the memory that finding them takes: one that is used again allocates nothing.
#[derive(Clone, Default)]
pub struct Nearest {
    clusters: Vec<u32>,
    distances: Vec<f32>,
    width: usize,
    scratch: Scratch,
}

/// Memory to work in.
#[derive(Clone, Default)]
struct Scratch {
    tile: Option<CodedTile>,
    codes: Codes,
    bounds: Vec<[[f32; GROUP]; TILE]>,
    maxima: Vec<f32>,
    keys: Vec<u64>,
}

impl Nearest {
    /// How many clusters each vector has: those asked for, or all there are.
    pub fn width(&self) -> usize {
        self.width
    }

    /// All clusters, vector after vector.
    pub fn clusters(&self) -> &[u32] {
        &self.clusters
    }

    /// Their distances: squared Euclidean under l2, −⟨x, c⟩ under ip and cosine.
    pub fn distances(&self) -> &[f32] {
        &self.distances
    }

    /// The clusters of one vector, nearest first.
    ///
    /// # Panics
    /// If there is no such vector.
    pub fn of(&self, vector: usize) -> &[u32] {
        &self.clusters[vector * self.width..(vector + 1) * self.width]
    }

    /// The nearest cluster of each vector, and its distance.
    pub(super) fn first(&self) -> (Vec<u32>, Vec<f32>) {
        let width = self.width.max(1);
        let clusters = self.clusters.iter().copied().step_by(width).collect();
        (clusters, self.distances.iter().copied().step_by(width).collect())
    }

    /// How much farther the second cluster is than the first, in the mean of all vectors; 0 if there is no second.
    pub(super) fn gap(&self) -> f64 {
        let rows = self.distances.chunks_exact(self.width.max(1));
        let gaps: Vec<f64> =
            rows.filter_map(|row| Some(f64::from(*row.get(1)?) - f64::from(*row.first()?))).collect();
        gaps.iter().sum::<f64>() / gaps.len().max(1) as f64
    }
}

/// A distance and its cluster: the nearer, the smaller; among equal distances, the lower cluster.
#[inline(always)]
fn key(distance: f32, cluster: usize) -> u64 {
    let bits = distance.to_bits();
    // Rises as the distance does: of negative values all bits are turned, of others the sign.
    let rising = bits ^ ((bits.cast_signed() >> 31).cast_unsigned() | 1 << 31);
    u64::from(rising) << 32 | cluster as u64
}

/// The distance of a key.
#[inline(always)]
fn distance(key: u64) -> f32 {
    let rising = (key >> 32) as u32;
    let turned = if rising >> 31 == 1 { 1 << 31 } else { u32::MAX };
    f32::from_bits(rising ^ turned)
}

impl Centroids {
    /// Centroids, one a row, of finite values of legal magnitude.
    pub fn new(rows: Matrix<f32>, metric: Metric) -> Self {
        let origin = mean(&rows);
        Self::about(rows, metric, origin, Vec::new())
    }

    /// Centroids about an origin, each with a price that is added to its distances (none, or one for each).
    pub(super) fn about(rows: Matrix<f32>, metric: Metric, origin: Vec<f32>, prices: Vec<f32>) -> Self {
        let coded = CodedCentroids::new(&rows, metric, origin, &prices);
        Self { rows, metric, prices, coded }
    }

    /// The centroids, one a row: what a file holds.
    pub fn rows(&self) -> &Matrix<f32> {
        &self.rows
    }

    /// What "near" means.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// Number of centroids.
    pub fn len(&self) -> usize {
        self.rows.rows()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Values of a centroid.
    pub fn dim(&self) -> usize {
        self.rows.dim()
    }

    /// The `width` nearest clusters of each row (all, if there are no more), on all threads.
    ///
    /// # Errors
    /// [`Cancelled`].
    ///
    /// # Panics
    /// If rows and centroids differ in dimension.
    pub fn nearest(&self, rows: &Matrix<f32>, width: usize, control: &Control) -> Result<Nearest, Cancelled> {
        self.nearest_of(rows, None, width, control)
    }

    /// The same, where the rows were coded before, about the origin of these centroids.
    pub(super) fn nearest_of(
        &self,
        rows: &Matrix<f32>,
        coded: Option<&CodedRows>,
        width: usize,
        control: &Control,
    ) -> Result<Nearest, Cancelled> {
        assert_eq!(rows.dim(), self.dim(), "rows and centroids of different dimensions");
        let width = width.min(self.len());
        let count = rows.rows() * width;
        let mut found =
            Nearest { clusters: vec![0; count], distances: vec![0.0; count], width, ..Nearest::default() };
        let part = (PART * width).max(1);
        let parts = found.clusters.chunks_mut(part).zip(found.distances.chunks_mut(part));
        control.for_each(parts.enumerate(), |(part, (clusters, distances))| {
            let (values, stride) = (&rows.values()[part * PART * rows.stride()..], rows.stride());
            let tiles = coded.map(|coded| coded.tiles_from(part * PART));
            let scratch = &mut Scratch::default();
            let search =
                Search { centroids: self, values, stride, tiles, width, clusters, distances, scratch };
            run(control.level(), search);
            Ok::<_, Cancelled>(())
        })?;
        Ok(found)
    }

    /// The `width` nearest clusters (all, if there are no more) of `count` queries, of which each begins `stride`
    /// values after the one before. Runs on the caller's thread, inside a search.
    ///
    /// # Panics
    /// If a query ends beyond `values`.
    #[inline(always)]
    pub fn route<S: Simd>(
        &self,
        simd: S,
        values: &[f32],
        stride: usize,
        count: usize,
        width: usize,
        found: &mut Nearest,
    ) {
        let width = width.min(self.len());
        let Nearest { clusters, distances, scratch, .. } = found;
        clusters.resize(count * width, 0);
        distances.resize(count * width, 0.0);
        Search { centroids: self, values, stride, tiles: None, width, clusters, distances, scratch }
            .run(simd);
        found.width = width;
    }
}

/// Finds the nearest clusters of as many vectors as there is room for, under one level's features.
struct Search<'a> {
    centroids: &'a Centroids,
    values: &'a [f32],
    stride: usize,
    tiles: Option<&'a [CodedTile]>,
    width: usize,
    clusters: &'a mut [u32],
    distances: &'a mut [f32],
    scratch: &'a mut Scratch,
}

impl Work for Search<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { centroids, values, stride, tiles, width, clusters, distances, scratch } = self;
        let Centroids { rows, metric, prices, coded } = centroids;
        if width == 0 {
            return;
        }
        let Scratch { tile: own, codes, bounds, maxima, keys } = scratch;
        let own = match own.take().filter(|tile| tile.dim() == rows.dim()) {
            Some(tile) => own.insert(tile),
            None => own.insert(CodedTile::new(rows.dim())),
        };
        let out = clusters.chunks_mut(TILE * width).zip(distances.chunks_mut(TILE * width));
        for (t, (clusters, distances)) in out.enumerate() {
            let (values, count) = (&values[t * TILE * stride..], clusters.len() / width);
            let tile = match tiles {
                Some(tiles) => &tiles[t],
                None => {
                    coded.fill(own, values, stride, count, codes);
                    &*own
                }
            };
            let margins = coded.bounds(simd, tile, bounds);
            let out = clusters.chunks_exact_mut(width).zip(distances.chunks_exact_mut(width));
            for (i, (clusters, distances)) in out.enumerate() {
                let vector = &values[i * stride..][..rows.dim()];
                keys.clear();
                coded.candidates(tile, i, width, (bounds, margins[i]), maxima, |cluster| {
                    let centroid = rows.row(cluster);
                    let (exact, unit) = match metric {
                        Metric::L2 => (simd.squared_l2(vector, centroid), 2.0),
                        Metric::Ip | Metric::Cosine => (-simd.dot(vector, centroid), 1.0),
                    };
                    // Without a price 0 is added, which takes the sign off a zero: ties are ties.
                    let price = prices.get(cluster).map_or(0.0, |price| unit * price);
                    keys.push(key(exact + price, cluster));
                });
                if keys.len() > width.max(FEW) {
                    keys.select_nth_unstable(width - 1);
                    keys.truncate(width);
                }
                keys.sort_unstable();
                for ((&key, cluster), to) in keys.iter().zip(clusters).zip(distances) {
                    *cluster = key as u32;
                    *to = distance(key);
                }
            }
        }
    }
}
