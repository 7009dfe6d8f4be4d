//! RVQ: residual vector quantisation (Juang and Gray, "Multiple stage vector quantization for speech coding", ICASSP 1982;
//! beam search and joint refinement as in Liu, Lu, Huang, "Improved Residual Vector Quantization for High-dimensional
//! Approximate Nearest Neighbor Search", 2015, and in additive quantisation: Babenko and Lempitsky, CVPR 2014), searched flat
//! or in lists ([`ivf`]).
//!
//! A vector is stored as the numbers of M codewords, one a stage, whose sum stands for it, and one byte more under l2 and
//! cosine. See `train` for learning, `beam` for encoding, `norms` and `tables` for distances (one table a query, cross terms
//! and all), `prefix` for searches of the first stages alone.
//!
//! ```
//! use counterpoint_core::index::{AnnIndex, SearchOptions};
//! use counterpoint_core::metric::Metric;
//! use counterpoint_core::threads::Control;
//! use counterpoint_core::vectors::Rows;
//! use counterpoint_rvq::Parameters;
//!
//! let control = Control::default();
//! let mut index = counterpoint_rvq::new(Metric::L2, Parameters::default()).ok_or("parameters")?;
//! index.fit(&Rows::new(&[0.0, 0.0, 3.0, 4.0, 1.0, 0.0], 2)?, None, &control)?;
//! let found = index.search(&Rows::new(&[0.9, 0.0], 2)?, &SearchOptions::new(2), &control)?;
//! assert_eq!(found.ids, [2, 0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

use counterpoint_core::file::{Contents, FormatError};
use counterpoint_core::index::AnnIndex;
use counterpoint_core::metric::Metric;
use counterpoint_core::threads::Control;

mod beam;
mod codebooks;
mod encode;
mod groups;
pub mod ivf;
mod lists;
mod norms;
mod parameters;
mod prefix;
mod quantizer;
mod refine;
mod repair;
mod search;
mod space;
mod store;
mod tables;
#[cfg(test)]
mod tests;
mod train;

pub use codebooks::Codebooks;
pub use parameters::{MOST_BEAM, MOST_LISTS, MOST_STAGES, Parameters, Structure};
pub use quantizer::Quantizer;
pub use store::{Codes, Rvq, new};

/// Makes an index of any structure, without vectors; `None` if a parameter is not such as an index may have.
pub fn index(metric: Metric, parameters: Parameters) -> Option<Box<dyn AnnIndex>> {
    Some(match parameters.structure {
        Structure::Flat => Box::new(new(metric, parameters)?),
        Structure::Ivf { .. } => Box::new(ivf::new(metric, parameters)?),
    })
}

/// Loads an index of any structure.
///
/// # Errors
/// [`FormatError`].
pub fn load(contents: Contents, control: &Control) -> Result<Box<dyn AnnIndex>, FormatError> {
    match Parameters::read(&contents)?.structure {
        Structure::Flat => Rvq::load(contents, control),
        Structure::Ivf { .. } => ivf::Ivf::load(contents, control),
    }
}
