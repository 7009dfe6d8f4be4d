//! int8 kernels: a tile of 6 queries × a group of 64 rows, of 8- and 4-bit codes.

use counterpoint_benches::{CodeSurvivors, repeat};
use counterpoint_core::simd::int8::{Bits, Group, QueryTerms, RowTerms, Tile, group_bytes, write_row};
use counterpoint_core::simd::{GROUP, Level, TILE};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn bench(criterion: &mut Criterion) {
    const TIMES: usize = 64;
    for (bits, name) in [(Bits::Eight, "8"), (Bits::Four, "4")] {
        for queries in [1, TILE] {
            let dim = 384;
            let codes: Vec<Vec<u8>> = (0..GROUP)
                .map(|r| {
                    (0..dim).map(|j| ((r * 37 + j * 101 + r * j) % 251) as u8 & bits.max_code()).collect()
                })
                .collect();
            let planes: Vec<Vec<i8>> = (0..queries)
                .map(|q| (0..dim).map(|j| ((q * 59 + j * 83) % 255) as u8 as i8).collect())
                .collect();
            let mut bytes = vec![0; group_bytes(bits, dim)];
            codes.iter().enumerate().for_each(|(r, codes)| write_row(bits, &mut bytes, r, codes));
            let group = Group::new(bits, &bytes);
            let tile = Tile::new(bits, dim, planes.iter().map(Vec::as_slice));
            let rows = RowTerms { scale: [1.0; GROUP], bias: [0.0; GROUP], offset: [0.0; GROUP] };
            let limit = 100.0;
            let terms = QueryTerms { alpha: [1.0; TILE], limit: [limit; TILE], ..QueryTerms::default() };
            let mut bench = criterion.benchmark_group(format!("int8/bits={name}/d={dim}/queries={queries}"));
            for level in Level::available() {
                let masks = repeat(level, 1, CodeSurvivors(group, &rows, &tile, &terms));
                for (plane, mask) in planes.iter().zip(masks) {
                    for (r, codes) in codes.iter().enumerate() {
                        let sum: i32 =
                            codes.iter().zip(plane).map(|(&c, &q)| i32::from(c) * i32::from(q)).sum();
                        assert_eq!(mask >> r & 1 == 1, sum as f32 >= limit, "row {r} at {}", level.name());
                    }
                }
                // Elements are multiply-adds: codes times queries.
                bench.throughput(Throughput::Elements((TIMES * queries * GROUP * dim) as u64));
                bench.bench_function(BenchmarkId::new("survivors", level.name()), |b| {
                    b.iter(|| repeat(level, TIMES, CodeSurvivors(group, &rows, &tile, &terms)));
                });
            }
            bench.finish();
        }
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
