//! Lloyd-Max codebooks of one coordinate of a uniform point of the unit sphere, on an i8 grid.
//!
//! **Units.** A coordinate t of a unit vector in d dimensions is coded as x = √d·t, which has variance 1.
//!
//! **Levels.** The best 2ᵇ levels c and thresholds a (Lloyd, Max) are where each threshold is halfway between its
//! levels and each level the mean of its cell: c = μ(c). The density is symmetric, so only the positive half is solved,
//! by Newton's method on c − μ(c) (a tridiagonal system), where a step fails by Lloyd's c ← μ(c). A book takes a third
//! of a millisecond at most.
//!
//! **Grid.** What codes and scans use are the levels rounded to whole multiples of `unit` = c_max/127, which are i8: a
//! sum of levels × integers is exact on every processor. Thresholds are halfway between gridded levels.
//!
//! **Codes** count the thresholds below x: 0 for the lowest level, 2ᵇ − 1 for the highest. Bit p of a code,
//! p = 0 the most significant, is worth 2^(b−1−p); bit 0 is 1 for x > 0. See [`Codebook::additive`] for what the top
//! bits alone tell.

use crate::density::{Density, Moments};

/// Most bits of a code.
pub const MAX_BITS: u32 = 6;
/// The largest level, in units of the grid.
const TOP: f64 = 127.0;

/// The codebook of one width and number of dimensions.
///
/// ```
/// let book = counterpoint_turboquant::Codebook::new(2, 384).ok_or("no such codebook")?;
/// assert_eq!(book.grid(), [-127, -38, 38, 127]);
/// let code = book.thresholds().iter().filter(|&&threshold| threshold < 0.3).count();
/// assert!((book.levels()[code] - 0.452).abs() < 0.001);
/// assert!(book.error() < 0.118);
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Codebook {
    bits: u32,
    dim: usize,
    unit: f32,
    grid: Vec<i8>,
    levels: Vec<f32>,
    thresholds: Vec<f32>,
}

/// x ≈ Σ_{p < m} weights\[p\]·(2·bit_p − 1), from the top m bits of its code.
#[derive(Clone, Debug, PartialEq)]
pub struct Additive {
    /// One per bit, the most significant first, in the units of x.
    pub weights: Vec<f64>,
    /// The mean squared error E(x − approximation)², x having variance 1.
    pub error: f64,
}

impl Codebook {
    /// The codebook of `bits` bits (1 to [`MAX_BITS`]) for `dim` ≥ 1 dimensions; `None` for others.
    pub fn new(bits: u32, dim: usize) -> Option<Self> {
        if !(1..=MAX_BITS).contains(&bits) || dim == 0 {
            return None;
        }
        let half = lloyd_max(1 << (bits - 1), dim);
        let unit = half.last()? / TOP;
        // At most TOP, by the choice of the unit.
        let positive = half.iter().map(|level| (level / unit).round() as i8);
        let grid: Vec<i8> = positive.clone().rev().map(|level| -level).chain(positive).collect();
        let unit = unit as f32;
        let levels = grid.iter().map(|&level| f32::from(level) * unit).collect();
        let halfway = |pair: &[i8]| (f32::from(pair[0]) + f32::from(pair[1])) * (0.5 * unit);
        let thresholds = grid.windows(2).map(halfway).collect();
        Some(Self { bits, dim, unit, grid, levels, thresholds })
    }

    /// Bits of a code.
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// The dimensions it is for.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// One unit of the grid, in the units of x.
    pub fn unit(&self) -> f32 {
        self.unit
    }

    /// The 2ᵇ levels, ascending, in units of the grid: −127 to 127, odd about the middle.
    pub fn grid(&self) -> &[i8] {
        &self.grid
    }

    /// The 2ᵇ levels, ascending: grid × unit.
    pub fn levels(&self) -> &[f32] {
        &self.levels
    }

    /// The 2ᵇ − 1 thresholds, ascending: a code is the number of thresholds below x.
    pub fn thresholds(&self) -> &[f32] {
        &self.thresholds
    }

    /// The grid as a table that codes look up, zeros beyond 2ᵇ.
    pub fn table(&self) -> [i8; 1 << MAX_BITS] {
        let mut table = [0; 1 << MAX_BITS];
        table.iter_mut().zip(&self.grid).for_each(|(to, &level)| *to = level);
        table
    }

    /// The mean squared error of the levels, per coordinate: E(x − level)².
    pub fn error(&self) -> f64 {
        let cost = |(cell, &level): (Moments, &f32)| {
            let level = f64::from(level);
            cell.second - 2.0 * level * cell.first + level * level * cell.mass
        };
        self.cells().iter().copied().zip(&self.levels).map(cost).sum::<f64>().max(0.0)
    }

    /// The best sum of one term per bit that the top `m` bits of a code give: weighted least squares, free weights.
    /// `m` is brought into 1 to `bits`.
    pub fn additive(&self, m: u32) -> Additive {
        let m = m.clamp(1, self.bits);
        let basis: Vec<Vec<f64>> = (0..m).map(|p| self.signs(p)).collect();
        self.fit(&basis, |weights| weights.to_vec())
    }

    /// The same with the weights of bits 1 to m − 1 in the ratio 2^(m−2) : … : 2 : 1, as one sum of the lower bits as a
    /// number gives them: x ≈ weights\[0\]·(2·bit₀ − 1) + 2·β·low − (2^(m−1) − 1)·β, β the last weight.
    pub fn binary(&self, m: u32) -> Additive {
        let m = m.clamp(1, self.bits);
        let worth = |p: u32| f64::from(1 << (m - 1 - p));
        let mut lower = vec![0.0; self.grid.len()];
        for p in 1..m {
            lower.iter_mut().zip(self.signs(p)).for_each(|(to, sign)| *to += worth(p) * sign);
        }
        let basis = if m == 1 { vec![self.signs(0)] } else { vec![self.signs(0), lower] };
        self.fit(&basis, |weights| {
            (0..m).map(|p| if p == 0 { weights[0] } else { weights[1] * worth(p) }).collect()
        })
    }

    /// 2·bit_p − 1 of each code.
    fn signs(&self, p: u32) -> Vec<f64> {
        let bit = |code: usize| code >> (self.bits - 1 - p) & 1;
        (0..self.grid.len()).map(|code| 2.0 * bit(code) as f64 - 1.0).collect()
    }

    /// The moments of each code's cell.
    fn cells(&self) -> Vec<Moments> {
        let density = Density::new(self.dim);
        let inner = self.thresholds.iter().map(|&threshold| f64::from(threshold));
        let ends: Vec<f64> = std::iter::once(f64::NEG_INFINITY).chain(inner).chain([f64::INFINITY]).collect();
        ends.windows(2).map(|cell| density.moments(cell[0], cell[1])).collect()
    }

    /// Least squares of x by functions of its code, and its error, E x² being 1.
    fn fit(&self, basis: &[Vec<f64>], weights: impl Fn(&[f64]) -> Vec<f64>) -> Additive {
        let cells = self.cells();
        let n = basis.len();
        let mut gram = vec![vec![0.0; n + 1]; n];
        for (row, f) in gram.iter_mut().zip(basis) {
            for (entry, g) in row.iter_mut().zip(basis) {
                *entry = cells.iter().zip(f).zip(g).map(|((cell, f), g)| cell.mass * f * g).sum();
            }
            row[n] = cells.iter().zip(f).map(|(cell, f)| cell.first * f).sum();
        }
        let right: Vec<f64> = gram.iter().map(|row| row[n]).collect();
        let solution = solve(gram);
        let explained: f64 = right.iter().zip(&solution).map(|(right, weight)| right * weight).sum();
        Additive { weights: weights(&solution), error: (1.0 - explained).max(0.0) }
    }
}

/// The solution of a small positive semidefinite system whose right side is the last column; 0 for what the others
/// determine already.
fn solve(mut rows: Vec<Vec<f64>>) -> Vec<f64> {
    let n = rows.len();
    let mut solution = vec![0.0; n];
    for p in 0..n {
        let pivot = rows[p].clone();
        if pivot[p] > 1e-12 {
            for row in &mut rows[p + 1..] {
                let factor = row[p] / pivot[p];
                row.iter_mut().zip(&pivot).for_each(|(to, from)| *to -= factor * from);
            }
        }
    }
    for p in (0..n).rev() {
        if rows[p][p] > 1e-12 {
            let known: f64 = (p + 1..n).map(|q| rows[p][q] * solution[q]).sum();
            solution[p] = (rows[p][n] - known) / rows[p][p];
        }
    }
    solution
}

/// The positive half, ascending, of the best 2n levels.
fn lloyd_max(n: usize, dim: usize) -> Vec<f64> {
    let density = Density::new(dim);
    let end = density.end();
    if dim == 1 {
        // Two points: the outer levels are exact, and the others never used.
        return (0..n).map(|i| (2 * i + 1) as f64 / (2 * n - 1) as f64).collect();
    }
    let reach = end.min(1.5 + 0.5 * n.ilog2() as f64);
    let mut levels: Vec<f64> = (0..n).map(|i| (i as f64 + 0.5) * reach / n as f64).collect();
    let mut last = f64::INFINITY;
    for round in 0..1000 {
        let step = Step::at(&density, &levels);
        let residual = step.residual.iter().fold(0.0_f64, |most, r| most.max(r.abs()));
        if residual < 1e-15 {
            break;
        }
        let newton = step.newton(&levels);
        let ordered = newton.first().is_some_and(|&c| c > 0.0)
            && newton.last().is_some_and(|&c| c < end)
            && newton.is_sorted_by(|a, b| a < b);
        // Lloyd's steps first, and where Newton's left the order or did not bring c nearer to μ(c).
        if round >= 10 && ordered && residual < last {
            levels = newton;
            // Rounding is all that is left of it.
            if residual < 1e-12 {
                break;
            }
        } else {
            levels.iter_mut().zip(&step.residual).for_each(|(c, r)| *c -= r);
        }
        last = residual;
    }
    levels
}

/// c − μ(c) and its derivative, which is tridiagonal.
struct Step {
    residual: Vec<f64>,
    /// −½·∂μᵢ/∂a of the thresholds below and above level i; 0 for those that are fixed.
    below: Vec<f64>,
    above: Vec<f64>,
}

impl Step {
    fn at(density: &Density, levels: &[f64]) -> Self {
        let n = levels.len();
        let mut step = Self { residual: vec![0.0; n], below: vec![0.0; n], above: vec![0.0; n] };
        for (i, &level) in levels.iter().enumerate() {
            let from = if i == 0 { 0.0 } else { 0.5 * (levels[i - 1] + level) };
            let to = levels.get(i + 1).map_or(f64::INFINITY, |next| 0.5 * (level + next));
            let cell = density.moments(from, to);
            let mean = cell.first / cell.mass;
            step.residual[i] = level - mean;
            if i > 0 {
                step.below[i] = -0.5 * density.at(from) * (mean - from) / cell.mass;
            }
            if i + 1 < n {
                step.above[i] = -0.5 * density.at(to) * (to - mean) / cell.mass;
            }
        }
        step
    }

    /// Newton's next levels: Gaussian elimination of (δᵢⱼ − ∂μᵢ/∂cⱼ)·Δ = residual.
    fn newton(&self, levels: &[f64]) -> Vec<f64> {
        let n = levels.len();
        let (mut diagonal, mut right) = (vec![0.0; n], self.residual.clone());
        for i in 0..n {
            diagonal[i] = 1.0 + self.below[i] + self.above[i];
            if i > 0 {
                let factor = self.below[i] / diagonal[i - 1];
                diagonal[i] -= factor * self.above[i - 1];
                right[i] -= factor * right[i - 1];
            }
        }
        for i in (0..n).rev() {
            let next = right.get(i + 1).map_or(0.0, |next| self.above[i] * next);
            right[i] = (right[i] - next) / diagonal[i];
        }
        levels.iter().zip(right).map(|(c, delta)| c - delta).collect()
    }
}

#[cfg(test)]
mod tests;
