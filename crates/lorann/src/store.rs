//! The index: a model, the coded points, and the vectors kept.

use std::sync::Arc;

use counterpoint_core::file::{Contents, FormatError, TensorView};
use counterpoint_core::index::{AddError, Capabilities, ReconstructError, SearchError, SearchOptions};
use counterpoint_core::knobs::Knob;
use counterpoint_core::metric::Metric;
use counterpoint_core::rerank::check_rerank;
use counterpoint_core::scan::{Hits, Masks};
use counterpoint_core::table::{Rowwise, Store, Table};
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::{InputError, Kept, RowSource};
use serde_json::{Map, Value, json};

use crate::blocks::Blocks;
use crate::factor::middle;
use crate::model::{Coded, Model, project};
use crate::parameters::Parameters;

/// The most candidates for each neighbour that tuning tries.
const MOST_RERANK: usize = 60;

/// A LoRANN index.
pub type Lorann = Table<Clusters>;

/// Makes an index without vectors; `None` for parameters that are no such.
pub fn new(metric: Metric, parameters: Parameters) -> Option<Lorann> {
    parameters.are_legal().then(|| Table::over(Clusters::unlearned(metric, parameters)))
}

/// The rows of a [`Lorann`] index.
#[derive(Clone)]
pub struct Clusters {
    pub(crate) metric: Metric,
    parameters: Parameters,
    dim: Option<usize>,
    learned: Option<Learned>,
    pub(crate) kept: Kept,
    rows: usize,
}

/// What there is once there was a vector.
#[derive(Clone)]
pub(crate) struct Learned {
    pub(crate) model: Arc<Model>,
    pub(crate) blocks: Blocks,
}

impl Clusters {
    fn unlearned(metric: Metric, parameters: Parameters) -> Self {
        let kept = Kept::zeroed(parameters.keep, 0, 0);
        Self { metric, parameters, dim: None, learned: None, kept, rows: 0 }
    }

    /// What shapes the index.
    pub fn parameters(&self) -> Parameters {
        self.parameters
    }

    /// Clusters there are; 0 without vectors.
    pub fn clusters(&self) -> usize {
        self.learned.as_ref().map_or(0, |learned| learned.model.clusters())
    }

    pub(crate) fn learned(&self) -> Option<&Learned> {
        self.learned.as_ref()
    }

    /// Whether so many rows came since the model was learned, half as many as there were, that it is worth learning anew.
    fn wants_refit(&self) -> bool {
        self.learned.as_ref().is_some_and(|learned| 2 * self.rows > 3 * learned.model.fitted)
    }

    /// Learns from rows, and codes them in the clusters that they were given.
    fn learned_and_coded(&self, rows: &dyn RowSource, control: &Control) -> Result<Self, InputError> {
        let (model, projected, coded) = Model::learn(rows, self.metric, &self.parameters, control)?;
        Ok(self.of(Arc::new(model), projected.kept, &coded))
    }

    fn of(&self, model: Arc<Model>, kept: Kept, coded: &Coded) -> Self {
        let blocks = Blocks::of(model.bits, model.rank, coded);
        let rows = blocks.total();
        let dim = Some(model.projection.dim());
        Self { dim, learned: Some(Learned { model, blocks }), kept, rows, ..self.blank() }
    }
}

impl Store for Clusters {
    const METHOD: &'static str = "LoRANN";

    fn metric(&self) -> Metric {
        self.metric
    }

    fn dim(&self) -> Option<usize> {
        self.dim
    }

    fn len(&self) -> usize {
        self.rows
    }

    fn capabilities(&self) -> Capabilities {
        let knobs = vec![Knob::n_probe(self.clusters()), Knob::rerank(self.parameters.keep, MOST_RERANK)];
        Capabilities { exact: false, reconstruct: true, knobs }
    }

    fn blank(&self) -> Self {
        Self::unlearned(self.metric, self.parameters)
    }

    fn learn(&self, rows: &dyn RowSource, control: &Control) -> Result<Self, AddError> {
        let built = self.build(rows, control)?;
        let Some(Learned { model, .. }) = built.learned else { return Ok(built) };
        let kept = Kept::zeroed(self.parameters.keep, 0, rows.dim());
        let blocks = Blocks::empty(model.bits, model.rank, model.clusters());
        Ok(Self { learned: Some(Learned { model, blocks }), kept, rows: 0, ..built })
    }

    fn begin(&self, rows: &dyn RowSource, _: &Control) -> Result<Self, AddError> {
        Ok(Self { dim: Some(rows.dim()), ..self.blank() }) // it is `encode` that learns
    }

    fn build(&self, rows: &dyn RowSource, control: &Control) -> Result<Self, AddError> {
        Ok(self.learned_and_coded(rows, control)?)
    }

    fn encode(&self, rows: &dyn RowSource, control: &Control) -> Result<Self, InputError> {
        let learned = self.learned.as_ref().filter(|learned| learned.model.fitted > 0 || self.rows > 0);
        // What was learned from no rows knows nothing of these, which are the first.
        let Some(Learned { model, .. }) = learned else { return self.learned_and_coded(rows, control) };
        control.expect(rows.len());
        let kept = Kept::zeroed(self.parameters.keep, rows.len(), rows.dim());
        let projected = project(rows, self.metric, kept, &model.projection, control)?;
        let coded = model.encode(&projected, control)?;
        Ok(self.of(Arc::clone(model), projected.kept, &coded))
    }

    fn absorb(&mut self, other: Self, to: &[Option<u32>], _: &Control) {
        self.absorb_rows(other, to);
    }

    fn swap_remove(&mut self, row: usize) {
        if let Some(learned) = &mut self.learned {
            learned.blocks.swap_remove(row);
        }
        self.kept.swap_remove(row);
        self.rows -= 1;
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
        if options.n_probe == Some(0) {
            return Err(SearchError::Knob { knob: "n_probe", reason: "expected at least 1, got 0" });
        }
        check_rerank(self.parameters.keep, options)
    }

    fn reconstruct(&self, row: usize, out: &mut [f32]) -> Result<(), ReconstructError> {
        if !self.kept.read(row, out)
            && let Some(Learned { model, blocks }) = &self.learned
            && let Some((cluster, codes, scale)) = blocks.read(row)
        {
            let scale = scale * model.unit(cluster);
            let middle = middle(model.bits);
            let coefficients: Vec<f32> =
                codes.iter().map(|&code| scale * (f32::from(code) - middle)).collect();
            model.reconstruct(cluster, &coefficients, out);
        }
        Ok(())
    }

    fn vectors(&self) -> Option<&dyn RowSource> {
        self.kept.rows()
    }

    fn shrink_to_fit(&mut self) {
        if let Some(learned) = &mut self.learned {
            learned.blocks.shrink_to_fit();
        }
        self.kept.shrink_to_fit();
    }

    fn params(&self) -> Map<String, Value> {
        let mut params = Map::new();
        self.parameters.write(&mut params);
        if let Some(Learned { model, .. }) = &self.learned {
            params.insert("clusters".into(), json!(model.clusters()));
            params.insert("fitted".into(), json!(model.fitted));
        }
        params
    }

    fn tensors(&self) -> Vec<TensorView<'_>> {
        let mut tensors = Vec::new();
        if let Some(Learned { model, blocks }) = &self.learned {
            tensors.extend(model.tensors());
            tensors.extend(blocks.tensors());
        }
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
        let mut store = Self { dim, rows, ..Self::unlearned(metric, parameters) };
        if let Some(dim) = dim {
            let model = Model::take(contents, metric, &parameters, dim, &Control::default())?;
            let blocks = Blocks::take(contents, model.bits, model.rank, model.clusters(), rows)?;
            store.learned = Some(Learned { model: Arc::new(model), blocks });
        }
        store.kept = Kept::take(contents, parameters.keep, rows, dim.unwrap_or(0))?;
        Ok(store)
    }

    fn check(&self, control: &Control) -> Result<(), FormatError> {
        if let Some(learned) = &self.learned {
            learned.blocks.check()?;
        }
        self.kept.check(control)
    }

    fn stats(&self) -> Map<String, Value> {
        let mut stats = Map::new();
        self.parameters.write(&mut stats);
        if let Some(Learned { model, .. }) = &self.learned {
            stats.insert("n_clusters".into(), json!(model.clusters()));
            stats.insert("global_dim".into(), json!(model.outputs()));
            stats.insert("rank".into(), json!(model.rank));
            stats.insert("refit".into(), json!(self.wants_refit()));
        }
        stats
    }
}

impl Rowwise for Clusters {
    fn grow(&mut self, more: usize) {
        if let Some(learned) = &mut self.learned {
            learned.blocks.grow(more);
        }
        self.kept.grow(more);
        self.rows += more;
    }

    fn copy_row(&mut self, to: usize, other: &Self, from: usize) {
        if let (Some(learned), Some(other)) = (&mut self.learned, &other.learned) {
            learned.blocks.copy_row(to, &other.blocks, from);
        }
        self.kept.copy_row(to, &other.kept, from);
    }
}
