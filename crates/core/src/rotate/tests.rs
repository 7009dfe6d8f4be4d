use super::*;
use crate::simd::{Level, Simd, Work, run};
use crate::synth::{Shape, sample};

/// Rotates one vector; and back, if `inverse`.
pub(super) struct Apply<'a>(pub(super) &'a Structured, pub(super) &'a [f32], pub(super) bool);

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
