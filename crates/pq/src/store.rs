//! The codes of rows, in groups of 64.
//!
//! | tensor | holds |
//! |---|---|
//! | `codes` | u8, groups of codes ([`lookups`]) |
//! | `codebooks` | f32, the centroids |
//! | `vectors` … | vectors as kept, if any |

use std::sync::Arc;

use counterpoint_core::buffer::Buffer;
use counterpoint_core::file::{Contents, Dtype, FormatError, TensorView};
use counterpoint_core::index::{AddError, Capabilities, ReconstructError, SearchError, SearchOptions};
use counterpoint_core::intake::fill;
use counterpoint_core::knobs::Knob;
use counterpoint_core::metric::Metric;
use counterpoint_core::pq::ProductQuantizer;
use counterpoint_core::rerank::check_rerank;
use counterpoint_core::scan::{Hits, Masks};
use counterpoint_core::simd::{GROUP, Simd, Work, lookups, run};
use counterpoint_core::table::{Rowwise, Store, Table};
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::{InputError, Kept, Matrix, RowSource, read_checked};
use serde_json::{Map, Value, json};

use crate::parameters::Parameters;

/// A PQ index, searched flat.
pub type Pq = Table<Codes>;

/// Makes an index without vectors; `None` for parameters that are no such.
pub fn new(metric: Metric, parameters: Parameters) -> Option<Pq> {
    parameters.are_legal().then(|| Table::over(Codes::unlearned(metric, parameters)))
}

/// The rows of a [`Pq`] index.
#[derive(Clone)]
pub struct Codes {
    pub(crate) metric: Metric,
    pub(crate) parameters: Parameters,
    /// `None` until learned.
    pub(crate) quantizer: Option<Arc<ProductQuantizer>>,
    pub(crate) kept: Kept,
    rows: usize,
    /// Group after group of codes.
    codes: Buffer,
}

impl Codes {
    fn unlearned(metric: Metric, parameters: Parameters) -> Self {
        let kept = Kept::zeroed(parameters.keep, 0, 0);
        Self { metric, parameters, quantizer: None, kept, rows: 0, codes: Buffer::new() }
    }

    /// What shapes the index.
    pub fn parameters(&self) -> Parameters {
        self.parameters
    }

    /// Codes of a row; 0 until learned.
    fn subspaces(&self) -> usize {
        self.quantizer.as_ref().map_or(0, |quantizer| quantizer.subspaces())
    }

    fn group_bytes(&self) -> usize {
        lookups::group_bytes(self.parameters.bits, self.subspaces())
    }

    /// Makes room for so many rows; new ones are zero.
    fn resize(&mut self, rows: usize) {
        self.rows = rows;
        self.codes.resize(rows.div_ceil(GROUP) * self.group_bytes());
    }

    #[inline(always)]
    pub(crate) fn group_at(&self, group: usize) -> &[u8] {
        let bytes = self.group_bytes();
        &self.codes.as_bytes()[group * bytes..(group + 1) * bytes]
    }

    fn group_mut(&mut self, group: usize) -> &mut [u8] {
        let bytes = self.group_bytes();
        &mut self.codes.as_mut_bytes()[group * bytes..(group + 1) * bytes]
    }
}

/// Encodes a prepared vector into its group.
struct Encode<'a> {
    quantizer: &'a ProductQuantizer,
    values: &'a [f32],
    codes: &'a mut [u8],
}

impl Work for Encode<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.quantizer.encode(simd, self.values, self.codes);
    }
}

impl Store for Codes {
    const METHOD: &'static str = "PQ";

    fn metric(&self) -> Metric {
        self.metric
    }

    fn dim(&self) -> Option<usize> {
        self.quantizer.as_ref().map(|quantizer| quantizer.dim())
    }

    fn len(&self) -> usize {
        self.rows
    }

    fn capabilities(&self) -> Capabilities {
        let rerank = Knob::rerank(self.parameters.keep, 200);
        Capabilities { exact: false, reconstruct: true, knobs: vec![rerank] }
    }

    fn blank(&self) -> Self {
        Self::unlearned(self.metric, self.parameters)
    }

    fn learn(&self, rows: &dyn RowSource, control: &Control) -> Result<Self, AddError> {
        let training = self.parameters.training(rows.dim());
        let chosen = training.chosen(rows.len());
        let mut sample = Matrix::zeroed(chosen.len(), rows.dim());
        for (to, &row) in chosen.iter().enumerate() {
            control.check()?;
            read_checked(rows, row, sample.row_mut(to))?;
            self.metric.prepare(sample.row_mut(to), row)?;
        }
        let mut learned = self.blank();
        learned.quantizer = Some(Arc::new(training.fit(&sample, control)?));
        learned.kept = Kept::zeroed(self.parameters.keep, 0, rows.dim());
        Ok(learned)
    }

    fn encode(&self, rows: &dyn RowSource, control: &Control) -> Result<Self, InputError> {
        let mut encoded = Self { quantizer: self.quantizer.clone(), ..self.blank() };
        let Some(quantizer) = &self.quantizer else { return Ok(encoded) };
        control.expect(rows.len());
        encoded.resize(rows.len());
        let mut kept = Kept::zeroed(self.parameters.keep, rows.len(), rows.dim());
        let (bits, level, bytes) = (self.parameters.bits, control.level(), self.group_bytes());
        let groups = encoded.codes.as_mut_bytes().chunks_exact_mut(bytes.max(1));
        let parts = groups.map(|group| (group, vec![0_u8; quantizer.subspaces()]));
        fill(rows, self.metric, &mut kept, parts, control, |(group, codes), r, values, _| {
            run(level, Encode { quantizer, values, codes });
            lookups::write_row(bits, group, r, codes);
            Ok(())
        })?;
        encoded.kept = kept;
        Ok(encoded)
    }

    fn absorb(&mut self, other: Self, to: &[Option<u32>], _: &Control) {
        self.absorb_rows(other, to);
    }

    fn swap_remove(&mut self, row: usize) {
        let last = self.rows - 1;
        let mut codes = vec![0; self.subspaces()];
        let bits = self.parameters.bits;
        lookups::read_row(bits, self.group_at(last / GROUP), last % GROUP, &mut codes);
        lookups::write_row(bits, self.group_mut(row / GROUP), row % GROUP, &codes);
        // What is not there is zero.
        codes.fill(0);
        lookups::write_row(bits, self.group_mut(last / GROUP), last % GROUP, &codes);
        self.resize(last);
        self.kept.swap_remove(row);
    }

    fn search(
        &self,
        queries: &dyn RowSource,
        options: &SearchOptions<'_>,
        masks: &Masks,
        control: &Control,
    ) -> Result<Hits, SearchError> {
        crate::scan::search(self, queries, options, masks, control)
    }

    fn check_options(&self, options: &SearchOptions<'_>) -> Result<(), SearchError> {
        check_rerank(self.parameters.keep, options)
    }

    fn reconstruct(&self, row: usize, out: &mut [f32]) -> Result<(), ReconstructError> {
        if !self.kept.read(row, out)
            && let Some(quantizer) = &self.quantizer
        {
            let mut codes = vec![0; quantizer.subspaces()];
            lookups::read_row(self.parameters.bits, self.group_at(row / GROUP), row % GROUP, &mut codes);
            quantizer.decode(&codes, out);
        }
        Ok(())
    }

    fn vectors(&self) -> Option<&dyn RowSource> {
        self.kept.rows()
    }

    fn shrink_to_fit(&mut self) {
        self.codes.shrink_to_fit();
        self.kept.shrink_to_fit();
    }

    fn params(&self) -> Map<String, Value> {
        let mut params = Map::new();
        self.parameters.write(&mut params);
        params
    }

    fn tensors(&self) -> Vec<TensorView<'_>> {
        let shape = vec![self.rows.div_ceil(GROUP), self.group_bytes()];
        let codes = TensorView { name: "codes", dtype: Dtype::U8, shape, bytes: self.codes.as_bytes() };
        let codebooks = self.quantizer.as_ref().map(|quantizer| quantizer.tensor("codebooks"));
        std::iter::once(codes).chain(codebooks).chain(self.kept.tensors()).collect()
    }

    fn take(
        contents: &mut Contents,
        metric: Metric,
        dim: Option<usize>,
        rows: usize,
    ) -> Result<Self, FormatError> {
        let parameters = Parameters::read(contents)?;
        let mut store = Self::unlearned(metric, parameters);
        if let Some(dim) = dim {
            let subspaces = parameters.subspaces_for(dim);
            let quantizer = ProductQuantizer::take(contents, "codebooks", dim, subspaces, parameters.bits)?;
            store.quantizer = Some(Arc::new(quantizer));
        }
        store.rows = rows;
        let shape = [rows.div_ceil(GROUP), store.group_bytes()];
        store.codes = contents.take("codes", Dtype::U8, &shape)?;
        store.kept = Kept::take(contents, parameters.keep, rows, dim.unwrap_or(0))?;
        Ok(store)
    }

    fn check(&self, control: &Control) -> Result<(), FormatError> {
        // Every value of a code is the number of a centroid.
        if let Some(quantizer) = &self.quantizer {
            quantizer.check("codebooks", control)?;
        }
        self.kept.check(control)
    }

    fn stats(&self) -> Map<String, Value> {
        let mut stats = self.params();
        if let Some(quantizer) = &self.quantizer {
            stats.insert("subspaces".into(), json!(quantizer.subspaces()));
            let bytes = self.parameters.bits.width() * quantizer.subspaces();
            stats.insert("code_bytes".into(), json!(bytes as f64 / 8.0));
            stats.insert("unused_centroids".into(), json!(self.unused(quantizer)));
        }
        stats
    }
}

impl Codes {
    /// The share of centroids that are no row's.
    fn unused(&self, quantizer: &ProductQuantizer) -> f64 {
        let (subspaces, centroids) = (quantizer.subspaces(), quantizer.centroids());
        let mut used = vec![false; subspaces * centroids];
        let mut codes = vec![0; subspaces];
        for row in 0..self.rows {
            lookups::read_row(self.parameters.bits, self.group_at(row / GROUP), row % GROUP, &mut codes);
            for (m, &code) in codes.iter().enumerate() {
                used[m * centroids + usize::from(code)] = true;
            }
        }
        used.iter().filter(|&&used| !used).count() as f64 / used.len().max(1) as f64
    }
}

impl Rowwise for Codes {
    fn grow(&mut self, more: usize) {
        self.resize(self.rows + more);
        self.kept.grow(more);
    }

    fn copy_row(&mut self, to: usize, other: &Self, from: usize) {
        lookups::copy_row(self.group_mut(to / GROUP), to % GROUP, other.group_at(from / GROUP), from % GROUP);
        self.kept.copy_row(to, &other.kept, from);
    }
}
