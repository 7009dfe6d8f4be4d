//! Building: the shared room's graph, through codes of its own edges.

use counterpoint_core::graph::{Build, Graph as Edges, Method, connect};
use counterpoint_core::metric::Metric;
use counterpoint_core::rotate::Structured;
use counterpoint_core::simd::Simd;
use counterpoint_core::threads::{Cancelled, Control};
use counterpoint_core::vectors::Matrix;

use crate::encode::{Frame, Sources, encode};
use crate::graph::{Graph, Query};
use crate::parameters::Parameters;
use crate::rows::{Layout, Rows};

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
    fn prepare<S: Simd>(&self, _: S, vertex: u32, query: &mut Query) {
        query.recall(self.rows.vector(vertex), self.sources.rotated(vertex));
    }
}

/// What is learned of prepared rows.
pub(crate) fn frame(vectors: &Matrix<f32>, seed: u64, control: &Control) -> Result<Frame, Cancelled> {
    let dim = vectors.dim();
    // At most 1,024 partial sums, whatever the number of threads.
    let share = vectors.rows().div_ceil(1024).max(64);
    let sums = control.map((0..vectors.rows()).step_by(share), |first| {
        let mut sums = vec![0.0_f64; dim];
        for row in first..vectors.rows().min(first + share) {
            sums.iter_mut().zip(vectors.row(row)).for_each(|(sum, &value)| *sum += f64::from(value));
        }
        Ok::<_, Cancelled>(sums)
    })?;
    let mut mean = vec![0.0_f64; dim];
    for sums in sums {
        mean.iter_mut().zip(sums).for_each(|(mean, sum)| *mean += sum);
    }
    let count = vectors.rows().max(1) as f64;
    let mut row = Matrix::zeroed(1, dim);
    row.row_mut(0).iter_mut().zip(mean).for_each(|(mean, sum)| *mean = (sum / count) as f32);
    Ok(Frame { rotation: Structured::new(dim, seed), mean: row })
}

/// The rows of prepared vectors, and where searches begin.
pub(crate) fn build(
    vectors: &Matrix<f32>,
    metric: Metric,
    parameters: &Parameters,
    frame: &Frame,
    control: &Control,
) -> Result<(Rows, Vec<u32>), Cancelled> {
    let sources = Sources::new(frame, metric, vectors, control)?;
    let layout = Layout { dim: vectors.dim(), bits: frame.rotation.padded(), degree: parameters.degree };
    let rows = with_vectors(layout, vectors, control)?;
    let plan = Build {
        degree: parameters.degree,
        ef: parameters.ef_construction,
        seed: parameters.seed,
        ..Build::default()
    };
    control.expect(plan.units(vectors.rows()));
    let mut builder = Builder { rows, entries: Vec::new(), metric, sources: &sources };
    plan.run(vectors, &mut builder, control)?;
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
            layout.parts_mut(row).0.copy_from_slice(vectors.padded(part * PART + r));
        }
        Ok::<_, Cancelled>(())
    })?;
    Ok(rows)
}

/// The edges of rows that are not coded yet, joined so that every vertex can be reached, coded.
pub(crate) fn joined(
    vectors: &Matrix<f32>,
    lists: &[Vec<u32>],
    entries: &[u32],
    metric: Metric,
    layout: Layout,
    frame: &Frame,
    control: &Control,
) -> Result<Rows, Cancelled> {
    let mut adjacency = counterpoint_core::graph::Adjacency::new(lists.len(), layout.degree);
    for (vertex, list) in (0..).zip(lists) {
        adjacency.replace(vertex, list.iter().copied());
    }
    connect::connect(&mut adjacency, entries, vectors, control)?;
    let sources = Sources::new(frame, metric, vectors, control)?;
    let mut rows = with_vectors(layout, vectors, control)?;
    encode(&mut rows, &sources, |vertex| adjacency.of(vertex), control)?;
    Ok(rows)
}
