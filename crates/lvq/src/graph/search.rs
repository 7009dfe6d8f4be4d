//! What a search of a call reads, and how what it found is scored again.

use std::cell::Cell;

use counterpoint_core::graph::seek::{Asked, Scratch, Seek, Shelf, ef_of, seek};
use counterpoint_core::graph::{Nearest, Roster};
use counterpoint_core::index::{SearchError, SearchOptions};
use counterpoint_core::rerank::rescore;
use counterpoint_core::scan::{Hits, Masks};
use counterpoint_core::select::Hit;
use counterpoint_core::simd::Simd;
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::{Keep, Matrix, RowSource, read_checked};

use crate::graph::store::{Edges, Learned};
use crate::graph::vectors::Query;
use crate::graph::walk::Graph;

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch<Query>>>> = const { Cell::new(None) };
}

/// One call.
struct Call<'a> {
    learned: &'a Learned,
    graph: Graph<'a>,
    queries: &'a dyn RowSource,
    k: usize,
    /// Whether what is found is scored again.
    again: bool,
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
    let (k, parameters) = (options.k, store.parameters());
    let ef = ef_of(options);
    let scored = parameters.keep != Keep::None || parameters.levels.residual().is_some();
    let rerank = if scored { options.rerank.unwrap_or(ef) } else { 0 };
    let call = Call { learned, graph: learned.graph(), queries, k, again: rerank > 0 };
    seek(&call, Asked { queries: queries.len(), k, ef, kept: rerank.max(k), masks, control })
}

impl<'a> Seek for Call<'a> {
    type Query = Query;
    type Graph = Graph<'a>;
    const ROWS_A_HOP: usize = 16;

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
        let (dim, vectors) = (self.queries.dim(), &self.learned.vectors);
        let mut values = std::mem::take(&mut query.values);
        values.clear();
        values.resize(Matrix::<f32>::stride_for(dim), 0.0);
        let read = read_checked(self.queries, number, &mut values[..dim]);
        let read = read.and_then(|()| vectors.metric.prepare(&mut values[..dim], number));
        if read.is_ok() {
            query.prepare(vectors.metric, vectors.levels, vectors.space.mean(), &values[..dim]);
        }
        query.values = values;
        Ok(read?)
    }

    #[inline(always)]
    fn distance<S: Simd>(&self, simd: S, query: &Query, vertex: u32) -> f32 {
        let mut distance = [0.0];
        self.learned.vectors.distances(simd, query, &[vertex], &mut distance);
        distance[0]
    }

    #[inline(always)]
    fn prefetch(&self, vertex: u32) {
        self.learned.vectors.prefetch(vertex);
    }

    #[inline(always)]
    fn finish<S: Simd>(&self, simd: S, query: &mut Query, nearest: &mut Nearest) {
        let Learned { vectors, roster, .. } = self.learned;
        let mut hits = std::mem::take(&mut query.hits);
        hits.clear();
        let places = roster.places();
        hits.extend(nearest.hits().map(|hit| Hit { row: places[hit.row as usize], ..hit }));
        if self.again && vectors.kept.keep() != Keep::None {
            query.scratch.resize(query.values.len(), 0.0);
            let Query { values, scratch, .. } = query;
            rescore(simd, &vectors.kept, vectors.metric, values, &mut hits, scratch);
        } else if self.again
            && let Some(bits) = vectors.levels.residual()
        {
            vectors.refine(simd, query, bits, &mut hits);
        }
        // Rows again: of equally near ones the first are left, wherever their vertices are.
        nearest.begin(self.k);
        let owners = roster.owners();
        for &Hit { distance, row } in &hits {
            let distance = vectors.metric.clamp(distance);
            nearest.push(Hit { distance, row: owners[row as usize] });
        }
        query.hits = hits;
    }
}
