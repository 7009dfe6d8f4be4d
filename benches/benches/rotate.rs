//! Rotations: one vector by the structured one, one and a group of 64 by a dense one.

use std::cell::RefCell;

use counterpoint_benches::{Kernel, normals, repeat};
use counterpoint_core::rotate::{Dense, Rotation, Structured};
use counterpoint_core::simd::{GROUP, Level, Simd};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Rotates some vectors; gives the first value. Its memory (scratch, results) is used again and again.
#[derive(Clone, Copy)]
struct Apply<'a>(&'a Rotation, &'a [f32], &'a RefCell<[Vec<f32>; 2]>);

impl Kernel for Apply<'_> {
    type Output = f32;
    #[inline(always)]
    fn call<S: Simd>(self, simd: S) -> f32 {
        let [scratch, out] = &mut *self.2.borrow_mut();
        self.0.apply(simd, std::hint::black_box(self.1), scratch, out);
        out[0]
    }
}

/// `work` is what an element of the throughput is: vectors, or multiply-adds.
fn one(criterion: &mut Criterion, name: &str, rotation: &Rotation, count: usize, work: usize) {
    const TIMES: usize = 16;
    let dim = rotation.dim();
    let values = normals(count * dim, 1);
    let memory = RefCell::new([vec![0.0; rotation.outputs()], vec![0.0; count * rotation.outputs()]]);
    let mut group = criterion.benchmark_group(format!("rotate/{name}/d={dim}"));
    for level in Level::available() {
        repeat(level, 1, Apply(rotation, &values, &memory));
        let norm = |x: &[f32]| x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
        for (rotated, values) in memory.borrow()[1].chunks(rotation.outputs()).zip(values.chunks(dim)) {
            assert!((norm(rotated) / norm(values) - 1.0).abs() < 1e-5, "{name} of {dim} at {}", level.name());
        }
        group.throughput(Throughput::Elements((TIMES * work) as u64));
        group.bench_function(BenchmarkId::from_parameter(level.name()), |b| {
            b.iter(|| repeat(level, TIMES, Apply(rotation, &values, &memory)));
        });
    }
    group.finish();
}

fn bench(criterion: &mut Criterion) {
    for dim in [384, 1536] {
        one(criterion, "structured", &Rotation::Structured(Structured::new(dim, 1)), 1, 1);
    }
    let Ok(dense) = Dense::random(384, 1) else { return };
    let dense = Rotation::Dense(dense);
    one(criterion, "dense, one", &dense, 1, 384 * 384);
    one(criterion, "dense, a group", &dense, GROUP, GROUP * 384 * 384);
}

criterion_group!(benches, bench);
criterion_main!(benches);
