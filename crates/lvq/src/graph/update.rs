//! Rows that come and go: the shared room finds their edges ([`counterpoint_core::graph::change`]); here they are coded.
//!
//! Mean and unit are those of the rows the index was first made from; codes of rows that are there are never made again, nor is a
//! row that is kept only as a code coded twice.

use std::sync::Arc;

use counterpoint_core::graph::change::{Changing, FEW, Finding, bridged, edges_of_new, joined, linked};
use counterpoint_core::graph::space::{lengthen, prepared, space_dim};
use counterpoint_core::graph::{Adjacency, MAX_VERTICES, Roster, Wear};
use counterpoint_core::simd::Simd;
use counterpoint_core::threads::{Cancelled, Control};
use counterpoint_core::vectors::{InputError, Keep, Matrix, RowSource};

use crate::graph::build::build;
use crate::graph::store::{Edges, Learned};
use crate::graph::vectors::{Query, Vectors};
use crate::graph::walk::Graph;

/// Rows of one item of parallel work.
const PART: usize = 256;

/// Rows encoded aside.
#[derive(Clone)]
pub(crate) struct Fresh(Plan);

#[derive(Clone)]
enum Plan {
    /// The index as it will be, with all its live rows and then the new ones.
    Whole(Box<Learned>, usize),
    /// New vectors, and the edges of each: to vertices there are, and to new ones after them.
    Beside(Box<Vectors>, Vec<Vec<u32>>),
}

impl Changing for Learned {
    fn roster(&self) -> &Roster {
        &self.roster
    }

    fn degree(&self) -> usize {
        self.adjacency.degree()
    }

    fn neighbours(&self, vertex: u32, out: &mut Vec<u32>) {
        out.extend_from_slice(self.adjacency.of(vertex));
    }

    fn width(&self) -> usize {
        Matrix::<f32>::stride_for(space_dim(self.vectors.metric, self.vectors.dim()))
    }

    #[inline(always)]
    fn read(&self, vertex: u32, out: &mut [f32]) {
        self.vectors.read_in_space(vertex, out);
    }
}

/// The graph that new rows are searched for in.
struct Find<'a> {
    learned: &'a Learned,
    graph: Graph<'a>,
}

impl<'a> Finding for Find<'a> {
    type Query = Query;
    type Graph = Graph<'a>;

    fn graph(&self) -> &Graph<'a> {
        &self.graph
    }

    #[inline(always)]
    fn prepare<S: Simd>(&self, _: S, vector: &[f32], query: &mut Query) {
        let Vectors { metric, levels, space, .. } = &self.learned.vectors;
        query.prepare(*metric, *levels, space.mean(), &vector[..space_dim(*metric, space.dim())]);
    }
}

impl Fresh {
    /// The index of the first rows.
    pub(crate) fn first(store: &Edges, rows: &dyn RowSource, control: &Control) -> Result<Self, InputError> {
        let mut built = store.built(rows, control)?;
        let learned = built.take_learned().ok_or(Cancelled)?;
        Ok(Self(Plan::Whole(Box::new(learned), 0)))
    }

    /// Builds the graph anew, over the vectors there are and new ones.
    pub(crate) fn whole(
        store: &Edges,
        learned: &Learned,
        rows: &dyn RowSource,
        control: &Control,
    ) -> Result<Self, InputError> {
        let live = learned.roster.live();
        if live + rows.len() >= MAX_VERTICES {
            return Err(InputError::TooMany { got: live + rows.len() });
        }
        let built = learned.rebuilt(store, Some(rows), control)?;
        Ok(Self(Plan::Whole(Box::new(built), live)))
    }

    /// Finds the edges of new rows.
    pub(crate) fn beside(
        store: &Edges,
        learned: &Learned,
        rows: &dyn RowSource,
        control: &Control,
    ) -> Result<Self, InputError> {
        let total = learned.vectors.len + rows.len();
        if total >= MAX_VERTICES {
            return Err(InputError::TooMany { got: total });
        }
        let parameters = store.parameters();
        let (in_space, _) = prepared(rows, store.metric, Keep::F32, Some(learned.length), control)?;
        let space = Arc::clone(&learned.vectors.space);
        let vectors = Vectors::encoded(store.metric, &parameters, space, &in_space, control)?;
        let beside = match rows.len() {
            0..=FEW => None,
            _ => Some(build(&vectors, &in_space, &parameters, control)?.0),
        };
        control.expect(rows.len());
        let find = Find { learned, graph: learned.graph() };
        let ef = parameters.ef_construction;
        let lists = match &beside {
            Some(adjacency) => {
                let near = |row, out: &mut Vec<u32>| out.extend_from_slice(adjacency.of(row));
                edges_of_new(learned, &find, &in_space, Some(&near), ef, control)?
            }
            None => edges_of_new(learned, &find, &in_space, None, ef, control)?,
        };
        Ok(Self(Plan::Beside(Box::new(vectors), lists)))
    }

    /// Moves the rows in: row i over row `to[i]`, or at the end.
    pub(crate) fn link(self, store: &mut Edges, to: &[Option<u32>], control: &Control) {
        // Nothing can stop what has begun.
        let control = Control::new(control.level(), Some(control.threads()));
        let first = match self.0 {
            Plan::Whole(mut built, first) => {
                // The new rows are rows already; those that replace others are given their places below.
                built.roster.truncate(first);
                *store = store.with(Some(*built));
                first
            }
            Plan::Beside(vectors, lists) => {
                let Some(learned) = store.learned_mut() else { return };
                let first = learned.vectors.len;
                learned.insert(&vectors, lists, &control);
                first
            }
        };
        if let Some(learned) = store.learned_mut() {
            learned.roster.settle(first, to);
        }
    }
}

impl Learned {
    /// Adds vertices with their vectors and edges, and edges back.
    fn insert(&mut self, vectors: &Vectors, lists: Vec<Vec<u32>>, control: &Control) {
        let old = self.vectors.len as u32;
        self.vectors.extend(vectors, 0..vectors.len as u32);
        self.roster.grow(lists.len());
        self.adjacency.grow(lists.len());
        for (vertex, list) in linked(self, old, lists, control) {
            self.adjacency.replace(vertex, list);
        }
    }

    /// The vectors of the live vertices in the order of their rows, and where they lie in the graph's space.
    fn live_vectors(&self, control: &Control) -> Result<(Vectors, Matrix<f32>), Cancelled> {
        control.check()?;
        let (places, dim) = (self.roster.places(), space_dim(self.vectors.metric, self.vectors.dim()));
        let mut vectors = self.vectors.none();
        vectors.extend(&self.vectors, places.iter().copied());
        let mut rows = Matrix::zeroed(places.len(), dim);
        let stride = rows.stride();
        let parts = rows.values_mut().chunks_mut(PART * stride).zip(places.chunks(PART));
        control.for_each(parts, |(rows, places)| {
            for (row, &vertex) in rows.chunks_exact_mut(stride).zip(places) {
                self.vectors.read_in_space(vertex, &mut row[..dim]);
            }
            Ok::<_, Cancelled>(())
        })?;
        Ok((vectors, rows))
    }

    /// The graph built anew over the live vertices, in the order of their rows, and then over new rows.
    fn rebuilt(
        &self,
        store: &Edges,
        more: Option<&dyn RowSource>,
        control: &Control,
    ) -> Result<Self, InputError> {
        let (mut vectors, mut rows) = self.live_vectors(control)?;
        let mut length = self.length;
        if let Some(more) = more {
            let (mut in_space, longest) = prepared(more, store.metric, Keep::F32, None, control)?;
            // All rows are given the greater length.
            let dim = vectors.dim();
            if longest > length {
                length = longest;
                lengthen(&mut rows, dim, length);
                vectors.lengthen(&rows);
            } else if longest < length {
                lengthen(&mut in_space, dim, length);
            }
            let space = Arc::clone(&vectors.space);
            let new = Vectors::encoded(store.metric, &store.parameters(), space, &in_space, control)?;
            vectors.extend(&new, 0..new.len as u32);
            let first = rows.rows();
            rows.grow(in_space.rows());
            for row in 0..in_space.rows() {
                rows.copy_row(first + row, &in_space, row);
            }
        }
        Ok(Self::over(vectors, &rows, length, &store.parameters(), control)?)
    }

    /// The graph of the live vertices, in the order of their rows.
    fn bridged(&self, control: &Control) -> Result<Self, Cancelled> {
        let lists = bridged(self, control)?;
        let (vectors, rows) = self.live_vectors(control)?;
        let roster = self.roster.compacted();
        let degree = self.adjacency.degree();
        let adjacency: Adjacency = joined(&rows, &lists, roster.entries(), degree, control)?;
        Ok(Self { vectors, length: self.length, adjacency, roster })
    }
}

impl Edges {
    /// Leaves dead vertices out.
    pub(crate) fn compacted(&mut self, control: &Control) -> Result<(), Cancelled> {
        control.check()?;
        let Some(learned) = self.learned() else { return Ok(()) };
        match learned.roster.wear() {
            Wear::None => {}
            Wear::Empty => {
                *self = self.with(None);
                return Ok(());
            }
            // Rows that were in the index are legal: nothing but a wish to stop can end this.
            Wear::Much => {
                let fresh = learned.rebuilt(self, None, control).map_err(|_| Cancelled)?;
                *self = self.with(Some(fresh));
            }
            Wear::Some => {
                let fresh = learned.bridged(control)?;
                *self = self.with(Some(fresh));
            }
        }
        counterpoint_core::table::Store::shrink_to_fit(self);
        Ok(())
    }
}
