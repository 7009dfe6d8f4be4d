//! The search: each query scans its lists, nearest first.
//!
//! Queries come in tiles: axes, lists and tables are found for a tile at once. Then each scans for itself, with its table in
//! the nearest cache: the rows of a list are few bytes, and other queries want other lists.
//!
//! Where so few rows are found that k are not (few in these lists, or few that are allowed), a query goes on to twice as many
//! lists.

use std::sync::Arc;

use counterpoint_core::cluster::Nearest;
use counterpoint_core::index::{SearchError, SearchOptions};
use counterpoint_core::metric::Metric;
use counterpoint_core::rerank::reranked;
use counterpoint_core::scan::{Hits, Masks, allowed_of, rows_of};
use counterpoint_core::select::{Hit, Pool};
use counterpoint_core::simd::{GROUP, Simd, TILE, Work, lookups, prefetch_far, run};
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::{RowSource, read_checked};

use super::store::{FiledCodes, Inverted};
use crate::search::default_rerank;
use crate::tables::Tables;

/// Queries that one item of parallel work has at most.
const PART: usize = 8 * TILE;

/// Queries that meet a list from which on its terms are looked up for all of them at once.
const MANY: usize = 8;

/// Searches, and re-ranks on kept vectors where there are any.
pub(super) fn search(
    store: &Inverted,
    queries: &dyn RowSource,
    options: &SearchOptions<'_>,
    masks: &Masks,
    control: &Control,
) -> Result<Hits, SearchError> {
    let Some(filed) = &store.filed else {
        return Ok(vec![Vec::new(); queries.len()]);
    };
    let tables = filed.learned.tables(store.metric, store.parameters().bits, options.stages);
    let probes = options.n_probe.unwrap_or(default_probes(store.lists())).min(store.lists());
    // Where many queries meet a list, its rows' terms are looked up once.
    let met = queries.len().saturating_mul(probes) / store.lists().max(1);
    let terms = match filed.prefix(&tables, control)? {
        None if met >= MANY => filed.terms(&tables, control)?,
        prefix => prefix,
    };
    let default = default_rerank(options.k);
    reranked(&store.kept, store.metric, queries, options, default, control, |k| {
        let call = Call { filed, tables, terms, queries, masks, control, k, wanted: options.k, probes };
        let share = queries.len().div_ceil(control.threads()).next_multiple_of(TILE).min(PART);
        let parts = control.map((0..queries.len()).step_by(share), |first| {
            let last = queries.len().min(first + share);
            run(control.level(), Part { call: &call, first, last })
        })?;
        Ok(parts.into_iter().flatten().collect())
    })
}

/// Lists searched where the caller does not say.
fn default_probes(lists: usize) -> usize {
    lists.div_ceil(5)
}

/// One call.
struct Call<'a> {
    filed: &'a FiledCodes,
    tables: Tables<'a>,
    /// The terms of all slots, where they are not to be looked up.
    terms: Option<Arc<Vec<f32>>>,
    queries: &'a dyn RowSource,
    masks: &'a Masks,
    control: &'a Control,
    /// Rows that a query's scan gives.
    k: usize,
    /// Rows that are found at least, if there are so many.
    wanted: usize,
    probes: usize,
}

/// Some queries of a call, searched on one thread.
struct Part<'a> {
    call: &'a Call<'a>,
    first: usize,
    last: usize,
}

impl Work for Part<'_> {
    type Output = Result<Hits, SearchError>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let Self { call, first, last } = self;
        let dim = call.queries.dim();
        let quantizer = call.tables.quantizer;
        let (Some(coarse), width) = (&quantizer.coarse, quantizer.space.width()) else {
            return Ok(vec![Vec::new(); last - first]);
        };
        let mut hits = Vec::with_capacity(last - first);
        let mut values = vec![0.0; TILE * dim];
        let (mut nearest, mut more) = (Nearest::default(), Nearest::default());
        for from in (first..last).step_by(TILE) {
            call.control.check()?;
            let count = TILE.min(last - from);
            let mut bases = [0.0; TILE];
            for (i, (base, values)) in
                bases.iter_mut().zip(values.chunks_exact_mut(dim)).take(count).enumerate()
            {
                read_checked(call.queries, from + i, values)?;
                *base = call.tables.centre(simd, values, from + i)?;
            }
            let along = call.tables.along(simd, &values, count);
            coarse.route(simd, (&along, width), count, call.probes, &mut nearest);
            let tables = call.tables.of(simd, &along, count);
            for (i, table) in tables.iter().enumerate() {
                let along = &along[i * width..(i + 1) * width];
                let base = match call.tables.metric {
                    Metric::L2 | Metric::Cosine => {
                        // A: what the axes leave out.
                        bases[i] - 0.5 * call.tables.weight() * simd.dot(along, along)
                    }
                    Metric::Ip => bases[i],
                };
                let tile = lookups::Tile::new(call.tables.bits, std::iter::once(table.as_slice()));
                let mut scan = Scan::new(call, from + i, table, &tile);
                let lists = nearest.width();
                scan.lists(simd, base, nearest.of(i), &nearest.distances()[i * lists..(i + 1) * lists]);
                let mut probed = lists;
                while scan.found < call.wanted(from + i) && probed < coarse.len() {
                    coarse.route(simd, (along, width), 1, 2 * probed, &mut more);
                    let (lists, distances) = (&more.of(0)[probed..], &more.distances()[probed..]);
                    scan.lists(simd, base, lists, distances);
                    probed = more.width();
                }
                let mut found = scan.top.into_sorted();
                found.iter_mut().for_each(|hit| hit.distance = call.tables.metric.clamp(hit.distance));
                hits.push(found);
            }
        }
        Ok(hits)
    }
}

impl Call<'_> {
    /// How many rows a query is to find, if there are so many.
    fn wanted(&self, query: usize) -> usize {
        match self.masks {
            Masks::All => self.wanted,
            // Among few allowed rows the nearest lie further away: as many as are to be scored again.
            Masks::Shared(mask) => self.k.min(mask.count()),
            Masks::PerQuery(masks) => self.k.min(masks[query].count()),
        }
    }
}

/// One query at its lists.
struct Scan<'a> {
    call: &'a Call<'a>,
    query: usize,
    table: &'a [f32],
    tile: &'a lookups::Tile,
    top: Pool,
    /// Rows met that are allowed.
    found: usize,
}

impl<'a> Scan<'a> {
    fn new(call: &'a Call<'a>, query: usize, table: &'a [f32], tile: &'a lookups::Tile) -> Self {
        Self { call, query, table, tile, top: Pool::new(call.k), found: 0 }
    }

    /// Scans lists at these distances; `base` is A.
    #[inline(always)]
    fn lists<S: Simd>(&mut self, simd: S, base: f32, lists: &[u32], distances: &[f32]) {
        let tables = &self.call.tables;
        let unit = if tables.metric == Metric::Ip { 1.0 } else { 0.5 * tables.weight() };
        for (i, (&list, distance)) in lists.iter().zip(distances).enumerate() {
            let next = lists.get(i + 1).map(|&next| next as usize);
            self.list(simd, base + unit * distance, list as usize, next);
        }
    }

    /// Scans a list, and asks memory for the next; `base` is A + L.
    #[inline(always)]
    fn list<S: Simd>(&mut self, simd: S, base: f32, list: usize, next: Option<usize>) {
        let Call { filed, tables, terms: ready, .. } = self.call;
        let (slots, has_terms) = (filed.blocks.arena(), !tables.quantizer.levels.is_empty());
        let bytes = lookups::group_bytes(tables.bits, tables.stages);
        let mut terms = [0.0; GROUP];
        let mut ahead = next.map(|next| filed.blocks.lists().blocks_of(next));
        for (group, rows) in filed.blocks.lists().blocks_of(list) {
            if let Some((group, _)) = ahead.as_mut().and_then(Iterator::next) {
                prefetch_far(slots.group(group));
            }
            let allowed = self.allowed(rows);
            if allowed == 0 {
                continue;
            }
            self.found += allowed.count_ones() as usize;
            let terms = match ready.as_ref().and_then(|ready| ready[group * GROUP..].first_chunk()) {
                Some(ready) => ready,
                None => {
                    tables.terms(slots.levels(group), &mut terms);
                    &terms
                }
            };
            let codes = &slots.group(group)[..bytes];
            let bound = self.top.bound();
            // A distance of a sum is rounded once more.
            let mut limits = [f32::INFINITY; TILE];
            limits[0] = (bound - base) + (base.abs() + bound.abs()) * f32::EPSILON;
            let passed = simd.lookup_survivors(codes, has_terms.then_some(terms), self.tile, &limits)[0];
            for r in rows_of(passed & allowed) {
                let sum = lookups::score(tables.bits, codes, r, self.table) + terms[r];
                self.top.push(Hit { distance: base + sum, row: rows[r] });
            }
        }
    }

    /// Of a group's rows those that may be returned.
    #[inline(always)]
    fn allowed(&self, rows: &[u32]) -> u64 {
        let all = u64::MAX >> (GROUP - rows.len());
        match self.call.masks {
            Masks::All => all,
            Masks::Shared(mask) => allowed_of(mask, rows, all),
            Masks::PerQuery(masks) => allowed_of(&masks[self.query], rows, all),
        }
    }
}
