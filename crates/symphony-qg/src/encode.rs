//! The codes of edges: of each residual the signs of its rotated values, and two factors. (Or, in the place of the signs,
//! centroids: [`crate::product`].)
//!
//! **Notation.** P is the rotation, c the mean of all rows; x' = P·(x − c). An edge leads from u to v; r = v' − u', and
//! s = sign(r) are its S code bits, read as ±1.
//!
//! **Estimate** (Gao, Long: "RaBitQ", SIGMOD 2024, section 3; Gou, Gao, Xu, Long: "SymphonyQG", SIGMOD 2025, section 3).
//! Over random rotations
//!
//! > ⟨r, y⟩ ≈ g·⟨s, y⟩ with g = ‖r‖²/⟨r, s⟩
//!
//! is without bias for any y that does not depend on P: s·g is r plus something orthogonal to r, of random direction, whose
//! length is about √(π/2 − 1)·‖r‖; the error's deviation is about 0.755·‖r‖·‖y‖/√S, y taken across r. A query q at y = q' − u' gives
//!
//! > ‖q − v‖² = ‖q − u‖² + ‖r‖² − 2⟨r, y⟩ ≈ ‖q − u‖² + *offset* + *scale*·⟨s, q'⟩,
//! > offset = ‖r‖² + 2g·⟨s, u'⟩, scale = −2g:
//!
//! ‖q − u‖² is known exactly when u is expanded, and one table of ⟨s, q'⟩ serves all vertices.
//!
//! **Metrics.** Unit vectors are 1 − cos = ½‖q − v‖² far apart: half of offset and scale are added to 1 − ⟨q, u⟩. Under ip
//! rows get one more value, so that all of them are of equal length M (see [`counterpoint_core::graph::space`]), and queries a zero; then
//! −⟨q, v⟩ is −⟨q, u⟩ and half of the same terms. A row that came later and is longer than M keeps a zero; what is then
//! missing, ½(‖u‖² − ‖v‖²), is in the offset.

use std::sync::Arc;

use counterpoint_core::metric::Metric;
use counterpoint_core::pq::ProductQuantizer;
use counterpoint_core::rotate::Structured;
use counterpoint_core::simd::nibbles::{BLOCK, Residual, RowTerms, write_block};
use counterpoint_core::simd::{Simd, Work, prefetch_far, run};
use counterpoint_core::threads::{Cancelled, Control};
use counterpoint_core::vectors::{Matrix, RowSource};

use crate::product::{self, Parts};
use crate::rows::{Layout, Rows};
use counterpoint_core::graph::space::square;

/// Rows of one item of parallel work.
const PART: usize = 256;

/// What is learned of the space before anything is coded.
#[derive(Clone)]
pub(crate) struct Frame {
    pub(crate) rotation: Structured,
    /// c.
    pub(crate) mean: Matrix<f32>,
    /// What codes of [`crate::EdgeCodes::Pq4`] number.
    pub(crate) codebooks: Option<Arc<ProductQuantizer>>,
}

/// Memory to rotate in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scratch {
    centred: Vec<f32>,
    spare: Vec<f32>,
}

impl Frame {
    /// Writes x' of a vector to `out`.
    #[inline(always)]
    pub(crate) fn apply<S: Simd>(&self, simd: S, vector: &[f32], scratch: &mut Scratch, out: &mut [f32]) {
        scratch.centred.clear();
        scratch.centred.extend(vector.iter().zip(self.mean.row(0)).map(|(value, mean)| value - mean));
        scratch.spare.resize(self.rotation.padded(), 0.0);
        self.rotation.apply(simd, &scratch.centred, &mut scratch.spare, out);
    }

    /// x' of many vectors, in their place where there is room for it.
    fn rotated(&self, mut vectors: Matrix<f32>, control: &Control) -> Result<Matrix<f32>, Cancelled> {
        let bits = self.rotation.padded();
        let stride = Matrix::<f32>::stride_for(bits);
        if stride == vectors.stride() {
            let chunks = vectors.values_mut().chunks_mut(PART * stride);
            self.rotate(None, chunks, stride, control)?;
            return Ok(vectors);
        }
        let mut rotated = Matrix::zeroed(vectors.rows(), bits);
        self.rotate(Some(&vectors), rotated.values_mut().chunks_mut(PART * stride), stride, control)?;
        Ok(rotated)
    }

    /// Writes x' to rows, chunk by chunk, of the vectors or else of what the rows hold.
    fn rotate<'a>(
        &self,
        from: Option<&Matrix<f32>>,
        chunks: impl Iterator<Item = &'a mut [f32]> + Send,
        stride: usize,
        control: &Control,
    ) -> Result<(), Cancelled> {
        control.for_each(chunks.enumerate(), |(part, rows)| {
            run(control.level(), Rotate { frame: self, from, first: part * PART, rows, stride });
            Ok::<_, Cancelled>(())
        })
    }
}

/// Rotates a few vectors.
struct Rotate<'a> {
    frame: &'a Frame,
    from: Option<&'a Matrix<f32>>,
    first: usize,
    rows: &'a mut [f32],
    stride: usize,
}

impl Work for Rotate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { frame, from, first, rows, stride } = self;
        let (mut scratch, bits) = (Scratch::default(), frame.rotation.padded());
        let mut vector = vec![0.0; frame.mean.dim()];
        for (r, row) in rows.chunks_exact_mut(stride).enumerate() {
            match from {
                Some(vectors) => vector.copy_from_slice(vectors.row(first + r)),
                None => vector.copy_from_slice(&row[..frame.mean.dim()]),
            }
            frame.apply(simd, &vector, &mut scratch, &mut row[..bits]);
        }
    }
}

/// What codes are made from: x' of vectors, and under ip ‖x‖².
pub(crate) struct Sources {
    /// Of at least `bits` values.
    rotated: Matrix<f32>,
    bits: usize,
    squares: Option<Vec<f32>>,
    pub(crate) codebooks: Option<Arc<ProductQuantizer>>,
}

/// Room for the codes of 32 edges.
pub(crate) struct Room {
    bits: Vec<u8>,
    parts: Parts,
}

impl Room {
    pub(crate) fn new(layout: Layout) -> Self {
        Self { bits: vec![0; BLOCK * layout.bits / 8], parts: Parts::default() }
    }
}

impl Sources {
    /// Those of prepared vectors.
    pub(crate) fn new(
        frame: &Frame,
        metric: Metric,
        vectors: Matrix<f32>,
        control: &Control,
    ) -> Result<Self, Cancelled> {
        let square = |row| square(vectors.row(row)) as f32;
        let squares = (metric == Metric::Ip).then(|| (0..vectors.rows()).map(square).collect());
        let (rotated, bits) = (frame.rotated(vectors, control)?, frame.rotation.padded());
        Ok(Self { rotated, bits, squares, codebooks: frame.codebooks.clone() })
    }

    /// x' of a vector.
    #[inline(always)]
    pub(crate) fn rotated(&self, place: u32) -> &[f32] {
        &self.rotated.padded(place as usize)[..self.bits]
    }

    /// What an offset wants beside the residual: ‖u‖² − ‖v‖² where those are not the same but for rounding.
    #[inline(always)]
    fn missing(&self, from: u32, to: u32) -> f32 {
        let Some(squares) = &self.squares else { return 0.0 };
        let (from, to) = (squares[from as usize], squares[to as usize]);
        if (from - to).abs() > 1e-5 * from.max(to) { from - to } else { 0.0 }
    }
}

/// Rotated rows: as far apart as the vectors are.
impl RowSource for Sources {
    fn len(&self) -> usize {
        self.rotated.rows()
    }

    fn dim(&self) -> usize {
        self.bits
    }

    fn read(&self, row: usize, out: &mut [f32]) {
        out.copy_from_slice(self.rotated(row as u32));
    }
}

/// Writes codes, factors and neighbours of every row; `neighbours` gives those of a vertex, at most `degree`.
pub(crate) fn encode<'a>(
    rows: &mut Rows,
    sources: &Sources,
    neighbours: impl Fn(u32) -> &'a [u32] + Sync,
    control: &Control,
) -> Result<(), Cancelled> {
    let layout = rows.layout;
    let parts = rows.data.as_mut_bytes().chunks_mut(PART * layout.row_bytes()).enumerate();
    control.for_each(parts, |(part, rows)| {
        let first = (part * PART) as u32;
        run(control.level(), Part { layout, rows, first, sources, neighbours: &neighbours });
        Ok(())
    })
}

struct Part<'p, F> {
    layout: Layout,
    rows: &'p mut [u8],
    first: u32,
    sources: &'p Sources,
    neighbours: &'p F,
}

impl<'a, F: Fn(u32) -> &'a [u32]> Work for Part<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { layout, rows, first, sources, neighbours } = self;
        let mut room = Room::new(layout);
        for (vertex, row) in (first..).zip(rows.chunks_exact_mut(layout.row_bytes())) {
            encode_row(simd, layout, row, vertex, neighbours(vertex), sources, |vertex| vertex, &mut room);
        }
    }
}

/// Writes one row but for its vector. `place` says where among the sources a vertex is; `room` is of this layout.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "the inner loop, shared by builds and additions")]
pub(crate) fn encode_row<S: Simd>(
    simd: S,
    layout: Layout,
    row: &mut [u8],
    vertex: u32,
    neighbours: &[u32],
    sources: &Sources,
    place: impl Fn(u32) -> u32,
    room: &mut Room,
) {
    let Room { bits, parts } = room;
    let own = place(vertex);
    let from = sources.rotated(own);
    let (_, blocks) = layout.parts_mut(row);
    let code = layout.bits / 8;
    for (b, block) in blocks.enumerate() {
        bits.fill(0);
        block.terms.fill(RowTerms::default());
        block.ids.fill(vertex);
        let first = (b * BLOCK).min(neighbours.len());
        let here = &neighbours[first..neighbours.len().min(first + BLOCK)];
        for (i, (&neighbour, bits)) in here.iter().zip(bits.chunks_exact_mut(code)).enumerate() {
            if let Some(&soon) = neighbours.get(first + i + 2) {
                prefetch_far(bytemuck::cast_slice(sources.rotated(place(soon))));
            }
            let other = place(neighbour);
            let to = sources.rotated(other);
            let residual: Residual = match &sources.codebooks {
                None => simd.residual(from, to, bits),
                Some(codebooks) => product::residual(simd, codebooks, from, to, parts, bits),
            };
            // Of equal vectors there is nothing to estimate.
            let g = if residual.absolute > 0.0 { residual.square / residual.absolute } else { 0.0 };
            let offset = residual.square + 2.0 * g * residual.along + sources.missing(own, other);
            block.terms[i] = RowTerms::new(-2.0 * g, offset);
            block.ids[i] = neighbour;
        }
        write_block(block.codes, bits);
    }
}
