//! Graphs of bounded degree, and the search through them.
//!
//! A graph joins each vertex (a row of an index) to a few that are near it in many directions; a search walks towards
//! the query, always from the nearest vertex that it knows and has not left yet ([`beam`]). What a vertex and its
//! neighbours look like is the method's: it gives an [`Expander`].

pub mod adjacency;
pub mod beam;
pub mod build;
mod candidates;
pub mod change;
mod column;
pub mod connect;
mod entries;
mod expander;
mod leaves;
mod local;
mod partition;
mod pool;
mod prune;
mod reverse;
pub mod roster;
pub mod seek;
pub mod space;
#[cfg(test)]
mod tests;
mod visited;

pub use adjacency::Adjacency;
pub use build::{Build, Graph, MOST_DEGREE, Method};
pub use column::Column;
pub use entries::entries;
pub use expander::{Expander, Mark};
pub use pool::{MAX_VERTICES, Nearest, Pool};
pub use roster::{Roster, Wear};
pub use visited::Visited;
