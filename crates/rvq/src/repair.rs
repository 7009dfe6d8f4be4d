//! Codewords that hardly any row has, put to use.

use counterpoint_core::threads::{Cancelled, Control};
use counterpoint_core::vectors::Matrix;

use crate::codebooks::Codebooks;

/// Rows that one item of parallel work reads.
const ROWS: usize = 1024;
/// A codeword is dead that has less than this part of a fair share of rows.
pub(crate) const DEAD: f64 = 0.1;

/// Moves every dead codeword: its few rows go to what of the stage suits them next best, and of the stage's codewords the
/// one with the largest error is split in two, by the side of the middle on which its rows' residuals lie along that of
/// the worst row. The rows go with them.
pub(crate) fn repair(
    codebooks: &mut Codebooks,
    rows: &Matrix<f32>,
    codes: &mut [Vec<u8>],
    control: &Control,
) -> Result<(), Cancelled> {
    let dead: Vec<Vec<usize>> = (0..codes.len())
        .map(|stage| {
            let mut counts = vec![0_usize; codebooks.size(stage)];
            codes[stage].iter().for_each(|&code| counts[usize::from(code)] += 1);
            dead(&counts).collect()
        })
        .collect();
    if dead.iter().all(Vec::is_empty) {
        return Ok(());
    }
    // Kept as rows change their codes.
    let mut left = Matrix::zeroed(rows.rows(), rows.dim());
    let mut errors = vec![0.0; rows.rows()];
    let stride = left.stride();
    let parts = left.values_mut().chunks_mut(ROWS * stride).zip(errors.chunks_mut(ROWS)).enumerate();
    control.for_each(parts, |(part, (left, errors))| {
        for (r, (left, error)) in left.chunks_exact_mut(stride).zip(errors).enumerate() {
            let (row, left) = (part * ROWS + r, &mut left[..rows.dim()]);
            left.copy_from_slice(rows.row(row));
            for (stage, codes) in codes.iter().enumerate() {
                let word = codebooks.words().row(codebooks.offset(stage) + usize::from(codes[row]));
                left.iter_mut().zip(word).for_each(|(left, value)| *left -= value);
            }
            *error = dot(left, left);
        }
        Ok(())
    })?;
    for (stage, dead) in dead.into_iter().enumerate() {
        let size = codebooks.size(stage);
        for dead in dead {
            let mut sums = vec![0.0_f64; size];
            errors.iter().zip(&codes[stage]).for_each(|(e, &code)| sums[usize::from(code)] += e);
            let worst = (0..size).fold(0, |worst, code| if sums[code] > sums[worst] { code } else { worst });
            let members: Vec<usize> =
                (0..rows.rows()).filter(|&row| usize::from(codes[stage][row]) == worst).collect();
            if worst == dead || members.len() < 2 || sums[worst] <= 0.0 {
                break;
            }
            let farthest = members
                .iter()
                .fold(members[0], |far, &row| if errors[row] > errors[far] { row } else { far });
            for row in
                (0..rows.rows()).filter(|&row| usize::from(codes[stage][row]) == dead).collect::<Vec<_>>()
            {
                let (offset, words) = (codebooks.offset(stage), codebooks.words());
                let left = left.row_mut(row);
                left.iter_mut().zip(words.row(offset + dead)).for_each(|(left, word)| *left += word);
                // ‖r − c‖² but for ‖r‖².
                let away = |code: usize| {
                    let word = words.row(offset + code);
                    dot(word, word) - 2.0 * dot(word, left)
                };
                let others = (0..size).filter(|&code| code != dead).map(|code| (away(code), code));
                let (_, best) = others
                    .fold((f64::INFINITY, worst), |best, other| if other.0 < best.0 { other } else { best });
                left.iter_mut().zip(words.row(offset + best)).for_each(|(left, word)| *left -= word);
                (errors[row], codes[stage][row]) = (dot(left, left), best as u8);
            }
            let along = left.row(farthest);
            let mut step = vec![0.0_f64; rows.dim()];
            let mut moved = Vec::new();
            for &row in &members {
                if dot(left.row(row), along) > 0.0 {
                    step.iter_mut().zip(left.row(row)).for_each(|(sum, &value)| *sum += f64::from(value));
                    moved.push(row);
                }
            }
            // Of a tie all rows are on one side.
            if moved.is_empty() || moved.len() == members.len() {
                break;
            }
            let offset = codebooks.offset(stage);
            let from = codebooks.words().row(offset + worst).to_vec();
            let to = codebooks.words_mut().row_mut(offset + dead);
            for ((to, from), step) in to.iter_mut().zip(from).zip(step) {
                *to = from + (step / moved.len() as f64) as f32;
            }
            for row in moved {
                let words =
                    codebooks.words().row(offset + worst).iter().zip(codebooks.words().row(offset + dead));
                let left = left.row_mut(row);
                left.iter_mut().zip(words).for_each(|(left, (from, to))| *left += from - to);
                (errors[row], codes[stage][row]) = (dot(left, left), dead as u8);
            }
        }
    }
    Ok(())
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    const LANES: usize = 16;
    let mut sums = [0.0_f32; LANES];
    for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
    }
    sums.iter().map(|&sum| f64::from(sum)).sum()
}

/// The dead ones among codewords with so many rows.
pub(crate) fn dead(counts: &[usize]) -> impl Iterator<Item = usize> {
    let least = DEAD * counts.iter().sum::<usize>() as f64 / counts.len().max(1) as f64;
    counts.iter().enumerate().filter(move |(_, count)| (**count as f64) < least).map(|(code, _)| code)
}
