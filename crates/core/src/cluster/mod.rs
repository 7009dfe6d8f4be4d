//! Clusters: k-means, the nearest centroids of a vector, and inverted lists.
//!
//! - [`KMeans`] learns centroids from rows (S. P. Lloyd, "Least squares quantization in PCM", 1957/1982) and says which
//!   rows are whose. Under l2 a centroid is the mean of its rows and a row goes to the centroid at the least distance;
//!   under ip and cosine a centroid is the direction of that mean, of unit length, and a row goes to the centroid of
//!   the largest inner product (spherical k-means). Seeds, balance and what is exact: in the files.
//! - [`Centroids`] finds the nearest centroids of rows ([`Centroids::nearest`]) and of queries within a search
//!   ([`Centroids::route`]): exactly, and mostly in 8-bit arithmetic.
//! - [`Lists`] says which rows lie in which list, and in which slot, while rows come and go; [`Filed`] keeps what a method
//!   stores of rows in that order.
//! - [`Probed`] groups queries by the lists they probe.
//!
//! Nothing depends on the number of threads or on what else is in a batch.
//!
//! ```
//! use counterpoint_core::cluster::{KMeans, Lists};
//! use counterpoint_core::metric::Metric;
//! use counterpoint_core::threads::Control;
//! use counterpoint_core::vectors::Matrix;
//!
//! let mut rows = Matrix::zeroed(6, 2);
//! for (row, values) in [[0.0, 0.1], [9.0, 9.0], [0.1, 0.0], [9.1, 9.0], [0.0, 0.0], [9.0, 9.1]].iter().enumerate() {
//!     rows.row_mut(row).copy_from_slice(values);
//! }
//! let found = KMeans::new(2).fit(&rows, Metric::L2, 2, &Control::default())?;
//! assert_eq!(found.labels[0], found.labels[2]);
//! assert_ne!(found.labels[0], found.labels[1]);
//! assert_eq!(found.nearest.of(3), [found.labels[1], found.labels[0]]);
//!
//! let lists = Lists::from_labels(&found.labels, found.centroids.len(), 16);
//! let (block, members) = lists.blocks_of(found.labels[1] as usize).next().unwrap();
//! assert_eq!(members, [1, 3, 5]);
//! assert_eq!(lists.slot_of(3), Some(16 * block + 1));
//! # Ok::<(), counterpoint_core::threads::Cancelled>(())
//! ```

mod balance;
mod centroids;
mod coded;
mod filed;
mod kmeans;
mod lists;
mod probed;
mod seeds;

pub use balance::LARGEST;
pub use centroids::{Centroids, Nearest};
pub use filed::{Arena, Filed};
pub use kmeans::{Clustering, KMeans};
pub use lists::{Lists, Moves, SLOTS};
pub use probed::{Probed, Visit};

#[cfg(test)]
mod tests;
