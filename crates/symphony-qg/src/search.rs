//! What a search of a call reads.

use std::cell::Cell;

use counterpoint_core::graph::Roster;
use counterpoint_core::graph::seek::{Asked, Scratch, Seek, Shelf, seek};
use counterpoint_core::index::{SearchError, SearchOptions};
use counterpoint_core::scan::{Hits, Masks};
use counterpoint_core::simd::Simd;
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::{RowSource, read_checked};

use crate::graph::{Graph, Query};
use crate::store::{Edges, Learned};

/// Candidates where the caller does not say.
pub(crate) fn default_ef(k: usize) -> usize {
    (2 * k).max(100)
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch<Query>>>> = const { Cell::new(None) };
}

/// One call.
struct Call<'a> {
    learned: &'a Learned,
    graph: Graph<'a>,
    queries: &'a dyn RowSource,
}

/// The best rows of each query.
pub(crate) fn search(
    store: &Edges,
    queries: &dyn RowSource,
    options: &SearchOptions<'_>,
    masks: &Masks,
    control: &Control,
) -> Result<Hits, SearchError> {
    let Some(learned) = store.learned() else { return Ok(vec![Vec::new(); queries.len()]) };
    let graph = learned.graph(store.metric, options.rerank != Some(0));
    let k = options.k;
    let ef = options.ef.unwrap_or(default_ef(k)).max(k);
    seek(&Call { learned, graph, queries }, Asked { queries: queries.len(), k, ef, kept: k, masks, control })
}

impl<'a> Seek for Call<'a> {
    type Query = Query;
    type Graph = Graph<'a>;
    const ROWS_A_HOP: usize = 4;

    #[inline(always)]
    fn graph(&self) -> &Graph<'a> {
        &self.graph
    }

    #[inline(always)]
    fn roster(&self) -> &Roster {
        &self.learned.roster
    }

    fn shelf() -> &'static Shelf<Query> {
        &SCRATCH
    }

    #[inline(always)]
    fn read<S: Simd>(&self, _: S, number: usize, query: &mut Query) -> Result<(), SearchError> {
        let dim = self.queries.dim();
        // Zeros beyond the end: of the padding, and under ip of the added value.
        query.values.clear();
        query.values.resize(self.learned.rows.layout.stride(), 0.0);
        read_checked(self.queries, number, &mut query.values[..dim])?;
        Ok(self.graph.metric.prepare(&mut query.values[..dim], number)?)
    }

    #[inline(always)]
    fn ready<S: Simd>(&self, simd: S, query: &mut Query) {
        query.prepare(simd, &self.learned.frame);
    }

    #[inline(always)]
    fn distance<S: Simd>(&self, simd: S, query: &Query, vertex: u32) -> f32 {
        self.learned.rows.distance(simd, self.graph.metric, &query.values, vertex)
    }

    #[inline(always)]
    fn prefetch(&self, vertex: u32) {
        self.learned.rows.prefetch_vector(vertex);
    }
}
