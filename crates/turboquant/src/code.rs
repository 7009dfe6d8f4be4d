//! The code of a segment of dimensions: one number a dimension, or one for four.
//!
//! **Scalar.** b bits a dimension, offset binary, by a Lloyd-Max [`Codebook`].
//!
//! **Quads.** Two bits a dimension: the sign of each, and four bits for the magnitudes of four dimensions together,
//! an entry of a codebook of 16 points fitted to |N(0, 1)|⁴. Signs are planes as those of scalar codes, so the scan
//! is the same; the mean squared error is 0.1017 where the Lloyd-Max codebook of two bits has 0.1175. A quad is
//! dimensions i, i + n, i + 2n, i + 3n of a segment of 4n, so that each quarter has one table of levels.

use counterpoint_core::simd::Simd;
use counterpoint_core::simd::planes::LEVELS;

use crate::codebook::Codebook;

/// How the dimensions of a segment are coded.
#[derive(Clone)]
pub(crate) enum Code {
    Scalar(Codebook),
    Quads,
}

/// Magnitudes of quads, in units of [`QUAD_UNIT`]: where Lloyd's iteration on 4 million points of |N(0, 1)|⁴ stands
/// still.
const QUADS: [[u8; 4]; 16] = [
    [20, 20, 20, 20],
    [25, 25, 25, 67],
    [26, 19, 66, 26],
    [26, 63, 63, 26],
    [26, 66, 19, 26],
    [31, 32, 124, 31],
    [31, 124, 31, 30],
    [32, 32, 32, 127],
    [32, 32, 85, 86],
    [32, 85, 32, 86],
    [44, 101, 100, 44],
    [67, 25, 25, 25],
    [86, 32, 86, 33],
    [86, 33, 33, 86],
    [86, 86, 32, 32],
    [127, 32, 32, 32],
];
const QUAD_UNIT: f32 = 0.018_022_764;
/// Mean squared error of quads, per dimension of a unit Gaussian.
const QUAD_ERROR: f64 = 0.1017;

impl Code {
    /// Mean squared error of the levels, per dimension of variance 1.
    pub(crate) fn error(&self) -> f64 {
        match self {
            Code::Scalar(book) => book.error(),
            Code::Quads => QUAD_ERROR,
        }
    }

    /// One unit of the tables of levels.
    pub(crate) fn unit(&self) -> f32 {
        match self {
            Code::Scalar(book) => book.unit(),
            Code::Quads => QUAD_UNIT,
        }
    }

    /// Tables of levels + 128, for equal runs of a segment's dimensions.
    pub(crate) fn tables(&self) -> Vec<[u8; LEVELS]> {
        match self {
            Code::Scalar(book) => vec![book.table().map(lifted)],
            Code::Quads => {
                let table = |s: usize| {
                    let mut table = [0; LEVELS];
                    for (i, quad) in QUADS.iter().enumerate() {
                        // At most 127.
                        let level = quad[s].cast_signed();
                        (table[i], table[16 + i]) = (-level, level);
                    }
                    table.map(lifted)
                };
                (0..4).map(table).collect()
            }
        }
    }

    /// Codes values × `stretch`, one byte each: what indexes the tables.
    #[inline(always)]
    pub(crate) fn digitise(&self, values: &[f32], stretch: f32, codes: &mut [u8]) {
        match self {
            Code::Scalar(book) => scalars(values, stretch, book.thresholds(), codes),
            Code::Quads => quads(values, stretch, codes),
        }
    }

    /// Which bits of a code go to the planes below the top `scanned`: for each plane the bit, and how many of the
    /// dimensions it is taken from.
    pub(crate) fn low_planes(&self, scanned: u32, dims: usize) -> impl Iterator<Item = (u32, usize)> {
        let (planes, length) = match self {
            Code::Scalar(book) => (book.bits() - scanned, dims),
            Code::Quads => (4, dims / 4),
        };
        (0..planes).rev().map(move |bit| (bit, length))
    }

    /// The bit of a code that is its sign.
    pub(crate) fn top(&self) -> u32 {
        match self {
            Code::Scalar(book) => book.bits() - 1,
            Code::Quads => 4,
        }
    }

    /// Sets bit `bit` of codes (of a whole segment) from a low plane.
    #[inline(always)]
    pub(crate) fn expand<S: Simd>(&self, simd: S, plane: &[u8], bit: u32, codes: &mut [u8]) {
        match self {
            Code::Scalar(_) => simd.planes_expand(plane, bit, codes),
            Code::Quads => {
                let quarter = codes.len() / 4;
                codes
                    .chunks_exact_mut(quarter.max(1))
                    .for_each(|codes| simd.planes_expand(plane, bit, codes));
            }
        }
    }
}

/// A level + 128.
fn lifted(level: i8) -> u8 {
    level.cast_unsigned() ^ 128
}

/// The number of thresholds below each value × `stretch`. They are 2^b − 1 and symmetric about the one in the middle,
/// which is 0: those above it are counted below the magnitude, and the sign says from which side.
#[inline(always)]
fn scalars(values: &[f32], stretch: f32, thresholds: &[f32], codes: &mut [u8]) {
    let middle = thresholds.len() / 2;
    let above = thresholds.get(middle + 1..).unwrap_or_default();
    // Segments are multiples of 32.
    for (values, codes) in values.as_chunks::<32>().0.iter().zip(codes.as_chunks_mut::<32>().0) {
        let values = values.map(|value| value * stretch);
        // As wide as the values: comparisons and counts are lanes of one width.
        let mut counts = [0_u32; 32];
        for &threshold in above {
            for (count, value) in counts.iter_mut().zip(&values) {
                *count += u32::from(value.abs() > threshold);
            }
        }
        for ((code, value), count) in codes.iter_mut().zip(&values).zip(counts) {
            *code = if *value > 0.0 { middle as u8 + 1 + count as u8 } else { middle as u8 - count as u8 };
        }
    }
}

/// [`QUADS`], each with half its squared length.
const WITH_HALVES: [[f32; 5]; 16] = {
    let mut table = [[0.0; 5]; 16];
    let mut i = 0;
    while i < 16 {
        let mut s = 0;
        while s < 4 {
            table[i][s] = QUADS[i][s] as f32;
            table[i][4] += 0.5 * table[i][s] * table[i][s];
            s += 1;
        }
        i += 1;
    }
    table
};

/// The sign of each value, bit 4, and the nearest entry to the magnitudes of its quad, bits 0 to 3.
#[inline(always)]
fn quads(values: &[f32], stretch: f32, codes: &mut [u8]) {
    /// Quads at once; a quarter of a segment is a multiple.
    const LANES: usize = 8;
    /// Quads between two narrowings of entries to bytes.
    const BLOCK: usize = 4 * LANES;
    let quarter = values.len() / 4;
    for i in (0..quarter).step_by(BLOCK) {
        let count = BLOCK.min(quarter - i);
        let mut entries = [0_u32; BLOCK];
        for (j, entries) in entries.as_chunks_mut::<LANES>().0.iter_mut().enumerate().take(count / LANES) {
            let magnitudes = |s: usize| {
                let mut magnitudes = [0.0_f32; LANES];
                let values = &values[s * quarter + i + j * LANES..][..LANES];
                let pairs = magnitudes.iter_mut().zip(values);
                pairs.for_each(|(to, value)| *to = value.abs() * (stretch / QUAD_UNIT));
                magnitudes
            };
            let (w, x, y, z) = (magnitudes(0), magnitudes(1), magnitudes(2), magnitudes(3));
            let (mut least, mut nearest) = ([f32::INFINITY; LANES], [0_u32; LANES]);
            for (entry, &[a, b, c, d, half]) in WITH_HALVES.iter().enumerate() {
                for l in 0..LANES {
                    // Half the squared distance, less what all entries share.
                    let distance = half - a * w[l] - b * x[l] - c * y[l] - d * z[l];
                    let nearer = distance < least[l];
                    nearest[l] = if nearer { entry as u32 } else { nearest[l] };
                    least[l] = if nearer { distance } else { least[l] };
                }
            }
            *entries = nearest;
        }
        let mut narrow = [0_u8; BLOCK];
        narrow.iter_mut().zip(&entries).for_each(|(to, &from)| *to = from as u8);
        for s in 0..4 {
            codes[s * quarter + i..][..count].copy_from_slice(&narrow[..count]);
        }
    }
    // Apart: it vectorises.
    codes.iter_mut().zip(values).for_each(|(code, value)| *code |= u8::from(*value > 0.0) << 4);
}

#[cfg(test)]
mod tests {
    use counterpoint_core::synth::{Shape, sample};

    use super::*;

    /// Quads of unit Gaussian values, coded: magnitudes and entries.
    fn coded(count: usize, seed: u64) -> (Vec<f32>, Vec<u8>) {
        let values = sample(Shape::Gaussian, 4 * count, 0, 1, seed).data;
        let mut codes = vec![0; values.len()];
        quads(&values, 1.0, &mut codes);
        (values, codes)
    }

    #[test]
    fn quads_stand_still_under_lloyd_and_have_their_error() {
        const COUNT: usize = 200_000;
        let (values, codes) = coded(COUNT, 3);
        let (mut sums, mut counts, mut error) = ([[0.0_f64; 4]; 16], [0_usize; 16], 0.0);
        for i in 0..COUNT {
            let entry = usize::from(codes[i] & 15);
            counts[entry] += 1;
            for s in 0..4 {
                let value = values[s * COUNT + i];
                assert_eq!(codes[s * COUNT + i], codes[i] & 15 | u8::from(value > 0.0) << 4);
                sums[entry][s] += f64::from(value.abs());
                error += f64::from(value.abs() - f32::from(QUADS[entry][s]) * QUAD_UNIT).powi(2);
            }
        }
        for ((sums, count), quad) in sums.iter().zip(counts).zip(QUADS) {
            for (sum, magnitude) in sums.iter().zip(quad) {
                let mean = sum / count as f64 / f64::from(QUAD_UNIT);
                assert!((mean - f64::from(magnitude)).abs() < 2.0, "{mean} at {magnitude}");
            }
        }
        let error = error / (4 * COUNT) as f64;
        assert!((error - QUAD_ERROR).abs() < 0.0005, "{error}");
    }

    #[test]
    fn a_quad_is_the_first_of_the_entries_nearest_to_it() {
        // Also values that are midway between entries, and quads that end amid a block.
        for (count, seed) in [(8, 1), (32, 2), (40, 3), (96, 4), (1_000, 5)] {
            let (mut values, _) = coded(count, seed);
            let midway = [0.0_f32, 22.5, 46.5, -76.5, 31.5, 79.5].into_iter().cycle();
            for (value, step) in values.iter_mut().zip(midway).step_by(5) {
                *value = step * QUAD_UNIT;
            }
            let mut codes = vec![0; values.len()];
            quads(&values, 1.0, &mut codes);
            for i in 0..count {
                let quad = [0, 1, 2, 3].map(|s| values[s * count + i].abs() * (1.0 / QUAD_UNIT));
                let mut nearest = (f32::INFINITY, 0);
                for (entry, &[a, b, c, d, half]) in WITH_HALVES.iter().enumerate() {
                    let distance = half - a * quad[0] - b * quad[1] - c * quad[2] - d * quad[3];
                    if distance < nearest.0 {
                        nearest = (distance, entry);
                    }
                }
                for s in 0..4 {
                    let sign = u8::from(values[s * count + i] > 0.0) << 4;
                    assert_eq!(codes[s * count + i], nearest.1 as u8 | sign, "quad {i} of {count}");
                }
            }
        }
    }

    #[test]
    fn tables_give_the_levels_of_a_code() {
        let tables = Code::Quads.tables();
        assert_eq!(tables.len(), 4);
        assert_eq!((tables[3][1], tables[3][17]), (128 - 67, 128 + 67));
    }
}
