//! The one table from Rust errors to Python exceptions.
//!
//! | Rust | Python |
//! |---|---|
//! | an input, id, filter, knob or k that is wrong | `ValueError` naming the argument |
//! | an id the index does not have | `KeyError` |
//! | bytes that are no sound file | `FormatError` (a `ValueError`) |
//! | the operating system refuses | `OSError` of the fitting kind, with errno and filename |
//! | the method cannot do it, or not before a fit | `UnsupportedError` (a `ValueError`) |
//! | an index fitted anew while it was tuned | `RuntimeError` |
//! | a bug: a panic, an index lost to one | `InternalError` (a `RuntimeError`) |
//!
//! Arguments of the wrong type never reach Rust: `arrays`, `ids`, `filter` and `scalars` raise `TypeError`.

use std::io;
use std::path::Path;

use counterpoint_core::file::{FormatError as Unsound, OpenError, SaveError};
use counterpoint_core::ids::IdError;
use counterpoint_core::index::{AddError, ReconstructError, SearchError};
use counterpoint_core::threads::Cancelled;
use counterpoint_core::tune::TuneError;
use pyo3::exceptions::{PyKeyError, PyKeyboardInterrupt, PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

pyo3::create_exception!(
    counterpoint,
    FormatError,
    PyValueError,
    "Bytes that are not a sound Counterpoint file: foreign, cut short, damaged, or of another method."
);
pyo3::create_exception!(
    counterpoint,
    InternalError,
    PyRuntimeError,
    "A bug in Counterpoint. Please report it."
);
pyo3::create_exception!(
    counterpoint,
    UnsupportedError,
    PyValueError,
    "Something this index cannot do as it was made; the message says what would."
);

/// Why a call failed.
#[derive(Debug)]
pub(crate) enum Failure {
    Add(AddError),
    Ids(IdError),
    Search(SearchError),
    Reconstruct(ReconstructError),
    Tune(TuneError),
    Unsound(Unsound),
    Open(OpenError),
    Save(SaveError),
    Cancelled,
    /// The index was fitted anew while it was tuned.
    Refitted,
    /// Rust code panicked, with this message.
    Panic(String),
    /// An earlier panic may have left the index half changed.
    Poisoned,
    /// The process was forked while another thread was changing the index.
    ForkedInChange,
}

macro_rules! failure_from {
    ($($variant:ident($error:ty)),*) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Failure::$variant(error)
            }
        })*
    };
}

failure_from!(
    Add(AddError),
    Ids(IdError),
    Search(SearchError),
    Reconstruct(ReconstructError),
    Tune(TuneError),
    Unsound(Unsound),
    Open(OpenError),
    Save(SaveError)
);

impl From<Cancelled> for Failure {
    fn from(_: Cancelled) -> Self {
        Failure::Cancelled
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Add(AddError::Input(error)) => value_error("X", error),
            Failure::Add(error @ AddError::NotFitted { .. }) => UnsupportedError::new_err(error.to_string()),
            Failure::Add(AddError::Ids(error)) | Failure::Ids(error) => id_error(error),
            Failure::Search(SearchError::Input(error)) => value_error("Q", error),
            Failure::Reconstruct(ReconstructError::Ids(error)) => id_error(error),
            Failure::Reconstruct(ReconstructError::Unsupported) => {
                UnsupportedError::new_err("reconstruct: this index keeps nothing to make a vector from")
            }
            Failure::Add(AddError::Cancelled(_))
            | Failure::Search(SearchError::Cancelled(_))
            | Failure::Tune(TuneError::Cancelled(_))
            | Failure::Unsound(Unsound::Cancelled(_))
            | Failure::Open(OpenError::Cancelled(_))
            | Failure::Save(SaveError::Cancelled(_))
            | Failure::Cancelled => PyKeyboardInterrupt::new_err(()),
            Failure::Search(error) => PyValueError::new_err(error.to_string()),
            Failure::Tune(error) => PyValueError::new_err(error.to_string()),
            Failure::Refitted => {
                PyRuntimeError::new_err("the index was fitted anew while it was tuned: tune it again")
            }
            Failure::Unsound(error) | Failure::Open(OpenError::Format(error)) => {
                FormatError::new_err(error.to_string())
            }
            Failure::Open(OpenError::Io { path, source }) => os_error(&path, &source),
            Failure::Save(SaveError::Io { path, source }) => os_error(&path, &source),
            // What Python said when it was to take bytes.
            Failure::Save(SaveError::Write(source)) => source.into(),
            Failure::Save(SaveError::NotRegular { path, got }) => {
                os_error(&path, &io::Error::other(format!("expected a regular file, got {got}")))
            }
            Failure::Panic(message) => {
                InternalError::new_err(format!("a bug in Counterpoint, please report it: {message}"))
            }
            Failure::Poisoned => InternalError::new_err(
                "this index was lost to an earlier internal error; load or fit it anew",
            ),
            Failure::ForkedInChange => PyRuntimeError::new_err(
                "the process was forked while another thread was changing this index, so that this copy \
                 is unusable; fork between changes, or load the index in the child",
            ),
            // Both say that the document is one no reader would take.
            Failure::Save(error) => InternalError::new_err(error.to_string()),
            // New variants of core's errors.
            Failure::Add(error) => PyValueError::new_err(error.to_string()),
            Failure::Reconstruct(error) => PyValueError::new_err(error.to_string()),
            Failure::Open(error) => PyValueError::new_err(error.to_string()),
        }
    }
}

fn value_error(argument: &str, error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(format!("{argument}: {error}"))
}

fn id_error(error: IdError) -> PyErr {
    match error {
        IdError::Unknown { .. } => PyKeyError::new_err(format!("ids: {error}")),
        error => value_error("ids", error),
    }
}

/// As `open` would raise it: `OSError(errno, strerror, filename)` makes the fitting subclass.
fn os_error(path: &Path, error: &io::Error) -> PyErr {
    const EIO: i32 = 5;
    const EISDIR: i32 = 21;
    const EINVAL: i32 = 22;
    // An error that is none of the system's has only a kind.
    let (errno, reason) = match (error.raw_os_error(), error.kind()) {
        (Some(errno), _) => (errno, None),
        (None, io::ErrorKind::UnexpectedEof) => (EIO, Some(error.to_string())),
        (None, _) if path.is_dir() => (EISDIR, None),
        (None, _) => (EINVAL, Some(error.to_string())),
    };
    let path = path.as_os_str().to_owned();
    Python::attach(|py| {
        let strerror = || py.import("os")?.getattr("strerror")?.call1((errno,))?.extract::<String>();
        match reason.map_or_else(strerror, Ok) {
            Ok(reason) => PyOSError::new_err((errno, reason, path)),
            Err(error) => error,
        }
    })
}
