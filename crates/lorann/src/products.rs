//! Products of small matrices on the shared kernel.

use counterpoint_core::simd::product::Vectors;
use counterpoint_core::simd::{GROUP, Simd, TILE};
use counterpoint_core::vectors::Matrix;

/// Rows of a product that one pass of a panel gives.
const DEPTH: usize = 1024;

/// A·B, each value summed in the order of A's columns.
///
/// # Panics
/// If A has not as many columns as B has rows.
#[inline(always)]
pub(crate) fn multiply<S: Simd>(simd: S, a: &Matrix<f32>, b: &Matrix<f32>) -> Matrix<f32> {
    assert_eq!(a.dim(), b.rows(), "factors of different inner dimensions");
    let mut product = Matrix::zeroed(a.rows(), b.dim());
    let mut panel = vec![0.0; DEPTH.min(b.rows()) * GROUP];
    for first in (0..b.dim()).step_by(GROUP) {
        let width = GROUP.min(b.dim() - first);
        for from in (0..b.rows()).step_by(DEPTH) {
            let depth = DEPTH.min(b.rows() - from);
            let panel = &mut panel[..depth * GROUP];
            for (row, column) in panel.chunks_exact_mut(GROUP).enumerate() {
                column[..width].copy_from_slice(&b.row(from + row)[first..first + width]);
            }
            for tile in (0..a.rows()).step_by(TILE) {
                let count = TILE.min(a.rows() - tile);
                let values = &a.values()[tile * a.stride() + from..];
                let mut sums = [[0.0; GROUP]; TILE];
                for (i, sums) in sums.iter_mut().enumerate().take(count) {
                    sums[..width].copy_from_slice(&product.row(tile + i)[first..first + width]);
                }
                simd.add_products(panel, Vectors::new(values, a.stride(), count, depth), &mut sums);
                for (i, sums) in sums.iter().enumerate().take(count) {
                    product.row_mut(tile + i)[first..first + width].copy_from_slice(&sums[..width]);
                }
            }
        }
    }
    product
}

/// Aᵀ.
pub(crate) fn transpose(a: &Matrix<f32>) -> Matrix<f32> {
    let mut transposed = Matrix::zeroed(a.dim(), a.rows());
    let stride = transposed.stride();
    let values = transposed.values_mut();
    for row in 0..a.rows() {
        for (column, &value) in a.row(row).iter().enumerate() {
            values[column * stride + row] = value;
        }
    }
    transposed
}

#[cfg(test)]
mod tests {
    use counterpoint_core::simd::{Level, Work, run};

    use super::*;

    struct Multiply<'a>(&'a Matrix<f32>, &'a Matrix<f32>);

    impl Work for Multiply<'_> {
        type Output = Matrix<f32>;

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> Matrix<f32> {
            multiply(simd, self.0, self.1)
        }
    }

    fn matrix(rows: usize, dim: usize) -> Matrix<f32> {
        let mut matrix = Matrix::zeroed(rows, dim);
        for row in 0..rows {
            let whole = |j: usize| ((row * 7 + j * 5) % 11) as f32 - 5.0;
            matrix.row_mut(row).iter_mut().enumerate().for_each(|(j, value)| *value = whole(j));
        }
        matrix
    }

    #[test]
    fn products_of_every_shape_are_exact() {
        for level in Level::available() {
            for (p, k, n) in [(1, 1, 1), (7, 3, 65), (5, 1030, 3), (13, 130, 128), (0, 4, 4), (4, 0, 4)] {
                let (a, b) = (matrix(p, k), matrix(k, n));
                let (product, turned) = (run(level, Multiply(&a, &b)), transpose(&b));
                for i in 0..p {
                    for j in 0..n {
                        let want: f32 = a.row(i).iter().zip(turned.row(j)).map(|(a, b)| a * b).sum();
                        assert_eq!(product.row(i)[j], want, "{p} × {k} × {n} at {i}, {j}");
                    }
                }
            }
        }
    }
}
