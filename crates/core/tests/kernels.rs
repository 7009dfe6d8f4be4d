//! Every kernel at every length, on every level this processor has, against oracles in f64 and i64.
//!
//! A plain `main` without threads, so that it also runs under qemu-user: `scripts/test-neon.sh`. A level named by
//! `COUNTERPOINT_SIMD` that cannot run here is a failure.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

#[path = "kernels/bytes.rs"]
mod bytes;
#[path = "kernels/rows.rs"]
mod code_rows;
#[path = "kernels/codes.rs"]
mod codes;
#[path = "kernels/fastscan.rs"]
mod fastscan;
#[path = "kernels/floats.rs"]
mod floats;
#[path = "kernels/halves.rs"]
mod halves;
#[path = "kernels/linear.rs"]
mod linear;
#[path = "kernels/lines.rs"]
mod lines;
#[path = "kernels/lookups.rs"]
mod lookups;
#[path = "kernels/nibbles.rs"]
mod nibbles;
#[path = "kernels/planes.rs"]
mod planes;
#[path = "kernels/scores.rs"]
mod scores;

use std::process::ExitCode;

use counterpoint_core::simd::Level;

/// Longest length of the sweeps.
const LONGEST: usize = 256;
/// Largest dimension of the integer kernels: where sums come closest to 2³¹.
const LARGEST: usize = 65_536;
/// Unit roundoff of f32.
const U: f64 = 1.0 / (1 << 24) as f64;

/// Counts what held and what did not.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
}

impl Tally {
    fn check(&mut self, held: bool, what: impl FnOnce() -> String) {
        if held {
            self.passed += 1;
        } else {
            self.failed += 1;
            if self.failed <= 20 {
                println!("FAILED: {}", what());
            }
        }
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound as u64) as usize
    }

    /// Uniform in [-1, 1).
    fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// A small whole number: sums of products of these are exact in f32, in any order.
    fn whole(&mut self) -> f32 {
        self.below(17) as f32 - 8.0
    }

    fn many<T>(&mut self, count: usize, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..count).map(|_| one(self)).collect()
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
}

fn squared_l2(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&x, &y)| (f64::from(x) - f64::from(y)).powi(2)).sum()
}

fn norm(a: &[f32]) -> f64 {
    dot(a, a).sqrt()
}

fn main() -> ExitCode {
    // A forced level that cannot run here must fail, not be skipped.
    let active = match Level::active() {
        Ok(level) => level,
        Err(error) => {
            println!("FAILED: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut total = Tally::default();
    for level in Level::available() {
        for (family, check) in [
            ("f32 rows", floats::rows as fn(Level, &mut Tally)),
            ("byte rows", bytes::rows),
            ("byte codes", bytes::codes),
            ("f32 panels", floats::panels),
            ("unordered", floats::unordered),
            ("scores", scores::scores),
            ("float scores", scores::float_scores),
            ("hadamard", linear::hadamard),
            ("products", linear::products),
            ("int8 codes", codes::every_length),
            ("int8 extremes", codes::extremes),
            ("code rows", code_rows::dots),
            ("plane sums", planes::sums),
            ("expansions", planes::expansions),
            ("level codes", planes::levels),
            ("codes in lines", lines::every_length),
            ("extremes in lines", lines::extremes),
            ("half rows", halves::rows),
            ("half values", halves::values),
            ("lookup sums", lookups::sums),
            ("lookups full", lookups::extremes),
            ("lookups NaN", lookups::unordered),
            ("nibble sums", nibbles::sums),
            ("nibbles full", nibbles::extremes),
            ("nibbles NaN", nibbles::unordered),
            ("residuals", nibbles::residuals),
            ("fastscan sums", fastscan::sums),
            ("fastscan full", fastscan::extremes),
            ("fastscan NaN", fastscan::unordered),
        ] {
            let mut tally = Tally::default();
            let start = std::time::Instant::now();
            check(level, &mut tally);
            let seconds = start.elapsed().as_secs_f32();
            println!(
                "{:>7} {family:<14} {:>6} passed, {} failed, {seconds:.2} s",
                level.name(),
                tally.passed,
                tally.failed
            );
            total.passed += tally.passed;
            total.failed += tally.failed;
        }
    }
    println!("active level: {}", active.name());
    println!("{} passed, {} failed", total.passed, total.failed);
    if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
