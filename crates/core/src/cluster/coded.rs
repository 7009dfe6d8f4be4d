//! Vectors in 8 bits, about a common origin, and how far that can lead astray.
//!
//! With an origin μ, x′ = x − μ and c′ = c − μ, what decides between centroids is
//!
//! > t(x, c) = ⟨x′, c′⟩ + o(c), where o(c) = −½‖c′‖² under l2 (‖x − c‖² = ‖x′‖² − 2t) and ⟨μ, c′⟩ under ip
//! > (⟨x, c⟩ = t + ⟨x, μ⟩).
//!
//! Vectors become x′ ≈ α·q, q whole and within ±127, centroids c′ ≈ σ·(b − 128), b whole and from 1 to 255. By
//! Cauchy and Schwarz the inner product is wrong by at most
//!
//! > ‖x′ − αq‖·‖c′‖ + α‖q‖·‖c′ − σ(b − 128)‖ ≤ σ·m, with m = ‖x′ − αq‖·B + α‖q‖·E,
//!
//! B the largest ‖c′‖/σ of all centroids and E the largest ‖c′ − σ(b − 128)‖/σ. [`Simd::int8_scores`] gives the upper
//! bound u = σ·(α·Σqb − 128α·Σq + m) + o. If u* is the w-th largest, w centroids have t ≥ u* − 2mσ for the largest σ,
//! so a centroid with a smaller u is none of the w nearest. (Where values are normal in 128 dimensions, mσ is about
//! 2·2.7/(127·√12) = 0.012 of ‖x′‖‖c′‖.) The others are compared exactly.
//!
//! The origin may be anything: it only makes x′ and c′ small. What f32 rounds off is at most 4·γ(d)·S² in all,
//! where S bounds the norms that occur (see [`dot_error`]), and 10⁻⁴⁴·d where values vanish; both are taken off the limit.

use crate::buffer::Buffer;
use crate::metric::Metric;
use crate::scan::rows_of;
use crate::simd::f32::dot_error;
use crate::simd::fastscan::{QueryTerms, RowTerms};
use crate::simd::int8::{self, Bits, Group, Tile};
use crate::simd::{GROUP, Simd, TILE, Work, run};
use crate::threads::{Cancelled, Control};
use crate::vectors::Matrix;

/// Largest magnitude of a code.
const LARGEST: f32 = 127.0;
/// Vectors no value of which is above are as good as their origin.
const SMALLEST: f32 = 1e-30;
/// What makes a signed code unsigned.
const MIDDLE: f32 = 128.0;
/// Sums kept apart, so that they fill registers.
const LANES: usize = 16;
/// Vectors of one item of parallel work.
const PART: usize = 128 * TILE;

/// Up to [`TILE`] vectors in 8 bits.
#[derive(Clone)]
pub(super) struct CodedTile {
    tile: Tile,
    dim: usize,
    /// α.
    step: [f32; TILE],
    /// −128α·Σq.
    shift: [f32; TILE],
    /// ‖x′ − αq‖, a little more.
    error: [f32; TILE],
    /// α‖q‖, a little more.
    norm: [f32; TILE],
}

/// What [`CodedTile::fill`] writes to before it packs.
#[derive(Clone, Debug, Default)]
pub(super) struct Codes(Vec<i8>);

impl CodedTile {
    pub(super) fn new(dim: usize) -> Self {
        let zeros = vec![0; dim];
        let tile = Tile::new(Bits::Eight, dim, [&zeros[..]]);
        Self { tile, dim, step: [0.0; TILE], shift: [0.0; TILE], error: [0.0; TILE], norm: [0.0; TILE] }
    }

    /// Values of a vector.
    pub(super) fn dim(&self) -> usize {
        self.dim
    }

    /// Takes in `count` vectors, of which each begins `stride` values after the one before.
    #[inline(always)]
    fn fill(&mut self, values: &[f32], stride: usize, count: usize, origin: &[f32], codes: &mut Codes) {
        let dim = origin.len();
        codes.0.resize(dim * TILE, 0);
        for (i, codes) in codes.0.chunks_exact_mut(dim.max(1)).enumerate().take(count) {
            let values = &values[i * stride..][..dim];
            let mut most = [0.0_f32; LANES];
            lanes(values, origin, |lane, value, origin| {
                most[lane] = larger((value - origin).abs(), most[lane])
            });
            let most = most.into_iter().fold(0.0, larger);
            let (step, inverse) = if most > SMALLEST { (most / LARGEST, LARGEST / most) } else { (0.0, 0.0) };
            for ((code, &value), &origin) in codes.iter_mut().zip(values).zip(origin) {
                *code = whole((value - origin) * inverse).1;
            }
            let (mut sum, mut square, mut error) = ([0.0_f32; LANES], [0.0_f32; LANES], [0.0_f32; LANES]);
            lanes(values, origin, |lane, value, origin| {
                let scaled = (value - origin) * inverse;
                let (code, _) = whole(scaled);
                sum[lane] += code;
                square[lane] += code * code;
                error[lane] += (scaled - code) * (scaled - code);
            });
            let [sum, square, error] = [sum, square, error].map(|lanes| lanes.into_iter().sum::<f32>());
            self.step[i] = step;
            self.shift[i] = -MIDDLE * step * sum;
            self.norm[i] = step * square.sqrt() * 1.001;
            // Differences and scaling round each value off by less than 4·10⁻⁵ steps.
            let unscaled = if step > 0.0 { 0.0 } else { SMALLEST * dim as f32 };
            self.error[i] = step * (error.sqrt() * 1.001 + 4e-5 * (dim as f32).sqrt()) + unscaled;
        }
        self.tile.refill(codes.0.chunks_exact(dim.max(1)).take(count));
    }
}

/// The nearest whole number, of two the even one, as it is and in 8 bits; `value` is within ±127.5.
#[inline(always)]
fn whole(value: f32) -> (f32, i8) {
    // Where one unit is the last bit of a value: the sum is rounded to whole units, and its last bits are the number's.
    const UNITS: f32 = 12_582_912.0;
    let sum = value + UNITS;
    (sum - UNITS, sum.to_bits() as i8)
}

/// The larger of two that are no NaN.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// Calls `each` with every pair of values and its lane.
#[inline(always)]
fn lanes(a: &[f32], b: &[f32], mut each: impl FnMut(usize, f32, f32)) {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            each(lane, a[lane], b[lane]);
        }
    }
    for (lane, (&a, &b)) in a_rest.iter().zip(b_rest).enumerate() {
        each(lane, a, b);
    }
}

/// Rows in 8 bits, to be compared again and again.
pub(super) struct CodedRows {
    pub(super) origin: Vec<f32>,
    tiles: Vec<CodedTile>,
}

impl CodedRows {
    /// All rows, about their mean.
    pub(super) fn new(rows: &Matrix<f32>, control: &Control) -> Result<Self, Cancelled> {
        let origin = mean(rows);
        let tiles = control.map((0..rows.rows()).step_by(PART), |first| {
            let last = rows.rows().min(first + PART);
            Ok::<_, Cancelled>(run(control.level(), Encode { rows, first, last, origin: &origin }))
        })?;
        Ok(Self { origin, tiles: tiles.into_iter().flatten().collect() })
    }

    /// The tiles of the rows from `first` on; a multiple of [`TILE`].
    pub(super) fn tiles_from(&self, first: usize) -> &[CodedTile] {
        &self.tiles[first / TILE..]
    }
}

/// The mean of rows, summed in f64; zeros if there are none.
pub(super) fn mean(rows: &Matrix<f32>) -> Vec<f32> {
    let mut sums = vec![0.0_f64; rows.dim()];
    for row in 0..rows.rows() {
        sums.iter_mut().zip(rows.row(row)).for_each(|(sum, &value)| *sum += f64::from(value));
    }
    sums.into_iter().map(|sum| (sum / rows.rows().max(1) as f64) as f32).collect()
}

struct Encode<'a> {
    rows: &'a Matrix<f32>,
    first: usize,
    last: usize,
    origin: &'a [f32],
}

impl Work for Encode<'_> {
    type Output = Vec<CodedTile>;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Vec<CodedTile> {
        let stride = self.rows.stride();
        let mut codes = Codes::default();
        let tiles = (self.first..self.last).step_by(TILE).map(|first| {
            let mut tile = CodedTile::new(self.origin.len());
            let count = TILE.min(self.last - first);
            tile.fill(&self.rows.values()[first * stride..], stride, count, self.origin, &mut codes);
            tile
        });
        tiles.collect()
    }
}

/// Centroids in 8 bits.
#[derive(Clone)]
pub(super) struct CodedCentroids {
    origin: Vec<f32>,
    codes: Buffer,
    /// Of each group, σ and o (with the price taken off); an absent centroid is infinitely far.
    terms: Vec<([f32; GROUP], [f32; GROUP])>,
    /// The largest σ.
    step: f32,
    /// B and E, a little more, and what f32 rounds off a sum of codes, in units of α: four times 2⁻²⁴ of 255·127·d.
    norm: f32,
    error: f32,
    rounding: f32,
    /// The part of S that is not the vector's, 4·γ(d), and what vanishes.
    reach: f32,
    slack: f32,
    least: f32,
}

impl CodedCentroids {
    pub(super) fn new(rows: &Matrix<f32>, metric: Metric, origin: Vec<f32>, prices: &[f32]) -> Self {
        let dim = rows.dim();
        let bytes = int8::group_bytes(Bits::Eight, dim);
        let groups = rows.rows().div_ceil(GROUP);
        let mut codes = Buffer::zeroed(groups * bytes);
        let mut terms = vec![([0.0; GROUP], [f32::NEG_INFINITY; GROUP]); groups];
        let (mut step, mut norm, mut error) = (0.0_f32, 0.0_f64, 0.0_f64);
        let (mut longest, mut dearest) = (0.0_f64, 0.0_f32);
        let mut row_codes = vec![0_u8; dim];
        for row in 0..rows.rows() {
            let about = || rows.row(row).iter().zip(&origin).map(|(&value, &origin)| value - origin);
            let sigma = about().fold(0.0_f32, |most, value| most.max(value.abs())) / LARGEST;
            let inverse = if sigma > 0.0 { 1.0 / f64::from(sigma) } else { 0.0 };
            let (mut square, mut errors, mut along) = (0.0_f64, 0.0_f64, 0.0_f64);
            for ((code, value), &origin) in row_codes.iter_mut().zip(about()).zip(&origin) {
                let (signed, low) = whole(((f64::from(value) * inverse) as f32).clamp(-LARGEST, LARGEST));
                *code = low.cast_unsigned().wrapping_add(MIDDLE as u8);
                square += f64::from(value).powi(2);
                errors += (f64::from(value) - f64::from(sigma) * f64::from(signed)).powi(2);
                along += f64::from(value) * f64::from(origin);
            }
            if sigma > 0.0 {
                norm = norm.max(square.sqrt() / f64::from(sigma));
                error = error.max(errors.sqrt() / f64::from(sigma));
            }
            let price = prices.get(row).copied().unwrap_or(0.0);
            let own = if metric == Metric::L2 { -0.5 * square } else { along };
            let (steps, offsets) = &mut terms[row / GROUP];
            steps[row % GROUP] = sigma;
            offsets[row % GROUP] = (own - f64::from(price)) as f32;
            (step, longest, dearest) =
                (step.max(sigma), longest.max(square.sqrt()), dearest.max(price.abs()));
            let group = &mut codes.as_mut_bytes()[row / GROUP * bytes..][..bytes];
            int8::write_row(Bits::Eight, group, row % GROUP, &row_codes);
        }
        let away = origin.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        let reach = longest + if metric == Metric::L2 { 0.0 } else { 2.0 * away } + f64::from(dearest).sqrt();
        Self {
            origin,
            codes,
            terms,
            step,
            norm: (norm * 1.001) as f32,
            error: (error * 1.001) as f32,
            rounding: 0.01 * dim as f32,
            reach: reach as f32,
            slack: 4.0 * dot_error(dim),
            least: 1e-44 * dim as f32,
        }
    }

    /// Takes vectors in, to be compared with these centroids.
    #[inline(always)]
    pub(super) fn fill(
        &self,
        tile: &mut CodedTile,
        values: &[f32],
        stride: usize,
        count: usize,
        codes: &mut Codes,
    ) {
        tile.fill(values, stride, count, &self.origin, codes);
    }

    /// Upper bounds of all centroids for each vector of a tile that was taken in about the same origin, and of each
    /// vector m.
    #[inline(always)]
    pub(super) fn bounds<S: Simd>(
        &self,
        simd: S,
        tile: &CodedTile,
        bounds: &mut Vec<[[f32; GROUP]; TILE]>,
    ) -> [f32; TILE] {
        bounds.resize(self.terms.len(), [[0.0; GROUP]; TILE]);
        let mut margins = [0.0; TILE];
        let mut terms = QueryTerms { alpha: tile.step, beta: [0.0; TILE], limit: [f32::NEG_INFINITY; TILE] };
        for (i, (margin, beta)) in margins.iter_mut().zip(&mut terms.beta).enumerate() {
            *margin = tile.error[i] * self.norm + tile.norm[i] * self.error + tile.step[i] * self.rounding;
            *beta = tile.shift[i] + *margin;
        }
        let bytes = int8::group_bytes(Bits::Eight, self.origin.len());
        let groups = self.codes.as_bytes().chunks_exact(bytes.max(1));
        for ((group, (scale, offset)), bounds) in groups.zip(&self.terms).zip(bounds) {
            let group = Group::new(Bits::Eight, group);
            simd.int8_scores(group, RowTerms { scale, offset }, &tile.tile, &terms, bounds);
        }
        margins
    }

    /// Calls `each` with the centroids that may be among the `width` nearest (at least one and at most all) of vector
    /// `i`, and with few others. `maxima` is memory to work in.
    ///
    /// The limit is found from the largest bounds of disjoint sets of centroids, at least twice as many as are asked
    /// for: their w-th largest is one of w bounds that are no smaller.
    #[inline(always)]
    pub(super) fn candidates(
        &self,
        tile: &CodedTile,
        i: usize,
        width: usize,
        (bounds, margin): (&[[[f32; GROUP]; TILE]], f32),
        maxima: &mut Vec<f32>,
        mut each: impl FnMut(usize),
    ) {
        let least = if 2 * width <= LANES {
            let mut maxima = [f32::NEG_INFINITY; LANES];
            for bounds in bounds {
                for bounds in bounds[i].as_chunks::<LANES>().0 {
                    maxima.iter_mut().zip(bounds).for_each(|(most, &bound)| *most = larger(bound, *most));
                }
            }
            let mut least = f32::INFINITY;
            for _ in 0..width {
                // Equal ones leave together: then the least comes out smaller, which does no harm.
                least = maxima.into_iter().fold(f32::NEG_INFINITY, larger);
                maxima
                    .iter_mut()
                    .for_each(|most| *most = if *most < least { *most } else { f32::NEG_INFINITY });
            }
            least
        } else {
            let sets = (2 * width).next_power_of_two().max(GROUP);
            maxima.clear();
            maxima.resize(sets, f32::NEG_INFINITY);
            for (g, bounds) in bounds.iter().enumerate() {
                let maxima = &mut maxima[g * GROUP % sets..][..GROUP];
                maxima.iter_mut().zip(&bounds[i]).for_each(|(most, &bound)| *most = larger(bound, *most));
            }
            *maxima.select_nth_unstable_by(width - 1, |a, b| b.total_cmp(a)).1
        };
        let size = tile.norm[i] + tile.error[i] + self.reach;
        // An absent centroid's bound is below every finite limit.
        let loss = 2.0 * margin * self.step + self.slack * size * size + self.least;
        let limit = (least - loss).max(f32::MIN);
        for (g, bounds) in bounds.iter().enumerate() {
            let mut mask = 0_u64;
            for (r, &bound) in bounds[i].iter().enumerate() {
                mask |= u64::from(bound >= limit) << r;
            }
            rows_of(mask).for_each(|r| each(g * GROUP + r));
        }
    }
}
