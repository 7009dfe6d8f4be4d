//! Rows that come and go: the shared room finds their edges ([`counterpoint_core::graph::change`]); here they are coded.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use counterpoint_core::graph::change::{Chained, Changing, FEW, Finding, bridged, edges_of_new, linked};
use counterpoint_core::graph::space::prepared;
use counterpoint_core::graph::{MAX_VERTICES, Roster, Wear};
use counterpoint_core::metric::Metric;
use counterpoint_core::simd::{Simd, Work, run};
use counterpoint_core::threads::{Cancelled, Control};
use counterpoint_core::vectors::{InputError, Matrix, RowSource};

use crate::build::{build, joined};
use crate::encode::{Room, Sources, encode_row};
use crate::graph::{Graph, Query};
use crate::rows::Rows;
use crate::store::{Edges, Learned};

/// Rows of one item of parallel work.
const PART: usize = 64;

/// Rows encoded aside.
#[derive(Clone)]
pub(crate) struct Fresh(Plan);

#[derive(Clone)]
enum Plan {
    /// The index as it will be, with all its live rows and then the new ones.
    Whole(Box<Edges>, usize),
    /// New rows in the graph's space, and the edges of each: to vertices there are, and to new ones after them.
    Beside(Matrix<f32>, Vec<Vec<u32>>),
}

impl Changing for Learned {
    fn roster(&self) -> &Roster {
        &self.roster
    }

    fn degree(&self) -> usize {
        self.rows.layout.degree
    }

    fn neighbours(&self, vertex: u32, out: &mut Vec<u32>) {
        out.extend(self.rows.neighbours(vertex));
    }

    fn width(&self) -> usize {
        self.rows.layout.stride()
    }

    #[inline(always)]
    fn read(&self, vertex: u32, out: &mut [f32]) {
        self.rows.read(vertex, out);
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
    fn prepare<S: Simd>(&self, simd: S, vector: &[f32], query: &mut Query) {
        query.values.clear();
        query.values.extend_from_slice(vector);
        query.prepare(simd, &self.learned.frame);
    }
}

impl Fresh {
    /// Builds the index anew.
    pub(crate) fn whole(store: &Edges, rows: &dyn RowSource, control: &Control) -> Result<Self, InputError> {
        let mut built =
            store.built(&Chained(store, rows), control).map_err(|error| error.counted_from(store.live()))?;
        built.keep_vectors(store);
        Ok(Self(Plan::Whole(Box::new(built), store.live())))
    }

    /// Finds the edges of new rows.
    pub(crate) fn beside(
        store: &Edges,
        learned: &Learned,
        rows: &dyn RowSource,
        control: &Control,
    ) -> Result<Self, InputError> {
        let total = learned.rows.len() + rows.len();
        if total >= MAX_VERTICES {
            return Err(InputError::TooMany { got: total });
        }
        let metric = store.metric;
        let (vectors, _) = prepared(rows, metric, store.parameters().keep, Some(learned.length), control)?;
        let beside = match rows.len() {
            0..=FEW => None,
            _ => Some(build(vectors.clone(), metric, &store.parameters(), &learned.frame, control)?.0),
        };
        control.expect(rows.len());
        let find = Find { learned, graph: learned.graph(metric, true) };
        let ef = store.parameters().ef_construction;
        let lists = match &beside {
            Some(rows) => {
                let near = |row, out: &mut Vec<u32>| out.extend(rows.neighbours(row));
                edges_of_new(learned, &find, &vectors, Some(&near), ef, control)?
            }
            None => edges_of_new(learned, &find, &vectors, None, ef, control)?,
        };
        Ok(Self(Plan::Beside(vectors, lists)))
    }

    /// Moves the rows in: row i over row `to[i]`, or at the end.
    pub(crate) fn link(self, store: &mut Edges, to: &[Option<u32>], control: &Control) {
        // Nothing can stop what has begun.
        let control = Control::new(control.level(), Some(control.threads()));
        let first = match self.0 {
            Plan::Whole(built, first) => {
                *store = *built;
                // The new rows are rows already; those that replace others are given their places below.
                if let Some(learned) = store.learned_mut() {
                    learned.roster.truncate(first);
                }
                first
            }
            Plan::Beside(vectors, lists) => {
                let metric = store.metric;
                let Some(learned) = store.learned_mut() else { return };
                let first = learned.rows.len();
                learned.insert(metric, &vectors, lists, &control);
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
    fn insert(&mut self, metric: Metric, vectors: &Matrix<f32>, lists: Vec<Vec<u32>>, control: &Control) {
        let layout = self.rows.layout;
        let old = self.rows.len() as u32;
        self.rows.data.resize((old as usize + lists.len()) * layout.row_bytes());
        self.roster.grow(lists.len());
        for (vertex, new) in (old..).zip(0..lists.len()) {
            layout.form.write(layout.parts_mut(self.rows.row_mut(vertex)).0, vectors.row(new));
        }
        let lists = linked(self, old, lists, control);
        self.write_lists(metric, &lists, control);
    }

    /// Writes the edges of some vertices.
    fn write_lists(&mut self, metric: Metric, lists: &BTreeMap<u32, Vec<u32>>, control: &Control) {
        let layout = self.rows.layout;
        let changed: Vec<(&u32, &Vec<u32>)> = lists.iter().collect();
        // In parts, so that what is turned for their sake stays within bounds.
        for part in changed.chunks(4096) {
            let mut needed: Vec<u32> =
                part.iter().flat_map(|(vertex, list)| list.iter().copied().chain([**vertex])).collect();
            needed.sort_unstable();
            needed.dedup();
            let mut vectors = Matrix::zeroed(needed.len(), layout.form.dim);
            for (to, &vertex) in needed.iter().enumerate() {
                self.rows.read(vertex, vectors.row_mut(to));
            }
            let places: HashMap<u32, u32> = needed.iter().copied().zip(0..).collect();
            let Ok(sources) = Sources::new(&self.frame, metric, vectors, control) else { return };
            let coded = control.map(part.chunks(PART), |lists| {
                Ok::<_, Cancelled>(run(
                    control.level(),
                    Code { rows: &self.rows, lists, sources: &sources, places: &places },
                ))
            });
            let coded = coded.unwrap_or_default();
            let coded = coded.iter().flat_map(|rows| rows.chunks_exact(layout.row_bytes()));
            for ((vertex, _), row) in part.iter().zip(coded) {
                self.rows.row_mut(**vertex).copy_from_slice(row);
            }
        }
    }
}

/// Codes some rows.
struct Code<'a> {
    rows: &'a Rows,
    lists: &'a [(&'a u32, &'a Vec<u32>)],
    sources: &'a Sources,
    places: &'a HashMap<u32, u32>,
}

impl Work for Code<'_> {
    type Output = Vec<u8>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Vec<u8> {
        let Self { rows, lists, sources, places } = self;
        let layout = rows.layout;
        let mut room = Room::new(layout);
        // On a cache line, as rows are.
        let mut coded = counterpoint_core::buffer::Buffer::zeroed(lists.len() * layout.row_bytes());
        let out = coded.as_mut_bytes().chunks_exact_mut(layout.row_bytes());
        for ((&vertex, list), row) in lists.iter().copied().zip(out) {
            row.copy_from_slice(rows.row(vertex));
            let place = |vertex: u32| places.get(&vertex).copied().unwrap_or(0);
            encode_row(simd, layout, row, vertex, list, sources, place, &mut room);
        }
        coded.as_bytes().to_vec()
    }
}

impl Edges {
    /// Leaves dead vertices out.
    pub(crate) fn compacted(&mut self, control: &Control) -> Result<(), Cancelled> {
        control.check()?;
        let metric = self.metric;
        let Some(learned) = self.learned() else { return Ok(()) };
        match learned.roster.wear() {
            Wear::None => {}
            Wear::Empty => {
                let dim = counterpoint_core::table::Store::dim(self);
                *self = Self::with(metric, self.parameters(), dim, None);
                return Ok(());
            }
            // Rows that were in the index are legal: nothing but a wish to stop can end this.
            Wear::Much => {
                let mut built = self.built(&*self, control).map_err(|_| Cancelled)?;
                built.keep_vectors(self);
                *self = built;
            }
            Wear::Some => {
                let fresh = learned.bridged(metric, control)?;
                if let Some(learned) = self.learned_mut() {
                    *learned = fresh;
                }
            }
        }
        counterpoint_core::table::Store::shrink_to_fit(self);
        Ok(())
    }
}

impl Learned {
    /// The graph of the live vertices, in the order of their rows.
    fn bridged(&self, metric: Metric, control: &Control) -> Result<Self, Cancelled> {
        let lists = bridged(self, control)?;
        let Self { roster, rows, .. } = self;
        let mut vectors = Matrix::zeroed(roster.live(), rows.layout.form.dim);
        for (to, &vertex) in roster.places().iter().enumerate() {
            rows.read(vertex, vectors.row_mut(to));
        }
        let compacted = roster.compacted();
        let mut rows =
            joined(vectors, &lists, compacted.entries(), metric, rows.layout, &self.frame, control)?;
        (0..).zip(roster.places()).for_each(|(to, &from)| rows.copy_vector(to, &self.rows, from));
        Ok(Self { frame: Arc::clone(&self.frame), length: self.length, rows, roster: compacted })
    }
}
