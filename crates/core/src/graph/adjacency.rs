//! Out-edges in rows of equal length.

use crate::buffer::Buffer;

/// Degrees are multiples of this: as many neighbours as one call of a kernel scores.
pub const STEP: usize = 32;

/// For each vertex up to `degree` neighbours. A row is filled up with the vertex itself, so that every id in it is legal.
///
/// Memory: 4·degree + 4 bytes a vertex.
#[derive(Clone)]
pub struct Adjacency {
    degree: usize,
    ids: Buffer,
    counts: Vec<u32>,
}

impl Adjacency {
    /// `vertices` vertices without edges. The degree is rounded up to a multiple of [`STEP`].
    pub fn new(vertices: usize, degree: usize) -> Self {
        let degree = degree.max(1).next_multiple_of(STEP);
        let mut adjacency = Self { degree, ids: Buffer::new(), counts: Vec::new() };
        adjacency.grow(vertices);
        adjacency
    }

    /// Adds vertices without edges.
    pub fn grow(&mut self, more: usize) {
        let first = self.counts.len();
        self.counts.resize(first + more, 0);
        self.ids.resize(self.counts.len() * self.degree * size_of::<u32>());
        let rows = self.ids.as_mut_slice::<u32>().chunks_exact_mut(self.degree);
        for (vertex, row) in rows.enumerate().skip(first) {
            row.fill(vertex as u32);
        }
    }

    /// Number of vertices.
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The most neighbours of a vertex: a multiple of [`STEP`].
    pub fn degree(&self) -> usize {
        self.degree
    }

    /// The whole row of a vertex: its neighbours, then itself again and again.
    ///
    /// # Panics
    /// If there is no such vertex.
    #[inline(always)]
    pub fn row(&self, vertex: u32) -> &[u32] {
        &self.ids.as_slice::<u32>()[vertex as usize * self.degree..][..self.degree]
    }

    /// How many neighbours a vertex has.
    ///
    /// # Panics
    /// If there is no such vertex.
    #[inline(always)]
    pub fn count(&self, vertex: u32) -> usize {
        self.counts[vertex as usize] as usize
    }

    /// The neighbours of a vertex.
    ///
    /// # Panics
    /// If there is no such vertex.
    #[inline(always)]
    pub fn of(&self, vertex: u32) -> &[u32] {
        &self.row(vertex)[..self.count(vertex)]
    }

    /// Replaces the neighbours of a vertex: distinct ones, others than itself.
    ///
    /// # Panics
    /// If there is no such vertex, or there are more neighbours than `degree`.
    pub fn replace(&mut self, vertex: u32, neighbours: impl IntoIterator<Item = u32>) {
        let degree = self.degree;
        let row = &mut self.ids.as_mut_slice::<u32>()[vertex as usize * degree..][..degree];
        let mut count = 0;
        for neighbour in neighbours {
            row[count] = neighbour;
            count += 1;
        }
        row[count..].fill(vertex);
        self.counts[vertex as usize] = count as u32;
    }
}
