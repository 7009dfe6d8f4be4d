//! The leading principal axes alone, by subspace iteration.
//!
//! With X a sample of rows (not centred) and Q orthonormal rows, as many as are wanted and [`MORE`], drawn at random,
//! each of [`ROUNDS`] rounds replaces Q by an orthonormal basis of Q·XᵀX; then the axes within that span are those of
//! the small matrix Q·XᵀX·Qᵀ (Rayleigh and Ritz). (N. Halko, P. G. Martinsson, J. A. Tropp, "Finding structure with
//! randomness", SIAM Review 53 (2011), algorithm 4.4.) It costs about 8·m·d·w multiply-adds for m rows of d dimensions
//! and w axes, and memory for the sample twice: cheaper than [`super::principal`] where w is a fraction of d, and for
//! any d.
//!
//! The axes depend on the level (its rounding), not on the number of threads.

use nalgebra::{DMatrix, SymmetricEigen};

use super::{Sample, choose};
use crate::metric::Metric;
use crate::simd::f32::Panel;
use crate::simd::product::Vectors;
use crate::simd::{GROUP, Simd, TILE, Work, run};
use crate::synth::{Shape, sample as draw};
use crate::threads::{Cancelled, Control};
use crate::vectors::{InputError, Matrix, RowSource};

/// Axes beyond those wanted, for accuracy.
const MORE: usize = 16;
/// Rounds of subspace iteration.
const ROUNDS: usize = 3;
/// Rows of the sample that one item of parallel work handles.
const PART: usize = 96;

/// The `count` leading principal axes (all, if there are no more dimensions) about 0 of `rows`, checked and prepared
/// for `metric`, from a random sample of at most `sample` of them: orthonormal rows, by falling variance.
///
/// # Errors
/// [`InputError`]: a row is refused, or the call was cancelled.
pub fn leading(
    rows: &dyn RowSource,
    metric: Metric,
    count: usize,
    sample: usize,
    seed: u64,
    control: &Control,
) -> Result<Matrix<f32>, InputError> {
    let dim = rows.dim();
    let count = count.min(dim);
    let width = (count + MORE).min(dim);
    let sample = Sample { rows, metric, mean: None, chosen: choose(rows.len(), sample, seed) };
    let mut span = Matrix::zeroed(width, dim);
    let normals = draw(Shape::Gaussian, width, 0, dim, seed ^ 1).data;
    for (row, normals) in normals.chunks_exact(dim.max(1)).enumerate() {
        span.row_mut(row).copy_from_slice(normals);
    }
    run(control.level(), Orthonormalise(&mut span));
    let sample = Transposed::read(&sample, control)?;
    for _ in 0..ROUNDS {
        let products = sample.products(&span, control)?;
        span = sample.combine(&products, width, control)?;
        run(control.level(), Orthonormalise(&mut span));
    }
    let products = sample.products(&span, control)?;
    let mut small = DMatrix::<f64>::zeros(width, width);
    for i in 0..width {
        for j in 0..=i {
            let column = |i: usize| products[i / GROUP].iter().skip(i % GROUP).step_by(GROUP);
            let sum: f64 = column(i).zip(column(j)).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            small[(i, j)] = sum;
            small[(j, i)] = sum;
        }
    }
    control.check()?;
    let SymmetricEigen { eigenvectors, eigenvalues } = SymmetricEigen::new(small);
    let mut order: Vec<usize> = (0..width).collect();
    order.sort_by(|&a, &b| eigenvalues[b].total_cmp(&eigenvalues[a]));
    let mut axes = Matrix::zeroed(count, dim);
    for (to, &from) in order.iter().enumerate().take(count) {
        let axis = axes.row_mut(to);
        for (part, weight) in eigenvectors.column(from).iter().enumerate() {
            let weight = *weight as f32;
            axis.iter_mut().zip(span.row(part)).for_each(|(to, &value)| *to += weight * value);
        }
    }
    run(control.level(), Orthonormalise(&mut axes));
    Ok(axes)
}

/// A sample of rows, and its transpose.
struct Transposed {
    rows: Matrix<f32>,
    columns: Matrix<f32>,
}

impl Transposed {
    fn read(sample: &Sample<'_>, control: &Control) -> Result<Self, InputError> {
        // Divided by a power of two next to the largest value, so that no product overflows or vanishes.
        let inverse = 1.0 / sample.scale(control)?;
        let (count, dim) = (sample.chosen.len(), sample.rows.dim());
        let mut rows = Matrix::<f32>::zeroed(count, dim);
        let stride = rows.stride();
        let parts = rows.values_mut().chunks_mut(PART * stride).zip(sample.chosen.chunks(PART));
        control.for_each(parts, |(values, chosen)| {
            for (values, &row) in values.chunks_exact_mut(stride).zip(chosen) {
                sample.read(row, &mut values[..dim])?;
                values.iter_mut().for_each(|value| *value *= inverse);
            }
            Ok::<_, InputError>(())
        })?;
        let mut columns = Matrix::<f32>::zeroed(dim, count);
        let stride = columns.stride();
        let parts = columns.values_mut().chunks_mut((GROUP * stride).max(1));
        control.for_each(parts.enumerate(), |(part, values)| {
            for row in 0..count {
                let from = rows.row(row).iter().skip(part * GROUP);
                for (column, &value) in values.chunks_exact_mut(stride).zip(from) {
                    column[row] = value;
                }
            }
            Ok::<_, Cancelled>(())
        })?;
        Ok(Self { rows, columns })
    }

    /// Products of all rows with those of `span`: for each 64 of these one block, row after row.
    fn products(&self, span: &Matrix<f32>, control: &Control) -> Result<Vec<Vec<f32>>, Cancelled> {
        let count = self.rows.rows();
        let mut blocks = Vec::new();
        for first in (0..span.rows()).step_by(GROUP) {
            let mut panel = Panel::new(span.dim());
            panel.pack((first..span.rows().min(first + GROUP)).map(|row| span.row(row)));
            let mut block = vec![0.0; count * GROUP];
            let parts = block.chunks_mut(PART * GROUP).enumerate();
            control.for_each(parts, |(part, block)| {
                run(control.level(), Products { sample: self, panel: &panel, first: part * PART, block });
                Ok::<_, Cancelled>(())
            })?;
            blocks.push(block);
        }
        Ok(blocks)
    }

    /// The rows' sums weighted by their products: `width` rows.
    fn combine(
        &self,
        products: &[Vec<f32>],
        width: usize,
        control: &Control,
    ) -> Result<Matrix<f32>, Cancelled> {
        let dim = self.columns.rows();
        let mut sums = vec![0.0_f32; dim * width];
        let parts = sums.chunks_mut((8 * TILE * width).max(1));
        control.for_each(parts.enumerate(), |(part, sums)| {
            let columns = &self.columns;
            run(control.level(), Combine { columns, products, first: part * 8 * TILE, width, sums });
            Ok::<_, Cancelled>(())
        })?;
        let mut span = Matrix::zeroed(width, dim);
        for row in 0..width {
            let column = sums.iter().skip(row).step_by(width);
            span.row_mut(row).iter_mut().zip(column).for_each(|(to, &from)| *to = from);
        }
        Ok(span)
    }
}

struct Products<'a> {
    sample: &'a Transposed,
    panel: &'a Panel,
    first: usize,
    block: &'a mut [f32],
}

impl Work for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { sample, panel, first, block } = self;
        let (dim, stride) = (sample.rows.dim(), sample.rows.stride());
        let mut sums = [[0.0; GROUP]; TILE];
        for (tile, block) in block.chunks_mut(TILE * GROUP).enumerate() {
            let values = &sample.rows.values()[(first + tile * TILE) * stride..];
            let vectors = Vectors::new(values, stride, block.len() / GROUP, dim);
            simd.f32_scores(panel, vectors, &[f32::INFINITY; TILE], &mut sums);
            block.chunks_exact_mut(GROUP).zip(&sums).for_each(|(to, from)| to.copy_from_slice(from));
        }
    }
}

struct Combine<'a> {
    columns: &'a Matrix<f32>,
    products: &'a [Vec<f32>],
    first: usize,
    width: usize,
    sums: &'a mut [f32],
}

impl Work for Combine<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { columns, products, first, width, sums } = self;
        let (depth, stride) = (columns.dim(), columns.stride());
        for (tile, out) in sums.chunks_mut(TILE * width).enumerate() {
            let values = &columns.values()[(first + tile * TILE) * stride..];
            let count = out.len() / width;
            for (b, block) in products.iter().enumerate() {
                let mut sums = [[0.0; GROUP]; TILE];
                simd.add_products(block, Vectors::new(values, stride, count, depth), &mut sums);
                let columns = GROUP.min(width - b * GROUP);
                for (out, sums) in out.chunks_exact_mut(width).zip(&sums) {
                    out[b * GROUP..][..columns].copy_from_slice(&sums[..columns]);
                }
            }
        }
    }
}

/// Makes rows orthonormal, each within the span of those before it and itself; where it has nothing of its own, it is
/// replaced by a direction that the others leave free. There are no more rows than dimensions.
pub struct Orthonormalise<'a>(pub &'a mut Matrix<f32>);

impl Work for Orthonormalise<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self(matrix) = self;
        let (count, stride, dim) = (matrix.rows(), matrix.stride(), matrix.dim());
        for row in 0..count {
            let (before, rest) = matrix.values_mut().split_at_mut(row * stride);
            let values = &mut rest[..stride];
            let mut own = reduce(simd, before, stride, values);
            for axis in 0..dim {
                if own > 1e-4 {
                    break;
                }
                values.fill(0.0);
                values[(row + axis) % dim] = 1.0;
                own = reduce(simd, before, stride, values);
            }
        }
    }
}

/// Takes the parts along orthonormal rows out of a row and makes it of unit length; gives the share of its length that
/// was left. Twice, because once leaves the rounding of a large part.
#[inline(always)]
fn reduce<S: Simd>(simd: S, before: &[f32], stride: usize, values: &mut [f32]) -> f32 {
    let mut own = 1.0;
    for _ in 0..2 {
        let whole = normalise(values);
        if whole == 0.0 {
            return 0.0;
        }
        for row in before.chunks_exact(stride) {
            let part = simd.dot(row, values);
            values.iter_mut().zip(row).for_each(|(value, &row)| *value -= part * row);
        }
        own *= normalise(values) as f32;
    }
    own
}

/// Divides by the length, in f64, and gives it.
#[inline(always)]
fn normalise(values: &mut [f32]) -> f64 {
    let length = values.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
    if length > 0.0 {
        let inverse = (1.0 / length) as f32;
        values.iter_mut().for_each(|value| *value *= inverse);
    }
    length
}
