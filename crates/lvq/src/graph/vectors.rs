//! The codes of vertices, row after row, and distances to them.
//!
//! **Layout.** Primary and residual codes are two tables of rows of whole cache lines ([`lines`]); a vertex's four constants
//! (s, b and two terms, f32, in the data's unit whatever that of codes is) lie in a third, 16 bytes each. At 384 dimensions LVQ-4x8 takes 192 + 384 + 16 bytes.
//!
//! **Distance.** With q' ≈ step·(256·h + l) as in [`mod@crate::scan`], T the first term and w = 2 under l2, else 1,
//!
//! ```text
//! D = A + g·T − w·(s·⟨q', c⟩ + b·Σq')
//! l2:      q' = q − μ   A = ‖q'‖²      T = ‖x̂'‖² − ‖x̂' − x'‖²   g = 1
//! cosine:  q' = q − μ   A = ‖q'‖²/2    T as under l2             g = ½
//! ip:      q' = q       A = −⟨q, μ⟩    T = √(M² − ‖x‖²)          g = −(the query's own such value)
//! ```
//!
//! Under cosine that is ½‖q − x‖², which for vectors of unit length is 1 − ⟨q, x⟩: its error is ⟨q − x, x̂ − x⟩, and not
//! ⟨q, x̂ − x⟩. Under ip a caller's query has no value of its own beyond its dimensions, and g = 0; a row that is searched for
//! while the graph is built has ([`counterpoint_core::graph::space`]).
//!
//! **Residual.** With T₂ the second term (that of both codes), r = s/(2ᴮ² − 1) and c₂ the residual's codes,
//!
//! > D₂ = D + g·(T₂ − T) − w·(r·⟨q', c₂⟩ − s/2·Σq'):
//!
//! only the residual is read. Sums are exact integers, and D is put together in f64: the same on every level.

use std::sync::Arc;

use counterpoint_core::buffer::Buffer;
use counterpoint_core::metric::Metric;
use counterpoint_core::select::Hit;
use counterpoint_core::simd::int8::{self, Bits};
use counterpoint_core::simd::{Simd, lines, prefetch, prefetch_far, run};
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::{InputError, Kept, Matrix};

use crate::encode::{Encode, Fine};
use crate::graph::Parameters;
use crate::levels::Levels;
use crate::space::Space;

/// Constants of a vertex: s, b, T, T₂.
pub(crate) const CONSTANTS: usize = 4;
/// Rows of one item of parallel work.
const PART: usize = 256;
/// Hits scored again at once.
const BLOCK: usize = 32;

/// A query, ready.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Prepared for the metric, padded.
    pub(crate) values: Vec<f32>,
    primary: lines::Query,
    residual: lines::Query,
    step: f64,
    /// A.
    base: f64,
    /// g.
    gain: f64,
    /// w.
    weight: f64,
    /// Σq'.
    sum: f64,
    centred: Vec<f32>,
    pub(crate) hits: Vec<Hit>,
    pub(crate) scratch: Vec<f32>,
}

/// Σ of what pairs of values give, in eight sums: an order that depends only on the length, and that vectorises.
#[inline(always)]
fn total(a: &[f32], b: &[f32], term: impl Fn(f64, f64) -> f64) -> f64 {
    let mut sums = [0.0_f64; 8];
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
            *sum += term(f64::from(a), f64::from(b));
        }
    }
    sums.iter().sum()
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f64 {
    total(a, b, |a, b| a * b)
}

impl Query {
    /// Makes a prepared vector of the graph's space, or of the caller's, the query.
    #[inline(always)]
    pub(crate) fn prepare(&mut self, metric: Metric, levels: Levels, mean: &[f32], vector: &[f32]) {
        let (values, beyond) = vector.split_at(mean.len());
        self.centred.clear();
        (self.base, self.gain, self.weight) = match metric {
            Metric::Ip => {
                self.centred.extend_from_slice(values);
                (-dot(values, mean), -beyond.first().map_or(0.0, |&value| f64::from(value)), 1.0)
            }
            Metric::L2 | Metric::Cosine => {
                self.centred.extend(values.iter().zip(mean).map(|(value, mean)| value - mean));
                let square = dot(&self.centred, &self.centred);
                if metric == Metric::L2 { (square, 1.0, 2.0) } else { (0.5 * square, 0.5, 1.0) }
            }
        };
        self.sum = total(&self.centred, &self.centred, |value, _| value);
        let planes = int8::Query::new(&self.centred);
        self.step = f64::from(planes.step);
        self.primary.refill(levels.primary(), &planes);
        if let Some(bits) = levels.residual() {
            self.residual.refill(bits, &planes);
        }
    }

    /// ⟨q', codes⟩.
    #[inline(always)]
    fn product(&self, [high, low]: [i32; 2]) -> f64 {
        self.step * (256 * i64::from(high) + i64::from(low)) as f64
    }
}

/// The vectors of a graph's vertices.
#[derive(Clone)]
pub struct Vectors {
    pub(crate) metric: Metric,
    pub(crate) levels: Levels,
    /// μ, and the unit of codes.
    pub(crate) space: Arc<Space>,
    pub(crate) len: usize,
    pub(crate) primary: Buffer,
    /// Empty where there is no residual.
    pub(crate) residual: Buffer,
    pub(crate) constants: Buffer,
    pub(crate) kept: Kept,
}

impl Vectors {
    /// No vectors.
    pub(crate) fn empty(metric: Metric, parameters: &Parameters, space: Arc<Space>) -> Self {
        let kept = Kept::zeroed(parameters.keep, 0, space.dim());
        let (primary, residual, constants) = (Buffer::new(), Buffer::new(), Buffer::new());
        Self { metric, levels: parameters.levels, space, len: 0, primary, residual, constants, kept }
    }

    /// The same, without vectors.
    pub(crate) fn none(&self) -> Self {
        let kept = Kept::zeroed(self.kept.keep(), 0, self.dim());
        let (primary, residual, constants) = (Buffer::new(), Buffer::new(), Buffer::new());
        Self { space: Arc::clone(&self.space), len: 0, primary, residual, constants, kept, ..*self }
    }

    /// The same without residual codes.
    pub(crate) fn without_residual(&self) -> Self {
        let mut constants = self.constants.clone();
        for [.., term, full] in constants.as_mut_slice::<f32>().as_chunks_mut::<CONSTANTS>().0 {
            *full = *term;
        }
        let (primary, kept) = (self.primary.clone(), self.kept.clone());
        let (levels, space) = (self.levels.without_residual(), Arc::clone(&self.space));
        Self { levels, space, primary, residual: Buffer::new(), constants, kept, ..*self }
    }

    /// Takes the value beyond the dimensions that each row has in the graph's space under ip.
    pub(crate) fn lengthen(&mut self, rows: &Matrix<f32>) {
        let dim = self.dim();
        let constants = self.constants.as_mut_slice::<f32>().as_chunks_mut::<CONSTANTS>().0;
        for (row, constants) in constants.iter_mut().enumerate().take(rows.rows()) {
            let beyond = rows.row(row).get(dim).copied().unwrap_or(0.0);
            (constants[2], constants[3]) = (beyond, beyond);
        }
    }

    /// Values of a vector.
    pub(crate) fn dim(&self) -> usize {
        self.space.dim()
    }

    /// Bytes of a row of primary codes.
    pub(crate) fn primary_bytes(&self) -> usize {
        lines::row_bytes(self.levels.primary(), self.dim())
    }

    /// Bytes of a row of residual codes.
    pub(crate) fn residual_bytes(&self) -> usize {
        self.levels.residual().map_or(0, |bits| lines::row_bytes(bits, self.dim()))
    }

    fn resize(&mut self, len: usize) {
        self.primary.resize(len * self.primary_bytes());
        self.residual.resize(len * self.residual_bytes());
        self.constants.resize(len * CONSTANTS * size_of::<f32>());
        self.len = len;
    }

    pub(crate) fn shrink_to_fit(&mut self) {
        for buffer in [&mut self.primary, &mut self.residual, &mut self.constants] {
            buffer.shrink_to_fit();
        }
        self.kept.shrink_to_fit();
    }

    #[inline(always)]
    pub(crate) fn primary_rows(&self) -> lines::Rows<'_> {
        lines::Rows::new(self.levels.primary(), self.dim(), self.primary.as_bytes())
    }

    #[inline(always)]
    pub(crate) fn constants_of(&self, vertex: u32) -> &[f32; CONSTANTS] {
        &self.constants.as_slice::<f32>().as_chunks().0[vertex as usize]
    }

    /// Codes prepared vectors of the graph's space.
    pub(crate) fn encoded(
        metric: Metric,
        parameters: &Parameters,
        space: Arc<Space>,
        rows: &Matrix<f32>,
        control: &Control,
    ) -> Result<Self, InputError> {
        let mut coded = Self::empty(metric, parameters, space);
        coded.resize(rows.rows());
        let (levels, dim, space) = (coded.levels, coded.dim(), Arc::clone(&coded.space));
        let (primary_bytes, residual_bytes) = (coded.primary_bytes(), coded.residual_bytes());
        let (mut kept, unit) = (Kept::zeroed(parameters.keep, rows.rows(), dim), space.unit());
        let primary = coded.primary.as_mut_bytes().chunks_mut(PART * primary_bytes);
        let mut residual = coded.residual.as_mut_bytes().chunks_mut((PART * residual_bytes).max(1));
        let residual = std::iter::from_fn(move || Some(residual.next().unwrap_or_default()));
        let constants = coded.constants.as_mut_slice::<f32>().chunks_mut(PART * CONSTANTS);
        let parts = primary.zip(residual).zip(constants).zip(kept.chunks_mut(PART)).enumerate();
        let parts = parts.take(rows.rows().div_ceil(PART));
        control.for_each(parts, |(part, (((primary, residual), constants), mut kept))| {
            let (mut centred, mut codes, mut fine) = (vec![0.0; dim], vec![0; dim], vec![0; dim]);
            let mut residual = residual.chunks_exact_mut(residual_bytes.max(1));
            let primary = primary.chunks_exact_mut(primary_bytes);
            let constants = constants.as_chunks_mut::<CONSTANTS>().0;
            for (r, (primary, to)) in primary.zip(constants).enumerate() {
                let row = part * PART + r;
                let (values, beyond) = rows.row(row).split_at(dim);
                centred.copy_from_slice(values);
                space.enter(&mut centred);
                let encode =
                    Encode { centred: &centred, levels, codes: &mut codes, residual: &mut fine, row };
                let made = run(control.level(), encode)?;
                lines::write_row(levels.primary(), &codes, primary);
                if let (Some(bits), Some(residual)) = (levels.residual(), residual.next()) {
                    lines::write_row(bits, &fine, residual);
                }
                let square = |square: f32| (f64::from(square) * unit * unit) as f32;
                let terms = match (metric, levels.residual()) {
                    (Metric::Ip, _) => [beyond.first().copied().unwrap_or(0.0); 2],
                    (Metric::L2 | Metric::Cosine, None) => [square(made.square); 2],
                    (Metric::L2 | Metric::Cosine, Some(_)) => [square(made.square), square(made.full_square)],
                };
                let [scale, bias] = [made.scale, made.bias].map(|value| (value.to_f64() * unit) as f32);
                *to = [scale, bias, terms[0], terms[1]];
                kept.write(r, values, row)?;
            }
            Ok::<_, InputError>(())
        })?;
        coded.kept = kept;
        Ok(coded)
    }

    /// Copies vertices of another such table to the end, in the order of `from`.
    pub(crate) fn extend(&mut self, other: &Self, from: impl ExactSizeIterator<Item = u32>) {
        let first = self.len;
        self.kept.grow(from.len());
        self.resize(first + from.len());
        let (primary_bytes, residual_bytes) = (self.primary_bytes(), self.residual_bytes());
        for (to, from) in (first..).zip(from) {
            let from = from as usize;
            let copy = |to_buffer: &mut Buffer, from_buffer: &Buffer, bytes: usize| {
                let source = &from_buffer.as_bytes()[from * bytes..][..bytes];
                to_buffer.as_mut_bytes()[to * bytes..][..bytes].copy_from_slice(source);
            };
            copy(&mut self.primary, &other.primary, primary_bytes);
            copy(&mut self.residual, &other.residual, residual_bytes);
            copy(&mut self.constants, &other.constants, CONSTANTS * size_of::<f32>());
            self.kept.copy_row(to, &other.kept, from);
        }
    }

    /// Writes the vector of a vertex as well as it is known to `out`: as kept, else decoded.
    #[inline(always)]
    pub(crate) fn read(&self, vertex: u32, out: &mut [f32]) {
        if self.kept.read(vertex as usize, out) {
            return;
        }
        let mut codes = vec![0; out.len()];
        let [scale, bias, ..] = *self.constants_of(vertex);
        lines::read_row(self.levels.primary(), self.primary_rows().row(vertex), &mut codes);
        let mean = self.space.mean();
        match self.levels.residual() {
            None => {
                for ((out, &code), &mean) in out.iter_mut().zip(&codes).zip(mean) {
                    *out = (scale * f32::from(code) + bias) + mean;
                }
            }
            Some(bits) => {
                let mut residual = vec![0; out.len()];
                let rows = lines::Rows::new(bits, self.dim(), self.residual.as_bytes());
                lines::read_row(bits, rows.row(vertex), &mut residual);
                let fine = Fine::new(scale, bias, bits);
                for (((out, &code), &residual), &mean) in out.iter_mut().zip(&codes).zip(&residual).zip(mean)
                {
                    *out = fine.value(code, residual) + mean;
                }
            }
        }
    }

    /// Writes it in the graph's space: under ip with one value more.
    #[inline(always)]
    pub(crate) fn read_in_space(&self, vertex: u32, out: &mut [f32]) {
        let (values, beyond) = out.split_at_mut(self.dim());
        self.read(vertex, values);
        beyond.fill(0.0);
        if self.metric == Metric::Ip
            && let Some(value) = beyond.first_mut()
        {
            *value = self.constants_of(vertex)[2];
        }
    }

    /// Asks for what [`Vectors::distances`] reads of a vertex.
    #[inline(always)]
    pub(crate) fn prefetch(&self, vertex: u32) {
        prefetch_far(self.primary_rows().row(vertex));
        prefetch(&bytemuck::bytes_of(self.constants_of(vertex))[..1]);
    }

    /// Writes the distances of a few vertices, at most [`BLOCK`], by their primary codes.
    #[inline(always)]
    pub(crate) fn distances<S: Simd>(&self, simd: S, query: &Query, vertices: &[u32], out: &mut [f32]) {
        let mut sums = [[0; 2]; BLOCK];
        let sums = &mut sums[..vertices.len()];
        simd.lines_dots(self.primary_rows(), vertices, &query.primary, sums);
        for ((&vertex, &sums), out) in vertices.iter().zip(&*sums).zip(out) {
            let [scale, bias, term, _] = self.constants_of(vertex).map(f64::from);
            let product = scale * query.product(sums) + bias * query.sum;
            *out = (query.base + query.gain * term - query.weight * product) as f32;
        }
    }

    /// Takes the residual into the distances of hits, which are vertices at the distances of [`Vectors::distances`].
    #[inline(always)]
    pub(crate) fn refine<S: Simd>(&self, simd: S, query: &Query, bits: Bits, hits: &mut [Hit]) {
        let rows = lines::Rows::new(bits, self.dim(), self.residual.as_bytes());
        hits.iter().take(BLOCK).for_each(|hit| prefetch_far(rows.row(hit.row)));
        let (mut ids, mut sums) = ([0; BLOCK], [[0; 2]; BLOCK]);
        let largest = f64::from(bits.max_code());
        let mut left = hits;
        while !left.is_empty() {
            let (hits, after) = left.split_at_mut(left.len().min(BLOCK));
            after.iter().take(BLOCK).for_each(|hit| prefetch_far(rows.row(hit.row)));
            let (ids, sums) = (&mut ids[..hits.len()], &mut sums[..hits.len()]);
            ids.iter_mut().zip(&*hits).for_each(|(id, hit)| *id = hit.row);
            simd.lines_dots(rows, ids, &query.residual, sums);
            for (hit, &sums) in hits.iter_mut().zip(&*sums) {
                let [scale, _, term, full] = self.constants_of(hit.row).map(f64::from);
                let product = scale / largest * query.product(sums) - 0.5 * scale * query.sum;
                let more = query.gain * (full - term) - query.weight * product;
                hit.distance = (f64::from(hit.distance) + more) as f32;
            }
            left = after;
        }
    }
}
