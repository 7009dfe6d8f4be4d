//! Shared by the benches: kernels as criterion sees them.
//!
//! `cargo bench -p counterpoint-benches` runs all; `--bench int8` one family. Read a family's throughput
//! against `ceilings`, measured on the same machine in the same minutes.

use counterpoint_core::simd::{GROUP, Level, Simd, TILE, Work, f32, fastscan, int8, lookups, product, run};
use counterpoint_core::synth::{Shape, sample};

/// Normal values, the same every run.
pub fn normals(count: usize, seed: u64) -> Vec<f32> {
    sample(Shape::Gaussian, 1, 0, count, seed).data
}

/// Repeats a kernel call under one level, so that its cost per call is not the dispatch.
pub fn repeat<F: Kernel>(level: Level, times: usize, kernel: F) -> F::Output {
    run(level, Repeat { times, kernel })
}

/// A kernel call to be repeated.
pub trait Kernel: Copy {
    /// What it gives.
    type Output;
    /// Calls the kernel once.
    fn call<S: Simd>(self, simd: S) -> Self::Output;
}

struct Repeat<F> {
    times: usize,
    kernel: F,
}

impl<F: Kernel> Work for Repeat<F> {
    type Output = F::Output;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> F::Output {
        for _ in 1..self.times {
            std::hint::black_box(self.kernel.call(simd));
        }
        self.kernel.call(simd)
    }
}

/// A tile of queries against a group of f32 rows.
#[derive(Clone, Copy)]
pub struct FloatSurvivors<'a>(pub &'a f32::Panel, pub &'a f32::Tile, pub &'a [f32; TILE]);

impl Kernel for FloatSurvivors<'_> {
    type Output = [u64; TILE];
    #[inline(always)]
    fn call<S: Simd>(self, simd: S) -> [u64; TILE] {
        simd.f32_survivors(std::hint::black_box(self.0), self.1, self.2)
    }
}

/// A tile of vectors, one after another, against a group of f32 rows; the scores.
#[derive(Clone, Copy)]
pub struct FloatScores<'a>(pub &'a f32::Panel, pub product::Vectors<'a>, pub &'a [f32; TILE]);

impl Kernel for FloatScores<'_> {
    type Output = ([u64; TILE], product::Sums);
    #[inline(always)]
    fn call<S: Simd>(self, simd: S) -> Self::Output {
        let mut scores = [[0.0; GROUP]; TILE];
        let masks = simd.f32_scores(std::hint::black_box(self.0), self.1, self.2, &mut scores);
        (masks, scores)
    }
}

/// A tile of queries against a group of codes.
#[derive(Clone, Copy)]
pub struct CodeSurvivors<'a>(
    pub int8::Group<'a>,
    pub &'a int8::RowTerms,
    pub &'a int8::Tile,
    pub &'a int8::QueryTerms,
);

impl Kernel for CodeSurvivors<'_> {
    type Output = [u64; TILE];
    #[inline(always)]
    fn call<S: Simd>(self, simd: S) -> [u64; TILE] {
        simd.int8_survivors(std::hint::black_box(self.0), self.1, self.2, self.3)
    }
}

/// A tile of queries against a group of codes.
#[derive(Clone, Copy)]
pub struct LookupSurvivors<'a>(
    pub &'a [u8],
    pub Option<&'a [f32; GROUP]>,
    pub &'a lookups::Tile,
    pub &'a [f32; TILE],
);

impl Kernel for LookupSurvivors<'_> {
    type Output = [u64; TILE];
    #[inline(always)]
    fn call<S: Simd>(self, simd: S) -> [u64; TILE] {
        simd.lookup_survivors(std::hint::black_box(self.0), self.1, self.2, self.3)
    }
}

/// A tile of queries against a group of bits; the values found.
#[derive(Clone, Copy)]
pub struct BitSurvivors<'a>(
    pub &'a [u8],
    pub fastscan::RowTerms<'a>,
    pub &'a [fastscan::Tile; 2],
    pub &'a fastscan::QueryTerms,
);

impl Kernel for BitSurvivors<'_> {
    type Output = ([u64; TILE], [[f32; GROUP]; TILE]);
    #[inline(always)]
    fn call<S: Simd>(self, simd: S) -> Self::Output {
        let mut values = [[0.0; GROUP]; TILE];
        let tile = &self.2[usize::from(S::TABLES == fastscan::Tables::Nibbles)];
        let masks = simd.fastscan_survivors(std::hint::black_box(self.0), self.1, tile, self.3, &mut values);
        (masks, values)
    }
}
