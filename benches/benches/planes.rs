//! planes kernels: one row a call, as a search calls them for its survivors: the sum of its planes, its planes as
//! codes, and the levels of its codes × both planes of a query.

use std::hint::black_box;

use counterpoint_benches::{Kernel, repeat};
use counterpoint_core::simd::{Level, Simd, planes};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Rows of a stream: few enough for the first cache, as a search has just fetched its row.
const ROWS: usize = 64;

#[derive(Clone, Copy)]
struct Sums<'a> {
    planes: &'a [u8],
    spans: &'a [usize],
    weights: &'a [i8],
}

impl Kernel for Sums<'_> {
    type Output = [i32; ROWS];
    #[inline(always)]
    fn call<S: Simd>(self, simd: S) -> [i32; ROWS] {
        let bytes = planes::row_bytes(self.spans);
        let planes = black_box(self.planes);
        std::array::from_fn(|r| simd.planes_sum(&planes[r * bytes..][..bytes], self.spans, self.weights))
    }
}

#[derive(Clone, Copy)]
struct Expanded<'a> {
    planes: &'a [u8],
    spans: &'a [usize],
}

impl Kernel for Expanded<'_> {
    type Output = [u8; 1024];
    #[inline(always)]
    fn call<S: Simd>(self, simd: S) -> [u8; 1024] {
        let mut codes = [0; 1024];
        let mut plane = black_box(self.planes);
        for (p, &span) in self.spans.iter().enumerate() {
            simd.planes_expand(plane, (self.spans.len() - 1 - p) as u32, &mut codes[..span]);
            plane = &plane[span / 8..];
        }
        codes
    }
}

#[derive(Clone, Copy)]
struct Levels<'a> {
    codes: planes::Codes<'a>,
    tables: &'a [[u8; planes::LEVELS]],
    high: &'a [i8],
    low: &'a [i8],
}

impl Kernel for Levels<'_> {
    type Output = [i32; 2];
    #[inline(always)]
    fn call<S: Simd>(self, simd: S) -> [i32; 2] {
        simd.planes_dots(black_box(self.codes), self.tables, self.high, self.low)
    }
}

fn scrambled(seed: usize, j: usize) -> u8 {
    ((seed * 59 + j) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0]
}

fn bench(criterion: &mut Criterion) {
    for (dim, count) in [(384_usize, 1), (384, 3), (784, 3)] {
        // 784 dimensions are padded to a multiple of a step.
        let spans = vec![dim.next_multiple_of(planes::STEP); count];
        let span = spans[0];
        let rows: Vec<u8> = (0..ROWS * planes::row_bytes(&spans)).map(|j| scrambled(1, j)).collect();
        let weights: Vec<i8> = (0..span).map(|j| scrambled(2, j).cast_signed()).collect();
        let bit = |plane: &[u8], j: usize| plane[j / 8] >> (j % 8) & 1;
        let codes: Vec<u8> = (0..ROWS * span)
            .map(|k| {
                let (row, j) = (&rows[k / span * planes::row_bytes(&spans)..], k % span);
                (0..count).fold(0, |code, p| 2 * code + bit(&row[p * span / 8..], j))
            })
            .collect();

        let mut group = criterion.benchmark_group(format!("planes/d={dim}/planes={count}"));
        for level in Level::available() {
            let kernel = Sums { planes: &rows, spans: &spans, weights: &weights };
            for (codes, got) in codes.chunks(span).zip(repeat(level, 1, kernel)) {
                let want: i32 = codes.iter().zip(&weights).map(|(&c, &w)| i32::from(c) * i32::from(w)).sum();
                assert_eq!(got, want, "{}", level.name());
            }
            // An element is a row.
            group.throughput(Throughput::Elements(16 * ROWS as u64));
            group.bench_function(BenchmarkId::new("sum", level.name()), |b| {
                b.iter(|| repeat(level, 16, kernel));
            });

            let kernel = Expanded { planes: &rows, spans: &spans };
            assert_eq!(repeat(level, 1, kernel)[..span], codes[..span], "{}", level.name());
            group.throughput(Throughput::Elements(64));
            group.bench_function(BenchmarkId::new("expand", level.name()), |b| {
                b.iter(|| repeat(level, 64, kernel));
            });
        }
        group.finish();
    }

    // Codes of four bits, of six, and signs with four bits to each four dimensions.
    for (run, runs, lows) in [(384, 1, 3), (384, 1, 5), (96, 4, 4), (784, 1, 3)] {
        let dim = run * runs;
        let [top, low] =
            [dim, lows * run].map(|bits| (0..bits / 8).map(|j| scrambled(bits, j)).collect::<Vec<_>>());
        let tables: Vec<[u8; planes::LEVELS]> =
            (0..runs).map(|r| std::array::from_fn(|k| scrambled(4 + 10 * r, k))).collect();
        let [high, low_values] =
            [5, 6].map(|seed| (0..dim).map(|j| scrambled(seed, j).cast_signed()).collect::<Vec<i8>>());
        let bit = |plane: &[u8], j: usize| usize::from(plane[j / 8] >> (j % 8) & 1);
        let mut want = [0; 2];
        for j in 0..dim {
            let code = (0..lows).fold(bit(&top, j), |code, p| 2 * code + bit(&low[p * run / 8..], j % run));
            for (want, plane) in want.iter_mut().zip([&high, &low_values]) {
                *want += i32::from(tables[j / run][code]) * i32::from(plane[j]);
            }
        }
        let mut group = criterion.benchmark_group(format!("planes/d={dim}/runs={runs}/bits={}", lows + 1));
        for level in Level::available() {
            let codes = planes::Codes { top: &top, tops: 1, low: &low, lows, run };
            let kernel = Levels { codes, tables: &tables, high: &high, low: &low_values };
            assert_eq!(repeat(level, 1, kernel), want, "{}", level.name());
            group.throughput(Throughput::Elements(64));
            group.bench_function(BenchmarkId::new("dots", level.name()), |b| {
                b.iter(|| repeat(level, 64, kernel));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
