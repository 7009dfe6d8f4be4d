//! The index: vertices' vectors and edges, and which of them are whose ([`Roster`]).

use std::sync::Arc;

use counterpoint_core::file::{Contents, FormatError, TensorView};
use counterpoint_core::graph::change::Figures;
use counterpoint_core::graph::seek::check_ef;
use counterpoint_core::graph::space::{check_dim, check_rows, prepared};
use counterpoint_core::graph::{Adjacency, MAX_VERTICES, Roster};
use counterpoint_core::index::{AddError, Capabilities, ReconstructError, SearchError, SearchOptions};
use counterpoint_core::knobs::Knob;
use counterpoint_core::metric::Metric;
use counterpoint_core::scan::{Hits, Masks};
use counterpoint_core::table::{Store, Table};
use counterpoint_core::threads::{Cancelled, Control};
use counterpoint_core::vectors::{InputError, Keep, Matrix, RowSource};
use serde_json::{Map, Value};

use crate::graph::build::build;
use crate::graph::parameters::Parameters;
use crate::graph::update::Fresh;
use crate::graph::vectors::Vectors;
use crate::graph::walk::Graph;
use crate::space::Space;

/// An LVQ index, searched through a graph.
pub type LvqGraph = Table<Edges>;

/// Makes an index without vectors; `None` for parameters that are no such.
pub fn new(metric: Metric, parameters: Parameters) -> Option<LvqGraph> {
    parameters.are_legal().then(|| Table::over(Edges::unlearned(metric, parameters)))
}

/// The rows of a [`LvqGraph`] index.
#[derive(Clone)]
pub struct Edges {
    pub(crate) metric: Metric,
    parameters: Parameters,
    dim: Option<usize>,
    learned: Option<Learned>,
    /// Rows encoded aside, not linked yet.
    fresh: Option<Fresh>,
}

/// What there is once there was a vector.
#[derive(Clone)]
pub(crate) struct Learned {
    pub(crate) vectors: Vectors,
    /// M² under ip (see [`counterpoint_core::graph::space`]).
    pub(crate) length: f64,
    pub(crate) adjacency: Adjacency,
    pub(crate) roster: Roster,
}

impl Learned {
    /// The graph, for a search.
    pub(crate) fn graph(&self) -> Graph<'_> {
        let Self { vectors, adjacency, roster, .. } = self;
        Graph { vectors, adjacency, entries: roster.entries() }
    }

    /// The same without residual codes.
    fn without_residual(&self) -> Self {
        let Self { length, ref adjacency, ref roster, .. } = *self;
        let vectors = self.vectors.without_residual();
        Self { vectors, length, adjacency: adjacency.clone(), roster: roster.clone() }
    }

    /// The graph of vectors, whose rows in the graph's space are given.
    pub(crate) fn over(
        vectors: Vectors,
        rows: &Matrix<f32>,
        length: f64,
        parameters: &Parameters,
        control: &Control,
    ) -> Result<Self, Cancelled> {
        let (adjacency, entries) = build(&vectors, rows, parameters, control)?;
        Ok(Self { vectors, length, adjacency, roster: Roster::new(rows.rows(), &entries) })
    }
}

impl Edges {
    fn unlearned(metric: Metric, parameters: Parameters) -> Self {
        Self { metric, parameters, dim: None, learned: None, fresh: None }
    }

    pub(crate) fn with(&self, learned: Option<Learned>) -> Self {
        Self { dim: self.dim, learned, ..Self::unlearned(self.metric, self.parameters) }
    }

    /// What shapes the index.
    pub fn parameters(&self) -> Parameters {
        self.parameters
    }

    pub(crate) fn learned(&self) -> Option<&Learned> {
        self.learned.as_ref()
    }

    pub(crate) fn take_learned(&mut self) -> Option<Learned> {
        self.learned.take()
    }

    pub(crate) fn learned_mut(&mut self) -> Option<&mut Learned> {
        self.learned.as_mut()
    }

    /// Rows that are not dead.
    pub(crate) fn live(&self) -> usize {
        self.learned.as_ref().map_or(0, |learned| learned.roster.live())
    }

    /// Learns and builds from rows.
    pub(crate) fn built(&self, rows: &dyn RowSource, control: &Control) -> Result<Self, InputError> {
        if rows.len() >= MAX_VERTICES {
            return Err(InputError::TooMany { got: rows.len() });
        }
        let (rows_in_space, length) = prepared(rows, self.metric, Keep::F32, None, control)?;
        let space = Arc::new(Space::learn(rows, self.metric, control)?);
        let vectors = Vectors::encoded(self.metric, &self.parameters, space, &rows_in_space, control)?;
        let learned = Learned::over(vectors, &rows_in_space, length, &self.parameters, control)?;
        Ok(Self { dim: Some(rows.dim()), ..self.with(Some(learned)) })
    }
}

impl Store for Edges {
    const METHOD: &'static str = "LVQ";

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
        let scored = self.parameters.keep != Keep::None || self.parameters.levels.residual().is_some();
        let rerank = if scored { Knob::rescored(20) } else { Knob::rerank(Keep::None, 1) };
        Capabilities { exact: false, reconstruct: true, knobs: vec![Knob::ef(), rerank] }
    }

    fn blank(&self) -> Self {
        Self::unlearned(self.metric, self.parameters)
    }

    /// To the byte what encoding primary codes alone gives, but for the edges.
    fn without_residual(&self) -> Option<Self> {
        self.parameters.levels.residual()?;
        let parameters = Parameters { levels: self.parameters.levels.without_residual(), ..self.parameters };
        let learned = self.learned.as_ref().map(Learned::without_residual);
        Some(Self { parameters, dim: self.dim, learned, ..self.blank() })
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
        let mut store = Self { dim: self.dim, ..self.blank() };
        store.fresh = Some(match &self.learned {
            // The first rows, or more than there are: the graph is built anew.
            None => Fresh::first(self, rows, control)?,
            Some(learned) if rows.len() > self.live() => Fresh::whole(self, learned, rows, control)?,
            Some(learned) => Fresh::beside(self, learned, rows, control)?,
        });
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
        crate::graph::search::search(self, queries, options, masks, control)
    }

    fn check_options(&self, options: &SearchOptions<'_>) -> Result<(), SearchError> {
        check_ef(options)?;
        let scored = self.parameters.keep != Keep::None || self.parameters.levels.residual().is_some();
        if options.rerank.is_some_and(|rerank| rerank > 0) && !scored {
            let reason = "expected 0 or none: this index has neither a residual nor kept vectors to re-rank \
                          on (residual=0, keep=\"none\")";
            return Err(SearchError::Knob { knob: "rerank", reason });
        }
        Ok(())
    }

    fn reconstruct(&self, row: usize, out: &mut [f32]) -> Result<(), ReconstructError> {
        self.read(row, out);
        Ok(())
    }

    fn vectors(&self) -> Option<&dyn RowSource> {
        (self.parameters.keep != Keep::None).then_some(self as _)
    }

    fn compact(&mut self, control: &Control) -> Result<(), Cancelled> {
        self.compacted(control)
    }

    fn shrink_to_fit(&mut self) {
        if let Some(learned) = &mut self.learned {
            learned.vectors.shrink_to_fit();
            learned.adjacency.shrink_to_fit();
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
        dim.map_or(Ok(()), |dim| check_dim(metric, dim))?;
        let learned = match dim {
            Some(dim) if Roster::is_in(contents) => {
                Some(Learned::take(contents, metric, &parameters, dim, rows)?)
            }
            Some(_) | None => None,
        };
        Ok(Self { dim, ..Self::unlearned(metric, parameters).with(learned) })
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

/// The vectors of live rows, as well as they are known.
impl RowSource for Edges {
    fn len(&self) -> usize {
        self.live()
    }

    fn dim(&self) -> usize {
        self.dim.unwrap_or(0)
    }

    fn read(&self, row: usize, out: &mut [f32]) {
        if let Some(learned) = &self.learned {
            learned.vectors.read(learned.roster.places()[row], out);
        }
    }
}
