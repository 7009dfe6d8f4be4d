//! TurboQuant: data-oblivious rotation and Lloyd-Max codes (Zandieh, Daliri, Hadian, Mirrokni: "TurboQuant: online
//! vector quantization with near-optimal distortion rate", ICLR 2026, section 3.1).
//!
//! **Code.** A vector, scaled to length 1 and rotated at random, is a uniform point of the unit sphere: its coordinates
//! have one known density, whatever the data, and each is stored as a `bits`-bit code of the [`codebook`] that is best
//! for that density.
#![forbid(unsafe_code)]

pub mod codebook;
mod density;

pub use codebook::{Additive, Codebook};
