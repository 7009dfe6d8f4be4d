//! What was learned: space, codebooks, levels. A small part that can be had apart from the rows.

use counterpoint_core::axes::choose;
use counterpoint_core::buffer::Buffer;
use counterpoint_core::cluster::Nearest;
use counterpoint_core::file::{Contents, Dtype, FormatError, TensorView};
use counterpoint_core::index::AddError;
use counterpoint_core::metric::Metric;
use counterpoint_core::simd::{Simd, Work, run};
use counterpoint_core::threads::{Cancelled, Control};
use counterpoint_core::vectors::{InputError, Matrix, RowSource};
use serde_json::{Map, Value, json};

use crate::beam::{Encode, Scratch};
use crate::codebooks::{Codebooks, Ready};
use crate::encode::Found;
use crate::lists::{Coarse, File};
use crate::norms::{LEVELS, SHARE, levels, nearest};
use crate::parameters::{MOST_LISTS, Parameters, Structure};
use crate::repair::dead;
use crate::space::{Along, Batch, Project, Space};
use crate::train::{SAMPLE, columns, encode, energy, subtract, train, units};

/// Rows of the sample on which levels and errors are measured.
const MEASURED: usize = 16_384;
/// Rows that the lists are learned from, for each, at least.
const PER_LIST: usize = 32;

/// What encodes and decodes.
#[derive(Clone)]
pub struct Quantizer {
    pub(crate) space: Space,
    /// Where rows lie in lists.
    pub(crate) coarse: Option<Coarse>,
    pub(crate) codebooks: Codebooks,
    /// Of C, rising: [`LEVELS`] of them, or none where the metric has no use for them (ip).
    pub(crate) levels: Vec<f32>,
    /// Σ‖x − x̂‖² of the sample with its lists and the first 0, 1, 2, … stages, as parts of its variance.
    distortion: Vec<f64>,
    /// Dead codewords of each stage, as parts of its codewords.
    dead: Vec<f64>,
}

impl Quantizer {
    /// Learns from at most [`SAMPLE`] rows, lists from [`PER_LIST`] for each if that is more.
    pub(crate) fn learn(
        rows: &dyn RowSource,
        metric: Metric,
        parameters: &Parameters,
        control: &Control,
    ) -> Result<Self, AddError> {
        let lists = parameters.lists(rows.len());
        let seed = parameters.seed;
        let most = SAMPLE.max(lists.unwrap_or(0).saturating_mul(PER_LIST));
        let chosen = choose(rows.len(), most, seed ^ 1);
        let count = chosen.len().min(SAMPLE);
        // The mean; the sample and its codes in the end; training.
        control.expect(rows.len() + chosen.len() + count + units(count, parameters.stages));
        let bits = parameters.stages * parameters.bits.width()
            + lists.map_or(0, |lists| lists.max(1).ilog2() as usize);
        let space = Space::learn(rows, metric, bits, seed, control)?;
        let Along { mut values, left } = space.read(rows, &chosen, metric, control)?;
        let whole = energy(&values) * SAMPLE.min(values.rows()) as f64 / values.rows().max(1) as f64;
        let (mut coarse, mut labels) = (None, vec![0; values.rows()]);
        if let Some(lists) = lists {
            let (learned, found) = Coarse::learn(&values, lists, metric, seed ^ 2, control)?;
            subtract(&mut values, learned.rows(), &found, control)?;
            (coarse, labels) = (Some(learned), found);
        }
        let sample = Sample { values, left, labels }.spread(SAMPLE);
        let codebooks = train(&sample.values, whole, parameters, control)?;
        // A part of the sample tells of the rest.
        let sample = sample.spread(MEASURED);
        let codes = encode(&codebooks, &sample.values, parameters.beam, control)?;
        control.advance(count);
        let (levels, distortion, dead) = (Vec::new(), Vec::new(), Vec::new());
        let mut quantizer = Self { space, coarse, codebooks, levels, distortion, dead };
        quantizer.measure(&sample, &codes, metric);
        Ok(quantizer)
    }

    /// [`Quantizer::learn`] from the first rows of a store whose quantiser is blank.
    pub(crate) fn relearn(
        rows: &dyn RowSource,
        metric: Metric,
        parameters: &Parameters,
        control: &Control,
    ) -> Result<Self, InputError> {
        Self::learn(rows, metric, parameters, control).map_err(|error| match error {
            AddError::Input(error) => error,
            _ => Cancelled.into(),
        })
    }

    /// Whether nothing can be told of rows from it, as it was learned from none, or from equal ones.
    pub(crate) fn is_blank(&self) -> bool {
        self.stages() == 0
    }

    /// Codewords of each stage.
    pub(crate) fn sizes(&self) -> Vec<usize> {
        (0..self.stages()).map(|stage| self.codebooks.size(stage)).collect()
    }

    /// Learns levels, and what every stage leaves over, from a sample and its codes.
    fn measure(&mut self, sample: &Sample, codes: &[u8], metric: Metric) {
        let stages = self.stages();
        for (stage, column) in columns(codes, stages).iter().enumerate() {
            let mut counts = vec![0; self.codebooks.size(stage)];
            column.iter().for_each(|&code| counts[usize::from(code)] += 1);
            self.dead.push(dead(&counts).count() as f64 / counts.len() as f64);
        }
        let mut terms = Vec::with_capacity(sample.left.len());
        let mut errors = vec![0.0_f64; stages + 1];
        let mut whole = 0.0_f64;
        let mut decoded = vec![0.0; sample.values.dim()];
        for (row, (&left, &list)) in sample.left.iter().zip(&sample.labels).enumerate() {
            let (along, centroid) = (sample.values.row(row), self.centroid(list));
            decoded.fill(0.0);
            for (stage, sum) in errors.iter_mut().enumerate() {
                if stage > 0 {
                    self.codebooks.add_stage(stage - 1, codes[row * stages + stage - 1], &mut decoded);
                }
                *sum += f64::from(error(along, &decoded) + left);
            }
            let square: f32 = match centroid {
                Some(centroid) => along.iter().zip(centroid).map(|(r, c)| (r + c) * (r + c)).sum(),
                None => along.iter().map(|r| r * r).sum(),
            };
            whole += f64::from(square + left);
            terms.push(Term { along, decoded: &decoded, centroid, left }.value());
        }
        if whole > 0.0 {
            self.distortion = errors.iter().map(|sum| sum / whole).collect();
        }
        if metric != Metric::Ip {
            // Without rows there is one level, which no row has.
            terms.resize(terms.len().max(1), 0.0);
            self.levels = levels(terms);
        }
    }

    /// The centroid of a list, where there are lists.
    #[inline(always)]
    pub(crate) fn centroid(&self, list: u32) -> Option<&[f32]> {
        self.coarse.as_ref().map(|coarse| coarse.rows().row(list as usize))
    }

    /// Number of lists; none where rows do not lie in lists.
    pub(crate) fn lists(&self) -> usize {
        self.coarse.as_ref().map_or(0, Coarse::len)
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

    /// List, codes (one byte a stage) and level of the rows of a batch, in order.
    pub(crate) fn encode(
        &self,
        ready: &Ready<'_>,
        beam: usize,
        batch: &mut Batch<'_>,
        scratch: &mut Scratch,
        control: &Control,
        mut each: impl FnMut(Found<'_>),
    ) {
        run(control.level(), Project { batch });
        let mut lists = Nearest::default();
        if let Some(coarse) = &self.coarse {
            run(control.level(), File { coarse, batch, lists: &mut lists });
        }
        let stages = self.stages();
        let mut codes = vec![0; batch.count * stages];
        let along = &batch.along;
        let values = (along.values(), along.stride(), along.dim());
        run(control.level(), Encode { ready, beam, values, codes: &mut codes, scratch });
        let mut decoded = vec![0.0; along.dim()];
        for row in 0..batch.count {
            let codes = &codes[row * stages..(row + 1) * stages];
            let list = lists.clusters().get(row).copied().unwrap_or(0);
            let mut level = 0;
            if !self.levels.is_empty() {
                decoded.fill(0.0);
                self.codebooks.add(codes, &mut decoded);
                let (along, centroid, left) = (along.row(row), self.centroid(list), batch.left[row]);
                let term = run(control.level(), Term { along, decoded: &decoded, centroid, left });
                level = nearest(&self.levels, term);
            }
            each(Found { r: row, list, codes, level });
        }
    }

    /// The vector of some codes in a list.
    pub(crate) fn decode(&self, list: u32, codes: &[u8], out: &mut [f32]) {
        let mut along = self.centroid(list).map_or_else(|| vec![0.0; self.space.width()], <[f32]>::to_vec);
        self.codebooks.add(codes, &mut along);
        self.space.back(&along, out);
    }

    /// What a file holds beside tensors.
    pub(crate) fn write_params(&self, params: &mut Map<String, Value>) {
        params.insert("codewords".into(), json!(self.sizes()));
        params.insert("axes".into(), json!(self.space.width()));
        if self.coarse.is_some() {
            params.insert("lists".into(), json!(self.lists()));
        }
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
        tensors.extend(self.coarse.as_ref().map(|coarse| coarse.rows().tensor("centroids")));
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
        let mut coarse = None;
        if parameters.structure != Structure::Flat {
            let lists = contents.param_usize("lists")?;
            if !(1..=MOST_LISTS).contains(&lists) {
                return Err(FormatError::content("lists", "1 to 2^20", lists));
            }
            let centroids = Matrix::take(contents, "centroids", lists, width)?;
            // Before anything is computed from them.
            centroids.check_values("centroids", &Control::default())?;
            coarse = Some(Coarse::new(centroids, metric));
        }
        let mut levels = Vec::new();
        if metric != Metric::Ip {
            let buffer: Buffer = contents.take("levels", Dtype::F32, &[LEVELS])?;
            levels.extend_from_slice(buffer.as_slice::<f32>());
        }
        let codebooks = Codebooks::of(words, &sizes);
        Ok(Self { space: Space::new(mean, axes), coarse, codebooks, levels, distortion, dead })
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

/// Rows to learn from: what codes are of, what the axes leave out, and their lists.
struct Sample {
    values: Matrix<f32>,
    left: Vec<f32>,
    labels: Vec<u32>,
}

impl Sample {
    /// At most so many of them, evenly spread.
    fn spread(self, most: usize) -> Self {
        let Self { values, left, labels } = &self;
        let count = values.rows().min(most);
        if count == values.rows() {
            return self;
        }
        let chosen = (0..count).map(|to| to * values.rows() / count);
        let mut spread = Matrix::zeroed(count, values.dim());
        chosen.clone().enumerate().for_each(|(to, from)| spread.copy_row(to, values, from));
        let left = chosen.clone().map(|from| left[from]).collect();
        Self { values: spread, left, labels: chosen.map(|from| labels[from]).collect() }
    }
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

/// What C of a row follows from ([`super::norms`]).
struct Term<'a> {
    /// r.
    along: &'a [f32],
    /// r̂.
    decoded: &'a [f32],
    /// c, where rows lie in lists.
    centroid: Option<&'a [f32]>,
    left: f32,
}

impl Term<'_> {
    fn value(self) -> f32 {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let square =
            dot(self.decoded, self.decoded) + 2.0 * self.centroid.map_or(0.0, |c| dot(c, self.decoded));
        square + SHARE * (error(self.along, self.decoded) + self.left)
    }
}

impl Work for Term<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        let Self { along, decoded, centroid, left } = self;
        let square = simd.dot(decoded, decoded) + 2.0 * centroid.map_or(0.0, |c| simd.dot(c, decoded));
        square + SHARE * (simd.squared_l2(along, decoded) + left)
    }
}
