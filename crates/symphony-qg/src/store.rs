//! The index: rows of the graph, and which of them are whose ([`Roster`]).

use std::sync::Arc;

use counterpoint_core::file::{Contents, FormatError, TensorView};
use counterpoint_core::graph::change::Figures;
use counterpoint_core::graph::seek::check_ef;
use counterpoint_core::graph::space::{check_rows, prepared};
use counterpoint_core::graph::{MAX_VERTICES, Roster};
use counterpoint_core::index::{AddError, Capabilities, ReconstructError, SearchError, SearchOptions};
use counterpoint_core::knobs::Knob;
use counterpoint_core::metric::Metric;
use counterpoint_core::scan::{Hits, Masks};
use counterpoint_core::table::{Store, Table};
use counterpoint_core::threads::{Cancelled, Control};
use counterpoint_core::vectors::{InputError, Keep, RowSource};
use serde_json::{Map, Value};

use crate::build::{build, frame};
use crate::encode::Frame;
use crate::graph::Graph;
use crate::parameters::Parameters;
use crate::rows::Rows;
use crate::update::Fresh;

/// A SymphonyQG index.
pub type SymphonyQg = Table<Edges>;

/// Makes an index without vectors; `None` for parameters that are no such.
pub fn new(metric: Metric, parameters: Parameters) -> Option<SymphonyQg> {
    parameters.are_legal().then(|| Table::over(Edges::unlearned(metric, parameters)))
}

/// The rows of a [`SymphonyQg`] index.
#[derive(Clone)]
pub struct Edges {
    pub(crate) metric: Metric,
    parameters: Parameters,
    dim: Option<usize>,
    learned: Option<Learned>,
    /// Rows encoded aside, not linked yet.
    pub(crate) fresh: Option<Fresh>,
}

/// What there is once there was a vector.
#[derive(Clone)]
pub(crate) struct Learned {
    pub(crate) frame: Arc<Frame>,
    /// M² (see [`counterpoint_core::graph::space`]).
    pub(crate) length: f64,
    pub(crate) rows: Rows,
    pub(crate) roster: Roster,
}

impl Learned {
    /// The graph, for a search.
    pub(crate) fn graph(&self, metric: Metric, exact: bool) -> Graph<'_> {
        Graph { rows: &self.rows, entries: self.roster.entries(), metric, exact }
    }
}

impl Edges {
    pub(crate) fn unlearned(metric: Metric, parameters: Parameters) -> Self {
        Self { metric, parameters, dim: None, learned: None, fresh: None }
    }

    pub(crate) fn with(
        metric: Metric,
        parameters: Parameters,
        dim: Option<usize>,
        learned: Option<Learned>,
    ) -> Self {
        Self { metric, parameters, dim, learned, fresh: None }
    }

    /// What shapes the index.
    pub fn parameters(&self) -> Parameters {
        self.parameters
    }

    pub(crate) fn learned(&self) -> Option<&Learned> {
        self.learned.as_ref()
    }

    pub(crate) fn learned_mut(&mut self) -> Option<&mut Learned> {
        self.learned.as_mut()
    }

    /// Rows that are not dead.
    pub(crate) fn live(&self) -> usize {
        self.learned.as_ref().map_or(0, |learned| learned.roster.live())
    }

    /// Takes over the vectors of the rows of `old`, which are the first here, as they were kept: decoded and coded again
    /// they would not be quite the same.
    pub(crate) fn keep_vectors(&mut self, old: &Self) {
        if let (Some(learned), Some(old)) = (&mut self.learned, &old.learned) {
            for (&to, &from) in learned.roster.places().iter().zip(old.roster.places()) {
                learned.rows.copy_vector(to, &old.rows, from);
            }
        }
    }

    /// Learns and builds from rows.
    pub(crate) fn built(&self, rows: &dyn RowSource, control: &Control) -> Result<Self, InputError> {
        if rows.len() >= MAX_VERTICES {
            return Err(InputError::TooMany { got: rows.len() });
        }
        let (vectors, length) = prepared(rows, self.metric, self.parameters.keep, None, control)?;
        let frame = frame(&vectors, &self.parameters, control)?;
        let (graph, entries) = build(vectors, self.metric, &self.parameters, &frame, control)?;
        let roster = Roster::new(rows.len(), &entries);
        let learned = Learned { frame: Arc::new(frame), length, rows: graph, roster };
        Ok(Self::with(self.metric, self.parameters, Some(rows.dim()), Some(learned)))
    }
}

impl Store for Edges {
    const METHOD: &'static str = "SymphonyQG";

    fn metric(&self) -> Metric {
        self.metric
    }

    fn dim(&self) -> Option<usize> {
        self.dim
    }

    fn len(&self) -> usize {
        self.live()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            exact: false,
            reconstruct: true,
            // `rerank` may be 0; there is no choice to tune.
            knobs: vec![Knob::ef(), Knob::rerank(Keep::None, 1)],
        }
    }

    fn blank(&self) -> Self {
        Self::unlearned(self.metric, self.parameters)
    }

    fn learn(&self, rows: &dyn RowSource, control: &Control) -> Result<Self, AddError> {
        self.build(rows, control)
    }

    fn begin(&self, rows: &dyn RowSource, _: &Control) -> Result<Self, AddError> {
        check_rows(rows, self.metric)?;
        Ok(Self { dim: Some(rows.dim()), ..self.blank() }) // it is `encode` that builds
    }

    fn build(&self, rows: &dyn RowSource, control: &Control) -> Result<Self, AddError> {
        self.begin(rows, control)?;
        Ok(self.built(rows, control)?)
    }

    fn encode(&self, rows: &dyn RowSource, control: &Control) -> Result<Self, InputError> {
        // The first rows, or more than there are: the graph is built anew.
        if rows.len() > self.live() {
            let mut store = Self { dim: self.dim, ..self.blank() };
            store.fresh = Some(Fresh::whole(self, rows, control)?);
            return Ok(store);
        }
        let mut store = Self { dim: self.dim, ..self.blank() };
        if let Some(learned) = &self.learned {
            store.fresh = Some(Fresh::beside(self, learned, rows, control)?);
        }
        Ok(store)
    }

    fn absorb(&mut self, other: Self, to: &[Option<u32>], control: &Control) {
        if let Some(fresh) = other.fresh {
            fresh.link(self, to, control);
        }
        self.dim = other.dim;
    }

    fn swap_remove(&mut self, row: usize) {
        if let Some(learned) = &mut self.learned {
            learned.roster.swap_remove(row);
        }
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
        check_ef(options)?;
        if options.rerank.is_some_and(|rerank| rerank > 0) {
            let reason =
                "expected 0 or none: whatever a search expands is scored exactly, unless 0 forbids it";
            return Err(SearchError::Knob { knob: "rerank", reason });
        }
        Ok(())
    }

    fn reconstruct(&self, row: usize, out: &mut [f32]) -> Result<(), ReconstructError> {
        self.read(row, out);
        Ok(())
    }

    fn vectors(&self) -> Option<&dyn RowSource> {
        Some(self)
    }

    fn compact(&mut self, control: &Control) -> Result<(), Cancelled> {
        self.compacted(control)
    }

    fn shrink_to_fit(&mut self) {
        if let Some(learned) = &mut self.learned {
            learned.rows.data.shrink_to_fit();
            learned.roster.shrink_to_fit();
        }
    }

    fn params(&self) -> Map<String, Value> {
        let mut params = Map::new();
        self.parameters.write(&mut params);
        if let Some(learned) = &self.learned {
            learned.write(&mut params);
        }
        params
    }

    fn tensors(&self) -> Vec<TensorView<'_>> {
        self.learned.as_ref().map(Learned::tensors).unwrap_or_default()
    }

    fn take(
        contents: &mut Contents,
        metric: Metric,
        dim: Option<usize>,
        rows: usize,
    ) -> Result<Self, FormatError> {
        let parameters = Parameters::read(contents)?;
        let learned = match dim {
            Some(dim) if Roster::is_in(contents) => {
                Some(Learned::take(contents, &parameters, metric, dim, rows)?)
            }
            Some(_) | None => None,
        };
        Ok(Self::with(metric, parameters, dim, learned))
    }

    fn check(&self, control: &Control) -> Result<(), FormatError> {
        self.learned.as_ref().map_or(Ok(()), |learned| learned.check(control))
    }

    fn stats(&self) -> Map<String, Value> {
        let mut stats = Map::new();
        self.parameters.write(&mut stats);
        if let Some(learned) = &self.learned {
            Figures::of(learned).write(&mut stats);
        }
        stats
    }
}

/// The vectors of live rows.
impl RowSource for Edges {
    fn len(&self) -> usize {
        self.live()
    }

    fn dim(&self) -> usize {
        self.dim.unwrap_or(0)
    }

    fn read(&self, row: usize, out: &mut [f32]) {
        if let Some(learned) = &self.learned {
            learned.rows.read(learned.roster.places()[row], out);
        }
    }
}
