//! Where codes live: around the mean of the data, along its leading principal axes.
//!
//! A few bytes say nothing of the many directions in which data hardly varies. With P the axes (orthonormal rows), x is
//! coded as z = P(x − μ), and what that leaves out, ‖x − μ‖² − ‖z‖², is known of every vector and goes into its term
//! ([`super::norms`]). Training, encoding and the tables of a query then cost as many values as there are axes.
//!
//! **How many.** Along an axis of variance λ, a code that leaves an error of variance δ makes distances from queries like
//! the data noisy by −2⟨q, e⟩, of variance 4λδ. No code of B bits in all does better on normal data than δ = min(λ, θ), with
//! the θ for which Σ ½·log₂(λ/δ) = B (reverse water-filling: T. M. Cover, J. A. Thomas, "Elements of information theory",
//! 10.3.3). So as many axes are coded as leave Σ λ² of the others below [`LEFT`] times Σ λδ of all. (On Fashion-MNIST
//! more axes bring down the error, but not the errors that matter: 128 of 784 found more than 256 did, in 9 bytes and in 17.)

use counterpoint_core::axes::{AxesError, choose, leading, principal};
use counterpoint_core::index::AddError;
use counterpoint_core::metric::Metric;
use counterpoint_core::simd::{Simd, Work, run};
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::{InputError, KeptChunk, Matrix, RowSource, read_checked};

use crate::codebooks::{BATCH, Panels};

/// Rows that axes are found from.
const SAMPLE: usize = 16_384;
/// With more dimensions only the leading axes are found.
const FEW: usize = 1024;
/// How many then.
const MOST: usize = 512;
/// The noise of what is left out, as a part of that of codes.
const LEFT: f64 = 0.015;
/// Axes come in multiples of so many.
const STEP: usize = 16;

/// A mean, and axes about it.
#[derive(Clone)]
pub(crate) struct Space {
    pub(crate) mean: Matrix<f32>,
    pub(crate) axes: Matrix<f32>,
    panels: Panels,
}

/// Rows along the axes.
pub(crate) struct Along {
    /// z.
    pub(crate) values: Matrix<f32>,
    /// ‖x − μ‖² − ‖z‖² of each.
    pub(crate) left: Vec<f32>,
}

/// Half of rows about a mean: no value is then of larger magnitude than a row may have.
struct Centred<'a> {
    rows: &'a dyn RowSource,
    chosen: Vec<usize>,
    metric: Metric,
    mean: &'a [f32],
}

impl RowSource for Centred<'_> {
    fn len(&self) -> usize {
        self.chosen.len()
    }

    fn dim(&self) -> usize {
        self.mean.len()
    }

    fn read(&self, row: usize, out: &mut [f32]) {
        self.rows.read(self.chosen[row], out);
        // Rows were checked when their mean was taken.
        let _ = self.metric.prepare(out, self.chosen[row]);
        out.iter_mut().zip(self.mean).for_each(|(value, mean)| *value = 0.5 * *value - 0.5 * mean);
    }
}

impl Space {
    pub(crate) fn new(mean: Matrix<f32>, axes: Matrix<f32>) -> Self {
        let panels = Panels::new(&axes, false);
        Self { mean, axes, panels }
    }

    /// Learns the axes for codes of `bits` bits.
    pub(crate) fn learn(
        rows: &dyn RowSource,
        metric: Metric,
        bits: usize,
        seed: u64,
        control: &Control,
    ) -> Result<Self, AddError> {
        let dim = rows.dim();
        let mut mean = Matrix::zeroed(1, dim);
        if rows.is_empty() {
            let mut axes = Matrix::zeroed(1, dim);
            axes.row_mut(0)[0] = 1.0;
            return Ok(Self::new(mean, axes));
        }
        mean.row_mut(0).copy_from_slice(&counterpoint_core::intake::mean(rows, metric, control)?);
        let (vectors, variances, total) = if dim <= FEW {
            let found = principal(rows, metric, Some(mean.row(0)), SAMPLE, seed, control);
            let axes = found.map_err(|error| match error {
                AxesError::Input(error) => AddError::from(error),
                _ => AddError::TooManyDims { most: FEW, what: "find axes", got: dim },
            })?;
            let total = axes.variances.iter().sum::<f64>();
            (axes.vectors, axes.variances, total)
        } else {
            let chosen = choose(rows.len(), SAMPLE, seed);
            let centred = Centred { rows, chosen, metric, mean: mean.row(0) };
            let axes = leading(&centred, Metric::L2, MOST, SAMPLE, seed, control)?;
            let (variances, total) = variances(&centred, &axes, control)?;
            (axes, variances, total)
        };
        let count = worth(&variances, total, dim, bits);
        // Data without any variance has a mean, and one axis along which nothing lies.
        let mut axes = Matrix::zeroed(count.max(1), dim);
        for row in 0..axes.rows() {
            axes.copy_row(row, &vectors, row);
        }
        Ok(Self::new(mean, axes))
    }

    /// Values of a vector.
    pub(crate) fn dim(&self) -> usize {
        self.mean.dim()
    }

    /// Values along the axes.
    pub(crate) fn width(&self) -> usize {
        self.axes.rows()
    }

    /// Reads some rows, checked and prepared.
    pub(crate) fn read(
        &self,
        rows: &dyn RowSource,
        chosen: &[usize],
        metric: Metric,
        control: &Control,
    ) -> Result<Along, InputError> {
        let mut values = Matrix::zeroed(chosen.len(), self.width());
        let mut left = vec![0.0; chosen.len()];
        let stride = values.stride();
        let parts = values.values_mut().chunks_mut(BATCH * stride).zip(left.chunks_mut(BATCH));
        control.for_each(parts.zip(chosen.chunks(BATCH)), |((values, left), chosen)| {
            let mut batch = Batch::new(self);
            for &row in chosen {
                batch.read(rows, row, metric, &mut KeptChunk::None)?;
            }
            run(control.level(), Project { batch: &mut batch });
            values.copy_from_slice(&batch.along.values()[..values.len()]);
            left.copy_from_slice(&batch.left[..left.len()]);
            control.advance(chosen.len());
            Ok::<_, InputError>(())
        })?;
        Ok(Along { values, left })
    }

    /// P·v of `count` vectors.
    #[inline(always)]
    pub(crate) fn along<S: Simd>(
        &self,
        simd: S,
        vectors: (&[f32], usize, usize),
        count: usize,
        out: &mut [f32],
    ) {
        self.panels.multiply(simd, vectors, count, out, self.width());
    }

    /// Writes μ + Pᵀz.
    pub(crate) fn back(&self, along: &[f32], out: &mut [f32]) {
        out.copy_from_slice(self.mean.row(0));
        for (axis, &value) in along.iter().enumerate() {
            out.iter_mut().zip(self.axes.row(axis)).for_each(|(out, axis)| *out += value * axis);
        }
    }
}

/// How many of the leading axes codes of `bits` bits are worth.
fn worth(variances: &[f64], total: f64, dim: usize, bits: usize) -> usize {
    // What lies along axes that were not found is taken to be spread evenly.
    let found: f64 = variances.iter().sum();
    let others = dim - variances.len();
    let even = ((total - found) / others.max(1) as f64).max(0.0);
    let all = || variances.iter().copied().chain(std::iter::repeat_n(even, others));
    let most = all().fold(0.0, f64::max);
    if most <= 0.0 {
        return 1;
    }
    // θ by bisection of its logarithm.
    let (mut low, mut high) = (most.ln() - 700.0, most.ln());
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        let needed: f64 = all()
            .filter(|&v| v > 0.0)
            .map(|v| 0.5 * ((v.ln() - middle) / std::f64::consts::LN_2).max(0.0))
            .sum();
        if needed > bits as f64 { low = middle } else { high = middle }
    }
    let noise: f64 = all().map(|v| v * v.min(high.exp())).sum();
    let mut left: f64 = all().map(|v| v * v).sum();
    let mut count = 0;
    while count < variances.len() && left > LEFT * noise {
        let end = variances.len().min(count + STEP);
        left -= variances[count..end].iter().map(|v| v * v).sum::<f64>();
        count = end;
    }
    count.max(1)
}

/// The variances along axes, and in all.
fn variances(
    rows: &Centred<'_>,
    axes: &Matrix<f32>,
    control: &Control,
) -> Result<(Vec<f64>, f64), InputError> {
    let space = Space::new(Matrix::zeroed(1, axes.dim()), axes.clone());
    let along = space.read(rows, &(0..rows.len()).collect::<Vec<_>>(), Metric::L2, control)?;
    let mut sums = vec![0.0; axes.rows()];
    for row in 0..along.values.rows() {
        for (sum, &value) in sums.iter_mut().zip(along.values.row(row)) {
            *sum += f64::from(value) * f64::from(value);
        }
    }
    let total = sums.iter().sum::<f64>() + along.left.iter().map(|&left| f64::from(left)).sum::<f64>();
    Ok((sums, total))
}

/// Up to [`BATCH`] rows, as they are read and along the axes.
pub(crate) struct Batch<'a> {
    space: &'a Space,
    rows: Matrix<f32>,
    pub(crate) count: usize,
    /// z.
    pub(crate) along: Matrix<f32>,
    /// ‖x − μ‖² − ‖z‖².
    pub(crate) left: [f32; BATCH],
}

impl<'a> Batch<'a> {
    pub(crate) fn new(space: &'a Space) -> Self {
        Self {
            space,
            rows: Matrix::zeroed(BATCH, space.dim()),
            count: 0,
            along: Matrix::zeroed(BATCH, space.width()),
            left: [0.0; BATCH],
        }
    }

    /// Takes in a row: checked, prepared, kept, centred.
    pub(crate) fn read(
        &mut self,
        rows: &dyn RowSource,
        row: usize,
        metric: Metric,
        kept: &mut KeptChunk<'_>,
    ) -> Result<(), InputError> {
        let values = self.rows.row_mut(self.count);
        read_checked(rows, row, values)?;
        metric.prepare(values, row)?;
        kept.write(self.count, values, row)?;
        values.iter_mut().zip(self.space.mean.row(0)).for_each(|(value, mean)| *value -= mean);
        self.count += 1;
        Ok(())
    }
}

/// Takes the rows of a batch along the axes.
pub(crate) struct Project<'a, 'b> {
    pub(crate) batch: &'a mut Batch<'b>,
}

impl Work for Project<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Batch { space, rows, count, along, left } = self.batch;
        let stride = along.stride();
        let values = (rows.values(), rows.stride(), rows.dim());
        space.panels.multiply(simd, values, *count, along.values_mut(), stride);
        for (row, left) in left.iter_mut().enumerate().take(*count) {
            let (x, z) = (rows.padded(row), along.padded(row));
            *left = (simd.dot(x, x) - simd.dot(z, z)).max(0.0);
        }
    }
}
