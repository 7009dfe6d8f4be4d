//! RVQ search against its definition: every row decoded, every distance in f64.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use counterpoint_core::file::{Contents, TensorView};
use counterpoint_core::flat::Flat;
use counterpoint_core::ids::Allow;
use counterpoint_core::index::{AddError, AnnIndex, Filter, SearchError, SearchOptions};
use counterpoint_core::metric::Metric;
use counterpoint_core::simd::Level;
use counterpoint_core::simd::int8::Bits;
use counterpoint_core::synth::{Sample, Shape, sample};
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::{Keep, Rows};
use counterpoint_rvq::{Parameters, Rvq};
use proptest::prelude::*;
use serde_json::{Value, json};

const METRICS: [Metric; 3] = [Metric::L2, Metric::Ip, Metric::Cosine];

fn rows(values: &[f32], dim: usize) -> Rows<'_> {
    Rows::new(values, dim).expect("whole rows")
}

fn with(stages: usize, bits: Bits) -> Parameters {
    Parameters { stages, bits, ..Parameters::default() }
}

fn fitted(metric: Metric, parameters: Parameters, data: &[f32], dim: usize) -> Rvq {
    let mut index = counterpoint_rvq::new(metric, parameters).expect("legal");
    index.fit(&rows(data, dim), None, &Control::default()).expect("sound rows");
    index
}

fn bytes(index: &Rvq) -> Vec<u8> {
    (index as &dyn AnnIndex).to_bytes(&Control::default()).expect("bytes")
}

fn loaded(bytes: &[u8]) -> Box<dyn AnnIndex> {
    let control = Control::default();
    Rvq::load(Contents::from_bytes(bytes, &control).expect("sound"), &control).expect("sound")
}

fn squared(a: impl Iterator<Item = (f32, f32)>) -> f64 {
    a.map(|(a, b)| (f64::from(a) - f64::from(b)).powi(2)).sum()
}

/// Distances of a query to decoded rows, ‖x̂ − μ‖² replaced by the term that is stored for it.
fn decoded(index: &Rvq, metric: Metric, query: &[f32], n: usize) -> Vec<f64> {
    let ids: Vec<i64> = (0..n as i64).collect();
    let vectors = index.reconstruct(&ids).expect("decodes");
    let mut query = query.to_vec();
    metric.prepare(&mut query, 0).expect("nonzero");
    let mean = index.store().quantizer().expect("learned").mean();
    let distance = |row: usize| {
        let pairs = || query.iter().copied().zip(vectors.row(row).iter().copied());
        let term = || {
            let own = squared(vectors.row(row).iter().copied().zip(mean.iter().copied()));
            f64::from(index.store().term(row).expect("has a term")) - own
        };
        match metric {
            Metric::L2 => (squared(pairs()) + term()).max(0.0),
            Metric::Ip => -pairs().map(|(q, x)| f64::from(q) * f64::from(x)).sum::<f64>(),
            Metric::Cosine => (0.5 * (squared(pairs()) + term())).clamp(0.0, 2.0),
        }
    };
    (0..n).map(distance).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn search_ranks_by_the_decoded_vectors(
        n in 1_usize..300,
        dim in 1_usize..70,
        shift in -3.0_f32..3.0,
        seed in any::<u64>(),
        metric in prop::sample::select(&METRICS[..]),
        four in any::<bool>(),
        stages in 1_usize..6,
        queries in 1_usize..15,
    ) {
        let bits = if four { Bits::Four } else { Bits::Eight };
        let Sample { mut data, queries, .. } = sample(Shape::Gaussian, n, queries, dim, seed);
        data.iter_mut().for_each(|v| *v += shift);
        let index = fitted(metric, with(stages, bits), &data, dim);
        let options = SearchOptions::new(10);
        for level in Level::available() {
            let mut first = None;
            for threads in [1, 3] {
                let control = Control::new(level, Some(threads));
                let found = index.search(&rows(&queries, dim), &options, &control).expect("found");
                prop_assert_eq!(first.get_or_insert(found.clone()), &found, "{}", level.name());
            }
            let found = first.expect("searched");
            for (i, query) in queries.chunks(dim).enumerate() {
                let truth = decoded(&index, metric, query, n);
                let norm = |v: &[f32]| v.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
                let most = data.chunks(dim).map(norm).fold(norm(query), f64::max);
                let tolerance = 2e-5 * (1.0 + most);
                let ids = &found.ids[i * found.width..(i + 1) * found.width];
                let distances = &found.distances[i * found.width..(i + 1) * found.width];
                for (&id, &distance) in ids.iter().zip(distances) {
                    let expected = truth[id as usize];
                    prop_assert!((f64::from(distance) - expected).abs() <= tolerance, "{distance}, not {expected}");
                }
                let farthest = f64::from(distances[found.width - 1]);
                for (id, &expected) in truth.iter().enumerate() {
                    let returned = ids.contains(&(id as i64));
                    prop_assert!(returned || expected >= farthest - tolerance, "row {id} was left out");
                }
            }
        }
    }

    /// However rows came and went, search and file are those of the rows that are there.
    #[test]
    fn adding_and_removing_leaves_what_is_there(
        seed in any::<u64>(),
        dim in 1_usize..20,
        parts in prop::collection::vec(1_usize..90, 1..4),
        removed in prop::collection::vec(any::<usize>(), 0..60),
        metric in prop::sample::select(&METRICS[..]),
        keep in prop::sample::select(&[Keep::None, Keep::Int8, Keep::F16][..]),
        four in any::<bool>(),
    ) {
        let n: usize = parts.iter().sum();
        let Sample { data, queries, .. } = sample(Shape::Gaussian, n, 5, dim, seed);
        let control = Control::default();
        let parameters = Parameters { keep, ..with(3, if four { Bits::Four } else { Bits::Eight }) };
        let mut grown = fitted(metric, parameters, &data, dim);
        grown.remove(&(parts[0] as i64..n as i64).collect::<Vec<_>>()).expect("present");
        let mut from = parts[0];
        for part in &parts[1..] {
            let ids: Vec<i64> = (from as i64..(from + part) as i64).collect();
            let chunk = &data[from * dim..(from + part) * dim];
            grown.add(&rows(chunk, dim), Some(&ids), &control).expect("sound rows");
            from += part;
        }
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
                let parameters = Parameters { keep: Keep::F16, ..with(5, Bits::Four) };
                let mut index = counterpoint_rvq::new(metric, parameters).expect("legal");
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
        let hits = |index: &Rvq, rerank| {
            let options = SearchOptions { rerank, ..SearchOptions::new(10) };
            let found = index.search(&queries, &options, &control).expect("found");
            let pairs = found.ids.chunks(10).zip(truth.ids.chunks(10));
            pairs.map(|(found, truth)| found.iter().filter(|id| truth.contains(id)).count()).sum::<usize>()
        };
        let of = |stages, bits| {
            let index = fitted(metric, with(stages, bits), &sample.data, dim);
            let stats = index.stats();
            let distortion: Vec<f64> =
                serde_json::from_value(stats["distortion"].clone()).expect("a list of numbers");
            assert_eq!(distortion.len(), stages + 1);
            assert!(distortion.is_sorted_by(|a, b| a > b), "{metric:?}: {distortion:?}");
            let dead: Vec<f64> = serde_json::from_value(stats["dead_codes"].clone()).expect("numbers");
            assert!(dead.iter().all(|&dead| dead < 0.01), "{metric:?}: {dead:?}");
            hits(&index, None)
        };
        let (least, four, eight) = (of(4, Bits::Four), of(12, Bits::Four), of(6, Bits::Eight));
        assert!(least < four && least < eight && eight > 600, "{metric:?}: {least}, {four}, {eight}");
        let kept = fitted(metric, Parameters { keep: Keep::F32, ..with(4, Bits::Eight) }, &sample.data, dim);
        let (plain, some, default) = (hits(&kept, Some(0)), hits(&kept, Some(30)), hits(&kept, None));
        assert!(plain < some && some <= default && default >= 960, "{plain}, {some}, {default} of 1000");
        let options = SearchOptions { rerank: Some(4_000), ..SearchOptions::new(10) };
        assert!(kept.search(&queries, &options, &control).expect("found") == truth);
    }
}

#[test]
fn a_wider_beam_codes_better() {
    let sample = sample(Shape::PowerLaw { decay: 0.3 }, 2_000, 0, 24, 5);
    let last = |beam| {
        let index = fitted(Metric::L2, Parameters { beam, ..with(8, Bits::Four) }, &sample.data, 24);
        index.stats()["distortion"][8].as_f64().expect("a number")
    };
    let (greedy, few, many) = (last(1), last(4), last(32));
    assert!(many < few && few < greedy, "{greedy}, {few}, {many}");
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
        assert_eq!(found.width, allowed.len().min(10));
        for (i, query) in queries.chunks(16).enumerate() {
            let truth = decoded(&index, Metric::L2, query, 1000);
            let mut left: Vec<f64> = allowed.iter().map(|&id| truth[id as usize]).collect();
            left.sort_by(f64::total_cmp);
            for (&got, want) in found.distances[i * found.width..(i + 1) * found.width].iter().zip(left) {
                assert!((f64::from(got) - want).abs() < 1e-3, "{got}, not {want}");
            }
        }
        assert!(found.ids.iter().all(|id| allowed.contains(id)));
    }
}

#[test]
fn what_is_refused_changes_nothing() {
    let bad = [with(0, Bits::Four), with(65, Bits::Four), Parameters { beam: 0, ..Parameters::default() }];
    assert!(bad.into_iter().all(|parameters| counterpoint_rvq::new(Metric::L2, parameters).is_none()));
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
    let ones = [0.5; 300];
    for metric in METRICS {
        for bits in [Bits::Four, Bits::Eight] {
            let index = fitted(metric, with(7, bits), &ones, 3);
            assert_eq!(index.stats()["stages_used"], 0, "there is nothing to code");
            let found = index.search(&rows(&[0.5; 3], 3), &SearchOptions::new(4), &control).expect("found");
            assert_eq!(found.ids, [0, 1, 2, 3]);
            let back = index.reconstruct(&[5]).expect("decodes");
            let mut row = [0.5; 3];
            metric.prepare(&mut row, 0).expect("nonzero");
            assert!(back.row(0).iter().zip(row).all(|(a, b)| (a - b).abs() < 1e-6));
            let mut empty = fitted(metric, with(2, bits), &[], 3);
            assert_eq!((empty.dim(), (&empty as &dyn AnnIndex).len()), (Some(3), 0));
            let found = empty.search(&rows(&[0.5; 3], 3), &SearchOptions::new(4), &control).expect("found");
            assert_eq!((found.queries, found.width), (1, 0));
            assert_eq!(loaded(&bytes(&empty)).dim(), Some(3));
            // What comes first to an empty index is learned from.
            let Sample { data, .. } = sample(Shape::Gaussian, 100, 0, 3, 1);
            empty.add(&rows(&data, 3), None, &control).expect("sound rows");
            assert!(empty.stats()["stages_used"].as_u64() >= Some(1));
        }
    }
}

#[test]
fn few_rows_are_coded_exactly_by_one_small_stage() {
    let Sample { data, .. } = sample(Shape::Gaussian, 9, 0, 5, 2);
    let index = fitted(Metric::L2, with(6, Bits::Eight), &data, 5);
    let stats = index.stats();
    let sizes: Vec<usize> = serde_json::from_value(stats["codewords"].clone()).expect("numbers");
    assert!(sizes.iter().all(|&size| size <= 9) && sizes.len() <= 2, "{sizes:?}");
    let left = stats["distortion"].as_array().and_then(|list| list.last()).and_then(Value::as_f64);
    assert!(left.expect("a number") < 0.1, "{stats:?}");
}

/// Loads a file of `index` in which one tensor's bytes, or the parameters, were changed.
fn tampered(
    index: &dyn AnnIndex,
    tensor: &str,
    change: impl Fn(&mut Vec<u8>),
    params: &[(&str, Value)],
) -> Result<Box<dyn AnnIndex>, String> {
    let control = Control::default();
    let mut bytes = Vec::new();
    index
        .with_document(&mut |document| {
            let changed = |view: &TensorView<'_>| {
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
    Rvq::load(contents, &control).map_err(|error| error.to_string())
}

#[test]
fn hostile_files_are_errors() {
    let Sample { data, .. } = sample(Shape::Gaussian, 400, 0, 20, 1);
    for bits in [Bits::Four, Bits::Eight] {
        let index = fitted(Metric::L2, with(3, bits), &data, 20);
        assert!(tampered(&index, "", |_| {}, &[]).is_ok());
        assert!(tampered(&index, "norms", |bytes| bytes.fill(0xff), &[]).is_ok(), "any level is a level");
        for tensor in ["mean", "axes", "codewords", "levels"] {
            let nan =
                tampered(&index, tensor, |bytes| bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes()), &[]);
            assert!(nan.is_err(), "{tensor}");
        }
    }
    // Of 100 rows no stage has 256 codewords.
    let few = fitted(Metric::L2, with(3, Bits::Eight), &data[..2000], 20);
    let refused = tampered(&few, "codes", |bytes| bytes[1] = 255, &[]).err().expect("beyond the codebook");
    assert!(refused.contains("codes"), "{refused}");
    let index = fitted(Metric::L2, with(3, Bits::Eight), &data, 20);
    for (key, value) in [
        ("stages", json!(0)),
        ("stages", json!(1)),
        ("bits", json!(5)),
        ("beam", json!(0)),
        ("keep", json!("f64")),
        ("codewords", json!([100, 100])),
        ("codewords", json!([0, 100, 100])),
        ("codewords", json!([257, 100, 100])),
        ("codewords", json!("none")),
        ("axes", json!(0)),
        ("axes", json!(21)),
        ("distortion", json!([null])),
        ("dead_codes", json!({})),
    ] {
        let loaded = tampered(&index, "", |_| {}, &[(key, value.clone())]);
        assert!(loaded.is_err(), "{key} = {value}");
    }
}
