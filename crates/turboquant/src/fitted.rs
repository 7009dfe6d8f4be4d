//! Bits where the data varies: the same bytes as even codes, spent by principal axes.
//!
//! `fit` finds the principal axes, takes them 32 at a time in falling order of variance, turns each such segment by a
//! random rotation of its own (within it, coordinates vary alike), and gives every segment a number of bits, one
//! after another where a bit gains most. The error of an estimate is Σ q'ⱼ²·σⱼ²·D(bits), D being the codebook's
//! error, and queries vary where the data does, though less: a segment's weight is σ³ (measured: better than σ² and
//! σ⁴). Bits for the scan are handed out likewise, a bit a dimension in all, with weight σ: a segment that is not
//! scanned would lower the similarity of near rows, not only blur it. (SAQ, SIGMOD 2026, spends bits by segments too.)

use counterpoint_core::axes::{Axes, AxesError, MOST_DIMS, principal};
use counterpoint_core::index::AddError;
use counterpoint_core::metric::Metric;
use counterpoint_core::rotate::Dense;
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::{Matrix, RowSource};

use crate::code::Code;
use crate::codebook::Codebook;
use crate::quantizer::Segment;

/// Axes of a segment.
pub(crate) const SEGMENT: usize = 32;
/// Most bits of a dimension.
const MOST_BITS: usize = 6;
/// Rows the axes are found from.
const SAMPLE: usize = 20_000;
/// Coordinates of a segment vary as independent normal values, whatever the dimension.
const MANY: usize = 1 << 20;

/// What a segment holds, for a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Share {
    pub(crate) bits: u32,
    pub(crate) scanned: u32,
    /// σ.
    pub(crate) deviation: f32,
}

/// What was learned from the data.
pub(crate) struct Fit {
    pub(crate) rotation: Dense,
    pub(crate) shares: Vec<Share>,
}

/// Learns from `rows`, differences from `mean` if there is one.
///
/// # Errors
/// [`AddError`].
pub(crate) fn fit(
    rows: &dyn RowSource,
    metric: Metric,
    mean: Option<&[f32]>,
    bits: u32,
    seed: u64,
    control: &Control,
) -> Result<Option<Fit>, AddError> {
    let got = rows.dim();
    if got > MOST_DIMS {
        return Err(AddError::TooManyDims { most: MOST_DIMS, what: "find principal axes", got });
    }
    let axes = principal(rows, metric, mean, SAMPLE, seed, control).map_err(|error| match error {
        AxesError::Input(error) => AddError::from(error),
        _ => AddError::TooManyDims { most: MOST_DIMS, what: "find principal axes", got },
    })?;
    let Some(rotation) = turned(&axes, seed) else { return Ok(None) };
    Ok(Some(Fit { rotation, shares: shares(&axes.variances, bits) }))
}

/// The axes, each segment turned within itself.
fn turned(axes: &Axes, seed: u64) -> Option<Dense> {
    let dim = axes.vectors.dim();
    let mut rows = Matrix::zeroed(dim, dim);
    for first in (0..dim).step_by(SEGMENT) {
        let length = SEGMENT.min(dim - first);
        let turn = Dense::random(length, seed.wrapping_add(first as u64)).ok()?;
        let mut sums = vec![0.0_f64; dim];
        for to in 0..length {
            sums.fill(0.0);
            for (from, &factor) in turn.rows().row(to).iter().enumerate() {
                let axis = axes.vectors.row(first + from);
                sums.iter_mut().zip(axis).for_each(|(sum, &v)| *sum += f64::from(factor) * f64::from(v));
            }
            let out = rows.row_mut(first + to);
            out.iter_mut().zip(&sums).for_each(|(out, &sum)| *out = sum as f32);
        }
    }
    Dense::new(rows).ok()
}

/// The code of so many bits. Quads want their signs scanned.
fn code(bits: u32, scanned: u32) -> Option<Code> {
    if bits == 2 && scanned == 1 { Some(Code::Quads) } else { Codebook::new(bits, MANY).map(Code::Scalar) }
}

/// Most bits of a code that the scan may read: quads are scanned by their signs alone.
pub(crate) fn scannable(bits: u32) -> u32 {
    if bits == 2 { 1 } else { bits.min(3) }
}

/// What each segment gets of `bits` bits a dimension.
fn shares(variances: &[f64], bits: u32) -> Vec<Share> {
    let segments: Vec<f64> =
        variances.chunks(SEGMENT).map(|part| part.iter().sum::<f64>() / part.len() as f64).collect();
    let count = segments.len();
    let total: f64 = segments.iter().sum();
    let weights: Vec<f64> = segments.iter().map(|variance| variance.powf(1.5)).collect();
    let scan_weights: Vec<f64> = segments.iter().map(|variance| variance.sqrt()).collect();
    let most = [MOST_BITS as u32].repeat(count);
    let errors: Vec<f64> =
        (0..=MOST_BITS as u32).map(|b| code(b, 1).map_or(1.0, |code| code.error())).collect();
    let given = spend(&weights, &errors, bits * count as u32, &most);
    let scannable: Vec<u32> = given.iter().map(|&bits| scannable(bits)).collect();
    let finest = Codebook::new(MOST_BITS as u32, MANY);
    let top_bits = |m| finest.as_ref().map_or(1.0, |book| book.additive(m).error);
    let partial = [1.0, top_bits(1), top_bits(2), top_bits(3)];
    let scanned = spend(&scan_weights, &partial, count as u32, &scannable);
    // No segment is narrower than rounding: what varies so little is noise.
    let least = 1e-6 * total.sqrt().max(f64::MIN_POSITIVE);
    let shares = given.into_iter().zip(scanned).zip(segments);
    shares
        .map(|((bits, scanned), variance)| {
            let deviation = if total > 0.0 { variance.sqrt().max(least) as f32 } else { 1.0 };
            Share { bits, scanned, deviation }
        })
        .collect()
}

/// Hands out `budget` bits, one after another, each to the segment whose weighted error falls most.
fn spend(weights: &[f64], errors: &[f64], budget: u32, most: &[u32]) -> Vec<u32> {
    let mut given = vec![0_u32; weights.len()];
    for _ in 0..budget {
        let gain = |s: usize| weights[s] * (errors[given[s] as usize] - errors[given[s] as usize + 1]);
        let open = (0..weights.len()).filter(|&s| given[s] < most[s]);
        // The first of equals.
        let best = open.reduce(|best, s| if gain(s) > gain(best) { s } else { best });
        let Some(best) = best else { break };
        given[best] += 1;
    }
    given
}

/// The segments of shares; `None` where there is no such code.
pub(crate) fn segments(shares: &[Share]) -> Option<Vec<Segment>> {
    let mut segments = Vec::with_capacity(shares.len());
    for (i, share) in shares.iter().enumerate().filter(|(_, share)| share.bits > 0) {
        let dims = i * SEGMENT..(i + 1) * SEGMENT;
        segments.push(Segment::new(
            dims,
            share.deviation,
            code(share.bits, share.scanned)?,
            share.scanned,
            MANY,
        )?);
    }
    Some(segments)
}
