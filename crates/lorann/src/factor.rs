//! The linear model of one cluster: its factor, and the codes of points in it.
//!
//! **Residuals.** With G the projection onto s dimensions, t = G·q and f = G·x; a cluster has a centre m (its centroid c;
//! under ip and cosine α·c, α the mean of ⟨f, c⟩ over its points). For f' = f − m
//!
//! > ⟨t, f⟩ = ⟨t, m⟩ + ⟨t − m, f'⟩ + ⟨m, f'⟩:
//!
//! the first term is known from routing, the third is a constant of the point, and the second is what the model
//! estimates.
//!
//! **Reduced-rank regression.** Sought are r linear functions of t − m from which the products with all points of the
//! cluster follow best in the mean square: the matrix of rank r nearest to T·F'ᵀ for training queries T. The authors
//! (Jääsaari, Hyvönen, Roos: "LoRANN: Low-Rank Matrix Factorization for Approximate Nearest Neighbor Search", NeurIPS
//! 2024, section 4) train on the rows themselves. Around the centre, queries that reach a cluster come from all sides:
//! with a second moment TᵀT in proportion to the identity the best functions are the r leading eigenvectors A of F'ᵀF',
//! and the coefficients of a point are those of its nearest vector in their span. (Trained on the residuals of the
//! nearest rows instead, recall on wordnet-minilm and Fashion-MNIST is the same to 0.003 at any number of candidates.)
//! A point that comes later has its coefficients in closed form.
//!
//! **Eigenvectors** come from [`ROUNDS`] rounds of subspace iteration on F'ᵀF' with a ridge of [`RIDGE`] of its mean
//! eigenvalue, from the leading axes of all data on: in a cluster of few points the directions that are left are those.
//!
//! **Codes.** The factor's rows are turned at random, so that coefficients are of about equal size, and coded in `bits`
//! bits around 0 with a scale each; so are the coefficients of each point, which are fitted to the decoded factor:
//! b = (A·Aᵀ)⁻¹·A·f'.
//!
//! **Bias.** What the model leaves, ε = f' − Aᵀb̂ and the dimensions beyond G, has no mean for a random query, but is
//! on the side of a near one: q ≈ x makes ⟨q, ε⟩ ≈ ‖ε‖². [`SHARE`]·‖ε‖² is added to the estimate of a point. (Under ip,
//! where queries have any length, nothing is.)

use counterpoint_core::axes::Orthonormalise;
use counterpoint_core::metric::Metric;
use counterpoint_core::simd::int8::{self, Bits};
use counterpoint_core::simd::{GROUP, Simd, Work};
use counterpoint_core::vectors::Matrix;
use half::f16;

use crate::products::{multiply, transpose};

/// Rounds of subspace iteration.
const ROUNDS: usize = 3;
/// Of the mean eigenvalue, added to all.
const RIDGE: f32 = 1e-3;
/// How much of ‖ε‖² a near query finds. On wordnet-minilm and Fashion-MNIST 0.1 to 0.3 are about as good.
const SHARE: f32 = 0.2;
/// Values below are 0: their steps would be lost.
const SMALLEST: f32 = 1e-34;

/// The code that stands for 0.
pub(crate) fn middle(bits: Bits) -> f32 {
    0.5 * f32::from(bits.max_code())
}

/// A cluster's model, as it is stored.
pub(crate) struct Factor {
    /// Groups of 64 rows of A.
    pub(crate) codes: Vec<u8>,
    /// The value of one code step of each row of A; 0 beyond the rank.
    pub(crate) scale: Vec<f32>,
    /// ⟨aⱼ, m̄ − m⟩ for each row of A.
    pub(crate) shift: Vec<f32>,
    /// α.
    pub(crate) along: f32,
    /// What the scales of its points are multiples of.
    pub(crate) unit: f32,
}

/// Points of one cluster, coded.
pub(crate) struct Points {
    /// Groups of 64 points.
    pub(crate) codes: Vec<u8>,
    /// In units of the cluster.
    pub(crate) scale: Vec<f16>,
    pub(crate) bias: Vec<f32>,
}

/// What all clusters' models begin from.
pub(crate) struct Start {
    /// The leading axes of all data, `rank` rows.
    pub(crate) axes: Matrix<f32>,
    /// A random rotation of `rank` dimensions.
    pub(crate) turn: Matrix<f32>,
    /// m̄, the mean of all rows.
    pub(crate) mean: Vec<f32>,
}

/// Some rows of the data in one cluster.
#[derive(Clone, Copy)]
pub(crate) struct Members<'a> {
    /// All rows, projected.
    pub(crate) rows: &'a Matrix<f32>,
    /// ‖x‖² of each.
    pub(crate) squares: &'a [f32],
    /// Those of the cluster.
    pub(crate) chosen: &'a [u32],
}

/// Fits a cluster's model to its members and codes them.
pub(crate) struct Fit<'a> {
    pub(crate) members: Members<'a>,
    pub(crate) centroid: &'a [f32],
    pub(crate) start: &'a Start,
    pub(crate) metric: Metric,
    pub(crate) bits: Bits,
}

impl Work for Fit<'_> {
    type Output = (Factor, Points);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> (Factor, Points) {
        let Self { members, centroid, start, metric, bits } = self;
        let along = along(simd, members, centroid, metric);
        let residuals = residuals(members, centroid, along);
        let span = span(simd, &residuals, start);
        let (rank, dim) = (span.rows(), span.dim());
        let groups = rank.div_ceil(GROUP);
        let bytes = int8::group_bytes(bits, dim);
        let mut factor = Factor {
            codes: vec![0; groups * bytes],
            scale: vec![0.0; groups * GROUP],
            shift: vec![0.0; groups * GROUP],
            along,
            unit: 1.0,
        };
        let mut codes = vec![0; dim];
        for j in 0..rank {
            factor.scale[j] = quantise(bits, span.row(j), &mut codes);
            let group = &mut factor.codes[j / GROUP * bytes..][..bytes];
            int8::write_row(bits, group, j % GROUP, &codes);
        }
        let decoded = decode(&factor, bits, rank, dim);
        let offset: Vec<f32> =
            start.mean.iter().zip(centroid).map(|(mean, centroid)| mean - along * centroid).collect();
        for (j, shift) in factor.shift.iter_mut().enumerate().take(rank) {
            *shift = simd.dot(decoded.row(j), &offset);
        }
        let (points, unit) =
            Encode { members, residuals, centroid, along, decoded, unit: None, metric, bits }.run(simd);
        factor.unit = unit;
        (factor, points)
    }
}

/// A's rows, decoded.
pub(crate) fn decode(factor: &Factor, bits: Bits, rank: usize, dim: usize) -> Matrix<f32> {
    rows_of(bits, rank, dim, &factor.codes, &factor.scale)
}

/// `count` decoded rows of groups of codes.
pub(crate) fn rows_of(bits: Bits, count: usize, dim: usize, codes: &[u8], scale: &[f32]) -> Matrix<f32> {
    let bytes = int8::group_bytes(bits, dim);
    let mut rows = Matrix::zeroed(count, dim);
    let mut row_codes = vec![0; dim];
    for (j, &scale) in scale.iter().enumerate().take(count) {
        int8::read_row(bits, &codes[j / GROUP * bytes..][..bytes], j % GROUP, &mut row_codes);
        let middle = middle(bits);
        rows.row_mut(j)
            .iter_mut()
            .zip(&row_codes)
            .for_each(|(to, &code)| *to = scale * (f32::from(code) - middle));
    }
    rows
}

/// Codes members of a cluster whose model is there.
pub(crate) struct Encode<'a> {
    pub(crate) members: Members<'a>,
    /// Of the members, from [`residuals`].
    pub(crate) residuals: Matrix<f32>,
    pub(crate) centroid: &'a [f32],
    pub(crate) along: f32,
    /// A, decoded.
    pub(crate) decoded: Matrix<f32>,
    /// That of the cluster; `None` to find it.
    pub(crate) unit: Option<f32>,
    pub(crate) metric: Metric,
    pub(crate) bits: Bits,
}

impl Work for Encode<'_> {
    /// The points, and the unit of their scales.
    type Output = (Points, f32);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> (Points, f32) {
        let Self { members, residuals, centroid, along, decoded, unit, metric, bits } = self;
        let (count, rank) = (residuals.rows(), decoded.rows());
        let coefficients = multiply(simd, &residuals, &transpose(&inverse(simd, &decoded)));
        let groups = count.div_ceil(GROUP);
        let bytes = int8::group_bytes(bits, rank);
        let mut points = Points {
            codes: vec![0; groups * bytes],
            scale: vec![f16::ZERO; groups * GROUP],
            bias: vec![0.0; groups * GROUP],
        };
        let mut scales = vec![0.0_f32; count];
        let mut codes = vec![0; rank];
        let middle = middle(bits);
        for (i, &row) in members.chosen.iter().enumerate() {
            let wanted = coefficients.row(i);
            scales[i] = quantise(bits, wanted, &mut codes);
            int8::write_row(bits, &mut points.codes[i / GROUP * bytes..][..bytes], i % GROUP, &codes);
            let square = |values: &[f32]| values.iter().map(|v| v * v).sum::<f32>();
            let missed: f32 = wanted
                .iter()
                .zip(&codes)
                .map(|(&b, &code)| (b - scales[i] * (f32::from(code) - middle)).powi(2))
                .sum();
            let residual = residuals.row(i);
            let (own, row) = (square(residual), row as usize);
            let beyond = (members.squares[row] - square(members.rows.row(row))).max(0.0);
            let left = (own - square(wanted) + missed).max(0.0) + beyond;
            points.bias[i] = match metric {
                Metric::L2 => SHARE * left - 0.5 * (own + beyond),
                Metric::Cosine => SHARE * left + along * simd.dot(centroid, residual),
                Metric::Ip => along * simd.dot(centroid, residual),
            };
        }
        let most = scales.iter().fold(0.0_f32, |most, &scale| most.max(scale));
        let unit = unit.unwrap_or(if most > 0.0 { most } else { 1.0 });
        for (to, &scale) in points.scale.iter_mut().zip(&scales) {
            *to = f16::from_f32((scale / unit).min(f16::MAX.to_f32()));
        }
        (points, unit)
    }
}

/// α: 1 under l2, else the mean of the members' products with the centroid.
#[inline(always)]
fn along<S: Simd>(simd: S, members: Members<'_>, centroid: &[f32], metric: Metric) -> f32 {
    if metric == Metric::L2 || members.chosen.is_empty() {
        return 1.0;
    }
    let product = |&row: &u32| f64::from(simd.dot(members.rows.row(row as usize), centroid));
    (members.chosen.iter().map(product).sum::<f64>() / members.chosen.len() as f64) as f32
}

/// f' of each member.
pub(crate) fn residuals(members: Members<'_>, centroid: &[f32], along: f32) -> Matrix<f32> {
    let mut residuals = Matrix::zeroed(members.chosen.len(), centroid.len());
    for (to, &from) in members.chosen.iter().enumerate() {
        let values = residuals.row_mut(to).iter_mut().zip(members.rows.row(from as usize));
        values.zip(centroid).for_each(|((to, &value), &centre)| *to = value - along * centre);
    }
    residuals
}

/// An orthonormal basis of the leading directions of residuals, turned.
#[inline(always)]
fn span<S: Simd>(simd: S, residuals: &Matrix<f32>, start: &Start) -> Matrix<f32> {
    let dim = residuals.dim();
    let largest = residuals.values().iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    if largest < SMALLEST {
        return multiply(simd, &start.turn, &start.axes);
    }
    // Of largest value 1, so that no product overflows or vanishes.
    let mut scaled = residuals.clone();
    let inverse = 1.0 / largest;
    scaled.values_mut().iter_mut().for_each(|value| *value *= inverse);
    let mut moment = multiply(simd, &transpose(&scaled), &scaled);
    let trace: f64 = (0..dim).map(|j| f64::from(moment.row(j)[j])).sum();
    let inverse = (1.0 / trace) as f32;
    moment.values_mut().iter_mut().for_each(|value| *value *= inverse);
    (0..dim).for_each(|j| moment.row_mut(j)[j] += RIDGE / dim as f32);
    let mut span = start.axes.clone();
    for _ in 0..ROUNDS {
        span = multiply(simd, &span, &moment);
        Orthonormalise(&mut span).run(simd);
    }
    multiply(simd, &start.turn, &span)
}

/// (A·Aᵀ)⁻¹·A for rows that are orthonormal but for their coding: two steps of Newton's iteration for the inverse of
/// H = A·Aᵀ from 2·I − H on, whose error is then that of I − H to the fourth power.
#[inline(always)]
fn inverse<S: Simd>(simd: S, decoded: &Matrix<f32>) -> Matrix<f32> {
    let rank = decoded.rows();
    let gram = multiply(simd, decoded, &transpose(decoded));
    let twice_less = |mut product: Matrix<f32>| {
        product.values_mut().iter_mut().for_each(|value| *value = -*value);
        (0..rank).for_each(|j| product.row_mut(j)[j] += 2.0);
        product
    };
    let mut inverse = twice_less(gram.clone());
    let correction = twice_less(multiply(simd, &gram, &inverse));
    inverse = multiply(simd, &inverse, &correction);
    multiply(simd, &inverse, decoded)
}

/// Codes values around 0, and gives the value of one step (which is fitted to the codes).
#[inline(always)]
fn quantise(bits: Bits, values: &[f32], codes: &mut [u8]) -> f32 {
    let largest = values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    let middle = middle(bits);
    if largest < SMALLEST {
        codes.fill(bits.max_code() / 2);
        return 0.0;
    }
    // With few levels, cutting the largest values off leaves finer steps for the others.
    let reaches: &[f32] = if bits == Bits::Four { &[0.7, 0.8, 0.9, 1.0] } else { &[1.0] };
    let code = |value: f32, inverse: f32| (value * inverse + middle + 0.5).floor().clamp(0.0, 2.0 * middle);
    let (mut best, mut chosen) = (f32::NEG_INFINITY, 0.0);
    for &reach in reaches {
        let inverse = middle / (reach * largest);
        let (mut along, mut square) = (0.0_f32, 0.0_f32);
        for &value in values {
            let code = code(value, inverse) - middle;
            along += code * (value / largest);
            square += code * code;
        }
        // What remains of ‖v‖² at the best step is less by along²/square.
        let gain = along * along / square;
        if gain > best {
            (best, chosen) = (gain, inverse);
        }
    }
    let (mut along, mut square) = (0.0_f32, 0.0_f32);
    for (to, &value) in codes.iter_mut().zip(values) {
        let code = code(value, chosen);
        *to = code as u8;
        along += (code - middle) * (value / largest);
        square += (code - middle) * (code - middle);
    }
    largest * (along / square)
}
