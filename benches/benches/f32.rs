//! f32 kernels: one row × one row, and a tile of 6 queries × a group of 64 rows, without and with the scores.

use counterpoint_benches::{FloatScores, FloatSurvivors, Kernel, normals, repeat};
use counterpoint_core::simd::f32::{Panel, Tile};
use counterpoint_core::simd::product::Vectors;
use counterpoint_core::simd::{GROUP, Level, Simd, TILE};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

#[derive(Clone, Copy)]
struct Dot<'a>(&'a [f32], &'a [f32]);

impl Kernel for Dot<'_> {
    type Output = f32;
    #[inline(always)]
    fn call<S: Simd>(self, simd: S) -> f32 {
        simd.dot(std::hint::black_box(self.0), self.1)
    }
}

fn bench(criterion: &mut Criterion) {
    const TIMES: usize = 64;
    for dim in [96, 384, 784] {
        let rows = normals(GROUP * dim, 1);
        let queries = normals(TILE * dim, 2);
        let (row, query) = (&rows[..dim], &queries[..dim]);
        let exact =
            |q: &[f32], x: &[f32]| q.iter().zip(x).map(|(&q, &x)| f64::from(q) * f64::from(x)).sum::<f64>();
        let mut panel = Panel::new(dim);
        panel.pack(rows.chunks(dim));
        let tile = Tile::new(dim, queries.chunks(dim));
        let limits = [0.5; TILE];
        let mut group = criterion.benchmark_group(format!("f32/d={dim}"));
        for level in Level::available() {
            let dot = repeat(level, 1, Dot(query, row));
            assert!((f64::from(dot) - exact(query, row)).abs() < 1e-3, "dot is wrong at {}", level.name());
            group.throughput(Throughput::Bytes((TIMES * dim * 4) as u64));
            group.bench_function(BenchmarkId::new("dot", level.name()), |b| {
                b.iter(|| repeat(level, TIMES, Dot(query, row)));
            });
            let masks = repeat(level, 1, FloatSurvivors(&panel, &tile, &limits));
            for (query, mask) in queries.chunks(dim).zip(masks) {
                for (r, row) in rows.chunks(dim).enumerate() {
                    let value = exact(query, row);
                    let clear = (value - 0.5).abs() > 1e-3;
                    assert!(!clear || (mask >> r & 1 == 1) == (value > 0.5), "row {r} at {}", level.name());
                }
            }
            // Elements are multiply-adds.
            group.throughput(Throughput::Elements((TIMES * TILE * GROUP * dim) as u64));
            group.bench_function(BenchmarkId::new("survivors", level.name()), |b| {
                b.iter(|| repeat(level, TIMES, FloatSurvivors(&panel, &tile, &limits)));
            });
            let vectors = Vectors::new(&queries, dim, TILE, dim);
            let (_, scores) = repeat(level, 1, FloatScores(&panel, vectors, &limits));
            for (query, scores) in queries.chunks(dim).zip(scores) {
                for (r, row) in rows.chunks(dim).enumerate() {
                    let near = (f64::from(scores[r]) - exact(query, row)).abs() < 1e-3;
                    assert!(near, "the score of row {r} is wrong at {}", level.name());
                }
            }
            group.bench_function(BenchmarkId::new("scores", level.name()), |b| {
                b.iter(|| repeat(level, TIMES, FloatScores(&panel, vectors, &limits)));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
