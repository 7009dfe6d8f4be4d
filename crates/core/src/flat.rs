//! The exact index: every row is compared. The baseline, the ground truth, and the re-ranker's measure.
//!
//! A batch runs on packed panels of 64 rows and tiles of 6 queries ([`mod@crate::simd::f32`]); those sums only
//! prune, under a threshold widened by their rounding bound, and what survives is scored by the one-row
//! kernels. So distances and ids are those of comparing each pair of rows on its own, whatever the batch.
//!
//! **The threshold.** With γ = [`dot_error`]`(d)`, block sum p and exact ⟨q, x⟩: |p − ⟨q, x⟩| ≤ γ‖q‖‖x‖, and the
//! one-row kernel errs by at most as much again.
//! - ip: a row at most `bound` far has p ≥ −bound − 2γ‖q‖‖x‖. Cosine: the same with bound − 1.
//! - l2: ‖q−x‖² = ‖q‖² + ‖x‖² − 2⟨q, x⟩, each of whose terms is rounded, and ‖q−x‖² ≤ 2(‖q‖² + ‖x‖²); a row at
//!   most `bound` far has p − ½‖x‖² ≥ ½(‖q‖² − bound) − 3γ(‖q‖² + ‖x‖²).
//!
//! 4γ stands for each, with ‖x‖ the largest of the group: the rounding of the threshold's own arithmetic, a few
//! units of 2⁻²⁴, is below the spare γ.

use serde_json::{Map, Value};

use crate::file::{Contents, FormatError, TensorView};
use crate::index::{AddError, Capabilities, ReconstructError, SearchError, SearchOptions};
use crate::intake::fill;
use crate::metric::Metric;
use crate::scan::{self, At, Hits, Masks, Scan, rows_of};
use crate::select::{Hit, TopK};
use crate::simd::f32::{Panel, Tile, dot_error};
use crate::simd::{GROUP, Simd, TILE};
use crate::table::{Rowwise, Store, Table};
use crate::threads::Control;
use crate::vectors::{InputError, Keep, Kept, Matrix, RowSource, padded};

/// Exact search over f32 vectors.
pub type Flat = Table<Vectors>;

impl Flat {
    /// An index without vectors.
    pub fn new(metric: Metric) -> Self {
        Self::over(Vectors { metric, dim: None, rows: Matrix::zeroed(0, 0) })
    }
}

/// The rows of a [`Flat`] index.
#[derive(Clone)]
pub struct Vectors {
    metric: Metric,
    dim: Option<usize>,
    rows: Matrix<f32>,
}

impl Vectors {
    /// Rows that are prepared for `metric`.
    pub(crate) fn prepared(metric: Metric, rows: Matrix<f32>) -> Self {
        Self { metric, dim: Some(rows.dim()), rows }
    }
}

impl Store for Vectors {
    const METHOD: &'static str = "Flat";

    fn metric(&self) -> Metric {
        self.metric
    }

    fn dim(&self) -> Option<usize> {
        self.dim
    }

    fn len(&self) -> usize {
        self.rows.rows()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { exact: true, reconstruct: true, knobs: vec![] }
    }

    fn blank(&self) -> Self {
        Self { metric: self.metric, dim: None, rows: Matrix::zeroed(0, 0) }
    }

    fn learn(&self, rows: &dyn RowSource, _: &Control) -> Result<Self, AddError> {
        Ok(Self { metric: self.metric, dim: Some(rows.dim()), rows: Matrix::zeroed(0, rows.dim()) })
    }

    fn encode(&self, rows: &dyn RowSource, control: &Control) -> Result<Self, InputError> {
        control.expect(rows.len());
        let mut kept = Kept::zeroed(Keep::F32, rows.len(), rows.dim());
        fill(rows, self.metric, &mut kept, std::iter::repeat(()), control, |(), _, _, _| Ok(()))?;
        match kept {
            Kept::F32(rows) => Ok(Self { metric: self.metric, dim: self.dim, rows }),
            Kept::None | Kept::Int8(_) | Kept::F16(_) => unreachable!("made as f32 just above"),
        }
    }

    fn absorb(&mut self, other: Self, to: &[Option<u32>], _: &Control) {
        self.absorb_rows(other, to);
    }

    fn swap_remove(&mut self, row: usize) {
        self.rows.swap_remove(row);
    }

    fn search(
        &self,
        queries: &dyn RowSource,
        options: &SearchOptions<'_>,
        masks: &Masks,
        control: &Control,
    ) -> Result<Hits, SearchError> {
        scan::search(self, queries, options.k, masks, control)
    }

    fn check_options(&self, options: &SearchOptions<'_>) -> Result<(), SearchError> {
        match options.rerank {
            Some(_) => {
                Err(SearchError::Knob { knob: "rerank", reason: "exact search has nothing to re-rank" })
            }
            None => Ok(()),
        }
    }

    fn reconstruct(&self, row: usize, out: &mut [f32]) -> Result<(), ReconstructError> {
        out.copy_from_slice(self.rows.row(row));
        Ok(())
    }

    fn vectors(&self) -> Option<&dyn RowSource> {
        Some(&self.rows)
    }

    fn shrink_to_fit(&mut self) {
        self.rows.shrink_to_fit();
    }

    fn params(&self) -> Map<String, Value> {
        Map::new()
    }

    fn tensors(&self) -> Vec<TensorView<'_>> {
        vec![self.rows.tensor("vectors")]
    }

    fn take(
        contents: &mut Contents,
        metric: Metric,
        dim: Option<usize>,
        rows: usize,
    ) -> Result<Self, FormatError> {
        let rows = Matrix::take(contents, "vectors", rows, dim.unwrap_or(0))?;
        Ok(Self { metric, dim, rows })
    }

    fn check(&self, control: &Control) -> Result<(), FormatError> {
        self.rows.check_values("vectors", control)
    }

    fn stats(&self) -> Map<String, Value> {
        Map::new()
    }
}

impl Rowwise for Vectors {
    fn grow(&mut self, more: usize) {
        self.rows.grow(more);
    }

    fn copy_row(&mut self, to: usize, other: &Self, from: usize) {
        self.rows.copy_row(to, &other.rows, from);
    }
}

/// Fewer queries than this read rows where they lie; more are worth packing a panel for.
const PACK_FROM: usize = 4;

/// A prepared query.
pub struct Query {
    /// Padded as the rows are.
    values: Vec<f32>,
    norm: f32,
}

/// Up to [`TILE`] queries.
pub struct QueryTile {
    packed: Tile,
    norms: [f32; TILE],
}

/// The group a thread is at.
pub struct Group {
    /// Present where the batch is worth packing for.
    panel: Option<Panel>,
    /// Whether the panel holds this group's rows yet.
    packed: bool,
    rows: std::ops::Range<usize>,
    /// The largest ‖x‖ of the group.
    norm: f32,
}

impl Vectors {
    /// Packs rows and their threshold terms; returns the largest ‖x‖.
    #[inline(always)]
    fn pack<S: Simd>(&self, simd: S, panel: &mut Panel, rows: std::ops::Range<usize>) -> f32 {
        let mut largest = 0.0_f32;
        for (term, row) in panel.terms.iter_mut().zip(rows.clone()) {
            let row = self.rows.padded(row);
            let square = simd.dot(row, row);
            largest = largest.max(square);
            *term = if self.metric == Metric::L2 { 0.5 * square } else { 0.0 };
        }
        panel.pack(rows.map(|row| self.rows.padded(row)));
        largest.sqrt()
    }
}

impl Scan for Vectors {
    type Query = Query;
    type Tile = QueryTile;
    type Chunk = Group;
    type Top = TopK;

    /// A block of 64 rows costs what some 30 rows cost one by one.
    const SPARSE: u32 = 24;

    fn rows(&self) -> usize {
        self.rows.rows()
    }

    #[inline(always)]
    fn query<S: Simd>(&self, _: S, values: &mut [f32], index: usize) -> Result<Query, InputError> {
        self.metric.prepare(values, index)?;
        let norm = values.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt() as f32;
        Ok(Query { values: padded(values), norm })
    }

    fn tile<S: Simd>(&self, _: S, queries: &[Query]) -> QueryTile {
        let packed = Tile::new(self.rows.dim(), queries.iter().map(|query| query.values.as_slice()));
        let mut norms = [0.0; TILE];
        norms.iter_mut().zip(queries).for_each(|(norm, query)| *norm = query.norm);
        QueryTile { packed, norms }
    }

    fn chunk(&self, queries: usize) -> Group {
        let panel = (queries >= PACK_FROM).then(|| Panel::new(self.rows.dim()));
        Group { panel, packed: false, rows: 0..0, norm: 0.0 }
    }

    fn top(&self, k: usize) -> TopK {
        TopK::new(k)
    }

    #[inline(always)]
    fn enter<S: Simd>(&self, _: S, group: &mut Group, _: usize, index: usize) {
        let first = index * GROUP;
        group.rows = first..self.rows.rows().min(first + GROUP);
        group.packed = false;
    }

    #[inline(always)]
    fn survivors<S: Simd>(
        &self,
        simd: S,
        group: &mut Group,
        _: usize,
        tile: &QueryTile,
        queries: &[Query],
        bounds: &[f32; TILE],
    ) -> [u64; TILE] {
        if let Some(panel) = &mut group.panel {
            if !group.packed {
                group.norm = self.pack(simd, panel, group.rows.clone());
                group.packed = true;
            }
            let error = 4.0 * dot_error(self.rows.dim());
            let mut limits = [f32::INFINITY; TILE];
            for ((limit, &q), &bound) in limits.iter_mut().zip(&tile.norms).zip(bounds) {
                let x = group.norm;
                *limit = match self.metric {
                    Metric::L2 => 0.5 * (q * q - bound) - error * (q * q + x * x),
                    Metric::Ip => -bound - error * q * x,
                    Metric::Cosine => (1.0 - bound) - error * (1.0 + q * x),
                };
            }
            return simd.f32_survivors(panel, &tile.packed, &limits);
        }
        let mut masks = [0; TILE];
        for ((mask, query), &bound) in masks.iter_mut().zip(queries).zip(bounds) {
            for (r, row) in group.rows.clone().enumerate() {
                let distance = self.metric.distance(simd, &query.values, self.rows.padded(row));
                *mask |= u64::from(distance <= bound) << r;
            }
        }
        masks
    }

    #[inline(always)]
    fn score<S: Simd>(&self, simd: S, group: &mut Group, _: At, query: &Query, mask: u64, top: &mut TopK) {
        for r in rows_of(mask) {
            let row = group.rows.start + r;
            let distance = self.metric.distance(simd, &query.values, self.rows.padded(row));
            top.push(Hit { distance, row: row as u32 });
        }
    }

    fn finish<S: Simd>(&self, _: S, _: &mut Group, _: &Query, top: TopK) -> Vec<Hit> {
        top.into_sorted()
    }
}
