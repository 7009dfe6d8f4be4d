//! LVQ on a graph against exact search and its own definition, and the laws every index keeps.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

#[path = "graph/files.rs"]
mod files;

use std::collections::HashSet;

use counterpoint_core::eval::recall;
use counterpoint_core::file::Contents;
use counterpoint_core::flat::Flat;
use counterpoint_core::ids::Allow;
use counterpoint_core::index::{AddError, AnnIndex, Filter, Neighbors, SearchError, SearchOptions};
use counterpoint_core::metric::Metric;
use counterpoint_core::simd::Level;
use counterpoint_core::synth::{Sample, Shape, sample};
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::{Keep, Rows};
use counterpoint_lvq::Levels;
use counterpoint_lvq::graph::{LvqGraph, Parameters};
use proptest::prelude::*;

const METRICS: [Metric; 3] = [Metric::L2, Metric::Ip, Metric::Cosine];
const POWER_LAW: Shape = Shape::PowerLaw { decay: 0.5 };

fn rows(values: &[f32], dim: usize) -> Rows<'_> {
    Rows::new(values, dim).expect("whole rows")
}

fn fitted(metric: Metric, parameters: Parameters, data: &[f32], dim: usize) -> LvqGraph {
    let mut index = counterpoint_lvq::graph::new(metric, parameters).expect("legal");
    index.fit(&rows(data, dim), None, &Control::default()).expect("sound rows");
    index
}

fn parameters(primary: usize, residual: usize, keep: Keep) -> Parameters {
    Parameters::new(Levels::new(primary, residual).expect("supported"), keep)
}

fn exact(metric: Metric, data: &[f32], queries: &[f32], dim: usize, k: usize) -> Neighbors {
    let mut flat = Flat::new(metric);
    flat.fit(&rows(data, dim), None, &Control::default()).expect("sound rows");
    flat.search(&rows(queries, dim), &SearchOptions::new(k), &Control::default()).expect("found")
}

fn bytes(index: &dyn AnnIndex) -> Vec<u8> {
    index.to_bytes(&Control::default()).expect("bytes")
}

fn loaded(bytes: &[u8]) -> Box<dyn AnnIndex> {
    let control = Control::default();
    counterpoint_lvq::load(Contents::from_bytes(bytes, &control).expect("sound"), &control).expect("sound")
}

fn search(index: &dyn AnnIndex, queries: &[f32], dim: usize, options: &SearchOptions<'_>) -> Neighbors {
    index.search(&rows(queries, dim), options, &Control::default()).expect("found")
}

/// Sorted, no id twice, and as many as there can be.
fn check_shape(found: &Neighbors, width: usize) {
    assert_eq!(found.width, width);
    for row in 0..found.queries {
        let part = row * width..(row + 1) * width;
        let ids: HashSet<i64> = found.ids[part.clone()].iter().copied().collect();
        assert!(ids.len() == width && !ids.contains(&-1), "{:?}", &found.ids[part.clone()]);
        assert!(found.distances[part].is_sorted());
    }
}

/// The share of the true neighbours that is found, by distances.
fn shared(truth: &Neighbors, found: &Neighbors) -> f64 {
    recall(&truth.distances, truth.width, &found.distances, found.width, 1e-5)
}

fn with_ef(k: usize, ef: usize) -> SearchOptions<'static> {
    SearchOptions { ef: Some(ef), ..SearchOptions::new(k) }
}

#[test]
fn more_candidates_find_more() {
    for (metric, dim, primary, residual, keep) in [
        (Metric::L2, 96, 4, 8, Keep::None),
        (Metric::Cosine, 70, 8, 0, Keep::None),
        (Metric::Ip, 48, 8, 8, Keep::None),
        (Metric::L2, 40, 4, 0, Keep::F16),
        (Metric::Cosine, 200, 4, 4, Keep::None),
    ] {
        let Sample { data, queries, .. } = sample(POWER_LAW, 4000, 100, dim, 7);
        let truth = exact(metric, &data, &queries, dim, 10);
        let index = fitted(metric, parameters(primary, residual, keep), &data, dim);
        assert_eq!(index.stats()["unreachable"], 0);
        let mut before = 0.0;
        for ef in [10, 20, 40, 80, 160] {
            let found = search(&index, &queries, dim, &with_ef(10, ef));
            check_shape(&found, 10);
            let share = shared(&truth, &found);
            assert!(share > before - 0.004, "{metric:?} {ef}: {share} after {before}");
            before = share;
        }
        // The walk goes by four bits, and this data has hardly any neighbourhoods; under ip no row is near a query.
        let least = if metric == Metric::Ip { 0.85 } else { 0.93 };
        assert!(before > least, "{metric:?} {primary}x{residual}: {before}");
    }
}

/// The distance of each row is that of its code, less what the code errs by.
#[test]
fn distances_are_those_of_the_codes() {
    let (n, dim, queries) = (300, 70, 20);
    let Sample { data, queries, .. } = sample(POWER_LAW, n, queries, dim, 3);
    let unit: Vec<f32> = data.iter().map(|v| v * 1e-9).collect();
    for metric in METRICS {
        for (primary, residual) in Levels::SUPPORTED {
            // Also where f16 constants could not hold what codes are made of.
            for (data, scale) in [(&data, 1.0), (&unit, 1e-9)] {
                let index = fitted(metric, parameters(primary, residual, Keep::None), data, dim);
                let ids: Vec<i64> = (0..n as i64).collect();
                let decoded = index.reconstruct(&ids).expect("decodes");
                let queries: Vec<f32> = queries.iter().map(|v| v * scale).collect();
                let found = search(&index, &queries, dim, &with_ef(n, n));
                for (q, query) in queries.chunks(dim).enumerate() {
                    let mut query = query.to_vec();
                    metric.prepare(&mut query, 0).expect("nonzero");
                    for at in q * n..(q + 1) * n {
                        let id = found.ids[at] as usize;
                        let mut row = data[id * dim..(id + 1) * dim].to_vec();
                        metric.prepare(&mut row, 0).expect("nonzero");
                        let sum = |f: &dyn Fn(f64, f64, f64) -> f64| -> f64 {
                            let code = decoded.row(id).iter();
                            let all = query.iter().zip(code).zip(&row);
                            all.map(|((&q, &c), &x)| f(f64::from(q), f64::from(c), f64::from(x))).sum()
                        };
                        let square = |a: f64, b: f64| (a - b) * (a - b);
                        let want = match metric {
                            Metric::L2 => sum(&|q, c, x| square(q, c) - square(c, x)),
                            Metric::Cosine => sum(&|q, c, x| 0.5 * (square(q, c) - square(c, x))),
                            Metric::Ip => -sum(&|q, c, _| q * c),
                        };
                        let size = sum(&|q, c, _| q * q + c * c);
                        let want = f64::from(metric.clamp(want as f32));
                        let off = (f64::from(found.distances[at]) - want).abs();
                        assert!(off <= 1e-4 * size, "{metric:?} {primary}x{residual}: {off} of {size}");
                    }
                }
            }
        }
    }
}

#[test]
fn any_dimension_and_number_of_rows() {
    for metric in METRICS {
        for dim in [1, 2, 3, 31, 33, 65, 1100] {
            for n in [1, 2, 31, 33, 90] {
                let Sample { data, queries, .. } = sample(Shape::Gaussian, n, 5, dim, 9);
                let index = fitted(metric, parameters(4, 8, Keep::F32), &data, dim);
                for k in [1, 5, 200] {
                    let found = search(&index, &queries, dim, &SearchOptions::new(k));
                    check_shape(&found, k.min(n));
                    let truth = exact(metric, &data, &queries, dim, k);
                    assert!(shared(&truth, &found) > 0.98, "{metric:?} {dim} × {n}, {k}");
                }
                let back = loaded(&bytes(&index));
                assert_eq!(
                    search(&*back, &queries, dim, &SearchOptions::new(3)),
                    search(&index, &queries, dim, &SearchOptions::new(3))
                );
            }
        }
    }
}

#[test]
fn equal_rows_are_all_found() {
    let data = [1.0, -2.0, 0.5].repeat(500);
    for metric in METRICS {
        let index = fitted(metric, parameters(4, 4, Keep::None), &data, 3);
        check_shape(&search(&index, &[1.0, 0.0, 0.0], 3, &SearchOptions::new(7)), 7);
        check_shape(&search(&index, &[1.0, 0.0, 0.0], 3, &SearchOptions::new(500)), 500);
        assert_eq!(index.stats()["unreachable"], 0);
    }
}

#[test]
fn the_same_bytes_on_any_number_of_threads_and_results_of_any_batch() {
    let Sample { data, queries, .. } = sample(POWER_LAW, 3000, 67, 50, 11);
    for metric in METRICS {
        for level in Level::available() {
            let mut first = None;
            for threads in [1, 3] {
                let control = Control::new(level, Some(threads));
                let mut index =
                    counterpoint_lvq::graph::new(metric, parameters(4, 8, Keep::None)).expect("legal");
                index.fit(&rows(&data[..2500 * 50], 50), None, &control).expect("sound");
                index.add(&rows(&data[2500 * 50..], 50), None, &control).expect("sound");
                let saved = bytes(&index);
                assert!(*first.get_or_insert_with(|| saved.clone()) == saved, "{} × {threads}", level.name());
            }
        }
        let index = fitted(metric, parameters(4, 8, Keep::None), &data, 50);
        let options = with_ef(10, 40);
        let batch = search(&index, &queries, 50, &options);
        for threads in [1, 3] {
            let control = Control::new(Level::detect(), Some(threads));
            assert_eq!(index.search(&rows(&queries, 50), &options, &control).expect("found"), batch);
        }
        for (q, query) in queries.chunks(50).enumerate() {
            let single = search(&index, query, 50, &options);
            assert_eq!(single.ids, &batch.ids[q * 10..(q + 1) * 10]);
            assert_eq!(single.distances, &batch.distances[q * 10..(q + 1) * 10]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Rows come and go: searches of all candidates are exact over those that are there, and files give them back.
    #[test]
    fn rows_that_come_and_go(
        seed in any::<u64>(),
        dim in 1_usize..24,
        first in 1_usize..200,
        more in 0_usize..300,
        removed in prop::collection::vec(any::<usize>(), 0..200),
        metric in prop::sample::select(&METRICS[..]),
    ) {
        let n = first + more;
        let Sample { data, queries, .. } = sample(Shape::Gaussian, n, 4, dim, seed);
        let control = Control::default();
        let mut index = fitted(metric, parameters(4, 8, Keep::F32), &data[..first * dim], dim);
        index.add(&rows(&data[first * dim..], dim), None, &control).expect("added");
        let mut live: Vec<usize> = (0..n).collect();
        for pick in removed {
            if !live.is_empty() {
                index.remove(&[live.swap_remove(pick % live.len()) as i64]).expect("there");
            }
        }
        // Replaced by themselves, in part: nothing changes.
        let again: Vec<usize> = live.iter().copied().step_by(3).collect();
        let ids: Vec<i64> = again.iter().map(|&row| row as i64).collect();
        let values: Vec<f32> = again.iter().flat_map(|&row| &data[row * dim..(row + 1) * dim]).copied().collect();
        index.upsert(&rows(&values, dim), &ids, &control).expect("replaced");
        index.check(&control).expect("sound");
        let width = live.len().min(6);
        let options = with_ef(6, 1_000_000);
        let found = search(&index, &queries, dim, &options);
        check_shape(&found, width);
        let values: Vec<f32> = live.iter().flat_map(|&row| &data[row * dim..(row + 1) * dim]).copied().collect();
        if !live.is_empty() {
            let truth = exact(metric, &values, &queries, dim, 6);
            for (found, truth) in found.distances.iter().zip(&truth.distances) {
                prop_assert!((found - truth).abs() <= 1e-4 * truth.abs().max(1.0), "{found}, not {truth}");
            }
        }
        prop_assert!(found.ids.iter().all(|&id| live.contains(&(id as usize))));
        check_shape(&search(&index, &queries, dim, &with_ef(6, 10)), width);
        let saved = bytes(&index);
        let back = loaded(&saved);
        prop_assert_eq!(&search(&*back, &queries, dim, &options), &found);
        prop_assert!(bytes(&*back) == saved);
        index.compact(&control).expect("compacted");
        index.check(&control).expect("sound");
        if !live.is_empty() {
            let stats = index.stats();
            prop_assert_eq!(&stats["unreachable"], 0);
            prop_assert_eq!(&stats["deleted_share"], 0.0);
        }
        prop_assert_eq!(search(&index, &queries, dim, &options), found);
        check_shape(&search(&index, &queries, dim, &with_ef(6, 10)), width);
        let ids: Vec<i64> = live.iter().map(|&row| row as i64).collect();
        index.remove(&ids).expect("there");
        index.compact(&control).expect("compacted");
        let mut back = loaded(&bytes(&index));
        check_shape(&search(&*back, &queries, dim, &options), 0);
        back.add(&rows(&data[..dim], dim), None, &control).expect("added");
        check_shape(&search(&*back, &queries, dim, &options), 1);
    }

    /// Filters are kept, and filled however few are allowed.
    #[test]
    fn filters_are_kept_and_filled(
        seed in any::<u64>(),
        allowed in prop::collection::vec(0_i64..1500, 1..1000),
        ef in 1_usize..50,
        k in 1_usize..20,
    ) {
        let Sample { data, queries, .. } = sample(Shape::Gaussian, 1500, 3, 16, seed);
        let index = fitted(Metric::L2, parameters(8, 0, Keep::None), &data, 16);
        let distinct: HashSet<i64> = allowed.iter().copied().collect();
        let plain = with_ef(k, ef);
        let shared = SearchOptions { filter: Filter::Shared(Allow::Ids(&allowed)), ..plain };
        let found = search(&index, &queries, 16, &shared);
        check_shape(&found, k.min(distinct.len()));
        prop_assert!(found.ids.iter().all(|id| distinct.contains(id)));
        let one = [allowed[0]];
        let each = [Allow::Ids(&allowed), Allow::Ids(&one), Allow::Ids(&[])];
        let per_query = SearchOptions { filter: Filter::PerQuery(&each), ..plain };
        let found = search(&index, &queries, 16, &per_query);
        let width = found.width;
        prop_assert_eq!(width, k.min(distinct.len()));
        prop_assert_eq!(found.ids[width], one[0]);
        prop_assert!(found.ids[width + 1..].iter().all(|&id| id == -1));
    }
}

#[test]
fn filtered_searches_find_what_is_near() {
    let Sample { data, queries, .. } = sample(POWER_LAW, 6000, 50, 40, 5);
    let index = fitted(Metric::L2, parameters(4, 8, Keep::None), &data, 40);
    for every in [2, 10, 40, 300] {
        let allowed: Vec<i64> = (0..6000).step_by(every).collect();
        let values: Vec<f32> =
            allowed.iter().flat_map(|&id| &data[id as usize * 40..][..40]).copied().collect();
        let truth = exact(Metric::L2, &values, &queries, 40, 10);
        let options = SearchOptions { filter: Filter::Shared(Allow::Ids(&allowed)), ..with_ef(10, 100) };
        let share = shared(&truth, &search(&index, &queries, 40, &options));
        assert!(share > 0.92, "1 of {every}: {share}");
    }
}

/// Twenty rounds of removing and adding a tenth.
#[test]
fn recall_holds_while_rows_are_replaced() {
    let (n, dim, rounds) = (3000, 32, 20);
    let all = n + rounds * n / 10;
    let Sample { data, queries, .. } = sample(POWER_LAW, all, 100, dim, 13);
    let control = Control::default();
    let mut index = fitted(Metric::L2, parameters(4, 8, Keep::None), &data[..n * dim], dim);
    for round in 0..rounds {
        let first = round * n / 10;
        let old: Vec<i64> = (first as i64..(first + n / 10) as i64).collect();
        index.remove(&old).expect("there");
        let new = n + first..n + first + n / 10;
        index.add(&rows(&data[new.start * dim..new.end * dim], dim), None, &control).expect("added");
    }
    let live = &data[(all - n) * dim..];
    let truth = exact(Metric::L2, live, &queries, dim, 10);
    let options = with_ef(10, 40);
    let fresh = shared(
        &truth,
        &search(&fitted(Metric::L2, parameters(4, 8, Keep::None), live, dim), &queries, dim, &options),
    );
    for compacted in [false, true] {
        if compacted {
            index.compact(&control).expect("compacted");
        }
        let now = shared(&truth, &search(&index, &queries, dim, &options));
        assert!(now > fresh - 0.01, "compacted {compacted}: {now}, and {fresh} afresh");
        let own = search(&index, live, dim, &with_ef(1, 40));
        let missed = own.ids.iter().zip((all - n) as i64..).filter(|(found, id)| *found != id).count();
        assert_eq!(missed, 0, "compacted {compacted}");
    }
}

#[test]
fn bad_input_is_refused_and_changes_nothing() {
    for (degree, ef_construction) in [(0, 64), (31, 64), (33, 64), (2048, 64), (32, 0)] {
        let parameters = Parameters { degree, ef_construction, ..parameters(8, 0, Keep::None) };
        assert!(counterpoint_lvq::graph::new(Metric::L2, parameters).is_none(), "{parameters:?}");
    }
    let Sample { data, queries, .. } = sample(Shape::Gaussian, 100, 2, 8, 1);
    let control = Control::default();
    let mut index = fitted(Metric::Cosine, parameters(8, 0, Keep::None), &data, 8);
    let before = bytes(&index);
    let mut poisoned = queries.clone();
    poisoned[11] = f32::NAN;
    assert!(matches!(
        index.search(&rows(&poisoned, 8), &SearchOptions::new(1), &control),
        Err(SearchError::Input(_))
    ));
    assert!(matches!(index.add(&rows(&poisoned, 8), None, &control), Err(AddError::Input(_))));
    assert!(matches!(index.add(&rows(&[0.0; 8], 8), None, &control), Err(AddError::Input(_))));
    assert!(index.add(&rows(&[1.0; 9], 9), None, &control).is_err());
    for options in [
        with_ef(1, 0),
        SearchOptions { rerank: Some(5), ..SearchOptions::new(1) },
        SearchOptions { n_probe: Some(5), ..SearchOptions::new(1) },
    ] {
        let refused = index.search(&rows(&queries, 8), &options, &control);
        assert!(matches!(refused, Err(SearchError::Knob { .. })), "{options:?}");
    }
    let cancelled = Control::default();
    cancelled.cancel();
    assert!(matches!(index.fit(&rows(&data, 8), None, &cancelled), Err(AddError::Cancelled(_))));
    assert!(matches!(index.add(&rows(&data, 8), None, &cancelled), Err(AddError::Cancelled(_))));
    assert!(bytes(&index) == before);
    let long = vec![0.5; 65_536];
    let mut ip = counterpoint_lvq::graph::new(Metric::Ip, parameters(8, 0, Keep::None)).expect("legal");
    let refused = ip.fit(&rows(&long, 65_536), None, &control);
    assert!(matches!(refused, Err(AddError::TooManyDims { most: 65_535, .. })));
}

/// What is left is what it would have been, but for the edges.
#[test]
fn a_residual_can_be_dropped() {
    let Sample { data, queries, .. } = sample(POWER_LAW, 2000, 30, 64, 3);
    for metric in METRICS {
        let both = fitted(metric, parameters(4, 8, Keep::None), &data, 64);
        let one = both.without_residual().expect("it has one");
        assert!(one.without_residual().is_none());
        let primary = SearchOptions { rerank: Some(0), ..with_ef(10, 50) };
        let found = search(&*one, &queries, 64, &with_ef(10, 50));
        assert_eq!(found, search(&both, &queries, 64, &primary));
        let back = loaded(&bytes(&*one));
        assert_eq!(search(&*back, &queries, 64, &with_ef(10, 50)), found);
        let size = |index: &dyn AnnIndex| index.stats()["bytes"]["residual"].as_u64();
        assert_eq!((size(&both), size(&*one)), (Some(2000 * 64), None));
    }
}
