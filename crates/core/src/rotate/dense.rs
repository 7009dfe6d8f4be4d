//! A matrix of orthonormal rows, applied as it is.

use crate::buffer::Buffer;
use crate::file::{Contents, FormatError, TensorView};
use crate::simd::product::Vectors;
use crate::simd::{GROUP, Simd, TILE};
use crate::synth::{Shape, sample};
use crate::threads::Control;
use crate::vectors::Matrix;

/// How far from 1 the length of a row may be.
const TOLERANCE: f64 = 1e-3;
/// Values of a vector that meet a panel before the next vectors do: 128 KB of the panel, which the second cache holds.
const DEPTH: usize = 512;

/// An orthonormal map from `dim` values to [`Dense::outputs`] values, at most as many: a rotation, or a projection.
///
/// Output r is the inner product with row r, summed in order by [`Simd::add_products`]: it depends on neither the
/// level nor the vectors beside.
#[derive(Clone)]
pub struct Dense {
    rows: Matrix<f32>,
    /// The matrix as the kernel reads it: for each 64 outputs, a panel of `dim * 64` values.
    panels: Buffer,
}

/// Not a matrix of orthonormal rows.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NotOrthonormal {
    /// No rows, or more than there are dimensions.
    #[error("expected 1 to {dim} orthonormal rows of dimension {dim}, got {got}")]
    Rows {
        /// The dimension.
        dim: usize,
        /// How many rows came.
        got: usize,
    },
    /// A row that is not of unit length.
    #[error("expected orthonormal rows, got length {length} at row {row}")]
    Length {
        /// The row.
        row: usize,
        /// Its length.
        length: f64,
    },
}

impl Dense {
    /// The map of these rows. That each is of unit length is checked; that they are at right angles is the caller's to
    /// ensure (to check it would cost as much as rotating as many vectors as there are dimensions).
    ///
    /// # Errors
    /// [`NotOrthonormal`].
    pub fn new(rows: Matrix<f32>) -> Result<Self, NotOrthonormal> {
        let (dim, got) = (rows.dim(), rows.rows());
        if got == 0 || got > dim {
            return Err(NotOrthonormal::Rows { dim, got });
        }
        let mut panels = Buffer::zeroed(got.div_ceil(GROUP) * dim * GROUP * size_of::<f32>());
        let values = panels.as_mut_slice::<f32>();
        for row in 0..got {
            let from = rows.row(row);
            let length = from.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
            // Not `>`: a NaN is no length.
            if !matches!((length - 1.0).abs().partial_cmp(&TOLERANCE), Some(std::cmp::Ordering::Less)) {
                return Err(NotOrthonormal::Length { row, length });
            }
            let panel = &mut values[row / GROUP * dim * GROUP..];
            for (column, &value) in panel.chunks_exact_mut(GROUP).zip(from) {
                column[row % GROUP] = value;
            }
        }
        Ok(Self { rows, panels })
    }

    /// A rotation drawn uniformly from all orthogonal maps of `dim` dimensions (Haar's measure), after G. W. Stewart,
    /// "The efficient generation of random orthogonal matrices", SIAM J. Numer. Anal. 17 (1980): a product of
    /// reflections, each of which sends a vector of independent normal values to an axis, with the signs that make
    /// the triangular factor of that normal matrix positive. In f64; about 4/3·`dim`³ multiply-adds.
    ///
    /// Its bytes rest on the system's logarithm and sine: a file stores the matrix, never only the seed.
    ///
    /// # Errors
    /// [`NotOrthonormal::Rows`] if `dim` is 0.
    pub fn random(dim: usize, seed: u64) -> Result<Self, NotOrthonormal> {
        let normals = sample(Shape::Gaussian, 1, 0, dim * (dim + 1) / 2, seed).data;
        let mut rest = normals.as_slice();
        let mut matrix = vec![0.0_f64; dim * dim];
        let mut sums = vec![0.0_f64; dim];
        // Reflection k leaves the first k axes alone; all but the trailing block is still the identity.
        for k in (0..dim).rev() {
            let (draw, after) = rest.split_at(dim - k);
            rest = after;
            let mut normal: Vec<f64> = draw.iter().map(|&x| f64::from(x)).collect();
            let length = normal.iter().map(|x| x * x).sum::<f64>().sqrt();
            let sign = 1.0_f64.copysign(normal[0]);
            if k + 1 == dim {
                matrix[k * dim + k] = sign;
                continue;
            }
            matrix[k * dim + k] = -sign;
            normal[0] += sign * length;
            let square = normal.iter().map(|x| x * x).sum::<f64>();
            if square == 0.0 {
                continue;
            }
            let sums = &mut sums[k..];
            sums.fill(0.0);
            for (x, row) in normal.iter().zip(matrix.chunks_exact(dim).skip(k)) {
                sums.iter_mut().zip(&row[k..]).for_each(|(sum, value)| *sum += x * value);
            }
            for (x, row) in normal.iter().zip(matrix.chunks_exact_mut(dim).skip(k)) {
                let scale = 2.0 * x / square;
                row[k..].iter_mut().zip(sums.iter()).for_each(|(value, sum)| *value -= scale * sum);
            }
        }
        let mut rows = Matrix::zeroed(dim, dim);
        for (row, from) in matrix.chunks_exact(dim.max(1)).enumerate() {
            rows.row_mut(row).iter_mut().zip(from).for_each(|(to, &from)| *to = from as f32);
        }
        Self::new(rows)
    }

    /// Values in.
    pub fn dim(&self) -> usize {
        self.rows.dim()
    }

    /// Values out: the number of rows.
    pub fn outputs(&self) -> usize {
        self.rows.rows()
    }

    /// The matrix.
    pub fn rows(&self) -> &Matrix<f32> {
        &self.rows
    }

    /// Maps the vectors of `values` (each of `dim`, one after another) into `out` (each of `outputs`). To hand over a
    /// group of 64 at once costs a fraction, vector for vector, of one at a time: the matrix is then read once.
    ///
    /// # Panics
    /// If the slices are not of whole vectors, or of different numbers of them.
    #[inline(always)]
    pub fn apply<S: Simd>(&self, simd: S, values: &[f32], out: &mut [f32]) {
        let (dim, outputs) = (self.dim(), self.outputs());
        let count = values.len() / dim;
        assert!(
            values.len() == count * dim && out.len() == count * outputs,
            "rotate: slices of other lengths"
        );
        let panels = self.panels.as_slice::<f32>().chunks_exact(dim * GROUP);
        for (panel, first) in panels.zip((0..outputs).step_by(GROUP)) {
            let width = GROUP.min(outputs - first);
            out.chunks_exact_mut(outputs).for_each(|row| row[first..first + width].fill(0.0));
            for (part, from) in panel.chunks(DEPTH * GROUP).zip((0..dim).step_by(DEPTH)) {
                let depth = part.len() / GROUP;
                for tile in (0..count).step_by(TILE) {
                    let mut sums = [[0.0; GROUP]; TILE];
                    let vectors =
                        Vectors::new(&values[tile * dim + from..], dim, TILE.min(count - tile), depth);
                    if from > 0 {
                        for (sums, row) in sums.iter_mut().zip(out[tile * outputs..].chunks_exact(outputs)) {
                            sums[..width].copy_from_slice(&row[first..first + width]);
                        }
                    }
                    simd.add_products(part, vectors, &mut sums);
                    for (sums, row) in sums.iter().zip(out[tile * outputs..].chunks_exact_mut(outputs)) {
                        row[first..first + width].copy_from_slice(&sums[..width]);
                    }
                }
            }
        }
    }

    /// Maps `values` (`outputs`) by the transpose into `out` (`dim`): back, for a rotation; for a projection, to the
    /// nearest vector of that image. The same bytes on every level.
    ///
    /// # Panics
    /// If a slice is of another length.
    #[inline(always)]
    pub fn apply_inverse<S: Simd>(&self, _simd: S, values: &[f32], out: &mut [f32]) {
        assert!(values.len() == self.outputs() && out.len() == self.dim(), "rotate: slices of other lengths");
        out.fill(0.0);
        for (row, &value) in values.iter().enumerate() {
            for (out, &x) in out.iter_mut().zip(self.rows.row(row)) {
                *out += value * x;
            }
        }
    }

    /// The matrix as a file's tensor.
    pub fn tensor(&self, name: &'static str) -> TensorView<'_> {
        self.rows.tensor(name)
    }

    /// Takes a map of `outputs` rows of `dim` values out of a file, checked as [`Dense::new`] does.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn take(
        contents: &mut Contents,
        name: &'static str,
        outputs: usize,
        dim: usize,
        control: &Control,
    ) -> Result<Self, FormatError> {
        let rows = Matrix::take(contents, name, outputs, dim)?;
        rows.check_values(name, control)?;
        Self::new(rows).map_err(|error| FormatError::content(name, "orthonormal rows", error))
    }
}
