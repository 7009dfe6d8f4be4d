//! The projection G, of rows and of queries.
//!
//! Each row of G is whole numbers of 16 bits in steps of its own ([`rounded`]): g = σ·(256·a + b), a and b of 8 bits.
//! Rows are projected in f32. A query, alone in its call, would wait for G to be read, which fills half a second-level
//! cache in f32: it is projected with the codes. With an origin o, the vector that the mean m̄ stands for (o = Gᵀ·m̄),
//! it becomes q − o ≈ step·(256·high + low), two planes of 8 bits, and
//!
//! > t = G·q = G·o + σ·step·(65,536·Σ a·high + 256·(Σ a·low + Σ b·high) + Σ b·low).
//!
//! The last sum is left out: it is of the size of what rounding q left. So t has about 15 bits of the largest
//! difference from the mean, wherever the mean is. Codes are stored as a + 128 and b + 128, which adds 128·Σ high and
//! 128·Σ low to the sums.

use counterpoint_core::buffer::Buffer;
use counterpoint_core::simd::f32::Panel;
use counterpoint_core::simd::fastscan::{QueryTerms, RowTerms};
use counterpoint_core::simd::int8::{self, Bits, Group, Tile};
use counterpoint_core::simd::product::Vectors;
use counterpoint_core::simd::{GROUP, Simd, TILE};
use counterpoint_core::vectors::{MAX_MAGNITUDE, Matrix};

use crate::coding::quantise_finely;

/// Largest magnitude of a code: its higher byte, rounded, is then at most 127.
const LARGEST: f32 = 32_639.0;
/// What makes a byte of it unsigned.
const MIDDLE: f32 = 128.0;
/// Rows no value of which is larger are zeros.
const SMALLEST: f32 = 1e-30;
/// Queries of a tile: each has two planes.
const PAIRS: usize = TILE / 2;

/// The step of a row's codes: the least power of two that the largest value allows. Its products with codes are exact,
/// and the step found from these is the same again.
fn step(row: &[f32]) -> f32 {
    let largest = row.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    if largest <= SMALLEST {
        return 0.0;
    }
    let least = largest / LARGEST;
    let power = f32::from_bits(least.to_bits() & 0xff << 23);
    if power < least { 2.0 * power } else { power }
}

fn code(value: f32, step: f32) -> f32 {
    if step > 0.0 { (value / step).round().clamp(-LARGEST, LARGEST) } else { 0.0 }
}

/// The rows that such codes can stand for, next to these.
pub(crate) fn rounded(rows: &Matrix<f32>) -> Matrix<f32> {
    let mut rounded = rows.clone();
    for row in 0..rows.rows() {
        let step = step(rows.row(row));
        rounded.row_mut(row).iter_mut().for_each(|value| *value = step * code(*value, step));
    }
    rounded
}

/// G for rows: as it is, and as the kernel reads it.
#[derive(Clone)]
pub(crate) struct Projection {
    rows: Matrix<f32>,
    panels: Vec<Panel>,
}

impl Projection {
    pub(crate) fn new(rows: Matrix<f32>) -> Self {
        let groups = (0..rows.rows()).step_by(GROUP).map(|first| first..rows.rows().min(first + GROUP));
        let panels = groups.map(|group| {
            let mut panel = Panel::new(rows.dim());
            panel.pack(group.map(|row| rows.row(row)));
            panel
        });
        let panels = panels.collect();
        Self { rows, panels }
    }

    /// G.
    pub(crate) fn rows(&self) -> &Matrix<f32> {
        &self.rows
    }

    /// d.
    pub(crate) fn dim(&self) -> usize {
        self.rows.dim()
    }

    /// s.
    pub(crate) fn outputs(&self) -> usize {
        self.rows.rows()
    }

    /// Maps `count` vectors, the next `stride` values after the one before, into `out`, where they lie `out_stride` apart.
    #[inline(always)]
    pub(crate) fn apply<S: Simd>(
        &self,
        simd: S,
        values: &[f32],
        stride: usize,
        count: usize,
        out: &mut [f32],
        out_stride: usize,
    ) {
        let mut sums = [[0.0; GROUP]; TILE];
        for (panel, first) in self.panels.iter().zip((0..self.outputs()).step_by(GROUP)) {
            let width = GROUP.min(self.outputs() - first);
            for tile in (0..count).step_by(TILE) {
                let vectors =
                    Vectors::new(&values[tile * stride..], stride, TILE.min(count - tile), self.dim());
                simd.f32_scores(panel, vectors, &[f32::INFINITY; TILE], &mut sums);
                let rows = out[tile * out_stride..].chunks_mut(out_stride).take(vectors.count());
                rows.zip(&sums)
                    .for_each(|(to, from)| to[first..first + width].copy_from_slice(&from[..width]));
            }
        }
    }
}

/// G for queries: its codes.
#[derive(Clone)]
pub(crate) struct QueryProjection {
    /// Groups of a + 128.
    high: Buffer,
    /// Groups of b + 128.
    low: Buffer,
    /// Of each group, σ and G·o/2, which is added once for each of q's planes.
    terms: Vec<([f32; GROUP], [f32; GROUP])>,
    /// o.
    origin: Vec<f32>,
    outputs: usize,
}

/// Memory that projecting queries takes: that of one projection fits any other.
pub(crate) struct Planes {
    /// q − o.
    about: Vec<f32>,
    codes: Vec<i8>,
    tiles: Option<(usize, [Tile; 2])>,
    /// What a's codes give for both planes, and b's for the higher one.
    values: [[f32; GROUP]; TILE],
    more: [[f32; GROUP]; TILE],
}

impl Default for Planes {
    fn default() -> Self {
        Self {
            about: Vec::new(),
            codes: Vec::new(),
            tiles: None,
            values: [[0.0; GROUP]; TILE],
            more: [[0.0; GROUP]; TILE],
        }
    }
}

impl QueryProjection {
    /// Of rows as [`rounded`] gives them; of others, as near as codes come.
    pub(crate) fn new(rows: &Matrix<f32>, mean: &[f32]) -> Self {
        let dim = rows.dim();
        let mut origin = vec![0.0_f32; dim];
        for (row, &mean) in mean.iter().enumerate().take(rows.rows()) {
            origin.iter_mut().zip(rows.row(row)).for_each(|(to, value)| *to += mean * value);
        }
        if !origin.iter().all(|value| value.abs() <= MAX_MAGNITUDE) {
            // Only in a file that no fit has written.
            origin.fill(0.0);
        }
        let bytes = int8::group_bytes(Bits::Eight, dim);
        let groups = rows.rows().div_ceil(GROUP);
        let [mut high, mut low] = [Buffer::zeroed(groups * bytes), Buffer::zeroed(groups * bytes)];
        let mut terms = vec![([0.0; GROUP], [0.0; GROUP]); groups];
        let mut row_codes = [vec![0_u8; dim], vec![0_u8; dim]];
        for row in 0..rows.rows() {
            let step = step(rows.row(row));
            let mut shift = 0.0_f64;
            let [a, b] = &mut row_codes;
            for (((a, b), &value), &origin) in a.iter_mut().zip(b).zip(rows.row(row)).zip(&origin) {
                let code = code(value, step);
                let coarse = (code as i32 + 128) >> 8;
                *a = (coarse + 128) as u8;
                *b = (code as i32 - 256 * coarse + 128) as u8;
                shift += f64::from(step * code) * f64::from(origin);
            }
            for (codes, row_codes) in [&mut high, &mut low].into_iter().zip(&row_codes) {
                let group = &mut codes.as_mut_bytes()[row / GROUP * bytes..][..bytes];
                int8::write_row(Bits::Eight, group, row % GROUP, row_codes);
            }
            let (steps, shifts) = &mut terms[row / GROUP];
            (steps[row % GROUP], shifts[row % GROUP]) = (step, 0.5 * shift as f32);
        }
        Self { high, low, terms, origin, outputs: rows.rows() }
    }

    /// Projects `count` prepared queries, the next `stride` values after the one before, into `out`, where they lie as
    /// far apart as is said there. What a query becomes does not depend on the others.
    #[inline(always)]
    pub(crate) fn apply<S: Simd>(
        &self,
        simd: S,
        (values, stride): (&[f32], usize),
        count: usize,
        (out, out_stride): (&mut [f32], usize),
        memory: &mut Planes,
    ) {
        let dim = self.origin.len();
        let Planes { about, codes, tiles: kept, values: scores, more } = memory;
        about.resize(dim, 0.0);
        codes.resize(TILE * dim, 0);
        let (_, [tile, high_tile]) = match kept.take().filter(|(kept, _)| *kept == dim) {
            Some(tiles) => kept.insert(tiles),
            None => {
                let tile = Tile::new(Bits::Eight, dim, [vec![0; dim].as_slice()]);
                kept.insert((dim, [tile.clone(), tile]))
            }
        };
        let bytes = int8::group_bytes(Bits::Eight, dim);
        for first in (0..count).step_by(PAIRS) {
            let queries = PAIRS.min(count - first);
            let mut terms = QueryTerms { limit: [f32::NEG_INFINITY; TILE], ..QueryTerms::default() };
            for (i, codes) in codes.chunks_exact_mut((2 * dim).max(1)).enumerate().take(queries) {
                let query = &values[(first + i) * stride..][..dim];
                for ((to, value), origin) in about.iter_mut().zip(query).zip(&self.origin) {
                    *to = value - origin;
                }
                let (high, low) = codes.split_at_mut(dim);
                let (step, sums) = quantise_finely(about, high, low);
                for (plane, (step, sum)) in [65_536.0 * step, 256.0 * step].into_iter().zip(sums).enumerate()
                {
                    terms.alpha[2 * i + plane] = step;
                    terms.beta[2 * i + plane] = -MIDDLE * step * sum as f32;
                }
            }
            tile.refill(codes.chunks_exact(dim.max(1)).take(2 * queries));
            // The high planes alone, in the scale of what b's codes give.
            high_tile.refill(codes.chunks_exact((2 * dim).max(1)).take(queries).map(|codes| &codes[..dim]));
            let mut high_terms = QueryTerms { limit: [f32::NEG_INFINITY; TILE], ..QueryTerms::default() };
            for i in 0..queries {
                high_terms.alpha[i] = terms.alpha[2 * i + 1];
                high_terms.beta[i] = terms.beta[2 * i] / 256.0;
            }
            let high = self.high.as_bytes().chunks_exact(bytes.max(1));
            let groups = high.zip(self.low.as_bytes().chunks_exact(bytes.max(1))).zip(&self.terms);
            for (group, ((high, low), (scale, offset))) in groups.enumerate() {
                let width = GROUP.min(self.outputs - group * GROUP);
                let [high, low] = [high, low].map(|codes| Group::new(Bits::Eight, codes));
                simd.int8_scores(high, RowTerms { scale, offset }, tile, &terms, scores);
                let rows = RowTerms { scale, offset: &[0.0; GROUP] };
                simd.int8_scores(low, rows, high_tile, &high_terms, more);
                let out = out[first * out_stride..].chunks_mut(out_stride.max(1)).take(queries);
                for ((to, planes), more) in out.zip(scores.as_chunks::<2>().0).zip(&*more) {
                    let to = to[group * GROUP..][..width].iter_mut();
                    for (((to, high), low), more) in to.zip(&planes[0]).zip(&planes[1]).zip(more) {
                        *to = high + (low + more);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use counterpoint_core::simd::{Level, Work, run};
    use counterpoint_core::synth::{Shape, sample};

    use super::*;

    struct Both<'a>(&'a Projection, &'a QueryProjection, &'a [f32], usize);

    impl Work for Both<'_> {
        type Output = [Vec<f32>; 2];

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> [Vec<f32>; 2] {
            let Self(projection, query_projection, values, count) = self;
            let (dim, outputs) = (projection.dim(), projection.outputs());
            let mut out = [vec![0.0; count * outputs], vec![0.0; count * outputs]];
            projection.apply(simd, values, dim, count, &mut out[0], outputs);
            let mut memory = Planes::default();
            query_projection.apply(simd, (values, dim), count, (&mut out[1], outputs), &mut memory);
            out
        }
    }

    fn matrix(rows: usize, dim: usize, seed: u64) -> Matrix<f32> {
        let mut matrix = Matrix::zeroed(rows, dim);
        let values = sample(Shape::Gaussian, rows, 0, dim, seed).data;
        (0..rows).for_each(|row| matrix.row_mut(row).copy_from_slice(&values[row * dim..(row + 1) * dim]));
        matrix
    }

    #[test]
    fn what_is_rounded_stays() {
        let rows = matrix(70, 33, 1);
        let once = rounded(&rows);
        for row in 0..rows.rows() {
            let step = step(rows.row(row));
            for (value, coded) in rows.row(row).iter().zip(once.row(row)) {
                assert!((value - coded).abs() <= 0.51 * step);
            }
        }
        assert_eq!(once.values(), rounded(&once).values());
    }

    #[test]
    fn queries_are_projected_as_rows_are() {
        for (outputs, dim, away) in [(1, 1, 0.0), (3, 17, 1.0), (70, 70, 1000.0), (128, 200, 0.0)] {
            let projection = Projection::new(rounded(&matrix(outputs, dim, 2)));
            let mean = vec![away; outputs];
            let queries = QueryProjection::new(projection.rows(), &mean);
            let mut values = sample(Shape::Gaussian, 8, 0, dim, 3).data;
            for row in values.chunks_exact_mut(dim) {
                row.iter_mut().zip(&queries.origin).for_each(|(value, origin)| *value += origin);
            }
            for level in Level::available() {
                let [want, got] = run(level, Both(&projection, &queries, &values, 8));
                let size = want.iter().fold(1.0_f32, |most, value| most.max(value.abs()));
                for (want, got) in want.iter().zip(&got) {
                    let error = (want - got).abs();
                    assert!(error <= 3e-4 * (dim as f32).sqrt() + 1e-5 * size, "{want} became {got}");
                }
                // The same whatever the queries beside, and on every level.
                for (query, got) in values.chunks_exact(dim).zip(got.chunks_exact(outputs)) {
                    assert_eq!(run(level, Both(&projection, &queries, query, 1))[1], got);
                    assert_eq!(run(Level::SCALAR, Both(&projection, &queries, query, 1))[1], got);
                }
            }
        }
    }
}
