//! PQ: product quantisation (Jégou, Douze, Schmid: "Product quantization for nearest neighbor search", PAMI 2011), searched
//! flat.
//!
//! A vector is stored as the numbers of the nearest centroids of its parts ([`counterpoint_core::pq`]): M bytes, or M/2 with
//! 16 centroids a part. A query is compared with what the codes stand for: see `scan`.
//!
//! ```
//! use counterpoint_core::index::{AnnIndex, SearchOptions};
//! use counterpoint_core::metric::Metric;
//! use counterpoint_core::threads::Control;
//! use counterpoint_core::vectors::Rows;
//! use counterpoint_pq::Parameters;
//!
//! let control = Control::default();
//! let mut index = counterpoint_pq::new(Metric::L2, Parameters::default()).ok_or("parameters")?;
//! index.fit(&Rows::new(&[0.0, 0.0, 3.0, 4.0, 1.0, 0.0], 2)?, None, &control)?;
//! let found = index.search(&Rows::new(&[0.9, 0.0], 2)?, &SearchOptions::new(2), &control)?;
//! assert_eq!(found.ids, [2, 0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod parameters;
mod scan;
mod store;

pub use parameters::Parameters;
pub use store::{Codes, Pq, new};
