//! Distances from one table a query.
//!
//! With z = P(x − μ) the code of x and q′ = P(q − μ) (under ip, P·q), a row's distance from q is
//!
//! ```text
//! D = A + Σ_m T[m][code_m] + (w/2)·C,  T[m][k] = −w·⟨q', c_mk⟩
//! l2:      A = ‖q − μ‖²     w = 2
//! cosine:  A = ½‖q − μ‖²    w = 1   (1 − ⟨q, x⟩ = ½‖q − x‖² for unit vectors)
//! ip:      A = −⟨q, μ⟩      w = 1   C = 0
//! ```
//!
//! and with C = ‖x̂ − μ‖² this is the distance of q and the decoded vector: P's rows are orthonormal and x̂ − μ lies in
//! their span. See [`super::norms`] for the C that is used. The block kernel ([`lookups`]) names the rows that may be within
//! the bound, from tables in 8 bits; theirs are summed from the tables as they are, so nothing is lost to rounding.

use std::sync::OnceLock;

use counterpoint_core::index::{SearchError, SearchOptions};
use counterpoint_core::metric::Metric;
use counterpoint_core::rerank::reranked;
use counterpoint_core::scan::{self, At, Hits, Masks, Scan, rows_of};
use counterpoint_core::select::{Hit, TopK};
use counterpoint_core::simd::{GROUP, Simd, TILE, lookups};
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::{InputError, RowSource};

use crate::codebooks::Panels;
use crate::quantizer::Quantizer;
use crate::store::{Codes, Learned};

/// Searches, and re-ranks on kept vectors where there are any.
pub(crate) fn search(
    codes: &Codes,
    queries: &dyn RowSource,
    options: &SearchOptions<'_>,
    masks: &Masks,
    control: &Control,
) -> Result<Hits, SearchError> {
    let Some(Learned { quantizer, panels }) = codes.learned() else {
        return Ok(vec![Vec::new(); queries.len()]);
    };
    let default = 10 * options.k + 40;
    reranked(&codes.kept, codes.metric, queries, options, default, control, |k| {
        scan::search(&Tables { codes, quantizer, panels }, queries, k, masks, control)
    })
}

struct Tables<'a> {
    codes: &'a Codes,
    quantizer: &'a Quantizer,
    panels: &'a Panels,
}

/// A prepared query.
struct Query {
    /// What P is applied to.
    values: Vec<f32>,
    /// A.
    base: f32,
    /// T, made for all queries of a tile at once.
    table: OnceLock<Vec<f32>>,
}

/// The groups a thread is at.
struct Chunk {
    indices: [usize; Tables::CHUNK],
    /// Of each row.
    terms: Box<[[f32; GROUP]; Tables::CHUNK]>,
}

impl Tables<'_> {
    /// w.
    fn weight(&self) -> f32 {
        if self.codes.metric == Metric::L2 { 2.0 } else { 1.0 }
    }

    /// T of up to [`TILE`] queries.
    #[inline(always)]
    fn tables<'q, S: Simd>(&self, simd: S, queries: &'q [Query]) -> Vec<&'q Vec<f32>> {
        let Self { codes, quantizer, panels } = self;
        let (dim, width) = (quantizer.dim(), quantizer.space.width());
        let values: Vec<f32> = queries.iter().flat_map(|query| query.values.iter().copied()).collect();
        let mut along = vec![0.0; queries.len() * width];
        quantizer.space.along(simd, (&values, dim, dim), queries.len(), &mut along);
        let words = panels.rows();
        let mut products = vec![0.0; queries.len() * words];
        panels.multiply(simd, (&along, width, width), queries.len(), &mut products, words);
        let (entries, weight) = (codes.parameters().size(), self.weight());
        let tables = queries.iter().enumerate().map(|(i, query)| {
            query.table.get_or_init(|| {
                let products = &products[i * words..(i + 1) * words];
                let mut table = Vec::with_capacity(quantizer.stages() * entries);
                for stage in 0..quantizer.stages() {
                    let first = quantizer.codebooks.offset(stage);
                    let products = &products[first..first + quantizer.codebooks.size(stage)];
                    table.extend(products.iter().map(|product| -weight * product));
                    // Codes that no row has.
                    table.resize((stage + 1) * entries, -weight * products[0]);
                }
                table
            })
        });
        tables.collect()
    }
}

impl Scan for Tables<'_> {
    type Query = Query;
    type Tile = lookups::Tile;
    type Chunk = Chunk;
    type Top = TopK;

    /// A block of 64 rows costs what a few rows cost one by one.
    const SPARSE: u32 = 2;
    /// A tile's tables stay in the nearest cache: a chunk of groups is read from the next.
    const CHUNK: usize = 32;
    /// Tables as they are, 8 KiB a query for eight stages, stay in the second cache beside the chunk.
    const BATCH: usize = 16 * TILE;

    fn rows(&self) -> usize {
        counterpoint_core::table::Store::len(self.codes)
    }

    #[inline(always)]
    fn query<S: Simd>(&self, simd: S, values: &mut [f32], index: usize) -> Result<Query, InputError> {
        let Self { codes, quantizer, .. } = self;
        codes.metric.prepare(values, index)?;
        let mean = quantizer.space.mean.row(0);
        let base = match codes.metric {
            Metric::L2 | Metric::Cosine => {
                values.iter_mut().zip(mean).for_each(|(value, mean)| *value -= mean);
                simd.dot(values, values) * (0.5 * self.weight())
            }
            Metric::Ip => -simd.dot(values, mean),
        };
        Ok(Query { values: values.to_vec(), base, table: OnceLock::new() })
    }

    #[inline(always)]
    fn tile<S: Simd>(&self, simd: S, queries: &[Query]) -> lookups::Tile {
        let tables = self.tables(simd, queries);
        lookups::Tile::new(self.codes.parameters().bits, tables.iter().map(|table| table.as_slice()))
    }

    fn chunk(&self, _: usize) -> Chunk {
        Chunk { indices: [0; Self::CHUNK], terms: Box::new([[0.0; GROUP]; Self::CHUNK]) }
    }

    fn top(&self, k: usize) -> TopK {
        TopK::new(k)
    }

    #[inline(always)]
    fn enter<S: Simd>(&self, _: S, chunk: &mut Chunk, slot: usize, index: usize) {
        chunk.indices[slot] = index;
        let (levels, half) = (&self.quantizer.levels, 0.5 * self.weight());
        for (term, &level) in chunk.terms[slot].iter_mut().zip(self.codes.levels(index)) {
            *term = half * levels.get(usize::from(level)).copied().unwrap_or(0.0);
        }
    }

    #[inline(always)]
    fn survivors<S: Simd>(
        &self,
        simd: S,
        chunk: &mut Chunk,
        slot: usize,
        tile: &lookups::Tile,
        queries: &[Query],
        bounds: &[f32; TILE],
    ) -> [u64; TILE] {
        let mut limits = [f32::INFINITY; TILE];
        for ((limit, query), &bound) in limits.iter_mut().zip(queries).zip(bounds) {
            // A distance of a sum is rounded once more.
            *limit = (bound - query.base) + (query.base.abs() + bound.abs()) * f32::EPSILON;
        }
        let terms = (!self.quantizer.levels.is_empty()).then_some(&chunk.terms[slot]);
        simd.lookup_survivors(self.codes.group(chunk.indices[slot]), terms, tile, &limits)
    }

    #[inline(always)]
    fn score<S: Simd>(&self, _: S, chunk: &mut Chunk, at: At, query: &Query, mask: u64, top: &mut TopK) {
        let index = chunk.indices[at.slot];
        let (group, terms) = (self.codes.group(index), &chunk.terms[at.slot]);
        let table = query.table.get().map_or(&[][..], Vec::as_slice);
        for r in rows_of(mask) {
            let sum = lookups::score(self.codes.parameters().bits, group, r, table) + terms[r];
            top.push(Hit { distance: query.base + sum, row: (index * GROUP + r) as u32 });
        }
    }

    fn finish<S: Simd>(&self, _: S, _: &mut Chunk, _: &Query, top: TopK) -> Vec<Hit> {
        let mut hits = top.into_sorted();
        hits.iter_mut().for_each(|hit| hit.distance = self.codes.metric.clamp(hit.distance));
        hits
    }
}
