//! Codebooks, and what encoding needs of them.
//!
//! All codewords are numbered in one row, stage after stage: codeword w of stage m is `offset(m) + code`. With
//! s(w) = ⟨x, c_w⟩ − ½‖c_w‖² and G(v, w) = ⟨c_v, c_w⟩, the error of a sum of codewords w₁ … w_M is
//!
//! > ‖x − Σ c‖² = ‖x‖² − 2·(Σ_m s(w_m) − Σ_{l<m} G(w_l, w_m)),
//!
//! so that one product of x with all codewords, and look-ups of G, rank every sum by its true residual norm.

use counterpoint_core::simd::f32::Panel;
use counterpoint_core::simd::product::Vectors;
use counterpoint_core::simd::{GROUP, Simd, TILE, Work, run};
use counterpoint_core::threads::{Cancelled, Control};
use counterpoint_core::vectors::Matrix;

/// Vectors that meet a codebook together.
pub(crate) const BATCH: usize = GROUP;

/// The codewords of every stage, one a row.
#[derive(Clone)]
pub struct Codebooks {
    words: Matrix<f32>,
    /// Where each stage begins, and where the last one ends.
    offsets: Vec<usize>,
}

impl Codebooks {
    /// No stages, for vectors of `dim` values.
    pub(crate) fn new(dim: usize) -> Self {
        Self { words: Matrix::zeroed(0, dim), offsets: vec![0] }
    }

    /// Stages of `sizes` codewords, one after another in `words`.
    pub(crate) fn of(words: Matrix<f32>, sizes: &[usize]) -> Self {
        let mut offsets = vec![0];
        offsets.extend(sizes.iter().scan(0, |end, size| {
            *end += size;
            Some(*end)
        }));
        Self { words, offsets }
    }

    /// Adds a stage.
    pub(crate) fn push(&mut self, stage: &Matrix<f32>) {
        let first = self.words.rows();
        self.words.grow(stage.rows());
        for row in 0..stage.rows() {
            self.words.copy_row(first + row, stage, row);
        }
        self.offsets.push(self.words.rows());
    }

    /// Number of stages.
    pub fn stages(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Number of codewords of a stage.
    pub fn size(&self, stage: usize) -> usize {
        self.offsets[stage + 1] - self.offsets[stage]
    }

    /// The number of the first codeword of a stage.
    #[inline(always)]
    pub(crate) fn offset(&self, stage: usize) -> usize {
        self.offsets[stage]
    }

    /// All codewords, one a row.
    pub fn words(&self) -> &Matrix<f32> {
        &self.words
    }

    pub(crate) fn words_mut(&mut self) -> &mut Matrix<f32> {
        &mut self.words
    }

    /// Values of a codeword.
    pub fn dim(&self) -> usize {
        self.words.dim()
    }

    /// Adds the codewords of `codes`, one a stage, to `out`.
    #[inline(always)]
    pub(crate) fn add(&self, codes: &[u8], out: &mut [f32]) {
        codes.iter().enumerate().for_each(|(stage, &code)| self.add_stage(stage, code, out));
    }

    /// Adds a codeword of one stage to `out`.
    #[inline(always)]
    pub(crate) fn add_stage(&self, stage: usize, code: u8, out: &mut [f32]) {
        let word = self.words.row(self.offsets[stage] + usize::from(code));
        out.iter_mut().zip(word).for_each(|(out, value)| *out += value);
    }
}

/// Rows in panels, to multiply vectors with.
#[derive(Clone, Default)]
pub(crate) struct Panels {
    panels: Vec<Panel>,
    rows: usize,
}

impl Panels {
    /// `squares` takes ½‖row‖² off every product.
    pub(crate) fn new(rows: &Matrix<f32>, squares: bool) -> Self {
        let panels = (0..rows.rows()).step_by(GROUP).map(|first| {
            let mut panel = Panel::new(rows.dim());
            let range = first..rows.rows().min(first + GROUP);
            if squares {
                for (term, row) in panel.terms.iter_mut().zip(range.clone()) {
                    let square: f64 = rows.row(row).iter().map(|&v| f64::from(v) * f64::from(v)).sum();
                    *term = (0.5 * square) as f32;
                }
            }
            panel.pack(range.map(|row| rows.row(row)));
            panel
        });
        Self { panels: panels.collect(), rows: rows.rows() }
    }

    /// Values that [`Panels::multiply`] gives for a vector.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Products of `count` vectors, `stride` values apart, with all rows: those of vector i from `out[i * pitch]` on.
    #[inline(always)]
    pub(crate) fn multiply<S: Simd>(
        &self,
        simd: S,
        (values, stride, dim): (&[f32], usize, usize),
        count: usize,
        out: &mut [f32],
        pitch: usize,
    ) {
        let mut sums = [[0.0; GROUP]; TILE];
        for (p, panel) in self.panels.iter().enumerate() {
            let width = GROUP.min(self.rows - p * GROUP);
            for first in (0..count).step_by(TILE) {
                let tile = TILE.min(count - first);
                let vectors = Vectors::new(&values[first * stride..], stride, tile, dim);
                simd.f32_scores(panel, vectors, &[f32::INFINITY; TILE], &mut sums);
                for (i, sums) in sums.iter().enumerate().take(tile) {
                    let to = (first + i) * pitch + p * GROUP;
                    out[to..to + width].copy_from_slice(&sums[..width]);
                }
            }
        }
    }
}

/// Codebooks made ready to encode.
pub(crate) struct Ready<'a> {
    pub(crate) codebooks: &'a Codebooks,
    pub(crate) panels: Panels,
    /// For each codeword of stage m, G with all codewords of the stages after m.
    cross: Vec<f32>,
    /// Where the first codeword of each stage begins in `cross`.
    starts: Vec<usize>,
}

struct Cross<'a> {
    codebooks: &'a Codebooks,
    panels: &'a Panels,
    words: std::ops::Range<usize>,
    /// The first codeword multiplied with.
    after: usize,
    out: &'a mut [f32],
}

impl Work for Cross<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { codebooks, panels, words, after, out } = self;
        let (matrix, total) = (&codebooks.words, panels.rows());
        let mut products = vec![0.0; words.len() * total];
        let values = (&matrix.values()[words.start * matrix.stride()..], matrix.stride(), matrix.dim());
        panels.multiply(simd, values, words.len(), &mut products, total);
        for (out, row) in out.chunks_exact_mut((total - after).max(1)).zip(products.chunks_exact(total)) {
            out.copy_from_slice(&row[after..]);
        }
    }
}

impl<'a> Ready<'a> {
    pub(crate) fn new(codebooks: &'a Codebooks, control: &Control) -> Result<Self, Cancelled> {
        let panels = Panels::new(&codebooks.words, true);
        let plain = Panels::new(&codebooks.words, false);
        let total = codebooks.words.rows();
        let (mut starts, mut end) = (Vec::new(), 0);
        for stage in 0..codebooks.stages() {
            starts.push(end);
            end += codebooks.size(stage) * (total - codebooks.offset(stage + 1));
        }
        let mut cross = vec![0.0; end];
        let mut parts = Vec::new();
        let mut rest = &mut cross[..];
        for stage in 0..codebooks.stages() {
            let after = codebooks.offset(stage + 1);
            let (first, size) = (codebooks.offset(stage), codebooks.size(stage));
            for from in (0..size).step_by(BATCH) {
                let words = first + from..first + size.min(from + BATCH);
                let (out, left) = rest.split_at_mut(words.len() * (total - after));
                rest = left;
                parts.push((words, after, out));
            }
        }
        control.for_each(parts, |(words, after, out)| {
            run(control.level(), Cross { codebooks, panels: &plain, words, after, out });
            Ok::<_, Cancelled>(())
        })?;
        Ok(Self { codebooks, panels, cross, starts })
    }

    /// G of a codeword with all codewords of the stages after its own.
    #[inline(always)]
    pub(crate) fn cross(&self, stage: usize, code: u8) -> &[f32] {
        let width = self.panels.rows() - self.codebooks.offset(stage + 1);
        &self.cross[self.starts[stage] + usize::from(code) * width..][..width]
    }
}
