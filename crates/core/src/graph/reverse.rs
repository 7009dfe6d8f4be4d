//! Drafts of a graph, and their edges turned round.

use crate::select::Hit;
use crate::threads::{Cancelled, Control};

/// Vertices between two looks at whether to stop.
const PART: usize = 1 << 14;

/// The order in which vertices are worked on, and where each is in it.
pub(super) struct Order {
    pub(super) vertices: Vec<u32>,
    places: Vec<u32>,
}

impl Order {
    /// From all vertices, each once.
    pub(super) fn new(vertices: Vec<u32>) -> Self {
        let mut places = vec![0; vertices.len()];
        vertices.iter().zip(0..).for_each(|(&vertex, place)| places[vertex as usize] = place);
        Self { vertices, places }
    }
}

/// Edges with their squared distances: `width` places a vertex, 8 bytes each. They lie in the order in which they are
/// made.
pub(super) struct Draft<'a> {
    pub(super) order: &'a Order,
    pub(super) width: usize,
    pub(super) hits: Vec<Hit>,
    pub(super) counts: Vec<u32>,
}

impl<'a> Draft<'a> {
    /// Without edges.
    pub(super) fn new(order: &'a Order, width: usize) -> Self {
        let (hit, vertices) = (Hit { distance: 0.0, row: 0 }, order.vertices.len());
        Self { order, width, hits: vec![hit; vertices * width], counts: vec![0; vertices] }
    }

    /// The edges of a vertex.
    #[inline(always)]
    pub(super) fn of(&self, vertex: u32) -> &[Hit] {
        let place = self.order.places[vertex as usize] as usize;
        &self.hits[place * self.width..][..self.counts[place] as usize]
    }
}

/// For each vertex those whose edges lead to it, with the distances, in the order of their numbers.
///
/// Counted and placed in the order of the vertices: no locks, and nothing depends on the threads.
pub(super) struct Reverse {
    starts: Vec<usize>,
    hits: Vec<Hit>,
}

impl Reverse {
    pub(super) fn new(draft: &Draft<'_>, control: &Control) -> Result<Self, Cancelled> {
        let n = draft.counts.len();
        let mut starts = vec![0_usize; n + 1];
        for part in (0..n).step_by(PART) {
            control.check()?;
            for vertex in part..n.min(part + PART) {
                draft.of(vertex as u32).iter().for_each(|hit| starts[hit.row as usize + 1] += 1);
            }
        }
        for vertex in 0..n {
            starts[vertex + 1] += starts[vertex];
        }
        let mut ends = starts.clone();
        let mut hits = vec![Hit { distance: 0.0, row: 0 }; starts[n]];
        for part in (0..n).step_by(PART) {
            control.check()?;
            for vertex in part..n.min(part + PART) {
                for hit in draft.of(vertex as u32) {
                    let end = &mut ends[hit.row as usize];
                    hits[*end] = Hit { distance: hit.distance, row: vertex as u32 };
                    *end += 1;
                }
            }
        }
        Ok(Self { starts, hits })
    }

    #[inline(always)]
    pub(super) fn of(&self, vertex: u32) -> &[Hit] {
        &self.hits[self.starts[vertex as usize]..self.starts[vertex as usize + 1]]
    }
}
