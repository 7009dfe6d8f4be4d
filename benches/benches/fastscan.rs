//! Bit scans: a tile of queries × a group of 64 rows, by table look-ups.

use counterpoint_benches::{BitSurvivors, normals, repeat};
use counterpoint_core::buffer::Buffer;
use counterpoint_core::simd::fastscan::{
    QueryTerms, RowTerms, Tables, Tile, Weights, group_bytes, write_row,
};
use counterpoint_core::simd::{GROUP, Level, TILE};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn bench(criterion: &mut Criterion) {
    const TIMES: usize = 64;
    for (queries, bits) in [(1, 384), (TILE, 384), (TILE, 1536)] {
        let rows: Vec<Vec<u8>> = (0..GROUP)
            .map(|r| (0..bits / 8).map(|j| ((r * 37 + j * 101 + r * j) % 251) as u8).collect())
            .collect();
        let mut group = Buffer::zeroed(group_bytes(bits));
        rows.iter().enumerate().for_each(|(r, row)| write_row(group.as_mut_bytes(), r, row));
        let values = normals(queries * bits, 1);
        let weights: Vec<Weights> = values.chunks(bits).map(Weights::new).collect();
        let tiles = [Tables::Fields, Tables::Nibbles].map(|kind| Tile::new(kind, weights.iter()));
        let ones = RowTerms { scale: &[1.0; GROUP], offset: &[0.0; GROUP] };
        let mut bench = criterion.benchmark_group(format!("fastscan/bits={bits}/queries={queries}"));
        for level in Level::available() {
            let mut terms = QueryTerms { alpha: [1.0; TILE], ..QueryTerms::default() };
            let (masks, found) = repeat(level, 1, BitSurvivors(group.as_bytes(), ones, &tiles, &terms));
            for ((weights, found), mask) in weights.iter().zip(found).zip(masks) {
                assert_eq!(mask, u64::MAX);
                for (row, found) in rows.iter().zip(found) {
                    let agree = |&(s, w): &(usize, &i8)| (row[s / 8] >> (s % 8) & 1 == 1) == (*w > 0);
                    let sum: u32 = weights
                        .values()
                        .iter()
                        .enumerate()
                        .filter(agree)
                        .map(|(_, w)| u32::from(w.unsigned_abs()))
                        .sum();
                    assert_eq!(found, sum as f32, "{}", level.name());
                }
            }
            terms.limit = [f32::INFINITY; TILE];
            // Elements are bits times queries.
            bench.throughput(Throughput::Elements((TIMES * queries * GROUP * bits) as u64));
            bench.bench_function(BenchmarkId::new("survivors", level.name()), |b| {
                b.iter(|| repeat(level, TIMES, BitSurvivors(group.as_bytes(), ones, &tiles, &terms)));
            });
        }
        bench.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
