//! Every vertex can be reached from the entry points.
//!
//! A breadth-first search from the entry points reaches vertices by the edges of a forest. While vertices are left, one
//! is joined to a reached vertex near it, by a free place or in the place of the last edge that is not of the forest, and
//! all that it leads to is reached too. Nothing that was reached is lost: the forest's edges stay. There is always such a
//! place: a forest has fewer edges than vertices, and each vertex has room for several.

use std::collections::VecDeque;

use crate::select::Hit;
use crate::simd::{Simd, Work, run};
use crate::threads::{Cancelled, Control};
use crate::vectors::RowSource;

use super::Adjacency;

/// Reached vertices that one without reached neighbours is compared with.
const SAMPLE: usize = 1024;
/// Vertices between two looks at whether to stop.
const PART: usize = 1 << 12;
/// The parent of entry points.
const ROOT: u32 = u32::MAX;

/// The vertices that cannot be reached from the entry points, in rising order.
pub fn unreachable(graph: &Adjacency, entries: &[u32]) -> Vec<u32> {
    let mut forest = Forest::new(graph.len());
    entries.iter().for_each(|&entry| forest.reach(entry, ROOT));
    while forest.step(graph) {}
    (0..graph.len() as u32).filter(|&vertex| !forest.reached(vertex)).collect()
}

/// Joins what cannot be reached; the vertices whose edges have changed, each once, in rising order.
///
/// # Errors
/// [`Cancelled`]; some edges may then have been added.
pub fn connect(
    graph: &mut Adjacency,
    entries: &[u32],
    rows: &dyn RowSource,
    control: &Control,
) -> Result<Vec<u32>, Cancelled> {
    let mut forest = Forest::new(graph.len());
    entries.iter().for_each(|&entry| forest.reach(entry, ROOT));
    let mut changed = Vec::new();
    forest.spread(graph, control)?;
    // First those that have reached neighbours, which are near; what they lead to may then be reached as well.
    for far in [false, true] {
        for vertex in 0..graph.len() as u32 {
            if (vertex as usize).is_multiple_of(PART) {
                control.check()?;
            }
            if forest.reached(vertex) {
                continue;
            }
            let near = graph.of(vertex).iter().copied();
            let mut from =
                near.clone().find(|&near| forest.reached(near) && forest.place(graph, near).is_some());
            if far && from.is_none() {
                control.check()?;
                let candidates = forest.sample(graph);
                from = run(control.level(), Nearest { rows, vertex, candidates: &candidates });
            }
            if let Some(from) = from
                && let Some(place) = forest.place(graph, from)
            {
                let mut neighbours = graph.of(from).to_vec();
                neighbours.truncate(place);
                neighbours.push(vertex);
                neighbours.extend_from_slice(graph.of(from).get(place + 1..).unwrap_or_default());
                graph.replace(from, neighbours);
                changed.push(from);
                forest.reach(vertex, from);
                forest.spread(graph, control)?;
            }
        }
    }
    changed.sort_unstable();
    changed.dedup();
    Ok(changed)
}

/// The edges by which vertices were reached first.
struct Forest {
    /// Of each vertex; itself while it was not reached.
    parents: Vec<u32>,
    /// Reached vertices, in the order they were.
    order: Vec<u32>,
    waiting: VecDeque<u32>,
    /// Before it in `order` no vertex has a place left.
    full: usize,
}

impl Forest {
    fn new(vertices: usize) -> Self {
        Self { parents: (0..vertices as u32).collect(), order: Vec::new(), waiting: VecDeque::new(), full: 0 }
    }

    fn reached(&self, vertex: u32) -> bool {
        self.parents[vertex as usize] != vertex
    }

    fn reach(&mut self, vertex: u32, parent: u32) {
        if !self.reached(vertex) {
            self.parents[vertex as usize] = parent;
            self.order.push(vertex);
            self.waiting.push_back(vertex);
        }
    }

    /// Follows the edges of one vertex; false if none waits.
    fn step(&mut self, graph: &Adjacency) -> bool {
        let Some(vertex) = self.waiting.pop_front() else { return false };
        graph.of(vertex).iter().for_each(|&neighbour| self.reach(neighbour, vertex));
        true
    }

    fn spread(&mut self, graph: &Adjacency, control: &Control) -> Result<(), Cancelled> {
        let mut steps = 0;
        while self.step(graph) {
            steps += 1;
            if steps % PART == 0 {
                control.check()?;
            }
        }
        Ok(())
    }

    /// Where an edge of a reached vertex may be put.
    fn place(&self, graph: &Adjacency, vertex: u32) -> Option<usize> {
        let neighbours = graph.of(vertex);
        if neighbours.len() < graph.degree() {
            return Some(neighbours.len());
        }
        neighbours.iter().rposition(|&neighbour| self.parents[neighbour as usize] != vertex)
    }

    /// Reached vertices that have a place, evenly drawn.
    fn sample(&mut self, graph: &Adjacency) -> Vec<u32> {
        // Some vertex has; those before it will never have one again.
        while self.order.get(self.full).is_some_and(|&vertex| self.place(graph, vertex).is_none()) {
            self.full += 1;
        }
        let left = &self.order[self.full.min(self.order.len())..];
        let drawn = left.iter().step_by(left.len().div_ceil(SAMPLE).max(1));
        drawn.copied().filter(|&vertex| self.place(graph, vertex).is_some()).collect()
    }
}

/// Finds the nearest of a few rows.
struct Nearest<'a> {
    rows: &'a dyn RowSource,
    vertex: u32,
    candidates: &'a [u32],
}

impl Work for Nearest<'_> {
    type Output = Option<u32>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Option<u32> {
        let (mut origin, mut row) = (vec![0.0; self.rows.dim()], vec![0.0; self.rows.dim()]);
        self.rows.read(self.vertex as usize, &mut origin);
        let hits = self.candidates.iter().map(|&candidate| {
            self.rows.read(candidate as usize, &mut row);
            Hit { distance: simd.squared_l2(&origin, &row), row: candidate }
        });
        hits.min().map(|hit| hit.row)
    }
}
