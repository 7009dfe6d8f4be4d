//! RVQ in lists: an inverted file, of which a search scans the lists nearest to the query.
//!
//! What a row is coded about, and how one table serves all lists: `lists` and `tables`. Codes lie in the order
//! of their lists (`groups`).

mod search;
mod store;

pub use store::{Inverted, Ivf, new};
