//! Rows of numbers: where they come from, the one input check, and aligned row-major storage.
//!
//! - [`RowSource`]: any table of numbers, read row by row as f32 (a NumPy array of any dtype and strides).
//! - [`check`]: the one check of what a caller hands in: dimension, finite values, magnitude.
//! - [`Matrix`]: 64-byte aligned rows, padded with zeros to whole cache lines.
//! - [`Kept`]: vectors kept beside codes, in f32, f16 or one byte a value, to score candidates on.

mod bytes;
mod kept;
mod matrix;
mod widen;

pub use bytes::{ByteChunk, ByteRows};
pub use kept::{Keep, Kept, KeptChunk, UnknownKeep};
pub use matrix::{Element, Matrix};
pub use widen::widen;

use crate::threads::{Cancelled, Control};

/// The most dimensions a vector may have: 32-bit integer sums of 8-bit codes stay exact up to here.
pub const MAX_DIM: usize = 65_536;
/// The most rows an index may hold: a row number is a `u32`, and one value is kept free.
pub const MAX_ROWS: usize = u32::MAX as usize;
/// The largest magnitude of a value. Within it, squared distances over [`MAX_DIM`] dimensions stay finite:
/// 65,536 · (2·10¹⁵)² < 3.4·10³⁸.
pub const MAX_MAGNITUDE: f32 = 1e15;

/// A table of numbers, read row by row.
pub trait RowSource: Sync {
    /// Number of rows.
    fn len(&self) -> usize;
    /// Values in each row.
    fn dim(&self) -> usize;
    /// Writes row `row` (below `len`) to `out` (of `dim` values).
    fn read(&self, row: usize, out: &mut [f32]);
    /// Asks for row `row`, to be read soon. Nothing happens unless a source knows how.
    fn prefetch(&self, _row: usize) {}
    /// Whether there are no rows.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Contiguous row-major f32 values as a [`RowSource`].
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    values: &'a [f32],
    dim: usize,
}

impl<'a> Rows<'a> {
    /// A view of `values` as rows of `dim` values.
    ///
    /// # Errors
    /// [`InputError::Dim`] if `dim` is 0 or above [`MAX_DIM`]; [`InputError::Ragged`] if it does not divide the
    /// number of values.
    pub fn new(values: &'a [f32], dim: usize) -> Result<Self, InputError> {
        if dim == 0 || dim > MAX_DIM {
            return Err(InputError::DimRange { got: dim });
        }
        if !values.len().is_multiple_of(dim) {
            return Err(InputError::Ragged { values: values.len(), dim });
        }
        Ok(Self { values, dim })
    }
}

impl RowSource for Rows<'_> {
    fn len(&self) -> usize {
        self.values.len() / self.dim
    }
    fn dim(&self) -> usize {
        self.dim
    }
    fn read(&self, row: usize, out: &mut [f32]) {
        out.copy_from_slice(&self.values[row * self.dim..(row + 1) * self.dim]);
    }
}

/// What is wrong with a table of numbers.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// Rows of another dimension than the index's.
    #[error("expected vectors of dimension {expected}, got {got}")]
    Dim {
        /// The index's dimension.
        expected: usize,
        /// The input's.
        got: usize,
    },
    /// No dimensions, or too many.
    #[error("expected vectors of 1 to {MAX_DIM} dimensions, got {got}")]
    DimRange {
        /// The input's dimension.
        got: usize,
    },
    /// A flat slice that is not whole rows.
    #[error("expected whole rows of {dim} values, got {values} values")]
    Ragged {
        /// How many values came.
        values: usize,
        /// The dimension they should divide by.
        dim: usize,
    },
    /// More rows than a row number can name.
    #[error("an index holds at most {MAX_ROWS} vectors, got {got}")]
    TooMany {
        /// Rows asked for.
        got: usize,
    },
    /// NaN or an infinity.
    #[error("expected finite values, got {value} at row {row}, column {column}")]
    NotFinite {
        /// Row of the value.
        row: usize,
        /// Column of the value.
        column: usize,
        /// The value.
        value: f32,
    },
    /// A value too large for squared distances to stay finite.
    #[error(
        "expected values of magnitude at most {MAX_MAGNITUDE:e}, got {value:e} at row {row}, column {column}"
    )]
    TooLarge {
        /// Row of the value.
        row: usize,
        /// Column of the value.
        column: usize,
        /// The value.
        value: f32,
    },
    /// A zero vector, which has no direction.
    #[error("expected nonzero vectors under cosine, got a zero vector at row {row}")]
    ZeroVector {
        /// Its row.
        row: usize,
    },
    /// A value that f16 storage cannot hold.
    #[error(
        "expected values that fit f16 (magnitude at most 65504), got {value:e} at row {row}; \
         scale the data, or choose another representation"
    )]
    BeyondF16 {
        /// Its row.
        row: usize,
        /// The value.
        value: f32,
    },
    /// Stopped by the caller.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl InputError {
    /// The same, where the caller's rows are those from `first` on.
    #[must_use]
    pub fn counted_from(mut self, first: usize) -> Self {
        match &mut self {
            Self::NotFinite { row, .. }
            | Self::TooLarge { row, .. }
            | Self::ZeroVector { row }
            | Self::BeyondF16 { row, .. } => *row = row.saturating_sub(first),
            Self::Dim { .. }
            | Self::DimRange { .. }
            | Self::Ragged { .. }
            | Self::TooMany { .. }
            | Self::Cancelled(_) => {}
        }
        self
    }
}

/// A prepared query as the one-row kernels take it: padded with zeros as rows are, so that a distance does not
/// depend on where the row is kept.
pub fn padded(values: &[f32]) -> Vec<f32> {
    let mut padded = values.to_vec();
    padded.resize(Matrix::<f32>::stride_for(values.len()), 0.0);
    padded
}

/// Reads row `row` of `source` into `out` (of `source.dim()` values) and checks its values.
///
/// # Errors
/// [`InputError::NotFinite`] or [`InputError::TooLarge`], naming the first such value.
#[inline(always)]
pub fn read_checked(source: &dyn RowSource, row: usize, out: &mut [f32]) -> Result<(), InputError> {
    source.read(row, out);
    // One pass without branches; the second only to name the culprit. NaN fails the comparison.
    if out.iter().fold(true, |fine, value| fine & (value.abs() <= MAX_MAGNITUDE)) {
        return Ok(());
    }
    for (column, &value) in out.iter().enumerate() {
        if !value.is_finite() {
            return Err(InputError::NotFinite { row, column, value });
        }
        if value.abs() > MAX_MAGNITUDE {
            return Err(InputError::TooLarge { row, column, value });
        }
    }
    Ok(())
}

/// Checks the shape of `source`: 1 to [`MAX_DIM`] dimensions, and `expected` ones if given.
///
/// # Errors
/// [`InputError::DimRange`], [`InputError::Dim`] or [`InputError::TooMany`].
pub fn check_shape(source: &dyn RowSource, expected: Option<usize>) -> Result<(), InputError> {
    let got = source.dim();
    match expected {
        Some(expected) if expected != got => Err(InputError::Dim { expected, got }),
        None if got == 0 || got > MAX_DIM => Err(InputError::DimRange { got }),
        _ if source.len() > MAX_ROWS => Err(InputError::TooMany { got: source.len() }),
        _ => Ok(()),
    }
}

/// Checks every value of `source`, in parallel: the one input check.
///
/// # Errors
/// As [`check_shape`] and [`read_checked`] (the first offending row, whatever the thread count).
pub fn check(source: &dyn RowSource, expected: Option<usize>, control: &Control) -> Result<(), InputError> {
    check_shape(source, expected)?;
    const ROWS: usize = 1024;
    control.for_each((0..source.len()).step_by(ROWS), |first| {
        let mut row = vec![0.0; source.dim()];
        (first..source.len().min(first + ROWS)).try_for_each(|r| read_checked(source, r, &mut row))
    })
}
