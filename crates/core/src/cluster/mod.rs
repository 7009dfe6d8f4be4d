//! Clusters: k-means, the nearest centroids of a vector, and inverted lists.
//!
//! - [`KMeans`] learns centroids from rows and says which rows are whose.
//! - [`Centroids`] finds the nearest centroids of rows and queries.
//! - [`Lists`] says which rows lie in which list, while rows come and go.
//! - [`Probed`] groups queries by the lists they probe.

mod balance;
mod centroids;
mod coded;
mod kmeans;
mod lists;
mod probed;
mod seeds;

pub use balance::LARGEST;
pub use centroids::{Centroids, Nearest};
pub use kmeans::{Clustering, KMeans};
pub use lists::{Lists, Moves, SLOTS};
pub use probed::{Probed, Visit};

#[cfg(test)]
mod tests;
