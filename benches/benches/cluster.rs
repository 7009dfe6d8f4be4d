//! Clustering: nearest centroids of rows, routing of one query and of a batch, k-means. Its elements are the
//! multiply-adds that comparing all in f32 would take: read them against both `multiply-adds` of `ceilings`.

use counterpoint_core::cluster::{Centroids, KMeans, Nearest};
use counterpoint_core::metric::Metric;
use counterpoint_core::simd::{Level, Simd, Work, run};
use counterpoint_core::synth::{Shape, sample};
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::Matrix;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const ROWS: usize = 20_000;
const DIM: usize = 128;

/// Finds the nearest clusters of each row, so many rows a call.
struct Route<'a> {
    centroids: &'a Centroids,
    rows: &'a Matrix<f32>,
    batch: usize,
    width: usize,
    found: &'a mut Nearest,
}

impl Work for Route<'_> {
    type Output = u64;
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> u64 {
        let Self { centroids, rows, batch, width, found } = self;
        let mut sum = 0;
        for values in rows.values().chunks_exact(batch * rows.stride()) {
            centroids.route(simd, values, rows.stride(), batch, width, found);
            sum += found.clusters().iter().map(|&cluster| u64::from(cluster)).sum::<u64>();
        }
        sum
    }
}

/// Panics unless the nearest clusters of some rows are those of the least exact distances.
fn check(centroids: &Centroids, rows: &Matrix<f32>, nearest: &Nearest) {
    for row in (0..ROWS).step_by(997) {
        let distance = |cluster: usize| {
            let pairs = rows.row(row).iter().zip(centroids.rows().row(cluster));
            pairs.map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum::<f64>()
        };
        let mut all: Vec<f64> = (0..centroids.len()).map(distance).collect();
        all.sort_by(f64::total_cmp);
        for (&cluster, want) in nearest.of(row).iter().zip(all) {
            assert!((distance(cluster as usize) - want).abs() < 1e-4 * want, "row {row} is wrong");
        }
    }
}

fn bench(criterion: &mut Criterion) {
    let shape = Shape::Clusters { clusters: 500, spread: 0.5 };
    let mut rows = Matrix::zeroed(ROWS, DIM);
    let values = sample(shape, ROWS, 0, DIM, 1).data;
    values.chunks(DIM).enumerate().for_each(|(row, values)| rows.row_mut(row).copy_from_slice(values));
    let control = Control::new(Level::detect(), Some(1));
    for clusters in [343, 1024] {
        let kmeans = KMeans { iterations: 5, sample: 20, ..KMeans::new(clusters) };
        // Nobody cancels.
        let Ok(made) = kmeans.fit(&rows, Metric::L2, 1, &control) else { return };
        let centroids = made.centroids;
        let mut group = criterion.benchmark_group(format!("cluster/k={clusters}"));
        group.sample_size(20);
        group.throughput(Throughput::Elements((ROWS * centroids.len() * DIM) as u64));
        for width in [1, 5, 16, 64] {
            let Ok(nearest) = centroids.nearest(&rows, width, &control) else { return };
            check(&centroids, &rows, &nearest);
            let mut found = Nearest::default();
            for batch in [1, 1000] {
                group.bench_function(BenchmarkId::new(format!("route/{batch}"), width), |b| {
                    b.iter(|| {
                        let found = &mut found;
                        let route = Route { centroids: &centroids, rows: &rows, batch, width, found };
                        run(control.level(), route)
                    });
                });
            }
            for level in Level::available().into_iter().skip(1) {
                let control = Control::new(level, Some(1));
                group.bench_function(BenchmarkId::new(format!("nearest/{}", level.name()), width), |b| {
                    b.iter(|| centroids.nearest(&rows, width, &control));
                });
            }
        }
        group.throughput(Throughput::Elements(ROWS as u64));
        group.bench_function("k-means, 5 rounds of 20", |b| {
            b.iter(|| kmeans.fit(&rows, Metric::L2, 1, &control).map(|made| made.centroids.len()));
        });
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
