//! The argument `filter`: which vectors a search may return.

use counterpoint_core::ids::Allow;
use counterpoint_core::index::Filter;
use numpy::{PyArrayDescrMethods, PyArrayDyn, PyArrayMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use crate::arrays::as_array;
use crate::ids;

/// What one query may return.
pub(crate) enum Allowed {
    All,
    Ids(Vec<i64>),
    Mask(Vec<bool>),
}

/// What the queries of a call may return.
pub(crate) enum Wanted {
    All,
    Shared(Allowed),
    Each(Vec<Allowed>),
}

impl Wanted {
    /// Reads the argument.
    ///
    /// A list or tuple whose first entry is `None` or itself an array-like holds one filter for each query.
    /// Anything else becomes an array: integers are ids, booleans are a mask, or with two dimensions one mask for
    /// each query.
    pub(crate) fn new(filter: Option<&Bound<'_, PyAny>>, single: bool) -> PyResult<Self> {
        let Some(filter) = filter else { return Ok(Wanted::All) };
        if let Some(entries) = entries(filter)? {
            if single {
                return Err(PyValueError::new_err(
                    "filter: expected ids or a mask for the one query, got a list of filters",
                ));
            }
            return Ok(Wanted::Each(entries.iter().map(allowed).collect::<PyResult<_>>()?));
        }
        let array = as_array("filter", filter)?;
        if array.dtype().kind() == b'b' && array.ndim() == 2 && !single {
            let columns = array.shape().last().copied().unwrap_or(0);
            let rows = array.shape().first().copied().unwrap_or(0);
            let flags = flags(&array)?;
            let row = |row| flags.get(row * columns..(row + 1) * columns).unwrap_or_default().to_vec();
            return Ok(Wanted::Each((0..rows).map(|r| Allowed::Mask(row(r))).collect()));
        }
        Ok(Wanted::Shared(from_array(&array, filter)?))
    }

    /// Calls `search` with the filter for an index of `rows` rows.
    pub(crate) fn with<T>(&self, rows: usize, search: impl FnOnce(Filter<'_>) -> T) -> T {
        match self {
            Wanted::All | Wanted::Shared(Allowed::All) => search(Filter::None),
            Wanted::Shared(Allowed::Ids(ids)) => search(Filter::Shared(Allow::Ids(ids))),
            Wanted::Shared(Allowed::Mask(mask)) => search(Filter::Shared(Allow::Mask(mask))),
            Wanted::Each(each) => {
                let any = each.iter().any(|allowed| matches!(allowed, Allowed::All));
                let all = vec![true; if any { rows } else { 0 }];
                let allows: Vec<Allow<'_>> = each
                    .iter()
                    .map(|allowed| match allowed {
                        Allowed::All => Allow::Mask(&all),
                        Allowed::Ids(ids) => Allow::Ids(ids),
                        Allowed::Mask(mask) => Allow::Mask(mask),
                    })
                    .collect();
                search(Filter::PerQuery(&allows))
            }
        }
    }
}

/// The entries of a list or tuple of filters; `None` for anything else.
fn entries<'py>(filter: &Bound<'py, PyAny>) -> PyResult<Option<Vec<Bound<'py, PyAny>>>> {
    if !filter.is_instance_of::<PyList>() && !filter.is_instance_of::<PyTuple>() {
        return Ok(None);
    }
    let entries: Vec<_> = filter.try_iter()?.collect::<PyResult<_>>()?;
    let several = entries.first().is_some_and(|first| {
        first.is_none() || first.hasattr("__len__").unwrap_or(false) || first.cast::<PyUntypedArray>().is_ok()
    });
    Ok(several.then_some(entries))
}

fn allowed(entry: &Bound<'_, PyAny>) -> PyResult<Allowed> {
    if entry.is_none() {
        return Ok(Allowed::All);
    }
    from_array(&as_array("filter", entry)?, entry)
}

fn from_array(array: &Bound<'_, PyUntypedArray>, object: &Bound<'_, PyAny>) -> PyResult<Allowed> {
    let dtype = array.dtype();
    if array.ndim() != 1 {
        let shape = array.getattr("shape")?;
        return Err(PyValueError::new_err(format!(
            "filter: expected ids of shape (m,), or a mask of shape (n,) or for several queries (nq, n), \
             got {shape} {dtype}"
        )));
    }
    match dtype.kind() {
        b'b' => Ok(Allowed::Mask(flags(array)?)),
        b'i' | b'u' => Ok(Allowed::Ids(ids::from_array("filter", array, object)?)),
        b'f' if array.len() == 0 && !object.is_instance_of::<PyUntypedArray>() => {
            Ok(Allowed::Ids(Vec::new()))
        }
        _ => {
            Err(PyTypeError::new_err(format!("filter: expected integer ids or a boolean mask, got {dtype}")))
        }
    }
}

/// The values of a boolean array in row-major order. They are read as bytes: a boolean array made of other
/// memory may hold any byte, which Rust's `bool` may not.
fn flags(array: &Bound<'_, PyUntypedArray>) -> PyResult<Vec<bool>> {
    let flat = array.call_method1("reshape", (-1,))?;
    let bytes = flat.call_method0("copy")?.call_method1("view", ("uint8",))?;
    let bytes = bytes.cast::<PyArrayDyn<u8>>()?.to_vec()?;
    Ok(bytes.into_iter().map(|byte| byte != 0).collect())
}
