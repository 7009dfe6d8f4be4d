//! The search of all rows: query tiles × groups of 64 ([`counterpoint_core::scan`]), by the tables of [`super::tables`].

use std::sync::{Arc, OnceLock};

use counterpoint_core::index::{SearchError, SearchOptions};
use counterpoint_core::rerank::reranked;
use counterpoint_core::scan::{self, At, Hits, Masks, Scan, rows_of};
use counterpoint_core::select::{Hit, TopK};
use counterpoint_core::simd::{GROUP, Simd, TILE, lookups};
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::{InputError, RowSource};

use crate::store::Codes;
use crate::tables::Tables;

/// Searches, and re-ranks on kept vectors where there are any.
pub(crate) fn search(
    codes: &Codes,
    queries: &dyn RowSource,
    options: &SearchOptions<'_>,
    masks: &Masks,
    control: &Control,
) -> Result<Hits, SearchError> {
    let Some(learned) = codes.learned() else {
        return Ok(vec![Vec::new(); queries.len()]);
    };
    let tables = learned.tables(codes.metric, codes.parameters().bits, options.stages);
    let prefix = codes.prefix(&tables, control)?;
    let default = default_rerank(options.k);
    reranked(&codes.kept, codes.metric, queries, options, default, control, |k| {
        scan::search(&All { codes, tables, prefix }, queries, k, masks, control)
    })
}

/// Candidates scored exactly where the caller does not say.
pub(crate) fn default_rerank(k: usize) -> usize {
    30 * k + 100
}

struct All<'a> {
    codes: &'a Codes,
    tables: Tables<'a>,
    /// The terms, where fewer stages than there are are looked at.
    prefix: Option<Arc<Vec<f32>>>,
}

/// A prepared query.
struct Query {
    /// What P is applied to.
    values: Vec<f32>,
    /// A + L: the one list is all there is.
    base: f32,
    /// T, made for all queries of a tile at once.
    table: OnceLock<Vec<f32>>,
}

/// The groups a thread is at.
struct Chunk {
    indices: [usize; All::CHUNK],
    /// Of each row.
    terms: Box<[[f32; GROUP]; All::CHUNK]>,
}

impl All<'_> {
    /// The code bytes of a group that are looked at.
    #[inline(always)]
    fn group(&self, index: usize) -> &[u8] {
        &self.codes.coded.group(index)[..lookups::group_bytes(self.tables.bits, self.tables.stages)]
    }
}

impl Scan for All<'_> {
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
        let base = self.tables.centre(simd, values, index)?;
        Ok(Query { values: values.to_vec(), base, table: OnceLock::new() })
    }

    #[inline(always)]
    fn tile<S: Simd>(&self, simd: S, queries: &[Query]) -> lookups::Tile {
        let values: Vec<f32> = queries.iter().flat_map(|query| query.values.iter().copied()).collect();
        let along = self.tables.along(simd, &values, queries.len());
        let made = self.tables.of(simd, &along, queries.len());
        let tables: Vec<&[f32]> = queries
            .iter()
            .zip(made)
            .map(|(query, made)| query.table.get_or_init(|| made).as_slice())
            .collect();
        lookups::Tile::new(self.tables.bits, tables.into_iter())
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
        match &self.prefix {
            Some(prefix) => chunk.terms[slot].copy_from_slice(&prefix[index * GROUP..(index + 1) * GROUP]),
            None => self.tables.terms(self.codes.coded.levels(index), &mut chunk.terms[slot]),
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
        let terms = (!self.tables.quantizer.levels.is_empty()).then_some(&chunk.terms[slot]);
        simd.lookup_survivors(self.group(chunk.indices[slot]), terms, tile, &limits)
    }

    #[inline(always)]
    fn score<S: Simd>(&self, _: S, chunk: &mut Chunk, at: At, query: &Query, mask: u64, top: &mut TopK) {
        let index = chunk.indices[at.slot];
        let (group, terms) = (self.group(index), &chunk.terms[at.slot]);
        let table = query.table.get().map_or(&[][..], Vec::as_slice);
        for r in rows_of(mask) {
            let sum = lookups::score(self.tables.bits, group, r, table) + terms[r];
            top.push(Hit { distance: query.base + sum, row: (index * GROUP + r) as u32 });
        }
    }

    fn finish<S: Simd>(&self, _: S, _: &mut Chunk, _: &Query, top: TopK) -> Vec<Hit> {
        let mut hits = top.into_sorted();
        hits.iter_mut().for_each(|hit| hit.distance = self.codes.metric.clamp(hit.distance));
        hits
    }
}
