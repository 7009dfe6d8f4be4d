//! The vertices that a search has visited.

/// A set of vertices that is emptied in constant time: an entry counts if its tag is that of the current search.
///
/// It is a table of twice as many places as there are vertices in it, or more: a search that visits hundreds of millions
/// stays in the nearest cache.
#[derive(Clone, Debug, Default)]
pub struct Visited {
    /// The tag of a search, then the vertex; a power of two of them, or none.
    places: Vec<u64>,
    /// The current search's tag; 0 is nobody's.
    epoch: u32,
    /// Vertices in the set.
    len: usize,
}

/// Places of the smallest table.
const LEAST: usize = 1024;

/// Where the search for a vertex begins, among 2³² places.
#[inline(always)]
fn hash(vertex: u32) -> usize {
    // The golden ratio of 2³².
    vertex.wrapping_mul(0x9e37_79b1) as usize
}

impl Visited {
    /// Empties the set.
    pub fn begin(&mut self) {
        if self.places.is_empty() {
            self.places.resize(LEAST, 0);
        }
        self.len = 0;
        self.epoch = self.epoch.checked_add(1).unwrap_or_else(|| {
            self.places.fill(0);
            1
        });
    }

    /// The place of a vertex: where it is, or where it would be put.
    #[inline(always)]
    fn place(&self, vertex: u32) -> (usize, bool) {
        let mask = self.places.len().wrapping_sub(1);
        let shift = 32_u32.saturating_sub(self.places.len().trailing_zeros());
        let mut place = hash(vertex) >> shift & mask;
        loop {
            let entry = self.places[place];
            if (entry >> 32) as u32 != self.epoch {
                return (place, false);
            }
            if entry as u32 == vertex {
                return (place, true);
            }
            place = (place + 1) & mask;
        }
    }

    /// Whether a vertex is in the set.
    ///
    /// # Panics
    /// If no search has begun.
    #[inline(always)]
    pub fn contains(&self, vertex: u32) -> bool {
        self.place(vertex).1
    }

    /// Puts a vertex in; false if it was in.
    ///
    /// # Panics
    /// If no search has begun.
    #[inline(always)]
    pub fn insert(&mut self, vertex: u32) -> bool {
        let (place, present) = self.place(vertex);
        if !present {
            self.places[place] = u64::from(self.epoch) << 32 | u64::from(vertex);
            self.len += 1;
            if 2 * self.len > self.places.len() {
                self.widen();
            }
        }
        !present
    }

    #[cold]
    #[inline(never)]
    fn widen(&mut self) {
        let places = self.places.len();
        let old = std::mem::replace(&mut self.places, vec![0; 2 * places]);
        for entry in old {
            if (entry >> 32) as u32 == self.epoch {
                let (place, _) = self.place(entry as u32);
                self.places[place] = entry;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_search_begins_with_none() {
        let mut visited = Visited { epoch: u32::MAX - 3, ..Visited::default() };
        for round in 0..10_u32 {
            visited.begin();
            for vertex in (0..1000).map(|i| i * 7 % 501 + round) {
                assert_eq!(visited.contains(vertex), !visited.insert(vertex), "{round}");
                assert!(visited.contains(vertex));
            }
            assert!(!visited.contains(u32::MAX) && !visited.contains(round + 501));
        }
    }

    #[test]
    fn it_grows() {
        let mut visited = Visited::default();
        visited.begin();
        let mut model = HashSet::new();
        for i in 0..100_000_u32 {
            let vertex = i.wrapping_mul(2_654_435_769) >> 3;
            assert_eq!(visited.insert(vertex), model.insert(vertex));
        }
        assert!(model.iter().all(|&vertex| visited.contains(vertex)));
    }
}
