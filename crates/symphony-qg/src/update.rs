//! Rows that come and go.
//!
//! **Adding.** New rows are searched for through the graph as it is; what a search expanded, and the nearest of the other
//! new rows, are a row's candidates. Of these the rule of relative neighbourhoods keeps some (a candidate is left out if
//! a kept one is nearer to it than the new row is), and the nearest of the rest fill it up. Each vertex that was chosen
//! gets an edge back, by a free place or by the same rule. All that takes long is done aside; then the new vertices are
//! moved in, and the rows of those whose edges changed coded anew.
//!
//! Where more rows are added than there are, the graph is built anew.
//!
//! **Compacting.** The neighbours of a dead neighbour take its place as candidates; then dead vertices are left out, and
//! what could not be reached is joined. Where many are dead the graph is built anew, which finds more: after 20 rounds that
//! each removed and added a tenth of 3,000 rows, 0.960 of the neighbours at ef = 50 for 0.945.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use counterpoint_core::graph::beam::{LANES, Lane, Task, search_all};
use counterpoint_core::graph::{Adjacency, MAX_VERTICES, connect};
use counterpoint_core::metric::Metric;
use counterpoint_core::select::Hit;
use counterpoint_core::simd::{Simd, Work, run};
use counterpoint_core::threads::{Cancelled, Control};
use counterpoint_core::vectors::{InputError, Matrix, RowSource};

use crate::build::{build, joined};
use crate::column::Column;
use crate::encode::{Sources, encode_row};
use crate::graph::{Graph, Query};
use crate::rows::{Layout, Rows};
use crate::space::prepared;
use crate::store::{DEAD, Edges, Learned};

/// New rows of one item of parallel work.
const PART: usize = 64;
/// So many new rows are compared with each other; of more, a graph of their own is built.
const FEW: usize = 512;
/// With more than one dead vertex for so many live ones, compacting builds the graph anew.
const WORN: usize = 5;
/// The most candidates of a row.
const CANDIDATES: usize = 256;

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

/// Rows, and then others.
struct Chained<'a>(&'a dyn RowSource, &'a dyn RowSource);

impl RowSource for Chained<'_> {
    fn len(&self) -> usize {
        self.0.len() + self.1.len()
    }

    fn dim(&self) -> usize {
        self.1.dim()
    }

    fn read(&self, row: usize, out: &mut [f32]) {
        match row.checked_sub(self.0.len()) {
            None => self.0.read(row, out),
            Some(row) => self.1.read(row, out),
        }
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
        let find = Find { store, learned, vectors: &vectors, beside: beside.as_ref(), metric };
        let lists = control.map((0..rows.len()).step_by(PART), |first| {
            control.advance(PART);
            Ok::<_, InputError>(run(control.level(), Chosen(&find, first..rows.len().min(first + PART))))
        })?;
        Ok(Self(Plan::Beside(vectors, lists.into_iter().flatten().collect())))
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
                    learned.places.truncate(first);
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
        let Some(learned) = store.learned_mut() else { return };
        for (vertex, to) in (first..).zip(to) {
            let row = match *to {
                Some(row) => {
                    let old = std::mem::replace(&mut learned.places[row as usize], vertex as u32);
                    learned.owners.as_mut_slice()[old as usize] = DEAD;
                    row
                }
                None => {
                    learned.places.push(vertex as u32);
                    learned.places.len() as u32 - 1
                }
            };
            learned.owners.as_mut_slice()[vertex] = row;
        }
    }
}

/// What finding edges takes.
struct Find<'a> {
    store: &'a Edges,
    learned: &'a Learned,
    vectors: &'a Matrix<f32>,
    /// A graph of the new rows alone.
    beside: Option<&'a Rows>,
    metric: Metric,
}

/// The edges of some new rows.
struct Chosen<'a>(&'a Find<'a>, std::ops::Range<usize>);

impl Work for Chosen<'_> {
    type Output = Vec<Vec<u32>>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let Self(find, range) = self;
        let Find { store, learned, vectors, beside, metric } = find;
        let mut lanes: [Lane<Query>; LANES] = Default::default();
        let graph = learned.graph(*metric, true);
        let mut task = Collect { find, first: range.start, popped: vec![Vec::new(); range.len()] };
        // Of what is popped the dead are no candidates.
        let ef = store.parameters().ef_construction.saturating_mul(learned.rows.len());
        let ef = ef / learned.places.len().max(1);
        let Ok(()) = search_all(simd, &graph, range.len(), ef, &mut lanes, &mut task);
        let old = learned.rows.len() as u32;
        let read = |vertex: u32, out: &mut [f32]| match vertex.checked_sub(old) {
            None => learned.rows.read(vertex, out),
            Some(new) => out.copy_from_slice(vectors.row(new as usize)),
        };
        let mut lists = Vec::with_capacity(range.len());
        for (row, popped) in range.zip(task.popped) {
            let mut candidates = popped;
            match beside {
                Some(rows) => candidates.extend(rows.neighbours(row as u32).map(|new| old + new)),
                None => candidates
                    .extend((0..vectors.rows() as u32).filter(|&new| new != row as u32).map(|new| old + new)),
            }
            lists.push(chosen(simd, old + row as u32, candidates, learned.rows.layout, read));
        }
        lists
    }
}

/// Collects the live vertices that are popped.
struct Collect<'a> {
    find: &'a Find<'a>,
    first: usize,
    popped: Vec<Vec<u32>>,
}

impl<'g> Task<Graph<'g>> for Collect<'_> {
    type Error = std::convert::Infallible;

    #[inline(always)]
    fn prepare<S: Simd>(&mut self, simd: S, number: usize, query: &mut Query) -> Result<(), Self::Error> {
        query.values.clear();
        query.values.extend_from_slice(self.find.vectors.padded(self.first + number));
        query.prepare(simd, &self.find.learned.frame);
        Ok(())
    }

    #[inline(always)]
    fn popped(&mut self, number: usize, hit: Hit) {
        if self.find.learned.owners.as_slice()[hit.row as usize] != DEAD {
            self.popped[number].push(hit.row);
        }
    }
}

/// The edges of a vertex: of its candidates (in any order, perhaps repeated) those that the rule keeps, then the nearest
/// others, at most `degree`. `read` gives vectors.
#[inline(always)]
fn chosen<S: Simd>(
    simd: S,
    vertex: u32,
    mut candidates: Vec<u32>,
    layout: Layout,
    read: impl Fn(u32, &mut [f32]),
) -> Vec<u32> {
    let degree = layout.degree;
    candidates.sort_unstable();
    candidates.dedup();
    candidates.retain(|&candidate| candidate != vertex);
    let mut vectors = Matrix::zeroed(candidates.len() + 1, layout.form.dim);
    for (to, &vertex) in candidates.iter().chain([&vertex]).enumerate() {
        read(vertex, vectors.row_mut(to));
    }
    // In place of vertices their places among the candidates, in the same order.
    let of = |place: u32| vectors.padded(place as usize);
    let own = of(candidates.len() as u32);
    let mut hits: Vec<Hit> = (0..candidates.len() as u32)
        .map(|row| Hit { distance: simd.squared_l2(own, of(row)), row })
        .collect();
    hits.sort_unstable();
    hits.truncate(CANDIDATES);
    let mut kept: Vec<u32> = Vec::with_capacity(degree);
    let mut others = Vec::new();
    for hit in hits {
        let nearer = |&kept: &u32| simd.squared_l2(of(kept), of(hit.row)) < hit.distance;
        if kept.len() < degree && !kept.iter().any(nearer) {
            kept.push(hit.row);
        } else {
            others.push(hit.row);
        }
    }
    let room = degree - kept.len();
    kept.extend(others.into_iter().take(room));
    kept.into_iter().map(|place| candidates[place as usize]).collect()
}

impl Learned {
    /// Adds vertices with their vectors and edges, and edges back.
    fn insert(&mut self, metric: Metric, vectors: &Matrix<f32>, lists: Vec<Vec<u32>>, control: &Control) {
        let layout = self.rows.layout;
        let old = self.rows.len() as u32;
        self.rows.data.resize((old as usize + lists.len()) * layout.row_bytes());
        self.owners.resize(old as usize + lists.len());
        for (vertex, new) in (old..).zip(0..lists.len()) {
            layout.form.write(layout.parts_mut(self.rows.row_mut(vertex)).0, vectors.row(new));
        }
        let mut lists: BTreeMap<u32, Vec<u32>> = (old..).zip(lists).collect();
        let mut back: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (&vertex, list) in &lists {
            list.iter().for_each(|&to| back.entry(to).or_default().push(vertex));
        }
        // Parts of the vertices that change, each by one thread; then all are written.
        let back: Vec<(u32, Vec<u32>)> = back.into_iter().collect();
        let rows = &self.rows;
        let given = &lists;
        let owners = self.owners.as_slice();
        let changed = control.map(back.chunks(PART), |part| {
            Ok::<_, Cancelled>(run(control.level(), Back { rows, owners, old, given, part }))
        });
        lists.extend(changed.unwrap_or_default().into_iter().flatten());
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

    /// The edges of all vertices.
    fn adjacency(&self) -> Adjacency {
        let mut adjacency = Adjacency::new(self.rows.len(), self.rows.layout.degree);
        for vertex in 0..self.rows.len() as u32 {
            adjacency.replace(vertex, self.rows.neighbours(vertex));
        }
        adjacency
    }

    /// Rows whose vertices cannot be reached from the entry points.
    pub(crate) fn unreachable(&self) -> usize {
        let found = connect::unreachable(&self.adjacency(), self.entries.as_slice());
        found.iter().filter(|&&vertex| self.owners.as_slice()[vertex as usize] != DEAD).count()
    }

    /// Neighbours of a vertex, on average.
    pub(crate) fn mean_degree(&self) -> f64 {
        let vertices = self.rows.len() as u32;
        let edges: usize = (0..vertices).map(|vertex| self.rows.neighbours(vertex).count()).sum();
        edges as f64 / f64::from(vertices.max(1))
    }
}

/// Edges back to new vertices.
struct Back<'a> {
    rows: &'a Rows,
    /// Of old vertices; of new ones [`DEAD`] as yet.
    owners: &'a [u32],
    old: u32,
    given: &'a BTreeMap<u32, Vec<u32>>,
    part: &'a [(u32, Vec<u32>)],
}

impl Work for Back<'_> {
    type Output = Vec<(u32, Vec<u32>)>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let Self { rows, owners, old, given, part } = self;
        let degree = rows.layout.degree;
        let alive = |vertex: u32| vertex >= old || owners[vertex as usize] != DEAD;
        let mut lists = Vec::with_capacity(part.len());
        for (vertex, more) in part {
            let mut all: Vec<u32> = match given.get(vertex) {
                Some(list) => list.clone(),
                None => rows.neighbours(*vertex).collect(),
            };
            let new: Vec<u32> = more.iter().copied().filter(|more| !all.contains(more)).collect();
            all.extend(&new);
            if all.len() > degree {
                let all = without_dead(rows, &all, alive);
                let mut kept = chosen(simd, *vertex, all, rows.layout, |vertex, out| rows.read(vertex, out));
                // The first of the new ones has a way in, whatever the rule says.
                if let Some(first) = new.first()
                    && !kept.contains(first)
                    && let Some(last) = kept.last_mut()
                {
                    *last = *first;
                }
                lists.push((*vertex, kept));
            } else {
                lists.push((*vertex, all));
            }
        }
        lists
    }
}

/// Neighbours, and in the place of dead ones the live neighbours of those.
fn without_dead(rows: &Rows, neighbours: &[u32], alive: impl Fn(u32) -> bool) -> Vec<u32> {
    let dead = neighbours.iter().copied().filter(|&vertex| !alive(vertex));
    let beyond = dead.flat_map(|vertex| rows.neighbours(vertex));
    neighbours.iter().copied().chain(beyond).filter(|&vertex| alive(vertex)).collect()
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
        let mut bits = vec![0; counterpoint_core::simd::nibbles::BLOCK * layout.bits / 8];
        // On a cache line, as rows are.
        let mut coded = counterpoint_core::buffer::Buffer::zeroed(lists.len() * layout.row_bytes());
        let out = coded.as_mut_bytes().chunks_exact_mut(layout.row_bytes());
        for ((&vertex, list), row) in lists.iter().copied().zip(out) {
            row.copy_from_slice(rows.row(vertex));
            let place = |vertex: u32| places.get(&vertex).copied().unwrap_or(0);
            encode_row(simd, layout, row, vertex, list, sources, place, &mut bits);
        }
        coded.as_bytes().to_vec()
    }
}

/// The edges of live vertices without the dead.
struct Bridge<'a>(&'a Learned, &'a [u32]);

impl Work for Bridge<'_> {
    type Output = Vec<Vec<u32>>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let Self(Learned { rows, owners, .. }, vertices) = self;
        let owners = owners.as_slice();
        let alive = |vertex: u32| owners[vertex as usize] != DEAD;
        let mut lists = Vec::with_capacity(vertices.len());
        for &vertex in vertices {
            let mut list: Vec<u32> = rows.neighbours(vertex).collect();
            if !list.iter().all(|&neighbour| alive(neighbour)) {
                let candidates = without_dead(rows, &list, alive);
                list = chosen(simd, vertex, candidates, rows.layout, |vertex, out| rows.read(vertex, out));
            }
            lists.push(list);
        }
        lists
    }
}

impl Edges {
    /// Leaves dead vertices out.
    pub(crate) fn compacted(&mut self, control: &Control) -> Result<(), Cancelled> {
        control.check()?;
        let metric = self.metric;
        let Some(learned) = self.learned() else { return Ok(()) };
        let dead = learned.rows.len() - learned.places.len();
        if dead > 0 && learned.places.is_empty() {
            *self = Self::with(metric, self.parameters(), counterpoint_core::table::Store::dim(self), None);
            return Ok(());
        }
        if dead.saturating_mul(WORN) > learned.places.len() {
            // Rows that were in the index are legal: nothing but a wish to stop can end this.
            let mut built = self.built(&*self, control).map_err(|_| Cancelled)?;
            built.keep_vectors(self);
            *self = built;
        } else if dead > 0 {
            let fresh = learned.bridged(metric, control)?;
            if let Some(learned) = self.learned_mut() {
                *learned = fresh;
            }
        }
        counterpoint_core::table::Store::shrink_to_fit(self);
        Ok(())
    }
}

impl Learned {
    /// The graph of the live vertices, in the order of their rows.
    fn bridged(&self, metric: Metric, control: &Control) -> Result<Self, Cancelled> {
        let Self { places, owners, rows, .. } = self;
        let lists = control
            .map(places.chunks(PART), |part| Ok::<_, Cancelled>(run(control.level(), Bridge(self, part))))?;
        let owners = owners.as_slice();
        let row = |vertex: u32| owners[vertex as usize];
        let lists: Vec<Vec<u32>> =
            lists.into_iter().flatten().map(|list| list.into_iter().map(row).collect()).collect();
        let mut vectors = Matrix::zeroed(places.len(), rows.layout.form.dim);
        for (to, &vertex) in places.iter().enumerate() {
            rows.read(vertex, vectors.row_mut(to));
        }
        let mut entries: Vec<u32> =
            self.entries.as_slice().iter().map(|&entry| row(entry)).filter(|&row| row != DEAD).collect();
        entries.sort_unstable();
        if entries.is_empty() {
            entries.push(0);
        }
        let mut rows = joined(vectors, &lists, &entries, metric, rows.layout, &self.frame, control)?;
        (0..).zip(places).for_each(|(to, &from)| rows.copy_vector(to, &self.rows, from));
        let places: Vec<u32> = (0..places.len() as u32).collect();
        let (entries, owners) = (Column::new(&entries), Column::new(&places));
        Ok(Self { frame: Arc::clone(&self.frame), length: self.length, rows, entries, owners, places })
    }
}
