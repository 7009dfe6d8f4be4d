//! Vectors kept beside codes, to score candidates on and for reconstruction.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::{ByteChunk, ByteRows, InputError, Matrix, RowSource, widen};
use crate::buffer::LINE;
use crate::file::{Contents, FormatError, TensorView};
use crate::metric::Metric;
use crate::simd::{Simd, prefetch_far};
use crate::threads::Control;

/// Whether vectors are kept, and in what precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Keep {
    /// Codes only.
    None,
    /// One byte a dimension, and 8 for each row: distances are then near, not exact (see [`ByteRows`]).
    Int8,
    /// Half precision: 2 bytes a dimension.
    F16,
    /// Single precision: 4 bytes a dimension.
    F32,
}

/// Not a precision to keep vectors in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("keep: expected \"none\", \"int8\", \"f16\" or \"f32\", got {0:?}")]
pub struct UnknownKeep(pub String);

impl std::str::FromStr for Keep {
    type Err = UnknownKeep;

    fn from_str(name: &str) -> Result<Self, UnknownKeep> {
        match name {
            "none" => Ok(Keep::None),
            "int8" => Ok(Keep::Int8),
            "f16" => Ok(Keep::F16),
            "f32" => Ok(Keep::F32),
            _ => Err(UnknownKeep(name.to_owned())),
        }
    }
}

impl Keep {
    /// `"none"`, `"int8"`, `"f16"` or `"f32"`.
    pub fn name(self) -> &'static str {
        match self {
            Keep::None => "none",
            Keep::Int8 => "int8",
            Keep::F16 => "f16",
            Keep::F32 => "f32",
        }
    }
}

/// The kept vectors: prepared for their metric, row by row.
#[derive(Clone)]
pub enum Kept {
    /// Nothing is kept.
    None,
    /// One byte a value.
    Int8(ByteRows),
    /// Half precision.
    F16(Matrix<f16>),
    /// Single precision.
    F32(Matrix<f32>),
}

/// Consecutive kept rows, to be written by one thread.
pub enum KeptChunk<'a> {
    /// Nothing is kept.
    None,
    /// One byte a value.
    Int8(ByteChunk<'a>),
    /// Rows of this stride.
    F16(&'a mut [f16], usize),
    /// Rows of this stride.
    F32(&'a mut [f32], usize),
}

impl KeptChunk<'_> {
    /// Writes `values` as row `r` of the chunk. `row` is its number in the input, for the error.
    ///
    /// # Errors
    /// [`InputError::BeyondF16`] for a value that f16 cannot hold.
    ///
    /// # Panics
    /// If the chunk has no such row.
    pub fn write(&mut self, r: usize, values: &[f32], row: usize) -> Result<(), InputError> {
        match self {
            KeptChunk::None => {}
            KeptChunk::Int8(chunk) => chunk.write(r, values),
            KeptChunk::F16(chunk, stride) => {
                if let Some(&value) = values.iter().find(|value| value.abs() > f16::MAX.to_f32()) {
                    return Err(InputError::BeyondF16 { row, value });
                }
                chunk[r * *stride..r * *stride + values.len()].convert_from_f32_slice(values);
            }
            KeptChunk::F32(chunk, stride) => {
                chunk[r * *stride..r * *stride + values.len()].copy_from_slice(values);
            }
        }
        Ok(())
    }
}

/// The tensor's name in a file.
const TENSOR: &str = "vectors";

impl Kept {
    /// Room for `rows` rows of `dim` values.
    pub fn zeroed(keep: Keep, rows: usize, dim: usize) -> Self {
        match keep {
            Keep::None => Kept::None,
            Keep::Int8 => Kept::Int8(ByteRows::zeroed(rows, dim)),
            Keep::F16 => Kept::F16(Matrix::zeroed(rows, dim)),
            Keep::F32 => Kept::F32(Matrix::zeroed(rows, dim)),
        }
    }

    /// In what precision.
    pub fn keep(&self) -> Keep {
        match self {
            Kept::None => Keep::None,
            Kept::Int8(_) => Keep::Int8,
            Kept::F16(_) => Keep::F16,
            Kept::F32(_) => Keep::F32,
        }
    }

    /// The rows in chunks of `rows` rows; endlessly many empty ones where nothing is kept.
    pub fn chunks_mut(&mut self, rows: usize) -> Box<dyn Iterator<Item = KeptChunk<'_>> + Send + '_> {
        match self {
            Kept::None => Box::new(std::iter::repeat_with(|| KeptChunk::None)),
            Kept::Int8(rows_kept) => Box::new(rows_kept.chunks_mut(rows).map(KeptChunk::Int8)),
            Kept::F16(matrix) => {
                let stride = matrix.stride();
                Box::new(
                    matrix.values_mut().chunks_mut(rows * stride).map(move |c| KeptChunk::F16(c, stride)),
                )
            }
            Kept::F32(matrix) => {
                let stride = matrix.stride();
                Box::new(
                    matrix.values_mut().chunks_mut(rows * stride).map(move |c| KeptChunk::F32(c, stride)),
                )
            }
        }
    }

    /// The kept vectors as rows; `None` where nothing is kept.
    pub fn rows(&self) -> Option<&dyn RowSource> {
        match self {
            Kept::None => None,
            Kept::Int8(rows) => Some(rows),
            Kept::F16(matrix) => Some(matrix),
            Kept::F32(matrix) => Some(matrix),
        }
    }

    /// Asks for rows, to be scored soon: the first lines of all, then the second ones, for memory gives several runs of
    /// lines at once faster than one after another.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline(always)]
    pub fn prefetch(&self, rows: impl Iterator<Item = usize> + Clone) {
        let (bytes, stride) = match self {
            Kept::None => return,
            Kept::Int8(kept) => return kept.prefetch(rows),
            Kept::F16(matrix) => (matrix.as_bytes(), matrix.stride() * size_of::<f16>()),
            Kept::F32(matrix) => (matrix.as_bytes(), matrix.stride() * size_of::<f32>()),
        };
        for line in (0..stride).step_by(LINE) {
            for row in rows.clone() {
                prefetch_far(&bytes[row * stride + line..][..1]);
            }
        }
    }

    /// The distance of a prepared and padded query ([`super::padded`]) to row `row` as it is kept; `None` where nothing
    /// is. `scratch` has the query's length.
    ///
    /// # Panics
    /// If there is no such row, or the lengths differ.
    #[inline(always)]
    pub fn distance<S: Simd>(
        &self,
        simd: S,
        metric: Metric,
        query: &[f32],
        row: usize,
        scratch: &mut [f32],
    ) -> Option<f32> {
        match self {
            Kept::None => None,
            Kept::Int8(rows) => Some(rows.distance(simd, metric, query, row)),
            Kept::F16(matrix) => {
                widen(&matrix.padded(row)[..query.len()], scratch);
                Some(metric.distance(simd, query, scratch))
            }
            Kept::F32(matrix) => Some(metric.distance(simd, query, matrix.padded(row))),
        }
    }

    /// Writes row `row` to `out`; false where nothing is kept.
    ///
    /// # Panics
    /// If there is no such row, or `out` is not of the rows' dimension.
    pub fn read(&self, row: usize, out: &mut [f32]) -> bool {
        match self {
            Kept::None => return false,
            Kept::Int8(rows) => rows.read(row, out),
            Kept::F16(matrix) => RowSource::read(matrix, row, out),
            Kept::F32(matrix) => RowSource::read(matrix, row, out),
        }
        true
    }

    /// Adds `more` rows of zeros.
    pub fn grow(&mut self, more: usize) {
        match self {
            Kept::None => {}
            Kept::Int8(rows) => rows.grow(more),
            Kept::F16(matrix) => matrix.grow(more),
            Kept::F32(matrix) => matrix.grow(more),
        }
    }

    /// Copies row `from` of `other` over row `to`.
    ///
    /// # Panics
    /// If there is no such row, or the precisions or dimensions differ.
    pub fn copy_row(&mut self, to: usize, other: &Kept, from: usize) {
        match (self, other) {
            (Kept::None, Kept::None) => {}
            (Kept::Int8(to_rows), Kept::Int8(from_rows)) => to_rows.copy_row(to, from_rows, from),
            (Kept::F16(to_rows), Kept::F16(from_rows)) => to_rows.copy_row(to, from_rows, from),
            (Kept::F32(to_rows), Kept::F32(from_rows)) => to_rows.copy_row(to, from_rows, from),
            _ => unreachable!("one index keeps its vectors in one precision"),
        }
    }

    /// Removes row `row`, moving the last row into its place.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn swap_remove(&mut self, row: usize) {
        match self {
            Kept::None => {}
            Kept::Int8(rows) => rows.swap_remove(row),
            Kept::F16(matrix) => matrix.swap_remove(row),
            Kept::F32(matrix) => matrix.swap_remove(row),
        }
    }

    /// Gives spare capacity back.
    pub fn shrink_to_fit(&mut self) {
        match self {
            Kept::None => {}
            Kept::Int8(rows) => rows.shrink_to_fit(),
            Kept::F16(matrix) => matrix.shrink_to_fit(),
            Kept::F32(matrix) => matrix.shrink_to_fit(),
        }
    }

    /// The rows as a file's tensors: `vectors`, of shape (rows, stride), and what reading it takes.
    pub fn tensors(&self) -> Vec<TensorView<'_>> {
        match self {
            Kept::None => Vec::new(),
            Kept::Int8(rows) => rows.tensors().into(),
            Kept::F16(matrix) => vec![matrix.tensor(TENSOR)],
            Kept::F32(matrix) => vec![matrix.tensor(TENSOR)],
        }
    }

    /// Takes the rows out of a file.
    ///
    /// # Errors
    /// [`FormatError`] if a tensor is missing, of another shape or type.
    pub fn take(contents: &mut Contents, keep: Keep, rows: usize, dim: usize) -> Result<Self, FormatError> {
        Ok(match keep {
            Keep::None => Kept::None,
            Keep::Int8 => Kept::Int8(ByteRows::take(contents, rows, dim)?),
            Keep::F16 => Kept::F16(Matrix::take(contents, TENSOR, rows, dim)?),
            Keep::F32 => Kept::F32(Matrix::take(contents, TENSOR, rows, dim)?),
        })
    }

    /// Checks that every value is one a row may have.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn check(&self, control: &Control) -> Result<(), FormatError> {
        match self {
            Kept::None => Ok(()),
            Kept::Int8(rows) => rows.check(control),
            Kept::F16(matrix) => matrix.check_values(TENSOR, control),
            Kept::F32(matrix) => matrix.check_values(TENSOR, control),
        }
    }
}
