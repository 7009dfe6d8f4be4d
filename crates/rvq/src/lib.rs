//! RVQ: residual vector quantisation (Juang and Gray, "Multiple stage vector quantization for speech coding", ICASSP 1982;
//! beam search and joint refinement as in Liu, Lu, Huang, "Improved Residual Vector Quantization for High-dimensional
//! Approximate Nearest Neighbor Search", 2015, and in additive quantisation: Babenko and Lempitsky, CVPR 2014), searched flat.
//!
//! A vector is stored as the numbers of M codewords, one a stage, whose sum stands for it, and one byte more under l2 and
//! cosine. See `train` for learning, `beam` for encoding, `norms` and `search` for distances: one table a query,
//! cross terms and all.
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

mod beam;
mod codebooks;
mod norms;
mod parameters;
mod quantizer;
mod refine;
mod repair;
mod search;
mod space;
mod store;
#[cfg(test)]
mod tests;
mod train;

pub use codebooks::Codebooks;
pub use parameters::{MOST_BEAM, MOST_STAGES, Parameters};
pub use quantizer::Quantizer;
pub use store::{Codes, Rvq, new};
