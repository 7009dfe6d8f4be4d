//! Building a graph.
//!
//! 1. A first graph from near rows within leaves (`partition`, `leaves`).
//! 2. Each vertex's candidates are pruned and supplemented (`prune`); then each has its edges and those that
//!    lead to it as candidates, and is pruned again.
//! 3. Refining: each vertex is searched for through the graph as it is, by the method's own distances; what the search
//!    popped and its neighbours are its candidates, and step 2 is done with them.
//! 4. What cannot be reached from the entry points is joined ([`super::connect`]).
//!
//! Parts of the vertices are worked on by any number of threads, each of which writes only what is its own vertices'; so
//! the graph follows from rows, parameters, seed and level alone.
//!
//! **Memory** while it is built, beside rows, codes and the graph: for each row about 1,200 + 8·degree bytes at first (more
//! for the leaves where the degree is above 32), 24·degree later.

use serde_json::{Map, Value, json};

use crate::file::{Contents, FormatError};
use crate::simd::Simd;
use crate::threads::{Cancelled, Control};
use crate::vectors::RowSource;

use super::adjacency::STEP;
use super::candidates::{InLeaves, Searched, Turned, prune};
use super::connect::connect;
use super::entries::entries;
use super::leaves::Near;
use super::partition::{Partition, divided};
use super::prune::{Fill, Rule};
use super::reverse::{Draft, Order, Reverse};
use super::{Adjacency, Expander};

/// The most neighbours of a vertex of an index.
pub const MOST_DEGREE: usize = 1024;

/// How a graph is built.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Build {
    /// Neighbours of a vertex at most; rounded up to a multiple of [`STEP`].
    pub degree: usize,
    /// α of the pruning rule, at least 1.
    pub alpha: f32,
    /// Near rows that the first graph's edges are chosen from, at least twice the degree.
    pub near: usize,
    /// Candidates of a search while refining.
    pub ef: usize,
    /// How often the graph is refined.
    pub passes: usize,
    /// Entry points.
    pub entries: usize,
    /// What is drawn at random follows from it.
    pub seed: u64,
}

impl Default for Build {
    fn default() -> Self {
        Self { degree: 32, alpha: 1.0, near: 96, ef: 48, passes: 1, entries: 16, seed: 0 }
    }
}

/// A graph and where searches begin.
#[derive(Clone)]
pub struct Graph {
    /// The edges.
    pub adjacency: Adjacency,
    /// The entry points, in rising order.
    pub entries: Vec<u32>,
}

/// A method whose graph is built.
pub trait Method: Sync {
    /// Why a step of it fails.
    type Error: From<Cancelled> + Send;
    /// How its graph is searched.
    type Expander<'a>: Expander<Query = Self::Query>
    where
        Self: 'a;
    /// A row that is searched for.
    type Query: Default + Send;

    /// Takes in the edges as they are now, of all vertices.
    ///
    /// # Errors
    /// Those of the method; building then ends.
    fn encode(&mut self, graph: &Graph, control: &Control) -> Result<(), Self::Error>;

    /// The graph as it was taken in last.
    fn expander(&self) -> Self::Expander<'_>;

    /// Makes a row the query.
    fn prepare<S: Simd>(&self, simd: S, vertex: u32, query: &mut Self::Query);
}

/// What of it a caller chooses and a file holds: the degree, the candidates as `ef_construction`, and the seed.
impl Build {
    /// Whether an index's graph may be built so: with a degree that is a multiple of 32 up to [`MOST_DEGREE`], and at least
    /// one candidate.
    pub fn is_legal(&self) -> bool {
        let degrees = STEP..=MOST_DEGREE;
        degrees.contains(&self.degree) && self.degree.is_multiple_of(STEP) && self.ef > 0
    }

    /// As a file says.
    ///
    /// # Errors
    /// [`FormatError`] naming what is missing or cannot be.
    pub fn read(contents: &Contents) -> Result<Self, FormatError> {
        let build = Self {
            degree: contents.param_usize("degree")?,
            ef: contents.param_usize("ef_construction")?,
            seed: contents.param_u64("seed")?,
            ..Self::default()
        };
        if !build.is_legal() {
            let got = format!("{} and {}", build.degree, build.ef);
            let expected = "a multiple of 32 up to 1024, and an ef_construction of at least 1";
            return Err(FormatError::content("degree", expected, got));
        }
        Ok(build)
    }

    /// What a file holds of it.
    pub fn write(&self, params: &mut Map<String, Value>) {
        params.insert("degree".into(), json!(self.degree));
        params.insert("ef_construction".into(), json!(self.ef));
        params.insert("seed".into(), json!(self.seed));
    }
}

impl Build {
    /// Builds the graph of `rows`, which are prepared: near is what has a small Euclidean distance. The method has taken it
    /// in when this returns.
    ///
    /// # Errors
    /// [`Cancelled`], and those of the method.
    pub fn run<M: Method>(
        &self,
        rows: &dyn RowSource,
        method: &mut M,
        control: &Control,
    ) -> Result<Graph, M::Error> {
        let mut graph = Graph {
            adjacency: Adjacency::new(rows.len(), self.degree),
            entries: entries(rows, self.entries, self.seed, control)?,
        };
        let Partition { leaves, order } = divided(rows, self.seed, control)?;
        let order = Order::new(order);
        let near = Near::new(rows, &leaves, graph.adjacency.degree(), control)?;
        drop(leaves);
        let degree = graph.adjacency.degree();
        let candidates = InLeaves { near: &near, most: self.near.max(2 * degree) };
        let first = prune(rows, &order, self.rule(degree, Fill::Widest), &candidates, control)?;
        drop(near);
        let mut draft = self.turned(rows, &first, control)?;
        drop(first);
        for _ in 0..self.passes {
            take(&mut graph.adjacency, &draft);
            method.encode(&graph, control)?;
            let refined = self.refined(rows, &draft, method, control)?;
            drop(draft);
            draft = self.turned(rows, &refined, control)?;
        }
        take(&mut graph.adjacency, &draft);
        drop(draft);
        connect(&mut graph.adjacency, &graph.entries, rows, control)?;
        method.encode(&graph, control)?;
        Ok(graph)
    }

    /// Units of work that [`Build::run`] reports to its control.
    pub fn units(&self, rows: usize) -> usize {
        rows.saturating_mul(2 * (self.passes + 1))
    }

    fn rule(&self, degree: usize, fill: Fill) -> Rule {
        Rule { degree, alpha: self.alpha.max(1.0), fill }
    }

    /// The edges after one pass of searches, to be turned round.
    fn refined<'a, M: Method>(
        &self,
        rows: &dyn RowSource,
        draft: &Draft<'a>,
        method: &M,
        control: &Control,
    ) -> Result<Draft<'a>, Cancelled> {
        let candidates = Searched { method, expander: method.expander(), rows, draft, ef: self.ef.max(1) };
        prune(rows, draft.order, self.rule(draft.width, Fill::Widest), &candidates, control)
    }

    /// Each vertex chooses from its edges and those that lead to it.
    fn turned<'a>(
        &self,
        rows: &dyn RowSource,
        draft: &Draft<'a>,
        control: &Control,
    ) -> Result<Draft<'a>, Cancelled> {
        let reverse = Reverse::new(draft, control)?;
        let candidates = Turned { draft, reverse: &reverse };
        prune(rows, draft.order, self.rule(draft.width, Fill::Supplement), &candidates, control)
    }
}

/// Writes a draft's edges to the graph.
fn take(adjacency: &mut Adjacency, draft: &Draft<'_>) {
    for vertex in 0..adjacency.len() as u32 {
        adjacency.replace(vertex, draft.of(vertex).iter().map(|hit| hit.row));
    }
}

#[cfg(test)]
mod tests;
