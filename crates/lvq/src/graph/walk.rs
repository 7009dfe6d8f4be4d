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
    /// Scores those of the vertices that were not seen before.
    #[inline(always)]
    fn score<S: Simd>(
        &self,
        simd: S,
        query: &Query,
        vertices: &[u32],
        bound: f32,
        visited: &mut Visited,
        found: &mut Vec<Hit>,
    ) {
        for vertices in vertices.chunks(STEP) {
            let (mut new, mut count) = ([0; STEP], 0);
            for &vertex in vertices {
                if visited.insert(vertex) {
                    self.vectors.prefetch(vertex);
                    new[count] = vertex;
                    count += 1;
                }
            }
            let mut distances = [0.0; STEP];
            self.vectors.distances(simd, query, &new[..count], &mut distances);
            for (&row, &distance) in new[..count].iter().zip(&distances) {
                if distance < bound {
                    found.push(Hit { distance, row });
                }
            }
        }
    }
}

impl Expander for Graph<'_> {
    type Query = Query;
    const MARK: Mark = Mark::OnPush;

    #[inline(always)]
    fn enter<S: Simd>(&self, simd: S, query: &Query, visited: &mut Visited, found: &mut Vec<Hit>) {
        self.score(simd, query, self.entries, f32::INFINITY, visited, found);
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
        self.score(simd, query, self.adjacency.row(from.row), bound, visited, found);
        from.distance
    }
}
