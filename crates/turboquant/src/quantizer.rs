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
//! **Bits.** Codes are offset binary: the top bit is the sign. The top `scanned` bits of a segment's codes go to the
//! scan (plane after plane, segment after segment), the others to the row's low planes.

use std::ops::Range;

use counterpoint_core::file::TensorView;
use counterpoint_core::metric::Metric;
use counterpoint_core::rotate::Structured;
use counterpoint_core::simd::Simd;
use counterpoint_core::simd::planes::LEVELS;
use counterpoint_core::vectors::Matrix;

use crate::codebook::Codebook;

/// Dimensions that are coded alike.
#[derive(Clone)]
pub(crate) struct Segment {
    /// Rotated dimensions, multiples of 32.
    pub(crate) dims: Range<usize>,
    /// σ.
    pub(crate) deviation: f32,
    /// The top bits of a code that the scan reads.
    pub(crate) scanned: u32,
    pub(crate) book: Codebook,
    pub(crate) table: [i8; LEVELS],
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
    pub(crate) fn new(
        dims: Range<usize>,
        deviation: f32,
        bits: u32,
        scanned: u32,
        padded: usize,
    ) -> Option<Self> {
        let book = Codebook::new(bits, padded)?;
        let kept = 1.0 - book.error();
        let (worth, noise) = if scanned == 0 {
            (Vec::new(), kept)
        } else {
            let fit = book.additive(scanned);
            // E⟨x, fit⟩ = 1 − error: scaled up to what all the bits give.
            let ratio = kept / (1.0 - fit.error);
            let worth = fit.weights.iter().map(|w| (w * ratio) as f32).collect();
            (worth, (kept * (ratio - 1.0)).max(0.0))
        };
        let fit = book.binary(bits);
        let ratio = kept / (1.0 - fit.error);
        let scaled = |weight: Option<&f64>| weight.map_or(0.0, |w| (w * ratio) as f32);
        let low = if bits > 1 { scaled(fit.weights.last()) } else { 0.0 };
        let noise_of_fit = (kept * (ratio - 1.0)).max(0.0) as f32;
        let binary = Binary { sign: scaled(fit.weights.first()), low, noise: noise_of_fit };
        let table = book.table();
        Some(Self { dims, deviation, scanned, table, worth, noise: noise as f32, binary, book })
    }
}

/// What was learned, and how codes are laid out.
#[derive(Clone)]
pub(crate) struct Quantizer {
    pub(crate) metric: Metric,
    pub(crate) dim: usize,
    rotation: Structured,
    /// c; empty for none.
    pub(crate) center: Vec<f32>,
    /// c as a file holds it.
    stored: Option<Matrix<f32>>,
    pub(crate) segments: Vec<Segment>,
    /// S.
    spread: f32,
    /// Bits of each low plane.
    pub(crate) spans: Vec<usize>,
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
        let segments = vec![Segment::new(0..padded, 1.0, bits, 1, padded)?];
        Some(Self::over(metric, dim, rotation, center, segments))
    }

    fn over(
        metric: Metric,
        dim: usize,
        rotation: Structured,
        center: Vec<f32>,
        segments: Vec<Segment>,
    ) -> Self {
        let spread =
            segments.iter().map(|s| f64::from(s.deviation).powi(2) * s.dims.len() as f64).sum::<f64>();
        let planes = segments.iter().map(|s| s.book.bits() - s.scanned).max().unwrap_or(0);
        let reach = |plane| {
            let reaching = segments.iter().filter(|s| s.book.bits() - s.scanned > plane);
            reaching.map(|s| s.dims.len()).sum()
        };
        let spans = (0..planes).map(reach).collect();
        let shrink = shrink(&segments, spread, dim, rotation.padded());
        let stored = (!center.is_empty()).then(|| {
            let mut row = Matrix::zeroed(1, dim);
            row.row_mut(0).copy_from_slice(&center);
            row
        });
        Self { stored, metric, dim, rotation, center, segments, spread: spread.sqrt() as f32, spans, shrink }
    }

    pub(crate) fn center_tensor(&self) -> Option<TensorView<'_>> {
        self.stored.as_ref().map(|center| center.tensor("center"))
    }

    /// Rotated dimensions.
    pub(crate) fn padded(&self) -> usize {
        self.rotation.padded()
    }

    /// Bits of a row that the scan reads.
    pub(crate) fn scan_bits(&self) -> usize {
        self.segments.iter().map(|s| s.dims.len() * s.scanned as usize).sum()
    }

    /// Bytes of a row's low planes.
    pub(crate) fn low_bytes(&self) -> usize {
        self.spans.iter().sum::<usize>() / 8
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
        if !self.center.is_empty() {
            values.iter_mut().zip(&self.center).for_each(|(value, center)| *value -= center);
            along = dot(values, &self.center);
        }
        let Scratch { rotated, spare, codes, scan, low } = scratch;
        self.rotation.apply(simd, values, spare, rotated);
        let square = dot(rotated, rotated);
        let length = square.sqrt();
        let stretch = if length > 0.0 { self.spread / length } else { 0.0 };
        let mut decoded = 0.0;
        for segment in &self.segments {
            let (rotated, codes) = (&rotated[segment.dims.clone()], &mut codes[segment.dims.clone()]);
            digitise(rotated, stretch / segment.deviation, segment.book.thresholds(), codes);
            let levels = &mut spare[segment.dims.clone()];
            let table = segment.book.levels();
            levels.iter_mut().zip(codes.iter()).for_each(|(level, &code)| *level = table[usize::from(code)]);
            decoded += segment.deviation * dot(rotated, levels);
        }
        let mut at = 0;
        for segment in &self.segments {
            let codes = &codes[segment.dims.clone()];
            for plane in 0..segment.scanned {
                let bytes = codes.len() / 8;
                pack(codes, segment.book.bits() - 1 - plane, &mut scan[at..at + bytes]);
                at += bytes;
            }
        }
        let mut at = 0;
        for (plane, &span) in self.spans.iter().enumerate() {
            for segment in self.segments.iter().filter(|segment| segment.dims.start < span) {
                let bytes = segment.dims.len() / 8;
                let shift = segment.book.bits() - 1 - segment.scanned - plane as u32;
                pack(&codes[segment.dims.clone()], shift, &mut low[at..at + bytes]);
                at += bytes;
            }
        }
        let scale = if decoded > 0.0 { square / decoded } else { 0.0 };
        let offset = if self.metric == Metric::L2 { -0.5 * square } else { along };
        Constants { scale, offset }
    }

    /// Puts a row's codes together, one a byte, from its scan bits and low planes.
    #[inline(always)]
    pub(crate) fn codes<S: Simd>(&self, simd: S, scan: &[u8], low: &[u8], codes: &mut [u8]) {
        codes.fill(0);
        let mut at = 0;
        for segment in &self.segments {
            let codes = &mut codes[segment.dims.clone()];
            for plane in 0..segment.scanned {
                let bytes = codes.len() / 8;
                simd.planes_expand(&scan[at..at + bytes], segment.book.bits() - 1 - plane, codes);
                at += bytes;
            }
        }
        let mut at = 0;
        for (plane, &span) in self.spans.iter().enumerate() {
            for segment in self.segments.iter().filter(|segment| segment.dims.start < span) {
                let bytes = segment.dims.len() / 8;
                let shift = segment.book.bits() - 1 - segment.scanned - plane as u32;
                simd.planes_expand(&low[at..at + bytes], shift, &mut codes[segment.dims.clone()]);
                at += bytes;
            }
        }
    }

    /// The vector that codes and a scale stand for: c + s·w·P⁻¹h with s of [`shrink`]. `codes` are those of
    /// [`Quantizer::codes`].
    #[inline(always)]
    pub(crate) fn decode<S: Simd>(&self, simd: S, codes: &[u8], scale: f32, out: &mut [f32]) {
        let mut rotated = vec![0.0; self.padded()];
        for segment in &self.segments {
            let levels = segment.book.levels();
            for (value, &code) in rotated[segment.dims.clone()].iter_mut().zip(&codes[segment.dims.clone()]) {
                *value = self.shrink * scale * segment.deviation * levels[usize::from(code)];
            }
        }
        let mut spare = vec![0.0; self.padded()];
        self.rotation.apply_inverse(simd, &mut rotated, &mut spare, out);
        out.iter_mut().zip(&self.center).for_each(|(value, center)| *value += center);
    }

    /// A prepared query, taken to where rows are: A and q'.
    #[inline(always)]
    pub(crate) fn query<S: Simd>(&self, simd: S, values: &mut [f32]) -> (f64, Vec<f32>) {
        let exact =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
        let along = exact(values, &self.center);
        values.iter_mut().zip(&self.center).for_each(|(value, center)| *value -= center);
        let base = match self.metric {
            Metric::L2 => exact(values, values),
            Metric::Ip => -along,
            Metric::Cosine => 1.0 - along,
        };
        let (mut rotated, mut spare) = (vec![0.0; self.padded()], vec![0.0; self.padded()]);
        self.rotation.apply(simd, values, &mut spare, &mut rotated);
        (base, rotated)
    }
}

/// The s that makes E‖s·w·h − r‖² least, the parts of h that lie outside the rotated vectors left out.
///
/// As long along r as r is, w·h has ‖r‖²·D/(1 − D) across it, D being the mean squared error of the codebooks: right for
/// unbiased products, too long for the vector itself. Evenly spread across r, (d − 1)/(n − 1) of that is in the d
/// dimensions that were rotated into n. For d = n, s = 1 − D, and the error is D·‖r‖².
fn shrink(segments: &[Segment], square_spread: f64, dim: usize, padded: usize) -> f32 {
    let part = |s: &Segment| f64::from(s.deviation).powi(2) * s.dims.len() as f64 * s.book.error();
    let error = segments.iter().map(part).sum::<f64>() / square_spread;
    let across = error / (1.0 - error) * (dim - 1) as f64 / (padded - 1) as f64;
    (1.0 / (1.0 + across)) as f32
}

/// ⟨a, b⟩ in sixteen sums, in an order that depends only on the length: the same on every level.
#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
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

/// The number of thresholds below each value × `stretch`.
#[inline(always)]
fn digitise(values: &[f32], stretch: f32, thresholds: &[f32], codes: &mut [u8]) {
    // Segments are multiples of 32.
    for (values, codes) in values.as_chunks::<32>().0.iter().zip(codes.as_chunks_mut::<32>().0) {
        let values = values.map(|value| value * stretch);
        *codes = [0; 32];
        for &threshold in thresholds {
            for (code, &value) in codes.iter_mut().zip(&values) {
                *code += u8::from(value > threshold);
            }
        }
    }
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
