//! Rotations: one vector by the structured one.

use counterpoint_benches::{Kernel, normals, repeat};
use counterpoint_core::rotate::Structured;
use counterpoint_core::simd::{Level, Simd};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::cell::RefCell;

#[derive(Clone, Copy)]
struct Apply<'a>(&'a Structured, &'a [f32], &'a RefCell<[Vec<f32>; 2]>);

impl Kernel for Apply<'_> {
    type Output = f32;
    #[inline(always)]
    fn call<S: Simd>(self, simd: S) -> f32 {
        let [scratch, out] = &mut *self.2.borrow_mut();
        self.0.apply(simd, std::hint::black_box(self.1), scratch, out);
        out[0]
    }
}

fn bench(criterion: &mut Criterion) {
    const TIMES: usize = 64;
    for dim in [384, 768, 1536] {
        let rotation = Structured::new(dim, 1);
        let values = normals(dim, 1);
        let memory = RefCell::new([vec![0.0; rotation.padded()], vec![0.0; rotation.padded()]]);
        let mut group = criterion.benchmark_group(format!("rotate/d={dim}"));
        for level in Level::available() {
            repeat(level, 1, Apply(&rotation, &values, &memory));
            let norm = |x: &[f32]| x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
            assert!((norm(&memory.borrow()[1]) / norm(&values) - 1.0).abs() < 1e-5, "at {}", level.name());
            group.throughput(Throughput::Elements(TIMES as u64));
            group.bench_function(BenchmarkId::new("structured", level.name()), |b| {
                b.iter(|| repeat(level, TIMES, Apply(&rotation, &values, &memory)));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
