//! The vertices that a search has visited.

/// A set of vertices that is emptied in constant time: a vertex is in it if its tag is that of the current search.
#[derive(Clone, Debug, Default)]
pub struct Visited {
    tags: Vec<u16>,
    /// The current search's tag; 0 is nobody's.
    epoch: u16,
}

impl Visited {
    /// Empties the set, and makes it one of `vertices` vertices.
    pub fn begin(&mut self, vertices: usize) {
        if self.tags.len() < vertices {
            self.tags.resize(vertices, 0);
        }
        self.epoch = self.epoch.checked_add(1).unwrap_or_else(|| {
            self.tags.fill(0);
            1
        });
    }

    /// Whether a vertex is in the set.
    ///
    /// # Panics
    /// If there is no such vertex.
    #[inline(always)]
    pub fn contains(&self, vertex: u32) -> bool {
        self.tags[vertex as usize] == self.epoch
    }

    /// Puts a vertex in; false if it was in.
    ///
    /// # Panics
    /// If there is no such vertex.
    #[inline(always)]
    pub fn insert(&mut self, vertex: u32) -> bool {
        let tag = &mut self.tags[vertex as usize];
        let new = *tag != self.epoch;
        *tag = self.epoch;
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_search_begins_with_none() {
        let mut visited = Visited::default();
        for round in 0..70_000_u32 {
            visited.begin(3);
            let vertex = round % 3;
            assert!(!visited.contains(vertex) && visited.insert(vertex), "{round}");
            assert!(visited.contains(vertex) && !visited.insert(vertex), "{round}");
        }
        visited.begin(5);
        assert!((0..5).all(|vertex| visited.insert(vertex)));
    }
}
