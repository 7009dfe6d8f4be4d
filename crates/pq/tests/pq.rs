//! PQ search against its definition: every row decoded, every distance in f64.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::HashSet;

use counterpoint_core::file::Contents;
use counterpoint_core::flat::Flat;
use counterpoint_core::ids::Allow;
use counterpoint_core::index::{AddError, AnnIndex, Filter, SearchError, SearchOptions};
use counterpoint_core::metric::Metric;
use counterpoint_core::simd::Level;
use counterpoint_core::simd::int8::Bits;
use counterpoint_core::synth::{Sample, Shape, sample};
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::{Keep, Rows};
use counterpoint_pq::{Parameters, Pq};
use proptest::prelude::*;

const METRICS: [Metric; 3] = [Metric::L2, Metric::Ip, Metric::Cosine];

fn rows(values: &[f32], dim: usize) -> Rows<'_> {
    Rows::new(values, dim).expect("whole rows")
}

fn with(subspaces: usize, bits: Bits) -> Parameters {
    Parameters { subspaces: Some(subspaces), bits, ..Parameters::default() }
}

fn fitted(metric: Metric, parameters: Parameters, data: &[f32], dim: usize) -> Pq {
    let mut index = counterpoint_pq::new(metric, parameters).expect("legal");
    index.fit(&rows(data, dim), None, &Control::default()).expect("sound rows");
    index
}

fn bytes(index: &Pq) -> Vec<u8> {
    (index as &dyn AnnIndex).to_bytes(&Control::default()).expect("bytes")
}

fn loaded(bytes: &[u8]) -> Box<dyn AnnIndex> {
    let control = Control::default();
    Pq::load(Contents::from_bytes(bytes, &control).expect("sound"), &control).expect("sound")
}

/// Distances of a query to decoded rows.
fn decoded(index: &Pq, metric: Metric, query: &[f32], n: usize) -> Vec<f64> {
    let ids: Vec<i64> = (0..n as i64).collect();
    let vectors = index.reconstruct(&ids).expect("decodes");
    let mut query = query.to_vec();
    metric.prepare(&mut query, 0).expect("nonzero");
    let distance = |row: &[f32]| {
        let pairs = query.iter().zip(row).map(|(&q, &x)| (f64::from(q), f64::from(x)));
        match metric {
            Metric::L2 => pairs.map(|(q, x)| (q - x) * (q - x)).sum(),
            Metric::Ip => -pairs.map(|(q, x)| q * x).sum::<f64>(),
            Metric::Cosine => (1.0 - pairs.map(|(q, x)| q * x).sum::<f64>()).clamp(0.0, 2.0),
        }
    };
    (0..n).map(|row| distance(vectors.row(row))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn search_ranks_by_the_decoded_vectors(
        n in 1_usize..400,
        dim in 1_usize..40,
        subspaces in prop::option::of(1_usize..50),
        shift in -3.0_f32..3.0,
        seed in any::<u64>(),
        metric in prop::sample::select(&METRICS[..]),
        four in any::<bool>(),
        queries in 1_usize..15,
        k in 1_usize..20,
    ) {
        let bits = if four { Bits::Four } else { Bits::Eight };
        let Sample { mut data, queries, .. } = sample(Shape::Gaussian, n, queries, dim, seed);
        data.iter_mut().for_each(|v| *v += shift);
        let index = fitted(metric, Parameters { subspaces, bits, seed, ..Parameters::default() }, &data, dim);
        let options = SearchOptions::new(k);
        let mut first = None;
        for level in Level::available() {
            for threads in [1, 3] {
                let control = Control::new(level, Some(threads));
                let found = index.search(&rows(&queries, dim), &options, &control).expect("found");
                prop_assert_eq!(first.get_or_insert(found.clone()), &found, "{}", level.name());
            }
        }
        let found = first.expect("there is the scalar level");
        prop_assert_eq!(found.width, k.min(n));
        for (i, query) in queries.chunks(dim).enumerate() {
            let truth = decoded(&index, metric, query, n);
            let size = truth.iter().fold(1.0_f64, |most, d| most.max(d.abs()));
            let tolerance = 1e-5 * size * dim as f64;
            let part = i * found.width..(i + 1) * found.width;
            let (ids, distances) = (&found.ids[part.clone()], &found.distances[part]);
            for (&id, &distance) in ids.iter().zip(distances) {
                let expected = truth[id as usize];
                prop_assert!((f64::from(distance) - expected).abs() <= tolerance, "{distance}, not {expected}");
            }
            let farthest = f64::from(distances[found.width - 1]);
            for (id, &expected) in truth.iter().enumerate() {
                let returned = ids.contains(&(id as i64));
                prop_assert!(returned || expected >= farthest - tolerance, "row {id} was left out");
            }
            let single = index.search(&rows(query, dim), &options, &Control::default()).expect("found");
            prop_assert_eq!(&single.ids[..], ids);
            prop_assert_eq!(&single.distances[..], distances);
        }
    }

    /// However rows came and went, search and file are those of the rows that are there.
    #[test]
    fn adding_and_removing_leaves_what_is_there(
        seed in any::<u64>(),
        dim in 1_usize..20,
        n in 2_usize..250,
        removed in prop::collection::vec(any::<usize>(), 0..60),
        metric in prop::sample::select(&METRICS[..]),
        keep in prop::sample::select(&[Keep::None, Keep::Int8, Keep::F16, Keep::F32][..]),
        four in any::<bool>(),
    ) {
        let bits = if four { Bits::Four } else { Bits::Eight };
        let Sample { data, queries, .. } = sample(Shape::Gaussian, n, 5, dim, seed);
        let control = Control::default();
        let parameters = Parameters { bits, keep, ..Parameters::default() };
        let mut grown = fitted(metric, parameters, &data, dim);
        // Coded by the codebooks of all, whenever it came.
        let later: Vec<i64> = (n as i64 / 2..n as i64).collect();
        grown.remove(&later).expect("present");
        grown.add(&rows(&data[n / 2 * dim..], dim), Some(&later), &control).expect("sound rows");
        let whole = fitted(metric, parameters, &data, dim);
        let options = SearchOptions::new(n);
        let queries = rows(&queries, dim);
        let expected = whole.search(&queries, &options, &control).expect("found");
        prop_assert_eq!(grown.search(&queries, &options, &control).expect("found"), expected.clone());
        let mut gone: Vec<i64> = removed.iter().map(|r| (r % n) as i64).collect();
        gone.sort_unstable();
        gone.dedup();
        grown.remove(&gone).expect("present");
        let found = grown.search(&queries, &options, &control).expect("found");
        for (i, ids) in expected.ids.chunks(n).enumerate() {
            let mut left: Vec<i64> = ids.iter().copied().filter(|id| !gone.contains(id)).collect();
            let mut got = found.ids[i * found.width..(i + 1) * found.width].to_vec();
            // Rows have moved, so equal distances may come in another order.
            left.sort_unstable();
            got.sort_unstable();
            prop_assert_eq!(left, got);
        }
        let again = loaded(&bytes(&grown));
        prop_assert_eq!(again.search(&queries, &options, &control).expect("found"), found);
        prop_assert_eq!(again.to_bytes(&Control::default()).expect("bytes"), bytes(&grown));
    }
}

#[test]
fn any_thread_count_gives_the_same_bytes() {
    let sample = sample(Shape::PowerLaw { decay: 0.4 }, 3_000, 1, 33, 4);
    for metric in METRICS {
        for level in Level::available() {
            let mut first = None;
            for threads in [1, 2, 5] {
                let parameters = Parameters { keep: Keep::F16, ..with(8, Bits::Four) };
                let mut index = counterpoint_pq::new(metric, parameters).expect("legal");
                let control = Control::new(level, Some(threads));
                index.fit(&rows(&sample.data, 33), None, &control).expect("sound rows");
                let bytes = bytes(&index);
                assert!(*first.get_or_insert_with(|| bytes.clone()) == bytes, "{metric:?} {}", level.name());
            }
        }
    }
}

#[test]
fn longer_codes_find_more_and_reranking_is_exact() {
    let dim = 32;
    let sample = sample(Shape::PowerLaw { decay: 0.5 }, 4_000, 100, dim, 9);
    let control = Control::default();
    let queries = rows(&sample.queries, dim);
    for metric in METRICS {
        let mut exact = Flat::new(metric);
        exact.fit(&rows(&sample.data, dim), None, &control).expect("sound rows");
        let truth = exact.search(&queries, &SearchOptions::new(10), &control).expect("found");
        let hits = |index: &Pq, rerank| {
            let options = SearchOptions { rerank, ..SearchOptions::new(10) };
            let found = index.search(&queries, &options, &control).expect("found");
            let pairs = found.ids.chunks(10).zip(truth.ids.chunks(10));
            pairs.map(|(found, truth)| found.iter().filter(|id| truth.contains(id)).count()).sum::<usize>()
        };
        let of = |subspaces, bits| hits(&fitted(metric, with(subspaces, bits), &sample.data, dim), None);
        let (four, eight) = (of(16, Bits::Four), of(16, Bits::Eight));
        assert!(of(4, Bits::Four) < four && four < eight && eight > 750, "{metric:?}: {four}, {eight}");
        let kept = fitted(metric, Parameters { keep: Keep::F32, ..with(8, Bits::Eight) }, &sample.data, dim);
        let (plain, some, default) = (hits(&kept, Some(0)), hits(&kept, Some(30)), hits(&kept, None));
        assert!(plain < some && some <= default && default >= 960, "{plain}, {some}, {default} of 1000");
        let options = SearchOptions { rerank: Some(4_000), ..SearchOptions::new(10) };
        assert!(kept.search(&queries, &options, &control).expect("found") == truth);
    }
}

#[test]
fn filters_are_kept_and_filled() {
    let Sample { data, queries, .. } = sample(Shape::Gaussian, 1000, 7, 16, 3);
    let index = fitted(Metric::L2, with(4, Bits::Eight), &data, 16);
    let control = Control::default();
    for every in [2, 40, 999] {
        let allowed: Vec<i64> = (0..1000).step_by(every).collect();
        let shared = Filter::Shared(Allow::Ids(&allowed));
        let options = SearchOptions { filter: shared, ..SearchOptions::new(10) };
        let found = index.search(&rows(&queries, 16), &options, &control).expect("found");
        let distinct: HashSet<i64> = allowed.iter().copied().collect();
        assert_eq!(found.width, distinct.len().min(10));
        for (i, query) in queries.chunks(16).enumerate() {
            let truth = decoded(&index, Metric::L2, query, 1000);
            let mut left: Vec<f64> = allowed.iter().map(|&id| truth[id as usize]).collect();
            left.sort_by(f64::total_cmp);
            for (&got, want) in found.distances[i * found.width..(i + 1) * found.width].iter().zip(left) {
                assert!((f64::from(got) - want).abs() < 1e-4);
            }
        }
        assert!(found.ids.iter().all(|id| distinct.contains(id)));
    }
}

#[test]
fn what_is_refused_changes_nothing() {
    assert!(counterpoint_pq::new(Metric::L2, with(0, Bits::Four)).is_none());
    let mut index = fitted(Metric::Cosine, with(2, Bits::Eight), &[1.0, 2.0, 3.0, 5.0], 2);
    let before = bytes(&index);
    let control = Control::default();
    assert!(matches!(index.add(&rows(&[0.0, 0.0], 2), None, &control), Err(AddError::Input(_))));
    assert!(matches!(index.fit(&rows(&[f32::NAN, 0.0], 2), None, &control), Err(AddError::Input(_))));
    let options = SearchOptions { rerank: Some(5), ..SearchOptions::new(1) };
    let refused = index.search(&rows(&[0.0, 1.0], 2), &options, &control);
    assert!(matches!(refused, Err(SearchError::Knob { knob: "rerank", .. })), "{refused:?}");
    let cancelled = Control::default();
    cancelled.cancel();
    assert!(matches!(index.fit(&rows(&[1.0; 4], 2), None, &cancelled), Err(AddError::Cancelled(_))));
    assert!(index.remove(&[0, 9]).is_err());
    assert_eq!(bytes(&index), before);
}

#[test]
fn one_row_equal_rows_and_no_rows() {
    let control = Control::default();
    for metric in METRICS {
        for bits in [Bits::Four, Bits::Eight] {
            let index = fitted(metric, with(7, bits), &[0.5; 300], 3);
            assert_eq!(index.stats()["subspaces"], 3);
            let found = index.search(&rows(&[0.5; 3], 3), &SearchOptions::new(4), &control).expect("found");
            assert_eq!(found.ids, [0, 1, 2, 3]);
            let empty = fitted(metric, with(2, bits), &[], 3);
            assert_eq!((empty.dim(), (&empty as &dyn AnnIndex).len()), (Some(3), 0));
            let found = empty.search(&rows(&[0.5; 3], 3), &SearchOptions::new(4), &control).expect("found");
            assert_eq!((found.queries, found.width), (1, 0));
            assert_eq!(loaded(&bytes(&empty)).dim(), Some(3));
        }
    }
}

/// Loads a file of `index` in which one tensor's bytes, or the parameters, were changed.
fn tampered(
    index: &dyn AnnIndex,
    tensor: &str,
    change: impl Fn(&mut Vec<u8>),
    params: &[(&str, serde_json::Value)],
) -> Result<Box<dyn AnnIndex>, String> {
    let control = Control::default();
    let mut bytes = Vec::new();
    index
        .with_document(&mut |document| {
            let changed = |view: &counterpoint_core::file::TensorView<'_>| {
                let mut bytes = view.bytes.to_vec();
                if view.name == tensor {
                    change(&mut bytes);
                }
                bytes
            };
            let changed: Vec<Vec<u8>> = document.tensors.iter().map(changed).collect();
            let mut document = document.clone();
            for (view, bytes) in document.tensors.iter_mut().zip(&changed) {
                view.bytes = bytes;
            }
            for (key, value) in params {
                document.params.insert((*key).to_owned(), value.clone());
            }
            bytes = document.to_bytes(&control)?;
            Ok(())
        })
        .expect("written");
    let contents = Contents::from_bytes(&bytes, &control).expect("a sound container");
    Pq::load(contents, &control).map_err(|error| error.to_string())
}

#[test]
fn hostile_files_are_errors() {
    let Sample { data, .. } = sample(Shape::Gaussian, 300, 0, 20, 1);
    let index = fitted(Metric::L2, with(5, Bits::Four), &data, 20);
    assert!(tampered(&index, "", |_| {}, &[]).is_ok());
    assert!(tampered(&index, "codes", |bytes| bytes.fill(0xff), &[]).is_ok(), "any code is a code");
    for value in [f32::NAN, f32::INFINITY, 1e30] {
        let change = |bytes: &mut Vec<u8>| bytes[64..68].copy_from_slice(&value.to_le_bytes());
        assert!(tampered(&index, "codebooks", change, &[]).is_err(), "{value}");
    }
    for (key, value) in
        [("subspaces", 7), ("subspaces", 21), ("subspaces", 70_000), ("bits", 8), ("bits", 5), ("rows", 600)]
    {
        assert!(tampered(&index, "", |_| {}, &[(key, value.into())]).is_err(), "{key} {value}");
    }
    assert!(tampered(&index, "", |_| {}, &[("keep", "f64".into())]).is_err());
    assert!(tampered(&index, "", |_| {}, &[("keep", "f32".into())]).is_err());
}
