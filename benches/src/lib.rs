//! Shared by the benches: kernels as criterion sees them.
//!
//! `cargo bench -p counterpoint-benches` runs all; `--bench int8` one family. Read a family's throughput
//! against `ceilings`, measured on the same machine in the same minutes.

use counterpoint_core::simd::{Level, Simd, Work, run};
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
