//! SymphonyQG: a graph whose edges carry quantised codes, scored by FastScan (Gou, Gao, Xu, Long: "SymphonyQG: Towards
//! Symphonious Integration of Quantization and Graph for Approximate Nearest Neighbor Search", SIGMOD 2025).
//!
//! Each row is a vertex, joined to a few dozen near ones. Beside its vector it keeps a code of one bit a dimension for
//! each neighbour, relative to itself: when a search expands a vertex it reads one run of memory, scores the vertex
//! exactly, and estimates 32 neighbours at a time from look-ups in registers. See `encode` for the estimate, `rows` for
//! the layout and [`counterpoint_core::graph`] for graph and search.
//!
//! ```
//! use counterpoint_core::index::{AnnIndex, SearchOptions};
//! use counterpoint_core::metric::Metric;
//! use counterpoint_core::threads::Control;
//! use counterpoint_core::vectors::Rows;
//! use counterpoint_symphony_qg::Parameters;
//!
//! let control = Control::default();
//! let mut index = counterpoint_symphony_qg::new(Metric::L2, Parameters::default()).ok_or("parameters")?;
//! index.fit(&Rows::new(&[0.0, 0.0, 3.0, 4.0, 1.0, 0.0], 2)?, None, &control)?;
//! let found = index.search(&Rows::new(&[0.9, 0.0], 2)?, &SearchOptions::new(2), &control)?;
//! assert_eq!(found.ids, [2, 0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod build;
mod encode;
mod file;
mod graph;
mod parameters;
mod product;
mod rows;
mod search;
mod store;
#[cfg(test)]
mod tests;
mod update;
mod vector;

pub use counterpoint_core::graph::MOST_DEGREE;
pub use parameters::{EdgeCodes, Parameters, UnknownEdgeCodes};
pub use store::{Edges, SymphonyQg, new};
