//! Orthogonal maps: seeded structured rotations of any dimension, and dense matrices.
//!
//! Rotated at random, any vector looks like one of independent normal values of its length, so that a quantiser may
//! assume just that. [`Structured`] costs n log n operations and is stored as a seed; [`Dense`] costs n², is stored as
//! its matrix, and may be fitted (see [`crate::axes`]). Both give the same bytes on every level, whatever the number of
//! threads and of vectors handed over at once.

mod dense;
mod structured;
#[cfg(test)]
mod tests;

pub use dense::{Dense, NotOrthonormal};
use serde_json::{Map, Value, json};
pub use structured::Structured;

use crate::file::{Contents, FormatError, TensorView};
use crate::simd::Simd;
use crate::threads::Control;
use crate::vectors::MAX_DIM;

/// One orthogonal map or the other.
#[derive(Clone)]
pub enum Rotation {
    /// By signs, permutations and Hadamard transforms.
    Structured(Structured),
    /// By a matrix.
    Dense(Dense),
}

impl Rotation {
    /// Values in.
    pub fn dim(&self) -> usize {
        match self {
            Self::Structured(rotation) => rotation.dim(),
            Self::Dense(rotation) => rotation.dim(),
        }
    }

    /// Values out.
    pub fn outputs(&self) -> usize {
        match self {
            Self::Structured(rotation) => rotation.padded(),
            Self::Dense(rotation) => rotation.outputs(),
        }
    }

    /// Maps the vectors of `values` (each of `dim`, one after another) into `out` (each of `outputs`). `scratch` has at
    /// least `outputs` values, of no meaning before or after.
    ///
    /// # Panics
    /// If the slices are not of whole vectors, or of different numbers of them.
    #[inline(always)]
    pub fn apply<S: Simd>(&self, simd: S, values: &[f32], scratch: &mut [f32], out: &mut [f32]) {
        match self {
            Self::Structured(rotation) => {
                let (dim, outputs) = (rotation.dim(), rotation.padded());
                assert!(
                    values.len().is_multiple_of(dim) && out.len() == values.len() / dim * outputs,
                    "rotate: slices of other lengths"
                );
                for (values, out) in values.chunks_exact(dim).zip(out.chunks_exact_mut(outputs)) {
                    rotation.apply(simd, values, scratch, out);
                }
            }
            Self::Dense(rotation) => rotation.apply(simd, values, out),
        }
    }

    /// Maps one vector `values` (`outputs`, used up) back into `out` (`dim`); `scratch` is as for [`Rotation::apply`].
    ///
    /// # Panics
    /// If a slice is of another length.
    #[inline(always)]
    pub fn apply_inverse<S: Simd>(&self, simd: S, values: &mut [f32], scratch: &mut [f32], out: &mut [f32]) {
        match self {
            Self::Structured(rotation) => rotation.apply_inverse(simd, values, scratch, out),
            Self::Dense(rotation) => rotation.apply_inverse(simd, values, out),
        }
    }

    /// Writes what a file's parameters hold of it: `rotation`, and `rotation_seed` or `rotation_outputs`.
    pub fn write_params(&self, params: &mut Map<String, Value>) {
        let (kind, key, value) = match self {
            Self::Structured(rotation) => ("structured", "rotation_seed", json!(rotation.seed())),
            Self::Dense(rotation) => ("dense", "rotation_outputs", json!(rotation.outputs())),
        };
        params.insert("rotation".into(), json!(kind));
        params.insert(key.into(), value);
    }

    /// What a file's tensors hold of it: the matrix, if it is one.
    pub fn tensor(&self, name: &'static str) -> Option<TensorView<'_>> {
        match self {
            Self::Structured(_) => None,
            Self::Dense(rotation) => Some(rotation.tensor(name)),
        }
    }

    /// Takes a map of `dim` values in out of a file, as [`Rotation::write_params`] and [`Rotation::tensor`] put it
    /// there.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn take(
        contents: &mut Contents,
        name: &'static str,
        dim: usize,
        control: &Control,
    ) -> Result<Self, FormatError> {
        if !(1..=MAX_DIM).contains(&dim) {
            return Err(FormatError::content("dim", "1 to 65536", dim));
        }
        match contents.param_str("rotation")? {
            "structured" => Ok(Self::Structured(Structured::new(dim, contents.param_u64("rotation_seed")?))),
            "dense" => {
                let outputs = contents.param_usize("rotation_outputs")?;
                if outputs == 0 || outputs > dim {
                    return Err(FormatError::content("rotation_outputs", "1 to the dimension", outputs));
                }
                Ok(Self::Dense(Dense::take(contents, name, outputs, dim, control)?))
            }
            other => Err(FormatError::content("rotation", "structured or dense", other)),
        }
    }
}
