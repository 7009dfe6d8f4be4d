//! Beam search on small graphs: each vertex joined to its nearest in every direction, found by comparing all pairs.

use std::convert::Infallible;

use super::beam::{LANES, Lane, Task, search_all};
use super::*;
use crate::select::Hit;
use crate::simd::{Level, Simd, Work, run};
use crate::synth::{Shape, sample};

/// A graph over f32 rows, with exact distances. `ON_PUSH`: how it marks.
struct Exact<const ON_PUSH: bool> {
    rows: Vec<Vec<f32>>,
    neighbours: Vec<Vec<u32>>,
    entries: Vec<u32>,
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum()
}

impl<const ON_PUSH: bool> Exact<ON_PUSH> {
    fn new(rows: usize, dim: usize, degree: usize) -> Self {
        let data = sample(Shape::Gaussian, rows, 0, dim, 3).data;
        let rows: Vec<Vec<f32>> = data.chunks(dim).map(<[f32]>::to_vec).collect();
        let neighbours = rows.iter().enumerate().map(|(i, row)| {
            let mut all: Vec<Hit> = rows
                .iter()
                .zip(0..)
                .map(|(other, j)| Hit { distance: distance(row, other), row: j })
                .collect();
            all.sort_unstable();
            let mut kept: Vec<u32> = Vec::new();
            for hit in all {
                let near = |&k: &u32| distance(&rows[k as usize], &rows[hit.row as usize]) < hit.distance;
                if hit.row as usize != i && kept.len() < degree && !kept.iter().any(near) {
                    kept.push(hit.row);
                }
            }
            kept
        });
        let neighbours = neighbours.collect();
        Self { rows, neighbours, entries: vec![0, 1] }
    }
}

impl<const ON_PUSH: bool> Expander for Exact<ON_PUSH> {
    type Query = Vec<f32>;
    const MARK: Mark = if ON_PUSH { Mark::OnPush } else { Mark::OnPop };

    fn enter<S: Simd>(&self, simd: S, query: &Vec<f32>, visited: &mut Visited, found: &mut Vec<Hit>) {
        for &row in &self.entries {
            if !ON_PUSH || visited.insert(row) {
                found.push(Hit { distance: simd.squared_l2(query, &self.rows[row as usize]), row });
            }
        }
    }

    fn prefetch(&self, _: u32) {}

    fn expand<S: Simd>(
        &self,
        simd: S,
        query: &Vec<f32>,
        from: Hit,
        bound: f32,
        visited: &mut Visited,
        found: &mut Vec<Hit>,
    ) -> f32 {
        for &row in &self.neighbours[from.row as usize] {
            if ON_PUSH && !visited.insert(row) {
                continue;
            }
            let distance = simd.squared_l2(query, &self.rows[row as usize]);
            if distance < bound {
                found.push(Hit { distance, row });
            }
        }
        simd.squared_l2(query, &self.rows[from.row as usize])
    }
}

/// What each query pops, in order: one call for each, or one for all.
struct Popped<'a, const ON_PUSH: bool>(&'a Exact<ON_PUSH>, &'a [Vec<f32>], usize, bool);

struct Collect<'a>(&'a [Vec<f32>], &'a mut [Vec<Hit>]);

impl<const ON_PUSH: bool> Task<Exact<ON_PUSH>> for Collect<'_> {
    type Error = Infallible;

    fn prepare<S: Simd>(&mut self, _: S, number: usize, query: &mut Vec<f32>) -> Result<(), Infallible> {
        query.clone_from(&self.0[number]);
        Ok(())
    }

    fn popped(&mut self, number: usize, hit: Hit) {
        self.1[number].push(hit);
    }
}

impl<const ON_PUSH: bool> Work for Popped<'_, ON_PUSH> {
    type Output = Vec<Vec<Hit>>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let Self(graph, queries, ef, by_turns) = self;
        let mut popped = vec![Vec::new(); queries.len()];
        let mut lanes: [Lane<Vec<f32>>; LANES] = Default::default();
        let at_once = if by_turns { queries.len() } else { 1 };
        for (queries, popped) in queries.chunks(at_once).zip(popped.chunks_mut(at_once)) {
            let task = &mut Collect(queries, popped);
            let Ok(()) = search_all(simd, graph, queries.len(), ef, &mut lanes, task);
        }
        popped
    }
}

fn check<const ON_PUSH: bool>() {
    let (dim, k) = (8, 10);
    let graph = Exact::<ON_PUSH>::new(1500, dim, 16);
    let queries = sample(Shape::Gaussian, 60, 0, dim, 4).data;
    let queries: Vec<Vec<f32>> = queries.chunks(dim).map(<[f32]>::to_vec).collect();
    for level in Level::available() {
        let mut before = 0;
        for ef in [10, 40, 160] {
            let popped = run(level, Popped(&graph, &queries, ef, false));
            assert_eq!(run(level, Popped(&graph, &queries, ef, true)), popped, "{} {ef}", level.name());
            let mut found = 0;
            for (query, popped) in queries.iter().zip(&popped) {
                let mut rows: Vec<u32> = popped.iter().map(|hit| hit.row).collect();
                rows.sort_unstable();
                rows.dedup();
                assert!(!ON_PUSH || rows.len() >= ef);
                assert!(rows.len() == popped.len(), "a vertex was popped twice");
                let mut nearest = Nearest::default();
                nearest.begin(k);
                popped.iter().for_each(|&hit| nearest.push(hit));
                let worst = nearest.hits().last().map_or(0.0, |hit| hit.distance);
                let nearer = |row: &Vec<f32>| distance(query, row) < worst * (1.0 - 1e-5);
                let missed = graph.rows.iter().filter(|row| nearer(row)).count().saturating_sub(k - 1);
                found += k - missed.min(k);
            }
            assert!(found >= before, "{ef}: {found}, less than {before}");
            before = found;
        }
        assert!(before * 100 >= queries.len() * k * 99, "{before}");
    }
}

#[test]
fn more_candidates_find_more_and_turns_change_nothing() {
    check::<false>();
    check::<true>();
}

#[test]
fn without_entry_points_nothing_is_found() {
    let mut graph = Exact::<false>::new(5, 2, 2);
    graph.entries.clear();
    let queries = vec![vec![0.0; 2]; 9];
    for by_turns in [false, true] {
        let popped = run(Level::detect(), Popped(&graph, &queries, 3, by_turns));
        assert!(popped.iter().all(Vec::is_empty));
    }
}
