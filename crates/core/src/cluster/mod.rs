//! Clusters: k-means, the nearest centroids of a vector, and inverted lists.
//!
//! - [`KMeans`] learns centroids from rows and says which rows are whose.
//! - [`Centroids`] finds the nearest centroids of rows and queries.
//! - [`Lists`] says which rows lie in which list, while rows come and go.
//! - [`Probed`] groups queries by the lists they probe.

mod centroids;
mod coded;
mod kmeans;
mod seeds;

pub use centroids::{Centroids, Nearest};
pub use kmeans::{Clustering, KMeans};
