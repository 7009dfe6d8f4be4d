//! The space that the graph lives in: rows in which near is what has a small Euclidean distance.
//!
//! Under l2, and under cosine with rows of unit length, those are the rows themselves. Under ip a row x gets one value
//! more, √(M² − ‖x‖²) with M the longest row's length (Bachrach et al.: "Speeding up the Xbox recommender system using a
//! Euclidean transformation for inner-product spaces", RecSys 2014), and a query q gets a zero: all rows are then of
//! length M, inner products with queries are what they were, and ‖q − x‖² = ‖q‖² + M² − 2⟨q, x⟩ orders rows as ip does.

use half::f16;
use serde_json::{Map, Value, json};

use crate::file::{Contents, FormatError};
use crate::index::AddError;
use crate::intake::fill;
use crate::metric::Metric;
use crate::threads::Control;
use crate::vectors::{InputError, Keep, Kept, MAX_DIM, MAX_MAGNITUDE, Matrix, RowSource};

/// The largest magnitude of a value in the graph's space: that of a whole vector.
pub const MOST: f32 = 256.0 * MAX_MAGNITUDE;
/// The largest M².
pub const MOST_SQUARE: f64 = MOST as f64 * MOST as f64;

/// Values of a row in the graph's space.
pub fn space_dim(metric: Metric, dim: usize) -> usize {
    dim + usize::from(metric == Metric::Ip)
}

/// Checks that rows do not have too many values in the graph's space.
///
/// # Errors
/// [`AddError::TooManyDims`].
pub fn check_rows(rows: &dyn RowSource, metric: Metric) -> Result<(), AddError> {
    let (most, got) = (MAX_DIM - 1, rows.dim());
    if metric == Metric::Ip && got > most {
        return Err(AddError::TooManyDims { most, what: "search by inner product", got });
    }
    Ok(())
}

/// Checks the same of the dimension that a file gives.
///
/// # Errors
/// [`FormatError`].
pub fn check_dim(metric: Metric, dim: usize) -> Result<(), FormatError> {
    if space_dim(metric, dim) > MAX_DIM {
        return Err(FormatError::content("dim", "one less under ip", dim));
    }
    Ok(())
}

/// Writes M² to a file's parameters.
pub fn write_length(length: f64, params: &mut Map<String, Value>) {
    params.insert("squared_length".into(), json!(length));
}

/// M², as a file gives it.
///
/// # Errors
/// [`FormatError`].
pub fn read_length(contents: &Contents) -> Result<f64, FormatError> {
    let length = contents.param_f64("squared_length")?;
    if !(0.0..=MOST_SQUARE).contains(&length) {
        return Err(FormatError::content("squared_length", "that of a legal vector", length));
    }
    Ok(length)
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
    let longest = || (0..matrix.rows()).map(|row| square(matrix.row(row))).fold(0.0, f64::max);
    let length = length.unwrap_or_else(longest);
    let mut longer = Matrix::zeroed(matrix.rows(), dim + 1);
    for row in 0..matrix.rows() {
        longer.row_mut(row)[..dim].copy_from_slice(matrix.row(row));
    }
    lengthen(&mut longer, dim, length);
    Ok((longer, length))
}

/// Makes M² = `length` that of rows in the graph's space, which have `dim` values of their own. Under l2 and cosine they
/// have no others, and stay as they are.
///
/// # Panics
/// If they have fewer.
pub fn lengthen(rows: &mut Matrix<f32>, dim: usize, length: f64) {
    for row in 0..rows.rows() {
        let (values, beyond) = rows.row_mut(row).split_at_mut(dim);
        beyond.fill((length - square(values)).max(0.0).sqrt() as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::Rows;

    #[test]
    fn rows_of_a_given_length_and_rows_lengthened_to_it_are_the_same() {
        let values = [3.0, 4.0, 0.1, -0.2, 1e15, -1e15, 0.0, 0.0];
        let rows = Rows::new(&values, 2).expect("whole rows");
        for metric in [Metric::L2, Metric::Ip] {
            let prepared = |length| prepared(&rows, metric, Keep::F32, length, &Control::default());
            let (mut matrix, longest) = prepared(None).expect("legal");
            assert_eq!(longest, if metric == Metric::Ip { square(&values[4..6]) } else { 0.0 });
            for length in [0.0, 25.0, longest, MOST_SQUARE] {
                lengthen(&mut matrix, 2, length);
                let (other, _) = prepared(Some(length)).expect("legal");
                (0..4).for_each(|row| assert_eq!(matrix.row(row), other.row(row), "{metric:?} {length}"));
            }
        }
    }

    #[test]
    fn under_ip_there_is_room_for_one_value_more() {
        let values = vec![0.0; MAX_DIM];
        for (dim, metric, fits) in [
            (MAX_DIM - 1, Metric::Ip, true),
            (MAX_DIM, Metric::Ip, false),
            (MAX_DIM, Metric::L2, true),
            (MAX_DIM, Metric::Cosine, true),
        ] {
            let rows = Rows::new(&values[..dim], dim).expect("whole rows");
            assert_eq!(check_rows(&rows, metric).is_ok(), fits, "{metric:?} {dim}");
            assert_eq!(check_dim(metric, dim).is_ok(), fits, "{metric:?} {dim}");
        }
    }
}
