//! The graph as a search sees it.

use counterpoint_core::graph::adjacency::STEP;
use counterpoint_core::graph::{Adjacency, Expander, Mark, Visited};
use counterpoint_core::select::Hit;
use counterpoint_core::simd::{Simd, prefetch};

use crate::graph::vectors::{Query, Vectors};

/// Edges, vectors, and where searches begin.
pub(crate) struct Graph<'a> {
    pub(crate) vectors: &'a Vectors,
    pub(crate) adjacency: &'a Adjacency,
    pub(crate) entries: &'a [u32],
}

impl Graph<'_> {
    /// Scores those of at most [`STEP`] vertices that were not seen before.
    #[inline(always)]
    fn look<S: Simd>(
        &self,
        simd: S,
        query: &Query,
        vertices: &[u32],
        bound: f32,
        visited: &mut Visited,
        found: &mut Vec<Hit>,
    ) {
        let (mut new, mut count) = ([0; STEP], 0);
        for &vertex in vertices.iter().take(STEP) {
            if visited.insert(vertex) {
                self.vectors.prefetch(vertex);
                new[count] = vertex;
                count += 1;
            }
        }
        self.score(simd, query, &new[..count], bound, found);
    }
}

impl Expander for Graph<'_> {
    type Query = Query;
    const MARK: Mark = Mark::OnPush;
    const IN_STEPS: bool = true;

    #[inline(always)]
    fn enter<S: Simd>(&self, simd: S, query: &Query, visited: &mut Visited, found: &mut Vec<Hit>) {
        for entries in self.entries.chunks(STEP) {
            self.look(simd, query, entries, f32::INFINITY, visited, found);
        }
    }

    #[inline(always)]
    fn prefetch(&self, vertex: u32) {
        prefetch(bytemuck::cast_slice(self.adjacency.row(vertex)));
    }

    #[inline(always)]
    fn expand<S: Simd>(
        &self,
        simd: S,
        query: &Query,
        from: Hit,
        bound: f32,
        visited: &mut Visited,
        found: &mut Vec<Hit>,
    ) -> f32 {
        // What fills a row up is the vertex itself, which was seen.
        for neighbours in self.adjacency.row(from.row).chunks(STEP) {
            self.look(simd, query, neighbours, bound, visited, found);
        }
        from.distance
    }

    #[inline(always)]
    fn gather(&self, vertex: u32, visited: &mut Visited, new: &mut Vec<u32>) {
        for &neighbour in self.adjacency.row(vertex) {
            if visited.insert(neighbour) {
                self.vectors.prefetch(neighbour);
                new.push(neighbour);
            }
        }
    }

    #[inline(always)]
    fn score<S: Simd>(&self, simd: S, query: &Query, new: &[u32], bound: f32, found: &mut Vec<Hit>) {
        for new in new.chunks(STEP) {
            let mut distances = [0.0; STEP];
            self.vectors.distances(simd, query, new, &mut distances);
            for (&row, &distance) in new.iter().zip(&distances) {
                if distance < bound {
                    found.push(Hit { distance, row });
                }
            }
        }
    }
}
