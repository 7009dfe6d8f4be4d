//! Beam search: from the nearest known vertex that was not left yet to its neighbours, while there is one among the `ef`
//! nearest known.
//!
//! With b the bound, the distance of the pool's last of `ef` candidates (∞ while there are fewer):
//!
//! > pop the nearest vertex that was not popped; offer its neighbours that are nearer than b; until all were popped.
//!
//! What is done with the popped vertices and their distances is the caller's: a search keeps the nearest ([`Nearest`],
//! perhaps of those that a filter allows), a build keeps them all.
//!
//! **Memory.** A hop reads a few KB from anywhere. One search asks for the row that is next in line before it reads the
//! one in hand, which is right unless a nearer one turns up there. [`search_all`] goes on with [`LANES`] searches by
//! turns, each of which pops and asks for a row a whole round before it reads it.

use super::{Expander, Mark, Pool, Visited};
use crate::select::Hit;
use crate::simd::Simd;

/// Searches that one thread has under way.
pub const LANES: usize = 4;

/// The memory of one search; one that is used again allocates nothing.
#[derive(Clone, Debug, Default)]
pub struct Walk {
    pool: Pool,
    visited: Visited,
    found: Vec<Hit>,
}

impl Walk {
    /// Begins a search at the entry points.
    #[inline(always)]
    fn begin<S: Simd, E: Expander>(&mut self, simd: S, graph: &E, query: &E::Query, ef: usize) {
        self.pool.begin(ef.max(1));
        self.visited.begin(graph.vertices());
        self.found.clear();
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

    /// Expands a popped vertex; gives it with its own distance.
    #[inline(always)]
    fn expand<S: Simd, E: Expander>(&mut self, simd: S, graph: &E, query: &E::Query, from: Hit) -> Hit {
        let bound = self.pool.bound();
        let distance = graph.expand(simd, query, from, bound, &mut self.visited, &mut self.found);
        self.offer::<E>();
        Hit { distance, row: from.row }
    }
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
    while let Some(hit) = walk.pop::<E>() {
        if let Some(next) = walk.pool.peek() {
            graph.prefetch(next.row);
        }
        popped(walk.expand(simd, graph, query, hit));
    }
}

/// As [`search`] for each of `queries`, some of them at a time; `popped` sees the query's number as well. What it sees of
/// one query, and in which order, is what [`search`] would give.
#[inline(always)]
pub fn search_all<S: Simd, E: Expander>(
    simd: S,
    graph: &E,
    queries: &[E::Query],
    ef: usize,
    walks: &mut [Walk; LANES],
    mut popped: impl FnMut(usize, Hit),
) {
    if let [query] = queries {
        let [walk, ..] = walks;
        return search(simd, graph, query, ef, walk, |hit| popped(0, hit));
    }
    // The query of each lane, and the vertex it has popped and asked for.
    let mut lanes: [Option<(usize, Hit)>; LANES] = [None; LANES];
    let mut waiting = queries.iter().enumerate();
    let mut busy = true;
    while busy {
        busy = false;
        for (lane, walk) in lanes.iter_mut().zip(walks.iter_mut()) {
            let mut at = match *lane {
                Some((query, from)) => {
                    popped(query, walk.expand(simd, graph, &queries[query], from));
                    walk.pop::<E>().map(|hit| (query, hit))
                }
                None => None,
            };
            while at.is_none()
                && let Some((number, query)) = waiting.next()
            {
                walk.begin(simd, graph, query, ef);
                at = walk.pop::<E>().map(|hit| (number, hit));
            }
            if let Some((_, hit)) = at {
                graph.prefetch(hit.row);
                busy = true;
            }
            *lane = at;
        }
    }
}
