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
use counterpoint_lvq::{Levels, Lvq};
use proptest::prelude::*;

const METRICS: [Metric; 3] = [Metric::L2, Metric::Ip, Metric::Cosine];

fn rows(values: &[f32], dim: usize) -> Rows<'_> {
    Rows::new(values, dim).expect("whole rows")
}

fn levels() -> Vec<Levels> {
    Levels::SUPPORTED.iter().map(|&(p, r)| Levels::new(p, r).expect("supported")).collect()
}

fn fitted(metric: Metric, levels: impl Into<Levels>, keep: Keep, data: &[f32], dim: usize) -> Lvq {
    let mut index = counterpoint_lvq::new(metric, levels, keep);
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

/// Distances of a query to decoded rows; l2's less what decoding loses of `data`.
fn decoded(index: &Lvq, metric: Metric, query: &[f32], data: &[f32]) -> Vec<f64> {
    let n = data.len() / query.len();
    let ids: Vec<i64> = (0..n as i64).collect();
    let vectors = index.reconstruct(&ids).expect("decodes");
    let mut query = query.to_vec();
    metric.prepare(&mut query, 0).expect("nonzero");
    let squared = |a: &[f32], b: &[f32]| {
        a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum::<f64>()
    };
    let distance = |row: &[f32], x: &[f32]| {
        let pairs = query.iter().zip(row).map(|(&q, &x)| (f64::from(q), f64::from(x)));
        match metric {
            Metric::L2 => (squared(&query, row) - squared(x, row)).max(0.0),
            Metric::Ip => -pairs.map(|(q, x)| q * x).sum::<f64>(),
            Metric::Cosine => (1.0 - pairs.map(|(q, x)| q * x).sum::<f64>()).clamp(0.0, 2.0),
        }
    };
    data.chunks(query.len()).enumerate().map(|(row, x)| distance(vectors.row(row), x)).collect()
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
        levels in prop::sample::select(levels()),
        queries in 1_usize..15,
    ) {
        let Sample { mut data, queries, .. } = sample(Shape::Gaussian, n, queries, dim, seed);
        data.iter_mut().for_each(|v| *v += shift);
        let index = fitted(metric, levels, Keep::None, &data, dim);
        let rerank = levels.residual().map(|_| n);
        let options = SearchOptions { rerank, ..SearchOptions::new(10) };
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
            let truth = decoded(&index, metric, query, &data);
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
        levels in prop::sample::select(levels()),
    ) {
        let n: usize = parts.iter().sum();
        let Sample { data, queries, .. } = sample(Shape::Gaussian, n, 5, dim, seed);
        let control = Control::default();
        let mut grown = counterpoint_lvq::new(metric, levels, keep);
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
        let whole = fitted(metric, levels, keep, &data, dim);
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
        for levels in levels() {
            let mut first = None;
            for level in Level::available() {
                for threads in [1, 2, 5] {
                    let mut index = counterpoint_lvq::new(metric, levels, Keep::F16);
                    let control = Control::new(level, Some(threads));
                    index.fit(&rows(&sample.data, 33), None, &control).expect("sound rows");
                    let bytes = bytes(&index);
                    let same = *first.get_or_insert_with(|| bytes.clone()) == bytes;
                    assert!(same, "{metric:?} {levels:?} {}", level.name());
                }
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

/// The candidates are the primary codes' best; their distances, those of both codes.
#[test]
fn candidates_of_the_primary_codes_are_scored_by_both() {
    let (dim, k) = (30, 10);
    let sample = sample(Shape::PowerLaw { decay: 0.3 }, 900, 40, dim, 3);
    let control = Control::default();
    let queries = rows(&sample.queries, dim);
    let options = |k, rerank| SearchOptions { rerank, ..SearchOptions::new(k) };
    for metric in METRICS {
        for levels in levels().into_iter().filter(|levels| levels.residual().is_some()) {
            let index = fitted(metric, levels, Keep::None, &sample.data, dim);
            let primary = fitted(metric, levels.without_residual(), Keep::None, &sample.data, dim);
            let all = index.search(&queries, &options(900, Some(900)), &control).expect("found");
            let default = if levels.primary() == Bits::Four { 2 * k + 5 } else { k + 5 };
            for (rerank, candidates) in [(Some(1), k), (Some(17), 17), (Some(60), 60), (None, default)] {
                let first = primary.search(&queries, &options(candidates, None), &control).expect("found");
                let found = index.search(&queries, &options(k, rerank), &control).expect("found");
                for i in 0..40 {
                    let first = &first.ids[i * candidates..(i + 1) * candidates];
                    let all = all.ids[i * 900..].iter().zip(&all.distances[i * 900..]).take(900);
                    let want = all.filter(|(id, _)| first.contains(id)).take(k);
                    let got = found.ids[i * k..].iter().zip(&found.distances[i * k..]).take(k);
                    assert!(want.eq(got), "{metric:?} {levels:?}, query {i}");
                }
            }
            let none = index.search(&queries, &options(k, Some(0)), &control).expect("found");
            assert_eq!(none, primary.search(&queries, &options(k, None), &control).expect("found"));
        }
    }
}

#[test]
fn kept_vectors_give_exact_distances_beside_a_residual() {
    let dim = 24;
    let sample = sample(Shape::Clusters { clusters: 20, spread: 2.0 }, 1_000, 50, dim, 9);
    let control = Control::default();
    let queries = rows(&sample.queries, dim);
    let options = |k, rerank| SearchOptions { rerank, ..SearchOptions::new(k) };
    for metric in METRICS {
        let mut exact = counterpoint_core::flat::Flat::new(metric);
        exact.fit(&rows(&sample.data, dim), None, &control).expect("sound rows");
        let truth = exact.search(&queries, &SearchOptions::new(10), &control).expect("found");
        for levels in levels().into_iter().filter(|levels| levels.residual().is_some()) {
            let index = fitted(metric, levels, Keep::F32, &sample.data, dim);
            let found = index.search(&queries, &options(10, Some(1_000)), &control).expect("found");
            assert!(found == truth, "{metric:?} {levels:?}: re-ranking all rows is not exact search");
            let found = index.search(&queries, &options(10, None), &control).expect("found");
            let pairs = found.ids.chunks(10).zip(truth.ids.chunks(10));
            let hits: usize =
                pairs.map(|(found, truth)| found.iter().filter(|id| truth.contains(id)).count()).sum();
            assert!(hits >= 495, "{metric:?} {levels:?}: {hits} of 500");
            // None exact: those of the residual, the default number of them.
            let codes = fitted(metric, levels, Keep::None, &sample.data, dim);
            let found = index.search(&queries, &options(10, Some(0)), &control).expect("found");
            assert_eq!(found, codes.search(&queries, &options(10, None), &control).expect("found"));
        }
    }
}

#[test]
fn recall_rises_with_the_levels() {
    let dim = 32;
    let sample = sample(Shape::PowerLaw { decay: 0.3 }, 4_000, 100, dim, 12);
    let control = Control::default();
    let queries = rows(&sample.queries, dim);
    let mut exact = counterpoint_core::flat::Flat::new(Metric::L2);
    exact.fit(&rows(&sample.data, dim), None, &control).expect("sound rows");
    let truth = exact.search(&queries, &SearchOptions::new(10), &control).expect("found");
    let recall = |primary, residual| {
        let levels = Levels::new(primary, residual).expect("supported");
        let index = fitted(Metric::L2, levels, Keep::None, &sample.data, dim);
        let found = index.search(&queries, &SearchOptions::new(10), &control).expect("found");
        let pairs = found.ids.chunks(10).zip(truth.ids.chunks(10));
        pairs.map(|(found, truth)| found.iter().filter(|id| truth.contains(id)).count()).sum::<usize>()
    };
    let [four, eight, four_four, four_eight, eight_eight] =
        Levels::SUPPORTED.map(|(primary, residual)| recall(primary, residual));
    assert!(four < four_four && four < eight, "{four} {four_four} {eight}");
    assert!(four_four <= four_eight && four_eight >= 995 && eight_eight >= 998, "{four_eight} {eight_eight}");
}

/// However the index came to be.
#[test]
fn a_residual_can_be_dropped() {
    let dim = 21;
    let sample = sample(Shape::Gaussian, 500, 20, dim, 6);
    let control = Control::default();
    for metric in METRICS {
        for keep in [Keep::None, Keep::F16] {
            for levels in levels() {
                let made = |levels: Levels| {
                    let mut index = fitted(metric, levels, keep, &sample.data[..400 * dim], dim);
                    index.add(&rows(&sample.data[400 * dim..], dim), None, &control).expect("sound rows");
                    index.remove(&[3, 77, 499, 130]).expect("present");
                    index
                };
                let index = made(levels);
                let dropped = index.without_residual();
                assert_eq!(dropped.is_some(), levels.residual().is_some());
                let Some(dropped) = dropped else { continue };
                let plain = bytes(&made(levels.without_residual()));
                assert!(dropped.to_bytes(&control).expect("bytes") == plain, "{metric:?} {levels:?}");
                let again = loaded(&bytes(&index)).without_residual().expect("it had one");
                assert!(again.to_bytes(&control).expect("bytes") == plain);
                assert!(again.without_residual().is_none());
            }
        }
    }
}

#[test]
fn compact_goes_by_the_mean_of_the_rows_there_are() {
    let dim = 9;
    let sample = sample(Shape::Gaussian, 900, 20, dim, 8);
    let mut data = sample.data;
    // What comes later lies elsewhere.
    data[300 * dim..].iter_mut().for_each(|value| *value += 5.0);
    let control = Control::default();
    for metric in METRICS {
        for levels in levels() {
            for keep in [Keep::None, Keep::Int8, Keep::F16, Keep::F32] {
                let mut index = fitted(metric, levels, keep, &data[..300 * dim], dim);
                let first = bytes(&index);
                index.compact(&control).expect("not cancelled");
                assert!(bytes(&index) == first, "nothing had changed");
                index.add(&rows(&data[300 * dim..], dim), None, &control).expect("sound rows");
                let before = bytes(&index);
                index.compact(&control).expect("not cancelled");
                let after = bytes(&index);
                if matches!(keep, Keep::None | Keep::Int8) {
                    assert!(after == before, "there is nothing to encode again");
                } else {
                    assert!(after != before, "{metric:?} {levels:?} {keep:?}");
                    let whole = bytes(&fitted(metric, levels, keep, &data, dim));
                    assert!(keep != Keep::F32 || metric == Metric::Cosine || after == whole);
                    index.compact(&control).expect("not cancelled");
                    assert!(bytes(&index) == after, "compacting again changes something");
                }
            }
        }
    }
}

/// Data of any size is found like data of ordinary size.
#[test]
fn small_and_large_values_keep_their_detail() {
    let dim = 17;
    let sample = sample(Shape::Gaussian, 400, 20, dim, 5);
    let control = Control::default();
    for metric in METRICS {
        for levels in levels() {
            for keep in [Keep::None, Keep::F32] {
                let found = |power: i32| {
                    let size = 2.0_f32.powi(power);
                    let scaled = |values: &[f32]| values.iter().map(|v| v * size).collect::<Vec<f32>>();
                    let index = fitted(metric, levels, keep, &scaled(&sample.data), dim);
                    let queries = scaled(&sample.queries);
                    let found = index.search(&rows(&queries, dim), &SearchOptions::new(10), &control);
                    let mut found = found.expect("found");
                    let back = if metric == Metric::Cosine { 1.0 } else { 1.0 / (size * size) };
                    found.distances.iter_mut().for_each(|distance| *distance *= back);
                    (found, loaded(&bytes(&index)).stats())
                };
                let (expected, _) = found(0);
                for power in [-40, -20, 20, 40] {
                    let (found, stats) = found(power);
                    assert!(found == expected, "{metric:?} {levels:?} {keep:?} 2^{power}");
                    let exponent = stats["exponent"].as_i64().expect("a whole number");
                    assert_eq!(exponent == 0, metric == Metric::Cosine, "2^{power}");
                }
            }
        }
    }
}

#[test]
fn errors_are_those_of_decoding() {
    let dim = 48;
    let sample = sample(Shape::PowerLaw { decay: 0.3 }, 1_000, 1, dim, 2);
    for size in [1.0, 1e-6, 1e6] {
        let data: Vec<f32> = sample.data.iter().map(|v| v * size).collect();
        for levels in levels() {
            let index = fitted(Metric::L2, levels, Keep::None, &data, dim);
            let ids: Vec<i64> = (0..1_000).collect();
            let vectors = index.reconstruct(&ids).expect("decodes");
            let pairs = data.chunks(dim).enumerate().flat_map(|(row, x)| x.iter().zip(vectors.row(row)));
            let errors: Vec<f64> = pairs.map(|(&a, &b)| (f64::from(a) - f64::from(b)).abs()).collect();
            let squared = errors.iter().map(|e| e * e).sum::<f64>() / errors.len() as f64;
            let most = errors.iter().copied().fold(0.0, f64::max);
            let stats = index.stats();
            let stat = |name: &str| stats[name].as_f64().expect("a number");
            // Reading the vectors back in f32 adds to what both codes lose.
            let rounding = 2e-7 * f64::from(size);
            let ratio = stat("mean_squared_error") / squared;
            assert!(
                (0.9..1.1).contains(&ratio) || squared < rounding * rounding * 10.0,
                "{levels:?} {ratio}"
            );
            assert!(most <= stat("max_error") + 4.0 * rounding, "{levels:?} {most} {}", stat("max_error"));
            assert!(most >= 0.9 * stat("max_error"), "{levels:?} {most} {}", stat("max_error"));
        }
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
