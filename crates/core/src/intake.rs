//! Reading a caller's rows: checked, prepared, kept, and their mean.

use crate::metric::Metric;
use crate::simd::{GROUP, Simd, Work, run};
use crate::threads::{Cancelled, Control};
use crate::vectors::{InputError, Kept, RowSource, read_checked};

/// Reads, checks and prepares a row, under one level's features.
struct Read<'a> {
    rows: &'a dyn RowSource,
    metric: Metric,
    row: usize,
    values: &'a mut [f32],
}

impl Work for Read<'_> {
    type Output = Result<(), InputError>;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Self::Output {
        let Self { rows, metric, row, values } = self;
        read_checked(rows, row, values)?;
        metric.prepare(values, row)
    }
}

/// Reads rows in parallel, checked and prepared for `metric`, into `kept`; `each` sees every prepared row with
/// its place in the group and its number. Work is handed out in groups of [`GROUP`] rows, each with its item of `parts`.
///
/// # Errors
/// [`InputError`] of the first offending row.
pub fn fill<P: Send>(
    rows: &dyn RowSource,
    metric: Metric,
    kept: &mut Kept,
    parts: impl Iterator<Item = P> + Send,
    control: &Control,
    each: impl Fn(&mut P, usize, &mut [f32], usize) -> Result<(), InputError> + Sync,
) -> Result<(), InputError> {
    let level = control.level();
    let groups = (0..rows.len()).step_by(GROUP).zip(kept.chunks_mut(GROUP)).zip(parts);
    control.for_each(groups, |((first, mut kept), mut part)| {
        let mut values = vec![0.0; rows.dim()];
        let count = GROUP.min(rows.len() - first);
        for r in 0..count {
            run(level, Read { rows, metric, row: first + r, values: &mut values })?;
            kept.write(r, &values, first + r)?;
            each(&mut part, r, &mut values, first + r)?;
        }
        control.advance(count);
        Ok(())
    })
}

/// The mean of rows, checked and prepared for `metric`: summed as [`mean_of`] does.
///
/// # Errors
/// [`InputError`] of the first offending row.
pub fn mean(rows: &dyn RowSource, metric: Metric, control: &Control) -> Result<Vec<f32>, InputError> {
    let level = control.level();
    mean_of(rows.len(), rows.dim(), control, |row, values| {
        run(level, Read { rows, metric, row, values })?;
        control.advance(1);
        Ok(())
    })
}

/// The mean of `count` rows of `dim` values that `read` gives: summed in f64 in an order that depends only on their
/// number.
///
/// # Errors
/// The first of `read`; [`Cancelled`].
pub fn mean_of<E: From<Cancelled> + Send>(
    count: usize,
    dim: usize,
    control: &Control,
    read: impl Fn(usize, &mut [f32]) -> Result<(), E> + Sync,
) -> Result<Vec<f32>, E> {
    // At most 1,024 partial sums, whatever the number of rows.
    let share = count.div_ceil(1024).max(GROUP);
    let sums = control.map((0..count).step_by(share), |first| {
        let mut values = vec![0.0; dim];
        let mut sums = vec![0.0_f64; dim];
        for row in first..count.min(first + share) {
            read(row, &mut values)?;
            sums.iter_mut().zip(&values).for_each(|(sum, &value)| *sum += f64::from(value));
        }
        Ok::<_, E>(sums)
    })?;
    let mut total = vec![0.0_f64; dim];
    for part in sums {
        total.iter_mut().zip(part).for_each(|(total, sum)| *total += sum);
    }
    let count = count.max(1) as f64;
    Ok(total.into_iter().map(|sum| (sum / count) as f32).collect())
}
