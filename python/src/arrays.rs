//! Vectors that come in: any array-like as rows that Rust reads.
//!
//! float32, float64, float16, int8 and uint8 arrays are read where they lie, whatever their strides, also while
//! the GIL is released: the caller must not write to them meanwhile. (The values read would then be any mixture;
//! each is checked after it is read.) One contiguous float32 query, the usual search, is copied instead.

use counterpoint_core::vectors::RowSource;
use half::f16;
use numpy::ndarray::{ArrayView2, Axis, Ix2};
use numpy::{
    Element, PyArray1, PyArrayDescrMethods, PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyUntypedArray,
    PyUntypedArrayMethods,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyList, PyTuple};

/// A table of numbers from Python, borrowed or copied.
pub(crate) enum Vectors<'py> {
    /// One row.
    Copied(Vec<f32>),
    /// No values to borrow: the numbers of rows and columns.
    Empty(usize, usize),
    F32(PyReadonlyArrayDyn<'py, f32>),
    F64(PyReadonlyArrayDyn<'py, f64>),
    F16(PyReadonlyArrayDyn<'py, f16>),
    I8(PyReadonlyArrayDyn<'py, i8>),
    U8(PyReadonlyArrayDyn<'py, u8>),
}

/// The rows of [`Vectors`].
pub(crate) enum Rows<'a> {
    One(&'a [f32]),
    Empty(usize, usize),
    F32(ArrayView2<'a, f32>),
    F64(ArrayView2<'a, f64>),
    F16(ArrayView2<'a, f16>),
    I8(ArrayView2<'a, i8>),
    U8(ArrayView2<'a, u8>),
}

/// `X` of fit, add and upsert: an array-like of shape (n, d).
pub(crate) fn data<'py>(x: &Bound<'py, PyAny>) -> PyResult<Vectors<'py>> {
    let array = numeric("X", x)?;
    if array.ndim() != 2 {
        return Err(shape_error("X", "(n, d)", &array));
    }
    borrow("X", &array)
}

/// `Q` of search: an array-like of shape (nq, d) or (d,); and whether it is the latter.
pub(crate) fn queries<'py>(q: &Bound<'py, PyAny>) -> PyResult<(Vectors<'py>, bool)> {
    if let Ok(array) = q.cast_exact::<PyArray1<f32>>()
        && let Ok(values) = array.to_vec()
    {
        return Ok((Vectors::Copied(values), true));
    }
    let array = numeric("Q", q)?;
    match array.ndim() {
        1 | 2 => Ok((borrow("Q", &array)?, array.ndim() == 1)),
        _ => Err(shape_error("Q", "(nq, d) or (d,)", &array)),
    }
}

impl Vectors<'_> {
    /// The rows, readable by any thread while this borrow lives.
    pub(crate) fn rows(&self) -> PyResult<Rows<'_>> {
        Ok(match self {
            Vectors::Copied(values) => Rows::One(values),
            &Vectors::Empty(rows, columns) => Rows::Empty(rows, columns),
            Vectors::F32(array) => Rows::F32(table(array)?),
            Vectors::F64(array) => Rows::F64(table(array)?),
            Vectors::F16(array) => Rows::F16(table(array)?),
            Vectors::I8(array) => Rows::I8(table(array)?),
            Vectors::U8(array) => Rows::U8(table(array)?),
        })
    }
}

fn table<'a, T: Element>(array: &'a PyReadonlyArrayDyn<'_, T>) -> PyResult<ArrayView2<'a, T>> {
    let view = array.as_array();
    let view = if view.ndim() == 1 { view.insert_axis(Axis(0)) } else { view };
    view.into_dimensionality::<Ix2>().map_err(|error| PyValueError::new_err(error.to_string()))
}

impl Rows<'_> {
    fn shape(&self) -> (usize, usize) {
        match self {
            Rows::One(values) => (1, values.len()),
            &Rows::Empty(rows, columns) => (rows, columns),
            Rows::F32(view) => view.dim(),
            Rows::F64(view) => view.dim(),
            Rows::F16(view) => view.dim(),
            Rows::I8(view) => view.dim(),
            Rows::U8(view) => view.dim(),
        }
    }

    /// Number of values.
    pub(crate) fn values(&self) -> usize {
        let (rows, columns) = self.shape();
        rows.saturating_mul(columns)
    }
}

impl RowSource for Rows<'_> {
    fn len(&self) -> usize {
        self.shape().0
    }

    fn dim(&self) -> usize {
        self.shape().1
    }

    fn read(&self, row: usize, out: &mut [f32]) {
        match self {
            Rows::One(values) => out.copy_from_slice(values),
            Rows::Empty(..) => {}
            Rows::F32(view) => convert(view, row, out, |value| value),
            // What f32 cannot hold becomes ±inf, which the check of each row rejects.
            Rows::F64(view) => convert(view, row, out, |value| value as f32),
            Rows::F16(view) => convert(view, row, out, f16::to_f32),
            Rows::I8(view) => convert(view, row, out, f32::from),
            Rows::U8(view) => convert(view, row, out, f32::from),
        }
    }
}

#[inline(always)]
fn convert<T: Copy>(view: &ArrayView2<'_, T>, row: usize, out: &mut [f32], to_f32: impl Fn(T) -> f32) {
    let row = view.row(row);
    match row.as_slice() {
        Some(values) => out.iter_mut().zip(values).for_each(|(out, &value)| *out = to_f32(value)),
        None => out.iter_mut().zip(row).for_each(|(out, &value)| *out = to_f32(value)),
    }
}

/// `numpy.asarray(object)`. A masked array is refused, since what it hides would be taken for data.
pub(crate) fn as_array<'py>(name: &str, object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyUntypedArray>> {
    let py = object.py();
    if let Ok(array) = object.cast_exact::<PyUntypedArray>() {
        return Ok(array.clone());
    }
    static AS_ARRAY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    static MASKED: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    if object.is_instance(MASKED.import(py, "numpy.ma", "MaskedArray")?)? {
        let message =
            format!("{name}: expected an array, got a masked array: fill it or drop its masked rows");
        return Err(PyTypeError::new_err(message));
    }
    let array = AS_ARRAY.import(py, "numpy", "asarray")?.call1((object,)).map_err(|error| {
        if !error.is_instance_of::<PyValueError>(py) && !error.is_instance_of::<PyTypeError>(py) {
            return error;
        }
        let message = format!("{name}: expected an array: {}", error.value(py));
        let named = PyErr::from_type(error.get_type(py), message);
        named.set_cause(py, Some(error));
        named
    })?;
    Ok(array.cast_into::<PyUntypedArray>()?)
}

/// As [`as_array`]; whole numbers of Python lists become float64.
fn numeric<'py>(name: &str, object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyUntypedArray>> {
    let array = as_array(name, object)?;
    let listed = object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>();
    if listed && matches!(array.dtype().kind(), b'i' | b'u') {
        return cast(&array, "float64");
    }
    Ok(array)
}

/// `array.astype(dtype)`.
pub(crate) fn cast<'py>(
    array: &Bound<'py, PyUntypedArray>,
    dtype: impl IntoPyObject<'py>,
) -> PyResult<Bound<'py, PyUntypedArray>> {
    let cast = array.call_method1(intern!(array.py(), "astype"), (dtype,))?;
    Ok(cast.cast_into::<PyUntypedArray>()?)
}

fn shape_error(name: &str, expected: &str, array: &Bound<'_, PyUntypedArray>) -> PyErr {
    let shape = array.getattr("shape").map_or_else(|_| String::new(), |shape| shape.to_string());
    let dtype = array.dtype();
    PyValueError::new_err(format!("{name}: expected an array of shape {expected}, got {shape} {dtype}"))
}

fn borrow<'py>(name: &str, array: &Bound<'py, PyUntypedArray>) -> PyResult<Vectors<'py>> {
    // Of another byte order, or not aligned: a copy is neither.
    let mut array = array.clone();
    if array.dtype().is_native_byteorder() == Some(false) {
        let native = array.dtype().call_method1("newbyteorder", ("=",))?;
        array = cast(&array, native)?;
    }
    let itemsize = array.dtype().itemsize().max(1) as isize;
    let aligned: bool = array.getattr("flags")?.getattr("aligned")?.extract()?;
    if !aligned || array.strides().iter().any(|stride| stride % itemsize != 0) {
        array = array.call_method0("copy")?.cast_into::<PyUntypedArray>()?;
    }
    let (rows, columns) = match *array.shape() {
        [rows, columns] => (rows, columns),
        ref shape => (1, shape.iter().product()),
    };
    let vectors = if let Ok(array) = array.cast::<PyArrayDyn<f32>>() {
        Vectors::F32(array.try_readonly()?)
    } else if let Ok(array) = array.cast::<PyArrayDyn<f64>>() {
        Vectors::F64(array.try_readonly()?)
    } else if let Ok(array) = array.cast::<PyArrayDyn<f16>>() {
        Vectors::F16(array.try_readonly()?)
    } else if let Ok(array) = array.cast::<PyArrayDyn<i8>>() {
        Vectors::I8(array.try_readonly()?)
    } else if let Ok(array) = array.cast::<PyArrayDyn<u8>>() {
        Vectors::U8(array.try_readonly()?)
    } else {
        let got = array.dtype();
        let expected = "float32, float64, float16, int8 or uint8";
        return Err(PyTypeError::new_err(format!("{name}: expected {expected} values, got {got}")));
    };
    Ok(if rows * columns == 0 { Vectors::Empty(rows, columns) } else { vectors })
}
