//! How vectors become codes: centre, rotation, segments of dimensions with a codebook each.
//!
//! With c the centre (or 0) and P the rotation, a vector v has the residual r = P(v − c). Its code says of every
//! rotated dimension j which cell of a Lloyd-Max codebook uⱼ = rⱼ·S/(‖r‖·σⱼ) falls in, where σⱼ is the deviation
//! of the dimension's segment and S² = Σσⱼ². (Unfitted: one segment, σ = 1, S² = d.) With hⱼ = σⱼ·level(codeⱼ) the
//! row's *scale* w = ‖r‖²/⟨r, h⟩ makes w·h as long along r as r is, so that, over random rotations, w·⟨q', h⟩ is an
//! unbiased estimate of ⟨q', r⟩ (EDEN, RaBitQ). With q' = P(q − c):
//!
//! ```text
//! ip, cosine:  ⟨q, v⟩ = ⟨q, c⟩ + ⟨c, v − c⟩ + ⟨q', r⟩
//! l2:         ‖q−v‖² = ‖q'‖² + ‖r‖² − 2⟨q', r⟩
//! ```
//!
//! so the distance is A − ω·(a + w·⟨q', h⟩) with the row's *offset* a = ⟨c, v − c⟩ or −½‖r‖², both exact, and the
//! query's A = −⟨q, c⟩, 1 − ⟨q, c⟩ or ‖q'‖², ω = 2 for l2, else 1.
//!
//! **Bits.** The top bit of a code is the sign. The top `scanned` bits of a segment's codes go to the scan, the others
//! to the row's low planes; both plane after plane, segment after segment.

use std::ops::Range;

use counterpoint_core::file::TensorView;
use counterpoint_core::metric::Metric;
use counterpoint_core::rotate::{Rotation, Structured};
use counterpoint_core::simd::Simd;
use counterpoint_core::simd::planes::{Codes, LEVELS};
use counterpoint_core::vectors::Matrix;

use crate::code::Code;
use crate::codebook::Codebook;
use crate::fitted::{SEGMENT, Share, segments};

/// Dimensions that are coded alike.
#[derive(Clone)]
pub(crate) struct Segment {
    /// Rotated dimensions, multiples of 32.
    pub(crate) dims: Range<usize>,
    /// σ.
    pub(crate) deviation: f32,
    /// The top bits of a code that the scan reads.
    pub(crate) scanned: u32,
    /// Planes that it does not.
    lows: usize,
    pub(crate) code: Code,
    /// Levels + 128 of the dimensions' runs.
    pub(crate) tables: Vec<[u8; LEVELS]>,
    /// The worth of each scanned bit for a unit of query, such that the estimate is unbiased.
    pub(crate) worth: Vec<f32>,
    /// Variance of what the other bits would change, for a unit of query.
    pub(crate) noise: f32,
    /// All bits, the lower ones as one number.
    pub(crate) binary: Binary,
}

/// level ≈ `sign`·(±1) + `low`·(2·code − (2ᵇ⁻¹ − 1)), code being the lower bits, such that the estimate is unbiased.
#[derive(Clone, Copy)]
pub(crate) struct Binary {
    pub(crate) sign: f32,
    pub(crate) low: f32,
    /// Variance of the difference, for a unit of query.
    pub(crate) noise: f32,
}

impl Segment {
    /// `None` where there is no such codebook.
    pub(crate) fn new(
        dims: Range<usize>,
        deviation: f32,
        code: Code,
        scanned: u32,
        padded: usize,
    ) -> Option<Self> {
        let book = match &code {
            Code::Scalar(book) => book.clone(),
            // Signs are worth the same whatever follows them.
            Code::Quads => Codebook::new(1, padded)?,
        };
        let kept = 1.0 - code.error();
        // E⟨x, fit⟩ = 1 − error: scaled up to what all the bits give.
        let unbiased = |error: f64| kept / (1.0 - error);
        let noise = |error: f64| (kept * (unbiased(error) - 1.0)).max(0.0) as f32;
        let (worth, missed) = if scanned == 0 {
            (Vec::new(), kept as f32)
        } else {
            let fit = book.additive(scanned);
            let worth = fit.weights.iter().map(|w| (w * unbiased(fit.error)) as f32).collect();
            (worth, noise(fit.error))
        };
        let fit = book.binary(book.bits());
        let scaled = |weight: Option<&f64>| weight.map_or(0.0, |w| (w * unbiased(fit.error)) as f32);
        let low = if book.bits() > 1 { scaled(fit.weights.last()) } else { 0.0 };
        let binary = Binary { sign: scaled(fit.weights.first()), low, noise: noise(fit.error) };
        Some(Self {
            tables: code.tables(),
            dims,
            deviation,
            lows: code.low_planes(scanned, 0).count(),
            scanned,
            code,
            worth,
            noise: missed,
            binary,
        })
    }

    /// Dimensions that share a table.
    fn run(&self) -> usize {
        self.dims.len() / self.tables.len().max(1)
    }

    /// Runs of dimensions, each with its table.
    #[inline(always)]
    pub(crate) fn runs(&self) -> impl Iterator<Item = (Range<usize>, &[u8; LEVELS])> {
        let run = self.run();
        let first = (self.dims.start..).step_by(run.max(1));
        first.zip(&self.tables).map(move |(first, table)| (first..first + run, table))
    }

    /// Takes the segment's planes off what is left of a row's.
    #[inline(always)]
    pub(crate) fn planes<'a>(&self, scan: &mut &'a [u8], low: &mut &'a [u8]) -> Codes<'a> {
        let (tops, lows, run) = (self.scanned as usize, self.lows, self.run());
        let (top, rest);
        (top, *scan) = scan.split_at(tops * (self.dims.len() / 8));
        (rest, *low) = low.split_at(lows * (run / 8));
        Codes { top, tops, low: rest, lows, run }
    }

    /// Bytes of the low planes.
    fn low_bytes(&self) -> usize {
        self.code.low_planes(self.scanned, self.dims.len()).map(|(_, length)| length / 8).sum()
    }
}

/// What was learned, and how codes are laid out.
#[derive(Clone)]
pub(crate) struct Quantizer {
    pub(crate) metric: Metric,
    pub(crate) dim: usize,
    pub(crate) rotation: Rotation,
    /// Rotated dimensions, a multiple of 32.
    padded: usize,
    /// What a fit gave each segment of 32 dimensions; empty for even codes.
    pub(crate) shares: Vec<Share>,
    /// c, if there is one.
    center: Option<Matrix<f32>>,
    pub(crate) segments: Vec<Segment>,
    /// Bits of a row that the scan reads, and bytes of its low planes.
    scan_bits: usize,
    low_bytes: usize,
    /// S.
    spread: f32,
    /// What brings w·h nearest to r, on average: see [`shrink`].
    shrink: f32,
}

/// What one row's codes are made in.
pub(crate) struct Scratch {
    rotated: Vec<f32>,
    spare: Vec<f32>,
    codes: Vec<u8>,
    /// The bits of the scan.
    pub(crate) scan: Vec<u8>,
    /// The low planes.
    pub(crate) low: Vec<u8>,
}

/// The constants of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Constants {
    /// w.
    pub(crate) scale: f32,
    /// a.
    pub(crate) offset: f32,
}

impl Quantizer {
    /// The same number of bits for every dimension. `center` is c, or empty. `None` for impossible bits.
    pub(crate) fn even(metric: Metric, dim: usize, bits: u32, seed: u64, center: Vec<f32>) -> Option<Self> {
        let rotation = Structured::new(dim, seed);
        let padded = rotation.padded();
        let code = if bits == 2 { Code::Quads } else { Code::Scalar(Codebook::new(bits, padded)?) };
        let segments = vec![Segment::new(0..padded, 1.0, code, 1, padded)?];
        Some(Self::over(metric, Rotation::Structured(rotation), center, segments, padded as f64))
    }

    /// As fitted to data. `None` where a share is of no code.
    pub(crate) fn fitted(
        metric: Metric,
        rotation: Rotation,
        shares: Vec<Share>,
        center: Vec<f32>,
    ) -> Option<Self> {
        let dim = rotation.dim();
        let segments = segments(&shares)?;
        // The last segment may reach beyond the dimensions there are.
        let lengths = (0..dim).step_by(SEGMENT).map(|first| SEGMENT.min(dim - first));
        let square =
            shares.iter().zip(lengths).map(|(s, n)| f64::from(s.deviation).powi(2) * n as f64).sum::<f64>();
        Some(Self { shares, ..Self::over(metric, rotation, center, segments, square) })
    }

    fn over(
        metric: Metric,
        rotation: Rotation,
        center: Vec<f32>,
        segments: Vec<Segment>,
        square: f64,
    ) -> Self {
        let dim = rotation.dim();
        let center = (!center.is_empty()).then(|| {
            let mut row = Matrix::zeroed(1, dim);
            row.row_mut(0).copy_from_slice(&center);
            row
        });
        let padded = dim.next_multiple_of(SEGMENT);
        let shares = Vec::new();
        let shrink = shrink(&segments, square, dim, rotation.outputs());
        let spread = square.sqrt() as f32;
        let scan_bits = segments.iter().map(|s| s.dims.len() * s.scanned as usize).sum();
        let low_bytes = segments.iter().map(Segment::low_bytes).sum();
        Self { metric, dim, rotation, padded, shares, center, segments, scan_bits, low_bytes, spread, shrink }
    }

    pub(crate) fn center_tensor(&self) -> Option<TensorView<'_>> {
        self.center.as_ref().map(|center| center.tensor("center"))
    }

    /// c, or nothing.
    pub(crate) fn center(&self) -> &[f32] {
        self.center.as_ref().map_or(&[], |center| center.row(0))
    }

    /// Rotated dimensions.
    pub(crate) fn padded(&self) -> usize {
        self.padded
    }

    /// Bits of a row that the scan reads.
    pub(crate) fn scan_bits(&self) -> usize {
        self.scan_bits
    }

    /// Bytes of a row's low planes.
    pub(crate) fn low_bytes(&self) -> usize {
        self.low_bytes
    }

    pub(crate) fn scratch(&self) -> Scratch {
        Scratch {
            rotated: vec![0.0; self.padded()],
            spare: vec![0.0; self.padded()],
            codes: vec![0; self.padded()],
            scan: vec![0; self.scan_bits() / 8],
            low: vec![0; self.low_bytes()],
        }
    }

    /// Encodes a prepared vector, which is used up: the bits of `scratch`, and the constants.
    #[inline(always)]
    pub(crate) fn encode<S: Simd>(&self, simd: S, values: &mut [f32], scratch: &mut Scratch) -> Constants {
        let mut along = 0.0;
        if !self.center().is_empty() {
            values.iter_mut().zip(self.center()).for_each(|(value, center)| *value -= center);
            along = dot(values, self.center());
        }
        let Scratch { rotated, spare, codes, scan, low } = scratch;
        let outputs = self.rotation.outputs();
        self.rotation.apply(simd, values, spare, &mut rotated[..outputs]);
        let square = dot(rotated, rotated);
        let length = square.sqrt();
        let stretch = if length > 0.0 { self.spread / length } else { 0.0 };
        let mut decoded = 0.0;
        for segment in &self.segments {
            let (rotated, codes) = (&rotated[segment.dims.clone()], &mut codes[segment.dims.clone()]);
            segment.code.digitise(rotated, stretch / segment.deviation, codes);
        }
        self.levels(codes, spare);
        for segment in &self.segments {
            let dims = segment.dims.clone();
            decoded += segment.deviation * segment.code.unit() * dot(&rotated[dims.clone()], &spare[dims]);
        }
        let (mut scanned, mut lows) = (scan.as_mut_slice(), low.as_mut_slice());
        for segment in &self.segments {
            let codes = &codes[segment.dims.clone()];
            for plane in 0..segment.scanned {
                pack(codes, segment.code.top() - plane, take(&mut scanned, codes.len() / 8));
            }
            for (bit, length) in segment.code.low_planes(segment.scanned, codes.len()) {
                pack(&codes[..length], bit, take(&mut lows, length / 8));
            }
        }
        let scale = if decoded > 0.0 { square / decoded } else { 0.0 };
        let offset = if self.metric == Metric::L2 { -0.5 * square } else { along };
        Constants { scale, offset }
    }

    /// Puts a row's codes together, one a byte, from its scan bits and low planes.
    #[inline(always)]
    pub(crate) fn codes<S: Simd>(&self, simd: S, mut scan: &[u8], mut low: &[u8], codes: &mut [u8]) {
        codes.fill(0);
        for segment in &self.segments {
            let codes = &mut codes[segment.dims.clone()];
            for plane in 0..segment.scanned {
                let bits;
                (bits, scan) = scan.split_at(codes.len() / 8);
                simd.planes_expand(bits, segment.code.top() - plane, codes);
            }
            for (bit, length) in segment.code.low_planes(segment.scanned, codes.len()) {
                let bits;
                (bits, low) = low.split_at(length / 8);
                segment.code.expand(simd, bits, bit, codes);
            }
        }
    }

    /// The levels of codes, in units of their segments.
    #[inline(always)]
    fn levels(&self, codes: &[u8], levels: &mut [f32]) {
        for (dims, table) in self.segments.iter().flat_map(Segment::runs) {
            let table = table.map(|level| f32::from(level) - 128.0);
            let pairs = levels[dims.clone()].iter_mut().zip(&codes[dims]);
            pairs.for_each(|(level, &code)| *level = table[usize::from(code) % LEVELS]);
        }
    }

    /// The vector that codes and a scale stand for: c + s·w·P⁻¹h with s of [`shrink`]. `codes` are those of
    /// [`Quantizer::codes`].
    #[inline(always)]
    pub(crate) fn decode<S: Simd>(&self, simd: S, codes: &[u8], scale: f32, out: &mut [f32]) {
        let mut rotated = vec![0.0; self.padded()];
        self.levels(codes, &mut rotated);
        for segment in &self.segments {
            let unit = self.shrink * scale * segment.deviation * segment.code.unit();
            rotated[segment.dims.clone()].iter_mut().for_each(|value| *value *= unit);
        }
        let mut spare = vec![0.0; self.padded()];
        let outputs = self.rotation.outputs();
        self.rotation.apply_inverse(simd, &mut rotated[..outputs], &mut spare, out);
        out.iter_mut().zip(self.center()).for_each(|(value, center)| *value += center);
    }

    /// A prepared query, taken to where rows are: A and q'.
    #[inline(always)]
    pub(crate) fn query<S: Simd>(&self, simd: S, values: &mut [f32]) -> (f64, Vec<f32>) {
        let along = exact(values, self.center());
        values.iter_mut().zip(self.center()).for_each(|(value, center)| *value -= center);
        let base = match self.metric {
            Metric::L2 => exact(values, values),
            Metric::Ip => -along,
            Metric::Cosine => 1.0 - along,
        };
        let (mut rotated, mut spare) = (vec![0.0; self.padded()], vec![0.0; self.padded()]);
        let outputs = self.rotation.outputs();
        self.rotation.apply(simd, values, &mut spare, &mut rotated[..outputs]);
        (base, rotated)
    }
}

/// The s that makes E‖s·w·h − r‖² least, the parts of h that lie outside the rotated vectors left out.
///
/// Let codes keep K of the square of what they code: K = 1 − D for even codes, D being the mean squared error of the
/// codebook. As long along r as r is, w·h has ‖r‖²·(1/K − 1) across it: right for unbiased products, too long for the
/// vector itself. Evenly spread across r, (d − 1)/(n − 1) of that is in the d dimensions that were rotated into n.
/// For d = n, s = K, and the error is (1 − K)·‖r‖².
fn shrink(segments: &[Segment], square: f64, dim: usize, outputs: usize) -> f32 {
    let part = |s: &Segment| f64::from(s.deviation).powi(2) * s.dims.len() as f64 * (1.0 - s.code.error());
    let kept = segments.iter().map(part).sum::<f64>() / square;
    let inside = (dim - 1) as f64 / (outputs.max(2) - 1) as f64;
    (1.0 / (1.0 + (1.0 / kept - 1.0).max(0.0) * inside)) as f32
}

/// ⟨a, b⟩ in sixteen sums, in an order that depends only on the length: the same on every level.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0_f32; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for l in 0..LANES {
            sums[l] += a[l] * b[l];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    let mut width = LANES / 2;
    while width > 0 {
        for l in 0..width {
            sums[l] += sums[l + width];
        }
        width /= 2;
    }
    sums[0] + rest
}

/// ⟨a, b⟩ in f64, in eight sums: the same on every level.
#[inline(always)]
fn exact(a: &[f32], b: &[f32]) -> f64 {
    const LANES: usize = 8;
    let mut sums = [0.0_f64; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
            *sum += f64::from(a) * f64::from(b);
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
    sums.iter().sum::<f64>() + rest
}

/// Splits the first `count` bytes off.
#[inline(always)]
fn take<'a>(bytes: &mut &'a mut [u8], count: usize) -> &'a mut [u8] {
    let (first, rest) = std::mem::take(bytes).split_at_mut(count);
    *bytes = rest;
    first
}

/// Bit `shift` of each code, eight to a byte, the first lowest.
#[inline(always)]
fn pack(codes: &[u8], shift: u32, bits: &mut [u8]) {
    for (codes, bits) in codes.as_chunks::<8>().0.iter().zip(bits) {
        let lows = (u64::from_le_bytes(*codes) >> shift) & 0x0101_0101_0101_0101;
        // Each product term that reaches the top byte puts one of the eight bits in its place; none carries.
        *bits = (lows.wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8;
    }
}
