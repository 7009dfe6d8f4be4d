//! `load`, `from_bytes`, `info` and `verify`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use counterpoint_core::file::{self, Access, Contents, FormatError, Info, Map, OpenError};
use counterpoint_core::index::AnnIndex;
use counterpoint_core::vectors::Keep;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyList, PyMemoryView, PyTuple};

use crate::enter::{Call, enter};
use crate::errors::Failure;
use crate::index::{Index, Made};
use crate::result;
use crate::scalars::type_name;

/// An index, and what its Python object needs to know of it.
pub(crate) struct Loaded {
    pub(crate) index: Box<dyn AnnIndex>,
    pub(crate) made: Made,
    pub(crate) map: Option<Arc<Map>>,
}

/// Makes the index of a sound file of any method, or of `only` one.
fn interpret(contents: Contents, only: Option<&str>, map: Option<Arc<Map>>) -> Result<Loaded, FormatError> {
    if let Some(only) = only {
        contents.expect_method(only)?;
    }
    let (made, index) = match contents.method() {
        "Flat" => (Made::Flat, counterpoint_core::flat::Flat::load(contents)?),
        "LVQ" => {
            let primary = contents.param_usize("primary")?;
            let keep = contents.param_str("keep")?.parse().unwrap_or(Keep::None); // refused just below if unknown
            (Made::Lvq { primary, keep }, counterpoint_lvq::Lvq::load(contents)?)
        }
        other => return Err(FormatError::content("method", "Flat or LVQ", other)),
    };
    Ok(Loaded { index, made, map })
}

/// `load` of a module or class.
pub(crate) fn open<'py>(
    py: Python<'py>,
    path: &Path,
    mmap: bool,
    verify: bool,
    only: Option<&'static str>,
) -> PyResult<Bound<'py, PyAny>> {
    let loaded = enter(py, &Call::short(1)?, None, |_| {
        let access = if mmap { Access::Map } else { Access::Read };
        let contents = Contents::open(path, access, verify)?;
        let mapped = || File::open(path).and_then(|file| Map::new(&file)).map(Arc::new);
        let io = |source| OpenError::Io { path: path.to_owned(), source };
        let map = mmap.then(mapped).transpose().map_err(io)?;
        Ok(interpret(contents, only, map)?)
    })?;
    Index::wrap(py, loaded)
}

/// `from_bytes` of a module or class.
pub(crate) fn read<'py>(
    py: Python<'py>,
    data: &Bound<'py, PyAny>,
    only: Option<&'static str>,
) -> PyResult<Bound<'py, PyAny>> {
    let data = if let Ok(bytes) = data.cast::<PyBytes>() {
        bytes.clone()
    } else if data.is_instance_of::<PyByteArray>() || data.is_instance_of::<PyMemoryView>() {
        // Others may write to it while the GIL is released.
        py.get_type::<PyBytes>().call1((data,))?.cast_into::<PyBytes>()?
    } else {
        let got = type_name(data);
        return Err(PyTypeError::new_err(format!(
            "data: expected bytes, bytearray or memoryview, got {got}"
        )));
    };
    let bytes = data.as_bytes();
    let loaded = enter(py, &Call::short(1)?, None, |_| {
        Ok::<_, Failure>(interpret(Contents::from_bytes(bytes)?, only, None)?)
    })?;
    Index::wrap(py, loaded)
}

/// Load an index from a file.
///
/// Parameters
/// ----------
/// path : str or os.PathLike
///     A file that `save` wrote.
/// mmap : bool, default False
///     Map the file instead of reading it: no copy, pages come when touched, processes share them. The index may be
///     changed; the file never is. While it is mapped, nobody must write into the file or cut it short (a search
///     could then end the process); to replace it as a whole, as `save` does, is safe.
/// verify : bool, default True
///     Check the digest of every tensor; with `mmap` that reads the whole file once. The header is always checked.
///
/// Returns
/// -------
/// Index
///     An object of the class that was saved.
///
/// Raises
/// ------
/// FormatError
///     The file is foreign, cut short, or damaged.
/// OSError
///     It cannot be read.
#[pyfunction]
#[pyo3(signature = (path, *, mmap=false, verify=true))]
pub(crate) fn load(py: Python<'_>, path: PathBuf, mmap: bool, verify: bool) -> PyResult<Bound<'_, PyAny>> {
    open(py, &path, mmap, verify, None)
}

/// Load an index from the bytes of a file.
///
/// Parameters
/// ----------
/// data : bytes, bytearray or memoryview
///     What `to_bytes` returned. Every digest is checked.
///
/// Returns
/// -------
/// Index
///     An object of the class that was saved.
///
/// Raises
/// ------
/// FormatError
///     The bytes are foreign, cut short, or damaged.
#[pyfunction]
pub(crate) fn from_bytes<'py>(py: Python<'py>, data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    read(py, data, None)
}

/// Say what a file holds, from its header alone, which is checked.
///
/// Parameters
/// ----------
/// path : str or os.PathLike
///     A file that `save` wrote.
///
/// Returns
/// -------
/// dict
///     method, version (of counterpoint), format, params (dict), tensors (list of dicts with name, dtype, shape,
///     bytes) and file_bytes.
///
/// Raises
/// ------
/// FormatError, OSError
///     As for `load`.
#[pyfunction]
pub(crate) fn info(py: Python<'_>, path: PathBuf) -> PyResult<Bound<'_, PyDict>> {
    let info = enter(py, &Call::short(1)?, None, |_| Ok(file::info(&path)?))?;
    described(py, &info)
}

/// Read a file whole and check every digest; holds little of it in memory.
///
/// Parameters
/// ----------
/// path : str or os.PathLike
///     A file that `save` wrote.
///
/// Returns
/// -------
/// dict
///     As `info` returns it.
///
/// Raises
/// ------
/// FormatError, OSError
///     As for `load`.
#[pyfunction]
pub(crate) fn verify(py: Python<'_>, path: PathBuf) -> PyResult<Bound<'_, PyDict>> {
    let info = enter(py, &Call::short(1)?, None, |_| Ok(file::verify_path(&path)?))?;
    described(py, &info)
}

fn described<'py>(py: Python<'py>, info: &Info) -> PyResult<Bound<'py, PyDict>> {
    let tensors = PyList::empty(py);
    for tensor in &info.tensors {
        let line = PyDict::new(py);
        line.set_item("name", &tensor.name)?;
        line.set_item("dtype", tensor.dtype.to_string())?;
        line.set_item("shape", PyTuple::new(py, &tensor.shape)?)?;
        line.set_item("bytes", tensor.bytes)?;
        tensors.append(line)?;
    }
    let dict = PyDict::new(py);
    dict.set_item("method", &info.method)?;
    dict.set_item("version", &info.version)?;
    dict.set_item("format", info.format)?;
    dict.set_item("params", result::object(py, &info.params)?)?;
    dict.set_item("tensors", tensors)?;
    dict.set_item("file_bytes", info.file_bytes)?;
    Ok(dict)
}
