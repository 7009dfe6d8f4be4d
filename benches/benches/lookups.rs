//! Sums of table entries: a tile of queries × a group of 64 rows of codes.

use counterpoint_benches::{LookupSurvivors, normals, repeat};
use counterpoint_core::buffer::Buffer;
use counterpoint_core::simd::int8::Bits;
use counterpoint_core::simd::lookups::{Tile, group_bytes, score, write_row};
use counterpoint_core::simd::{GROUP, Level, TILE};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn bench(criterion: &mut Criterion) {
    const TIMES: usize = 64;
    for (bits, stages) in [(Bits::Eight, 8), (Bits::Eight, 16), (Bits::Four, 16), (Bits::Four, 32)] {
        for queries in [1, TILE] {
            let entries = usize::from(bits.max_code()) + 1;
            let mut group = Buffer::zeroed(group_bytes(bits, stages));
            for r in 0..GROUP {
                let codes: Vec<u8> =
                    (0..stages).map(|m| ((r * 37 + m * 101 + r * m) % entries) as u8).collect();
                write_row(bits, group.as_mut_bytes(), r, &codes);
            }
            let values = normals(queries * stages * entries, 1);
            let tables: Vec<&[f32]> = values.chunks(stages * entries).collect();
            let tile = Tile::new(bits, tables.iter().copied());
            let terms = [0.5; GROUP];
            let name = format!("lookups/bits={}/stages={stages}/queries={queries}", bits.width());
            let mut bench = criterion.benchmark_group(name);
            for level in Level::available() {
                let mut limits = [f32::NEG_INFINITY; TILE];
                for (limit, tables) in limits.iter_mut().zip(&tables) {
                    let sums = (0..GROUP).map(|r| score(bits, group.as_bytes(), r, tables));
                    *limit = sums.fold(f32::INFINITY, f32::min);
                }
                let least = repeat(level, 1, LookupSurvivors(group.as_bytes(), None, &tile, &limits));
                for (&mask, (limit, tables)) in least.iter().zip(limits.iter().zip(&tables)) {
                    let row = |r| score(bits, group.as_bytes(), r, tables) == *limit;
                    assert!((0..GROUP).any(|r| row(r) && mask >> r & 1 == 1), "{}", level.name());
                }
                let none = [-1e9; TILE];
                // Elements are codes times queries.
                bench.throughput(Throughput::Elements((TIMES * queries * GROUP * stages) as u64));
                for (what, terms) in [("survivors", None), ("with terms", Some(&terms))] {
                    let work = LookupSurvivors(group.as_bytes(), terms, &tile, &none);
                    bench.bench_function(BenchmarkId::new(what, level.name()), |b| {
                        b.iter(|| repeat(level, TIMES, work));
                    });
                }
            }
            bench.finish();
        }
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
