//! RVQ of every structure against its definition: every row decoded, every distance in f64.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use counterpoint_core::flat::Flat;
use counterpoint_core::ids::Allow;
use counterpoint_core::index::{AddError, AnnIndex, Filter, Neighbors, SearchError, SearchOptions};
use counterpoint_core::metric::Metric;
use counterpoint_core::simd::Level;
use counterpoint_core::simd::int8::Bits;
use counterpoint_core::synth::{Sample, Shape, sample};
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::Keep;
use counterpoint_rvq::{Parameters, Structure};
use proptest::prelude::*;
use serde_json::{Value, json};

use common::{Decoded, METRICS, STRUCTURES, all, bytes, fitted, loaded, rows, tampered, with};

mod common;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn search_ranks_by_the_decoded_vectors(
        n in 1_usize..300,
        dim in 1_usize..70,
        shift in -3.0_f32..3.0,
        seed in any::<u64>(),
        metric in prop::sample::select(&METRICS[..]),
        structure in prop::sample::select(&STRUCTURES[..]),
        four in any::<bool>(),
        stages in 1_usize..6,
        queries in 1_usize..15,
    ) {
        let bits = if four { Bits::Four } else { Bits::Eight };
        let Sample { mut data, queries, .. } = sample(Shape::Gaussian, n, queries, dim, seed);
        data.iter_mut().for_each(|v| *v += shift);
        let index = Decoded::fitted(metric, Parameters { structure, ..with(stages, bits) }, &data, dim);
        let options = all(10, structure);
        for level in Level::available() {
            let mut first = None;
            for threads in [1, 3] {
                let control = Control::new(level, Some(threads));
                let found = index.index.search(&rows(&queries, dim), &options, &control).expect("found");
                prop_assert_eq!(first.get_or_insert(found.clone()), &found, "{}", level.name());
            }
            let found = first.expect("searched");
            for (i, query) in queries.chunks(dim).enumerate() {
                let truth = index.distances(query);
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
        structure in prop::sample::select(&STRUCTURES[..]),
        keep in prop::sample::select(&[Keep::None, Keep::Int8, Keep::F16][..]),
        four in any::<bool>(),
    ) {
        let n: usize = parts.iter().sum();
        let Sample { data, queries, .. } = sample(Shape::Gaussian, n, 5, dim, seed);
        let control = Control::default();
        let parameters = Parameters { keep, structure, ..with(3, if four { Bits::Four } else { Bits::Eight }) };
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
        let options = all(n, structure);
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
        let again = loaded(&bytes(&*grown));
        prop_assert_eq!(again.search(&queries, &options, &control).expect("found"), found);
        prop_assert_eq!(again.to_bytes(&Control::default()).expect("bytes"), bytes(&*grown));
    }
}

#[test]
fn any_thread_count_gives_the_same_bytes() {
    let sample = sample(Shape::PowerLaw { decay: 0.4 }, 3_000, 1, 33, 4);
    for metric in METRICS {
        for structure in [Structure::Flat, Structure::Ivf { n_lists: Some(20) }] {
            for level in Level::available() {
                let mut first = None;
                for threads in [1, 2, 5] {
                    let parameters = Parameters { keep: Keep::F16, structure, ..with(5, Bits::Four) };
                    let mut index = counterpoint_rvq::index(metric, parameters).expect("legal");
                    let control = Control::new(level, Some(threads));
                    index.fit(&rows(&sample.data, 33), None, &control).expect("sound rows");
                    let bytes = bytes(&*index);
                    let same = *first.get_or_insert_with(|| bytes.clone()) == bytes;
                    assert!(same, "{metric:?} {structure:?} {}", level.name());
                }
            }
        }
    }
}

/// Neighbours found among 10 of each of 100 queries.
fn hits(index: &dyn AnnIndex, queries: &[f32], truth: &Neighbors, options: &SearchOptions<'_>) -> usize {
    let dim = index.dim().expect("fitted");
    let found = index.search(&rows(queries, dim), options, &Control::default()).expect("found");
    let pairs = found.ids.chunks(10).zip(truth.ids.chunks(10));
    pairs.map(|(found, truth)| found.iter().filter(|id| truth.contains(id)).count()).sum()
}

fn exact(metric: Metric, sample: &Sample, dim: usize) -> Neighbors {
    let control = Control::default();
    let mut exact = Flat::new(metric);
    exact.fit(&rows(&sample.data, dim), None, &control).expect("sound rows");
    exact.search(&rows(&sample.queries, dim), &SearchOptions::new(10), &control).expect("found")
}

#[test]
fn longer_codes_find_more_and_reranking_is_exact() {
    let dim = 32;
    let sample = sample(Shape::PowerLaw { decay: 0.5 }, 4_000, 100, dim, 9);
    for metric in METRICS {
        let truth = exact(metric, &sample, dim);
        for structure in [Structure::Flat, Structure::Ivf { n_lists: Some(10) }] {
            let hits = |index: &dyn AnnIndex, rerank| {
                let options = SearchOptions { rerank, ..all(10, structure) };
                hits(index, &sample.queries, &truth, &options)
            };
            let of = |stages, bits| {
                let parameters = Parameters { structure, ..with(stages, bits) };
                let index = fitted(metric, parameters, &sample.data, dim);
                let stats = index.stats();
                let distortion: Vec<f64> =
                    serde_json::from_value(stats["distortion"].clone()).expect("a list of numbers");
                assert_eq!(distortion.len(), stages + 1);
                assert!(distortion.is_sorted_by(|a, b| a > b), "{metric:?}: {distortion:?}");
                let dead: Vec<f64> = serde_json::from_value(stats["dead_codes"].clone()).expect("numbers");
                assert!(dead.iter().all(|&dead| dead < 0.01), "{metric:?}: {dead:?}");
                hits(&*index, None)
            };
            let (least, four, eight) = (of(4, Bits::Four), of(12, Bits::Four), of(6, Bits::Eight));
            assert!(least < four && least < eight && eight > 600, "{metric:?}: {least}, {four}, {eight}");
            let parameters = Parameters { keep: Keep::F32, structure, ..with(4, Bits::Eight) };
            let kept = fitted(metric, parameters, &sample.data, dim);
            let (plain, some, default) = (hits(&*kept, Some(0)), hits(&*kept, Some(30)), hits(&*kept, None));
            assert!(plain < some && some <= default && default >= 960, "{plain}, {some}, {default} of 1000");
            let options = SearchOptions { rerank: Some(4_000), ..all(10, structure) };
            let found = kept.search(&rows(&sample.queries, dim), &options, &Control::default());
            assert!(found.expect("found") == truth);
        }
    }
}

#[test]
fn more_lists_find_more_and_lists_make_codes_better() {
    let dim = 32;
    let sample = sample(Shape::PowerLaw { decay: 0.5 }, 4_000, 100, dim, 9);
    for metric in METRICS {
        let truth = exact(metric, &sample, dim);
        let structure = Structure::Ivf { n_lists: Some(40) };
        let index = fitted(metric, Parameters { structure, ..with(4, Bits::Eight) }, &sample.data, dim);
        assert_eq!(index.stats()["n_lists"], 40);
        let of = |n_probe| {
            let options = SearchOptions { n_probe: Some(n_probe), ..SearchOptions::new(10) };
            hits(&*index, &sample.queries, &truth, &options)
        };
        let found = [1, 4, 10, 40].map(of);
        // Codes are not exact: of the last lists come nearly as many wrong rows as right ones.
        assert!(
            found[0] < found[1] && found[1] < found[3] && found[2] + 30 > found[3],
            "{metric:?}: {found:?}"
        );
        let flat = fitted(metric, with(4, Bits::Eight), &sample.data, dim);
        let flat = hits(&*flat, &sample.queries, &truth, &SearchOptions::new(10));
        assert!(flat < found[3], "{metric:?}: {flat} without lists, {} with", found[3]);
    }
}

#[test]
fn first_stages_find_what_codes_of_as_many_stages_do() {
    let dim = 32;
    let sample = sample(Shape::PowerLaw { decay: 0.5 }, 4_000, 100, dim, 9);
    for metric in METRICS {
        let truth = exact(metric, &sample, dim);
        for structure in [Structure::Flat, Structure::Ivf { n_lists: Some(10) }] {
            for bits in [Bits::Four, Bits::Eight] {
                let whole = fitted(metric, Parameters { structure, ..with(7, bits) }, &sample.data, dim);
                let of = |stages| {
                    let options = SearchOptions { stages, ..all(10, structure) };
                    hits(&*whole, &sample.queries, &truth, &options)
                };
                let (three, five, seven) = (of(Some(3)), of(Some(5)), of(Some(7)));
                assert_eq!(seven, of(None));
                assert!(three < five && five < seven, "{metric:?} {structure:?}: {three}, {five}, {seven}");
                let short = fitted(metric, Parameters { structure, ..with(3, bits) }, &sample.data, dim);
                let short = hits(&*short, &sample.queries, &truth, &all(10, structure));
                assert!(10 * three > 7 * short, "{metric:?} {structure:?}: {three} of {short}");
                for wrong in [0, 8] {
                    let options = SearchOptions { stages: Some(wrong), ..SearchOptions::new(10) };
                    let refused = whole.search(&rows(&sample.queries, dim), &options, &Control::default());
                    assert!(matches!(refused, Err(SearchError::Knob { knob: "stages", .. })), "{refused:?}");
                }
            }
        }
    }
}

#[test]
fn first_stages_follow_the_rows() {
    let Sample { data, queries, .. } = sample(Shape::Gaussian, 500, 4, 12, 3);
    let control = Control::default();
    for structure in STRUCTURES {
        let parameters = Parameters { structure, ..with(4, Bits::Eight) };
        let options = SearchOptions { stages: Some(2), ..all(500, structure) };
        let whole = fitted(Metric::L2, parameters, &data, 12);
        let expected = whole.search(&rows(&queries, 12), &options, &control).expect("found");
        let mut grown = fitted(Metric::L2, parameters, &data, 12);
        let removed: Vec<i64> = (100..500).collect();
        grown.remove(&removed).expect("present");
        let fewer = grown.search(&rows(&queries, 12), &options, &control).expect("found");
        assert_eq!(fewer.width, 100);
        grown.add(&rows(&data[1200..], 12), Some(&removed), &control).expect("sound rows");
        assert_eq!(grown.search(&rows(&queries, 12), &options, &control).expect("found"), expected);
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
    let control = Control::default();
    for structure in [Structure::Flat, Structure::Ivf { n_lists: Some(30) }] {
        let parameters = Parameters { structure, ..with(4, Bits::Eight) };
        let index = Decoded::fitted(Metric::L2, parameters, &data, 16);
        for every in [2, 40, 999] {
            let allowed: Vec<i64> = (0..1000).step_by(every).collect();
            let shared = Filter::Shared(Allow::Ids(&allowed));
            let options = SearchOptions { filter: shared, ..all(10, structure) };
            let found = index.index.search(&rows(&queries, 16), &options, &control).expect("found");
            assert_eq!(found.width, allowed.len().min(10));
            for (i, query) in queries.chunks(16).enumerate() {
                let truth = index.distances(query);
                let mut left: Vec<f64> = allowed.iter().map(|&id| truth[id as usize]).collect();
                left.sort_by(f64::total_cmp);
                for (&got, want) in found.distances[i * found.width..(i + 1) * found.width].iter().zip(left) {
                    assert!((f64::from(got) - want).abs() < 1e-3, "{got}, not {want}");
                }
            }
            assert!(found.ids.iter().all(|id| allowed.contains(id)));
            // However few lists are asked for, as many are searched as it takes.
            let few = (structure != Structure::Flat).then_some(1);
            let each = vec![Allow::Ids(&allowed[..]); 7];
            for filter in [shared, Filter::PerQuery(&each)] {
                let options = SearchOptions { filter, n_probe: few, ..SearchOptions::new(10) };
                let found = index.index.search(&rows(&queries, 16), &options, &control).expect("found");
                assert_eq!(found.width, allowed.len().min(10));
                assert!(found.ids.iter().all(|id| allowed.contains(id)), "{every}: {:?}", found.ids);
            }
        }
    }
}

#[test]
fn what_is_refused_changes_nothing() {
    let lists = |n_lists| Parameters {
        structure: Structure::Ivf { n_lists: Some(n_lists) },
        ..Parameters::default()
    };
    let beam = |beam| Parameters { beam, ..Parameters::default() };
    for bad in [with(0, Bits::Four), with(65, Bits::Four), beam(0), beam(257), lists(0), lists((1 << 20) + 1)]
    {
        assert!(counterpoint_rvq::index(Metric::L2, bad).is_none(), "{bad:?}");
    }
    let control = Control::default();
    for structure in STRUCTURES {
        let parameters = Parameters { structure, ..with(2, Bits::Eight) };
        let mut index = fitted(Metric::Cosine, parameters, &[1.0, 2.0, 3.0, 5.0], 2);
        let before = bytes(&*index);
        assert!(matches!(index.add(&rows(&[0.0, 0.0], 2), None, &control), Err(AddError::Input(_))));
        assert!(matches!(index.fit(&rows(&[f32::NAN, 0.0], 2), None, &control), Err(AddError::Input(_))));
        let none = SearchOptions::new(1);
        let mut wrong = vec![
            ("rerank", SearchOptions { rerank: Some(5), ..none }),
            ("ef", SearchOptions { ef: Some(5), ..none }),
            ("n_probe", SearchOptions { n_probe: Some(0), ..none }),
        ];
        if structure == Structure::Flat {
            wrong.push(("n_probe", SearchOptions { n_probe: Some(5), ..none }));
        }
        for (name, options) in wrong {
            let refused = index.search(&rows(&[0.0, 1.0], 2), &options, &control);
            assert!(matches!(refused, Err(SearchError::Knob { knob, .. }) if knob == name), "{refused:?}");
        }
        let cancelled = Control::default();
        cancelled.cancel();
        assert!(matches!(index.fit(&rows(&[1.0; 4], 2), None, &cancelled), Err(AddError::Cancelled(_))));
        assert!(index.remove(&[0, 9]).is_err());
        assert_eq!(bytes(&*index), before);
    }
}

#[test]
fn one_row_equal_rows_and_no_rows() {
    let control = Control::default();
    let ones = [0.5; 300];
    for (metric, structure) in
        METRICS.into_iter().flat_map(|metric| STRUCTURES.map(|structure| (metric, structure)))
    {
        for bits in [Bits::Four, Bits::Eight] {
            let with = |stages| Parameters { structure, ..with(stages, bits) };
            let index = fitted(metric, with(7), &ones, 3);
            assert_eq!(index.stats()["stages_used"], 0, "there is nothing to code");
            let found = index.search(&rows(&[0.5; 3], 3), &SearchOptions::new(4), &control).expect("found");
            assert_eq!(found.ids, [0, 1, 2, 3]);
            let back = index.reconstruct(&[5]).expect("decodes");
            let mut row = [0.5; 3];
            metric.prepare(&mut row, 0).expect("nonzero");
            assert!(back.row(0).iter().zip(row).all(|(a, b)| (a - b).abs() < 1e-6));
            let mut empty = fitted(metric, with(2), &[], 3);
            assert_eq!((empty.dim(), empty.len()), (Some(3), 0));
            let found = empty.search(&rows(&[0.5; 3], 3), &SearchOptions::new(4), &control).expect("found");
            assert_eq!((found.queries, found.width), (1, 0));
            assert_eq!(loaded(&bytes(&*empty)).dim(), Some(3));
            // What comes first to an empty index is learned from.
            let Sample { data, .. } = sample(Shape::Gaussian, 100, 0, 3, 1);
            empty.add(&rows(&data, 3), None, &control).expect("sound rows");
            assert!(empty.stats()["stages_used"].as_u64() >= Some(1));
            assert_eq!(empty.reconstruct(&[99]).expect("decodes").rows(), 1);
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
    // With a list for each row there is nothing left to code.
    let structure = Structure::Ivf { n_lists: Some(50) };
    let index = fitted(Metric::L2, Parameters { structure, ..with(6, Bits::Eight) }, &data, 5);
    let stats = index.stats();
    assert_eq!((&stats["n_lists"], &stats["stages_used"]), (&json!(9), &json!(0)));
    for index in [loaded(&bytes(&*index)), index] {
        let found =
            index.search(&rows(&data, 5), &SearchOptions::new(1), &Control::default()).expect("found");
        assert_eq!(found.ids, (0..9).collect::<Vec<i64>>());
    }
}

#[test]
fn hostile_files_are_errors() {
    let Sample { data, .. } = sample(Shape::Gaussian, 400, 0, 20, 1);
    for (bits, structure) in
        [Bits::Four, Bits::Eight].into_iter().flat_map(|bits| STRUCTURES.map(|structure| (bits, structure)))
    {
        let index = fitted(Metric::L2, Parameters { structure, ..with(3, bits) }, &data, 20);
        assert!(tampered(&*index, "", |_| {}, &[]).is_ok());
        assert!(tampered(&*index, "norms", |bytes| bytes.fill(0xff), &[]).is_ok(), "any level is a level");
        let mut tensors = vec!["mean", "axes", "codewords", "levels"];
        if structure != Structure::Flat {
            tensors.push("centroids");
        }
        for tensor in tensors {
            let nan =
                tampered(&*index, tensor, |bytes| bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes()), &[]);
            assert!(nan.is_err(), "{tensor}");
        }
    }
    for structure in STRUCTURES {
        let with = |structure| Parameters { structure, ..with(3, Bits::Eight) };
        // Of 100 rows no stage has 256 codewords.
        let few = fitted(Metric::L2, with(structure), &data[..2000], 20);
        let refused =
            tampered(&*few, "codes", |bytes| bytes[1] = 255, &[]).err().expect("beyond the codebook");
        assert!(refused.contains("codes"), "{refused}");
        let index = fitted(Metric::L2, with(structure), &data, 20);
        let mut wrong = vec![
            ("stages", json!(0)),
            ("stages", json!(1)),
            ("bits", json!(5)),
            ("beam", json!(0)),
            ("structure", json!("tree")),
            ("keep", json!("f64")),
            ("codewords", json!([100, 100])),
            ("codewords", json!([0, 100, 100])),
            ("codewords", json!([257, 100, 100])),
            ("codewords", json!("none")),
            ("axes", json!(0)),
            ("axes", json!(21)),
            ("distortion", json!([null])),
            ("dead_codes", json!({})),
        ];
        if structure == Structure::Flat {
            wrong.push(("structure", json!("ivf")));
        } else {
            wrong.extend([
                ("structure", json!("flat")),
                ("n_lists", json!(-1)),
                ("n_lists", json!((1 << 20) + 1)),
                ("lists", json!(0)),
                ("lists", json!(1000)),
            ]);
            assert!(tampered(&*index, "list_rows", |bytes| bytes[0] ^= 1, &[]).is_err(), "a row twice");
            assert!(tampered(&*index, "list_of_block", |bytes| bytes[0] = 200, &[]).is_err(), "no such list");
        }
        for (key, value) in wrong {
            let loaded = tampered(&*index, "", |_| {}, &[(key, value.clone())]);
            assert!(loaded.is_err(), "{structure:?}: {key} = {value}");
        }
    }
}
