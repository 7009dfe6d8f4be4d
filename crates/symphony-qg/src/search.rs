//! The search of a call: by turns through the graph, or over all that a filter allows.
//!
//! **Filters** decide what is kept of the vertices that a search expands, not where it goes: through dead and disallowed
//! vertices it walks as through others. Where a share p of the rows is allowed it has ef/p candidates, so that about ef
//! of them may be kept. Where that is no less work than to compare all that is allowed, or less than
//! [`SCAN_SHARE`] is allowed, all that is allowed is compared. A search that finds fewer than were asked for, and are
//! there, is done again with four times the candidates, and in the end by comparing all.
//!
//! **Inner products** order rows alike for a query of any length t, but estimates do not: the error grows with ‖q − u‖
//! (see `encode`), which beside ⟨q, u⟩ is √(1 − 2ρ cos φ + ρ²)/cos φ, where ρ = M/t, M is the rows' length in the graph's
//! space and φ the angle between q and u. It is least at ρ = cos φ, never much above 1/cos φ where t is longer, and without
//! bound where t is shorter. So under ip a query is multiplied by the power of two that brings it to between 2M and 4M, and
//! distances are divided by it, which costs no precision.

use std::cell::Cell;

use counterpoint_core::graph::Nearest;
use counterpoint_core::graph::beam::{LANES, Lane, Task, search_all};
use counterpoint_core::ids::RowMask;
use counterpoint_core::index::{SearchError, SearchOptions};
use counterpoint_core::metric::Metric;
use counterpoint_core::scan::{Hits, Masks};
use counterpoint_core::select::Hit;
use counterpoint_core::simd::{Simd, Work, run};
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::{RowSource, read_checked};

use crate::graph::{Graph, Query};
use crate::space::square;
use crate::store::{DEAD, Edges, Learned};

/// Queries of one item of parallel work.
const BATCH: usize = 1024;
/// Of the rows: where fewer are allowed they are all compared.
const SCAN_SHARE: f64 = 0.02;
/// Rows that are compared in the time of one hop.
const ROWS_A_HOP: usize = 4;
/// Of a query under ip: the square of its length in units of M, to the nearest power of two.
const LENGTH: f64 = 8.0;
/// Rows asked for before they are compared.
const AHEAD: usize = 4;

/// Candidates where the caller does not say.
pub(crate) fn default_ef(k: usize) -> usize {
    (2 * k).max(100)
}

/// What a thread keeps from call to call.
#[derive(Default)]
struct Scratch {
    lanes: [Lane<Query>; LANES],
    nearest: Vec<Nearest>,
    /// What distances are multiplied by.
    units: Vec<f32>,
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

/// One call.
struct Call<'a> {
    store: &'a Edges,
    learned: &'a Learned,
    graph: Graph<'a>,
    queries: &'a dyn RowSource,
    masks: &'a Masks,
    control: &'a Control,
    k: usize,
    ef: usize,
}

/// The best rows of each query.
pub(crate) fn search(
    store: &Edges,
    queries: &dyn RowSource,
    options: &SearchOptions<'_>,
    masks: &Masks,
    control: &Control,
) -> Result<Hits, SearchError> {
    let Some(learned) = store.learned() else { return Ok(vec![Vec::new(); queries.len()]) };
    let graph = learned.graph(store.metric, options.rerank != Some(0));
    let ef = options.ef.unwrap_or(default_ef(options.k)).max(options.k);
    let call = Call { store, learned, graph, queries, masks, control, k: options.k, ef };
    let share = queries.len().div_ceil(control.threads()).clamp(1, BATCH);
    let parts = control.map((0..queries.len()).step_by(share), |first| {
        let mut scratch = SCRATCH.take().unwrap_or_default();
        let range = first..queries.len().min(first + share);
        let hits = call.batch(range.collect(), &mut scratch);
        SCRATCH.set(Some(scratch));
        hits
    })?;
    Ok(parts.into_iter().flatten().collect())
}

impl Call<'_> {
    /// The rows that a query may return, where not all are.
    fn mask(&self, query: usize) -> Option<&RowMask> {
        match self.masks {
            Masks::All => None,
            Masks::Shared(mask) => Some(mask),
            Masks::PerQuery(masks) => masks.get(query),
        }
    }

    /// How many candidates a query has; `None` where all that is allowed is compared.
    fn candidates(&self, query: usize, widened: usize) -> Option<usize> {
        let (vertices, live) = (self.learned.rows.len(), self.store.live());
        let allowed = self.mask(query).map_or(live, RowMask::count);
        let ef = self.ef.saturating_mul(widened);
        // What the graph has to go through for each that is kept.
        let wanted = ef.saturating_mul(vertices) / allowed.max(1);
        let few = (allowed as f64) < SCAN_SHARE * live as f64;
        let walk = if allowed == vertices { ef } else { wanted };
        (!few && walk < vertices && walk.saturating_mul(ROWS_A_HOP) < allowed.max(vertices / 2))
            .then_some(walk)
    }

    /// The hits of some queries, nearest first.
    fn batch(&self, queries: Vec<usize>, scratch: &mut Scratch) -> Result<Hits, SearchError> {
        let mut hits = vec![Vec::new(); queries.len()];
        let mut left: Vec<usize> = (0..queries.len()).collect();
        let mut widened = 1;
        while !left.is_empty() {
            // Queries of as many candidates go together.
            let mut again = Vec::new();
            let mut plans: Vec<(Option<usize>, usize)> =
                left.iter().map(|&place| (self.candidates(queries[place], widened), place)).collect();
            plans.sort_by_key(|&(ef, _)| ef);
            for group in plans.chunk_by(|a, b| a.0 == b.0) {
                let Some(&(ef, _)) = group.first() else { continue };
                let chosen: Vec<usize> = group.iter().map(|&(_, place)| queries[place]).collect();
                let chosen = Chosen { call: self, queries: &chosen, ef, scratch };
                run(self.control.level(), chosen)?;
                for ((&(_, place), nearest), &unit) in group.iter().zip(&scratch.nearest).zip(&scratch.units)
                {
                    let live = self.store.live();
                    let wanted = self.k.min(self.mask(queries[place]).map_or(live, RowMask::count));
                    if ef.is_some() && nearest.len() < wanted {
                        again.push(place);
                    } else {
                        let hit = |hit: Hit| Hit { distance: unit * hit.distance, ..hit };
                        hits[place] = nearest.hits().map(hit).collect();
                    }
                }
            }
            left = again;
            widened = widened.saturating_mul(4);
        }
        Ok(hits)
    }

    /// Reads a query; gives the unit of its distances.
    #[inline(always)]
    fn read(&self, number: usize, query: &mut Query) -> Result<f32, SearchError> {
        self.control.check()?;
        let dim = self.queries.dim();
        // Zeros beyond the end: of the padding, and under ip of the added value.
        query.values.clear();
        query.values.resize(self.learned.rows.layout.stride(), 0.0);
        read_checked(self.queries, number, &mut query.values[..dim])?;
        self.store.metric.prepare(&mut query.values[..dim], number)?;
        if self.store.metric != Metric::Ip {
            return Ok(1.0);
        }
        let factor = power_of_two((LENGTH * self.learned.length / square(&query.values[..dim])).sqrt());
        query.values[..dim].iter_mut().for_each(|value| *value *= factor);
        Ok(1.0 / factor)
    }
}

/// The power of two that is nearest to a ratio, within what queries may be multiplied by.
fn power_of_two(ratio: f64) -> f32 {
    // Neither is a product of a legal value and a legal length beyond what tables can have, nor 1 over the factor.
    let exponent =
        if ratio.is_finite() && ratio > 0.0 { ratio.log2().round().clamp(-60.0, 60.0) } else { 0.0 };
    exponent.exp2() as f32
}

/// Some queries that are searched in the same way.
struct Chosen<'a> {
    call: &'a Call<'a>,
    queries: &'a [usize],
    ef: Option<usize>,
    scratch: &'a mut Scratch,
}

impl Work for Chosen<'_> {
    type Output = Result<(), SearchError>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let Self { call, queries, ef, scratch } = self;
        let Scratch { lanes, nearest, units } = scratch;
        units.clear();
        units.resize(queries.len(), 1.0);
        nearest.resize_with(queries.len().max(nearest.len()), Nearest::default);
        nearest.iter_mut().take(queries.len()).for_each(|nearest| nearest.begin(call.k));
        let Some(ef) = ef else {
            let [lane, ..] = lanes;
            let query = lane.query_mut();
            for ((&number, nearest), unit) in queries.iter().zip(nearest).zip(units) {
                *unit = call.read(number, query)?;
                call.scan(simd, number, query, nearest);
            }
            return Ok(());
        };
        // Without dead vertices they are the rows.
        let all = matches!(call.masks, Masks::All) && call.store.live() == call.learned.rows.len();
        if all {
            let task = &mut Keep::<false> { call, queries, nearest, units };
            return search_all(simd, &call.graph, queries.len(), ef, lanes, task);
        }
        let task = &mut Keep::<true> { call, queries, nearest, units };
        search_all(simd, &call.graph, queries.len(), ef, lanes, task)
    }
}

/// Keeps the nearest of each query; of live and allowed rows only, if `FILTERED`.
struct Keep<'a, const FILTERED: bool> {
    call: &'a Call<'a>,
    queries: &'a [usize],
    nearest: &'a mut [Nearest],
    units: &'a mut [f32],
}

impl<'a, const FILTERED: bool> Task<Graph<'a>> for Keep<'a, FILTERED> {
    type Error = SearchError;

    #[inline(always)]
    fn prepare<S: Simd>(&mut self, simd: S, number: usize, query: &mut Query) -> Result<(), SearchError> {
        self.units[number] = self.call.read(self.queries[number], query)?;
        query.prepare(simd, &self.call.learned.frame);
        Ok(())
    }

    #[inline(always)]
    fn popped(&mut self, number: usize, hit: Hit) {
        if FILTERED {
            let row = self.call.learned.owners.as_slice()[hit.row as usize];
            let allowed = |mask: &RowMask| mask.group(row as usize / 64) >> (row % 64) & 1 == 1;
            if row == DEAD || !self.call.mask(self.queries[number]).is_none_or(allowed) {
                return;
            }
            return self.nearest[number].push(Hit { row, ..hit });
        }
        self.nearest[number].push(hit);
    }
}

impl Call<'_> {
    /// Compares a query with every row that it may return.
    #[inline(always)]
    fn scan<S: Simd>(&self, simd: S, number: usize, query: &Query, nearest: &mut Nearest) {
        let Learned { rows, places, .. } = self.learned;
        let mask = self.mask(number);
        let group = |group: usize| {
            let bits = mask.map_or(u64::MAX, |mask| mask.group(group));
            counterpoint_core::scan::rows_of(bits).map(move |bit| group * 64 + bit)
        };
        let allowed = || {
            let rows = (0..places.len().div_ceil(64)).flat_map(group);
            rows.take_while(|&row| row < places.len())
        };
        let mut soon = allowed().skip(AHEAD);
        for row in allowed() {
            if let Some(soon) = soon.next() {
                rows.prefetch_vector(places[soon]);
            }
            let vertex = places[row];
            let distance = rows.distance(simd, self.store.metric, &query.values, vertex);
            nearest.push(Hit { distance, row: row as u32 });
        }
    }
}
