//! LoRANN: clusters whose points are scored by reduced-rank regression (Jääsaari, Hyvönen, Roos: "LoRANN: Low-Rank Matrix
//! Factorization for Approximate Nearest Neighbor Search", NeurIPS 2024).
//!
//! Rows are projected onto their leading principal axes and clustered by k-means. In each cluster a row is stored as a
//! few coefficients in 4 or 8 bits; one small matrix for each cluster turns a query into weights of which these give
//! the inner products. A search routes the query to `n_probe` clusters, estimates the products with all of their points
//! by integer kernels, and scores the best `rerank` on the vectors themselves. See `factor` for the model and `search`
//! for the way a batch goes.
//!
//! ```
//! use counterpoint_core::index::{AnnIndex, SearchOptions};
//! use counterpoint_core::metric::Metric;
//! use counterpoint_core::threads::Control;
//! use counterpoint_core::vectors::Rows;
//! use counterpoint_lorann::Parameters;
//!
//! let control = Control::default();
//! let mut index = counterpoint_lorann::new(Metric::L2, Parameters::default()).ok_or("parameters")?;
//! index.fit(&Rows::new(&[0.0, 0.0, 3.0, 4.0, 1.0, 0.0], 2)?, None, &control)?;
//! let found = index.search(&Rows::new(&[0.9, 0.0], 2)?, &SearchOptions::new(2), &control)?;
//! assert_eq!(found.ids, [2, 0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod blocks;
mod coding;
mod factor;
mod memory;
mod model;
mod parameters;
mod pools;
mod products;
mod projection;
mod search;
mod store;

pub use parameters::Parameters;
pub use store::{Clusters, Lorann, new};
