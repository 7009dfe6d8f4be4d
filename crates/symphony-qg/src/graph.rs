//! The graph as a search sees it.

use counterpoint_core::graph::{Expander, Mark, Visited};
use counterpoint_core::metric::Metric;
use counterpoint_core::pq::ProductQuantizer;
use counterpoint_core::scan::rows_of;
use counterpoint_core::select::Hit;
use counterpoint_core::simd::Simd;
use counterpoint_core::simd::nibbles::{self, BLOCK, Terms};

use crate::encode::{Frame, Scratch, Sources};
use crate::rows::Rows;

/// A query, ready.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    /// Padded as vectors are.
    pub(crate) values: Vec<f32>,
    /// What distances are multiplied by in the end.
    pub(crate) unit: f32,
    rotated: Vec<f32>,
    scratch: Scratch,
    tables: nibbles::Query,
    /// Of the codes' sums: what multiplies them, and what is added.
    alpha: f32,
    beta: f32,
    /// Inner products with centroids.
    products: Vec<f32>,
}

impl Query {
    /// Makes the tables of `values`.
    #[inline(always)]
    pub(crate) fn prepare<S: Simd>(&mut self, simd: S, frame: &Frame) {
        let dim = frame.mean.dim();
        self.rotated.resize(frame.rotation.padded(), 0.0);
        frame.apply(simd, &self.values[..dim], &mut self.scratch, &mut self.rotated);
        let rotated = std::mem::take(&mut self.rotated);
        self.refill(simd, frame.codebooks.as_deref(), &rotated);
        self.rotated = rotated;
    }

    /// Makes the tables of x'.
    #[inline(always)]
    fn refill<S: Simd>(&mut self, simd: S, codebooks: Option<&ProductQuantizer>, rotated: &[f32]) {
        let Self { tables, products, .. } = self;
        let Some(codebooks) = codebooks else {
            tables.refill(rotated);
            // Σ w·(±1) = 2·agreement − total.
            (self.alpha, self.beta) = (2.0 * tables.step, -tables.step * tables.total as f32);
            return;
        };
        codebooks.inner_products(simd, rotated, products);
        self.beta = tables.refill_tables(products);
        self.alpha = tables.step;
    }

    /// Makes a row of the graph the query.
    #[inline(always)]
    pub(crate) fn recall<S: Simd>(&mut self, simd: S, rows: &Rows, sources: &Sources, vertex: u32) {
        self.values.clear();
        self.values.resize(rows.layout.stride(), 0.0);
        rows.read(vertex, &mut self.values[..rows.layout.form.dim]);
        self.refill(simd, sources.codebooks.as_deref(), sources.rotated(vertex));
    }
}

/// Rows, and where searches begin.
pub(crate) struct Graph<'a> {
    pub(crate) rows: &'a Rows,
    pub(crate) entries: &'a [u32],
    pub(crate) metric: Metric,
    /// Whether a vertex is found at its own distance; otherwise at its estimate.
    pub(crate) exact: bool,
}

impl Expander for Graph<'_> {
    type Query = Query;
    const MARK: Mark = Mark::OnPop;

    #[inline(always)]
    fn enter<S: Simd>(&self, simd: S, query: &Query, _: &mut Visited, found: &mut Vec<Hit>) {
        found.extend(self.entries.iter().map(|&row| {
            let distance = self.rows.distance(simd, self.metric, &query.values, row);
            Hit { distance, row }
        }));
    }

    #[inline(always)]
    fn prefetch(&self, vertex: u32) {
        self.rows.prefetch(vertex);
    }

    #[inline(always)]
    fn expand<S: Simd>(
        &self,
        simd: S,
        query: &Query,
        from: Hit,
        bound: f32,
        _: &mut Visited,
        found: &mut Vec<Hit>,
    ) -> f32 {
        let (vector, blocks) = self.rows.layout.parts(self.rows.row(from.row));
        let own = self.rows.layout.form.distance(simd, self.metric, &query.values, vector);
        let terms = Terms {
            alpha: query.alpha,
            beta: query.beta,
            unit: if self.metric == Metric::L2 { 1.0 } else { 0.5 },
            base: own,
            bound,
        };
        let mut values = [0.0; BLOCK];
        for block in blocks {
            let mask = simd.nibbles_below(block.codes, block.terms, &query.tables, terms, &mut values);
            for r in rows_of(u64::from(mask)) {
                found.push(Hit { distance: values[r], row: block.ids[r] });
            }
        }
        if self.exact { own } else { from.distance }
    }
}
