//! What this machine can do at best, so that a kernel's figure reads as a share of a limit: bytes streamed
//! from memory and read from cache, bytes shuffled within registers, and multiply-adds in f32 and in 8-bit
//! integers.
//!
//! Reads are sums over slices that the compiler vectorises under a level's features, multiply-adds run on the
//! block kernels over operands that stay in L1. No kernel shuffles bytes yet, so that ceiling is written here.

use counterpoint_benches::{CodeSurvivors, FloatSurvivors, Kernel, normals, repeat};
use counterpoint_core::buffer::Buffer;
use counterpoint_core::simd::f32::{Panel, Tile as FloatTile};
use counterpoint_core::simd::int8::{Bits, Group, QueryTerms, RowTerms, Tile};
use counterpoint_core::simd::{GROUP, Level, Simd, TILE};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Reads every value once, into 64 sums that stay in registers.
#[derive(Clone, Copy)]
struct Read<'a>(&'a [f32]);

impl Kernel for Read<'_> {
    type Output = f32;
    #[inline(always)]
    fn call<S: Simd>(self, simd: S) -> f32 {
        let mut sums = [0.0_f32; 64];
        for block in std::hint::black_box(self.0).as_chunks::<64>().0 {
            for (sum, value) in sums.iter_mut().zip(block) {
                *sum += value;
            }
        }
        simd.dot(&sums, &[1.0; 64])
    }
}

/// 16-entry byte look-ups, eight chains at once: `times` rounds of 8 × 64 bytes (AVX-512) or 8 × 32 (AVX2).
#[cfg(target_arch = "x86_64")]
mod shuffles {
    use std::arch::x86_64::*;

    /// So many rounds of shuffles.
    type Rounds = fn(usize) -> i32;

    /// Bytes shuffled in a round, and the rounds; `None` where the processor has neither level.
    pub(crate) fn best() -> Option<(usize, Rounds)> {
        if is_x86_feature_detected!("avx512bw") {
            // SAFETY: AVX-512 BW was detected just above (and implies F).
            Some((8 * 64, |times| unsafe { avx512(times) }))
        } else if is_x86_feature_detected!("avx2") {
            // SAFETY: AVX2 was detected just above.
            Some((8 * 32, |times| unsafe { avx2(times) }))
        } else {
            None
        }
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    fn avx512(times: usize) -> i32 {
        let table = _mm512_set1_epi32(0x0d0f_0702);
        let mut chains = std::hint::black_box([_mm512_set1_epi32(0x0301_0e08); 8]);
        for _ in 0..times {
            for chain in &mut chains {
                *chain = _mm512_shuffle_epi8(table, *chain);
            }
        }
        chains.iter().fold(0, |all, &chain| all ^ _mm512_reduce_add_epi32(chain))
    }

    #[target_feature(enable = "avx2")]
    fn avx2(times: usize) -> i32 {
        let table = _mm256_set1_epi32(0x0d0f_0702);
        let mut chains = std::hint::black_box([_mm256_set1_epi32(0x0301_0e08); 8]);
        for _ in 0..times {
            for chain in &mut chains {
                *chain = _mm256_shuffle_epi8(table, *chain);
            }
        }
        chains.iter().fold(0, |all, &chain| all ^ _mm256_extract_epi32::<0>(chain))
    }
}

fn bench(criterion: &mut Criterion) {
    let level = Level::detect();
    let mut group = criterion.benchmark_group("ceilings");
    for (name, bytes) in [("L1", 16 << 10), ("L2", 512 << 10), ("memory", 512 << 20)] {
        // An index's tables lie in buffers, which ask for huge pages.
        let mut buffer = Buffer::zeroed(bytes);
        buffer.as_mut_slice::<f32>().fill(1.0);
        let values = buffer.as_slice::<f32>();
        assert_eq!(repeat(level, 1, Read(values)), values.len() as f32);
        let times = ((64 << 20) / bytes).max(1);
        group.throughput(Throughput::Bytes((times * bytes) as u64));
        group.bench_function(BenchmarkId::new("read", name), |b| {
            b.iter(|| repeat(level, times, Read(values)))
        });
    }
    #[cfg(target_arch = "x86_64")]
    if let Some((bytes, shuffle)) = shuffles::best() {
        group.throughput(Throughput::Bytes((4096 * bytes) as u64));
        group.bench_function("shuffle/registers", |b| b.iter(|| shuffle(4096)));
    }
    // 64 rows × 64 dimensions of f32 are 16 KiB, × 256 codes too.
    let (dim, times) = (64, 256);
    let (rows, queries) = (normals(GROUP * dim, 1), normals(TILE * dim, 2));
    let mut panel = Panel::new(dim);
    panel.pack(rows.chunks(dim));
    let tile = FloatTile::new(dim, queries.chunks(dim));
    group.throughput(Throughput::Elements((times * TILE * GROUP * dim) as u64));
    group.bench_function("multiply-adds/f32", |b| {
        b.iter(|| repeat(level, times, FloatSurvivors(&panel, &tile, &[0.0; TILE])));
    });
    let codes = vec![3; 256 * GROUP];
    let plane = [5_i8; 256];
    let tile = Tile::new(Bits::Eight, 256, [&plane[..]; TILE]);
    let rows = RowTerms { scale: [1.0; GROUP], bias: [0.0; GROUP], offset: [0.0; GROUP] };
    let terms = QueryTerms::default();
    group.throughput(Throughput::Elements((times * TILE * GROUP * 256) as u64));
    group.bench_function("multiply-adds/int8", |b| {
        let codes = Group::new(Bits::Eight, &codes);
        b.iter(|| repeat(level, times, CodeSurvivors(codes, &rows, &tile, &terms)));
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
