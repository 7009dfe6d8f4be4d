//! Codewords that hardly any row has, put to use.

use counterpoint_core::vectors::Matrix;

use crate::codebooks::Codebooks;

/// A codeword is dead that has less than this part of a fair share of rows.
pub(crate) const DEAD: f64 = 0.1;

/// Moves every dead codeword: its few rows go to what of the stage suits them next best, and of the stage's codewords the
/// one with the largest error is split in two, by the side of the middle on which its rows' residuals lie along that of
/// the worst row. The rows go with them.
pub(crate) fn repair(codebooks: &mut Codebooks, rows: &Matrix<f32>, codes: &mut [Vec<u8>]) {
    for stage in 0..codes.len() {
        let size = codebooks.size(stage);
        let mut counts = vec![0_usize; size];
        codes[stage].iter().for_each(|&code| counts[usize::from(code)] += 1);
        let dead: Vec<usize> = dead(&counts).collect();
        if dead.is_empty() {
            continue;
        }
        let residual = |row: usize, codebooks: &Codebooks, codes: &[Vec<u8>], out: &mut [f32]| {
            out.copy_from_slice(rows.row(row));
            for (stage, codes) in codes.iter().enumerate() {
                let word = codebooks.words().row(codebooks.offset(stage) + usize::from(codes[row]));
                out.iter_mut().zip(word).for_each(|(out, value)| *out -= value);
            }
            out.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>()
        };
        let mut scratch = vec![0.0; rows.dim()];
        let mut errors: Vec<f64> =
            (0..rows.rows()).map(|row| residual(row, codebooks, codes, &mut scratch)).collect();
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
                residual(row, codebooks, codes, &mut scratch);
                let (offset, words) = (codebooks.offset(stage), codebooks.words());
                scratch.iter_mut().zip(words.row(offset + dead)).for_each(|(value, word)| *value += word);
                let away = |code: usize| -> f64 {
                    let pairs = scratch.iter().zip(words.row(offset + code));
                    pairs.map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum()
                };
                let others = (0..size).filter(|&code| code != dead).map(|code| (away(code), code));
                let best = others
                    .fold((f64::INFINITY, worst), |best, other| if other.0 < best.0 { other } else { best });
                (errors[row], codes[stage][row]) = (best.0, best.1 as u8);
            }
            let mut along = vec![0.0; rows.dim()];
            residual(farthest, codebooks, codes, &mut along);
            let mut step = vec![0.0_f64; rows.dim()];
            let mut moved = Vec::new();
            for &row in &members {
                residual(row, codebooks, codes, &mut scratch);
                let side: f64 = scratch.iter().zip(&along).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
                if side > 0.0 {
                    step.iter_mut().zip(&scratch).for_each(|(sum, &value)| *sum += f64::from(value));
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
                codes[stage][row] = dead as u8;
                errors[row] = residual(row, codebooks, codes, &mut scratch);
            }
        }
    }
}

/// The dead ones among codewords with so many rows.
pub(crate) fn dead(counts: &[usize]) -> impl Iterator<Item = usize> {
    let least = DEAD * counts.iter().sum::<usize>() as f64 / counts.len().max(1) as f64;
    counts.iter().enumerate().filter(move |(_, count)| (**count as f64) < least).map(|(code, _)| code)
}
