//! Synthetic data of `core::synth`, for `counterpoint bench seeds`.

use counterpoint_core::synth::{Sample, Shape, sample};
use numpy::PyArray2;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::result::table;

type Array<'py> = Bound<'py, PyArray2<f32>>;

/// Draw synthetic vectors and queries of the same distribution.
///
/// Parameters
/// ----------
/// shape
///     "gaussian": independent standard normal coordinates; "clusters": such coordinates around `clusters`
///     centres, themselves normal with deviation `spread`; "power-law": normal coordinates, the j-th (from 1)
///     of deviation j**-decay.
/// n, queries, dim
///     Numbers of vectors, of queries, and of values in each.
/// seed
///     The same seed gives the same values everywhere.
///
/// Returns
/// -------
/// tuple of numpy.ndarray
///     float32 arrays of shapes (n, dim) and (queries, dim).
///
/// Raises
/// ------
/// ValueError
///     For a shape that is none of these.
#[pyfunction]
#[pyo3(signature = (shape, n, queries, dim, seed, *, clusters = 100, spread = 1.0, decay = 0.5))]
#[expect(clippy::too_many_arguments, reason = "keywords in Python")]
pub(crate) fn synthetic<'py>(
    py: Python<'py>,
    shape: &str,
    n: usize,
    queries: usize,
    dim: usize,
    seed: u64,
    clusters: usize,
    spread: f32,
    decay: f32,
) -> PyResult<(Array<'py>, Array<'py>)> {
    let shape = match shape {
        "gaussian" => Shape::Gaussian,
        "clusters" => Shape::Clusters { clusters, spread },
        "power-law" => Shape::PowerLaw { decay },
        _ => {
            let message =
                format!("shape: expected \"gaussian\", \"clusters\" or \"power-law\", got {shape:?}");
            return Err(PyValueError::new_err(message));
        }
    };
    let Sample { data, queries: asked, dim } = py.detach(|| sample(shape, n, queries, dim, seed));
    Ok((table(py, data, n, dim)?, table(py, asked, queries, dim)?))
}
