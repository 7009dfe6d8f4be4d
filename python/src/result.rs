//! What goes out: neighbours as a `Result` of NumPy arrays, JSON values as Python objects.

use counterpoint_core::index::Neighbors;
use numpy::ndarray::Array2;
use numpy::{Element, PyArray1, PyArray2};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};
use serde_json::{Map, Value};

use crate::errors::InternalError;

/// `Result(ids, distances)`, of shape (queries, width), or (width,) for a single query.
pub(crate) fn result<'py>(py: Python<'py>, found: Neighbors, single: bool) -> PyResult<Bound<'py, PyAny>> {
    let Neighbors { ids, distances, queries, width } = found;
    if single {
        return named(py, line(py, ids), line(py, distances));
    }
    let (ids, distances) = (table(py, ids, queries, width)?, table(py, distances, queries, width)?);
    named(py, ids, distances)
}

/// The named tuple, made as `tuple.__new__(Result, (ids, distances))`: its own constructor is Python code.
pub(crate) fn named<'py>(
    py: Python<'py>,
    ids: impl IntoPyObject<'py>,
    distances: impl IntoPyObject<'py>,
) -> PyResult<Bound<'py, PyAny>> {
    static RESULT: PyOnceLock<(Py<PyAny>, Py<PyAny>)> = PyOnceLock::new();
    let (new, class) = RESULT.get_or_try_init(py, || {
        let class = py.import("counterpoint._result")?.getattr("Result")?;
        PyResult::Ok((py.get_type::<PyTuple>().getattr("__new__")?.unbind(), class.unbind()))
    })?;
    let ids = ids.into_bound_py_any(py)?;
    let distances = distances.into_bound_py_any(py)?;
    new.bind(py).call1((class, PyTuple::new(py, [ids, distances])?))
}

fn line<T: Element>(py: Python<'_>, values: Vec<T>) -> Bound<'_, PyArray1<T>> {
    // An array that owns its memory costs less than one that has a Rust object own it, except for a copy.
    const COPY: usize = 4096;
    if values.len() <= COPY { PyArray1::from_slice(py, &values) } else { PyArray1::from_vec(py, values) }
}

/// Row-major values as an array.
pub(crate) fn table<T: Element>(
    py: Python<'_>,
    values: Vec<T>,
    rows: usize,
    columns: usize,
) -> PyResult<Bound<'_, PyArray2<T>>> {
    let array = Array2::from_shape_vec((rows, columns), values);
    Ok(PyArray2::from_owned_array(py, array.map_err(|error| InternalError::new_err(error.to_string()))?))
}

/// JSON as Python objects.
pub(crate) fn object<'py>(py: Python<'py>, map: &Map<String, Value>) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (key, item) in map {
        dict.set_item(key, value(py, item)?)?;
    }
    Ok(dict)
}

fn value<'py>(py: Python<'py>, item: &Value) -> PyResult<Bound<'py, PyAny>> {
    match item {
        Value::Null => Ok(py.None().into_bound(py)),
        Value::Bool(flag) => flag.into_bound_py_any(py),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => number.into_bound_py_any(py),
            (_, Some(number)) => number.into_bound_py_any(py),
            _ => number.as_f64().into_bound_py_any(py),
        },
        Value::String(text) => text.into_bound_py_any(py),
        Value::Array(items) => {
            items.iter().map(|item| value(py, item)).collect::<PyResult<Vec<_>>>()?.into_bound_py_any(py)
        }
        Value::Object(map) => object(py, map)?.into_bound_py_any(py),
    }
}
