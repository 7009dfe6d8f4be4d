//! Files and bytes: `save`, `load`, `to_bytes`, `from_bytes`, `info` and `verify`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use counterpoint_core::file::{self, Access, Contents, FormatError, Info, Map, OpenError, verify_bytes};
use counterpoint_core::index::AnnIndex;
use counterpoint_core::simd::int8::Bits;
use counterpoint_core::threads::Control;
use counterpoint_core::vectors::Keep;
use counterpoint_lvq::Levels;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyList, PyMemoryView, PySlice, PyTuple};

use crate::enter::{Call, LONG_FILE, enter};
use crate::errors::Failure;
use crate::index::Index;
use crate::made::Made;
use crate::result;
use crate::scalars::type_name;
use crate::shared::Shared;

/// Bytes copied at a time with the GIL held.
const PART: usize = 4 << 20;

/// An index, and what its Python object needs to know of it.
pub(crate) struct Loaded {
    pub(crate) index: Box<dyn AnnIndex>,
    pub(crate) made: Made,
    pub(crate) map: Option<Arc<Map>>,
}

/// Makes the index of a sound file of any method, or of `only` one.
fn interpret(
    contents: Contents,
    only: Option<&str>,
    map: Option<Arc<Map>>,
    control: &Control,
) -> Result<Loaded, FormatError> {
    if let Some(only) = only {
        contents.expect_method(only)?;
    }
    let (made, index) = match contents.method() {
        "Flat" => (Made::Flat, counterpoint_core::flat::Flat::load(contents, control)?),
        "LoRANN" => {
            let made = Made::Lorann(counterpoint_lorann::Parameters::read(&contents)?);
            (made, counterpoint_lorann::Lorann::load(contents, control)?)
        }
        "LVQ" => {
            if counterpoint_lvq::is_graph(&contents)? {
                let made = Made::LvqGraph(counterpoint_lvq::graph::Parameters::read(&contents)?);
                let index = counterpoint_lvq::load(contents, control)?;
                return Ok(Loaded { index, made, map });
            }
            // What is unknown is refused just below.
            let (primary, residual) = (contents.param_usize("primary")?, contents.param_usize("residual")?);
            let levels = Levels::new(primary, residual).unwrap_or(Bits::Eight.into());
            let keep = contents.param_str("keep")?.parse().unwrap_or(Keep::None);
            (Made::Lvq { levels, keep }, counterpoint_lvq::Lvq::load(contents, control)?)
        }
        "PQ" => {
            let made = Made::Pq(counterpoint_pq::Parameters::read(&contents)?);
            (made, counterpoint_pq::Pq::load(contents, control)?)
        }
        "RVQ" => {
            let made = Made::Rvq(counterpoint_rvq::Parameters::read(&contents)?);
            (made, counterpoint_rvq::load(contents, control)?)
        }
        "SymphonyQG" => {
            let made = Made::SymphonyQg(counterpoint_symphony_qg::Parameters::read(&contents)?);
            (made, counterpoint_symphony_qg::SymphonyQg::load(contents, control)?)
        }
        "TurboQuant" => {
            let made = Made::TurboQuant(counterpoint_turboquant::Parameters::read(&contents)?);
            (made, counterpoint_turboquant::TurboQuant::load(contents, control)?)
        }
        other => {
            let expected = "Flat, LoRANN, LVQ, PQ, RVQ, SymphonyQG or TurboQuant";
            return Err(FormatError::content("method", expected, other));
        }
    };
    Ok(Loaded { index, made, map })
}

/// The call of something that goes through `bytes` bytes.
fn through(bytes: usize) -> PyResult<Call> {
    if bytes >= LONG_FILE { Call::watched(1) } else { Call::short(1) }
}

/// The call of something that goes through a file.
fn through_file(py: Python<'_>, path: &Path) -> PyResult<Call> {
    // What is wrong with the path, if anything, the call itself will say.
    through(py.detach(|| fs::metadata(path).map_or(0, |file| file.len())) as usize)
}

/// The call of something that goes through an index, or must wait for it.
fn through_index(shared: &Shared) -> PyResult<Call> {
    through(
        shared
            .glance(|state| {
                let index = state.index();
                // No method keeps much more of a vector than its values and a cache line.
                let own = index.len().saturating_mul(4 * index.dim().unwrap_or(0) + 64);
                state.map.as_ref().map_or(own, |map| own.max(map.as_bytes().len()))
            })
            .unwrap_or(usize::MAX),
    )
}

/// `Index.save`.
pub(crate) fn save(py: Python<'_>, shared: &Shared, path: &Path, durable: bool) -> PyResult<()> {
    enter(py, &through_index(shared)?, None, |call| {
        Ok(shared.read(call, |state| state.index().save(path, durable, &call.control))??)
    })
}

/// `Index.to_bytes`.
pub(crate) fn write<'py>(py: Python<'py>, shared: &Shared) -> PyResult<Bound<'py, PyBytes>> {
    let mut bytes = Growing::new(py)?;
    enter(py, &through_index(shared)?, None, |call| {
        Ok(shared.read(call, |state| {
            state.index().with_document(&mut |document| document.write_to(&mut bytes, &call.control))
        })??)
    })?;
    bytes.finish(py)
}

/// `Index.verify`.
pub(crate) fn check(py: Python<'_>, shared: &Shared) -> PyResult<()> {
    enter(py, &through_index(shared)?, None, |call| {
        shared.read(call, |state| {
            state.index().check(&call.control)?;
            if let Some(map) = &state.map {
                verify_bytes(map.as_bytes(), &call.control)?;
            }
            Ok::<(), Failure>(())
        })?
    })
}

/// A `bytes` object in the making, an `io.BytesIO`: to make one of many GB at once would keep the GIL for seconds, and
/// the bytes in memory twice.
struct Growing(Py<PyAny>);

impl Growing {
    fn new(py: Python<'_>) -> PyResult<Self> {
        Ok(Self(py.import("io")?.getattr("BytesIO")?.call0()?.unbind()))
    }

    fn add(&self, bytes: &Bound<'_, PyAny>) -> PyResult<()> {
        self.0.call_method1(bytes.py(), "write", (bytes,)).map(drop)
    }

    /// The bytes, which are not copied.
    fn finish(self, py: Python<'_>) -> PyResult<Bound<'_, PyBytes>> {
        Ok(self.0.bind(py).call_method0("getvalue")?.cast_into()?)
    }
}

impl Write for Growing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let part = bytes.get(..PART).unwrap_or(bytes);
        let added = Python::try_attach(|py| self.add(&PyBytes::new(py, part)));
        added.ok_or_else(|| io::Error::other("the interpreter is shutting down"))??;
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A copy of a buffer's bytes.
fn copied<'py>(py: Python<'py>, data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    // What is small, or does not lie in one piece.
    let whole = || Ok(py.get_type::<PyBytes>().call1((data,))?.cast_into()?);
    let view = PyMemoryView::from(data)?;
    let length: usize = view.getattr("nbytes")?.extract()?;
    if length < LONG_FILE || !view.getattr("c_contiguous")?.is_truthy()? {
        return whole();
    }
    let Ok(view) = view.call_method1("cast", ("B",)) else { return whole() };
    let bytes = Growing::new(py)?;
    for at in (0..length).step_by(PART) {
        py.check_signals()?;
        bytes.add(&view.get_item(PySlice::new(py, at as isize, (at + PART) as isize, 1))?)?;
    }
    bytes.finish(py)
}

/// `load` of a module or class.
pub(crate) fn open<'py>(
    py: Python<'py>,
    path: &Path,
    mmap: bool,
    verify: bool,
    only: Option<&'static str>,
) -> PyResult<Bound<'py, PyAny>> {
    let loaded = enter(py, &through_file(py, path)?, None, |call| {
        let access = if mmap { Access::Map } else { Access::Read };
        let contents = Contents::open(path, access, verify, &call.control)?;
        let mapped = || File::open(path).and_then(|file| Map::new(&file)).map(Arc::new);
        let io = |source| OpenError::Io { path: path.to_owned(), source };
        let map = mmap.then(mapped).transpose().map_err(io)?;
        Ok(interpret(contents, only, map, &call.control)?)
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
        copied(py, data)?
    } else {
        let got = type_name(data);
        return Err(PyTypeError::new_err(format!(
            "data: expected bytes, bytearray or memoryview, got {got}"
        )));
    };
    let bytes = data.as_bytes();
    let loaded = enter(py, &through(bytes.len())?, None, |call| {
        let contents = Contents::from_bytes(bytes, &call.control)?;
        Ok(interpret(contents, only, None, &call.control)?)
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
    let info =
        enter(py, &through_file(py, &path)?, None, |call| Ok(file::verify_path(&path, &call.control)?))?;
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
