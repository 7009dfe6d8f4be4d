//! The codebooks that suit given codes best: least squares, all stages at once.
//!
//! With B the n × ΣK matrix whose row i is 1 at the codewords of row i, Σ‖xᵢ − x̂ᵢ‖² is least where
//!
//! > BᵀB·C = BᵀX,
//!
//! BᵀB being how often two codewords occur together. Codewords of one stage never do, so each stage's block of the
//! diagonal is diagonal itself, and block Gauss-Seidel needs no factorisation: in turn, each stage moves its codewords by
//! the means of their rows' residuals. Every step lowers the error, codewords without rows stay, and from codebooks that
//! are nearly right a few sweeps do. Dimensions are independent of each other: 16 at a time the residuals stay in cache.

use counterpoint_core::simd::{Simd, Work, run};
use counterpoint_core::threads::{Cancelled, Control};
use counterpoint_core::vectors::Matrix;

use crate::codebooks::Codebooks;

/// Dimensions handled together: one cache line of a row.
const LANES: usize = 16;
/// Rows that hold a codeword where it is, beside its own.
const RIDGE: f32 = 0.01;

/// Moves the codewords to suit `codes` (stage after stage, one a row of `rows`).
pub(crate) fn refine(
    codebooks: &mut Codebooks,
    rows: &Matrix<f32>,
    codes: &[Vec<u8>],
    sweeps: usize,
    control: &Control,
) -> Result<(), Cancelled> {
    let counts: Vec<Vec<u32>> = (0..codebooks.stages())
        .map(|stage| {
            let mut counts = vec![0; codebooks.size(stage)];
            codes[stage].iter().for_each(|&code| counts[usize::from(code)] += 1);
            counts
        })
        .collect();
    let dim = rows.dim();
    let fixed = &*codebooks;
    let parts = control.map((0..dim).step_by(LANES), |first| {
        control.check()?;
        let slab = Slab { codebooks: fixed, rows, codes, counts: &counts, first, sweeps };
        Ok::<_, Cancelled>(run(control.level(), slab))
    })?;
    for (part, values) in parts.into_iter().enumerate() {
        let first = part * LANES;
        let width = LANES.min(dim - first);
        for (word, values) in values.iter().enumerate() {
            codebooks.words_mut().row_mut(word)[first..first + width].copy_from_slice(&values[..width]);
        }
    }
    Ok(())
}

/// Sixteen dimensions.
struct Slab<'a> {
    codebooks: &'a Codebooks,
    rows: &'a Matrix<f32>,
    codes: &'a [Vec<u8>],
    counts: &'a [Vec<u32>],
    first: usize,
    sweeps: usize,
}

impl Work for Slab<'_> {
    type Output = Vec<[f32; LANES]>;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Self::Output {
        let Self { codebooks, rows, codes, counts, first, sweeps } = self;
        let line = |values: &[f32]| {
            let mut line = [0.0; LANES];
            line.copy_from_slice(&values[first..first + LANES]);
            line
        };
        let mut words: Vec<[f32; LANES]> =
            (0..codebooks.words().rows()).map(|word| line(codebooks.words().padded(word))).collect();
        let mut left: Vec<[f32; LANES]> = (0..rows.rows()).map(|row| line(rows.padded(row))).collect();
        for (stage, codes) in codes.iter().enumerate() {
            let words = &words[codebooks.offset(stage)..codebooks.offset(stage + 1)];
            for (left, &code) in left.iter_mut().zip(codes) {
                subtract(left, &words[usize::from(code)]);
            }
        }
        let mut moves = Vec::new();
        for _ in 0..sweeps {
            for (stage, codes) in codes.iter().enumerate() {
                let words = &mut words[codebooks.offset(stage)..codebooks.offset(stage + 1)];
                moves.clear();
                moves.resize(words.len(), [0.0_f32; LANES]);
                for (left, &code) in left.iter().zip(codes) {
                    let sum = &mut moves[usize::from(code)];
                    sum.iter_mut().zip(left).for_each(|(sum, value)| *sum += value);
                }
                for ((word, sum), &count) in words.iter_mut().zip(&mut moves).zip(&counts[stage]) {
                    let share = 1.0 / (count as f32 + RIDGE);
                    sum.iter_mut().for_each(|sum| *sum *= share);
                    word.iter_mut().zip(&*sum).for_each(|(word, step)| *word += step);
                }
                for (left, &code) in left.iter_mut().zip(codes) {
                    subtract(left, &moves[usize::from(code)]);
                }
            }
        }
        words
    }
}

#[inline(always)]
fn subtract(from: &mut [f32; LANES], other: &[f32; LANES]) {
    from.iter_mut().zip(other).for_each(|(from, value)| *from -= value);
}
