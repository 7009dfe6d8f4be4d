//! Numbers, flags and names that come in: `k`, `threads`, `n_probe`, `rerank`, `recall`, `exact_scan`, `bits`, `rank`,
//! `seed`, `metric`, `keep`.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::sync::OnceLock;

use counterpoint_core::simd::int8::Bits;
use counterpoint_core::threads::available;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyInt};

/// An argument with a default that `None` does not stand for.
pub(crate) struct Given<'py>(pub(crate) Option<Bound<'py, PyAny>>);

impl<'py> FromPyObject<'_, 'py> for Given<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        Ok(Given(Some(object.to_owned())))
    }
}

/// The name of an object's type, for messages.
pub(crate) fn type_name(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map_or_else(|_| "something else".to_owned(), |name| name.to_string())
}

/// A whole number, of Python's type.
fn whole<'py>(name: &str, object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    match (object.getattr("__index__"), object.is_instance_of::<PyBool>()) {
        (Ok(index), false) => index.call0(),
        _ => Err(PyTypeError::new_err(format!("{name}: expected an int, got {}", type_name(object)))),
    }
}

/// A whole number of at least `least`; what does not fit is as good as the largest.
pub(crate) fn at_least(name: &str, least: usize, object: &Bound<'_, PyAny>) -> PyResult<usize> {
    if let Ok(int) = object.cast_exact::<PyInt>()
        && let Ok(value) = int.extract::<usize>()
        && value >= least
    {
        return Ok(value);
    }
    let value = whole(name, object)?;
    if value.lt(least)? {
        return Err(PyValueError::new_err(format!("{name}: expected at least {least}, got {value}")));
    }
    Ok(value.extract().unwrap_or(usize::MAX))
}

/// A whole number of a range.
pub(crate) fn within<T>(name: &str, range: RangeInclusive<T>, object: &Bound<'_, PyAny>) -> PyResult<T>
where
    T: PartialOrd + Display + for<'a> FromPyObject<'a, 'a>,
{
    let value = whole(name, object)?;
    match value.extract::<T>() {
        Ok(value) if range.contains(&value) => Ok(value),
        _ => {
            let (least, most) = range.into_inner();
            Err(PyValueError::new_err(format!("{name}: expected {least} to {most}, got {value}")))
        }
    }
}

/// A positive multiple of `unit`, at most `most`.
pub(crate) fn multiple(name: &str, unit: usize, most: usize, object: &Bound<'_, PyAny>) -> PyResult<usize> {
    let value = whole(name, object)?;
    match value.extract::<usize>() {
        Ok(value) if value > 0 && value <= most && value.is_multiple_of(unit) => Ok(value),
        _ => {
            let expected = format!("a positive multiple of {unit} up to {most}");
            Err(PyValueError::new_err(format!("{name}: expected {expected}, got {value}")))
        }
    }
}

/// The width of a code: 4 or 8.
pub(crate) fn code_bits(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Bits> {
    let value = whole(name, object)?;
    match value.extract::<usize>() {
        Ok(4) => Ok(Bits::Four),
        Ok(8) => Ok(Bits::Eight),
        _ => Err(PyValueError::new_err(format!("{name}: expected 4 or 8, got {value}"))),
    }
}

/// The width of a code that there may be: 0, 4 or 8.
pub(crate) fn optional_bits(name: &str, object: &Bound<'_, PyAny>) -> PyResult<usize> {
    let value = whole(name, object)?;
    match value.extract::<usize>() {
        Ok(bits @ (0 | 4 | 8)) => Ok(bits),
        _ => Err(PyValueError::new_err(format!("{name}: expected 0, 4 or 8, got {value}"))),
    }
}

/// True or False, NumPy's too.
pub(crate) fn flag(name: &str, object: &Bound<'_, PyAny>) -> PyResult<bool> {
    object
        .extract()
        .map_err(|_| PyTypeError::new_err(format!("{name}: expected a bool, got {}", type_name(object))))
}

/// A number.
pub(crate) fn real(name: &str, object: &Bound<'_, PyAny>) -> PyResult<f64> {
    match object.extract::<f64>() {
        Ok(value) if !object.is_instance_of::<PyBool>() => Ok(value),
        _ => Err(PyTypeError::new_err(format!("{name}: expected a float, got {}", type_name(object)))),
    }
}

/// `threads=`: all processors by default. More than the most a machine has asks for no more.
pub(crate) fn threads(given: Option<&Bound<'_, PyAny>>) -> PyResult<usize> {
    const MOST: usize = 4096;
    // Asking the system reads several files, far more than a search of one query costs.
    static AVAILABLE: OnceLock<usize> = OnceLock::new();
    match given {
        None => Ok(*AVAILABLE.get_or_init(available)),
        Some(given) => Ok(at_least("threads", 1, given)?.min(MOST)),
    }
}

/// Parses an argument that is one of a few names.
pub(crate) fn named<T: std::str::FromStr<Err: Display>>(name: &str, given: &Bound<'_, PyAny>) -> PyResult<T> {
    let text: String = given
        .extract()
        .map_err(|_| PyTypeError::new_err(format!("{name}: expected a str, got {}", type_name(given))))?;
    text.parse().map_err(|error: T::Err| PyValueError::new_err(error.to_string()))
}
