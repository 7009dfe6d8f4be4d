//! Building: the shared room's graph, through codes of its own edges.

use std::sync::Arc;

use counterpoint_core::graph::{Graph as Edges, Method, change};
use counterpoint_core::intake::mean_of;
use counterpoint_core::metric::Metric;
use counterpoint_core::rotate::Structured;
use counterpoint_core::simd::Simd;
use counterpoint_core::threads::{Cancelled, Control};
use counterpoint_core::vectors::Matrix;

use crate::encode::{Frame, Sources, encode};
use crate::graph::{Graph, Query};
use crate::parameters::{EdgeCodes, Parameters};
use crate::product;
use crate::rows::{Layout, Rows};
use crate::vector::Form;

/// A graph that is being built.
struct Builder<'a> {
    rows: Rows,
    entries: Vec<u32>,
    metric: Metric,
    sources: &'a Sources,
}

impl Method for Builder<'_> {
    type Error = Cancelled;
    type Expander<'a>
        = Graph<'a>
    where
        Self: 'a;
    type Query = Query;

    fn encode(&mut self, graph: &Edges, control: &Control) -> Result<(), Cancelled> {
        self.entries.clone_from(&graph.entries);
        encode(&mut self.rows, self.sources, |vertex| graph.adjacency.of(vertex), control)
    }

    fn expander(&self) -> Graph<'_> {
        Graph { rows: &self.rows, entries: &self.entries, metric: self.metric, exact: true }
    }

    #[inline(always)]
    fn prepare<S: Simd>(&self, simd: S, vertex: u32, query: &mut Query) {
        query.recall(simd, &self.rows, self.sources, vertex);
    }
}

/// What is learned of prepared rows.
pub(crate) fn frame(
    vectors: &Matrix<f32>,
    parameters: &Parameters,
    control: &Control,
) -> Result<Frame, Cancelled> {
    let dim = vectors.dim();
    let mean = mean_of(vectors.rows(), dim, control, |row, values| {
        values.copy_from_slice(vectors.row(row));
        Ok::<_, Cancelled>(())
    })?;
    let mut row = Matrix::zeroed(1, dim);
    row.row_mut(0).copy_from_slice(&mean);
    let mut frame = Frame { rotation: Structured::new(dim, parameters.seed), mean: row, codebooks: None };
    if parameters.edge_codes == EdgeCodes::Pq4 {
        frame.codebooks = Some(Arc::new(product::learn(&frame, vectors, parameters.seed, control)?));
    }
    Ok(frame)
}

/// The rows of prepared vectors, and where searches begin.
///
/// The graph is built of rotated vectors, which are as far apart: once the rows have them, vectors need no memory.
pub(crate) fn build(
    vectors: Matrix<f32>,
    metric: Metric,
    parameters: &Parameters,
    frame: &Frame,
    control: &Control,
) -> Result<(Rows, Vec<u32>), Cancelled> {
    let form = Form { keep: parameters.keep, dim: vectors.dim(), added: metric == Metric::Ip };
    let layout = Layout { form, bits: frame.rotation.padded(), degree: parameters.degree };
    let rows = with_vectors(layout, &vectors, control)?;
    let sources = Sources::new(frame, metric, vectors, control)?;
    let plan = parameters.plan();
    control.expect(plan.units(rows.len()));
    let mut builder = Builder { rows, entries: Vec::new(), metric, sources: &sources };
    plan.run(&sources, &mut builder, control)?;
    Ok((builder.rows, builder.entries))
}

/// Rows that have vectors, and nothing else yet.
pub(crate) fn with_vectors(
    layout: Layout,
    vectors: &Matrix<f32>,
    control: &Control,
) -> Result<Rows, Cancelled> {
    const PART: usize = 256;
    let mut rows = Rows::zeroed(layout, vectors.rows());
    let parts = rows.data.as_mut_bytes().chunks_mut(PART * layout.row_bytes()).enumerate();
    control.for_each(parts, |(part, rows)| {
        for (r, row) in rows.chunks_exact_mut(layout.row_bytes()).enumerate() {
            layout.form.write(layout.parts_mut(row).0, vectors.row(part * PART + r));
        }
        Ok::<_, Cancelled>(())
    })?;
    Ok(rows)
}

/// The edges of rows that are not coded yet, joined so that every vertex can be reached, coded.
pub(crate) fn joined(
    vectors: Matrix<f32>,
    lists: &[Vec<u32>],
    entries: &[u32],
    metric: Metric,
    layout: Layout,
    frame: &Frame,
    control: &Control,
) -> Result<Rows, Cancelled> {
    let adjacency = change::joined(&vectors, lists, entries, layout.degree, control)?;
    let mut rows = with_vectors(layout, &vectors, control)?;
    let sources = Sources::new(frame, metric, vectors, control)?;
    encode(&mut rows, &sources, |vertex| adjacency.of(vertex), control)?;
    Ok(rows)
}
