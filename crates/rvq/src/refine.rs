//! The codebooks that suit given codes best: least squares, all stages at once.
//!
//! With eₛ = x − Σ_{t≤s} c_t what the first stages up to s leave over of a row, and a weight wₛ of each, refining lowers
//!
//! > Σ over rows and stages s of wₛ·‖eₛ‖²;
//!
//! w is 1 of the last stage, and less of the others: were it 0, the first stages by themselves would no longer stand for
//! rows at all, and codes that are chosen after them would suit rows less. In the codewords of one stage t, the others
//! held, this is least once each of them has moved by the mean, over its rows, of
//!
//! > f_t / W_t, with f_t = Σ_{s≥t} wₛ·eₛ and W_t = Σ_{s≥t} wₛ,
//!
//! for codewords of one stage never occur together. So block Gauss-Seidel on the normal equations, a stage a block, needs
//! no factorisation. Every step lowers the sum, codewords without rows stay, and from codebooks that are nearly right a few
//! sweeps do. Dimensions are independent of each other: 16 at a time what is left of the rows stays in cache.

use counterpoint_core::simd::{Simd, Work, run};
use counterpoint_core::threads::{Cancelled, Control};
use counterpoint_core::vectors::Matrix;

use crate::codebooks::Codebooks;

/// Dimensions handled together: one cache line of a row.
const LANES: usize = 16;
/// Rows that hold a codeword where it is, beside its own.
const RIDGE: f32 = 0.01;

/// Moves the codewords to suit `codes` (stage after stage, one a row of `rows`). What stages before the last leave over
/// weighs `weight` each.
pub(crate) fn refine(
    codebooks: &mut Codebooks,
    rows: &Matrix<f32>,
    codes: &[Vec<u8>],
    weight: f32,
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
    let stages = codebooks.stages();
    let weights: Vec<f32> = (1..=stages).map(|stage| if stage == stages { 1.0 } else { weight }).collect();
    let dim = rows.dim();
    let fixed = &*codebooks;
    let parts = control.map((0..dim).step_by(LANES), |first| {
        control.check()?;
        let slab = Slab { codebooks: fixed, rows, codes, counts: &counts, weights: &weights, first, sweeps };
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
    weights: &'a [f32],
    first: usize,
    sweeps: usize,
}

impl Work for Slab<'_> {
    type Output = Vec<[f32; LANES]>;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Self::Output {
        let Self { codebooks, rows, codes, counts, weights, first, sweeps } = self;
        let line = |values: &[f32]| {
            let mut line = [0.0; LANES];
            line.copy_from_slice(&values[first..first + LANES]);
            line
        };
        let mut words: Vec<[f32; LANES]> =
            (0..codebooks.words().rows()).map(|word| line(codebooks.words().padded(word))).collect();
        let whole = || (0..rows.rows()).map(|row| line(rows.padded(row)));
        let (mut left, mut sums) = (Vec::new(), Vec::new());
        let mut moves = Vec::new();
        for _ in 0..sweeps {
            // The f of the first stage.
            left.clear();
            left.extend(whole());
            sums.clear();
            sums.resize(left.len(), [0.0; LANES]);
            for (stage, codes) in codes.iter().enumerate() {
                let words = &words[codebooks.offset(stage)..codebooks.offset(stage + 1)];
                for ((left, sum), &code) in left.iter_mut().zip(&mut sums).zip(codes) {
                    add(left, -1.0, &words[usize::from(code)]);
                    add(sum, weights[stage], left);
                }
            }
            left.clear();
            left.extend(whole());
            for (stage, codes) in codes.iter().enumerate() {
                let words = &mut words[codebooks.offset(stage)..codebooks.offset(stage + 1)];
                moves.clear();
                moves.resize(words.len(), [0.0_f32; LANES]);
                for (sum, &code) in sums.iter().zip(codes) {
                    add(&mut moves[usize::from(code)], 1.0, sum);
                }
                let total: f32 = weights[stage..].iter().sum();
                for ((word, step), &count) in words.iter_mut().zip(&mut moves).zip(&counts[stage]) {
                    let share = 1.0 / (total * (count as f32 + RIDGE));
                    step.iter_mut().for_each(|step| *step *= share);
                    add(word, 1.0, step);
                }
                for ((left, sum), &code) in left.iter_mut().zip(&mut sums).zip(codes) {
                    add(left, -1.0, &words[usize::from(code)]);
                    add(sum, -total, &moves[usize::from(code)]);
                    add(sum, -weights[stage], left);
                }
            }
        }
        words
    }
}

#[inline(always)]
fn add(to: &mut [f32; LANES], times: f32, other: &[f32; LANES]) {
    to.iter_mut().zip(other).for_each(|(to, value)| *to += times * value);
}
