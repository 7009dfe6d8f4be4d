//! What a search of a call reads.
//!
//! **Inner products** order rows alike for a query of any length t, but estimates do not: the error grows with ‖q − u‖
//! (see `encode`), which beside ⟨q, u⟩ is √(1 − 2ρ cos φ + ρ²)/cos φ, where ρ = M/t, M is the rows' length in the graph's
//! space and φ the angle between q and u. It is least at ρ = cos φ, never much above 1/cos φ where t is longer, and without
//! bound where t is shorter. So under ip a query is multiplied by the power of two that brings it to between 2M and 4M, and
//! distances are divided by it, which costs no precision.

use std::cell::Cell;

use counterpoint_core::graph::seek::{Asked, Scratch, Seek, Shelf, ef_of, seek};
use counterpoint_core::graph::space::square;
use counterpoint_core::graph::{Nearest, Roster};
use counterpoint_core::index::{SearchError, SearchOptions};
use counterpoint_core::metric::Metric;
use counterpoint_core::scan::{Hits, Masks};
use counterpoint_core::simd::Simd;
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::{RowSource, read_checked};

use crate::graph::{Graph, Query};
use crate::store::{Edges, Learned};

/// Of a query under ip: the square of its length in units of M, to the nearest power of two.
const LENGTH: f64 = 8.0;

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
    let ef = ef_of(options);
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
        self.graph.metric.prepare(&mut query.values[..dim], number)?;
        query.unit = 1.0;
        if self.graph.metric == Metric::Ip {
            let square = square(&query.values[..dim]);
            let factor = power_of_two((LENGTH * self.learned.length / square).sqrt());
            query.values[..dim].iter_mut().for_each(|value| *value *= factor);
            query.unit = 1.0 / factor;
        }
        Ok(())
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

    #[inline(always)]
    fn finish<S: Simd>(&self, _: S, query: &mut Query, nearest: &mut Nearest) {
        if self.graph.metric == Metric::Ip {
            nearest.scale(query.unit);
        }
    }
}

/// The power of two that is nearest to a ratio, within what queries may be multiplied by.
fn power_of_two(ratio: f64) -> f32 {
    // Neither is a product of a legal value and a legal length beyond what tables can have, nor 1 over the factor.
    let exponent =
        if ratio.is_finite() && ratio > 0.0 { ratio.log2().round().clamp(-60.0, 60.0) } else { 0.0 };
    exponent.exp2() as f32
}
