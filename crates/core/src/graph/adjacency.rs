//! Out-edges in rows of equal length.

use crate::buffer::Buffer;
use crate::file::{Contents, Dtype, FormatError, TensorView};
use crate::threads::Control;

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

/// Vertices between two looks at whether to stop.
const PART: usize = 4096;

impl Adjacency {
    /// The rows as a file holds them.
    pub fn tensor(&self, name: &'static str) -> TensorView<'_> {
        let shape = vec![self.len(), self.degree];
        TensorView { name, dtype: Dtype::U32, shape, bytes: self.ids.as_bytes() }
    }

    /// Takes the rows of `vertices` vertices out of a file. What they hold is for [`Adjacency::check`] to see.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn take(
        contents: &mut Contents,
        name: &str,
        vertices: usize,
        degree: usize,
    ) -> Result<Self, FormatError> {
        let ids = contents.take(name, Dtype::U32, &[vertices, degree])?;
        let rows = ids.as_slice::<u32>().chunks_exact(degree).zip(0..);
        let count = |row: &[u32], vertex| row.iter().position(|&id| id == vertex).unwrap_or(degree) as u32;
        let counts = rows.map(|(row, vertex)| count(row, vertex)).collect();
        Ok(Self { degree, ids, counts })
    }

    /// Checks that neighbours are vertices, and that nothing follows the last of a vertex.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn check(&self, name: &'static str, control: &Control) -> Result<(), FormatError> {
        let vertices = self.len();
        control.for_each((0..vertices).step_by(PART), |first| {
            for vertex in first as u32..vertices.min(first + PART) as u32 {
                let (neighbours, rest) = self.row(vertex).split_at(self.count(vertex));
                if let Some(id) = neighbours.iter().find(|&&id| id as usize >= vertices) {
                    let expected = format!("neighbours below the number of vertices, of vertex {vertex}");
                    return Err(FormatError::content(name, expected, id));
                }
                if let Some(id) = rest.iter().find(|&&id| id != vertex) {
                    let expected = format!("nothing after the last neighbour of vertex {vertex}");
                    return Err(FormatError::content(name, expected, id));
                }
            }
            Ok(())
        })
    }

    /// Gives spare memory back.
    pub fn shrink_to_fit(&mut self) {
        self.ids.shrink_to_fit();
        self.counts.shrink_to_fit();
    }
}
