//! `merge`: the results of shards as one.

use std::collections::HashSet;

use counterpoint_core::index::Neighbors;
use numpy::{PyArrayDescrMethods, PyArrayDyn, PyArrayMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::arrays::{as_array, cast};
use crate::result;
use crate::scalars::at_least;

/// One shard's result, row-major.
struct Part {
    ids: Vec<i64>,
    distances: Vec<f32>,
    shape: Vec<usize>,
}

/// Join the results of shards by distance.
///
/// Parameters
/// ----------
/// results : iterable of Result, or of pairs (ids, distances)
///     What each shard found for the same queries, with one metric: shapes (nq, any width), or all (any width,).
/// k : int, optional
///     How many neighbours to return, at least 1. By default the widest result's number.
///
/// Returns
/// -------
/// Result
///     The nearest of all, nearest first, ties by id. An id that several shards found is kept once, at its least
///     distance. Entries of id -1 at distance inf, which fill up rows, are dropped; rows that are shorter than
///     others in the outcome end in such again.
///
/// Raises
/// ------
/// ValueError
///     No results, or results that do not fit together.
/// TypeError
///     Ids that are not integers, distances that are not floats.
#[pyfunction]
#[pyo3(signature = (results, k=None))]
pub(crate) fn merge<'py>(
    py: Python<'py>,
    results: &Bound<'py, PyAny>,
    k: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let k = k.map(|k| at_least("k", 1, k)).transpose()?;
    let parts: Vec<Part> =
        results.try_iter()?.enumerate().map(|(at, result)| part(at, &result?)).collect::<PyResult<_>>()?;
    let Some(first) = parts.first() else {
        return Err(PyValueError::new_err("results: expected at least one, got none"));
    };
    let single = first.shape.len() == 1;
    let queries = if single { 1 } else { first.shape.first().copied().unwrap_or(0) };
    for (at, part) in parts.iter().enumerate() {
        let fits = part.shape.len() == first.shape.len() && (single || part.shape.first() == Some(&queries));
        if !fits {
            let (expected, got) = (&first.shape, &part.shape);
            return Err(PyValueError::new_err(format!(
                "results[{at}]: expected one row for each query as in results[0] of shape {expected:?}, got shape \
                 {got:?}"
            )));
        }
    }
    let k = k.unwrap_or_else(|| parts.iter().map(Part::width).max().unwrap_or(0));
    let joined = py.detach(|| join(&parts, queries, k));
    result::result(py, joined, single)
}

impl Part {
    fn width(&self) -> usize {
        self.shape.last().copied().unwrap_or(0)
    }

    fn row(&self, query: usize) -> impl Iterator<Item = (f32, i64)> + '_ {
        let row = query * self.width()..(query + 1) * self.width();
        let (distances, ids) = (self.distances.get(row.clone()), self.ids.get(row));
        distances.unwrap_or_default().iter().copied().zip(ids.unwrap_or_default().iter().copied())
    }
}

fn part(at: usize, result: &Bound<'_, PyAny>) -> PyResult<Part> {
    let wrong = |_| PyTypeError::new_err(format!("results[{at}]: expected a pair (ids, distances)"));
    let (ids, distances): (Bound<'_, PyAny>, Bound<'_, PyAny>) = result.extract().map_err(wrong)?;
    let name = |what| format!("results[{at}].{what}");
    let ids = as_array(&name("ids"), &ids)?;
    let distances = as_array(&name("distances"), &distances)?;
    let typed = |array: &Bound<'_, PyUntypedArray>, what, kinds: &[u8], expected| {
        let dtype = array.dtype();
        if kinds.contains(&dtype.kind()) {
            return Ok(());
        }
        Err(PyTypeError::new_err(format!("{}: expected {expected}, got {dtype}", name(what))))
    };
    typed(&ids, "ids", b"i", "signed integers")?;
    typed(&distances, "distances", b"f", "floats")?;
    let shape = ids.shape().to_vec();
    if shape != distances.shape() || !matches!(shape.len(), 1 | 2) {
        let got = distances.shape();
        return Err(PyValueError::new_err(format!(
            "results[{at}]: expected ids and distances of one shape, (nq, width) or (width,), got {shape:?} and \
             {got:?}"
        )));
    }
    let ids = cast(&ids, "int64")?.call_method1("ravel", ("C",))?;
    let distances = cast(&distances, "float32")?.call_method1("ravel", ("C",))?;
    Ok(Part {
        ids: ids.cast::<PyArrayDyn<i64>>()?.to_vec()?,
        distances: distances.cast::<PyArrayDyn<f32>>()?.to_vec()?,
        shape,
    })
}

fn join(parts: &[Part], queries: usize, k: usize) -> Neighbors {
    let mut rows = Vec::with_capacity(queries);
    let mut seen = HashSet::new();
    for query in 0..queries {
        let mut row: Vec<(f32, i64)> = parts
            .iter()
            .flat_map(|part| part.row(query))
            .filter(|&(distance, id)| !(id == -1 && distance == f32::INFINITY))
            .collect();
        row.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        seen.clear();
        row.retain(|&(_, id)| seen.len() < k && seen.insert(id));
        rows.push(row);
    }
    let width = rows.iter().map(Vec::len).max().unwrap_or(0);
    let mut joined = Neighbors { queries, width, ..Neighbors::default() };
    for row in rows {
        let padding = width - row.len();
        joined.ids.extend(row.iter().map(|&(_, id)| id).chain(std::iter::repeat_n(-1, padding)));
        let distances = row.iter().map(|&(distance, _)| distance);
        joined.distances.extend(distances.chain(std::iter::repeat_n(f32::INFINITY, padding)));
    }
    joined
}
