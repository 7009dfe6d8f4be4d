//! Where the candidates for a vertex's edges come from: its leaves, edges turned round, or a search for it.

use std::sync::{Mutex, PoisonError};

use crate::select::Hit;
use crate::simd::{Simd, Work, run};
use crate::threads::{Cancelled, Control};
use crate::vectors::RowSource;

use super::beam::{LANES, Lane, Task, search_all};
use super::build::Method;
use super::leaves::Near;
use super::prune::{Pruner, Rule};
use super::reverse::{Draft, Order, Reverse};

/// Vertices of one item of parallel work.
const PART: usize = 64;

/// What gives the candidates of vertices.
pub(super) trait Candidates: Sync {
    /// Memory to work in.
    type Memory: Default + Send;

    /// Looks at the vertices that are to come.
    fn begin<S: Simd>(&self, _simd: S, _vertices: &[u32], _memory: &mut Self::Memory) {}

    /// Adds to `found` the candidates of a vertex, the `number`-th of those: nearest first by squared distances, distinct,
    /// others than the vertex.
    fn gather<S: Simd>(
        &self,
        simd: S,
        number: usize,
        vertex: u32,
        memory: &mut Self::Memory,
        pruner: &mut Pruner,
        found: &mut Vec<Hit>,
    );
}

/// The nearest rows of a vertex in its leaves, at most `most`.
pub(super) struct InLeaves<'a> {
    pub(super) near: &'a Near,
    pub(super) most: usize,
}

impl Candidates for InLeaves<'_> {
    type Memory = Vec<u64>;

    #[inline(always)]
    fn gather<S: Simd>(
        &self,
        _: S,
        _: usize,
        vertex: u32,
        keys: &mut Vec<u64>,
        _: &mut Pruner,
        found: &mut Vec<Hit>,
    ) {
        self.near.of(vertex, keys, found);
        found.truncate(self.most);
    }
}

/// The edges of a vertex and those that lead to it, the nearest of them.
pub(super) struct Turned<'a> {
    pub(super) draft: &'a Draft<'a>,
    pub(super) reverse: &'a Reverse,
}

impl Candidates for Turned<'_> {
    type Memory = ();

    #[inline(always)]
    fn gather<S: Simd>(
        &self,
        _: S,
        _: usize,
        vertex: u32,
        (): &mut (),
        _: &mut Pruner,
        found: &mut Vec<Hit>,
    ) {
        found.extend_from_slice(self.draft.of(vertex));
        found.extend_from_slice(self.reverse.of(vertex));
        once(found);
        // Some vertices are near many.
        found.truncate(4 * self.draft.width);
    }
}

/// What a search for the vertex pops, and its edges.
pub(super) struct Searched<'a, M: Method + 'a> {
    pub(super) method: &'a M,
    pub(super) expander: M::Expander<'a>,
    pub(super) rows: &'a dyn RowSource,
    pub(super) draft: &'a Draft<'a>,
    pub(super) ef: usize,
}

/// The searches of a part.
pub(super) struct Searches<Q> {
    lanes: [Lane<Q>; LANES],
    popped: Vec<Vec<Hit>>,
}

impl<Q: Default> Default for Searches<Q> {
    fn default() -> Self {
        Self { lanes: Default::default(), popped: vec![Vec::new(); PART] }
    }
}

impl<'a, M: Method + 'a> Candidates for Searched<'a, M> {
    type Memory = Searches<M::Query>;

    #[inline(always)]
    fn begin<S: Simd>(&self, simd: S, vertices: &[u32], memory: &mut Searches<M::Query>) {
        let Searches { lanes, popped } = memory;
        popped.iter_mut().for_each(Vec::clear);
        let mut vertices = Vertices { method: self.method, vertices, popped };
        let count = vertices.vertices.len();
        let Ok(()) = search_all(simd, &self.expander, count, self.ef, lanes, &mut vertices);
    }

    #[inline(always)]
    fn gather<S: Simd>(
        &self,
        simd: S,
        number: usize,
        vertex: u32,
        memory: &mut Searches<M::Query>,
        pruner: &mut Pruner,
        found: &mut Vec<Hit>,
    ) {
        let popped = &mut memory.popped[number];
        popped.sort_unstable();
        found.extend(popped.iter().filter(|hit| hit.row != vertex).take(self.ef.saturating_mul(4)));
        // Whatever the method's distances are, these are squared Euclidean ones.
        pruner.measure(simd, self.rows, vertex, found);
        found.extend_from_slice(self.draft.of(vertex));
        once(found);
    }
}

/// The vertices that are searched for.
struct Vertices<'a, M> {
    method: &'a M,
    vertices: &'a [u32],
    popped: &'a mut [Vec<Hit>],
}

impl<'a, M: Method + 'a> Task<M::Expander<'a>> for Vertices<'_, M> {
    type Error = std::convert::Infallible;

    #[inline(always)]
    fn prepare<S: Simd>(&mut self, simd: S, number: usize, query: &mut M::Query) -> Result<(), Self::Error> {
        self.method.prepare(simd, self.vertices[number], query);
        Ok(())
    }

    #[inline(always)]
    fn popped(&mut self, number: usize, hit: Hit) {
        self.popped[number].push(hit);
    }
}

/// Nearest first, each row once.
#[inline(always)]
fn once(hits: &mut Vec<Hit>) {
    hits.sort_unstable_by_key(|hit| (hit.row, hit.distance.to_bits()));
    hits.dedup_by_key(|hit| hit.row);
    hits.sort_unstable();
}

/// Prunes the candidates of all vertices.
pub(super) fn prune<'a, C: Candidates>(
    rows: &dyn RowSource,
    order: &'a Order,
    rule: Rule,
    candidates: &C,
    control: &Control,
) -> Result<Draft<'a>, Cancelled> {
    let mut draft = Draft::new(order, rule.degree);
    let spare = Mutex::new(Vec::new());
    let hits = draft.hits.chunks_mut(PART * rule.degree);
    let parts = hits.zip(draft.counts.chunks_mut(PART));
    control.for_each(order.vertices.chunks(PART).zip(parts), |(vertices, (hits, counts))| {
        let taken = spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut workspace = taken.unwrap_or_else(|| Workspace::new(rows.dim()));
        let work = Part { rows, rule, candidates, vertices, hits, counts, workspace: &mut workspace };
        run(control.level(), work);
        spare.lock().unwrap_or_else(PoisonError::into_inner).push(workspace);
        control.advance(vertices.len());
        Ok::<_, Cancelled>(())
    })?;
    Ok(draft)
}

/// Memory of one thread.
struct Workspace<T> {
    pruner: Pruner,
    found: Vec<Hit>,
    kept: Vec<Hit>,
    memory: T,
}

impl<T: Default> Workspace<T> {
    fn new(dim: usize) -> Self {
        Self { pruner: Pruner::new(dim), found: Vec::new(), kept: Vec::new(), memory: T::default() }
    }
}

/// Prunes the candidates of a few vertices.
struct Part<'a, C: Candidates> {
    rows: &'a dyn RowSource,
    rule: Rule,
    candidates: &'a C,
    vertices: &'a [u32],
    hits: &'a mut [Hit],
    counts: &'a mut [u32],
    workspace: &'a mut Workspace<C::Memory>,
}

impl<C: Candidates> Work for Part<'_, C> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { rows, rule, candidates, vertices, hits, counts, workspace } = self;
        let Workspace { pruner, found, kept, memory } = workspace;
        candidates.begin(simd, vertices, memory);
        let out = hits.chunks_exact_mut(rule.degree).zip(counts);
        for ((number, &vertex), (hits, count)) in vertices.iter().enumerate().zip(out) {
            found.clear();
            candidates.gather(simd, number, vertex, memory, pruner, found);
            pruner.prune(simd, rows, vertex, found, rule, kept);
            hits[..kept.len()].copy_from_slice(kept);
            *count = kept.len() as u32;
        }
    }
}
