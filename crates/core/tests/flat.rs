//! Exact search against brute force in f64, on every level the processor has.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use counterpoint_core::flat::Flat;
use counterpoint_core::ids::Allow;
use counterpoint_core::index::{AddError, AnnIndex, Filter, Neighbors, SearchError, SearchOptions};
use counterpoint_core::metric::Metric;
use counterpoint_core::simd::Level;
use counterpoint_core::synth::{Shape, sample};
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::{InputError, Rows};
use proptest::prelude::*;

const METRICS: [Metric; 3] = [Metric::L2, Metric::Ip, Metric::Cosine];

fn rows(values: &[f32], dim: usize) -> Rows<'_> {
    Rows::new(values, dim).expect("whole rows")
}

fn one(level: Level) -> Control {
    Control::new(level, Some(1))
}

fn fitted(metric: Metric, data: &[f32], dim: usize) -> Flat {
    let mut index = Flat::new(metric);
    index.fit(&rows(data, dim), None, &Control::default()).expect("sound rows");
    index
}

/// The distance in f64, straight from its definition.
fn distance(metric: Metric, q: &[f32], x: &[f32]) -> f64 {
    let pairs = || q.iter().zip(x).map(|(&q, &x)| (f64::from(q), f64::from(x)));
    let dot: f64 = pairs().map(|(q, x)| q * x).sum();
    match metric {
        Metric::L2 => pairs().map(|(q, x)| (q - x) * (q - x)).sum(),
        Metric::Ip => -dot,
        Metric::Cosine => {
            let norm = |v: &[f32]| v.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
            1.0 - dot / (norm(q) * norm(x))
        }
    }
}

/// Every result at its true distance, sorted, distinct, and no nearer row left out.
fn check(metric: Metric, data: &[f32], queries: &[f32], dim: usize, found: &Neighbors) {
    for (i, query) in queries.chunks(dim).enumerate() {
        let ids = &found.ids[i * found.width..(i + 1) * found.width];
        let distances = &found.distances[i * found.width..(i + 1) * found.width];
        let truth: Vec<f64> = data.chunks(dim).map(|row| distance(metric, query, row)).collect();
        let scale = truth.iter().fold(1.0_f64, |most, d| most.max(d.abs()));
        let tolerance = 1e-5 * scale;
        assert!(distances.is_sorted(), "{distances:?}");
        let mut returned = vec![false; truth.len()];
        for (&id, &distance) in ids.iter().zip(distances) {
            let expected = truth[id as usize];
            assert!(
                (f64::from(distance) - expected).abs() <= tolerance,
                "{metric:?}: {distance}, not {expected}"
            );
            assert!(!std::mem::replace(&mut returned[id as usize], true), "id {id} twice");
        }
        let farthest = distances.last().map_or(f64::INFINITY, |&d| f64::from(d));
        for (id, expected) in truth.iter().enumerate().filter(|(id, _)| !returned[*id]) {
            assert!(*expected >= farthest - tolerance, "{metric:?}: row {id} at {expected} was left out");
        }
    }
}

#[test]
fn every_size_and_dimension_on_every_level() {
    for level in Level::available() {
        for metric in METRICS {
            for dim in [1, 2, 3, 7, 16, 17, 100] {
                for n in [1, 2, 63, 64, 65, 200] {
                    let sample = sample(Shape::Gaussian, n, 9, dim, (n * dim) as u64);
                    let index = fitted(metric, &sample.data, dim);
                    let queries = rows(&sample.queries, dim);
                    let found = index.search(&queries, &SearchOptions::new(10), &one(level)).expect("found");
                    assert_eq!((found.queries, found.width), (9, n.min(10)));
                    check(metric, &sample.data, &sample.queries, dim, &found);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Small integers make ties common, and then sums exact.
    #[test]
    fn batches_are_singles_whatever_the_threads(
        values in prop::collection::vec(-2_i8..3, 1..700),
        dim in 1_usize..6,
        k in 1_usize..20,
        metric in prop::sample::select(&METRICS[..2]),
    ) {
        let values: Vec<f32> = values.iter().map(|&v| f32::from(v)).collect();
        let data = &values[..values.len() / dim * dim];
        prop_assume!(!data.is_empty());
        let index = fitted(metric, data, dim);
        let queries = &data[..data.len().min(40 * dim)];
        let options = SearchOptions::new(k);
        for level in Level::available() {
            let batch = index.search(&rows(queries, dim), &options, &one(level)).expect("found");
            check(metric, data, queries, dim, &batch);
            for threads in [2, 5] {
                let control = Control::new(level, Some(threads));
                prop_assert_eq!(&index.search(&rows(queries, dim), &options, &control).expect("found"), &batch);
            }
            for (i, query) in queries.chunks(dim).enumerate() {
                let single = index.search(&rows(query, dim), &options, &one(level)).expect("found");
                prop_assert_eq!(&single.ids, &batch.ids[i * batch.width..(i + 1) * batch.width]);
                prop_assert_eq!(&single.distances, &batch.distances[i * batch.width..(i + 1) * batch.width]);
            }
        }
    }
}

#[test]
fn near_duplicates_far_from_the_origin_are_told_apart() {
    // ‖x‖² is 10¹² times ‖q − x‖²: the block sums alone could not rank these.
    let dim = 32;
    let near = sample(Shape::Gaussian, 300, 12, dim, 11);
    let shift =
        |values: &[f32]| values.iter().map(|v| 4096.0 + (v * 64.0).round() / 64.0).collect::<Vec<_>>();
    let (data, queries) = (shift(&near.data), shift(&near.queries));
    let index = fitted(Metric::L2, &data, dim);
    for level in Level::available() {
        let found = index.search(&rows(&queries, dim), &SearchOptions::new(10), &one(level)).expect("found");
        for (i, query) in queries.chunks(dim).enumerate() {
            let mut truth: Vec<f64> = data.chunks(dim).map(|row| distance(Metric::L2, query, row)).collect();
            truth.sort_by(f64::total_cmp);
            for (&found, &truth) in found.distances[i * 10..(i + 1) * 10].iter().zip(&truth) {
                assert!((f64::from(found) - truth).abs() <= 1e-5 * truth, "{found}, not {truth}");
            }
        }
    }
}

#[test]
fn filters_are_exact_and_narrow_the_result() {
    let dim = 5;
    let sample = sample(Shape::Gaussian, 500, 8, dim, 2);
    let index = fitted(Metric::L2, &sample.data, dim);
    let queries = rows(&sample.queries, dim);
    let control = Control::default();
    let allowed: Vec<i64> = (0..500).filter(|id| id % 7 == 3).chain([9_999]).collect();
    let options = SearchOptions { filter: Filter::Shared(Allow::Ids(&allowed)), ..SearchOptions::new(100) };
    let found = index.search(&queries, &options, &control).expect("found");
    assert_eq!(found.width, 71);
    for row in found.ids.chunks(71) {
        let mut ids = row.to_vec();
        ids.sort_unstable();
        assert_eq!(ids, allowed[..71]);
    }
    let none = [false; 500];
    let options = SearchOptions { filter: Filter::Shared(Allow::Mask(&none)), ..SearchOptions::new(3) };
    assert_eq!(index.search(&queries, &options, &control).expect("found").width, 0);
    let each: Vec<Allow<'_>> = (0..8).map(|i| Allow::Ids(&allowed[..i])).collect();
    let options = SearchOptions { filter: Filter::PerQuery(&each), ..SearchOptions::new(3) };
    let found = index.search(&queries, &options, &control).expect("found");
    assert_eq!(found.width, 3);
    for (i, (ids, distances)) in found.ids.chunks(3).zip(found.distances.chunks(3)).enumerate() {
        assert_eq!(ids.iter().filter(|&&id| id == -1).count(), 3 - i.min(3));
        assert_eq!(distances.iter().filter(|d| d.is_infinite()).count(), 3 - i.min(3));
    }
    let short = SearchOptions { filter: Filter::PerQuery(&each[..2]), ..SearchOptions::new(3) };
    let refused = index.search(&queries, &short, &control);
    assert_eq!(refused, Err(SearchError::FilterCount { expected: 8, got: 2 }));
}

#[test]
fn what_is_refused_changes_nothing() {
    let mut index = fitted(Metric::Cosine, &[1.0, 0.0, 0.0, 1.0], 2);
    let before = (&index as &dyn AnnIndex).to_bytes(&Control::default()).expect("bytes");
    let control = Control::default();
    let nan = [1.0, 2.0, 3.0, f32::NAN];
    let refused = index.add(&rows(&nan, 2), None, &control);
    assert!(
        matches!(refused, Err(AddError::Input(InputError::NotFinite { row: 1, column: 1, .. }))),
        "{refused:?}"
    );
    let refused = index.fit(&rows(&[1.0, 1.0, 0.0, 0.0], 2), None, &control);
    assert_eq!(refused, Err(AddError::Input(InputError::ZeroVector { row: 1 })));
    let refused = index.add(&rows(&[1.0; 3], 3), None, &control);
    assert_eq!(refused, Err(AddError::Input(InputError::Dim { expected: 2, got: 3 })));
    let refused = index.add(&rows(&[1e16, 0.0], 2), None, &control);
    assert!(matches!(refused, Err(AddError::Input(InputError::TooLarge { row: 0, column: 0, .. }))));
    assert!(index.add(&rows(&[1.0, 2.0], 2), Some(&[1]), &control).is_err());
    assert!(index.upsert(&rows(&[1.0, 2.0, 3.0, 4.0], 2), &[5, 5], &control).is_err());
    assert!(index.remove(&[0, 7]).is_err());
    assert!(index.remove(&[0, 0]).is_err());
    let cancelled = Control::default();
    cancelled.cancel();
    assert!(matches!(index.add(&rows(&[1.0, 2.0], 2), None, &cancelled), Err(AddError::Cancelled(_))));
    let options = SearchOptions { rerank: Some(10), ..SearchOptions::new(1) };
    let refused = index.search(&rows(&[1.0, 2.0], 2), &options, &control);
    assert!(matches!(refused, Err(SearchError::Knob { knob: "rerank", .. })));
    assert_eq!((&index as &dyn AnnIndex).to_bytes(&Control::default()).expect("bytes"), before);
}
