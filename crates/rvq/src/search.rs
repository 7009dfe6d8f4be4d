//! Distances from one table a query.
//!
//! With z = P(x − μ) the code of x and q′ = P(q − μ) (under ip, P·q), a row's distance from q is
//!
//! ```text
//! D = A − w·(Σ_m ⟨q', c_m⟩ − C/2)
//! l2:      A = ‖q − μ‖²     w = 2
//! cosine:  A = ½‖q − μ‖²    w = 1   (1 − ⟨q, x⟩ = ½‖q − x‖² for unit vectors)
//! ip:      A = −⟨q, μ⟩      w = 1   C = 0
//! ```
//!
//! and with C = ‖x̂ − μ‖² this is the distance of q and the decoded vector: P's rows are orthonormal and x̂ − μ lies in
//! their span. See [`super::norms`] for the C that is used. Products with all codewords make up the table; it is stored
//! by the bytes of a code, 256 entries each, two stages of 4 bits in one.

use counterpoint_core::index::{SearchError, SearchOptions};
use counterpoint_core::metric::Metric;
use counterpoint_core::rerank::reranked;
use counterpoint_core::scan::{self, At, Hits, Masks, Scan, rows_of};
use counterpoint_core::select::{Hit, TopK};
use counterpoint_core::simd::{GROUP, Simd, TILE};
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::{InputError, RowSource};

use crate::quantizer::Quantizer;
use crate::space::along;
use crate::store::{Codes, ENTRIES};

/// Searches, and re-ranks on kept vectors where there are any.
pub(crate) fn search(
    codes: &Codes,
    queries: &dyn RowSource,
    options: &SearchOptions<'_>,
    masks: &Masks,
    control: &Control,
) -> Result<Hits, SearchError> {
    let Some(quantizer) = codes.quantizer() else { return Ok(vec![Vec::new(); queries.len()]) };
    let default = 10 * options.k + 40;
    reranked(&codes.kept, codes.metric, queries, options, default, control, |k| {
        scan::search(&Tables { codes, quantizer }, queries, k, masks, control)
    })
}

struct Tables<'a> {
    codes: &'a Codes,
    quantizer: &'a Quantizer,
}

/// A prepared query.
struct Query {
    /// For each byte of a code, what its values add.
    table: Vec<[f32; ENTRIES]>,
    /// A.
    base: f32,
}

/// The group a thread is at.
struct Group {
    index: usize,
    /// C/2 of its rows.
    terms: [f32; GROUP],
    /// What the tile's queries gave.
    sums: [[f32; GROUP]; TILE],
}

impl Tables<'_> {
    fn weight(&self) -> f32 {
        if self.codes.metric == Metric::L2 { 2.0 } else { 1.0 }
    }

    /// Σ of the rows of a group, less C/2.
    #[inline(always)]
    fn sums(&self, group: &Group, query: &Query) -> [f32; GROUP] {
        let mut sums = [0.0; GROUP];
        let (columns, _) = self.codes.group(group.index).as_chunks::<GROUP>();
        for (column, table) in columns.iter().zip(&query.table) {
            for (sum, &code) in sums.iter_mut().zip(column) {
                *sum += table[usize::from(code)];
            }
        }
        sums.iter_mut().zip(&group.terms).for_each(|(sum, term)| *sum -= term);
        sums
    }
}

impl Scan for Tables<'_> {
    type Query = Query;
    type Tile = ();
    type Chunk = Group;
    type Top = TopK;

    /// There is no other way to score rows.
    const SPARSE: u32 = 0;

    fn rows(&self) -> usize {
        counterpoint_core::table::Store::len(self.codes)
    }

    #[inline(always)]
    fn query<S: Simd>(&self, simd: S, values: &mut [f32], index: usize) -> Result<Query, InputError> {
        let Self { codes, quantizer } = self;
        codes.metric.prepare(values, index)?;
        let mean = quantizer.space.mean.row(0);
        let base = match codes.metric {
            Metric::L2 | Metric::Cosine => {
                values.iter_mut().zip(mean).for_each(|(value, mean)| *value -= mean);
                simd.dot(values, values) * (0.5 * self.weight())
            }
            Metric::Ip => -simd.dot(values, mean),
        };
        let mut axes = vec![0.0; quantizer.space.width()];
        along(simd, &quantizer.space, values, &mut axes);
        let mut products = vec![0.0; codes.panels().rows()];
        let (width, words) = (axes.len(), products.len());
        codes.panels().multiply(simd, (&axes, width, width), 1, &mut products, words);
        let mut table = vec![[0.0; ENTRIES]; codes.bytes()];
        for stage in 0..quantizer.stages() {
            let first = quantizer.codebooks.offset(stage);
            let products = &products[first..first + quantizer.codebooks.size(stage)];
            if codes.parameters().bits == 8 {
                table[stage][..products.len()].copy_from_slice(products);
            } else {
                let table = &mut table[stage / 2];
                for (entry, sum) in table.iter_mut().enumerate() {
                    let code = entry >> (4 * (stage % 2)) & 15;
                    *sum += products.get(code).copied().unwrap_or(0.0);
                }
            }
        }
        Ok(Query { table, base })
    }

    fn tile<S: Simd>(&self, _: S, _: &[Query]) {}

    fn chunk(&self, _: usize) -> Group {
        Group { index: 0, terms: [0.0; GROUP], sums: [[0.0; GROUP]; TILE] }
    }

    fn top(&self, k: usize) -> TopK {
        TopK::new(k)
    }

    #[inline(always)]
    fn enter<S: Simd>(&self, _: S, group: &mut Group, _: usize, index: usize) {
        group.index = index;
        let levels = &self.quantizer.levels;
        for (term, &level) in group.terms.iter_mut().zip(self.codes.levels(index)) {
            *term = 0.5 * levels.get(usize::from(level)).copied().unwrap_or(0.0);
        }
    }

    #[inline(always)]
    fn survivors<S: Simd>(
        &self,
        _: S,
        group: &mut Group,
        _: usize,
        (): &(),
        queries: &[Query],
        bounds: &[f32; TILE],
    ) -> [u64; TILE] {
        let mut masks = [0; TILE];
        for (i, query) in queries.iter().enumerate() {
            let mut sums = self.sums(group, query);
            let weight = self.weight();
            for (r, sum) in sums.iter_mut().enumerate() {
                *sum = query.base - weight * *sum;
                masks[i] |= u64::from(*sum <= bounds[i]) << r;
            }
            group.sums[i] = sums;
        }
        masks
    }

    #[inline(always)]
    fn score<S: Simd>(&self, _: S, group: &mut Group, at: At, _: &Query, mask: u64, top: &mut TopK) {
        for r in rows_of(mask) {
            top.push(Hit { distance: group.sums[at.place][r], row: (group.index * GROUP + r) as u32 });
        }
    }

    fn finish<S: Simd>(&self, _: S, _: &mut Group, _: &Query, top: TopK) -> Vec<Hit> {
        let mut hits = top.into_sorted();
        hits.iter_mut().for_each(|hit| hit.distance = self.codes.metric.clamp(hit.distance));
        hits
    }
}
