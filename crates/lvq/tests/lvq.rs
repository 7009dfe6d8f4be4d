//! LVQ search against its definition: every row decoded, every distance in f64.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use counterpoint_core::file::Contents;
use counterpoint_core::index::{AddError, AnnIndex, SearchError, SearchOptions};
use counterpoint_core::metric::Metric;
use counterpoint_core::simd::Level;
use counterpoint_core::simd::int8::Bits;
use counterpoint_core::synth::{Sample, Shape, sample};
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::{InputError, Keep, Rows};
use counterpoint_lvq::Lvq;
use proptest::prelude::*;

const METRICS: [Metric; 3] = [Metric::L2, Metric::Ip, Metric::Cosine];

fn rows(values: &[f32], dim: usize) -> Rows<'_> {
    Rows::new(values, dim).expect("whole rows")
}

fn fitted(metric: Metric, bits: Bits, keep: Keep, data: &[f32], dim: usize) -> Lvq {
    let mut index = counterpoint_lvq::new(metric, bits, keep);
    index.fit(&rows(data, dim), None, &Control::default()).expect("sound rows");
    index
}

fn bytes(index: &Lvq) -> Vec<u8> {
    (index as &dyn AnnIndex).to_bytes(&Control::default()).expect("bytes")
}

fn loaded(bytes: &[u8]) -> Box<dyn AnnIndex> {
    let control = Control::default();
    Lvq::load(Contents::from_bytes(bytes, &control).expect("sound"), &control).expect("sound")
}

/// Distances of a query to decoded rows.
fn decoded(index: &Lvq, metric: Metric, query: &[f32], n: usize) -> Vec<f64> {
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
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn search_ranks_by_the_decoded_vectors(
        n in 1_usize..300,
        dim in 1_usize..70,
        shift in -3.0_f32..3.0,
        seed in any::<u64>(),
        metric in prop::sample::select(&METRICS[..]),
        four in any::<bool>(),
        queries in 1_usize..15,
    ) {
        let bits = if four { Bits::Four } else { Bits::Eight };
        let Sample { mut data, queries, .. } = sample(Shape::Gaussian, n, queries, dim, seed);
        data.iter_mut().for_each(|v| *v += shift);
        let index = fitted(metric, bits, Keep::None, &data, dim);
        let options = SearchOptions::new(10);
        let mut first = None;
        for level in Level::available() {
            for threads in [1, 3] {
                let control = Control::new(level, Some(threads));
                let found = index.search(&rows(&queries, dim), &options, &control).expect("found");
                prop_assert_eq!(first.get_or_insert(found.clone()), &found, "{}", level.name());
            }
        }
        let found = first.expect("there is the scalar level");
        for (i, query) in queries.chunks(dim).enumerate() {
            let truth = decoded(&index, metric, query, n);
            let size = truth.iter().fold(1.0_f64, |most, d| most.max(d.abs()));
            // Two planes leave half a step of q − μ in each dimension, against s·c of at most the data's spread;
            // f32 rows and results the rest.
            let most = |values: &[f32]| values.iter().fold(0.0_f64, |most, v| most.max(f64::from(v.abs())));
            let (reach, step) = (most(&data), (most(query) + most(&data)) / 32_639.0);
            let tolerance = 1e-5 * size + step * dim as f64 * 2.0 * reach;
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
        parts in prop::collection::vec(1_usize..90, 1..4),
        removed in prop::collection::vec(any::<usize>(), 0..60),
        metric in prop::sample::select(&METRICS[..]),
        keep in prop::sample::select(&[Keep::None, Keep::Int8, Keep::F16][..]),
    ) {
        let n: usize = parts.iter().sum();
        let Sample { data, queries, .. } = sample(Shape::Gaussian, n, 5, dim, seed);
        let control = Control::default();
        let mut grown = counterpoint_lvq::new(metric, Bits::Four, keep);
        let mut from = 0;
        for part in &parts {
            let chunk = &data[from * dim..(from + part) * dim];
            if from == 0 {
                // All parts are coded around the same mean: that of the whole.
                grown.fit(&rows(&data, dim), None, &control).expect("sound rows");
                grown.remove(&(*part as i64..n as i64).collect::<Vec<_>>()).expect("present");
            } else {
                let ids: Vec<i64> = (from as i64..(from + part) as i64).collect();
                grown.add(&rows(chunk, dim), Some(&ids), &control).expect("sound rows");
            }
            from += part;
        }
        let whole = fitted(metric, Bits::Four, keep, &data, dim);
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
fn any_thread_count_and_level_gives_the_same_bytes() {
    let sample = sample(Shape::PowerLaw { decay: 0.4 }, 3_000, 1, 33, 4);
    for metric in METRICS {
        let mut first = None;
        for level in Level::available() {
            for threads in [1, 2, 5] {
                let mut index = counterpoint_lvq::new(metric, Bits::Eight, Keep::F16);
                index
                    .fit(&rows(&sample.data, 33), None, &Control::new(level, Some(threads)))
                    .expect("sound rows");
                let bytes = bytes(&index);
                assert!(*first.get_or_insert_with(|| bytes.clone()) == bytes, "{metric:?} {}", level.name());
            }
        }
    }
}

#[test]
fn reranking_gives_exact_distances() {
    let dim = 24;
    let sample = sample(Shape::Clusters { clusters: 20, spread: 2.0 }, 2_000, 50, dim, 9);
    let control = Control::default();
    let queries = rows(&sample.queries, dim);
    let mut exact = counterpoint_core::flat::Flat::new(Metric::L2);
    exact.fit(&rows(&sample.data, dim), None, &control).expect("sound rows");
    let truth = exact.search(&queries, &SearchOptions::new(10), &control).expect("found");
    let index = fitted(Metric::L2, Bits::Four, Keep::F32, &sample.data, dim);
    let options = |rerank| SearchOptions { rerank, ..SearchOptions::new(10) };
    let all = index.search(&queries, &options(Some(2_000)), &control).expect("found");
    assert!(all == truth, "re-ranking all rows is not exact search");
    let hits = |rerank| {
        let found = index.search(&queries, &options(rerank), &control).expect("found");
        let pairs = found.ids.chunks(10).zip(truth.ids.chunks(10));
        pairs.map(|(found, truth)| found.iter().filter(|id| truth.contains(id)).count()).sum::<usize>()
    };
    let (plain, few, default) = (hits(Some(0)), hits(Some(15)), hits(None));
    assert!(plain < few && few <= default && default >= 495, "{plain}, {few}, {default} of 500");
}

#[test]
fn reranking_on_bytes_gives_distances_to_what_is_kept() {
    let dim = 50;
    let sample = sample(Shape::PowerLaw { decay: 0.5 }, 1_000, 50, dim, 4);
    let control = Control::default();
    let queries = rows(&sample.queries, dim);
    for metric in METRICS {
        let index = fitted(metric, Bits::Four, Keep::Int8, &sample.data, dim);
        let all: Vec<i64> = (0..1_000).collect();
        let back = index.reconstruct(&all).expect("kept");
        let kept: Vec<f32> = (0..1_000).flat_map(|row| back.row(row).to_vec()).collect();
        let mut step = 0.0_f32;
        for (row, (values, kept)) in sample.data.chunks(dim).zip(kept.chunks(dim)).enumerate() {
            let mut values = values.to_vec();
            metric.prepare(&mut values, row).expect("nonzero");
            let (least, most) =
                values.iter().fold((f32::MAX, f32::MIN), |(least, most), &v| (least.min(v), most.max(v)));
            step = step.max((most - least) / 255.0);
            assert!(values.iter().zip(kept).all(|(a, b)| (a - b).abs() <= (most - least) / 255.0));
        }
        let found = |rows_of: &[f32]| {
            let mut flat = counterpoint_core::flat::Flat::new(metric);
            flat.fit(&rows(rows_of, dim), None, &control).expect("sound rows");
            flat.search(&queries, &SearchOptions::new(10), &control).expect("found")
        };
        let options = SearchOptions { rerank: Some(1_000), ..SearchOptions::new(10) };
        let reranked = index.search(&queries, &options, &control).expect("found");
        // Under cosine kept rows are of unit length but for what coding loses.
        let loss = if metric == Metric::Cosine { dim as f32 * step * step } else { 1e-5 };
        for (a, b) in reranked.distances.iter().zip(&found(&kept).distances) {
            assert!((a - b).abs() <= loss + 1e-5 * b.abs(), "{metric:?}: {a}, not {b}");
        }
        let truth = found(&sample.data);
        let pairs = reranked.ids.chunks(10).zip(truth.ids.chunks(10));
        let hits: usize =
            pairs.map(|(found, truth)| found.iter().filter(|id| truth.contains(id)).count()).sum();
        assert!(hits >= 490, "{metric:?}: {hits} of 500");
    }
}

#[test]
fn what_is_refused_changes_nothing() {
    let mut index = fitted(Metric::L2, Bits::Eight, Keep::None, &[1.0, 2.0, 3.0, 5.0], 2);
    let before = bytes(&index);
    let control = Control::default();
    let refused = index.add(&rows(&[1e6, 1e6], 2), None, &control);
    assert!(matches!(refused, Err(AddError::Input(InputError::BeyondF16 { row: 0, .. }))), "{refused:?}");
    let options = SearchOptions { rerank: Some(5), ..SearchOptions::new(1) };
    let refused = index.search(&rows(&[0.0, 1.0], 2), &options, &control);
    assert!(matches!(refused, Err(SearchError::Knob { knob: "rerank", .. })), "{refused:?}");
    assert!(index.remove(&[0, 9]).is_err());
    assert_eq!(bytes(&index), before);
}

#[test]
fn one_row_equal_rows_and_no_rows() {
    let control = Control::default();
    for metric in METRICS {
        let index = fitted(metric, Bits::Four, Keep::None, &[0.5; 300], 3);
        let found = index.search(&rows(&[0.5; 3], 3), &SearchOptions::new(4), &control).expect("found");
        assert_eq!(found.ids, [0, 1, 2, 3]);
        let empty = fitted(metric, Bits::Four, Keep::F32, &[], 3);
        assert_eq!((empty.dim(), (&empty as &dyn AnnIndex).len()), (Some(3), 0));
        let found = empty.search(&rows(&[0.5; 3], 3), &SearchOptions::new(4), &control).expect("found");
        assert_eq!((found.queries, found.width), (1, 0));
        let again = loaded(&bytes(&empty));
        assert_eq!(again.dim(), Some(3));
    }
}
