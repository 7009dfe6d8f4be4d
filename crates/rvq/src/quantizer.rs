//! What was learned: space, codebooks, levels. A small part that can be had apart from the rows.

use counterpoint_core::buffer::Buffer;
use counterpoint_core::file::{Contents, Dtype, FormatError, TensorView};
use counterpoint_core::index::AddError;
use counterpoint_core::metric::Metric;
use counterpoint_core::simd::{Simd, Work, run};
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::{Matrix, RowSource};
use serde_json::{Map, Value, json};

use crate::beam::{Encode, Scratch};
use crate::codebooks::{Codebooks, Ready};
use crate::norms::{LEVELS, SHARE, levels, nearest};
use crate::parameters::Parameters;
use crate::repair::dead;
use crate::space::{Along, Batch, Project, Space};
use crate::train::{SAMPLE, columns, encode, train, units};

/// Rows of the sample on which levels and errors are measured.
const MEASURED: usize = 16_384;

/// What encodes and decodes.
#[derive(Clone)]
pub struct Quantizer {
    pub(crate) space: Space,
    pub(crate) codebooks: Codebooks,
    /// Of C, rising: [`LEVELS`] of them, or none where the metric has no use for them (ip).
    pub(crate) levels: Vec<f32>,
    /// Σ‖x − x̂‖² of the sample with the first 0, 1, 2, … stages, as parts of its variance.
    distortion: Vec<f64>,
    /// Dead codewords of each stage, as parts of its codewords.
    dead: Vec<f64>,
}

impl Quantizer {
    /// Learns from at most [`SAMPLE`] rows.
    pub(crate) fn learn(
        rows: &dyn RowSource,
        metric: Metric,
        parameters: &Parameters,
        control: &Control,
    ) -> Result<Self, AddError> {
        let count = rows.len().min(SAMPLE);
        // The mean; the sample and its codes in the end; training.
        control.expect(rows.len() + 2 * count + units(count, parameters.stages));
        let bits = parameters.stages * parameters.bits.width();
        let space = Space::learn(rows, metric, bits, parameters.seed, control)?;
        let chosen = counterpoint_core::axes::choose(rows.len(), SAMPLE, parameters.seed ^ 1);
        let Along { values, left } = space.read(rows, &chosen, metric, control)?;
        let codebooks = train(&values, parameters, control)?;
        // A part of the sample tells of the rest.
        let (values, left) = spread(&values, &left, MEASURED);
        let codes = encode(&codebooks, &values, parameters.beam, control)?;
        control.advance(count);
        let stages = codebooks.stages();
        let mut quantizer =
            Self { space, codebooks, levels: Vec::new(), distortion: Vec::new(), dead: Vec::new() };
        for (stage, column) in columns(&codes, stages).iter().enumerate() {
            let mut counts = vec![0; quantizer.codebooks.size(stage)];
            column.iter().for_each(|&code| counts[usize::from(code)] += 1);
            quantizer.dead.push(dead(&counts).count() as f64 / counts.len() as f64);
        }
        let mut terms = Vec::with_capacity(count);
        let mut errors = vec![0.0_f64; stages + 1];
        let mut decoded = vec![0.0; values.dim()];
        for row in 0..values.rows() {
            let (along, left) = (values.row(row), left[row]);
            decoded.fill(0.0);
            for (stage, sum) in errors.iter_mut().enumerate() {
                if stage > 0 {
                    quantizer.codebooks.add_stage(stage - 1, codes[row * stages + stage - 1], &mut decoded);
                }
                *sum += f64::from(error(along, &decoded) + left);
            }
            terms.push(term(along, &decoded, left));
        }
        let whole = errors[0];
        if whole > 0.0 {
            quantizer.distortion = errors.iter().map(|sum| sum / whole).collect();
        }
        if metric != Metric::Ip {
            // Without rows there is one level, which no row has.
            terms.resize(terms.len().max(1), 0.0);
            quantizer.levels = levels(terms);
        }
        Ok(quantizer)
    }

    /// Number of stages: those wanted, or as many as the data could use.
    pub fn stages(&self) -> usize {
        self.codebooks.stages()
    }

    /// The codewords.
    pub fn codebooks(&self) -> &Codebooks {
        &self.codebooks
    }

    /// μ, about which vectors are coded.
    pub fn mean(&self) -> &[f32] {
        self.space.mean.row(0)
    }

    /// Values of a vector.
    pub(crate) fn dim(&self) -> usize {
        self.space.dim()
    }

    /// Codes and level of the rows of a batch, in order: codes one byte a stage.
    pub(crate) fn encode(
        &self,
        ready: &Ready<'_>,
        beam: usize,
        batch: &mut Batch<'_>,
        scratch: &mut Scratch,
        control: &Control,
        mut each: impl FnMut(usize, &[u8], u8),
    ) {
        run(control.level(), Project { batch });
        let stages = self.stages();
        let mut codes = vec![0; batch.count * stages];
        let along = &batch.along;
        let values = (along.values(), along.stride(), along.dim());
        run(control.level(), Encode { ready, beam, values, codes: &mut codes, scratch });
        let mut decoded = vec![0.0; along.dim()];
        for row in 0..batch.count {
            let codes = &codes[row * stages..(row + 1) * stages];
            let mut level = 0;
            if !self.levels.is_empty() {
                decoded.fill(0.0);
                self.codebooks.add(codes, &mut decoded);
                let term = run(control.level(), Term(along.row(row), &decoded, batch.left[row]));
                level = nearest(&self.levels, term);
            }
            each(row, codes, level);
        }
    }

    /// The vector of some codes.
    pub(crate) fn decode(&self, codes: &[u8], out: &mut [f32]) {
        let mut along = vec![0.0; self.space.width()];
        self.codebooks.add(codes, &mut along);
        self.space.back(&along, out);
    }

    /// What a file holds beside tensors.
    pub(crate) fn write_params(&self, params: &mut Map<String, Value>) {
        let sizes: Vec<usize> = (0..self.stages()).map(|stage| self.codebooks.size(stage)).collect();
        params.insert("codewords".into(), json!(sizes));
        params.insert("axes".into(), json!(self.space.width()));
        params.insert("distortion".into(), json!(self.distortion));
        params.insert("dead_codes".into(), json!(self.dead));
    }

    /// What a file holds as tensors.
    pub(crate) fn tensors(&self) -> Vec<TensorView<'_>> {
        let mut tensors = vec![
            self.space.mean.tensor("mean"),
            self.space.axes.tensor("axes"),
            self.codebooks.words().tensor("codewords"),
        ];
        if !self.levels.is_empty() {
            tensors.push(TensorView {
                name: "levels",
                dtype: Dtype::F32,
                shape: vec![self.levels.len()],
                bytes: bytemuck::cast_slice(&self.levels),
            });
        }
        tensors
    }

    /// Takes what a file holds.
    pub(crate) fn take(
        contents: &mut Contents,
        metric: Metric,
        parameters: &Parameters,
        dim: usize,
    ) -> Result<Self, FormatError> {
        let sizes = numbers(contents, "codewords", |value| {
            value.as_u64().map(|size| size as usize).filter(|size| (1..=parameters.size()).contains(size))
        })?;
        if sizes.len() > parameters.stages {
            return Err(FormatError::content("codewords", "one number a stage at most", sizes.len()));
        }
        let part = |value: &Value| value.as_f64().filter(|part| part.is_finite());
        let distortion = numbers(contents, "distortion", part)?;
        let dead = numbers(contents, "dead_codes", part)?;
        let width = contents.param_usize("axes")?;
        if !(1..=dim).contains(&width) {
            return Err(FormatError::content("axes", "1 to the number of dimensions", width));
        }
        let mean = Matrix::take(contents, "mean", 1, dim)?;
        let axes = Matrix::take(contents, "axes", width, dim)?;
        let words = Matrix::take(contents, "codewords", sizes.iter().sum(), width)?;
        let mut levels = Vec::new();
        if metric != Metric::Ip {
            let buffer: Buffer = contents.take("levels", Dtype::F32, &[LEVELS])?;
            levels.extend_from_slice(buffer.as_slice::<f32>());
        }
        let codebooks = Codebooks::of(words, &sizes);
        Ok(Self { space: Space::new(mean, axes), codebooks, levels, distortion, dead })
    }

    /// Checks that values are such as were learned.
    pub(crate) fn check(&self, control: &Control) -> Result<(), FormatError> {
        self.space.mean.check_values("mean", control)?;
        self.space.axes.check_values("axes", control)?;
        self.codebooks.words().check_values("codewords", control)?;
        match self.levels.iter().find(|level| !level.is_finite()) {
            Some(level) => Err(FormatError::content("levels", "finite values", level)),
            None => Ok(()),
        }
    }
}

/// At most so many rows, evenly spread.
fn spread(rows: &Matrix<f32>, left: &[f32], most: usize) -> (Matrix<f32>, Vec<f32>) {
    let count = rows.rows().min(most);
    let chosen = (0..count).map(|to| to * rows.rows() / count);
    let mut spread = Matrix::zeroed(count, rows.dim());
    chosen.clone().enumerate().for_each(|(to, from)| spread.copy_row(to, rows, from));
    (spread, chosen.map(|from| left[from]).collect())
}

/// A list of numbers among a file's parameters.
fn numbers<T>(
    contents: &Contents,
    key: &str,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<Vec<T>, FormatError> {
    let list = contents.params().get(key).and_then(Value::as_array);
    let read = list.and_then(|list| list.iter().map(read).collect::<Option<Vec<T>>>());
    read.ok_or_else(|| FormatError::content(key, "a list of numbers in range", "another"))
}

/// ‖z − ẑ‖².
#[inline(always)]
fn error(along: &[f32], decoded: &[f32]) -> f32 {
    along.iter().zip(decoded).map(|(z, d)| (z - d) * (z - d)).sum()
}

/// C of a row.
#[inline(always)]
fn term(along: &[f32], decoded: &[f32], left: f32) -> f32 {
    let square: f32 = decoded.iter().map(|d| d * d).sum();
    square + SHARE * (error(along, decoded) + left)
}

struct Term<'a>(&'a [f32], &'a [f32], f32);

impl Work for Term<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        let Self(along, decoded, left) = self;
        simd.dot(decoded, decoded) + SHARE * (simd.squared_l2(along, decoded) + left)
    }
}
