//! Tuning an exact index: recall is 1 whatever the level, and every wrong request is refused.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use counterpoint_core::file::{Contents, Document};
use counterpoint_core::flat::Flat;
use counterpoint_core::index::{AnnIndex, SearchError, SearchOptions};
use counterpoint_core::metric::Metric;
use counterpoint_core::simd::Level;
use counterpoint_core::synth::{Shape, sample};
use counterpoint_core::threads::{Cancelled, Control};
use counterpoint_core::tune::{RecallError, Request, TuneError};
use counterpoint_core::vectors::{InputError, Rows};
use serde_json::{Value, json};

const METRICS: [Metric; 3] = [Metric::L2, Metric::Ip, Metric::Cosine];

fn rows(values: &[f32], dim: usize) -> Rows<'_> {
    Rows::new(values, dim).expect("whole rows")
}

fn fitted(metric: Metric, data: &[f32], dim: usize) -> Box<dyn AnnIndex> {
    let mut index = Flat::new(metric);
    index.fit(&rows(data, dim), None, &Control::default()).expect("sound rows");
    Box::new(index)
}

#[test]
fn exact_search_has_recall_1_on_every_level() {
    for level in Level::available() {
        let control = Control::new(level, Some(2));
        for metric in METRICS {
            for (n, k) in [(1, 1), (2, 1), (70, 10), (1500, 3), (5, 9), (9, usize::MAX)] {
                let sample = sample(Shape::Gaussian, n, 11, 7, n as u64);
                let mut data = sample.data;
                data.copy_within(0..7 * (n / 2), 7 * (n / 2)); // every row twice: ties
                let (vectors, queries) = (rows(&data, 7), rows(&sample.queries, 7));
                let mut index = fitted(metric, &data, 7);
                for given in [None, Some(&queries as _)] {
                    for vectors in [None, Some(&vectors as _)] {
                        let request = Request { queries: given, vectors, recall: 1.0, ..Request::new(k) };
                        let tuned = index.tune(&request, &control);
                        if n == 1 && given.is_none() {
                            assert_eq!(tuned, Err(TuneError::Rows { expected: 2, got: 1 }));
                            continue;
                        }
                        let tuned = tuned.expect("tunes");
                        assert_eq!((tuned.k(), tuned.points().len()), (k, 1), "{metric:?} {n} {k}");
                        let point = &tuned.points()[0];
                        assert_eq!((point.recall, point.knobs.0.len()), (1.0, 0), "{metric:?} {n} {k}");
                        assert!(point.seconds > 0.0);
                        assert_eq!(index.tuned(), Some(&tuned));
                    }
                }
            }
        }
    }
}

#[test]
fn truth_comes_from_the_vectors_given() {
    // Of the neighbours in rows that are not the index's, none can be expected.
    let sample = sample(Shape::Gaussian, 300, 300, 5, 1);
    let mut index = fitted(Metric::L2, &sample.data, 5);
    let others = rows(&sample.queries, 5);
    let tuned = index.tune(&Request { vectors: Some(&others), ..Request::new(5) }, &Control::default());
    assert!(tuned.expect("tunes").points()[0].recall < 0.2);
}

#[test]
fn wrong_requests_are_refused_and_change_nothing() {
    let sample = sample(Shape::Gaussian, 30, 4, 6, 2);
    let (data, queries) = (rows(&sample.data, 6), rows(&sample.queries, 6));
    let control = Control::default();
    let mut index = fitted(Metric::Cosine, &sample.data, 6);
    let request = || Request { queries: Some(&queries), vectors: Some(&data), ..Request::new(3) };
    let before = index.tune(&request(), &control).expect("tunes");
    let zero = [&sample.data[..60], &[0.0; 6], &sample.data[66..]].concat();
    let zero = rows(&zero, 6);
    let nan = [&sample.queries[..13], &[f32::NAN], &sample.queries[14..]].concat();
    let nan = rows(&nan, 6);
    let (short, narrow, none) = (rows(&sample.data[6..], 6), rows(&sample.data, 5), rows(&[], 6));
    let range = |got| TuneError::Recall(RecallError::Range { got });
    for (request, expected) in [
        (Request { recall: 0.0, ..request() }, range(0.0)),
        (Request { recall: 1.5, ..request() }, range(1.5)),
        (Request { k: 0, ..request() }, TuneError::Search(SearchError::K)),
        (Request { queries: Some(&none), ..request() }, TuneError::NoQueries),
        (
            Request { queries: Some(&narrow), ..request() },
            TuneError::Queries(InputError::Dim { expected: 6, got: 5 }),
        ),
        (
            Request { vectors: Some(&narrow), ..request() },
            TuneError::Vectors(InputError::Dim { expected: 6, got: 5 }),
        ),
        (Request { vectors: Some(&short), ..request() }, TuneError::Count { expected: 30, got: 29 }),
        (
            Request { vectors: Some(&zero), ..request() },
            TuneError::Vectors(InputError::ZeroVector { row: 10 }),
        ),
        (
            Request { queries: Some(&zero), ..request() },
            TuneError::Queries(InputError::ZeroVector { row: 10 }),
        ),
        (
            Request { queries: None, vectors: Some(&zero), ..request() },
            TuneError::Vectors(InputError::ZeroVector { row: 10 }),
        ),
    ] {
        assert_eq!(index.tune(&request, &control), Err(expected));
        assert_eq!(index.tuned(), Some(&before));
    }
    let refused = index.tune(&Request { queries: Some(&nan), ..request() }, &control);
    assert!(matches!(refused, Err(TuneError::Queries(InputError::NotFinite { row: 2, column: 1, .. }))));
    control.cancel();
    assert_eq!(index.tune(&request(), &control), Err(TuneError::Cancelled(Cancelled)));
    assert_eq!(index.tuned(), Some(&before));
    let mut empty: Box<dyn AnnIndex> = Box::new(Flat::new(Metric::L2));
    let refused = empty.tune(&Request::new(1), &Control::default());
    assert_eq!(refused, Err(TuneError::Rows { expected: 2, got: 0 }));
}

#[test]
fn an_exact_index_reaches_any_recall_untuned() {
    let sample = sample(Shape::Gaussian, 90, 4, 6, 3);
    let index = fitted(Metric::L2, &sample.data, 6);
    let (queries, control) = (rows(&sample.queries, 6), Control::default());
    let expected = index.search(&queries, &SearchOptions::new(7), &control);
    let options = |recall| SearchOptions { recall: Some(recall), ..SearchOptions::new(7) };
    assert_eq!(index.search(&queries, &options(1.0), &control), expected);
    for wrong in [0.0, -0.5, 1.01, f64::INFINITY, f64::NAN] {
        let refused = index.search(&queries, &options(wrong), &control);
        assert!(matches!(refused, Err(SearchError::Recall(RecallError::Range { .. }))), "{wrong}");
    }
}

/// What loading says of a file in which `tuned` stands.
fn loaded(index: &dyn AnnIndex, tuned: &Value) -> Result<Box<dyn AnnIndex>, String> {
    let control = Control::default();
    let mut bytes = Vec::new();
    index
        .with_document(&mut |document| {
            let mut params = document.params.clone();
            params.insert("tuned".to_owned(), tuned.clone());
            bytes = Document { params, ..document.clone() }.to_bytes(&control)?;
            Ok(())
        })
        .expect("bytes");
    let contents = Contents::from_bytes(&bytes, &control).expect("a sound container");
    Flat::load(contents, &control).map_err(|error| error.to_string())
}

#[test]
fn what_no_tuning_writes_is_refused_on_loading() {
    let sample = sample(Shape::Gaussian, 9, 4, 6, 3);
    let index = fitted(Metric::L2, &sample.data, 6);
    let point = |recall: f64, seconds: f64| json!({ "recall": recall, "seconds": seconds, "knobs": {} });
    let points = |points: Vec<Value>| json!({ "k": 3, "points": points });
    let sound = points(vec![point(0.5, 1e-9), point(0.625, 1e-3), point(1.0, 3e200)]);
    let tuned = loaded(&*index, &sound).expect("sound");
    assert_eq!(tuned.tuned().map(|tuned| (tuned.k(), tuned.points().len())), Some((3, 3)));
    let again = tuned.to_bytes(&Control::default()).expect("bytes");
    let again = Contents::from_bytes(&again, &Control::default()).expect("sound");
    assert_eq!(again.params()["tuned"], sound);
    for wrong in [
        json!(null),
        json!([]),
        json!({}),
        json!({ "k": 3 }),
        json!({ "k": 3, "points": [] }),
        json!({ "k": 3, "points": {} }),
        json!({ "k": 0, "points": [point(1.0, 1.0)] }),
        json!({ "k": -3, "points": [point(1.0, 1.0)] }),
        json!({ "k": 3.0, "points": [point(1.0, 1.0)] }),
        json!({ "k": 3, "points": [point(1.0, 1.0)], "more": 1 }),
        points(vec![json!(1)]),
        points(vec![json!({ "recall": 1.0, "seconds": 1.0 })]),
        points(vec![json!({ "recall": "1", "seconds": 1.0, "knobs": {} })]),
        points(vec![json!({ "recall": 1.0, "seconds": 1.0, "knobs": [] })]),
        points(vec![json!({ "recall": 1.0, "seconds": 1.0, "knobs": { "rerank": 3 } })]),
        points(vec![json!({ "recall": 1.0, "seconds": 1.0, "knobs": {}, "more": 1 })]),
        points(vec![point(-0.1, 1.0)]),
        points(vec![point(1.1, 1.0)]),
        points(vec![point(1.0, 0.0)]),
        points(vec![point(1.0, -1.0)]),
        points(vec![point(0.5, 1.0), point(0.5, 2.0)]),
        points(vec![point(0.5, 1.0), point(0.6, 1.0)]),
        points(vec![point(0.6, 1.0), point(0.5, 2.0)]),
        points((1..=4097).map(|i| point(f64::from(i) / 5000.0, f64::from(i))).collect()),
    ] {
        let error = loaded(&*index, &wrong).err().unwrap_or_else(|| format!("took {wrong}"));
        assert!(error.contains("tuned") && error.len() < 200, "{error}");
    }
}
