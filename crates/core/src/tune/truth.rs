//! Exact truth from vectors that lie anywhere: read in parts, each scanned as a flat index is.

use crate::flat::Vectors;
use crate::metric::Metric;
use crate::scan::{self, Masks};
use crate::select::{Hit, TopK};
use crate::simd::{GROUP, Simd, Work, run};
use crate::threads::Control;
use crate::tune::TuneError;
use crate::vectors::{Matrix, RowSource, padded, read_checked};

/// Bytes of vectors in memory at a time.
const PART: usize = 64 << 20;

/// The vectors of an index, as they are known, in the order of its rows.
pub(super) struct Reference<'a> {
    pub(super) rows: &'a dyn RowSource,
    /// Whether they are checked and prepared for the metric.
    pub(super) prepared: bool,
    pub(super) metric: Metric,
}

impl Reference<'_> {
    /// Writes a vector, prepared for the metric, to `out`.
    pub(super) fn read(&self, row: usize, out: &mut [f32]) -> Result<(), TuneError> {
        if self.prepared {
            self.rows.read(row, out);
            return Ok(());
        }
        read_checked(self.rows, row, out).map_err(TuneError::vectors)?;
        self.metric.prepare(out, row).map_err(TuneError::vectors)
    }

    /// The exact `k` nearest rows of each query.
    pub(super) fn nearest(
        &self,
        queries: &dyn RowSource,
        k: usize,
        control: &Control,
    ) -> Result<Vec<Vec<Hit>>, TuneError> {
        let (n, dim) = (self.rows.len(), self.rows.dim());
        let stride = Matrix::<f32>::stride_for(dim);
        let share = (PART / (stride * size_of::<f32>())).max(1).next_multiple_of(GROUP);
        let mut tops = vec![TopK::new(k); queries.len()];
        for first in (0..n).step_by(share) {
            let mut part = Matrix::zeroed(share.min(n - first), dim);
            let groups = part.values_mut().chunks_mut(GROUP * stride).zip((first..).step_by(GROUP));
            control.for_each(groups, |(values, first)| {
                let mut rows = values.chunks_mut(stride).zip(first..);
                rows.try_for_each(|(values, row)| self.read(row, &mut values[..dim]))
            })?;
            let part = Vectors::prepared(self.metric, part);
            let found = scan::search(&part, queries, k, &Masks::All, control)?;
            for (top, hits) in tops.iter_mut().zip(found) {
                for hit in hits {
                    top.push(Hit { row: hit.row + first as u32, ..hit });
                }
            }
        }
        Ok(tops.into_iter().map(TopK::into_sorted).collect())
    }

    /// The exact distances of each query to `width` rows (of `rows`, query after query); to no row it is infinite.
    pub(super) fn distances(
        &self,
        queries: &dyn RowSource,
        rows: &[Option<u32>],
        width: usize,
        control: &Control,
    ) -> Result<Vec<f32>, TuneError> {
        let parts = control.map(rows.chunks(width.max(1)).enumerate(), |(index, rows)| {
            let mut query = vec![0.0; queries.dim()];
            let prepared = read_checked(queries, index, &mut query)
                .and_then(|()| self.metric.prepare(&mut query, index));
            prepared.map_err(TuneError::queries)?;
            run(control.level(), Distances { reference: self, query: &padded(&query), rows })
        })?;
        Ok(parts.into_iter().flatten().collect())
    }
}

struct Distances<'a> {
    reference: &'a Reference<'a>,
    query: &'a [f32],
    rows: &'a [Option<u32>],
}

impl Work for Distances<'_> {
    type Output = Result<Vec<f32>, TuneError>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let Self { reference, query, rows } = self;
        let mut vector = vec![0.0; query.len()];
        let distance = |row: &Option<u32>| {
            let Some(row) = row else { return Ok(f32::INFINITY) };
            reference.read(*row as usize, &mut vector[..reference.rows.dim()])?;
            Ok(reference.metric.distance(simd, query, &vector))
        };
        rows.iter().map(distance).collect()
    }
}
