//! Kernels and the processor level they run at.
//!
//! A [`Level`] is detected once (or forced by `COUNTERPOINT_SIMD`) and is a proof: it can only be made for
//! features this processor has. [`run`] executes a [`Work`] under one level's features, so that a whole search
//! loop (not only its innermost kernel) is compiled for them. Inside, the [`Simd`] token passed to
//! [`Work::run`] gives the kernels, without further detection.
//!
//! | family | operation | exactness across levels |
//! |---|---|---|
//! | [`mod@f32`] | dot and squared l2 of two rows; query tile × row group with a fused threshold, or with their scores | within a derived bound |
//! | [`bytes`] | dot and squared l2 of a f32 row and a row of one byte a value | within a derived bound |
//! | [`halves`] | dot and squared l2 of a f32 row and a row of half precision | within a derived bound |
//! | [`int8`] | 8- and 4-bit codes × signed 8-bit query, row group, with a fused threshold | sums and scores bit-exact |
//! | [`rows`] | a row's 8- or 4-bit codes × both planes of a query | bit-exact |
//! | [`fastscan`] | bits × small integer weights, row group, by look-ups, with a fused threshold | bit-exact |
//! | [`lookups`] | entries of tables of 256 or 16 by codes, row group, with a fused threshold | bit-exact |
//! | [`nibbles`] | bits × small integer weights, block of 32 rows, fused with an estimate and a bound; signs of residuals | bit-exact; residuals' sums within rounding |
//! | [`lines`] | rows of 8- and 4-bit codes × signed 8-bit query, a few from anywhere | bit-exact |
//! | [`planes`] | a row's bit planes, or the levels of its codes, × signed 8-bit query; planes to codes | bit-exact |
//! | [`hadamard`] | Hadamard transform of a row | bit-exact |
//! | [`product`] | products of a matrix: vectors × 64 outputs | bit-exact |
//!
//! Each family is a folder: `mod.rs` (layouts, the argument for ranges), `scalar.rs` (the reference twin and
//! the fallback), `avx2.rs`, `avx512.rs`, `neon.rs`. What all levels can do is [`Simd`] (`kernels.rs`); `token.rs` checks
//! arguments and calls the level's own kernels.
//!
//! **Shapes.** Every block kernel works on a *group* of [`GROUP`] rows and a *tile* of at most [`TILE`]
//! queries. On AVX-512 that is 4 registers of rows × 6 queries = 24 accumulators, 4 row registers and 1
//! broadcast: 29 of 32 registers, 24 multiply-adds for 10 loads. A 64-row survivor set is one `u64`.

pub mod bytes;
pub mod f32;
pub mod fastscan;
pub mod hadamard;
pub mod halves;
pub mod int8;
mod kernels;
mod level;
pub mod lines;
pub mod lookups;
pub mod nibbles;
pub mod planes;
mod prefetch;
pub mod product;
pub mod rows;
mod token;

pub use kernels::Simd;
pub use level::{Level, LevelError};
pub use prefetch::{prefetch, prefetch_far};
#[cfg(target_arch = "aarch64")]
pub use token::Neon;
pub use token::Scalar;
#[cfg(target_arch = "x86_64")]
pub use token::{Avx2, Avx512};

/// Rows of one group: what a block kernel scans at once. A survivor set of a group is a `u64`.
pub const GROUP: usize = 64;
/// Queries of one tile: what a block kernel scores against a group at once.
pub const TILE: usize = 6;

/// A computation to run under one level's instruction set.
///
/// Mark the implementation of `run` `#[inline(always)]`: only then is its body compiled with the level's
/// features. Closures handed to other threads do not inherit them; call [`run`] inside the thread.
pub trait Work {
    /// What the computation gives.
    type Output;
    /// Runs with the kernels of `simd`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Runs `work` compiled for the features of `level`.
#[inline]
pub fn run<W: Work>(level: Level, work: W) -> W::Output {
    match level.kind() {
        level::Kind::Scalar => work.run(Scalar(())),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a `Level` of this kind is only made after its features were detected (level.rs, Check 1).
        level::Kind::Avx2 => unsafe { run_avx2(work) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        level::Kind::Avx512 => unsafe { run_avx512(work) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        level::Kind::Neon => unsafe { run_neon(work) },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt")]
fn run_avx2<W: Work>(work: W) -> W::Output {
    work.run(Avx2(()))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(
    enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt"
)]
fn run_avx512<W: Work>(work: W) -> W::Output {
    work.run(Avx512(()))
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon,dotprod")]
fn run_neon<W: Work>(work: W) -> W::Output {
    work.run(Neon(()))
}
