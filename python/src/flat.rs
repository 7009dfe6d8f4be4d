//! The class `Flat`.

use std::path::PathBuf;

use pyo3::prelude::*;

use crate::files;
use crate::index::Index;
use crate::made::Made;
use crate::scalars;

/// Exact search: every vector is compared.
///
/// The baseline, and the ground truth for all other methods. Needs 4 bytes per dimension and vector.
///
/// Parameters
/// ----------
/// metric : {"l2", "ip", "cosine"}
///     What a distance is; see `Index`.
///
/// Examples
/// --------
/// >>> import counterpoint as cp
/// >>> index = cp.Flat("l2").fit([[0.0, 0.0], [3.0, 4.0], [1.0, 0.0]])
/// >>> ids, distances = index.search([0.9, 0.0], k=2)
/// >>> ids.tolist()
/// [2, 0]
#[pyclass(frozen, extends = Index, module = "counterpoint")]
pub(crate) struct Flat;

#[pymethods]
impl Flat {
    #[new]
    fn new(metric: &Bound<'_, PyAny>) -> PyResult<PyClassInitializer<Self>> {
        let index = counterpoint_core::flat::Flat::new(scalars::named("metric", metric)?);
        let index = Index::new(Box::new(index), Made::Flat, None);
        Ok(PyClassInitializer::from(index).add_subclass(Self))
    }

    /// Load a Flat index from a file; see `counterpoint.load`. Another method's file is a FormatError.
    #[staticmethod]
    #[pyo3(signature = (path, *, mmap=false, verify=true))]
    fn load(py: Python<'_>, path: PathBuf, mmap: bool, verify: bool) -> PyResult<Bound<'_, PyAny>> {
        files::open(py, &path, mmap, verify, Some("Flat"))
    }

    /// Load a Flat index from the bytes of a file. Another method's are a FormatError.
    #[staticmethod]
    fn from_bytes<'py>(py: Python<'py>, data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        files::read(py, data, Some("Flat"))
    }
}
