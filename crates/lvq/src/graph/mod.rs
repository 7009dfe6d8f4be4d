//! LVQ on a graph: the shared room's graph ([`counterpoint_core::graph`]) over vertices that are LVQ codes.
//!
//! Edges lie apart from codes, and a vertex is scored once: a search looks at a vertex's neighbours, asks which of them it
//! has not seen yet, asks memory for the codes of all those, and scores them four at a time on the primary codes
//! ([`vectors`]). Of what it found the best are scored again on the residual, or on kept vectors.

mod build;
mod file;
mod parameters;
mod search;
mod store;
mod update;
pub mod vectors;
mod walk;

pub use counterpoint_core::graph::MOST_DEGREE;
pub use parameters::Parameters;
pub use store::{Edges, LvqGraph, new};
