//! `counterpoint._counterpoint`: the Rust indexes as Python classes. Conversions, the GIL, errors; no
//! algorithm.
//!
//! - [`index`]: the class `Index` and its verbs, [`mod@search`] and [`tune`] what two of them do; [`flat`],
//!   [`lorann`], [`lvq`], [`pq`], [`symphony_qg`] and [`turboquant`]: its subclasses, made as [`made`] says.
//! - [`arrays`], [`ids`], [`filter`], [`scalars`]: what comes in; [`result`]: what goes out.
//! - [`enter`]: the one way into Rust code: releases the GIL, catches panics, minds Ctrl-C and progress.
//! - [`shared`]: the lock around an index, and what becomes of it in a forked child.
//! - [`errors`]: the one table from Rust errors to Python exceptions.
//! - [`files`]: `load`, `from_bytes`, `info`, `verify`; [`merge`]: results of shards.
//! - [`synthetic`]: data for the benches.
#![forbid(unsafe_code)]

use pyo3::prelude::*;

mod arrays;
mod enter;
mod errors;
mod files;
mod filter;
mod flat;
mod ids;
mod index;
mod lorann;
mod lvq;
mod made;
mod merge;
mod pq;
mod result;
mod scalars;
mod search;
mod shared;
mod symphony_qg;
mod synthetic;
mod tune;
mod turboquant;

/// Vector search: the compiled part of `counterpoint`.
#[pymodule(gil_used = false)]
mod _counterpoint {
    use counterpoint_core::simd::Level;
    use pyo3::exceptions::PyImportError;
    use pyo3::prelude::*;
    use pyo3::types::PyDict;

    #[pymodule_export]
    use crate::errors::{FormatError, InternalError, UnsupportedError};
    #[pymodule_export]
    use crate::files::{from_bytes, info, load, verify};
    #[pymodule_export]
    use crate::flat::Flat;
    #[pymodule_export]
    use crate::index::Index;
    #[pymodule_export]
    use crate::lorann::Lorann;
    #[pymodule_export]
    use crate::lvq::Lvq;
    #[pymodule_export]
    use crate::merge::merge;
    #[pymodule_export]
    use crate::pq::Pq;
    #[pymodule_export]
    use crate::simd_level;
    #[pymodule_export]
    use crate::symphony_qg::SymphonyQg;
    #[pymodule_export]
    use crate::synthetic::synthetic;
    #[pymodule_export]
    use crate::turboquant::TurboQuant;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        Level::active().map_err(|error| PyImportError::new_err(error.to_string()))?;
        let py = module.py();
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        let os = py.import("os")?;
        // Absent where there is no fork.
        if let Ok(register) = os.getattr("register_at_fork") {
            let hook = pyo3::wrap_pyfunction!(crate::shared::after_fork, module)?;
            let hooks = PyDict::new(py);
            hooks.set_item("after_in_child", hook)?;
            register.call((), Some(&hooks))?;
        }
        Ok(())
    }
}

/// The instruction set that searches and builds use.
///
/// The fastest this processor has, or what the environment variable COUNTERPOINT_SIMD asked for when the
/// package was imported.
///
/// Returns
/// -------
/// str
///     "scalar", "avx2", "avx512" or "neon".
#[pyfunction]
fn simd_level() -> PyResult<&'static str> {
    Ok(enter::level()?.name())
}
