//! What the tests of both structures share.
#![allow(
    clippy::expect_used,
    dead_code,
    reason = "a test fails by panicking; not every test uses everything"
)]

use counterpoint_core::file::{Contents, TensorView};
use counterpoint_core::index::{AnnIndex, SearchOptions};
use counterpoint_core::metric::Metric;
use counterpoint_core::simd::int8::Bits;
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::Rows;
use counterpoint_rvq::{Parameters, Structure, ivf};
use serde_json::Value;

pub(crate) const METRICS: [Metric; 3] = [Metric::L2, Metric::Ip, Metric::Cosine];
pub(crate) const STRUCTURES: [Structure; 3] =
    [Structure::Flat, Structure::Ivf { n_lists: None }, Structure::Ivf { n_lists: Some(3) }];

pub(crate) fn rows(values: &[f32], dim: usize) -> Rows<'_> {
    Rows::new(values, dim).expect("whole rows")
}

pub(crate) fn with(stages: usize, bits: Bits) -> Parameters {
    Parameters { stages, bits, ..Parameters::default() }
}

/// Options of a search of all rows.
pub(crate) fn all(k: usize, structure: Structure) -> SearchOptions<'static> {
    SearchOptions { n_probe: (structure != Structure::Flat).then_some(usize::MAX), ..SearchOptions::new(k) }
}

pub(crate) fn fitted(metric: Metric, parameters: Parameters, data: &[f32], dim: usize) -> Box<dyn AnnIndex> {
    let mut index = counterpoint_rvq::index(metric, parameters).expect("legal");
    index.fit(&rows(data, dim), None, &Control::default()).expect("sound rows");
    index
}

pub(crate) fn bytes(index: &dyn AnnIndex) -> Vec<u8> {
    index.to_bytes(&Control::default()).expect("bytes")
}

pub(crate) fn loaded(bytes: &[u8]) -> Box<dyn AnnIndex> {
    let control = Control::default();
    counterpoint_rvq::load(Contents::from_bytes(bytes, &control).expect("sound"), &control).expect("sound")
}

fn squared(a: impl Iterator<Item = (f32, f32)>) -> f64 {
    a.map(|(a, b)| (f64::from(a) - f64::from(b)).powi(2)).sum()
}

/// An index whose distances are known.
pub(crate) struct Decoded {
    pub(crate) index: Box<dyn AnnIndex>,
    metric: Metric,
    mean: Vec<f32>,
    /// What stands for ‖x̂ − μ‖² of each row; none under ip.
    terms: Vec<Option<f32>>,
}

impl Decoded {
    pub(crate) fn fitted(metric: Metric, parameters: Parameters, data: &[f32], dim: usize) -> Self {
        let (control, n) = (Control::default(), data.len() / dim);
        let rows = rows(data, dim);
        if parameters.structure == Structure::Flat {
            let mut index = counterpoint_rvq::new(metric, parameters).expect("legal");
            index.fit(&rows, None, &control).expect("sound rows");
            let mean = index.store().quantizer().expect("learned").mean().to_vec();
            let terms = (0..n).map(|row| index.store().term(row)).collect();
            return Self { index: Box::new(index), metric, mean, terms };
        }
        let mut index = ivf::new(metric, parameters).expect("legal");
        index.fit(&rows, None, &control).expect("sound rows");
        let mean = index.store().quantizer().expect("learned").mean().to_vec();
        let terms = (0..n).map(|row| index.store().term(row)).collect();
        Self { index: Box::new(index), metric, mean, terms }
    }

    /// Distances of a query to decoded rows, ‖x̂ − μ‖² replaced by the term that is stored for it.
    pub(crate) fn distances(&self, query: &[f32]) -> Vec<f64> {
        let ids: Vec<i64> = (0..self.terms.len() as i64).collect();
        let vectors = self.index.reconstruct(&ids).expect("decodes");
        let mut query = query.to_vec();
        self.metric.prepare(&mut query, 0).expect("nonzero");
        let distance = |row: usize| {
            let pairs = || query.iter().copied().zip(vectors.row(row).iter().copied());
            let term = || {
                let own = squared(vectors.row(row).iter().copied().zip(self.mean.iter().copied()));
                f64::from(self.terms[row].expect("has a term")) - own
            };
            match self.metric {
                Metric::L2 => (squared(pairs()) + term()).max(0.0),
                Metric::Ip => -pairs().map(|(q, x)| f64::from(q) * f64::from(x)).sum::<f64>(),
                Metric::Cosine => (0.5 * (squared(pairs()) + term())).clamp(0.0, 2.0),
            }
        };
        (0..self.terms.len()).map(distance).collect()
    }
}

/// Loads a file of `index` in which one tensor's bytes, or the parameters, were changed.
pub(crate) fn tampered(
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
    counterpoint_rvq::load(contents, &control).map_err(|error| error.to_string())
}
