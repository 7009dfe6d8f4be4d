//! Tuning LVQ: recall against brute force in f64, searches by recall, what keeps points and what drops them.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use counterpoint_core::file::{Contents, Document};
use counterpoint_core::index::{AnnIndex, SearchError, SearchOptions};
use counterpoint_core::knobs::{Name, Setting};
use counterpoint_core::metric::Metric;
use counterpoint_core::simd::Level;
use counterpoint_core::simd::int8::Bits;
use counterpoint_core::synth::{Sample, Shape, sample};
use counterpoint_core::threads::Control;
use counterpoint_core::tune::{Frontier, RecallError, Request, TuneError};
use counterpoint_core::vectors::{Keep, RowSource, Rows};
use counterpoint_lvq::Lvq;
use proptest::prelude::*;
use serde_json::{Value, json};

const METRICS: [Metric; 3] = [Metric::L2, Metric::Ip, Metric::Cosine];

fn rows(values: &[f32], dim: usize) -> Rows<'_> {
    Rows::new(values, dim).expect("whole rows")
}

fn fitted(metric: Metric, bits: Bits, keep: Keep, data: &[f32], dim: usize) -> Box<dyn AnnIndex> {
    let mut index = counterpoint_lvq::new(metric, bits, keep);
    index.fit(&rows(data, dim), None, &Control::default()).expect("sound rows");
    Box::new(index)
}

fn distance(metric: Metric, q: &[f32], x: &[f32]) -> f64 {
    let pairs = || q.iter().zip(x).map(|(&q, &x)| (f64::from(q), f64::from(x)));
    let dot: f64 = pairs().map(|(q, x)| q * x).sum();
    let norm = |v: &[f32]| v.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    match metric {
        Metric::L2 => pairs().map(|(q, x)| (q - x).powi(2)).sum(),
        Metric::Ip => -dot,
        Metric::Cosine => 1.0 - dot / (norm(q) * norm(x)),
    }
}

/// Recall of a search with a setting, in f64; without its own row for a query that is one.
fn recall(
    index: &dyn AnnIndex,
    data: &[f32],
    queries: &[f32],
    own: bool,
    dim: usize,
    k: usize,
    setting: &Setting,
) -> f64 {
    let mut options = SearchOptions::new(k + usize::from(own));
    setting.apply(&mut options);
    let found = index.search(&rows(queries, dim), &options, &Control::default()).expect("found");
    let (mut hits, mut places) = (0, 0);
    for (i, query) in queries.chunks(dim).enumerate() {
        let all: Vec<f64> = data.chunks(dim).map(|row| distance(index.metric(), query, row)).collect();
        let is_other = |row: usize| !(own && row == i);
        let mut truth: Vec<f64> =
            all.iter().enumerate().filter(|(row, _)| is_other(*row)).map(|(_, &d)| d).collect();
        truth.sort_by(f64::total_cmp);
        truth.truncate(k);
        let limit = truth.last().map_or(0.0, |&last| last + 1e-9 * last.abs().max(1.0));
        let ids = found.ids[i * found.width..(i + 1) * found.width].iter().map(|&id| id as usize);
        hits += ids.filter(|&row| is_other(row)).take(k).filter(|&row| all[row] <= limit).count();
        places += truth.len();
    }
    hits as f64 / places as f64
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn recall_is_what_brute_force_says(
        n in 2_usize..250,
        dim in 2_usize..40,
        k in 1_usize..15,
        seed in any::<u64>(),
        metric in prop::sample::select(&METRICS[..]),
        keep in prop::sample::select(&[Keep::None, Keep::F32][..]),
        own in any::<bool>(),
        given in any::<bool>(),
        target in prop::sample::select(&[0.5, 0.9, 1.0][..]),
    ) {
        let Sample { data, queries, .. } = sample(Shape::Gaussian, n, 20, dim, seed);
        let mut index = fitted(metric, Bits::Four, keep, &data, dim);
        let (vectors, asked) = (rows(&data, dim), rows(&queries, dim));
        let request = Request {
            queries: (!own).then_some(&asked as &dyn RowSource),
            vectors: (given || keep == Keep::None).then_some(&vectors as &dyn RowSource),
            recall: target,
            k,
        };
        let mut recalls = None;
        for level in Level::available() {
            let tuned = index.tune(&request, &Control::new(level, Some(2))).expect("tunes");
            prop_assert!(tuned.points().is_sorted_by(|a, b| a.recall < b.recall && a.seconds < b.seconds));
            let queries = if own { &data } else { &queries };
            for point in tuned.points() {
                let expected = recall(&*index, &data, queries, own, dim, k, &point.knobs);
                // The truth's last place may be a matter of f32 rounding.
                prop_assert!((point.recall - expected).abs() <= 1.5 / queries.len() as f64, "{point:?}, {expected}");
            }
            let best = tuned.points().last().expect("a point").recall;
            prop_assert!(keep == Keep::None || best >= target.min(0.95), "{best}");
            prop_assert_eq!(*recalls.get_or_insert(best), best, "{}", level.name());
        }
    }
}

#[test]
fn a_search_by_recall_is_the_search_with_the_cheapest_knobs() {
    let Sample { data, queries, .. } = sample(Shape::PowerLaw { decay: 0.5 }, 3000, 200, 24, 1);
    let control = Control::default();
    let asked = rows(&queries, 24);
    let mut index = fitted(Metric::L2, Bits::Four, Keep::F32, &data, 24);
    let by = |index: &dyn AnnIndex, recall, k| {
        let options = SearchOptions { recall: Some(recall), ..SearchOptions::new(k) };
        index.search(&asked, &options, &control)
    };
    let refused = |error: RecallError| Err(SearchError::Recall(error));
    assert_eq!(by(&*index, 0.5, 10), refused(RecallError::NotTuned));
    let request = Request { queries: Some(&asked), recall: 1.0, ..Request::new(10) };
    let tuned = index.tune(&request, &control).expect("tunes");
    assert!(tuned.points().len() > 1, "{tuned:?}");
    let mut below = 0.0;
    for point in tuned.points() {
        for recall in [(below + point.recall) / 2.0, point.recall] {
            for k in [1, 7, 10] {
                let mut options = SearchOptions::new(k);
                point.knobs.apply(&mut options);
                assert_eq!(by(&*index, recall, k), index.search(&asked, &options, &control));
            }
        }
        below = point.recall;
    }
    assert_eq!(by(&*index, 0.5, 11), refused(RecallError::K { expected: 10, got: 11 }));
    let options = SearchOptions { recall: Some(0.5), rerank: Some(3), ..SearchOptions::new(10) };
    let both = index.search(&asked, &options, &control);
    assert_eq!(both, refused(RecallError::Beside { knob: "rerank" }));

    // Rows that come and go leave the points; a file and a copy have them; fitting anew drops them.
    let bytes = index.to_bytes(&control).expect("bytes");
    let loaded = Lvq::load(Contents::from_bytes(&bytes, &control).expect("sound"), &control).expect("sound");
    assert_eq!(loaded.tuned(), Some(&tuned));
    assert_eq!(loaded.to_bytes(&control).expect("bytes"), bytes);
    assert_eq!(index.boxed_clone().tuned(), Some(&tuned));
    index.add(&rows(&data[..240], 24), None, &control).expect("new rows");
    index.remove(&[5, 6]).expect("there");
    index.compact(&control).expect("not cancelled");
    assert_eq!(index.tuned(), Some(&tuned));
    assert_eq!(index.blank().tuned(), None);
    index.fit(&rows(&data, 24), None, &control).expect("sound rows");
    assert_eq!(index.tuned(), None);
}

/// Rows kept in bytes are tuned on as they are kept; with the vectors given, what coding loses counts.
#[test]
fn bytes_reach_all_of_what_is_kept() {
    let Sample { data, queries, .. } = sample(Shape::PowerLaw { decay: 0.5 }, 600, 60, 20, 8);
    let (control, vectors, asked) = (Control::default(), rows(&data, 20), rows(&queries, 20));
    for metric in METRICS {
        let mut index = fitted(metric, Bits::Four, Keep::Int8, &data, 20);
        for queries in [None, Some(&asked as &dyn RowSource)] {
            let request = Request { queries, recall: 1.0, ..Request::new(10) };
            let best = |tuned: Frontier| tuned.points().last().expect("a point").recall;
            let kept = best(index.tune(&request, &control).expect("tunes"));
            assert!(kept >= 0.999, "{metric:?}: {kept}");
            let request = Request { vectors: Some(&vectors), ..request };
            let given = best(index.tune(&request, &control).expect("tunes"));
            assert!((0.97..=1.0).contains(&given), "{metric:?}: {given}");
        }
    }
}

#[test]
fn without_kept_vectors_there_is_one_point() {
    let Sample { data, queries, .. } = sample(Shape::Gaussian, 500, 50, 16, 1);
    let (control, vectors, asked) = (Control::default(), rows(&data, 16), rows(&queries, 16));
    let mut index = fitted(Metric::Ip, Bits::Four, Keep::None, &data, 16);
    assert_eq!(index.tune(&Request::new(10), &control), Err(TuneError::NoVectors));
    let request = Request { vectors: Some(&vectors), recall: 1.0, ..Request::new(10) };
    let tuned = index.tune(&request, &control).expect("tunes");
    let [point] = tuned.points() else { unreachable!("{tuned:?}") };
    assert!(point.knobs.0.is_empty() && point.recall < 1.0);
    let best = point.recall;
    let options = |recall| SearchOptions { recall: Some(recall), ..SearchOptions::new(10) };
    let plain = index.search(&asked, &SearchOptions::new(10), &control);
    assert_eq!(index.search(&asked, &options(best), &control), plain);
    let unreached = RecallError::Unreached { expected: best, got: 1.0 };
    assert_eq!(index.search(&asked, &options(1.0), &control), Err(SearchError::Recall(unreached)));
}

#[test]
fn the_knobs_declared_are_those_a_search_takes() {
    let data = [1.0, 2.0, 3.0, 4.0];
    for keep in [Keep::None, Keep::F16] {
        let index = fitted(Metric::L2, Bits::Eight, keep, &data, 2);
        let knobs = index.capabilities().knobs;
        assert_eq!(knobs.iter().map(|knob| knob.name).collect::<Vec<_>>(), [Name::Rerank]);
        assert_eq!(knobs[0].ladder.is_some(), keep == Keep::F16);
        for value in knobs[0].ladder.map_or(vec![], |ladder| ladder.values(1, 2)) {
            let mut options = SearchOptions::new(1);
            Setting(vec![(knobs[0].name, value)]).apply(&mut options);
            assert_eq!(options.rerank, Some(value));
            index.search(&rows(&data, 2), &options, &Control::default()).expect("found");
        }
    }
}

#[test]
fn knobs_that_no_tuning_writes_are_refused_on_loading() {
    let control = Control::default();
    let taken = |keep, knobs: Value| {
        let index = fitted(Metric::L2, Bits::Four, keep, &[1.0, 2.0, 3.0, 4.0], 2);
        let mut bytes = Vec::new();
        let mut write = |document: &Document<'_>| {
            let point = json!({ "recall": 1.0, "seconds": 1.0, "knobs": knobs });
            let mut params = document.params.clone();
            params.insert("tuned".to_owned(), json!({ "k": 1, "points": [point] }));
            bytes = Document { params, ..document.clone() }.to_bytes(&control)?;
            Ok(())
        };
        index.with_document(&mut write).expect("bytes");
        Lvq::load(Contents::from_bytes(&bytes, &control).expect("a sound container"), &control).is_ok()
    };
    assert!(taken(Keep::F16, json!({ "rerank": 0 })) && taken(Keep::None, json!({})));
    assert!(taken(Keep::F16, json!({ "rerank": u32::MAX })));
    assert!(!taken(Keep::None, json!({ "rerank": 0 })));
    for wrong in [
        json!({}),
        json!({ "rerank": null }),
        json!({ "rerank": -1 }),
        json!({ "rerank": 1.0 }),
        json!({ "rerank": "1" }),
        json!({ "rerank": 1_u64 << 32 }),
        json!({ "rerank": 1e30 }),
        json!({ "ef": 1 }),
        json!({ "rerank": 1, "ef": 1 }),
    ] {
        assert!(!taken(Keep::F16, wrong.clone()), "took {wrong}");
    }
}
