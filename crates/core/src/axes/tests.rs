use super::*;
use crate::simd::Level;
use crate::synth::{Shape, sample};
use crate::vectors::Rows;

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
}

fn assert_orthonormal(axes: &Axes) {
    let vectors = &axes.vectors;
    for i in 0..vectors.rows() {
        for j in 0..=i {
            let want = if i == j { 1.0 } else { 0.0 };
            let got = dot(vectors.row(i), vectors.row(j));
            assert!((got - want).abs() < 1e-5, "axes {i} and {j} of {}: {got}", vectors.dim());
        }
        let largest =
            vectors.row(i).iter().fold(0.0_f32, |most, &v| if v.abs() > most.abs() { v } else { most });
        assert!(largest > 0.0, "axis {i}: {largest}");
    }
    assert!(axes.variances.is_sorted_by(|a, b| a >= b) && axes.variances.iter().all(|&v| v >= 0.0));
}

/// Rows about `centre` that vary along the axes of a random rotation, with the j-th (from 0) of deviation 2^−j/4.
struct Planted {
    values: Vec<f32>,
    axes: Vec<Vec<f32>>,
    dim: usize,
}

fn planted(rows: usize, dim: usize, centre: f32, size: f32) -> Planted {
    let rotation = crate::rotate::Dense::random(dim, 11).expect("legal");
    let axes: Vec<Vec<f32>> = (0..dim).map(|row| rotation.rows().row(row).to_vec()).collect();
    let normals = sample(Shape::Gaussian, rows, 0, dim, 3).data;
    let mut values = vec![centre * size; rows * dim];
    for (row, normals) in values.chunks_mut(dim).zip(normals.chunks(dim)) {
        for (j, (axis, normal)) in axes.iter().zip(normals).enumerate() {
            let along = size * normal * (-0.25 * j as f32).exp2();
            row.iter_mut().zip(axis).for_each(|(value, x)| *value += along * x);
        }
    }
    Planted { values, axes, dim }
}

#[test]
fn a_planted_spectrum_is_found() {
    for (dim, size) in [(5, 1.0), (64, 1.0), (100, 1e-30), (67, 1e13)] {
        let planted = planted(6000, dim, 0.0, size);
        let rows = Rows::new(&planted.values, dim).expect("legal");
        let axes = principal(&rows, Metric::L2, None, 5000, 1, &Control::default()).expect("legal");
        assert_orthonormal(&axes);
        for j in 0..dim.min(12) {
            let want = f64::from(size).powi(2) * (-0.5 * j as f64).exp2();
            assert!(
                (axes.variances[j] / want - 1.0).abs() < 0.1,
                "{dim}, {j}: {} for {want}",
                axes.variances[j]
            );
            let cosine = dot(axes.vectors.row(j), &planted.axes[j]).abs();
            assert!(cosine > 0.99, "{dim}, {j}: {cosine}");
        }
    }
}

/// The variances are those of the rows along the axes, to rounding; and the covariance has no other terms.
#[test]
fn axes_decorrelate_the_sample() {
    let dim = 130;
    let planted = planted(2500, dim, 0.0, 1.0);
    let rows = Rows::new(&planted.values, dim).expect("legal");
    let axes = principal(&rows, Metric::L2, None, usize::MAX, 1, &Control::default()).expect("legal");
    let along: Vec<Vec<f64>> = planted
        .values
        .chunks(dim)
        .map(|row| (0..dim).map(|i| dot(row, axes.vectors.row(i))).collect())
        .collect();
    for i in 0..dim {
        for j in [i, (i + 1) % dim, (i + 64) % dim, dim - 1 - i] {
            let got = along.iter().map(|row| row[i] * row[j]).sum::<f64>() / along.len() as f64;
            let want = if i == j { axes.variances[i] } else { 0.0 };
            assert!((got - want).abs() < 1e-5 * axes.variances[0], "{i}, {j}: {got} for {want}");
        }
    }
}

#[test]
fn a_mean_is_taken_off() {
    let planted = planted(3000, 40, 3.0, 1.0);
    let rows = Rows::new(&planted.values, planted.dim).expect("legal");
    let control = Control::default();
    let mean = crate::intake::mean(&rows, Metric::L2, &control).expect("legal");
    let centred = principal(&rows, Metric::L2, Some(&mean), 3000, 1, &control).expect("legal");
    assert!(dot(centred.vectors.row(0), &planted.axes[0]).abs() > 0.99);
    let raw = principal(&rows, Metric::L2, None, 3000, 1, &control).expect("legal");
    let along = raw.vectors.row(0).iter().sum::<f32>() / 40.0_f32.sqrt();
    assert!(along > 0.99 && raw.variances[0] > 300.0, "{along}, {}", raw.variances[0]);
}

#[test]
fn every_level_and_any_threads_give_the_same_bytes() {
    let planted = planted(3001, 75, 0.5, 1.0);
    let rows = Rows::new(&planted.values, planted.dim).expect("legal");
    let find = |level, threads, seed| {
        let control = Control::new(level, Some(threads));
        let axes = principal(&rows, Metric::Cosine, None, 2100, seed, &control).expect("legal");
        (axes.vectors.as_bytes().to_vec(), axes.variances)
    };
    let want = find(Level::SCALAR, 1, 1);
    for level in Level::available() {
        for threads in [1, 2, 5] {
            assert_eq!(find(level, threads, 1), want, "{} × {threads}", level.name());
        }
    }
    assert_ne!(find(Level::SCALAR, 1, 2), want);
}

#[test]
fn few_rows_and_equal_rows_have_axes() {
    let control = Control::default();
    for (values, dim) in [
        (vec![], 3),
        (vec![0.0; 12], 3),
        (vec![2.0; 300], 3),
        (vec![1.0, 2.0, 2.0], 3),
        (vec![5.0], 1),
        (vec![f32::MIN_POSITIVE / 4.0; 8], 4),
    ] {
        let rows = Rows::new(&values, dim).expect("legal");
        let axes = principal(&rows, Metric::L2, None, 1000, 1, &control).expect("legal");
        assert_orthonormal(&axes);
        let total =
            values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / (values.len() / dim).max(1) as f64;
        assert!((axes.variances.iter().sum::<f64>() - total).abs() <= 1e-6 * total, "{:?}", axes.variances);
    }
}

#[test]
fn what_is_wrong_is_said() {
    let control = Control::default();
    let values = [1.0, 2.0, f32::NAN, 4.0];
    let rows = Rows::new(&values, 2).expect("legal");
    let find = |mean, metric, control: &Control| principal(&rows, metric, mean, 9, 1, control).err();
    let not_finite = find(None, Metric::L2, &control);
    assert!(
        matches!(not_finite, Some(AxesError::Input(InputError::NotFinite { row: 1, column: 0, .. }))),
        "{not_finite:?}"
    );
    let mean = find(Some(&[0.0; 3]), Metric::L2, &control);
    assert_eq!(mean, Some(InputError::Dim { expected: 2, got: 3 }.into()));
    let wide = vec![0.0; MOST_DIMS + 1];
    let wide = Rows::new(&wide, MOST_DIMS + 1).expect("legal");
    let got = principal(&wide, Metric::L2, None, 9, 1, &control).err();
    assert_eq!(got, Some(AxesError::TooManyDims { got: MOST_DIMS + 1 }));
    control.cancel();
    assert_eq!(find(None, Metric::L2, &control), Some(Cancelled.into()));
}

#[test]
fn cancelling_does_not_wait_for_the_decomposition() {
    let dim = 1200;
    let values = sample(Shape::Gaussian, 40, 0, dim, 3).data;
    let rows = Rows::new(&values, dim).expect("legal");
    let control = Control::default();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // All rows are summed: what is left is the decomposition.
            while control.progress().0 < 40 {
                std::thread::yield_now();
            }
            control.cancel();
        });
        let got = principal(&rows, Metric::L2, None, 40, 1, &control).err();
        assert_eq!(got, Some(Cancelled.into()));
    });
}

#[test]
fn samples_are_uniform() {
    let mut hits = [0; 20];
    for seed in 0..4000 {
        let chosen = choose(20, 5, seed);
        assert!(chosen.len() == 5 && chosen.is_sorted_by(|a, b| a < b), "{chosen:?}");
        chosen.iter().for_each(|&row| hits[row] += 1);
    }
    assert!(hits.iter().all(|&h| (860..1140).contains(&h)), "{hits:?}");
    assert_eq!(choose(4, 9, 1), [0, 1, 2, 3]);
    assert!(choose(0, 9, 1).is_empty());
    assert!(choose(9, 0, 1).is_empty());
}

#[test]
fn the_leading_axes_span_what_the_principal_ones_do() {
    let data = sample(Shape::PowerLaw { decay: 1.0 }, 500, 0, 70, 4).data;
    let rows = Rows::new(&data, 70).expect("whole rows");
    let all = principal(&rows, Metric::L2, None, 500, 1, &Control::default()).expect("axes");
    let mut first = None;
    for threads in [1, 3] {
        let control = Control::new(Level::detect(), Some(threads));
        let axes = leading(&rows, Metric::L2, 10, 500, 1, &control).expect("axes");
        assert_eq!((axes.rows(), axes.dim()), (10, 70));
        // The share of each axis that lies along the same of all.
        for row in 0..10 {
            let product = |i: usize| {
                all.vectors.row(i).iter().zip(axes.row(row)).map(|(a, b)| f64::from(a * b)).sum::<f64>()
            };
            let within: f64 = (0..11).map(|i| product(i).powi(2)).sum();
            assert!(within > 0.99, "axis {row}: {within} of it among the first eleven");
        }
        assert!(*first.get_or_insert_with(|| axes.values().to_vec()) == axes.values());
    }
}

#[test]
fn leading_axes_of_little_are_orthonormal_all_the_same() {
    for (values, dim) in [(vec![], 5), (vec![0.0; 12], 3), (vec![1.0, 2.0, 3.0], 3), (vec![2.0; 4], 1)] {
        let rows = Rows::new(&values, dim).expect("whole rows");
        let axes = leading(&rows, Metric::L2, 100, 50, 0, &Control::default()).expect("axes");
        assert_eq!(axes.rows(), dim);
        for i in 0..dim {
            for j in 0..=i {
                let product: f32 = axes.row(i).iter().zip(axes.row(j)).map(|(a, b)| a * b).sum();
                assert!((product - f32::from(u8::from(i == j))).abs() < 1e-5, "{dim}: {product} at {i}, {j}");
            }
        }
    }
}
