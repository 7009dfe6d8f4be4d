//! Ids that come in: any integer array-like, as 64-bit integers.

use numpy::{
    PyArray1, PyArrayDescrMethods, PyArrayDyn, PyArrayMethods, PyUntypedArray, PyUntypedArrayMethods,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBool;

use crate::arrays::{as_array, cast};
use crate::scalars::type_name;

/// The argument `ids`: a scalar or a 1-D integer array-like; and whether it is a scalar.
pub(crate) fn ids(object: &Bound<'_, PyAny>) -> PyResult<(Vec<i64>, bool)> {
    if let Ok(array) = object.cast_exact::<PyArray1<i64>>()
        && let Ok(ids) = array.to_vec()
    {
        return Ok((ids, false));
    }
    let array = as_array("ids", object)?;
    let ids = from_array("ids", &array, object)?;
    Ok((ids, array.ndim() == 0))
}

/// One id for each of several vectors.
pub(crate) fn listed(object: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Vec<i64>>> {
    object
        .map(|object| match ids(object)? {
            (ids, false) => Ok(ids),
            (_, true) => {
                Err(PyValueError::new_err("ids: expected an array of shape (n,), got a single number"))
            }
        })
        .transpose()
}

/// The integers of an array of at most one dimension; `object` is what it was made of.
pub(crate) fn from_array(
    name: &str,
    array: &Bound<'_, PyUntypedArray>,
    object: &Bound<'_, PyAny>,
) -> PyResult<Vec<i64>> {
    if array.ndim() > 1 {
        let shape = array.getattr("shape")?;
        return Err(PyValueError::new_err(format!("{name}: expected ids of shape (n,), got {shape}")));
    }
    let dtype = array.dtype();
    match dtype.kind() {
        b'i' => {}
        b'u' if dtype.itemsize() < 8 => {}
        b'u' => {
            if array.len() > 0 {
                let largest = array.call_method0("max")?;
                if largest.gt(i64::MAX)? {
                    let message = format!("{name}: expected ids of at most {}, got {largest}", i64::MAX);
                    return Err(PyValueError::new_err(message));
                }
            }
        }
        // An empty list has no type of its own.
        b'f' if array.len() == 0 && !object.is_instance_of::<PyUntypedArray>() => return Ok(Vec::new()),
        _ => {
            return Err(PyTypeError::new_err(format!("{name}: expected integers, got {dtype}")));
        }
    }
    let array = cast(array, "int64")?.call_method1("reshape", (-1,))?;
    Ok(array.cast::<PyArrayDyn<i64>>()?.to_vec()?)
}

/// One id, for `in`; `None` for a number that no id can have.
pub(crate) fn one(object: &Bound<'_, PyAny>) -> PyResult<Option<i64>> {
    if let Ok(id) = object.extract::<i64>()
        && !object.is_instance_of::<PyBool>()
    {
        return Ok(Some(id));
    }
    match object.getattr("__index__") {
        Ok(index) if !object.is_instance_of::<PyBool>() => {
            index.call0()?;
            Ok(None)
        }
        _ => Err(PyTypeError::new_err(format!("id: expected an int, got {}", type_name(object)))),
    }
}
