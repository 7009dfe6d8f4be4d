//! Graphs of small data: their shape, what is found through them, and that nothing depends on the threads.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::graph::beam::{Walk, search};
use crate::graph::connect::{connect, unreachable};
use crate::graph::*;
use crate::select::{Hit, TopK};
use crate::simd::{Level, Simd, Work, run};
use crate::synth::{Shape, sample};
use crate::threads::{Cancelled, Control};
use crate::vectors::Matrix;

fn matrix(values: &[f32], dim: usize) -> Matrix<f32> {
    let mut matrix = Matrix::zeroed(values.len() / dim, dim);
    for (row, values) in values.chunks_exact(dim).enumerate() {
        matrix.row_mut(row).copy_from_slice(values);
    }
    matrix
}

fn clustered(n: usize, dim: usize, seed: u64) -> Matrix<f32> {
    matrix(&sample(Shape::Clusters { clusters: 30, spread: 2.0 }, n, 0, dim, seed).data, dim)
}

fn on(threads: usize) -> Control {
    Control::new(Level::detect(), Some(threads))
}

/// A method without codes: distances are those of the rows.
struct Exact<'a> {
    rows: &'a Matrix<f32>,
    graph: Option<Graph>,
    encoded: usize,
}

impl<'a> Exact<'a> {
    fn new(rows: &'a Matrix<f32>) -> Self {
        Self { rows, graph: None, encoded: 0 }
    }
}

struct Through<'a>(&'a Matrix<f32>, &'a Graph);

impl Expander for Through<'_> {
    type Query = Vec<f32>;
    const MARK: Mark = Mark::OnPop;

    fn enter<S: Simd>(&self, simd: S, query: &Vec<f32>, _: &mut Visited, found: &mut Vec<Hit>) {
        for &row in &self.1.entries {
            found.push(Hit { distance: simd.squared_l2(query, self.0.row(row as usize)), row });
        }
    }

    fn prefetch(&self, _: u32) {}

    fn expand<S: Simd>(
        &self,
        simd: S,
        query: &Vec<f32>,
        from: Hit,
        _: f32,
        _: &mut Visited,
        found: &mut Vec<Hit>,
    ) -> f32 {
        for &row in self.1.adjacency.of(from.row) {
            found.push(Hit { distance: simd.squared_l2(query, self.0.row(row as usize)), row });
        }
        from.distance
    }
}

impl Method for Exact<'_> {
    type Error = Cancelled;
    type Expander<'a>
        = Through<'a>
    where
        Self: 'a;
    type Query = Vec<f32>;

    fn encode(&mut self, graph: &Graph, _: &Control) -> Result<(), Cancelled> {
        self.graph = Some(graph.clone());
        self.encoded += 1;
        Ok(())
    }

    fn expander(&self) -> Through<'_> {
        Through(self.rows, self.graph.as_ref().expect("encoded before it is searched"))
    }

    fn prepare<S: Simd>(&self, _: S, vertex: u32, query: &mut Vec<f32>) {
        query.clear();
        query.extend_from_slice(self.rows.row(vertex as usize));
    }
}

fn build(rows: &Matrix<f32>, how: Build, threads: usize) -> Graph {
    let mut method = Exact::new(rows);
    let graph = how.run(rows, &mut method, &on(threads)).expect("not cancelled");
    assert_eq!(method.encoded, how.passes + 1);
    let last = method.graph.expect("encoded");
    assert_eq!(bytes(&last), bytes(&graph), "the method has another graph");
    graph
}

fn bytes(graph: &Graph) -> (Vec<u32>, Vec<Vec<u32>>) {
    let rows = (0..graph.adjacency.len() as u32).map(|vertex| graph.adjacency.of(vertex).to_vec());
    (graph.entries.clone(), rows.collect())
}

/// What every graph is.
fn check(graph: &Graph, n: usize, degree: usize) {
    let Graph { adjacency, entries } = graph;
    assert_eq!((adjacency.len(), adjacency.degree()), (n, degree));
    assert!(entries.is_sorted_by(|a, b| a < b) && entries.is_empty() == (n == 0));
    assert!(entries.iter().all(|&entry| (entry as usize) < n));
    for vertex in 0..n as u32 {
        let mut neighbours = adjacency.of(vertex).to_vec();
        assert!(neighbours.len() <= degree);
        neighbours.sort_unstable();
        assert!(neighbours.is_sorted_by(|a, b| a < b), "an edge twice at {vertex}: {neighbours:?}");
        assert!(neighbours.iter().all(|&to| (to as usize) < n && to != vertex));
        let padding = &adjacency.row(vertex)[neighbours.len()..];
        assert!(padding.iter().all(|&to| to == vertex));
    }
    assert_eq!(unreachable(adjacency, entries), [] as [u32; 0]);
}

/// Finds the nearest rows of queries by searching and by comparing all; gives the share found.
struct Recall<'a>(&'a Matrix<f32>, &'a Graph, &'a Matrix<f32>, usize);

impl Work for Recall<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f64 {
        let Self(rows, graph, queries, ef) = self;
        let (mut walk, mut right) = (Walk::default(), 0);
        for q in 0..queries.rows() {
            let query = queries.row(q).to_vec();
            let (mut found, mut truth) = (TopK::new(10), TopK::new(10));
            search(simd, &Through(rows, graph), &query, ef, &mut walk, |hit| found.push(hit));
            for row in 0..rows.rows() {
                truth.push(Hit { distance: simd.squared_l2(&query, rows.row(row)), row: row as u32 });
            }
            let last = truth.bound();
            right += found.into_sorted().iter().filter(|hit| hit.distance <= last).count();
        }
        right as f64 / (10 * queries.rows()) as f64
    }
}

#[test]
fn nothing_depends_on_the_threads() {
    let rows = clustered(4000, 40, 1);
    for passes in [0, 1, 2] {
        let how = Build { passes, ..Build::default() };
        let one = build(&rows, how, 1);
        check(&one, 4000, 32);
        for threads in [2, 3] {
            assert_eq!(bytes(&one), bytes(&build(&rows, how, threads)));
        }
        assert_ne!(bytes(&one), bytes(&build(&rows, Build { seed: 1, ..how }, 2)));
    }
}

#[test]
fn searches_find_the_nearest() {
    let shapes =
        [Shape::Gaussian, Shape::Clusters { clusters: 30, spread: 2.0 }, Shape::PowerLaw { decay: 0.5 }];
    for shape in shapes {
        let data = sample(shape, 6000, 100, 32, 9);
        let (rows, queries) = (matrix(&data.data, 32), matrix(&data.queries, 32));
        let mut before = 0.0;
        for passes in [0, 1] {
            let graph = build(&rows, Build { passes, ..Build::default() }, 2);
            let recalls = [10, 50, 200].map(|ef| run(Level::detect(), Recall(&rows, &graph, &queries, ef)));
            assert!(recalls.is_sorted() && recalls[1] > 0.9 && recalls[2] > 0.985, "{shape:?}: {recalls:?}");
            assert!(recalls[1] > before - 0.01, "{shape:?}: refining has lost {before} for {recalls:?}");
            before = recalls[1];
        }
    }
}

/// Clusters much smaller than the distances between them: 8-bit codes about a common origin could not tell rows apart.
#[test]
fn tight_clusters_are_told_apart() {
    let shape = Shape::Clusters { clusters: 40, spread: 3000.0 };
    let data = sample(shape, 4000, 100, 24, 4);
    let (rows, queries) = (matrix(&data.data, 24), matrix(&data.queries, 24));
    let graph = build(&rows, Build::default(), 2);
    check(&graph, 4000, 32);
    // Where there are several clusters for an entry point, a search may end in another one.
    let entries = entries(&rows, 400, 0, &on(1)).expect("not cancelled");
    let graph = Graph { entries, ..graph };
    let recall = run(Level::detect(), Recall(&rows, &graph, &queries, 100));
    assert!(recall > 0.95, "{recall}");
}

#[test]
fn every_small_number_of_rows() {
    for n in (0..70).chain([1023, 1024, 1025, 1100]) {
        let rows = matrix(&sample(Shape::Gaussian, n, 0, 5, 7).data, 5);
        let graph = build(&rows, Build::default(), 2);
        check(&graph, n, 32);
        if (2..=33).contains(&n) {
            let recall = run(Level::detect(), Recall(&rows, &graph, &rows, 64));
            assert_eq!(recall, n.min(10) as f64 / 10.0, "{n}");
        }
    }
}

#[test]
fn equal_rows_and_copies_are_legal() {
    for n in [2, 40, 3000] {
        let rows = matrix(&vec![2.5; 9 * n], 9);
        let graph = build(&rows, Build::default(), 2);
        check(&graph, n, 32);
        assert!(n == 2 || graph.adjacency.count(1) > 10);
    }
    // 60 different rows, 50 of each.
    let different = sample(Shape::Gaussian, 60, 0, 12, 3).data;
    let rows = matrix(&different.repeat(50), 12);
    let graph = build(&rows, Build { entries: 8, ..Build::default() }, 2);
    check(&graph, 3000, 32);
}

#[test]
fn extreme_magnitudes_are_legal() {
    for scale in [1e-40, 1e-20, 1e14] {
        let mut values = sample(Shape::Gaussian, 1500, 0, 8, 5).data;
        values.iter_mut().for_each(|value| *value *= scale);
        check(&build(&matrix(&values, 8), Build::default(), 2), 1500, 32);
    }
    let one = matrix(&sample(Shape::Gaussian, 1200, 0, 1, 5).data, 1);
    check(&build(&one, Build::default(), 2), 1200, 32);
}

#[test]
fn degrees_are_whole_steps() {
    let rows = clustered(1500, 16, 2);
    for (degree, want) in [(0, 32), (1, 32), (33, 64), (64, 64), (96, 96)] {
        let graph = build(&rows, Build { degree, ..Build::default() }, 2);
        check(&graph, 1500, want);
        let edges: usize = (0..1500).map(|vertex| graph.adjacency.count(vertex)).sum();
        assert!(edges * 10 > 1500 * want * 9, "degree {want}: {edges} edges");
    }
}

#[test]
fn every_level_builds() {
    let data = sample(Shape::Clusters { clusters: 10, spread: 2.0 }, 1500, 50, 19, 6);
    let (rows, queries) = (matrix(&data.data, 19), matrix(&data.queries, 19));
    for level in Level::available() {
        let control = Control::new(level, Some(2));
        let graph = Build::default().run(&rows, &mut Exact::new(&rows), &control).expect("not cancelled");
        check(&graph, 1500, 32);
        let recall = run(level, Recall(&rows, &graph, &queries, 60));
        assert!(recall > 0.95, "{}: {recall}", level.name());
    }
}

#[test]
fn cancelling_ends_a_build_soon() {
    let rows = clustered(20_000, 64, 3);
    let control = on(2);
    let (result, waited) = std::thread::scope(|scope| {
        let built = scope
            .spawn(|| (Build::default().run(&rows, &mut Exact::new(&rows), &control).err(), Instant::now()));
        std::thread::sleep(Duration::from_millis(100));
        control.cancel();
        let cancelled = Instant::now();
        let (error, ended) = built.join().expect("no panic");
        (error, ended.saturating_duration_since(cancelled))
    });
    assert_eq!(result, Some(Cancelled));
    assert!(waited < Duration::from_millis(500), "{waited:?}");
}

#[test]
fn progress_comes_to_what_was_announced() {
    let (rows, control) = (clustered(3000, 8, 3), on(2));
    for passes in [0, 2] {
        let how = Build { passes, ..Build::default() };
        control.expect(how.units(3000));
        how.run(&rows, &mut Exact::new(&rows), &control).expect("not cancelled");
        let (done, expected) = control.progress();
        assert_eq!(done, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Graphs with many islands: all is joined, and what was reached stays so.
    #[test]
    fn islands_are_joined(
        edges in prop::collection::vec(prop::collection::vec(0_u32..200, 0..4), 1..200),
        full in prop::bool::ANY,
    ) {
        let n = edges.len();
        let rows = matrix(&sample(Shape::Gaussian, n, 0, 3, 1).data, 3);
        let mut graph = Adjacency::new(n, 32);
        for (vertex, mut to) in edges.into_iter().enumerate() {
            if full {
                // Islands of up to 33 whose rows are full.
                to.extend((vertex / 33 * 33..vertex / 33 * 33 + 33).map(|to| to as u32));
            }
            to.retain(|&to| (to as usize) < n && to as usize != vertex);
            to.sort_unstable();
            to.dedup();
            to.truncate(32);
            graph.replace(vertex as u32, to);
        }
        let before = graph.clone();
        let changed = connect(&mut graph, &[0], &rows, &on(1)).expect("not cancelled");
        prop_assert!(changed.is_sorted_by(|a, b| a < b));
        for vertex in 0..n as u32 {
            prop_assert_eq!(changed.contains(&vertex), before.of(vertex) != graph.of(vertex));
        }
        check(&Graph { adjacency: graph, entries: vec![0] }, n, 32);
    }
}
