//! Building: the shared room's graph, searched through by LVQ's own distances.

use counterpoint_core::graph::{Adjacency, Graph as Made, Method};
use counterpoint_core::simd::Simd;
use counterpoint_core::threads::{Cancelled, Control};
use counterpoint_core::vectors::Matrix;

use crate::graph::Parameters;
use crate::graph::vectors::{Query, Vectors};
use crate::graph::walk::Graph;

/// A graph that is being built.
struct Builder<'a> {
    vectors: &'a Vectors,
    rows: &'a Matrix<f32>,
    adjacency: Adjacency,
    entries: Vec<u32>,
}

impl Method for Builder<'_> {
    type Error = Cancelled;
    type Expander<'a>
        = Graph<'a>
    where
        Self: 'a;
    type Query = Query;

    fn encode(&mut self, graph: &Made, _: &Control) -> Result<(), Cancelled> {
        self.adjacency.clone_from(&graph.adjacency);
        self.entries.clone_from(&graph.entries);
        Ok(())
    }

    fn expander(&self) -> Graph<'_> {
        Graph { vectors: self.vectors, adjacency: &self.adjacency, entries: &self.entries }
    }

    #[inline(always)]
    fn prepare<S: Simd>(&self, _: S, vertex: u32, query: &mut Query) {
        let Vectors { metric, levels, space, .. } = self.vectors;
        query.prepare(*metric, *levels, space.mean(), self.rows.row(vertex as usize));
    }
}

/// The edges of rows in the graph's space, which are those of `vectors`, and where searches begin.
pub(crate) fn build(
    vectors: &Vectors,
    rows: &Matrix<f32>,
    parameters: &Parameters,
    control: &Control,
) -> Result<(Adjacency, Vec<u32>), Cancelled> {
    let plan = parameters.plan();
    control.expect(plan.units(rows.rows()));
    let adjacency = Adjacency::new(0, parameters.degree);
    let mut builder = Builder { vectors, rows, adjacency, entries: Vec::new() };
    let Made { adjacency, entries } = plan.run(rows, &mut builder, control)?;
    Ok((adjacency, entries))
}
