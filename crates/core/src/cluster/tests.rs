//! What is found is what comparing all would find; k-means lowers its loss, and nothing depends on the threads.

use proptest::prelude::*;

use super::kmeans::Losses;
use super::*;
use crate::metric::Metric;
use crate::simd::{self, Level, Simd, Work};
use crate::synth::{Shape, sample};
use crate::threads::{Cancelled, Control};
use crate::vectors::Matrix;

mod lists;

const METRICS: [Metric; 3] = [Metric::L2, Metric::Ip, Metric::Cosine];

fn matrix(values: &[f32], dim: usize) -> Matrix<f32> {
    let mut matrix = Matrix::zeroed(values.len() / dim, dim);
    values
        .chunks_exact(dim)
        .enumerate()
        .for_each(|(row, values)| matrix.row_mut(row).copy_from_slice(values));
    matrix
}

fn clustered(n: usize, dim: usize, seed: u64) -> Matrix<f32> {
    let shape = Shape::Clusters { clusters: 20, spread: 2.0 };
    matrix(&sample(shape, n, 0, dim, seed).data, dim)
}

fn on(threads: usize) -> Control {
    Control::new(Level::detect(), Some(threads))
}

/// All distances by the one-row kernels, nearest first.
struct Brute<'a>(&'a Matrix<f32>, &'a Matrix<f32>, Metric);

impl Work for Brute<'_> {
    type Output = Vec<Vec<(f32, u32)>>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let Self(rows, centroids, metric) = self;
        let near = |row| {
            let mut all: Vec<(f32, u32)> = (0..centroids.rows())
                .map(|c| match metric {
                    Metric::L2 => simd.squared_l2(rows.row(row), centroids.row(c)),
                    // Of two zeros the one without a sign.
                    Metric::Ip | Metric::Cosine => 0.0 - simd.dot(rows.row(row), centroids.row(c)),
                })
                .zip(0..)
                .collect();
            all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            all
        };
        (0..rows.rows()).map(near).collect()
    }
}

fn check_nearest(rows: &Matrix<f32>, centroids: &Matrix<f32>, metric: Metric, width: usize) {
    for level in Level::available() {
        let want = simd::run(level, Brute(rows, centroids, metric));
        let ready = Centroids::new(centroids.clone(), metric);
        let got = ready.nearest(rows, width, &Control::new(level, Some(2))).expect("not cancelled");
        assert_eq!(got.width(), width.min(centroids.rows()));
        for (row, want) in want.iter().enumerate() {
            let want = &want[..got.width()];
            let ids: Vec<u32> = want.iter().map(|hit| hit.1).collect();
            assert_eq!(got.of(row), ids, "{metric:?} row {row} at {}: {want:?}", level.name());
            let distances = &got.distances()[row * got.width()..(row + 1) * got.width()];
            assert!(distances.iter().zip(want).all(|(got, want)| got.to_bits() == want.0.to_bits()));
        }
    }
}

#[test]
fn every_dimension_finds_the_nearest() {
    for dim in (1..=70).chain([127, 128, 200, 256]) {
        let values = sample(Shape::Gaussian, 1, 0, 180 * dim, dim as u64).data;
        let (rows, centroids) = values.split_at(50 * dim);
        for (metric, width) in METRICS.into_iter().zip([1, 5, 33]) {
            check_nearest(&matrix(rows, dim), &matrix(centroids, dim), metric, width);
        }
    }
}

#[test]
fn every_width_and_number_of_centroids() {
    let rows = clustered(20, 12, 3);
    for centroids in [1, 2, 15, 16, 17, 63, 64, 65, 130] {
        let centroids = clustered(centroids, 12, 3);
        for width in [0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 129, 130, 1000] {
            check_nearest(&rows, &centroids, METRICS[width % 3], width);
        }
    }
    check_nearest(&rows, &Matrix::zeroed(0, 12), Metric::L2, 3);
    check_nearest(&Matrix::zeroed(0, 12), &rows, Metric::L2, 3);
}

/// Values that quantise badly: far from the origin, tiny, huge, one coordinate that outweighs the others, all equal.
fn awkward(kind: u8, n: usize, centroids: usize, dim: usize, seed: u64) -> (Matrix<f32>, Matrix<f32>) {
    let mut values = sample(Shape::Gaussian, 1, 0, (n + centroids) * dim, seed).data;
    for (i, value) in values.iter_mut().enumerate() {
        *value = match kind {
            1 => *value + 1e4,
            2 => *value * 1e-20,
            3 => *value * 2e14,
            4 if i % dim == 0 => *value * 1e3,
            5 => (*value * 2.0).round(),
            6 => 3.25,
            7 if i / dim >= n => 0.0,
            8 if i / dim < n => *value * 1e-33,
            9 => *value * 1e-22,
            10 if i / dim >= n => *value * 1e-40,
            _ => *value,
        };
    }
    let (rows, centroids) = values.split_at(n * dim);
    (matrix(rows, dim), matrix(centroids, dim))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn awkward_values_find_the_nearest(
        (kind, n, centroids, dim) in (0_u8..11, 1_usize..30, 1_usize..100, 1_usize..40),
        (seed, metric, width) in (any::<u64>(), 0_usize..3, 1_usize..20),
    ) {
        let (rows, centroids) = awkward(kind, n, centroids, dim, seed);
        check_nearest(&rows, &centroids, METRICS[metric], width);
    }

    #[test]
    fn routing_one_by_one_is_the_same(seed in any::<u64>(), width in 1_usize..80, metric in 0_usize..3) {
        struct Route<'a>(&'a Centroids, &'a Matrix<f32>, usize, usize, &'a mut Nearest);
        impl Work for Route<'_> {
            type Output = ();
            #[inline(always)]
            fn run<S: Simd>(self, simd: S) {
                let Self(centroids, rows, count, width, found) = self;
                centroids.route(simd, rows.values(), rows.stride(), count, width, found);
            }
        }
        let (rows, centroids) = (clustered(23, 19, seed), clustered(70, 19, seed ^ 1));
        let centroids = Centroids::new(centroids, METRICS[metric]);
        let all = centroids.nearest(&rows, width, &on(1)).expect("not cancelled");
        let mut found = Nearest::default();
        // What was found before must leave no trace, whatever its shape.
        let other = Centroids::new(clustered(7, 5, seed), METRICS[metric]);
        simd::run(Level::detect(), Route(&other, &clustered(9, 5, seed), 9, width, &mut found));
        for count in [23, 1, 7] {
            simd::run(Level::detect(), Route(&centroids, &rows, count, width, &mut found));
            prop_assert_eq!(found.clusters(), &all.clusters()[..count * all.width()]);
            prop_assert_eq!(found.distances(), &all.distances()[..count * all.width()]);
        }
    }
}

fn loss(clustering: &Clustering, rows: &Matrix<f32>) -> f64 {
    let losses = Losses::new(rows, clustering.centroids.metric());
    let (_, distances) = clustering.nearest.first();
    distances.into_iter().enumerate().map(|(row, distance)| losses.of(row, distance)).sum()
}

fn check_clustering(clustering: &Clustering, rows: usize) {
    assert_eq!(clustering.labels.len(), rows);
    let counts = kmeans::count(&clustering.labels, clustering.centroids.len());
    assert!(counts.iter().all(|&count| count > 0), "an empty cluster: {counts:?}");
}

#[test]
fn the_loss_falls_round_by_round() {
    for metric in METRICS {
        for seed in 0..5 {
            let rows = clustered(2000, 16, seed);
            let mut before = f64::INFINITY;
            for iterations in 0..12 {
                // All rows are learned from, so that each round is a round of Lloyd's.
                let kmeans = KMeans { iterations, sample: 2000, seed, ..KMeans::new(40) };
                let clustering = kmeans.fit(&rows, metric, 3, &on(2)).expect("not cancelled");
                check_clustering(&clustering, 2000);
                let after = loss(&clustering, &rows);
                assert!(after <= before * (1.0 + 1e-6), "{metric:?} round {iterations}: {before}, {after}");
                before = after;
                assert!((0..2000).all(|row| clustering.labels[row] == clustering.nearest.of(row)[0]));
            }
        }
    }
}

#[test]
fn clusters_far_apart_are_found() {
    for metric in METRICS {
        let shape = Shape::Clusters { clusters: 12, spread: 30.0 };
        let rows = matrix(&sample(shape, 3000, 0, 24, 5).data, 24);
        let clustering = KMeans::new(12).fit(&rows, metric, 1, &on(2)).expect("not cancelled");
        // Around a centre found, the squared distance is that of standard normal values; a centre missed costs more.
        let mean = loss(&clustering, &rows) / 3000.0;
        let most = if metric == Metric::L2 { 26.0 } else { 1.0 };
        assert!(mean < most, "{metric:?}: {mean}");
    }
}

#[test]
fn the_same_bytes_for_any_number_of_threads() {
    for balanced in [false, true] {
        for metric in METRICS {
            let rows = clustered(5000, 33, 8);
            let kmeans = KMeans { sample: 40, balanced, seed: 3, ..KMeans::new(60) };
            let fit = |threads| kmeans.fit(&rows, metric, 4, &on(threads)).expect("not cancelled");
            let one = fit(1);
            for threads in [2, 3] {
                let other = fit(threads);
                assert_eq!(one.centroids.rows().as_bytes(), other.centroids.rows().as_bytes());
                assert_eq!(one.labels, other.labels);
                assert_eq!(one.nearest.clusters(), other.nearest.clusters());
                assert_eq!(one.nearest.distances(), other.nearest.distances());
            }
            let other = KMeans { seed: 4, ..kmeans }.fit(&rows, metric, 4, &on(2)).expect("not cancelled");
            assert_ne!(one.centroids.rows().as_bytes(), other.centroids.rows().as_bytes());
        }
    }
}

#[test]
fn degenerate_rows_are_clustered() {
    let equal = matrix(&[1.5; 600], 6);
    let zero = Matrix::zeroed(100, 6);
    let two: Vec<f32> = (0..600).map(|i| if i / 6 % 2 == 0 { 1.0 } else { -1.0 }).collect();
    let few = clustered(3, 6, 1);
    let none = Matrix::zeroed(0, 6);
    let far: Vec<f32> = clustered(200, 6, 1).values().iter().map(|v| v * 1e13).collect();
    let far = matrix(&far[..192], 6);
    for metric in METRICS {
        for balanced in [false, true] {
            for (rows, clusters) in [(&equal, 1), (&zero, 1), (&matrix(&two, 6), 2), (&few, 3), (&none, 0)] {
                let kmeans = KMeans { balanced, ..KMeans::new(10) };
                let clustering = kmeans.fit(rows, metric, 4, &on(2)).expect("not cancelled");
                assert_eq!(clustering.centroids.len(), clusters, "{metric:?} {}", rows.rows());
                check_clustering(&clustering, rows.rows());
            }
            let kmeans = KMeans { balanced, iterations: 3, sample: 0, clusters: 0, seed: 0 };
            check_clustering(&kmeans.fit(&far, metric, 0, &on(1)).expect("not cancelled"), far.rows());
        }
    }
}

#[test]
fn no_balanced_cluster_is_too_large() {
    for metric in METRICS {
        for (n, clusters) in [(3000, 40), (1000, 1), (257, 256), (500, 7)] {
            // Three in four rows are all alike in direction: some clusters want to be large.
            let mut rows = clustered(n, 8, 2);
            (0..n).filter(|row| row % 4 != 0).for_each(|row| rows.row_mut(row)[0] += 50.0);
            let kmeans = KMeans { balanced: true, ..KMeans::new(clusters) };
            let clustering = kmeans.fit(&rows, metric, 2, &on(2)).expect("not cancelled");
            check_clustering(&clustering, n);
            let used = clustering.centroids.len();
            let counts = kmeans::count(&clustering.labels, used);
            let most = (n as f64 / used as f64 * LARGEST).ceil() as u32;
            assert!(counts.iter().all(|&count| count <= most), "{metric:?} {n} {used}: {counts:?}");
        }
    }
}

#[test]
fn clustering_can_be_cancelled() {
    let rows = clustered(500, 8, 1);
    let control = on(2);
    control.cancel();
    assert!(matches!(KMeans::new(10).fit(&rows, Metric::L2, 1, &control), Err(Cancelled)));
    let centroids = Centroids::new(rows.clone(), Metric::L2);
    assert!(matches!(centroids.nearest(&rows, 1, &control), Err(Cancelled)));
}

#[test]
fn queries_are_grouped_by_list() {
    let (rows, centroids) = (clustered(100, 8, 1), clustered(30, 8, 2));
    let centroids = Centroids::new(centroids, Metric::L2);
    let mut probed = Probed::default();
    for width in [5, 1, 30, 0] {
        let nearest = centroids.nearest(&rows, width, &on(1)).expect("not cancelled");
        probed.group(&nearest, 30);
        let mut visits = 0;
        for list in 0..30 {
            let of = probed.of(list);
            assert!(of.is_sorted_by_key(|visit| visit.query));
            assert!(of.iter().all(|v| nearest.of(v.query as usize)[v.order as usize] as usize == list));
            visits += of.len();
        }
        assert_eq!(visits, 100 * width);
    }
}
