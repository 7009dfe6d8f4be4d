//! Beam search: from the nearest known vertex that was not left yet to its neighbours, while there is one among the `ef`
//! nearest known.
//!
//! With b the bound, the distance of the pool's last of `ef` candidates (∞ while there are fewer):
//!
//! > pop the nearest vertex that was not popped; offer its neighbours that are nearer than b; until all were popped.
//!
//! What is done with the popped vertices and their distances is the caller's: a search keeps the nearest ([`super::Nearest`],
//! perhaps of those that a filter allows), a build keeps them all.
//!
//! **Memory.** A hop reads a few KB from anywhere. Once the `SETTLED` nearest candidates were popped, little of what a
//! vertex brings is nearer than what waits: then the next vertex is popped, and its row asked for, before the one in hand is
//! expanded. Until then one search asks for the row that is next in line, which is right unless a nearer one turns up. Where
//! there are more queries, [`search_all`] goes on with [`LANES`] searches by turns, each of which asks for a row a whole round
//! before it reads it; where edges lie apart from vectors, nothing is popped ahead, and another round passes between edges and
//! vectors ([`Expander::IN_STEPS`]).

use super::{Expander, Mark, Pool, Visited};
use crate::select::Hit;
use crate::simd::Simd;

/// Searches that one thread has under way.
pub const LANES: usize = 4;
/// Nearest candidates after whose expansion vertices are popped ahead.
const SETTLED: usize = 4;

/// The memory of one search; one that is used again allocates nothing.
#[derive(Clone, Debug, Default)]
pub struct Walk {
    pool: Pool,
    visited: Visited,
    found: Vec<Hit>,
    /// What was popped and asked for, to be expanded next.
    asked: Option<Hit>,
    /// What was asked for without being popped.
    guess: Option<u32>,
    /// The neighbours that the first of two steps gathered, and whether it was made.
    new: Vec<u32>,
    gathered: bool,
}

impl Walk {
    /// Begins a search at the entry points.
    #[inline(always)]
    fn begin<S: Simd, E: Expander>(&mut self, simd: S, graph: &E, query: &E::Query, ef: usize) {
        self.pool.begin(ef.max(1));
        self.visited.begin();
        self.found.clear();
        (self.asked, self.guess, self.gathered) = (None, None, false);
        graph.enter(simd, query, &mut self.visited, &mut self.found);
        self.offer::<E>();
    }

    /// Moves what was found into the pool.
    #[inline(always)]
    fn offer<E: Expander>(&mut self) {
        for &hit in &self.found {
            // Not `>=`: what is no number is no neighbour.
            if hit.distance < self.pool.bound()
                && (E::MARK == Mark::OnPush || !self.visited.contains(hit.row))
            {
                self.pool.push(hit);
            }
        }
        self.found.clear();
    }

    /// The next vertex to expand.
    #[inline(always)]
    fn pop<E: Expander>(&mut self) -> Option<Hit> {
        loop {
            let hit = self.pool.pop()?;
            if E::MARK == Mark::OnPush || self.visited.insert(hit.row) {
                return Some(hit);
            }
        }
    }

    /// Pops the next vertex and asks for its row.
    #[inline(always)]
    fn ask<E: Expander>(&mut self, graph: &E) {
        self.asked = self.pop::<E>();
        if let Some(hit) = self.asked
            && self.guess != Some(hit.row)
        {
            graph.prefetch(hit.row);
        }
    }

    /// The first of two steps of expanding the next vertex; false where there is but one, or it was made.
    #[inline(always)]
    fn gather<E: Expander>(&mut self, graph: &E) -> bool {
        let Some(from) = self.asked.filter(|_| E::IN_STEPS && !self.gathered) else { return false };
        self.new.clear();
        graph.gather(from.row, &mut self.visited, &mut self.new);
        self.gathered = true;
        true
    }

    /// Expands the next vertex; gives it with its own distance. `ALONE`: whether no other search has its turn meanwhile.
    #[inline(always)]
    fn step<const ALONE: bool, S: Simd, E: Expander>(
        &mut self,
        simd: S,
        graph: &E,
        query: &E::Query,
    ) -> Option<Hit> {
        if self.asked.is_none() {
            self.ask(graph);
        }
        let from = self.asked.take()?;
        self.guess = None;
        if !E::IN_STEPS && self.pool.done() >= SETTLED {
            self.ask(graph);
        } else if ALONE {
            self.guess = self.pool.peek().map(|next| next.row);
            if let Some(next) = self.guess {
                graph.prefetch(next);
            }
        }
        let bound = self.pool.bound();
        let distance = if std::mem::take(&mut self.gathered) {
            graph.score(simd, query, &self.new, bound, &mut self.found);
            from.distance
        } else {
            graph.expand(simd, query, from, bound, &mut self.visited, &mut self.found)
        };
        self.offer::<E>();
        if !ALONE && self.asked.is_none() {
            self.ask(graph);
        }
        Some(Hit { distance, row: from.row })
    }
}

impl<Q> Lane<Q> {
    /// The query, of no meaning between searches.
    pub fn query_mut(&mut self) -> &mut Q {
        &mut self.query
    }
}

/// What a caller does with searches. Mark the methods `#[inline(always)]`: only then are they compiled for the level.
pub trait Task<E: Expander> {
    /// Why a query cannot be searched.
    type Error;

    /// Makes the query of a number in the place of an older one.
    ///
    /// # Errors
    /// The search of all queries ends.
    fn prepare<S: Simd>(&mut self, simd: S, number: usize, query: &mut E::Query) -> Result<(), Self::Error>;

    /// Sees each vertex that the search of a query expands, with its own distance.
    fn popped(&mut self, number: usize, hit: Hit);

    /// Sees a query whose search has ended.
    #[inline(always)]
    fn finished<S: Simd>(&mut self, _simd: S, _number: usize, _query: &mut E::Query) {}
}

/// Searches with `ef` candidates (at least 1); `popped` sees each vertex that is expanded, with its own distance.
#[inline(always)]
pub fn search<S: Simd, E: Expander>(
    simd: S,
    graph: &E,
    query: &E::Query,
    ef: usize,
    walk: &mut Walk,
    mut popped: impl FnMut(Hit),
) {
    walk.begin(simd, graph, query, ef);
    while let Some(hit) = walk.step::<true, S, E>(simd, graph, query) {
        popped(hit);
    }
}

/// The memory of one of the searches that a thread has under way, and its query: one that is used again allocates nothing
/// but what the query does.
#[derive(Clone, Debug, Default)]
pub struct Lane<Q> {
    walk: Walk,
    query: Q,
    /// The number of the query.
    at: Option<usize>,
}

/// Searches for each of `count` queries with `ef` candidates (at least 1), [`LANES`] of them at a time. What is popped for
/// one query, and in which order, does not depend on the others.
///
/// # Errors
/// The first of [`Task::prepare`].
#[inline(always)]
pub fn search_all<S: Simd, E: Expander, T: Task<E>>(
    simd: S,
    graph: &E,
    count: usize,
    ef: usize,
    lanes: &mut [Lane<E::Query>; LANES],
    task: &mut T,
) -> Result<(), T::Error> {
    if count == 1 {
        let [Lane { walk, query, .. }, ..] = lanes;
        task.prepare(simd, 0, query)?;
        search(simd, graph, query, ef, walk, |hit| task.popped(0, hit));
        task.finished(simd, 0, query);
        return Ok(());
    }
    lanes.iter_mut().for_each(|lane| lane.at = None);
    let mut waiting = 0..count;
    let mut busy = true;
    while busy {
        busy = false;
        for Lane { walk, query, at } in lanes.iter_mut() {
            if let Some(number) = *at {
                if walk.gather(graph) {
                    busy = true;
                    continue;
                }
                match walk.step::<false, S, E>(simd, graph, query) {
                    Some(hit) => task.popped(number, hit),
                    None => {
                        *at = None;
                        task.finished(simd, number, query);
                    }
                }
            }
            if at.is_none()
                && let Some(number) = waiting.next()
            {
                task.prepare(simd, number, query)?;
                walk.begin(simd, graph, query, ef);
                walk.ask(graph);
                *at = Some(number);
            }
            busy |= at.is_some();
        }
    }
    Ok(())
}
