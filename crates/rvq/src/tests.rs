//! Encoding and refinement against their definitions.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use counterpoint_core::simd::Level;
use counterpoint_core::synth::{Shape, sample};
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::Matrix;
use proptest::prelude::*;

use crate::codebooks::Codebooks;
use crate::refine::refine;
use crate::repair::repair;
use crate::train::{columns, encode};

fn matrix(rows: usize, dim: usize, seed: u64) -> Matrix<f32> {
    let data = sample(Shape::Gaussian, rows, 0, dim, seed).data;
    let mut matrix = Matrix::zeroed(rows, dim);
    data.chunks(dim).enumerate().for_each(|(row, values)| matrix.row_mut(row).copy_from_slice(values));
    matrix
}

/// ‖x − Σ c‖².
fn error(codebooks: &Codebooks, row: &[f32], codes: &[u8]) -> f64 {
    let mut sum = vec![0.0; row.len()];
    codebooks.add(codes, &mut sum);
    row.iter().zip(sum).map(|(&x, s)| (f64::from(x) - f64::from(s)).powi(2)).sum()
}

fn whole(codebooks: &Codebooks, rows: &Matrix<f32>, columns: &[Vec<u8>]) -> f64 {
    let codes = |row: usize| columns.iter().map(|column| column[row]).collect::<Vec<_>>();
    (0..rows.rows()).map(|row| error(codebooks, rows.row(row), &codes(row))).sum()
}

/// Σ wₛ‖eₛ‖², with `weight` for all stages but the last.
fn weighted(codebooks: &Codebooks, rows: &Matrix<f32>, columns: &[Vec<u8>], weight: f32) -> f64 {
    let of = |stages: usize| whole(codebooks, rows, &columns[..stages]);
    of(columns.len()) + f64::from(weight) * (1..columns.len()).map(of).sum::<f64>()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_beam_that_keeps_all_sums_finds_the_best(
        sizes in prop::collection::vec(1_usize..6, 1..5), dim in 1_usize..40, seed in any::<u64>()
    ) {
        let words = matrix(sizes.iter().sum(), dim, seed);
        let codebooks = Codebooks::of(words, &sizes);
        let rows = matrix(70, dim, seed ^ 1);
        let count: usize = sizes.iter().product();
        for level in Level::available() {
            let codes = encode(&codebooks, &rows, count, &Control::new(level, Some(2))).expect("not cancelled");
            for (row, codes) in codes.chunks(sizes.len()).enumerate() {
                let best = (0..count).map(|sum| {
                    let mut rest = sum;
                    let digits = sizes.iter().map(|size| {
                        let digit = (rest % size) as u8;
                        rest /= size;
                        digit
                    });
                    error(&codebooks, rows.row(row), &digits.collect::<Vec<_>>())
                });
                let (found, best) = (error(&codebooks, rows.row(row), codes), best.fold(f64::INFINITY, f64::min));
                prop_assert!(found <= best * (1.0 + 1e-4) + 1e-4, "{}: {found}, not {best}", level.name());
            }
        }
    }

    #[test]
    fn a_beam_of_one_takes_the_nearest_codeword_of_each_stage(
        stages in 1_usize..4, size in 1_usize..257, dim in 1_usize..20, seed in any::<u64>()
    ) {
        let codebooks = Codebooks::of(matrix(stages * size, dim, seed), &vec![size; stages]);
        let rows = matrix(9, dim, seed ^ 1);
        for level in Level::available() {
            let codes = encode(&codebooks, &rows, 1, &Control::new(level, Some(1))).expect("not cancelled");
            for (row, codes) in codes.chunks(stages).enumerate() {
                for stage in 0..stages {
                    let of = |code: usize| {
                        let mut codes = codes[..=stage].to_vec();
                        codes[stage] = code as u8;
                        error(&codebooks, rows.row(row), &codes)
                    };
                    let best = (0..size).map(of).fold(f64::INFINITY, f64::min);
                    let found = of(usize::from(codes[stage]));
                    prop_assert!(found <= best * (1.0 + 1e-4) + 1e-4, "{}: {found}, not {best}", level.name());
                }
            }
        }
    }
}

#[test]
fn refined_codebooks_are_the_least_squares() {
    let (rows, sizes) = (matrix(600, 21, 1), [7, 5, 9]);
    let control = Control::default();
    for weight in [0.0, 0.1, 1.0] {
        let mut codebooks = Codebooks::of(matrix(21, 21, 2), &sizes);
        let columns = columns(&encode(&codebooks, &rows, 4, &control).expect("not cancelled"), sizes.len());
        let mut before = weighted(&codebooks, &rows, &columns, weight);
        for _ in 0..5 {
            refine(&mut codebooks, &rows, &columns, weight, 1, &control).expect("not cancelled");
            let after = weighted(&codebooks, &rows, &columns, weight);
            assert!(after <= before * (1.0 + 1e-6), "{weight}: {before} before, {after} after");
            before = after;
        }
        refine(&mut codebooks, &rows, &columns, weight, 200, &control).expect("not cancelled");
        // The normal equations: of the rows of each codeword, what is left over by its stage and those after it, with
        // their weights, is nothing in the mean.
        for (stage, column) in columns.iter().enumerate() {
            for code in 0..sizes[stage] {
                let mut sum = vec![0.0; 21];
                let members: Vec<usize> = (0..600).filter(|&row| usize::from(column[row]) == code).collect();
                for &row in &members {
                    let codes: Vec<u8> = columns.iter().map(|column| column[row]).collect();
                    for last in stage..sizes.len() {
                        let weight = if last + 1 == sizes.len() { 1.0 } else { f64::from(weight) };
                        let mut decoded = vec![0.0; 21];
                        codebooks.add(&codes[..=last], &mut decoded);
                        for ((sum, &x), d) in sum.iter_mut().zip(rows.row(row)).zip(decoded) {
                            *sum += weight * (f64::from(x) - f64::from(d));
                        }
                    }
                }
                let mean = |sum: f64| sum.abs() / members.len().max(1) as f64;
                assert!(
                    sum.iter().all(|&sum| mean(sum) < 1e-3),
                    "{weight}, stage {stage}, codeword {code}: {sum:?}"
                );
            }
        }
    }
}

#[test]
fn dead_codewords_are_put_to_use() {
    let rows = matrix(500, 8, 3);
    let sizes = [4, 6];
    let mut words = matrix(10, 8, 4);
    // Farther than any row.
    words.row_mut(2).fill(100.0);
    words.row_mut(9).fill(-100.0);
    let mut codebooks = Codebooks::of(words, &sizes);
    let control = Control::default();
    let codes = |codebooks: &Codebooks| {
        columns(&encode(codebooks, &rows, 24, &control).expect("not cancelled"), sizes.len())
    };
    let mut columns = codes(&codebooks);
    let before = whole(&codebooks, &rows, &columns);
    repair(&mut codebooks, &rows, &mut columns, &control).expect("not cancelled");
    assert!(whole(&codebooks, &rows, &columns) < before);
    let after = codes(&codebooks);
    assert!(after[0].contains(&2) && after[1].contains(&5), "still dead");
}
