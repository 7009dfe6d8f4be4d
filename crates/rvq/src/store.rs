//! The codes of rows, in groups of 64 ([`lookups`]).

use std::sync::Arc;

use counterpoint_core::cluster::Arena;
use counterpoint_core::file::{Contents, FormatError, TensorView};
use counterpoint_core::index::{AddError, Capabilities, ReconstructError, SearchError, SearchOptions};
use counterpoint_core::knobs::Knob;
use counterpoint_core::metric::Metric;
use counterpoint_core::rerank::check_rerank;
use counterpoint_core::scan::{Hits, Masks};
use counterpoint_core::simd::GROUP;
use counterpoint_core::table::{Rowwise, Store, Table};
use counterpoint_core::threads::{Cancelled, Control};
use counterpoint_core::vectors::{InputError, Kept, RowSource};
use serde_json::{Map, Value, json};

use crate::encode::{Found, Learned};
use crate::groups::{GroupMut, Groups};
use crate::parameters::{Parameters, Structure};
use crate::prefix::Prefixes;
use crate::quantizer::Quantizer;
use crate::tables::Tables;

/// The most candidates for each neighbour that tuning tries.
pub(crate) const MOST_RERANK: usize = 60;

/// An RVQ index, searched flat.
pub type Rvq = Table<Codes>;

/// Makes an index without vectors; `None` if a parameter is not such as a flat index may have.
pub fn new(metric: Metric, parameters: Parameters) -> Option<Rvq> {
    (parameters.are_legal() && parameters.structure == Structure::Flat)
        .then(|| Table::over(Codes::unlearned(metric, parameters)))
}

/// The rows of an [`Rvq`] index.
#[derive(Clone)]
pub struct Codes {
    pub(crate) metric: Metric,
    parameters: Parameters,
    /// `None` until learned.
    learned: Option<Arc<Learned>>,
    pub(crate) kept: Kept,
    rows: usize,
    pub(crate) coded: Groups,
    prefixes: Prefixes,
}

impl Codes {
    fn unlearned(metric: Metric, parameters: Parameters) -> Self {
        Self {
            metric,
            parameters,
            learned: None,
            kept: Kept::zeroed(parameters.keep, 0, 0),
            rows: 0,
            coded: Groups::new(parameters.bits, 0, metric != Metric::Ip),
            prefixes: Prefixes::default(),
        }
    }

    fn with(&self, quantizer: Quantizer) -> Self {
        self.of(Arc::new(Learned::new(quantizer)))
    }

    fn of(&self, learned: Arc<Learned>) -> Self {
        let kept = Kept::zeroed(self.parameters.keep, 0, learned.quantizer.dim());
        let stages = learned.quantizer.stages();
        let coded = Groups::new(self.parameters.bits, stages, self.metric != Metric::Ip);
        Self { learned: Some(learned), kept, coded, ..Self::unlearned(self.metric, self.parameters) }
    }

    /// What shapes the index.
    pub fn parameters(&self) -> Parameters {
        self.parameters
    }

    /// What was learned, once there was something.
    pub fn quantizer(&self) -> Option<&Quantizer> {
        self.learned().map(|learned| &learned.quantizer)
    }

    pub(crate) fn learned(&self) -> Option<&Learned> {
        self.learned.as_deref()
    }

    /// The terms of rows where not all stages are looked at.
    pub(crate) fn prefix(
        &self,
        tables: &Tables<'_>,
        control: &Control,
    ) -> Result<Option<Arc<Vec<f32>>>, Cancelled> {
        self.prefixes.of(tables, &self.coded, |_| 0, control)
    }

    /// C of a row: what stands for ‖x̂ − μ‖² in its distances. None under ip.
    pub fn term(&self, row: usize) -> Option<f32> {
        let level = self.coded.level(row)?;
        self.quantizer()?.levels.get(usize::from(level)).copied()
    }

    fn put(&mut self, row: usize, codes: &[u8], level: u8) {
        self.prefixes.clear();
        self.coded.write(row, codes, level);
    }

    /// Makes room for `rows` rows; new ones are zero.
    fn resize(&mut self, rows: usize) {
        self.prefixes.clear();
        self.rows = rows;
        self.coded.resize(rows.div_ceil(GROUP));
    }
}

/// Checks the knobs that every structure has.
pub(crate) fn check_options(parameters: Parameters, options: &SearchOptions<'_>) -> Result<(), SearchError> {
    if let Some(stages) = options.stages
        && !(1..=parameters.stages).contains(&stages)
    {
        let reason = "expected at least 1, and no more than the index was made with";
        return Err(SearchError::Knob { knob: "stages", reason });
    }
    check_rerank(parameters.keep, options)
}

impl Store for Codes {
    const METHOD: &'static str = "RVQ";
    const STAGES: bool = true;

    fn metric(&self) -> Metric {
        self.metric
    }

    fn dim(&self) -> Option<usize> {
        self.quantizer().map(Quantizer::dim)
    }

    fn len(&self) -> usize {
        self.rows
    }

    fn capabilities(&self) -> Capabilities {
        let rerank = Knob::rerank(self.parameters.keep, MOST_RERANK);
        Capabilities { exact: false, reconstruct: true, knobs: vec![rerank] }
    }

    fn blank(&self) -> Self {
        Self::unlearned(self.metric, self.parameters)
    }

    fn learn(&self, rows: &dyn RowSource, control: &Control) -> Result<Self, AddError> {
        Ok(self.with(Quantizer::learn(rows, self.metric, &self.parameters, control)?))
    }

    fn encode(&self, rows: &dyn RowSource, control: &Control) -> Result<Self, InputError> {
        let Some(quantizer) = self.quantizer() else { return Ok(self.blank()) };
        if self.rows == 0 && quantizer.is_blank() && !rows.is_empty() {
            let learned = Quantizer::relearn(rows, self.metric, &self.parameters, control)?;
            return self.with(learned).encoded(rows, control);
        }
        self.encoded(rows, control)
    }

    fn absorb(&mut self, other: Self, to: &[Option<u32>], _: &Control) {
        self.absorb_rows(other, to);
    }

    fn swap_remove(&mut self, row: usize) {
        let last = self.rows - 1;
        let (codes, level) = (self.coded.read(last), self.coded.level(last).unwrap_or(0));
        self.put(row, &codes, level);
        self.put(last, &vec![0; codes.len()], 0);
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
        crate::search::search(self, queries, options, masks, control)
    }

    fn check_options(&self, options: &SearchOptions<'_>) -> Result<(), SearchError> {
        check_options(self.parameters, options)
    }

    fn reconstruct(&self, row: usize, out: &mut [f32]) -> Result<(), ReconstructError> {
        if !self.kept.read(row, out)
            && let Some(quantizer) = self.quantizer()
        {
            quantizer.decode(0, &self.coded.read(row), out);
        }
        Ok(())
    }

    fn vectors(&self) -> Option<&dyn RowSource> {
        self.kept.rows()
    }

    fn shrink_to_fit(&mut self) {
        self.coded.shrink_to_fit();
        self.kept.shrink_to_fit();
    }

    fn params(&self) -> Map<String, Value> {
        let mut params = Map::new();
        self.parameters.write(&mut params);
        if let Some(quantizer) = self.quantizer() {
            quantizer.write_params(&mut params);
        }
        params
    }

    fn tensors(&self) -> Vec<TensorView<'_>> {
        let mut tensors = self.coded.tensors();
        tensors.extend(self.quantizer().into_iter().flat_map(Quantizer::tensors));
        tensors.extend(self.kept.tensors());
        tensors
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
            store = store.with(Quantizer::take(contents, metric, &parameters, dim)?);
        }
        store.rows = rows;
        store.coded = store.coded.take(contents, rows.div_ceil(GROUP))?;
        store.kept = Kept::take(contents, parameters.keep, rows, dim.unwrap_or(0))?;
        Ok(store)
    }

    fn check(&self, control: &Control) -> Result<(), FormatError> {
        if let Some(quantizer) = self.quantizer() {
            quantizer.check(control)?;
            self.coded.check(&quantizer.sizes(), control)?;
        }
        self.kept.check(control)
    }

    fn stats(&self) -> Map<String, Value> {
        let mut stats = self.params();
        stats.insert("stages_used".into(), json!(self.quantizer().map_or(0, Quantizer::stages)));
        stats
    }
}

impl Codes {
    /// [`Store::encode`] with what was learned.
    fn encoded(&self, rows: &dyn RowSource, control: &Control) -> Result<Self, InputError> {
        let Some(learned) = &self.learned else { return Ok(self.blank()) };
        let mut encoded = self.of(Arc::clone(learned));
        encoded.resize(rows.len());
        let write = |group: &mut GroupMut<'_>, Found { r, codes, level, .. }: Found<'_>| {
            group.write(r, codes, level);
        };
        let groups = encoded.coded.groups_mut();
        let kept = learned.encode(rows, self.metric, &self.parameters, groups, write, control)?;
        encoded.kept = kept;
        Ok(encoded)
    }
}

impl Rowwise for Codes {
    fn grow(&mut self, more: usize) {
        self.resize(self.rows + more);
        self.kept.grow(more);
    }

    fn copy_row(&mut self, to: usize, other: &Self, from: usize) {
        self.put(to, &other.coded.read(from), other.coded.level(from).unwrap_or(0));
        self.kept.copy_row(to, &other.kept, from);
    }
}
