//! The estimate: without bias, and better in more dimensions.

use std::sync::Arc;

use counterpoint_core::graph::space::prepared;
use counterpoint_core::graph::{Expander, Visited};
use counterpoint_core::metric::Metric;
use counterpoint_core::rotate::Structured;
use counterpoint_core::select::Hit;
use counterpoint_core::simd::{Level, Simd, Work, run};
use counterpoint_core::synth::{Shape, sample};
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::{Keep, Matrix};

use crate::build::with_vectors;
use crate::encode::{Frame, Sources, encode};
use crate::graph::{Graph, Query};
use crate::parameters::EdgeCodes;
use crate::product::learn;
use crate::rows::Layout;
use crate::vector::Form;

/// Expands vertex 0 for a query in the graph's space.
struct Expand<'a>(&'a Graph<'a>, &'a Frame, &'a [f32]);

impl Work for Expand<'_> {
    type Output = (f32, Vec<Hit>);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let Self(graph, frame, values) = self;
        let mut query = Query::default();
        query.values.extend_from_slice(values);
        query.values.resize(graph.rows.layout.stride(), 0.0);
        query.prepare(simd, frame);
        let (mut visited, mut found) = (Visited::default(), Vec::new());
        let from = Hit { distance: 0.0, row: 0 };
        let own = graph.expand(simd, &query, from, f32::INFINITY, &mut visited, &mut found);
        (own, found)
    }
}

/// The errors of the estimates of 32 neighbours, in units of ‖r‖ times the length of y across r (doubled under l2), for
/// `seeds` rotations.
fn errors(metric: Metric, dim: usize, codes: EdgeCodes, seeds: u64, level: Level) -> Vec<f64> {
    let control = Control::new(level, Some(1));
    let rows = 33;
    let all = sample(Shape::Gaussian, rows + 1, 0, dim, 5).data;
    let (data, query) = all.split_at(rows * dim);
    let data = counterpoint_core::vectors::Rows::new(data, dim).expect("whole rows");
    let (vectors, _) = prepared(&data, metric, Keep::F32, None, &control).expect("sound");
    let mut query = query.to_vec();
    metric.prepare(&mut query, 0).expect("nonzero");
    query.resize(vectors.dim(), 0.0);
    let mut mean = Matrix::zeroed(1, vectors.dim());
    for row in 0..rows {
        mean.row_mut(0).iter_mut().zip(vectors.row(row)).for_each(|(mean, v)| *mean += v / rows as f32);
    }
    let neighbours: Vec<u32> = (1..rows as u32).collect();
    let mut errors = Vec::new();
    for seed in 0..seeds {
        let rotation = Structured::new(vectors.dim(), seed);
        let mut frame = Frame { rotation, mean: mean.clone(), codebooks: None };
        if codes == EdgeCodes::Pq4 {
            let many = sample(Shape::Gaussian, 400, 0, dim, 6).data;
            let many = counterpoint_core::vectors::Rows::new(&many, dim).expect("whole rows");
            let (many, _) = prepared(&many, metric, Keep::F32, None, &control).expect("sound");
            frame.codebooks = Some(Arc::new(learn(&frame, &many, seed, &control).expect("not cancelled")));
        }
        let form = Form { keep: Keep::F32, dim: vectors.dim(), added: metric == Metric::Ip };
        let layout = Layout { form, bits: frame.rotation.padded(), degree: 32 };
        let mut graph = with_vectors(layout, &vectors, &control).expect("not cancelled");
        let sources = Sources::new(&frame, metric, vectors.clone(), &control).expect("not cancelled");
        let of = |vertex: u32| if vertex == 0 { neighbours.as_slice() } else { &[] };
        encode(&mut graph, &sources, of, &control).expect("not cancelled");
        let graph = Graph { rows: &graph, entries: &[0], metric, exact: true };
        let (own, found) = run(level, Expand(&graph, &frame, &query));
        let product =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
        let square = |a: &[f32], b: &[f32]| {
            a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum::<f64>()
        };
        let exact = |row: &[f32]| match metric {
            Metric::L2 => square(&query, row),
            Metric::Ip => -product(&query, row),
            Metric::Cosine => 1.0 - product(&query, row),
        };
        assert!((f64::from(own) - exact(vectors.row(0))).abs() < 1e-4 * dim as f64);
        assert_eq!(found.len(), 32);
        for hit in found {
            let row = vectors.row(hit.row as usize);
            let (r, y) = (square(row, vectors.row(0)), square(&query, vectors.row(0)));
            let along = 0.5 * (r + y - square(&query, row));
            let length = (r * y - along * along).sqrt();
            let unit = if metric == Metric::L2 { 2.0 } else { 1.0 };
            errors.push((f64::from(hit.distance) - exact(row)) / (unit * length));
        }
    }
    errors
}

#[test]
fn estimates_have_no_bias_and_errors_fall_as_the_root_of_the_dimension() {
    for metric in [Metric::L2, Metric::Ip, Metric::Cosine] {
        for dim in [64, 256, 1024, 2048] {
            let errors = errors(metric, dim, EdgeCodes::Rabitq, 60, Level::detect());
            let n = errors.len() as f64;
            let mean = errors.iter().sum::<f64>() / n;
            let deviation = (errors.iter().map(|e| (e - mean).powi(2)).sum::<f64>() / n).sqrt();
            // The errors of one rotation go together, for one query and one vertex: each rotation counts once.
            let means: Vec<f64> = errors.chunks(32).map(|errors| errors.iter().sum::<f64>() / 32.0).collect();
            let spread =
                means.iter().map(|other| (other - mean).powi(2)).sum::<f64>().sqrt() / means.len() as f64;
            assert!(mean.abs() < 4.0 * spread, "{metric:?} {dim}: {mean} ± {spread}");
            assert!(spread < 0.1 * deviation, "{metric:?} {dim}: {spread} beside {deviation}");
            let bits = counterpoint_core::graph::space::space_dim(metric, dim).next_multiple_of(32);
            let constant = deviation * (bits as f64).sqrt();
            // √(π/2 − 1) = 0.755, and the query's own rounding.
            assert!((0.70..0.82).contains(&constant), "{metric:?} {dim}: {constant}");
        }
    }
}

#[test]
fn estimates_by_centroids_have_no_bias_either() {
    for (metric, dim) in [(Metric::L2, 64), (Metric::Ip, 100), (Metric::Cosine, 128)] {
        let errors = errors(metric, dim, EdgeCodes::Pq4, 12, Level::detect());
        let n = errors.len() as f64;
        let mean = errors.iter().sum::<f64>() / n;
        let deviation = (errors.iter().map(|e| (e - mean).powi(2)).sum::<f64>() / n).sqrt();
        // Under ip rows differ most in the added value, which codebooks learn: what they miss has not quite a random
        // direction.
        let most = if metric == Metric::Ip { 0.4 } else { 0.15 };
        assert!(mean.abs() < most * deviation, "{metric:?} {dim}: {mean} beside {deviation}");
        let constant = deviation
            * (counterpoint_core::graph::space::space_dim(metric, dim).next_multiple_of(32) as f64).sqrt();
        assert!((0.6..0.85).contains(&constant), "{metric:?} {dim}: {constant}");
    }
}

#[test]
fn every_level_estimates_alike() {
    for codes in [EdgeCodes::Rabitq, EdgeCodes::Pq4] {
        every_level(codes);
    }
}

fn every_level(codes: EdgeCodes) {
    let want = errors(Metric::L2, 100, codes, 4, Level::SCALAR);
    for level in Level::available() {
        let got = errors(Metric::L2, 100, codes, 4, level);
        let off = want.iter().zip(&got).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(off < 1e-4, "{}: {off}", level.name());
    }
}
