//! Orthogonal maps: seeded structured ones for any dimension, and dense ones.
//!
//! Rotated, any vector looks like one of independent normal values (its length is kept), so a quantiser may assume just
//! that. [`Structured`] costs n log n and is stored as a seed.

mod structured;
#[cfg(test)]
mod tests;

pub use structured::Structured;
