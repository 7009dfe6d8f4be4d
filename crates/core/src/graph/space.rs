//! The space that the graph lives in: rows in which near is what has a small Euclidean distance.
//!
//! Under l2, and under cosine with rows of unit length, those are the rows themselves. Under ip a row x gets one value
//! more, √(M² − ‖x‖²) with M the longest row's length (Bachrach et al.: "Speeding up the Xbox recommender system using a
//! Euclidean transformation for inner-product spaces", RecSys 2014), and a query q gets a zero: all rows are then of
//! length M, inner products with queries are what they were, and ‖q − x‖² = ‖q‖² + M² − 2⟨q, x⟩ orders rows as ip does.

use crate::intake::fill;
use crate::metric::Metric;
use crate::threads::Control;
use crate::vectors::{InputError, Keep, Kept, Matrix, RowSource};
use half::f16;

/// Values of a row in the graph's space.
pub fn space_dim(metric: Metric, dim: usize) -> usize {
    dim + usize::from(metric == Metric::Ip)
}

/// ‖v‖², in f64 where no square of a legal value is lost.
pub fn square(vector: &[f32]) -> f64 {
    vector.iter().map(|&value| f64::from(value) * f64::from(value)).sum()
}

/// Reads, checks and prepares rows that are to be kept so, and brings them into the graph's space; gives M² as well.
/// `length` is an M² that is settled.
///
/// # Errors
/// [`InputError`] of the first offending row.
pub fn prepared(
    rows: &dyn RowSource,
    metric: Metric,
    keep: Keep,
    length: Option<f64>,
    control: &Control,
) -> Result<(Matrix<f32>, f64), InputError> {
    let dim = rows.dim();
    let mut kept = Kept::zeroed(Keep::F32, rows.len(), dim);
    fill(rows, metric, &mut kept, std::iter::repeat(()), control, |(), _, values, row| {
        let beyond = |value: &&mut f32| value.abs() > f16::MAX.to_f32();
        match values.iter_mut().find(beyond).filter(|_| keep == Keep::F16) {
            Some(&mut value) => Err(InputError::BeyondF16 { row, value }),
            None => Ok(()),
        }
    })?;
    let matrix = match kept {
        Kept::F32(matrix) if metric == Metric::Ip => matrix,
        Kept::F32(matrix) => return Ok((matrix, 0.0)),
        Kept::None | Kept::Int8(_) | Kept::F16(_) => unreachable!("made as f32 just above"),
    };
    let squares: Vec<f64> = (0..matrix.rows()).map(|row| square(matrix.row(row))).collect();
    let length = length.unwrap_or_else(|| squares.iter().copied().fold(0.0, f64::max));
    let mut longer = Matrix::zeroed(matrix.rows(), dim + 1);
    for (row, square) in squares.into_iter().enumerate() {
        let (values, last) = longer.row_mut(row).split_at_mut(dim);
        values.copy_from_slice(matrix.row(row));
        last.fill((length - square).max(0.0).sqrt() as f32);
    }
    Ok((longer, length))
}
