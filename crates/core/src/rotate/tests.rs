use super::*;
use crate::file::Document;
use crate::simd::{Level, Simd, Work, run};
use crate::synth::{Shape, sample};
use crate::vectors::Matrix;

/// Rotates one vector; and back, if `inverse`.
struct Apply<'a>(&'a Structured, &'a [f32], bool);

impl Work for Apply<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Vec<f32> {
        let Self(rotation, values, inverse) = self;
        let mut scratch = vec![f32::NAN; rotation.padded()];
        let mut out = vec![f32::NAN; if inverse { rotation.dim() } else { rotation.padded() }];
        if inverse {
            rotation.apply_inverse(simd, &mut values.to_vec(), &mut scratch, &mut out);
        } else {
            rotation.apply(simd, values, &mut scratch, &mut out);
        }
        out
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
}

fn normals(rows: usize, dim: usize, seed: u64) -> Vec<f32> {
    sample(Shape::Gaussian, rows, 0, dim, seed).data
}

fn dims() -> impl Iterator<Item = usize> {
    (1..=300).chain([384, 1000, 1032, 1536, 2016, 3072])
}

#[test]
fn lengths_angles_and_the_way_back_at_every_dimension() {
    for dim in dims() {
        let rotation = Structured::new(dim, dim as u64);
        assert_eq!(rotation.padded(), dim.next_multiple_of(32));
        let data = normals(2, dim, 5);
        let (a, b) = data.split_at(dim);
        let [norm_a, norm_b] = [dot(a, a).sqrt(), dot(b, b).sqrt()];
        let [x, y] = [a, b].map(|row| run(Level::detect(), Apply(&rotation, row, false)));
        assert!((dot(&x, &x).sqrt() / norm_a - 1.0).abs() < 1e-5 / 4.0, "{dim}");
        assert!((dot(&x, &y) - dot(a, b)).abs() < 1e-5 * norm_a * norm_b, "{dim}");
        let back = run(Level::detect(), Apply(&rotation, &x, true));
        let off: f64 = back.iter().zip(a).map(|(&x, &y)| f64::from(x - y).powi(2)).sum();
        assert!(off.sqrt() < 1e-5 * norm_a, "{dim}: {off}");
    }
}

#[test]
fn every_level_gives_the_same_bytes() {
    for dim in dims() {
        let rotation = Structured::new(dim, 9);
        let row = normals(1, dim, 6);
        let want = run(Level::SCALAR, Apply(&rotation, &row, false));
        let want_back = run(Level::SCALAR, Apply(&rotation, &want, true));
        for level in Level::available() {
            assert_eq!(run(level, Apply(&rotation, &row, false)), want, "{dim} at {}", level.name());
            assert_eq!(
                run(level, Apply(&rotation, &want, true)),
                want_back,
                "{dim} back at {}",
                level.name()
            );
        }
    }
}

#[test]
fn the_seed_decides() {
    assert_eq!(Structured::new(200, 1), Structured::new(200, 1));
    assert_ne!(Structured::new(200, 1).factors(), Structured::new(200, 2).factors());
}

/// Files hold codes of rotated vectors and only the rotation's seed: should this test fail, old files are read wrongly.
#[test]
fn the_bytes_never_change() {
    let hash = |dim: usize, seed: u64| {
        let row: Vec<f32> = (0..dim).map(|i| (i * i % 101) as f32 - 50.0).collect();
        let rotated = run(Level::detect(), Apply(&Structured::new(dim, seed), &row, false));
        let bytes: Vec<u8> = rotated.iter().flat_map(|v| v.to_le_bytes()).collect();
        twox_hash::XxHash3_128::oneshot(&bytes)
    };
    let got = [(1, 0), (200, 1), (384, 42), (1032, 7), (1536, u64::MAX)].map(|(dim, seed)| hash(dim, seed));
    let want = [
        0x49c0_a452_9631_e979_81b3_5eee_22ef_e06d,
        0x058f_7f53_5b18_5d0b_c9d1_4ea4_ab8a_3353,
        0x8a9f_5c68_be3e_6ff9_a1bb_4c23_5fb2_4272,
        0x3e7c_a1d9_1feb_6b6a_683a_d7ee_e494_2a76,
        0x606e_03d7_a461_d98e_a52d_dfca_dcf7_4865,
    ];
    assert_eq!(got, want, "{got:#x?}");
}

/// Φ, by Abramowitz and Stegun's 7.1.26: to 10⁻⁷.
fn normal_cdf(x: f64) -> f64 {
    let z = x.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let poly = t
        * (0.254_829_592
            + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    let erf = 1.0 - poly * (-z * z).exp();
    0.5 * (1.0 + erf.copysign(x))
}

/// Kolmogorov and Smirnov's √n·D against the standard normal: above 2.2 once in 10,000 for normal values.
fn distance_from_normal(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let n = values.len() as f64;
    let far = values.iter().enumerate().map(|(i, &v)| {
        let cdf = normal_cdf(v);
        (cdf - i as f64 / n).abs().max(((i + 1) as f64 / n - cdf).abs())
    });
    n.sqrt() * far.fold(0.0, f64::max)
}

/// Values as far from normal ones as data gets, of unit length.
fn hard_inputs(dim: usize) -> Vec<(String, Vec<f32>)> {
    let mut inputs = Vec::new();
    let mut add = |name: String, mut values: Vec<f32>| {
        let norm = dot(&values, &values).sqrt() as f32;
        values.iter_mut().for_each(|v| *v /= norm);
        inputs.push((name, values));
    };
    for j in [0, 1, dim / 3, dim / 2, dim - 2, dim - 1] {
        let mut values = vec![0.0; dim];
        values[j] = 1.0;
        add(format!("one-hot {j}"), values.clone());
        values[(j + dim / 2) % dim] = 1.0;
        add(format!("two-hot {j}"), values.clone());
        values.iter_mut().enumerate().for_each(|(i, v)| *v += 0.01 * (i % 7) as f32);
        add(format!("nearly two-hot {j}"), values);
    }
    add("constant".into(), vec![1.0; dim]);
    add("alternating".into(), (0..dim).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect());
    add("a fifth".into(), (0..dim).map(|i| if i % 5 == 0 { 1.0 } else { 0.0 }).collect());
    add("the first eighth".into(), (0..dim).map(|i| if i < dim / 8 { 1.0 } else { 0.0 }).collect());
    add("falling".into(), (0..dim).map(|i| 1.0 / (i + 1) as f32).collect());
    // Rank 2: sums of two smooth waves.
    for k in 0..4 {
        let wave = |i: usize, period: f32| (std::f32::consts::TAU * i as f32 / period).sin();
        add(format!("waves {k}"), (0..dim).map(|i| wave(i, 64.0) + k as f32 * wave(i, 37.0)).collect());
    }
    inputs
}

/// What any data looks like once rotated: normal values, over the coordinates of one vector.
#[test]
fn rotated_coordinates_are_normal() {
    for dim in [128, 200, 384, 1000, 1032, 1536, 2016, 3072] {
        let mut kurtoses = Vec::new();
        for (name, input) in hard_inputs(dim) {
            for seed in 0..8 {
                let rotation = Structured::new(dim, seed);
                let rotated = run(Level::detect(), Apply(&rotation, &input, false));
                let n = rotated.len() as f64;
                let mut values: Vec<f64> = rotated.iter().map(|&v| f64::from(v) * n.sqrt()).collect();
                kurtoses.push(values.iter().map(|v| v.powi(4)).sum::<f64>() / n);
                let far = distance_from_normal(&mut values);
                assert!(far < 2.2, "{name} of {dim}, seed {seed}: {far}");
            }
        }
        let mean = kurtoses.iter().sum::<f64>() / kurtoses.len() as f64;
        let most = kurtoses.iter().copied().fold(0.0, f64::max);
        // A kurtosis of n normal values is 3 ± √(24/n), with a long tail above.
        let spread = (24.0 / dim as f64).sqrt();
        assert!((mean - 3.0).abs() < 0.5 * spread && most < 3.0 + 9.0 * spread, "{dim}: {mean}, {most}");
    }
}

/// The same for one coordinate over seeds: no coordinate is better or worse than others.
#[test]
fn every_coordinate_is_normal_over_seeds() {
    for dim in [128, 200, 384] {
        let rotations: Vec<Structured> = (0..400).map(|seed| Structured::new(dim, seed)).collect();
        for (name, input) in hard_inputs(dim).into_iter().step_by(3) {
            let rows: Vec<Vec<f32>> =
                rotations.iter().map(|r| run(Level::detect(), Apply(r, &input, false))).collect();
            let n = rows[0].len();
            let mut sum = 0.0;
            for j in 0..n {
                let mut values: Vec<f64> =
                    rows.iter().map(|row| f64::from(row[j]) * (n as f64).sqrt()).collect();
                let far = distance_from_normal(&mut values);
                sum += far;
                assert!(far < 2.6, "{name} of {dim}, coordinate {j}: {far}");
            }
            // The mean of √n·D is 0.87 for normal values. Those of a rotated one-hot vector of 128 are whole multiples
            // of σ/32, which adds up to 0.12.
            let mean = sum / n as f64;
            assert!((0.8..1.05).contains(&mean), "{name} of {dim}: {mean}");
        }
    }
}

/// Maps vectors; and back, if `inverse`.
struct Map<'a>(&'a Rotation, &'a [f32], bool);

impl Work for Map<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Vec<f32> {
        let Self(rotation, values, inverse) = self;
        let mut scratch = vec![f32::NAN; rotation.outputs()];
        let mut out = vec![f32::NAN; values.len() / rotation.dim() * rotation.outputs()];
        if inverse {
            out.resize(rotation.dim(), f32::NAN);
            rotation.apply_inverse(simd, &mut values.to_vec(), &mut scratch, &mut out);
        } else {
            rotation.apply(simd, values, &mut scratch, &mut out);
        }
        out
    }
}

#[test]
fn dense_keeps_lengths_and_angles_and_comes_back() {
    for dim in [1, 2, 3, 15, 16, 17, 63, 64, 65, 100, 200, 256] {
        let rotation = Rotation::Dense(Dense::random(dim, dim as u64).expect("legal"));
        let data = normals(2, dim, 5);
        let (a, b) = data.split_at(dim);
        let [norm_a, norm_b] = [dot(a, a).sqrt(), dot(b, b).sqrt()];
        let rotated = run(Level::detect(), Map(&rotation, &data, false));
        let (x, y) = rotated.split_at(dim);
        assert!((dot(x, x).sqrt() / norm_a - 1.0).abs() < 1e-5 / 4.0, "{dim}");
        assert!((dot(x, y) - dot(a, b)).abs() < 1e-5 * norm_a * norm_b, "{dim}");
        let back = run(Level::detect(), Map(&rotation, x, true));
        let off: f64 = back.iter().zip(a).map(|(&x, &y)| f64::from(x - y).powi(2)).sum();
        assert!(off.sqrt() < 1e-5 * norm_a, "{dim}: {off}");
    }
}

/// A projection of 700 dimensions (more than are taken at once) to 130 (two panels and a bit).
fn projection() -> Dense {
    let rotation = Dense::random(700, 3).expect("legal");
    let mut rows = Matrix::zeroed(130, 700);
    (0..130).for_each(|row| rows.copy_row(row, rotation.rows(), 5 * row));
    Dense::new(rows).expect("orthonormal")
}

#[test]
fn dense_gives_the_same_bytes_on_every_level_and_whatever_is_beside() {
    let dense = projection();
    let exact: Vec<Vec<f32>> = (0..130).map(|row| dense.rows().row(row).to_vec()).collect();
    let data = normals(67, 700, 4);
    let rotation = Rotation::Dense(dense);
    let want: Vec<f32> =
        data.chunks(700).flat_map(|row| run(Level::SCALAR, Map(&rotation, row, false))).collect();
    for (values, row) in want.chunks(130).zip(data.chunks(700)) {
        for (&value, axis) in values.iter().zip(&exact) {
            assert!((f64::from(value) - dot(row, axis)).abs() < 1e-4, "{value}");
        }
    }
    for level in Level::available() {
        for count in [0, 1, 2, 5, 6, 7, 64, 67] {
            let got = run(level, Map(&rotation, &data[..count * 700], false));
            assert_eq!(got, want[..count * 130], "{count} at {}", level.name());
        }
        let back = run(level, Map(&rotation, &want[..130], true));
        assert_eq!(back, run(Level::SCALAR, Map(&rotation, &want[..130], true)), "{}", level.name());
    }
}

/// Haar's measure: what a fixed vector is sent to is uniform on the sphere, and either orientation is as likely.
#[test]
fn random_rotations_are_uniform() {
    let dim = 12;
    let mut firsts: Vec<Vec<f64>> = vec![Vec::new(); dim * dim];
    let mut traces = 0.0;
    for seed in 0..1500 {
        let rotation = Dense::random(dim, seed).expect("legal");
        for r in 0..dim {
            for c in 0..dim {
                firsts[r * dim + c].push(f64::from(rotation.rows().row(r)[c]));
            }
            traces += f64::from(rotation.rows().row(r)[r]);
        }
    }
    // Without the signs the diagonal would lean to one side.
    assert!((traces / 1500.0).abs() < 0.12, "{traces}");
    for (at, values) in firsts.iter().enumerate() {
        let moment = |power| values.iter().map(|v| v.powi(power)).sum::<f64>() / values.len() as f64;
        let n = dim as f64;
        assert!(moment(1).abs() < 4.5 / (n * 1500.0).sqrt(), "entry {at}: mean {}", moment(1));
        assert!((moment(2) * n - 1.0).abs() < 0.16, "entry {at}: variance {}", moment(2));
        // Of a coordinate of the sphere: 3 / (n (n + 2)).
        assert!((moment(4) * n * (n + 2.0) / 3.0 - 1.0).abs() < 0.5, "entry {at}: {}", moment(4));
    }
}

#[test]
fn what_is_not_orthonormal_is_refused() {
    let refused = |rows: Matrix<f32>| Dense::new(rows).err();
    assert_eq!(refused(Matrix::zeroed(0, 3)), Some(NotOrthonormal::Rows { dim: 3, got: 0 }));
    assert_eq!(refused(Matrix::zeroed(4, 3)), Some(NotOrthonormal::Rows { dim: 3, got: 4 }));
    assert_eq!(refused(Matrix::zeroed(1, 3)), Some(NotOrthonormal::Length { row: 0, length: 0.0 }));
    assert_eq!(Dense::random(0, 1).err(), Some(NotOrthonormal::Rows { dim: 0, got: 0 }));
    let mut rows = Matrix::zeroed(2, 3);
    rows.row_mut(0)[0] = 1.0;
    rows.row_mut(1)[2] = f32::NAN;
    assert!(matches!(refused(rows), Some(NotOrthonormal::Length { row: 1, .. })));
}

#[test]
fn files_give_back_what_they_took() {
    let control = Control::default();
    for rotation in [
        Rotation::Structured(Structured::new(700, u64::MAX)),
        Rotation::Dense(Dense::random(100, 8).expect("legal")),
        Rotation::Dense(projection()),
    ] {
        let mut params = serde_json::Map::new();
        rotation.write_params(&mut params);
        let tensors = rotation.tensor("rotation").into_iter().collect();
        let bytes = Document { method: "test", params, tensors }.to_bytes(&control).expect("written");
        let mut contents = Contents::from_bytes(&bytes, &control).expect("read");
        let read = Rotation::take(&mut contents, "rotation", rotation.dim(), &control).expect("taken");
        contents.finish().expect("all taken");
        let data = normals(3, rotation.dim(), 2);
        let [want, got] = [&rotation, &read].map(|r| run(Level::detect(), Map(r, &data, false)));
        assert_eq!(got, want);
        for wrong in [0, 65_537] {
            let mut contents = Contents::from_bytes(&bytes, &control).expect("read");
            assert!(Rotation::take(&mut contents, "rotation", wrong, &control).is_err());
        }
    }
    // Of another length, with a NaN, more outputs than inputs, without a kind, of an unknown one.
    let mut long = Matrix::<f32>::zeroed(2, 3);
    (0..2).for_each(|row| long.row_mut(row)[row] = 2.0);
    let mut nan = Matrix::<f32>::zeroed(2, 3);
    (0..2).for_each(|row| nan.row_mut(row)[row] = f32::NAN);
    for (matrix, kind, outputs) in
        [(&long, "dense", 2), (&nan, "dense", 2), (&long, "dense", 4), (&long, "", 2), (&long, "other", 2)]
    {
        let mut params = serde_json::Map::new();
        if !kind.is_empty() {
            params.insert("rotation".into(), kind.into());
        }
        params.insert("rotation_outputs".into(), outputs.into());
        let document = Document { method: "test", params, tensors: vec![matrix.tensor("rotation")] };
        let bytes = document.to_bytes(&control).expect("written");
        let mut contents = Contents::from_bytes(&bytes, &control).expect("read");
        assert!(Rotation::take(&mut contents, "rotation", 3, &control).is_err(), "{kind} {outputs}");
    }
}
