//! Which vertex of a graph is whose.
//!
//! A *row* is what ids name, a *vertex* a row of the graph. A row that is removed leaves its vertex, dead, for searches to
//! walk through until the index is compacted; a row that is replaced gets another vertex.

use serde_json::{Map, Value, json};

use crate::file::{Contents, FormatError, TensorView};

use super::MAX_VERTICES;
use super::column::Column;

/// The owner of a dead vertex.
pub const DEAD: u32 = u32::MAX;

/// With more than one dead vertex for so many live ones, compacting builds the graph anew.
const WORN: usize = 5;

/// The rows of all vertices, the vertices of all rows, and where searches begin.
#[derive(Clone, Debug)]
pub struct Roster {
    entries: Column,
    /// The row of each vertex, or [`DEAD`].
    owners: Column,
    /// The vertex of each row.
    places: Vec<u32>,
}

/// What there is to be done with dead vertices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wear {
    /// There are none.
    None,
    /// There are no others.
    Empty,
    /// They are left out, and their neighbours joined.
    Some,
    /// There are so many that the graph is built anew.
    Much,
}

impl Roster {
    /// That of `rows` vertices, all live, in order; `entries` are in rising order.
    pub fn new(rows: usize, entries: &[u32]) -> Self {
        let places: Vec<u32> = (0..rows as u32).collect();
        Self { entries: Column::new(entries), owners: Column::new(&places), places }
    }

    /// Number of vertices, the dead among them.
    pub fn vertices(&self) -> usize {
        self.owners.as_slice().len()
    }

    /// Number of rows.
    pub fn live(&self) -> usize {
        self.places.len()
    }

    /// The entry points.
    #[inline(always)]
    pub fn entries(&self) -> &[u32] {
        self.entries.as_slice()
    }

    /// The row of each vertex, or [`DEAD`].
    #[inline(always)]
    pub fn owners(&self) -> &[u32] {
        self.owners.as_slice()
    }

    /// The vertex of each row.
    #[inline(always)]
    pub fn places(&self) -> &[u32] {
        &self.places
    }

    /// Whether a vertex is live.
    ///
    /// # Panics
    /// If there is no such vertex.
    #[inline(always)]
    pub fn is_live(&self, vertex: u32) -> bool {
        self.owners()[vertex as usize] != DEAD
    }

    /// Removes a row, moving the last row into its place.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn swap_remove(&mut self, row: usize) {
        let owners = self.owners.as_mut_slice();
        owners[self.places.swap_remove(row) as usize] = DEAD;
        if let Some(&moved) = self.places.get(row) {
            owners[moved as usize] = row as u32;
        }
    }

    /// Adds vertices that are nobody's yet.
    pub fn grow(&mut self, more: usize) {
        self.owners.resize(self.vertices() + more);
    }

    /// Takes the places of the rows from `first` on away, to be settled again.
    pub fn truncate(&mut self, first: usize) {
        self.places.truncate(first);
    }

    /// Makes vertices from `first` on those of rows: vertex first + i that of row `to[i]`, whose older one dies, or of one
    /// more.
    ///
    /// # Panics
    /// If there is no such vertex or row.
    pub fn settle(&mut self, first: usize, to: &[Option<u32>]) {
        for (vertex, to) in (first..).zip(to) {
            let row = match *to {
                Some(row) => {
                    let old = std::mem::replace(&mut self.places[row as usize], vertex as u32);
                    self.owners.as_mut_slice()[old as usize] = DEAD;
                    row
                }
                None => {
                    self.places.push(vertex as u32);
                    self.places.len() as u32 - 1
                }
            };
            self.owners.as_mut_slice()[vertex] = row;
        }
    }

    /// What compacting has to do.
    pub fn wear(&self) -> Wear {
        match self.vertices() - self.live() {
            0 => Wear::None,
            _ if self.places.is_empty() => Wear::Empty,
            dead if dead.saturating_mul(WORN) > self.live() => Wear::Much,
            _ => Wear::Some,
        }
    }

    /// That of the live vertices alone, in the order of their rows.
    pub fn compacted(&self) -> Self {
        let rows = self.entries().iter().map(|&entry| self.owners()[entry as usize]);
        let mut entries: Vec<u32> = rows.filter(|&row| row != DEAD).collect();
        entries.sort_unstable();
        if entries.is_empty() {
            entries.push(0);
        }
        Self::new(self.live(), &entries)
    }

    /// Gives spare memory back.
    pub fn shrink_to_fit(&mut self) {
        self.owners.shrink_to_fit();
        self.places.shrink_to_fit();
    }

    /// What a file's parameters hold of it.
    pub fn write(&self, params: &mut Map<String, Value>) {
        params.insert("vertices".into(), json!(self.vertices()));
        params.insert("entry_points".into(), json!(self.entries().len()));
    }

    /// `entries` and `owners`: u32, filled up with 2³² − 1 to whole cache lines.
    pub fn tensors(&self) -> [TensorView<'_>; 2] {
        [self.entries.tensor("entries"), self.owners.tensor("owners")]
    }

    /// Whether a file holds one. Where the last row went and the index was compacted there is none.
    pub fn is_in(contents: &Contents) -> bool {
        contents.params().contains_key("vertices")
    }

    /// The number of vertices that a file of `rows` rows says it has.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn vertices_of(contents: &Contents, rows: usize) -> Result<usize, FormatError> {
        let vertices = contents.param_usize("vertices")?;
        if vertices < rows || vertices >= MAX_VERTICES {
            return Err(FormatError::content("vertices", format!("{rows} to 2147483647"), vertices));
        }
        Ok(vertices)
    }

    /// Takes that of `rows` rows and `vertices` vertices out of a file. What entry points hold is for [`Roster::check`] to
    /// see.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn take(contents: &mut Contents, vertices: usize, rows: usize) -> Result<Self, FormatError> {
        let entries = contents.param_usize("entry_points")?;
        if entries > vertices || (entries == 0 && vertices > 0) {
            return Err(FormatError::content("entry_points", format!("1 to {vertices}"), entries));
        }
        let entries = Column::take(contents, "entries", entries)?;
        let owners = Column::take(contents, "owners", vertices)?;
        let mut places = vec![DEAD; rows];
        for (vertex, &row) in (0..).zip(owners.as_slice()) {
            if row == DEAD {
                continue;
            }
            match places.get_mut(row as usize) {
                Some(place) if *place == DEAD => *place = vertex,
                _ => return Err(FormatError::content("owners", "each row once", row)),
            }
        }
        if places.contains(&DEAD) {
            return Err(FormatError::content("owners", "every row", "one that has no vertex"));
        }
        if rows == vertices && !places.is_sorted() {
            return Err(FormatError::content("owners", "in order where no vertex is dead", "another order"));
        }
        Ok(Self { entries, owners, places })
    }

    /// Checks the entry points.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn check(&self) -> Result<(), FormatError> {
        let (vertices, mut last) = (self.vertices(), None);
        for &entry in self.entries() {
            if entry as usize >= vertices || last.is_some_and(|last| entry <= last) {
                return Err(FormatError::content("entries", format!("rising, below {vertices}"), entry));
            }
            last = Some(entry);
        }
        Ok(())
    }
}
