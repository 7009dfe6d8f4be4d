//! The neighbours of a vertex by look-ups, beside as many exact distances in f32: rows that fit the second cache.

use counterpoint_benches::normals;
use counterpoint_core::buffer::Buffer;
use counterpoint_core::simd::nibbles::{BLOCK, Query, RowTerms, Terms, block_bytes, write_block};
use counterpoint_core::simd::{Level, Simd, Work, run};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Rows compared with a query.
const ROWS: usize = 512;

/// The estimates of all rows; how many are below 0.
struct Estimates<'a>(&'a [u8], &'a Query);

impl Work for Estimates<'_> {
    type Output = u32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> u32 {
        let Self(codes, query) = self;
        let rows = &[RowTerms::new(1.0, 1.0); BLOCK];
        let beta = -query.step * query.total as f32;
        let terms = Terms { alpha: 2.0 * query.step, beta, unit: 1.0, base: -1.0, bound: 0.0 };
        let mut values = [0.0; BLOCK];
        let blocks = codes.chunks_exact(block_bytes(query.bits()));
        blocks
            .map(|block| {
                simd.nibbles_below(std::hint::black_box(block), rows, query, terms, &mut values).count_ones()
            })
            .sum()
    }
}

/// The distances of all rows; the sum.
struct Distances<'a>(&'a [f32], &'a [f32]);

impl Work for Distances<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        let Self(rows, query) = self;
        rows.chunks_exact(query.len()).map(|row| simd.squared_l2(query, std::hint::black_box(row))).sum()
    }
}

fn bench(criterion: &mut Criterion) {
    for dim in [128, 256, 384] {
        let (rows, values) = (normals(ROWS * dim, 1), normals(dim, 2));
        let mut codes = Buffer::zeroed(ROWS / BLOCK * block_bytes(dim));
        let mut agree = 0;
        let blocks = codes.as_mut_bytes().chunks_exact_mut(block_bytes(dim));
        for (block, rows) in blocks.zip(rows.chunks_exact(BLOCK * dim)) {
            let mut bits = vec![0_u8; BLOCK * dim / 8];
            rows.iter().enumerate().for_each(|(i, &value)| bits[i / 8] |= u8::from(value > 0.0) << (i % 8));
            write_block(block, &bits);
            for row in rows.chunks_exact(dim) {
                let product: f32 = row.iter().zip(&values).map(|(r, v)| v.copysign(v * r)).sum();
                agree += u32::from(product < 0.0);
            }
        }
        let mut query = Query::default();
        query.refill(&values);
        let mut group = criterion.benchmark_group(format!("nibbles/bits={dim}"));
        // Elements are rows.
        group.throughput(Throughput::Elements(ROWS as u64));
        for level in Level::available() {
            let below = run(level, Estimates(codes.as_bytes(), &query));
            assert!(
                below.abs_diff(agree) <= ROWS as u32 / 50,
                "{below} below 0 at {}, not {agree}",
                level.name()
            );
            group.bench_function(BenchmarkId::new("estimates", level.name()), |b| {
                b.iter(|| run(level, Estimates(codes.as_bytes(), &query)));
            });
            group.bench_function(BenchmarkId::new("distances", level.name()), |b| {
                b.iter(|| run(level, Distances(&rows, &values)));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
