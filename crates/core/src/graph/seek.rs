//! The search of a call: by turns through a graph, or over all that a filter allows.
//!
//! **Filters** decide what is kept of the vertices that a search expands, not where it goes: through dead and disallowed
//! vertices it walks as through others. Where a share p of the rows is allowed it has ef/p candidates, so that about ef
//! of them may be kept. Where that is no less work than to compare all that is allowed, or less than
//! `SCAN_SHARE` is allowed, all that is allowed is compared. A search that finds fewer than were asked for, and are
//! there, is done again with four times the candidates, and in the end by comparing all.

use std::cell::Cell;
use std::thread::LocalKey;

use crate::ids::RowMask;
use crate::index::{SearchError, SearchOptions};
use crate::scan::{Hits, Masks, rows_of};
use crate::select::Hit;
use crate::simd::{Simd, Work, run};
use crate::threads::Control;

use super::beam::{LANES, Lane, Task, search_all};
use super::{Expander, Nearest, Roster, roster::DEAD};

/// Queries of one item of parallel work.
const BATCH: usize = 1024;
/// Of the rows: where fewer are allowed they are all compared.
const SCAN_SHARE: f64 = 0.02;
/// Rows asked for before they are compared.
const AHEAD: usize = 4;

/// What a thread keeps from call to call.
pub struct Scratch<Q> {
    lanes: [Lane<Q>; LANES],
    nearest: Vec<Nearest>,
}

impl<Q: Default> Default for Scratch<Q> {
    fn default() -> Self {
        Self { lanes: Default::default(), nearest: Vec::new() }
    }
}

/// Where a thread's [`Scratch`] lies between calls.
pub type Shelf<Q> = LocalKey<Cell<Option<Box<Scratch<Q>>>>>;

/// One call's queries, and the graph they are searched in. Mark the methods `#[inline(always)]`: only then are they
/// compiled for the level.
pub trait Seek: Sync {
    /// A query.
    type Query: Default + 'static;
    /// The graph.
    type Graph: Expander<Query = Self::Query>;

    /// Rows that are compared in the time of one hop.
    const ROWS_A_HOP: usize;

    /// The graph.
    fn graph(&self) -> &Self::Graph;

    /// Whose its vertices are.
    fn roster(&self) -> &Roster;

    /// A thread's memory.
    fn shelf() -> &'static Shelf<Self::Query>;

    /// Reads and checks query `number`, and prepares it for [`Seek::distance`].
    ///
    /// # Errors
    /// [`SearchError`].
    fn read<S: Simd>(&self, simd: S, number: usize, query: &mut Self::Query) -> Result<(), SearchError>;

    /// Prepares a query for walking, too.
    #[inline(always)]
    fn ready<S: Simd>(&self, _simd: S, _query: &mut Self::Query) {}

    /// The distance of a vertex, where all that is allowed is compared.
    fn distance<S: Simd>(&self, simd: S, query: &Self::Query, vertex: u32) -> f32;

    /// Asks for what [`Seek::distance`] will read of a vertex.
    fn prefetch(&self, vertex: u32);

    /// Looks again at what was found for a query: rows, nearest first.
    #[inline(always)]
    fn finish<S: Simd>(&self, _simd: S, _query: &mut Self::Query, _nearest: &mut Nearest) {}
}

/// Candidates of a search: as many as the caller says, or by default, and at least k.
pub fn ef_of(options: &SearchOptions<'_>) -> usize {
    let k = options.k;
    options.ef.unwrap_or((2 * k).max(100)).max(k)
}

/// Checks the ef that the caller gave.
///
/// # Errors
/// [`SearchError::Knob`].
pub fn check_ef(options: &SearchOptions<'_>) -> Result<(), SearchError> {
    if options.ef == Some(0) {
        return Err(SearchError::Knob { knob: "ef", reason: "expected at least 1, got 0" });
    }
    Ok(())
}

/// What is asked of a call.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// Number of queries.
    pub queries: usize,
    /// Neighbours wanted.
    pub k: usize,
    /// Candidates of a search.
    pub ef: usize,
    /// Of the vertices a search expands so many are kept for [`Seek::finish`], which leaves k; at least k.
    pub kept: usize,
    /// What may be returned.
    pub masks: &'a Masks,
    /// How it is done.
    pub control: &'a Control,
}

/// One call.
struct Call<'a, T> {
    method: &'a T,
    asked: Asked<'a>,
}

/// The best rows of each query.
///
/// # Errors
/// [`SearchError`]: a query is refused, or the call was cancelled.
pub fn seek<T: Seek>(method: &T, asked: Asked<'_>) -> Result<Hits, SearchError> {
    let call = Call { method, asked };
    let share = asked.queries.div_ceil(asked.control.threads()).clamp(1, BATCH);
    let parts = asked.control.map((0..asked.queries).step_by(share), |first| {
        let mut scratch = T::shelf().take().unwrap_or_default();
        let range = first..asked.queries.min(first + share);
        let hits = call.batch(range.collect(), &mut scratch);
        T::shelf().set(Some(scratch));
        hits
    })?;
    Ok(parts.into_iter().flatten().collect())
}

impl<T: Seek> Call<'_, T> {
    /// The rows that a query may return, where not all are.
    fn mask(&self, query: usize) -> Option<&RowMask> {
        match self.asked.masks {
            Masks::All => None,
            Masks::Shared(mask) => Some(mask),
            Masks::PerQuery(masks) => masks.get(query),
        }
    }

    /// How many rows a query may return.
    fn allowed(&self, query: usize) -> usize {
        self.mask(query).map_or(self.method.roster().live(), RowMask::count)
    }

    /// How many candidates a query has; `None` where all that is allowed is compared.
    fn candidates(&self, query: usize, widened: usize) -> Option<usize> {
        let roster = self.method.roster();
        let (vertices, live) = (roster.vertices(), roster.live());
        let allowed = self.allowed(query);
        let ef = self.asked.ef.saturating_mul(widened);
        // What the graph has to go through for each that is kept.
        let wanted = ef.saturating_mul(vertices) / allowed.max(1);
        let few = (allowed as f64) < SCAN_SHARE * live as f64;
        let walk = if allowed == vertices { ef } else { wanted };
        (!few && walk < vertices && walk.saturating_mul(T::ROWS_A_HOP) < allowed.max(vertices / 2))
            .then_some(walk)
    }

    /// The hits of some queries, nearest first.
    fn batch(&self, queries: Vec<usize>, scratch: &mut Scratch<T::Query>) -> Result<Hits, SearchError> {
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
                run(self.asked.control.level(), chosen)?;
                for (&(_, place), nearest) in group.iter().zip(&scratch.nearest) {
                    let wanted = self.asked.k.min(self.allowed(queries[place]));
                    if ef.is_some() && nearest.len() < wanted {
                        again.push(place);
                    } else {
                        hits[place] = nearest.hits().collect();
                    }
                }
            }
            left = again;
            widened = widened.saturating_mul(4);
        }
        Ok(hits)
    }

    /// Reads a query.
    #[inline(always)]
    fn read<S: Simd>(&self, simd: S, number: usize, query: &mut T::Query) -> Result<(), SearchError> {
        self.asked.control.check()?;
        self.method.read(simd, number, query)
    }

    /// Compares a query with every row that it may return.
    #[inline(always)]
    fn scan<S: Simd>(&self, simd: S, number: usize, query: &T::Query, nearest: &mut Nearest) {
        let places = self.method.roster().places();
        let mask = self.mask(number);
        let group = |group: usize| {
            let bits = mask.map_or(u64::MAX, |mask| mask.group(group));
            rows_of(bits).map(move |bit| group * 64 + bit)
        };
        let allowed = || {
            let rows = (0..places.len().div_ceil(64)).flat_map(group);
            rows.take_while(|&row| row < places.len())
        };
        let mut soon = allowed().skip(AHEAD);
        for row in allowed() {
            if let Some(soon) = soon.next() {
                self.method.prefetch(places[soon]);
            }
            let distance = self.method.distance(simd, query, places[row]);
            nearest.push(Hit { distance, row: row as u32 });
        }
    }
}

/// Some queries that are searched in the same way.
struct Chosen<'a, T: Seek> {
    call: &'a Call<'a, T>,
    queries: &'a [usize],
    ef: Option<usize>,
    scratch: &'a mut Scratch<T::Query>,
}

impl<T: Seek> Work for Chosen<'_, T> {
    type Output = Result<(), SearchError>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let Self { call, queries, ef, scratch } = self;
        let Scratch { lanes, nearest } = scratch;
        nearest.resize_with(queries.len().max(nearest.len()), Nearest::default);
        nearest.iter_mut().take(queries.len()).for_each(|nearest| nearest.begin(call.asked.kept));
        let Some(ef) = ef else {
            let [lane, ..] = lanes;
            let query = lane.query_mut();
            for (&number, nearest) in queries.iter().zip(nearest) {
                call.read(simd, number, query)?;
                call.scan(simd, number, query, nearest);
                call.method.finish(simd, query, nearest);
            }
            return Ok(());
        };
        // Without dead vertices they are the rows.
        let roster = call.method.roster();
        let all = matches!(call.asked.masks, Masks::All) && roster.live() == roster.vertices();
        let graph = call.method.graph();
        if all {
            let task = &mut Keep::<T, false> { call, queries, nearest };
            return search_all(simd, graph, queries.len(), ef, lanes, task);
        }
        let task = &mut Keep::<T, true> { call, queries, nearest };
        search_all(simd, graph, queries.len(), ef, lanes, task)
    }
}

/// Keeps the nearest of each query; of live and allowed rows only, if `FILTERED`.
struct Keep<'a, T, const FILTERED: bool> {
    call: &'a Call<'a, T>,
    queries: &'a [usize],
    nearest: &'a mut [Nearest],
}

impl<T: Seek, const FILTERED: bool> Task<T::Graph> for Keep<'_, T, FILTERED> {
    type Error = SearchError;

    #[inline(always)]
    fn prepare<S: Simd>(&mut self, simd: S, number: usize, query: &mut T::Query) -> Result<(), SearchError> {
        self.call.read(simd, self.queries[number], query)?;
        self.call.method.ready(simd, query);
        Ok(())
    }

    #[inline(always)]
    fn popped(&mut self, number: usize, hit: Hit) {
        if FILTERED {
            let row = self.call.method.roster().owners()[hit.row as usize];
            let allowed = |mask: &RowMask| mask.group(row as usize / 64) >> (row % 64) & 1 == 1;
            if row == DEAD || !self.call.mask(self.queries[number]).is_none_or(allowed) {
                return;
            }
            return self.nearest[number].push(Hit { row, ..hit });
        }
        self.nearest[number].push(hit);
    }

    #[inline(always)]
    fn finished<S: Simd>(&mut self, simd: S, number: usize, query: &mut T::Query) {
        self.call.method.finish(simd, query, &mut self.nearest[number]);
    }
}
