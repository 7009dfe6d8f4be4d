//! Codes, tables and distortion against their definitions.

use super::*;
use crate::simd::Level;
use crate::synth::{Shape, sample};

fn matrix(values: &[f32], dim: usize) -> Matrix<f32> {
    let mut rows = Matrix::zeroed(values.len() / dim, dim);
    for (row, values) in values.chunks_exact(dim).enumerate() {
        rows.row_mut(row).copy_from_slice(values);
    }
    rows
}

fn gaussian(rows: usize, dim: usize, seed: u64) -> Matrix<f32> {
    matrix(&sample(Shape::Gaussian, rows, 0, dim, seed).data, dim)
}

/// Rows whose values go together, as those of images do.
fn smooth(rows: usize, dim: usize) -> Matrix<f32> {
    let mut all = gaussian(rows, dim, 7);
    for row in 0..rows {
        let values = all.row_mut(row);
        for j in 1..dim {
            values[j] = 0.95 * values[j - 1] + 0.3 * values[j];
        }
    }
    all
}

struct Tables<'a>(&'a ProductQuantizer, &'a [f32], bool);

impl Work for Tables<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Vec<f32> {
        let mut tables = Vec::new();
        match self.2 {
            true => self.0.squared_distances(simd, self.1, &mut tables),
            false => self.0.inner_products(simd, self.1, &mut tables),
        }
        tables
    }
}

fn square(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum()
}

/// The centroid `k` of subspace `m`.
fn centroid(quantizer: &ProductQuantizer, m: usize, k: usize) -> Vec<f32> {
    let (mut codes, mut out) = (vec![0; quantizer.subspaces()], vec![0.0; quantizer.dim()]);
    codes[m] = k as u8;
    quantizer.decode(&codes, &mut out);
    out[quantizer.span(m)].to_vec()
}

#[test]
fn subspaces_cover_all_values_and_the_first_are_longer() {
    for dim in 1..70 {
        for subspaces in 1..=dim {
            let spans: Vec<_> = (0..subspaces).map(|m| span(dim, subspaces, m)).collect();
            assert_eq!((spans[0].start, spans[subspaces - 1].end), (0, dim));
            assert!(spans.windows(2).all(|two| two[0].end == two[1].start));
            assert!(spans.windows(2).all(|two| two[0].len() >= two[1].len()));
            assert!(spans[0].len() - spans[subspaces - 1].len() <= 1);
        }
    }
}

#[test]
fn a_code_is_the_nearest_centroid_on_every_level_and_tables_are_distances() {
    for (dim, subspaces, bits) in [
        (1, 1, Bits::Four),
        (7, 3, Bits::Four),
        (10, 10, Bits::Eight),
        (33, 5, Bits::Eight),
        (64, 16, Bits::Four),
    ] {
        let control = Control::new(Level::detect(), Some(2));
        let rows = gaussian(700, dim, 3);
        let quantizer = Training::new(subspaces, bits).fit(&rows, &control).expect("not cancelled");
        let codes = quantizer.encode_all(&rows, &control).expect("not cancelled");
        let query = gaussian(1, dim, 9).row(0).to_vec();
        for level in Level::available() {
            let control = Control::new(level, Some(1));
            assert_eq!(
                quantizer.encode_all(&rows, &control).expect("not cancelled"),
                codes,
                "{}",
                level.name()
            );
            assert_eq!(
                run(level, Tables(&quantizer, &query, true)),
                run(Level::SCALAR, Tables(&quantizer, &query, true))
            );
        }
        let products = run(control.level(), Tables(&quantizer, &query, false));
        let squares = run(control.level(), Tables(&quantizer, &query, true));
        let mut decoded = vec![0.0; dim];
        for row in 0..rows.rows() {
            let code = &codes[row * subspaces..][..subspaces];
            for (m, &code) in code.iter().enumerate() {
                let part = &rows.row(row)[span(dim, subspaces, m)];
                let off = |k| square(part, &centroid(&quantizer, m, k));
                let least = (0..quantizer.centroids()).map(off).fold(f64::INFINITY, f64::min);
                assert!(off(usize::from(code)) <= least * (1.0 + 1e-5) + 1e-12);
            }
            quantizer.decode(code, &mut decoded);
            let sum = |tables: &[f32]| {
                let entry = |(m, &code): (usize, &u8)| {
                    f64::from(tables[m * quantizer.centroids() + usize::from(code)])
                };
                code.iter().enumerate().map(entry).sum::<f64>()
            };
            let product: f64 = query.iter().zip(&decoded).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            assert!((sum(&squares) - square(&query, &decoded)).abs() < 1e-4);
            assert!((sum(&products) - product).abs() < 1e-4);
        }
    }
}

#[test]
fn equal_centroids_are_told_by_the_lowest_number() {
    let rows = matrix(&[3.0, 3.0, 1.0, 1.0], 1);
    let control = Control::default();
    for bits in [Bits::Four, Bits::Eight] {
        let quantizer = Training::new(1, bits).fit(&rows, &control).expect("not cancelled");
        let codes = quantizer.encode_all(&rows, &control).expect("not cancelled");
        assert!(codes.iter().all(|&code| code < 2), "{codes:?}");
        assert_eq!(quantizer.distortion(&rows, &control), Ok(0.0));
    }
}

#[test]
fn fewer_rows_than_centroids_are_coded_without_loss() {
    let control = Control::default();
    for rows in [0, 1, 2, 15, 16, 100] {
        let data = gaussian(rows, 6, 2);
        let quantizer = Training::new(4, Bits::Eight).fit(&data, &control).expect("not cancelled");
        let loss = quantizer.distortion(&data, &control).expect("not cancelled");
        assert!(loss < 1e-9, "{rows}: {loss}");
    }
    // All alike.
    let data = matrix(&[0.5; 300], 3);
    let quantizer = Training::new(2, Bits::Four).fit(&data, &control).expect("not cancelled");
    assert_eq!(quantizer.distortion(&data, &control), Ok(0.0));
}

#[test]
fn same_seed_same_bytes_whatever_the_threads() {
    let rows = gaussian(3000, 20, 4);
    let books = |threads, seed| {
        let control = Control::new(Level::detect(), Some(threads));
        let quantizer =
            Training { seed, ..Training::new(5, Bits::Four) }.fit(&rows, &control).expect("not cancelled");
        quantizer.codebooks.as_bytes().to_vec()
    };
    assert_eq!(books(1, 0), books(3, 0));
    assert_ne!(books(1, 0), books(1, 1));
}

#[test]
fn more_subspaces_and_more_centroids_lose_less() {
    let (rows, control) = (smooth(4000, 48), Control::default());
    let loss = |subspaces, bits| {
        let quantizer = Training::new(subspaces, bits).fit(&rows, &control).expect("not cancelled");
        // Every centroid is somebody's.
        let codes = quantizer.encode_all(&rows, &control).expect("not cancelled");
        for m in 0..subspaces {
            let mut used = vec![false; quantizer.centroids()];
            codes.iter().skip(m).step_by(subspaces).for_each(|&code| used[usize::from(code)] = true);
            assert!(used.iter().filter(|&&used| !used).count() * 100 < quantizer.centroids(), "subspace {m}");
        }
        quantizer.distortion(&rows, &control).expect("not cancelled")
    };
    let one = loss(1, Bits::Four);
    let (few, many) = (loss(6, Bits::Four), loss(12, Bits::Four));
    let fine = loss(12, Bits::Eight);
    assert!(few < 0.6 * one && many < 0.6 * few && fine < 0.3 * many, "{one} {few} {many} {fine}");
}
