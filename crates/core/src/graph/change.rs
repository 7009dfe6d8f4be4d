//! Rows that come and go: what a graph's edges become.
//!
//! **Adding.** New rows are searched for through the graph as it is; what a search expanded, and the nearest of the other
//! new rows, are a row's candidates. Of these the rule of relative neighbourhoods keeps some (a candidate is left out if
//! a kept one is nearer to it than the new row is), and the nearest of the rest fill it up. Each vertex that was chosen
//! gets an edge back, by a free place or by the same rule. All that takes long is done aside; then the new vertices are
//! moved in, and the edges that changed.
//!
//! Where more rows are added than there are, a method builds its graph anew.
//!
//! **Compacting.** The neighbours of a dead neighbour take its place as candidates; then dead vertices are left out, and
//! what could not be reached is joined. Where many are dead the graph is built anew, which finds more: after 20 rounds that
//! each removed and added a tenth of 3,000 rows, 0.960 of the neighbours at ef = 50 for 0.945 (SymphonyQG).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::select::Hit;
use crate::simd::{Simd, Work, run};
use crate::threads::{Cancelled, Control};
use crate::vectors::{Matrix, RowSource};

use super::beam::{LANES, Lane, Task, search_all};
use super::{Adjacency, Expander, Roster, connect};

/// Vertices of one item of parallel work.
const PART: usize = 64;
/// So many new rows are compared with each other; of more, a graph of their own is built.
pub const FEW: usize = 512;
/// The most candidates of a row.
const CANDIDATES: usize = 256;

/// A graph whose rows come and go.
pub trait Changing: Sync {
    /// Whose the vertices are.
    fn roster(&self) -> &Roster;

    /// Neighbours of a vertex at most.
    fn degree(&self) -> usize;

    /// Adds the neighbours of a vertex to `out`.
    fn neighbours(&self, vertex: u32, out: &mut Vec<u32>);

    /// Values that [`Changing::read`] writes.
    fn width(&self) -> usize;

    /// Writes the vector of a vertex, as it is known, in the space that the graph lives in.
    fn read(&self, vertex: u32, out: &mut [f32]);
}

/// How new rows are searched for.
pub trait Finding: Sync {
    /// A row that is searched for.
    type Query: Default + Send;
    /// The graph.
    type Graph: Expander<Query = Self::Query>;

    /// The graph.
    fn graph(&self) -> &Self::Graph;

    /// Makes a padded vector of the graph's space the query.
    fn prepare<S: Simd>(&self, simd: S, vector: &[f32], query: &mut Self::Query);
}

/// Rows, and then others.
pub struct Chained<'a>(pub &'a dyn RowSource, pub &'a dyn RowSource);

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

/// Adds the neighbours of a new row, in a graph of the new rows alone.
pub type Beside<'a> = &'a (dyn Fn(u32, &mut Vec<u32>) + Sync);

/// The edges of new rows, `vectors` in the graph's space: to vertices there are, and to new ones, which come after them.
/// `finding` searches through the graph that is `changing`. Without `beside` all new rows are compared.
///
/// # Errors
/// [`Cancelled`].
pub fn edges_of_new<C: Changing, F: Finding>(
    changing: &C,
    finding: &F,
    vectors: &Matrix<f32>,
    beside: Option<Beside<'_>>,
    ef: usize,
    control: &Control,
) -> Result<Vec<Vec<u32>>, Cancelled> {
    let rows = vectors.rows();
    let lists = control.map((0..rows).step_by(PART), |first| {
        control.advance(PART);
        let range = first..rows.min(first + PART);
        Ok::<_, Cancelled>(run(control.level(), New { changing, finding, vectors, beside, ef, range }))
    })?;
    Ok(lists.into_iter().flatten().collect())
}

/// The edges of some new rows.
struct New<'a, C, F> {
    changing: &'a C,
    finding: &'a F,
    vectors: &'a Matrix<f32>,
    beside: Option<Beside<'a>>,
    ef: usize,
    range: std::ops::Range<usize>,
}

impl<C: Changing, F: Finding> Work for New<'_, C, F> {
    type Output = Vec<Vec<u32>>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let Self { changing, finding, vectors, beside, ef, range } = self;
        let roster = changing.roster();
        let mut lanes: [Lane<F::Query>; LANES] = Default::default();
        let popped = vec![Vec::new(); range.len()];
        let mut task = Collect { finding, roster, vectors, first: range.start, popped };
        // Of what is popped the dead are no candidates.
        let ef = ef.saturating_mul(roster.vertices()) / roster.live().max(1);
        let Ok(()) = search_all(simd, finding.graph(), range.len(), ef, &mut lanes, &mut task);
        let old = roster.vertices() as u32;
        let read = |vertex: u32, out: &mut [f32]| match vertex.checked_sub(old) {
            None => changing.read(vertex, out),
            Some(new) => out.copy_from_slice(vectors.padded(new as usize)),
        };
        let mut pruning = Pruning::new(changing.width());
        let mut lists = Vec::with_capacity(range.len());
        let mut among = Vec::new();
        for (row, mut candidates) in range.zip(task.popped) {
            match beside {
                Some(beside) => {
                    among.clear();
                    beside(row as u32, &mut among);
                    candidates.extend(among.iter().map(|new| old + new));
                }
                None => candidates
                    .extend((0..vectors.rows() as u32).filter(|&new| new != row as u32).map(|new| old + new)),
            }
            lists.push(pruning.chosen(simd, old + row as u32, candidates, changing.degree(), read));
        }
        lists
    }
}

/// Collects the live vertices that are popped.
struct Collect<'a, F> {
    finding: &'a F,
    roster: &'a Roster,
    vectors: &'a Matrix<f32>,
    first: usize,
    popped: Vec<Vec<u32>>,
}

impl<F: Finding> Task<F::Graph> for Collect<'_, F> {
    type Error = std::convert::Infallible;

    #[inline(always)]
    fn prepare<S: Simd>(&mut self, simd: S, number: usize, query: &mut F::Query) -> Result<(), Self::Error> {
        self.finding.prepare(simd, self.vectors.padded(self.first + number), query);
        Ok(())
    }

    #[inline(always)]
    fn popped(&mut self, number: usize, hit: Hit) {
        if self.roster.is_live(hit.row) {
            self.popped[number].push(hit.row);
        }
    }
}

/// Memory to prune in.
struct Pruning {
    own: Vec<f32>,
    other: Vec<f32>,
    /// The vectors of candidates, one after another.
    vectors: Vec<f32>,
}

impl Pruning {
    fn new(width: usize) -> Self {
        Self { own: vec![0.0; width], other: vec![0.0; width], vectors: Vec::new() }
    }

    /// The edges of a vertex: of its candidates (in any order, perhaps repeated) those that the rule keeps, then the
    /// nearest others, at most `degree`.
    #[inline(always)]
    fn chosen<S: Simd>(
        &mut self,
        simd: S,
        vertex: u32,
        mut candidates: Vec<u32>,
        degree: usize,
        read: impl Fn(u32, &mut [f32]),
    ) -> Vec<u32> {
        let Self { own, other, vectors } = self;
        candidates.sort_unstable();
        candidates.dedup();
        read(vertex, own);
        let mut hits: Vec<Hit> = candidates
            .into_iter()
            .filter(|&candidate| candidate != vertex)
            .map(|row| {
                read(row, other);
                Hit { distance: simd.squared_l2(own, other), row }
            })
            .collect();
        hits.sort_unstable();
        hits.truncate(CANDIDATES);
        let width = own.len();
        vectors.resize(hits.len() * width, 0.0);
        for (hit, vector) in hits.iter().zip(vectors.chunks_exact_mut(width.max(1))) {
            read(hit.row, vector);
        }
        let of = |place: usize| &vectors[place * width..(place + 1) * width];
        let mut kept: Vec<usize> = Vec::with_capacity(degree);
        let mut others = Vec::new();
        for (place, hit) in hits.iter().enumerate() {
            let nearer = |&kept: &usize| simd.squared_l2(of(kept), of(place)) < hit.distance;
            if kept.len() < degree && !kept.iter().any(nearer) {
                kept.push(place);
            } else {
                others.push(place);
            }
        }
        let room = degree - kept.len();
        kept.extend(others.into_iter().take(room));
        kept.into_iter().map(|place| hits[place].row).collect()
    }
}

/// All edges that change when new vertices, which come after those there are and are nobody's yet, get the edges `lists`
/// and edges back. Their vectors can be read already. Nothing stops it.
pub fn linked<G: Changing>(
    graph: &G,
    old: u32,
    lists: Vec<Vec<u32>>,
    control: &Control,
) -> BTreeMap<u32, Vec<u32>> {
    let mut lists: BTreeMap<u32, Vec<u32>> = (old..).zip(lists).collect();
    let mut back: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (&vertex, list) in &lists {
        list.iter().for_each(|&to| back.entry(to).or_default().push(vertex));
    }
    // Parts of the vertices that change, each by one thread.
    let back: Vec<(u32, Vec<u32>)> = back.into_iter().collect();
    let given = &lists;
    let changed = control.map(back.chunks(PART), |part| {
        Ok::<_, Cancelled>(run(control.level(), Back { graph, old, given, part }))
    });
    lists.extend(changed.unwrap_or_default().into_iter().flatten());
    lists
}

/// Edges back to new vertices.
struct Back<'a, G> {
    graph: &'a G,
    old: u32,
    given: &'a BTreeMap<u32, Vec<u32>>,
    part: &'a [(u32, Vec<u32>)],
}

impl<G: Changing> Work for Back<'_, G> {
    type Output = Vec<(u32, Vec<u32>)>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let Self { graph, old, given, part } = self;
        let degree = graph.degree();
        let alive = |vertex: u32| vertex >= old || graph.roster().is_live(vertex);
        let mut pruning = Pruning::new(graph.width());
        let mut lists = Vec::with_capacity(part.len());
        for (vertex, more) in part {
            let mut all = Vec::new();
            match given.get(vertex) {
                Some(list) => all.clone_from(list),
                None => graph.neighbours(*vertex, &mut all),
            }
            let new: Vec<u32> = more.iter().copied().filter(|more| !all.contains(more)).collect();
            all.extend(&new);
            if all.len() > degree {
                let all = without_dead(graph, &all, alive);
                let mut kept =
                    pruning.chosen(simd, *vertex, all, degree, |vertex, out| graph.read(vertex, out));
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
fn without_dead<G: Changing>(graph: &G, neighbours: &[u32], alive: impl Fn(u32) -> bool) -> Vec<u32> {
    let mut all = neighbours.to_vec();
    for &vertex in neighbours.iter().filter(|&&vertex| !alive(vertex)) {
        graph.neighbours(vertex, &mut all);
    }
    all.retain(|&vertex| alive(vertex));
    all
}

/// The edges of live vertices without the dead, by rows: those of each row, to rows.
///
/// # Errors
/// [`Cancelled`].
pub fn bridged<G: Changing>(graph: &G, control: &Control) -> Result<Vec<Vec<u32>>, Cancelled> {
    let roster = graph.roster();
    let lists = control.map(roster.places().chunks(PART), |vertices| {
        Ok::<_, Cancelled>(run(control.level(), Bridge { graph, vertices }))
    })?;
    let row = |vertex: u32| roster.owners()[vertex as usize];
    Ok(lists.into_iter().flatten().map(|list| list.into_iter().map(row).collect()).collect())
}

struct Bridge<'a, G> {
    graph: &'a G,
    vertices: &'a [u32],
}

impl<G: Changing> Work for Bridge<'_, G> {
    type Output = Vec<Vec<u32>>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let Self { graph, vertices } = self;
        let alive = |vertex: u32| graph.roster().is_live(vertex);
        let mut pruning = Pruning::new(graph.width());
        let mut lists = Vec::with_capacity(vertices.len());
        for &vertex in vertices {
            let mut list = Vec::new();
            graph.neighbours(vertex, &mut list);
            if !list.iter().all(|&neighbour| alive(neighbour)) {
                let all = without_dead(graph, &list, alive);
                list =
                    pruning.chosen(simd, vertex, all, graph.degree(), |vertex, out| graph.read(vertex, out));
            }
            lists.push(list);
        }
        lists
    }
}

/// The edges `lists`, joined so that every vertex can be reached from the entry points.
///
/// # Errors
/// [`Cancelled`].
pub fn joined(
    rows: &dyn RowSource,
    lists: &[Vec<u32>],
    entries: &[u32],
    degree: usize,
    control: &Control,
) -> Result<Adjacency, Cancelled> {
    let mut adjacency = Adjacency::new(lists.len(), degree);
    for (vertex, list) in (0..).zip(lists) {
        adjacency.replace(vertex, list.iter().copied());
    }
    connect::connect(&mut adjacency, entries, rows, control)?;
    Ok(adjacency)
}

/// Figures of a graph, for people.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Where searches begin.
    pub entry_points: usize,
    /// Rows whose vertices cannot be reached from the entry points.
    pub unreachable: usize,
    /// Neighbours of a vertex, on average.
    pub mean_degree: f64,
    /// The share of the vertices that are dead.
    pub deleted_share: f64,
}

impl Figures {
    /// Those of a graph.
    pub fn of<G: Changing>(graph: &G) -> Self {
        let roster = graph.roster();
        let vertices = roster.vertices();
        let mut adjacency = Adjacency::new(vertices, graph.degree());
        let (mut list, mut edges) = (Vec::new(), 0);
        for vertex in 0..vertices as u32 {
            list.clear();
            graph.neighbours(vertex, &mut list);
            edges += list.len();
            adjacency.replace(vertex, list.iter().copied());
        }
        let unreachable = connect::unreachable(&adjacency, roster.entries());
        let (all, dead) = (vertices.max(1) as f64, vertices - roster.live());
        Self {
            entry_points: roster.entries().len(),
            unreachable: unreachable.iter().filter(|&&vertex| roster.is_live(vertex)).count(),
            mean_degree: edges as f64 / all,
            deleted_share: dead as f64 / all,
        }
    }

    /// Adds them to an index's.
    pub fn write(&self, stats: &mut Map<String, Value>) {
        let Self { entry_points, unreachable, mean_degree, deleted_share } = *self;
        stats.insert("entry_points".into(), json!(entry_points));
        stats.insert("unreachable".into(), json!(unreachable));
        stats.insert("mean_degree".into(), json!(mean_degree));
        stats.insert("deleted_share".into(), json!(deleted_share));
    }
}
