//! What a method must give for its graph to be searched.

use super::Visited;
use crate::select::Hit;
use crate::simd::Simd;

/// When a vertex counts as visited, and is not offered again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// When it is popped: until then several estimates of its distance, from several neighbours, may wait in the pool,
    /// and the smallest wins. For methods whose estimates depend on the vertex they are made from.
    OnPop,
    /// When it is offered for the first time: [`Expander::expand`] itself asks [`Visited::insert`] before it scores a
    /// neighbour. For methods whose distances do not depend on the way.
    OnPush,
}

/// A graph whose vertices, all below [`super::MAX_VERTICES`], can be scored against a query.
pub trait Expander: Sync {
    /// A query, ready to be scored.
    type Query;

    /// When vertices are marked.
    const MARK: Mark;

    /// Adds the entry points to `found`, each with its distance, or an estimate. Under [`Mark::OnPush`] each is inserted
    /// into `visited`.
    fn enter<S: Simd>(&self, simd: S, query: &Self::Query, visited: &mut Visited, found: &mut Vec<Hit>);

    /// Asks for all that [`Expander::expand`] will read of a vertex.
    fn prefetch(&self, vertex: u32);

    /// Adds to `found` the neighbours of `from.row` that are nearer than `bound` by their estimates (others may be among
    /// them), and gives the vertex's own distance. `from.distance` is what it was estimated at.
    fn expand<S: Simd>(
        &self,
        simd: S,
        query: &Self::Query,
        from: Hit,
        bound: f32,
        visited: &mut Visited,
        found: &mut Vec<Hit>,
    ) -> f32;

    /// Whether one of several searches expands a vertex in two steps, [`Expander::gather`] and [`Expander::score`], between
    /// which the others go on and memory has time. A vertex's own distance is then what it was found at.
    const IN_STEPS: bool = false;

    /// Adds to `new` the neighbours of a vertex that were not visited, which they are from now on, and asks for what
    /// [`Expander::score`] will read of them.
    fn gather(&self, _vertex: u32, _visited: &mut Visited, _new: &mut Vec<u32>) {}

    /// Adds to `found` those of `new` that are nearer than `bound` (others may be among them).
    fn score<S: Simd>(
        &self,
        _simd: S,
        _query: &Self::Query,
        _new: &[u32],
        _bound: f32,
        _found: &mut Vec<Hit>,
    ) {
    }
}
