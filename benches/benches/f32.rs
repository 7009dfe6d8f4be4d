//! f32 kernels: one row × one row, and a tile of 6 queries × a group of 64 rows.

use counterpoint_benches::{FloatSurvivors, Kernel, normals, repeat};
use counterpoint_core::simd::f32::{Panel, Tile};
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
        }
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
