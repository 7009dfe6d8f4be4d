//! Distances from one table a query.
//!
//! With z = P(x − μ) and q′ = P(q − μ) (under ip, P·q), and where rows lie in lists, c the centroid of x's list and r = z − c
//! (elsewhere c = 0, r = z), of which r̂ is the code, a row's distance from q is
//!
//! ```text
//! D = A + L + Σ_m T[m][code_m] + (w/2)·C,  T[m][k] = −w·⟨q', c_mk⟩
//! l2:      A = ‖q − μ‖² − ‖q'‖²        L = ‖q' − c‖²     w = 2   C = ‖r̂‖² + 2⟨c, r̂⟩
//! cosine:  half of what l2 has, as 1 − ⟨q, x⟩ = ½‖q − x‖² for unit vectors: w = 1
//! ip:      A = −⟨q, μ⟩                 L = −⟨q', c⟩      w = 1   C = 0
//! ```
//!
//! L is one number a list, and T does not depend on it: one table a query serves however many lists. This is the
//! distance of q and the decoded vector: P's rows are orthonormal and x̂ − μ lies in their span. See [`super::norms`] for the
//! C that is used. The block kernel ([`lookups`](counterpoint_core::simd::lookups)) names the rows that may be within the
//! bound, from tables in 8 bits; theirs are summed from the tables as they are, so nothing is lost to rounding.

use counterpoint_core::metric::Metric;
use counterpoint_core::simd::Simd;
use counterpoint_core::simd::int8::Bits;
use counterpoint_core::vectors::InputError;

use crate::codebooks::Panels;
use crate::quantizer::Quantizer;

/// What makes tables.
pub(crate) struct Tables<'a> {
    pub(crate) quantizer: &'a Quantizer,
    /// Its codewords.
    pub(crate) panels: &'a Panels,
    pub(crate) metric: Metric,
    pub(crate) bits: Bits,
    /// How many stages are looked at.
    pub(crate) stages: usize,
}

impl Tables<'_> {
    /// w.
    pub(crate) fn weight(&self) -> f32 {
        if self.metric == Metric::L2 { 2.0 } else { 1.0 }
    }

    /// Prepares a query for P, and gives A + ‖q'‖²·w/2 of it (under ip, A).
    #[inline(always)]
    pub(crate) fn centre<S: Simd>(
        &self,
        simd: S,
        values: &mut [f32],
        index: usize,
    ) -> Result<f32, InputError> {
        self.metric.prepare(values, index)?;
        let mean = self.quantizer.mean();
        Ok(match self.metric {
            Metric::L2 | Metric::Cosine => {
                values.iter_mut().zip(mean).for_each(|(value, mean)| *value -= mean);
                simd.dot(values, values) * (0.5 * self.weight())
            }
            Metric::Ip => -simd.dot(values, mean),
        })
    }

    /// q' of `count` queries, one after another.
    #[inline(always)]
    pub(crate) fn along<S: Simd>(&self, simd: S, queries: &[f32], count: usize) -> Vec<f32> {
        let dim = self.quantizer.dim();
        let mut along = vec![0.0; count * self.quantizer.space.width()];
        self.quantizer.space.along(simd, (queries, dim, dim), count, &mut along);
        along
    }

    /// T of `count` queries along the axes.
    #[inline(always)]
    pub(crate) fn of<S: Simd>(&self, simd: S, along: &[f32], count: usize) -> Vec<Vec<f32>> {
        let Self { quantizer, panels, bits, stages, .. } = self;
        let (width, words) = (quantizer.space.width(), panels.rows());
        let mut products = vec![0.0; count * words];
        panels.multiply(simd, (along, width, width), count, &mut products, words);
        let (entries, weight) = (1 << bits.width(), self.weight());
        let table = |products: &[f32]| {
            let mut table = Vec::with_capacity(stages * entries);
            for stage in 0..*stages {
                let first = quantizer.codebooks.offset(stage);
                let products = &products[first..first + quantizer.codebooks.size(stage)];
                table.extend(products.iter().map(|product| -weight * product));
                // Codes that no row has.
                table.resize((stage + 1) * entries, -weight * products[0]);
            }
            table
        };
        (0..count).map(|query| table(&products[query * words..(query + 1) * words])).collect()
    }

    /// Writes (w/2)·C of rows at these levels.
    #[inline(always)]
    pub(crate) fn terms(&self, levels: &[u8], out: &mut [f32]) {
        let half = 0.5 * self.weight();
        for (out, &level) in out.iter_mut().zip(levels) {
            *out = half * self.quantizer.levels.get(usize::from(level)).copied().unwrap_or(0.0);
        }
    }
}
