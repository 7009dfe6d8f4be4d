//! Queries grouped by the lists they probe.

use super::centroids::Nearest;

/// One query at one list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Visit {
    /// The query.
    pub query: u32,
    /// How many of its lists are nearer: 0 for the nearest.
    pub order: u32,
}

/// For each list, the queries that probe it, in their order. One that is used again allocates little.
#[derive(Clone, Debug, Default)]
pub struct Probed {
    /// Where each list's visits begin, and where the last one's end.
    starts: Vec<usize>,
    visits: Vec<Visit>,
}

impl Probed {
    /// Groups the queries of `nearest` by list.
    ///
    /// # Panics
    /// If one probes a list that is not among `lists`.
    pub fn group(&mut self, nearest: &Nearest, lists: usize) {
        let Self { starts, visits } = self;
        starts.clear();
        starts.resize(lists + 1, 0);
        nearest.clusters().iter().for_each(|&list| starts[list as usize] += 1);
        let mut end = 0;
        for start in starts.iter_mut() {
            end += *start;
            *start = end;
        }
        // From the last query to the first, each list is filled from its end on, and its start moves down to where
        // it belongs.
        visits.resize(nearest.clusters().len(), Visit::default());
        let width = nearest.width().max(1);
        for (query, lists) in nearest.clusters().chunks_exact(width).enumerate().rev() {
            for (order, &list) in lists.iter().enumerate() {
                let start = &mut starts[list as usize];
                *start -= 1;
                visits[*start] = Visit { query: query as u32, order: order as u32 };
            }
        }
    }

    /// The visits of a list, in rising order of their queries.
    ///
    /// # Panics
    /// If there is no such list.
    pub fn of(&self, list: usize) -> &[Visit] {
        &self.visits[self.starts[list]..self.starts[list + 1]]
    }
}
