//! TurboQuant search against its definition: every row's code in full, every distance in f64.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use counterpoint_core::file::{Contents, Document, Dtype, FormatError, TensorView};
use counterpoint_core::flat::Flat;
use counterpoint_core::ids::Allow;
use counterpoint_core::index::{AddError, AnnIndex, Filter, Neighbors, SearchError, SearchOptions};
use counterpoint_core::metric::Metric;
use counterpoint_core::simd::Level;
use counterpoint_core::synth::{Sample, Shape, sample};
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::{Keep, Rows};
use counterpoint_turboquant::{Allocation, Center, Parameters, TurboQuant};
use proptest::prelude::*;
use serde_json::json;

const METRICS: [Metric; 3] = [Metric::L2, Metric::Ip, Metric::Cosine];
const CENTERS: [Center; 2] = [Center::Mean, Center::None];

fn rows(values: &[f32], dim: usize) -> Rows<'_> {
    Rows::new(values, dim).expect("whole rows")
}

fn parameters(bits: u32, center: Center) -> Parameters {
    Parameters { bits, allocation: Allocation::Even, center, keep: Keep::None, seed: 3 }
}

fn empty(metric: Metric, parameters: Parameters) -> TurboQuant {
    counterpoint_turboquant::new(metric, parameters).expect("1 to 4 bits")
}

fn fitted(metric: Metric, parameters: Parameters, data: &[f32], dim: usize) -> TurboQuant {
    let mut index = empty(metric, parameters);
    index.fit(&rows(data, dim), None, &Control::default()).expect("sound rows");
    index
}

fn bytes(index: &TurboQuant) -> Vec<u8> {
    (index as &dyn AnnIndex).to_bytes(&Control::default()).expect("bytes")
}

fn load(bytes: &[u8]) -> Result<Box<dyn AnnIndex>, FormatError> {
    let control = Control::default();
    TurboQuant::load(Contents::from_bytes(bytes, &control).expect("sound digests"), &control)
}

fn exact_scan(k: usize) -> SearchOptions<'static> {
    SearchOptions { exact_scan: Some(true), ..SearchOptions::new(k) }
}

/// Enough rows that some are scored before all others, and a batch has the rows' bits put together. Neither happens
/// where each query has a mask of its own, and few queries have no such table.
#[test]
fn rows_that_are_scored_first_change_nothing() {
    const DIM: usize = 72;
    let Sample { data, queries, .. } =
        sample(Shape::Clusters { clusters: 40, spread: 1.0 }, 5000, 64, DIM, 8);
    let allowed: Vec<bool> = (0..5000).map(|row| row % 3 != 1).collect();
    let all = vec![true; allowed.len()];
    let control = Control::default();
    for (bits, mask) in (1..=4).flat_map(|bits| [(bits, &all), (bits, &allowed)]) {
        let index = fitted(Metric::L2, parameters(bits, Center::Mean), &data, DIM);
        let search = |queries: &[f32], filter| {
            let options = SearchOptions { filter, ..SearchOptions::new(7) };
            index.search(&rows(queries, DIM), &options, &control).expect("found")
        };
        let found = search(&queries, Filter::Shared(Allow::Mask(mask)));
        let own = vec![Allow::Mask(mask); queries.len() / DIM];
        assert_eq!(found, search(&queries, Filter::PerQuery(&own)), "{bits} bits");
        for (i, query) in queries.chunks(DIM).enumerate() {
            let single = search(query, Filter::Shared(Allow::Mask(mask)));
            assert_eq!(single.ids, found.ids[7 * i..7 * (i + 1)], "{bits} bits, query {i}");
        }
    }
}

/// Distances in the order of ids 0, 1, 2, …, for each query.
fn by_id(found: &Neighbors) -> Vec<f64> {
    let mut distances = vec![f64::NAN; found.ids.len()];
    for (at, (&id, &distance)) in found.ids.iter().zip(&found.distances).enumerate() {
        distances[at / found.width * found.width + id as usize] = f64::from(distance);
    }
    distances
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Any level, number of threads and batch gives the same, and all codes in full nearly the same.
    #[test]
    fn a_search_in_stages_is_one_thing(
        n in 1_usize..400,
        dim in prop_oneof![1_usize..70, Just(200), Just(1000)],
        shift in -3.0_f32..3.0,
        seed in any::<u64>(),
        metric in prop::sample::select(&METRICS[..]),
        center in prop::sample::select(&CENTERS[..]),
        bits in 1_u32..=4,
        queries in 1_usize..15,
        k in 1_usize..40,
    ) {
        let Sample { mut data, queries, .. } = sample(Shape::Gaussian, n, queries, dim, seed);
        data.iter_mut().for_each(|v| *v += shift);
        let index = fitted(metric, parameters(bits, center), &data, dim);
        let queries_rows = rows(&queries, dim);
        for options in [SearchOptions::new(k), exact_scan(k)] {
            let mut first: Option<Neighbors> = None;
            for level in Level::available() {
                for threads in [1, 3] {
                    let control = Control::new(level, Some(threads));
                    let found = index.search(&queries_rows, &options, &control).expect("found");
                    prop_assert_eq!(first.get_or_insert(found.clone()), &found, "{}", level.name());
                }
            }
            let found = first.expect("there is the scalar level");
            prop_assert_eq!(found.width, k.min(n));
            for (i, query) in queries.chunks(dim).enumerate() {
                let single = index.search(&rows(query, dim), &options, &Control::default()).expect("found");
                let range = i * found.width..(i + 1) * found.width;
                prop_assert_eq!(&single.ids[..], &found.ids[range.clone()]);
                prop_assert_eq!(&single.distances[..], &found.distances[range.clone()]);
                prop_assert!(found.distances[range].is_sorted());
            }
        }
        let control = Control::default();
        let staged = by_id(&index.search(&queries_rows, &SearchOptions::new(n), &control).expect("found"));
        let full = by_id(&index.search(&queries_rows, &exact_scan(n), &control).expect("found"));
        for (staged, full) in staged.iter().zip(&full) {
            prop_assert!(*staged >= full - 1e-5 * (1.0 + full.abs()), "{staged} is nearer than {full}");
        }
    }

    /// w·h is as long along r as r is: a query that is the row itself, or its mirror image, is estimated exactly.
    #[test]
    fn a_row_is_as_far_from_itself_as_it_is(
        n in 1_usize..80,
        dim in 1_usize..150,
        seed in any::<u64>(),
        metric in prop::sample::select(&METRICS[..]),
        bits in 1_u32..=4,
    ) {
        let Sample { data, .. } = sample(Shape::Gaussian, n, 0, dim, seed);
        let index = fitted(metric, parameters(bits, Center::None), &data, dim);
        let control = Control::default();
        for sign in [1.0, -1.0] {
            let queries: Vec<f32> = data.iter().map(|v| sign * v).collect();
            let found = index.search(&rows(&queries, dim), &exact_scan(n), &control).expect("found");
            let distances = by_id(&found);
            for (i, row) in data.chunks(dim).enumerate() {
                let square = dot(row, row);
                let expected = match metric {
                    Metric::L2 => (1.0 - f64::from(sign)).powi(2) * square,
                    Metric::Ip => f64::from(-sign) * square,
                    Metric::Cosine => 1.0 - f64::from(sign),
                };
                let size = if metric == Metric::Cosine { 1.0 } else { square };
                // Half a step of 2⁻¹⁵ of the largest value, in each of the rotated dimensions.
                let got = distances[i * n + i];
                prop_assert!((got - expected).abs() <= 1e-3 * size, "{got}, not {expected}");
            }
        }
    }

    /// However rows came and went, search and file are those of the rows that are there.
    #[test]
    fn adding_and_removing_leaves_what_is_there(
        seed in any::<u64>(),
        dim in 1_usize..40,
        parts in prop::collection::vec(1_usize..90, 1..4),
        removed in prop::collection::vec(any::<usize>(), 0..60),
        metric in prop::sample::select(&METRICS[..]),
        bits in 1_u32..=4,
        keep in prop::sample::select(&[Keep::None, Keep::Int8, Keep::F16][..]),
    ) {
        let n: usize = parts.iter().sum();
        let Sample { data, queries, .. } = sample(Shape::Gaussian, n, 5, dim, seed);
        let control = Control::default();
        let parameters = Parameters { keep, ..parameters(bits, Center::Mean) };
        let (mut whole, mut grown) = (empty(metric, parameters), empty(metric, parameters));
        whole.add(&rows(&data, dim), None, &control).expect("sound rows");
        let mut from = 0;
        for part in &parts {
            grown.add(&rows(&data[from * dim..(from + part) * dim], dim), None, &control).expect("sound rows");
            from += part;
        }
        prop_assert!(bytes(&grown) == bytes(&whole), "codes depend on what came before");
        let options = SearchOptions { rerank: (keep != Keep::None).then_some(n), ..SearchOptions::new(n) };
        let queries = rows(&queries, dim);
        let expected = whole.search(&queries, &options, &control).expect("found");
        let mut gone: Vec<i64> = removed.iter().map(|r| (r % n) as i64).collect();
        gone.sort_unstable();
        gone.dedup();
        grown.remove(&gone).expect("present");
        let found = grown.search(&queries, &options, &control).expect("found");
        for (i, ids) in expected.ids.chunks(n).enumerate() {
            let distances = &expected.distances[i * n..];
            let pairs = |ids: &[i64], distances: &[f32]| {
                let pairs = ids.iter().zip(distances).map(|(&id, d)| (id, d.to_bits()));
                let mut pairs: Vec<(i64, u32)> = pairs.filter(|(id, _)| !gone.contains(id)).collect();
                // Rows have moved, so equal distances may come in another order.
                pairs.sort_unstable();
                pairs
            };
            let range = i * found.width..(i + 1) * found.width;
            let got = pairs(&found.ids[range.clone()], &found.distances[range]);
            prop_assert_eq!(pairs(ids, distances), got);
        }
        let again = load(&bytes(&grown)).expect("sound");
        prop_assert_eq!(again.search(&queries, &options, &control).expect("found"), found);
        prop_assert_eq!(again.to_bytes(&Control::default()).expect("bytes"), bytes(&grown));
    }
}

#[test]
fn any_thread_count_and_level_gives_the_same_bytes() {
    let dim = 333;
    let sample = sample(Shape::PowerLaw { decay: 0.4 }, 1_000, 1, dim, 4);
    for metric in METRICS {
        for bits in 1..=4 {
            let mut first = None;
            for level in Level::available() {
                for threads in [1, 2, 5] {
                    let control = Control::new(level, Some(threads));
                    let mut index = empty(metric, parameters(bits, Center::Mean));
                    index.fit(&rows(&sample.data, dim), None, &control).expect("sound rows");
                    let bytes = bytes(&index);
                    let same = *first.get_or_insert_with(|| bytes.clone()) == bytes;
                    assert!(same, "{metric:?} {bits} {}", level.name());
                }
            }
        }
    }
}

#[test]
fn decoded_vectors_are_as_near_as_published() {
    let (n, dim) = (300, 384);
    let sample = sample(Shape::Gaussian, n, 1, dim, 5);
    let ids: Vec<i64> = (0..n as i64).collect();
    for (bits, published) in [(1, 0.363), (2, 0.1175), (3, 0.0345), (4, 0.0095)] {
        let index = fitted(Metric::L2, parameters(bits, Center::None), &sample.data, dim);
        let decoded = index.reconstruct(&ids).expect("decodes");
        let error = |(i, row): (usize, &[f32])| {
            let difference: Vec<f32> = row.iter().zip(decoded.row(i)).map(|(a, b)| a - b).collect();
            dot(&difference, &difference) / dot(row, row)
        };
        let mean = sample.data.chunks(dim).enumerate().map(error).sum::<f64>() / n as f64;
        assert!((0.8 * published..=1.04 * published).contains(&mean), "{bits} bits: {mean}");
    }
}

#[test]
fn reranking_gives_exact_distances() {
    let dim = 24;
    let sample = sample(Shape::Clusters { clusters: 20, spread: 2.0 }, 2_000, 50, dim, 9);
    let control = Control::default();
    let queries = rows(&sample.queries, dim);
    let mut exact = Flat::new(Metric::L2);
    exact.fit(&rows(&sample.data, dim), None, &control).expect("sound rows");
    let truth = exact.search(&queries, &SearchOptions::new(10), &control).expect("found");
    for bits in 1..=4 {
        let parameters = Parameters { keep: Keep::F32, ..parameters(bits, Center::Mean) };
        let index = fitted(Metric::L2, parameters, &sample.data, dim);
        let options = |rerank| SearchOptions { rerank, ..SearchOptions::new(10) };
        let all = index.search(&queries, &options(Some(2_000)), &control).expect("found");
        assert!(all == truth, "re-ranking all rows is not exact search");
        let hits = |rerank| {
            let found = index.search(&queries, &options(rerank), &control).expect("found");
            let pairs = found.ids.chunks(10).zip(truth.ids.chunks(10));
            pairs.map(|(found, truth)| found.iter().filter(|id| truth.contains(id)).count()).sum::<usize>()
        };
        let (plain, default) = (hits(Some(0)), hits(None));
        assert!(plain < default && default >= 490, "{bits} bits: {plain}, {default} of 500");
    }
}

#[test]
fn what_is_refused_changes_nothing() {
    let control = Control::default();
    for bits in [0, 5, u32::MAX] {
        assert!(counterpoint_turboquant::new(Metric::L2, parameters(bits, Center::Mean)).is_none());
    }
    let mut index = fitted(Metric::L2, parameters(2, Center::Mean), &[1.0, 2.0, 3.0, 5.0], 2);
    let before = bytes(&index);
    let refused = index.add(&rows(&[1.0; 3], 3), None, &control);
    assert!(matches!(refused, Err(AddError::Input(_))), "{refused:?}");
    let refused = index.add(&rows(&[1.0, f32::NAN], 2), None, &control);
    assert!(matches!(refused, Err(AddError::Input(_))), "{refused:?}");
    let options = SearchOptions { rerank: Some(5), ..SearchOptions::new(1) };
    let refused = index.search(&rows(&[0.0, 1.0], 2), &options, &control);
    assert!(matches!(refused, Err(SearchError::Knob { knob: "rerank", .. })), "{refused:?}");
    assert!(index.remove(&[0, 9]).is_err());
    assert_eq!(bytes(&index), before);

    let unfitted = Parameters { allocation: Allocation::Fitted, ..parameters(2, Center::Mean) };
    let mut index = empty(Metric::L2, unfitted);
    let before = bytes(&index);
    let refused = index.add(&rows(&[1.0; 4], 2), None, &control);
    assert!(matches!(refused, Err(AddError::NotFitted { .. })), "{refused:?}");
    let refused = index.upsert(&rows(&[1.0; 4], 2), &[1, 2], &control);
    assert!(matches!(refused, Err(AddError::NotFitted { .. })), "{refused:?}");
    assert_eq!((bytes(&index), index.dim()), (before, None));
}

#[test]
fn one_row_equal_rows_and_no_rows() {
    let control = Control::default();
    for metric in METRICS {
        for bits in 1..=4 {
            let equal = fitted(metric, parameters(bits, Center::Mean), &[0.5; 300], 3);
            let found = equal.search(&rows(&[0.5; 3], 3), &SearchOptions::new(4), &control).expect("found");
            assert_eq!(found.ids, [0, 1, 2, 3]);
            let none = fitted(metric, parameters(bits, Center::Mean), &[], 3);
            assert_eq!((none.dim(), (&none as &dyn AnnIndex).len()), (Some(3), 0));
            let found = none.search(&rows(&[0.5; 3], 3), &SearchOptions::new(4), &control).expect("found");
            assert_eq!((found.queries, found.width), (1, 0));
            assert_eq!(load(&bytes(&none)).expect("sound").dim(), Some(3));
        }
    }
}

#[test]
fn all_dimensions_there_may_be() {
    let control = Control::default();
    for dim in [65_505, 65_536] {
        let Sample { data, queries, .. } = sample(Shape::Gaussian, 3, 2, dim, 8);
        for bits in [1, 4] {
            let index = fitted(Metric::L2, parameters(bits, Center::Mean), &data, dim);
            // Sums of the largest size too.
            for queries in [&data, &queries, &vec![1.0; dim], &vec![-1e15; dim]] {
                let search = |options| index.search(&rows(queries, dim), &options, &control).expect("found");
                let (staged, full) = (search(SearchOptions::new(3)), search(exact_scan(3)));
                assert_eq!(staged.ids, full.ids);
            }
        }
    }
}

/// The bytes of an index's file after a change, its digests right.
fn forged(index: &TurboQuant, change: impl Fn(&mut Document<'_>)) -> Vec<u8> {
    let control = Control::default();
    let mut bytes = Vec::new();
    let written = index.with_document(&mut |document| {
        let mut document = document.clone();
        change(&mut document);
        bytes = document.to_bytes(&control)?;
        Ok(())
    });
    written.expect("a document");
    bytes
}

/// What loading says of it.
fn refusal(bytes: &[u8]) -> String {
    load(bytes).err().map_or_else(|| "loaded".to_owned(), |error| error.to_string())
}

fn tensor<'a, 'b>(document: &'a mut Document<'b>, name: &str) -> &'a mut TensorView<'b> {
    document.tensors.iter_mut().find(|tensor| tensor.name == name).expect("it has one")
}

#[test]
fn forged_files_are_refused_by_name() {
    let dim = 40;
    let sample = sample(Shape::Gaussian, 100, 1, dim, 6);
    let parameters = Parameters { keep: Keep::F16, ..parameters(3, Center::Mean) };
    let index = fitted(Metric::Ip, parameters, &sample.data, dim);
    assert_eq!(refusal(&forged(&index, |_| ())), "loaded");

    for (name, value, expected) in [
        ("bits", json!(5), "bits: expected 1 to 4, got 5"),
        ("bits", json!(0), "bits: expected 1 to 4, got 0"),
        ("bits", json!(4), "tensor \"low\""),
        ("bits", json!("3"), "\"bits\""),
        ("seed", json!(-1), "\"seed\""),
        ("seed", json!(0.5), "\"seed\""),
        ("allocation", json!("odd"), "allocation: expected even or fitted, got odd"),
        ("allocation", json!("fitted"), "rotation"),
        ("center", json!("zero"), "center: expected mean or none, got zero"),
        ("centered", json!(false), "center"),
        ("keep", json!("f64"), "keep: expected none, int8, f16 or f32, got f64"),
        ("keep", json!("none"), "vectors"),
        ("keep", json!("int8"), "vectors"),
        ("dim", json!(65), "tensor \"center\""),
        ("dim", json!(0), "dim: expected 1 to 65536, or 0 without rows, got 0"),
        ("rows", json!(129), "scan"),
        ("metric", json!("far"), "metric: expected l2, ip or cosine, got far"),
    ] {
        let said = refusal(&forged(&index, |document| {
            document.params.insert(name.to_owned(), value.clone());
        }));
        assert!(said.contains(expected), "{name} = {value}: {said}");
    }
    let learned = Parameters { allocation: Allocation::Fitted, ..parameters };
    let learned = fitted(Metric::Ip, learned, &sample.data, dim);
    assert_eq!(refusal(&forged(&learned, |_| ())), "loaded");
    for (name, value) in [
        ("allocation", json!("even")),
        ("shares", json!([])),
        ("shares", json!([[3, 1, 1.0]])),
        ("shares", json!([[7, 1, 1.0], [1, 1, 1.0]])),
        ("shares", json!([[3, 4, 1.0], [3, 1, 1.0]])),
        ("shares", json!([[3, 1, 0.0], [3, 1, 1.0]])),
        ("shares", json!([[3, 1, -1.0], [3, 1, 1.0]])),
        ("shares", json!([[3, 1, 1e300], [3, 1, 1.0]])),
        ("shares", json!([[3, 1], [3, 1, 1.0]])),
        ("shares", json!("all")),
    ] {
        let said = refusal(&forged(&learned, |document| {
            document.params.insert(name.to_owned(), value.clone());
        }));
        assert!(said != "loaded", "{name} = {value}");
    }
    for deviation in [1.2e-38, 3.4e38] {
        let forged = forged(&learned, |document| {
            let first = document.params.get_mut("shares").and_then(|shares| shares.get_mut(0));
            *first.and_then(|share| share.get_mut(2)).expect("a share") = json!(deviation);
        });
        // Of no use, but no harm.
        let index = load(&forged).expect("lawful");
        let control = Control::default();
        for options in [SearchOptions::new(5), exact_scan(5)] {
            let found = index.search(&rows(&sample.queries, dim), &options, &control).expect("found");
            assert_eq!(found.ids.len(), 5);
        }
    }
    for name in ["bits", "seed", "allocation", "center", "centered", "keep"] {
        let said = refusal(&forged(&index, |document| {
            document.params.remove(name);
        }));
        assert!(said.contains(name), "no {name}: {said}");
    }

    let values = |value: f32| [value; 128].map(f32::to_le_bytes).concat();
    for (name, value, expected) in [
        ("scale", -1.0, "scale: expected finite values of at least 0, got -1"),
        ("scale", f32::NAN, "scale: expected finite values of at least 0, got NaN"),
        ("scale", f32::INFINITY, "scale: expected finite values of at least 0, got inf"),
        ("offset", f32::NEG_INFINITY, "offset: expected finite values, got -inf"),
        ("offset", f32::NAN, "offset: expected finite values, got NaN"),
    ] {
        let other = values(value);
        let mut bytes = Vec::new();
        let control = Control::default();
        let written = index.with_document(&mut |document| {
            let mut tensors: Vec<TensorView<'_>> = document.tensors.clone();
            tensors.iter_mut().filter(|tensor| tensor.name == name).for_each(|tensor| tensor.bytes = &other);
            bytes = Document { tensors, ..document.clone() }.to_bytes(&control)?;
            Ok(())
        });
        written.expect("a document");
        assert_eq!(refusal(&bytes), expected);
    }
    for name in ["scan", "low", "scale", "offset", "center"] {
        let reshaped = refusal(&forged(&index, |document| tensor(document, name).shape.insert(0, 1)));
        assert!(reshaped.contains(name), "{name}: {reshaped}");
        let retyped = refusal(&forged(&index, |document| {
            let tensor = tensor(document, name);
            let size = if tensor.dtype == Dtype::U8 { 1 } else { 4 };
            tensor.dtype = if size == 1 { Dtype::F32 } else { Dtype::U8 };
            if let Some(last) = tensor.shape.last_mut() {
                *last = if size == 1 { *last / 4 } else { *last * 4 };
            }
        }));
        assert!(retyped.contains(name), "{name}: {retyped}");
        let without = refusal(&forged(&index, |document| document.tensors.retain(|t| t.name != name)));
        assert!(without.contains(name), "no {name}: {without}");
    }
}
