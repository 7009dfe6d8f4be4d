//! Principal axes: the directions in which rows vary most.
//!
//! With rows x₁ … xₙ (a sample) and a centre m, or 0, the axes are the eigenvectors of
//!
//! > C = 1/n · Σ (xᵢ − m)(xᵢ − m)ᵀ
//!
//! in falling order of their eigenvalues, the variances along them (about m: C is not centred of itself).
//!
//! **The sum** is taken over blocks of 256 rows in f32 by [`Simd::add_products`], blocks in f64: an error of about 10⁻⁶
//! of the variances in all. It costs n·d²/2 multiply-adds on all threads. The sample is first scaled by a power of two
//! so that its largest value is near 1: no product overflows, and none that matters vanishes.
//!
//! **The decomposition** is nalgebra's, in f64 on one thread: Householder's tridiagonal form, then implicit QR steps.
//! It grows with d³, and from 1,000 dimensions on with the speed of memory: on one 2.6 GHz Zen 4 core 0.04 s for 384
//! dimensions, 0.3 s for 768, 3 s for 1536, two to three minutes for 4096. It runs aside, so that a caller who cancels
//! does not wait for it.
//!
//! Nothing here depends on the level, the processor or the number of threads.

mod leading;

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

pub use leading::{Orthonormalise, leading};
use nalgebra::{DMatrix, DVector, Dyn, SymmetricEigen};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::metric::Metric;
use crate::simd::product::Vectors;
use crate::simd::{GROUP, Simd, TILE, Work, run};
use crate::threads::{Cancelled, Control};
use crate::vectors::{InputError, Matrix, RowSource, read_checked};

/// The most dimensions that are decomposed.
pub const MOST_DIMS: usize = 8192;
/// Rows read before they are summed.
const BATCH: usize = 1024;
/// Rows summed in f32.
const BLOCK: usize = 256;

/// Principal axes.
#[derive(Clone)]
pub struct Axes {
    /// Row i is the i-th axis; as many as there are dimensions, orthonormal. Of each axis the value of largest
    /// magnitude (the first such) is positive.
    pub vectors: Matrix<f32>,
    /// The variance along each axis, falling.
    pub variances: Vec<f64>,
}

/// Why there are no axes.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AxesError {
    /// A row that is refused, a mean of another dimension, or cancelled.
    #[error(transparent)]
    Input(#[from] InputError),
    /// Too many dimensions.
    #[error("expected at most {MOST_DIMS} dimensions to find principal axes of, got {got}")]
    TooManyDims {
        /// The dimension.
        got: usize,
    },
}

impl From<Cancelled> for AxesError {
    fn from(cancelled: Cancelled) -> Self {
        Self::Input(cancelled.into())
    }
}

/// The principal axes of `rows`, checked and prepared for `metric`, about `mean` (or 0), from a random sample of at
/// most `sample` of them (all, if there are no more). Memory: about 40·d² + 12,000·d bytes for d dimensions.
///
/// # Errors
/// [`AxesError`].
pub fn principal(
    rows: &dyn RowSource,
    metric: Metric,
    mean: Option<&[f32]>,
    sample: usize,
    seed: u64,
    control: &Control,
) -> Result<Axes, AxesError> {
    let dim = rows.dim();
    if dim > MOST_DIMS {
        return Err(AxesError::TooManyDims { got: dim });
    }
    if let Some(mean) = mean
        && mean.len() != dim
    {
        return Err(InputError::Dim { expected: dim, got: mean.len() }.into());
    }
    let sample = Sample { rows, metric, mean, chosen: choose(rows.len(), sample, seed) };
    let (matrix, scale) = sample.covariance(control)?;
    let SymmetricEigen { eigenvectors, eigenvalues } = decompose(matrix, control)?;
    let mut order: Vec<usize> = (0..dim).collect();
    order.sort_by(|&a, &b| eigenvalues[b].total_cmp(&eigenvalues[a]));
    let mut vectors = Matrix::zeroed(dim, dim);
    for (row, &from) in order.iter().enumerate() {
        let axis = eigenvectors.column(from);
        let largest = axis.iter().fold(0.0_f64, |most, &v| if v.abs() > most.abs() { v } else { most });
        let sign = 1.0_f64.copysign(largest);
        vectors.row_mut(row).iter_mut().zip(axis.iter()).for_each(|(to, v)| *to = (sign * v) as f32);
    }
    let variances = order.iter().map(|&i| eigenvalues[i].max(0.0) * scale * scale).collect();
    Ok(Axes { vectors, variances })
}

/// `most` numbers below `count` in rising order, each set of them as likely (D. E. Knuth's algorithm S); all, if there
/// are no more.
pub fn choose(count: usize, most: usize, seed: u64) -> Vec<usize> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut chosen = Vec::with_capacity(most.min(count));
    for row in 0..count {
        let (wanted, left) = (most - chosen.len(), count - row);
        if wanted == 0 {
            break;
        }
        // The bias is below 2⁻³².
        let drawn = (u128::from(random.next_u64()) * left as u128) >> 64;
        if drawn < wanted as u128 {
            chosen.push(row);
        }
    }
    chosen
}

/// Rows to be summed.
struct Sample<'a> {
    rows: &'a dyn RowSource,
    metric: Metric,
    mean: Option<&'a [f32]>,
    chosen: Vec<usize>,
}

impl Sample<'_> {
    /// Reads a row: checked, prepared, centred.
    fn read(&self, row: usize, out: &mut [f32]) -> Result<(), InputError> {
        read_checked(self.rows, row, out)?;
        self.metric.prepare(out, row)?;
        if let Some(mean) = self.mean {
            out.iter_mut().zip(mean).for_each(|(value, mean)| *value -= mean);
        }
        Ok(())
    }

    /// The power of two next above every magnitude; 1 if all are 0.
    fn scale(&self, control: &Control) -> Result<f32, InputError> {
        let largest = control.map(self.chosen.chunks(BLOCK), |chosen| {
            let mut values = vec![0.0_f32; self.rows.dim()];
            let mut largest = 0.0_f32;
            for &row in chosen {
                self.read(row, &mut values)?;
                largest = values.iter().fold(largest, |most, v| most.max(v.abs()));
            }
            Ok::<_, InputError>(largest)
        })?;
        let largest = largest.into_iter().fold(0.0, f32::max);
        // The exponent's bits alone are the power next below; those of subnormal values are 0.
        let below = f32::from_bits(largest.to_bits() & 0x7f80_0000).max(f32::MIN_POSITIVE);
        Ok(if largest > 0.0 { below * 2.0 } else { 1.0 })
    }

    /// The covariance of the rows divided by a scale, and that scale.
    fn covariance(&self, control: &Control) -> Result<(DMatrix<f64>, f64), AxesError> {
        let dim = self.rows.dim();
        let scale = self.scale(control)?;
        let inverse = 1.0 / scale;
        let panels = dim.div_ceil(GROUP);
        // Of panel p the columns 64p to 64p + 63, for each row up to its last: the lower triangle and a little more.
        let mut sums = vec![0.0_f64; panels * dim * GROUP];
        let mut values = vec![0.0_f32; BATCH * dim];
        let mut columns = vec![[0.0_f32; GROUP * BATCH]; panels];
        let mut across = vec![[0.0_f32; GROUP * BATCH]; panels];
        for batch in self.chosen.chunks(BATCH) {
            let rows = batch.chunks(GROUP).zip(values.chunks_mut(GROUP * dim));
            control.for_each(rows, |(chosen, values)| {
                for (&row, values) in chosen.iter().zip(values.chunks_exact_mut(dim)) {
                    self.read(row, values)?;
                    values.iter_mut().for_each(|value| *value *= inverse);
                }
                Ok::<_, InputError>(())
            })?;
            let parts = columns.iter_mut().zip(&mut across).enumerate();
            control.for_each(parts, |(panel, (columns, across))| {
                let first = panel * GROUP;
                let width = GROUP.min(dim - first);
                for (r, row) in values.chunks_exact(dim).take(batch.len()).enumerate() {
                    let row = &row[first..first + width];
                    columns[r * GROUP..][..width].copy_from_slice(row);
                    across.iter_mut().skip(r).step_by(BATCH).zip(row).for_each(|(to, &from)| *to = from);
                }
                Ok::<_, Cancelled>(())
            })?;
            // The last panels have most to do: first.
            let parts = sums.chunks_exact_mut((dim * GROUP).max(1)).zip(&columns).enumerate().rev();
            control.for_each(parts, |(panel, (sums, columns))| {
                let across = across[..=panel].as_flattened();
                run(control.level(), Add { columns, across, rows: batch.len(), sums });
                Ok::<_, Cancelled>(())
            })?;
            control.advance(batch.len());
        }
        let count = self.chosen.len().max(1) as f64;
        let at = |i: usize, j: usize| sums[j / GROUP * dim * GROUP + i * GROUP + j % GROUP] / count;
        Ok((DMatrix::from_fn(dim, dim, |i, j| at(i.min(j), i.max(j))), f64::from(scale)))
    }
}

/// Adds one batch to one panel of sums.
struct Add<'a> {
    /// The panel's 64 columns, row after row.
    columns: &'a [f32],
    /// All columns to the panel's last, each of `BATCH` values.
    across: &'a [f32],
    rows: usize,
    /// 64 sums for each column across.
    sums: &'a mut [f64],
}

impl Work for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for first in (0..self.rows).step_by(BLOCK) {
            let depth = BLOCK.min(self.rows - first);
            let panel = &self.columns[first * GROUP..][..depth * GROUP];
            let tiles = self.sums.chunks_mut(TILE * GROUP).zip(self.across.chunks(TILE * BATCH));
            for (sums, across) in tiles {
                let mut added = [[0.0; GROUP]; TILE];
                let count = across.len().min(sums.len() / GROUP * BATCH) / BATCH;
                simd.add_products(panel, Vectors::new(&across[first..], BATCH, count, depth), &mut added);
                for (sum, &added) in sums.iter_mut().zip(added.as_flattened()) {
                    *sum += f64::from(added);
                }
            }
        }
    }
}

type Eigen = SymmetricEigen<f64, Dyn>;

/// Decomposes a symmetric matrix on a thread of its own, which is left to itself when the caller cancels.
fn decompose(matrix: DMatrix<f64>, control: &Control) -> Result<Eigen, Cancelled> {
    control.check()?;
    if matrix.nrows() == 0 {
        return Ok(Eigen { eigenvectors: matrix, eigenvalues: DVector::zeros(0) });
    }
    let matrix = Arc::new(Mutex::new(Some(matrix)));
    let take = |matrix: &Mutex<Option<DMatrix<f64>>>| {
        matrix.lock().unwrap_or_else(PoisonError::into_inner).take().map(SymmetricEigen::new)
    };
    let (sender, receiver) = mpsc::sync_channel(1);
    let shared = Arc::clone(&matrix);
    let aside = std::thread::Builder::new().name("counterpoint-axes".to_owned()).spawn(move || {
        // Nobody receives once the caller has cancelled.
        let _ = sender.send(take(&shared));
    });
    let Ok(aside) = aside else {
        // Without a thread to be had the caller waits.
        return take(&matrix).ok_or(Cancelled);
    };
    loop {
        match receiver.recv_timeout(Duration::from_millis(20)) {
            Ok(eigen) => return eigen.ok_or(Cancelled),
            Err(mpsc::RecvTimeoutError::Timeout) => control.check()?,
            // It ended without a result: with a panic, which is the caller's.
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return match aside.join() {
                    Err(panic) => std::panic::resume_unwind(panic),
                    Ok(()) => Err(Cancelled),
                };
            }
        }
    }
}

#[cfg(test)]
mod tests;
