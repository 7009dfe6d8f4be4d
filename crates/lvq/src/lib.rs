//! LVQ: locally-adaptive scalar quantisation (Aguerrebere, Bhati, Hildebrand, Tepper, Willke: "Similarity
//! search in the blink of an eye with compressed indices", VLDB 2023, definitions 1 and 2), searched flat or through a graph.
//!
//! **Code.** With μ the mean of the data and x' = x − μ, a vector is stored as
//! b = f16(min x'), s = f16((max x' − min x') / (2ᴮ − 1)) and codes
//! cⱼ = clamp(round((x'ⱼ − b) / s), 0, 2ᴮ − 1), and decoded as x̂' = s·c + b. A second code, of what the first leaves,
//! may follow, without constants of its own: LVQ-4x8 is 4 and 8 bits. See [`mod@encode`], and [`mod@space`] for data that
//! f16 constants cannot express.
//!
//! **Structure.** Rows are scanned, or are vertices of a graph that is walked through: [`mod@graph`].
//!
//! **Distance.** One form for all metrics, from an integer sum and per-vector constants; see [`mod@scan`]:
//! l2 costs what the inner product costs.
//!
//! ```
//! use counterpoint_core::index::{AnnIndex, SearchOptions};
//! use counterpoint_core::metric::Metric;
//! use counterpoint_core::simd::int8::Bits;
//! use counterpoint_core::threads::Control;
//! use counterpoint_core::vectors::{Keep, Rows};
//!
//! let control = Control::default();
//! let mut index = counterpoint_lvq::new(Metric::L2, Bits::Eight, Keep::None);
//! index.fit(&Rows::new(&[0.0, 0.0, 3.0, 4.0, 1.0, 0.0], 2)?, None, &control)?;
//! let found = index.search(&Rows::new(&[0.9, 0.0], 2)?, &SearchOptions::new(2), &control)?;
//! assert_eq!(found.ids, [2, 0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

pub mod encode;
pub mod graph;
mod groups;
pub mod levels;
mod residual;
pub mod scan;
pub mod space;
mod store;

use counterpoint_core::file::{Contents, FormatError};
use counterpoint_core::index::AnnIndex;
use counterpoint_core::threads::Control;

pub use levels::{Levels, UnsupportedLevels};
pub use store::{Codes, Lvq, new};

/// Makes an index, flat or of a graph, from a file's contents.
///
/// # Errors
/// [`FormatError`].
pub fn load(contents: Contents, control: &Control) -> Result<Box<dyn AnnIndex>, FormatError> {
    if is_graph(&contents)? { graph::LvqGraph::load(contents, control) } else { Lvq::load(contents, control) }
}

/// Whether a file of LVQ's is one of a graph.
///
/// # Errors
/// [`FormatError`] for a structure that is none.
pub fn is_graph(contents: &Contents) -> Result<bool, FormatError> {
    match contents.params().get("structure") {
        None => Ok(false),
        Some(structure) if structure == "graph" => Ok(true),
        Some(other) => Err(FormatError::content("structure", "graph, or nothing", other)),
    }
}
