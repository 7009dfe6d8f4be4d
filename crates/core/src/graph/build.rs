//! Building a graph.
//!
//! 1. A first graph from near rows within leaves ([`super::partition`], [`super::leaves`]).
//! 2. Each vertex's candidates are pruned and supplemented ([`super::prune`]); then each has its edges and those that
//!    lead to it by the rule as candidates, and is pruned again.
//! 3. Refining: each vertex is searched for through the graph as it is, by the method's own distances; what the search
//!    popped and its neighbours are its candidates, and step 2 is done with them.
//! 4. What cannot be reached from the entry points is joined ([`super::connect`]).
//!
//! Parts of the vertices are worked on by any number of threads, each of which writes only what is its own vertices'; so
//! the graph follows from rows, parameters, seed and level alone.
//!
//! **Memory** while it is built, beside rows and codes: about 1,100 bytes a row for the leaves, 16·degree for the edges
//! and those turned round, and as much again while a pass is under way.

use std::sync::{Mutex, PoisonError};

use crate::select::Hit;
use crate::simd::{Simd, Work, run};
use crate::threads::{Cancelled, Control};
use crate::vectors::RowSource;

use super::beam::{Walk, search};
use super::connect::connect;
use super::entries::entries;
use super::leaves::Near;
use super::partition::{Partition, divided};
use super::prune::{Fill, Pruner, Rule};
use super::reverse::{Draft, Order, Reverse};
use super::{Adjacency, Expander};

/// Vertices of one item of parallel work.
const PART: usize = 64;

/// How a graph is built.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Build {
    /// Neighbours of a vertex at most; rounded up to a multiple of [`super::adjacency::STEP`].
    pub degree: usize,
    /// α of the pruning rule, at least 1.
    pub alpha: f32,
    /// Near rows that the first graph's edges are chosen from.
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
        let near = Near::new(rows, &leaves, control)?;
        drop(leaves);
        let mut draft = self.first(rows, near, &order, graph.adjacency.degree(), control)?;
        for _ in 0..self.passes {
            take(&mut graph.adjacency, &draft);
            method.encode(&graph, control)?;
            draft = self.refined(rows, &draft, method, control)?;
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

    /// The first graph.
    fn first<'a>(
        &self,
        rows: &dyn RowSource,
        near: Near,
        order: &'a Order,
        degree: usize,
        control: &Control,
    ) -> Result<Draft<'a>, Cancelled> {
        let most = self.near.max(degree);
        let gather = |_, vertex, workspace: &mut Workspace<()>| {
            let Workspace { candidates, keys, .. } = workspace;
            near.of(vertex, keys, candidates);
            candidates.truncate(most);
        };
        let draft = prune(rows, order, self.rule(degree, Fill::Widest), control, gather)?;
        drop(near);
        self.turned(rows, &draft, control)
    }

    /// Each vertex has the edges of those it leads to by the rule as candidates as well.
    fn turned<'a>(
        &self,
        rows: &dyn RowSource,
        draft: &Draft<'a>,
        control: &Control,
    ) -> Result<Draft<'a>, Cancelled> {
        let reverse = Reverse::new(draft, control)?;
        let most = 4 * draft.width;
        prune(
            rows,
            draft.order,
            self.rule(draft.width, Fill::Supplement),
            control,
            |_, vertex, workspace: &mut Workspace<()>| {
                let candidates = &mut workspace.candidates;
                candidates.extend_from_slice(draft.of(vertex));
                candidates.extend_from_slice(reverse.of(vertex));
                once(candidates, most);
            },
        )
    }

    /// The graph after one pass of searches.
    fn refined<'a, M: Method>(
        &self,
        rows: &dyn RowSource,
        draft: &Draft<'a>,
        method: &M,
        control: &Control,
    ) -> Result<Draft<'a>, Cancelled> {
        let refine = Refine { method, expander: method.expander(), rows, draft, ef: self.ef };
        let refined = prune(rows, draft.order, self.rule(draft.width, Fill::Widest), control, &refine)?;
        self.turned(rows, &refined, control)
    }
}

/// Writes a draft's edges to the graph.
fn take(adjacency: &mut Adjacency, draft: &Draft<'_>) {
    for vertex in 0..adjacency.len() as u32 {
        adjacency.replace(vertex, draft.of(vertex).iter().map(|hit| hit.row));
    }
}

/// Nearest first, each row once, at most `most`.
#[inline(always)]
fn once(hits: &mut Vec<Hit>, most: usize) {
    hits.sort_unstable_by_key(|hit| (hit.row, hit.distance.to_bits()));
    hits.dedup_by_key(|hit| hit.row);
    hits.sort_unstable();
    hits.truncate(most);
}

/// Memory to work in.
struct Workspace<Q> {
    pruner: Pruner,
    candidates: Vec<Hit>,
    kept: Vec<Hit>,
    keys: Vec<u64>,
    walk: Walk,
    query: Q,
}

/// What gives the candidates of a vertex.
trait Gather: Sync {
    type Query: Default + Send;
    fn gather<S: Simd>(&self, simd: S, vertex: u32, workspace: &mut Workspace<Self::Query>);
}

impl<F: Fn((), u32, &mut Workspace<()>) + Sync> Gather for F {
    type Query = ();
    #[inline(always)]
    fn gather<S: Simd>(&self, _: S, vertex: u32, workspace: &mut Workspace<()>) {
        self((), vertex, workspace);
    }
}

/// Searches for each vertex.
struct Refine<'a, M: Method + 'a> {
    method: &'a M,
    expander: M::Expander<'a>,
    rows: &'a dyn RowSource,
    draft: &'a Draft<'a>,
    ef: usize,
}

impl<'a, M: Method + 'a> Gather for &Refine<'a, M> {
    type Query = M::Query;

    #[inline(always)]
    fn gather<S: Simd>(&self, simd: S, vertex: u32, workspace: &mut Workspace<M::Query>) {
        let Workspace { pruner, candidates, walk, query, .. } = workspace;
        self.method.prepare(simd, vertex, query);
        search(simd, &self.expander, query, self.ef, walk, |hit| {
            if hit.row != vertex {
                candidates.push(hit);
            }
        });
        candidates.sort_unstable();
        candidates.truncate(4 * self.ef);
        // Whatever the method's distances are, these are squared Euclidean ones.
        pruner.measure(simd, self.rows, vertex, candidates);
        candidates.extend_from_slice(self.draft.of(vertex));
        once(candidates, usize::MAX);
    }
}

/// Prunes what is gathered for each vertex.
fn prune<'a, G: Gather>(
    rows: &dyn RowSource,
    order: &'a Order,
    rule: Rule,
    control: &Control,
    gather: G,
) -> Result<Draft<'a>, Cancelled> {
    let mut draft = Draft::new(order, rule.degree);
    let spare = Mutex::new(Vec::new());
    let hits = draft.hits.chunks_mut(PART * rule.degree);
    let parts = hits.zip(draft.counts.chunks_mut(PART)).zip(draft.primary.chunks_mut(PART));
    control.for_each(parts.enumerate(), |(part, ((hits, counts), primary))| {
        let taken = spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut workspace = taken.unwrap_or_else(|| Workspace {
            pruner: Pruner::new(rows.dim()),
            candidates: Vec::new(),
            kept: Vec::new(),
            keys: Vec::new(),
            walk: Walk::default(),
            query: G::Query::default(),
        });
        let vertices = &order.vertices[part * PART..];
        control.advance(counts.len());
        let workspace_of = &mut workspace;
        let part =
            Part { rows, rule, gather: &gather, vertices, hits, counts, primary, workspace: workspace_of };
        run(control.level(), part);
        spare.lock().unwrap_or_else(PoisonError::into_inner).push(workspace);
        Ok::<_, Cancelled>(())
    })?;
    Ok(draft)
}

/// Prunes a few vertices.
struct Part<'a, G: Gather> {
    rows: &'a dyn RowSource,
    rule: Rule,
    gather: &'a G,
    vertices: &'a [u32],
    hits: &'a mut [Hit],
    counts: &'a mut [u32],
    primary: &'a mut [u32],
    workspace: &'a mut Workspace<G::Query>,
}

impl<G: Gather> Work for Part<'_, G> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { rows, rule, gather, vertices, hits, counts, primary, workspace } = self;
        let out = hits.chunks_exact_mut(rule.degree).zip(counts).zip(primary);
        for (&vertex, ((hits, count), primary)) in vertices.iter().zip(out) {
            workspace.candidates.clear();
            gather.gather(simd, vertex, workspace);
            let Workspace { pruner, candidates, kept, .. } = &mut *workspace;
            *primary = pruner.prune(simd, rows, vertex, candidates, rule, kept) as u32;
            hits[..kept.len()].copy_from_slice(kept);
            *count = kept.len() as u32;
        }
    }
}
