//! The lists of an inverted file: in the space of the codes, where a list's centroid takes the place of a first stage that
//! costs no bits.
//!
//! With c the centroid of its list, a row is coded as r = z − c, and its distance has one number more, of the list alone:
//! see [`super::tables`]. So one table a query does for all lists. A row goes to the nearest centroid under any metric;
//! a query goes to the lists that are nearest by the metric.

use counterpoint_core::cluster::{Centroids, KMeans, Nearest};
use counterpoint_core::metric::Metric;
use counterpoint_core::simd::{Simd, Work};
use counterpoint_core::threads::{Cancelled, Control};
use counterpoint_core::vectors::Matrix;

use crate::space::Batch;

/// Rounds of k-means.
const ITERATIONS: usize = 10;

/// The centroids.
#[derive(Clone)]
pub(crate) struct Coarse {
    /// By squared Euclidean distance.
    near: Centroids,
    /// By inner product, for queries under ip.
    along: Option<Centroids>,
}

impl Coarse {
    pub(crate) fn new(centroids: Matrix<f32>, metric: Metric) -> Self {
        let along = (metric == Metric::Ip).then(|| Centroids::new(centroids.clone(), Metric::Ip));
        Self { near: Centroids::new(centroids, Metric::L2), along }
    }

    /// Learns at most `lists` from rows along the axes, and says which row is whose. Without rows there is one, about the mean.
    pub(crate) fn learn(
        rows: &Matrix<f32>,
        lists: usize,
        metric: Metric,
        seed: u64,
        control: &Control,
    ) -> Result<(Self, Vec<u32>), Cancelled> {
        if rows.rows() == 0 {
            return Ok((Self::new(Matrix::zeroed(1, rows.dim()), metric), Vec::new()));
        }
        let kmeans = KMeans { iterations: ITERATIONS, seed, ..KMeans::new(lists.max(1)) };
        let found = kmeans.fit(rows, Metric::L2, 1, control)?;
        Ok((Self::new(found.centroids.rows().clone(), metric), found.labels))
    }

    /// Number of lists.
    pub(crate) fn len(&self) -> usize {
        self.near.len()
    }

    /// One a row.
    pub(crate) fn rows(&self) -> &Matrix<f32> {
        self.near.rows()
    }

    /// The lists nearest to queries, each at ‖q′ − c‖², or −⟨q′, c⟩ under ip.
    #[inline(always)]
    pub(crate) fn route<S: Simd>(
        &self,
        simd: S,
        (values, stride): (&[f32], usize),
        count: usize,
        width: usize,
        found: &mut Nearest,
    ) {
        self.along.as_ref().unwrap_or(&self.near).route(simd, values, stride, count, width, found);
    }
}

/// Takes the rows of a batch, along the axes, about the centroids of their lists.
pub(crate) struct File<'a, 'b> {
    pub(crate) coarse: &'a Coarse,
    pub(crate) batch: &'a mut Batch<'b>,
    /// What is found.
    pub(crate) lists: &'a mut Nearest,
}

impl Work for File<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { coarse, batch, lists } = self;
        let (along, count) = (&mut batch.along, batch.count);
        coarse.near.route(simd, along.values(), along.stride(), count, 1, lists);
        for (row, &list) in lists.clusters().iter().enumerate() {
            let centroid = coarse.rows().row(list as usize);
            along.row_mut(row).iter_mut().zip(centroid).for_each(|(value, c)| *value -= c);
        }
    }
}
