//! Edge codes of another kind: for every four values of a rotated residual the nearest of 16 centroids.
//!
//! **Codes.** r̄ = r·√S/‖r‖ is cut into S/4 subspaces and quantised ([`counterpoint_core::pq`]), by codebooks learned from
//! such residuals of the rows themselves; r̂ is what the code stands for. A code has S bits, as the signs have, and is
//! looked up by the same kernel, in tables of ⟨c, q'⟩ for the 16 centroids c of each subspace.
//!
//! **Estimate.** With g = ‖r‖²/⟨r, r̂⟩ the estimate of ⟨r, y⟩ by g·⟨r̂, y⟩ is exact along r, and has no bias where what is
//! left, g·r̂ − r, which is across r, has a random direction: that of signs ([`crate::encode`]) with r̂ in the place of s.
//! A residual that r̂ hardly points along has g = 0: then its offset, ‖r‖², is the whole estimate.

use std::ops::Range;

use counterpoint_core::axes::choose;
use counterpoint_core::file::{Contents, FormatError};
use counterpoint_core::pq::{ProductQuantizer, Training};
use counterpoint_core::select::{Hit, TopK};
use counterpoint_core::simd::int8::Bits;
use counterpoint_core::simd::nibbles::Residual;
use counterpoint_core::simd::{Simd, Work, run};
use counterpoint_core::threads::{Cancelled, Control};
use counterpoint_core::vectors::Matrix;

use crate::encode::{Frame, Scratch};

/// Values of a subspace.
const WIDTH: usize = 4;
/// Vectors whose residuals are learned from, at most, and fewer than fill this many values.
const SOURCES: usize = 1024;
const VALUES: usize = 1 << 24;
/// Vectors among which their neighbours are sought, and how many near ones there are, one in [`RANKS`] of which is taken.
const POOL: usize = 16_384;
const NEAR: usize = 32;
const RANKS: usize = 4;
/// Below this cosine of r and r̂ there is no estimate.
const LEAST: f32 = 0.05;

/// Room for a residual, its code and what that stands for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parts {
    residual: Vec<f32>,
    decoded: Vec<f32>,
    codes: Vec<u8>,
}

/// As [`Simd::residual`], with r̂ in the place of the signs: `absolute` is ⟨r, r̂⟩, `along` ⟨u', r̂⟩.
#[inline(always)]
pub(crate) fn residual<S: Simd>(
    simd: S,
    codebooks: &ProductQuantizer,
    from: &[f32],
    to: &[f32],
    parts: &mut Parts,
    bits: &mut [u8],
) -> Residual {
    let Parts { residual, decoded, codes } = parts;
    residual.clear();
    residual.extend(to.iter().zip(from).map(|(to, from)| to - from));
    let square = simd.dot(residual, residual);
    if square == 0.0 {
        return Residual::default();
    }
    let unit = (residual.len() as f32).sqrt() / square.sqrt();
    residual.iter_mut().for_each(|value| *value *= unit);
    codes.resize(codebooks.subspaces(), 0);
    decoded.resize(residual.len(), 0.0);
    codebooks.encode(simd, residual, codes);
    codebooks.decode(codes, decoded);
    for (bits, [low, high]) in bits.iter_mut().zip(codes.as_chunks::<2>().0) {
        *bits = low | high << 4;
    }
    let product = simd.dot(residual, decoded) / unit;
    if product <= LEAST * square.sqrt() * simd.dot(decoded, decoded).sqrt() {
        return Residual { square, ..Residual::default() };
    }
    Residual { square, absolute: product, along: simd.dot(from, decoded) }
}

/// Learns codebooks from residuals between rows that are near each other.
pub(crate) fn learn(
    frame: &Frame,
    vectors: &Matrix<f32>,
    seed: u64,
    control: &Control,
) -> Result<ProductQuantizer, Cancelled> {
    let bits = frame.rotation.padded();
    let sources = choose(vectors.rows(), (VALUES / (bits * NEAR / RANKS)).clamp(16, SOURCES), seed ^ 2);
    let pool = choose(vectors.rows(), POOL, seed ^ 3);
    let found = control.map(0..sources.len(), |source| {
        let near = Near { frame, vectors, from: sources[source], pool: &pool };
        Ok::<_, Cancelled>(run(control.level(), near))
    })?;
    let mut residuals = Matrix::zeroed(found.iter().map(|values| values.len() / bits).sum(), bits);
    for (row, values) in found.iter().flat_map(|values| values.chunks_exact(bits)).enumerate() {
        residuals.row_mut(row).copy_from_slice(values);
    }
    let training = Training {
        sample: SOURCES * NEAR / RANKS / 16,
        seed: seed ^ 4,
        ..Training::new(bits / WIDTH, Bits::Four)
    };
    training.fit(&residuals, control)
}

/// Takes the codebooks of codes of so many bits out of a file.
pub(crate) fn take(
    contents: &mut Contents,
    name: &str,
    bits: usize,
) -> Result<ProductQuantizer, FormatError> {
    ProductQuantizer::take(contents, name, bits, bits / WIDTH, Bits::Four)
}

/// r̄ of what leads from a row to rows near it.
struct Near<'a> {
    frame: &'a Frame,
    vectors: &'a Matrix<f32>,
    from: usize,
    pool: &'a [usize],
}

impl Work for Near<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Vec<f32> {
        let Self { frame, vectors, from, pool } = self;
        let own = vectors.padded(from);
        let mut nearest = TopK::new(NEAR);
        for &row in pool.iter().filter(|&&row| row != from) {
            let distance = simd.squared_l2(own, vectors.padded(row));
            if distance > 0.0 {
                nearest.push(Hit { distance, row: row as u32 });
            }
        }
        let bits = frame.rotation.padded();
        let (mut scratch, mut values) = (Scratch::default(), Vec::new());
        let mut ends = [vec![0.0; bits], vec![0.0; bits]];
        frame.apply(simd, vectors.row(from), &mut scratch, &mut ends[0]);
        for hit in nearest.into_sorted().into_iter().step_by(RANKS) {
            let [from, to] = &mut ends;
            frame.apply(simd, vectors.row(hit.row as usize), &mut scratch, to);
            let new: Range<usize> = values.len()..values.len() + bits;
            values.extend(to.iter().zip(&*from).map(|(to, from)| to - from));
            let residual = &mut values[new];
            let square = simd.dot(residual, residual);
            let unit = if square > 0.0 { (bits as f32 / square).sqrt() } else { 0.0 };
            residual.iter_mut().for_each(|value| *value *= unit);
        }
        values
    }
}
