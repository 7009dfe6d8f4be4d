//! The one way from Python into Rust code.
//!
//! [`enter`] releases the GIL, runs the job and turns a panic into an `InternalError`. A job that is expected
//! to be short runs on the calling thread. A long one ([`Call::watched`]) runs on a thread of its own, while
//! the calling thread wakes every 50 ms to let Python handle signals and to report progress; Ctrl-C, or an
//! exception out of `progress`, cancels the job and is raised once the job has stopped.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use counterpoint_core::simd::Level;
use counterpoint_core::threads::{Cancelled, Control};
use pyo3::exceptions::{PyImportError, PyTypeError};
use pyo3::prelude::*;

use crate::errors::Failure;

/// Between two looks at signals and progress.
const WAKE: Duration = Duration::from_millis(50);
/// Multiply-adds of a search from which it is watched: some 50 ms at the scalar level on one thread.
pub(crate) const LONG_SEARCH: usize = 100_000_000;
/// Values read by a fit or an add from which it is watched.
pub(crate) const LONG_BUILD: usize = 4_000_000;

/// Bytes of a file from which reading or writing it is watched: half a second of a slow disk.
pub(crate) const LONG_FILE: usize = 8 << 20;

/// The instruction set of this process. Checked on import; asked again here because it is cheap.
pub(crate) fn level() -> PyResult<Level> {
    Level::active().map_err(|error| PyImportError::new_err(error.to_string()))
}

/// One call: how it runs, and what interrupted it.
pub(crate) struct Call {
    /// What the Rust code looks at.
    pub(crate) control: Control,
    watched: bool,
    interrupt: Mutex<Option<PyErr>>,
}

impl Call {
    /// A call that is over before anyone would press Ctrl-C.
    pub(crate) fn short(threads: usize) -> PyResult<Self> {
        Ok(Self {
            control: Control::new(level()?, Some(threads)),
            watched: false,
            interrupt: Mutex::default(),
        })
    }

    /// A call that may take long.
    pub(crate) fn watched(threads: usize) -> PyResult<Self> {
        Ok(Self { watched: true, ..Self::short(threads)? })
    }

    /// Waits a moment for the `round`-th time, for a lock that another thread holds.
    ///
    /// # Errors
    /// [`Cancelled`] where the call was cancelled meanwhile, by a signal too.
    pub(crate) fn wait(&self, round: u32) -> Result<(), Cancelled> {
        // Holders of a moment first; then 50 µs, doubled to 1.6 ms.
        match round {
            0..3 => thread::yield_now(),
            _ => thread::sleep(Duration::from_micros(50 << (round - 3).min(5))),
        }
        if !self.watched && round % 32 == 31 {
            // On the calling thread: nobody else looks at signals.
            self.attend(|py| py.check_signals());
        }
        self.control.check()
    }

    /// Lets Python do something; its exception cancels the call.
    fn attend(&self, action: impl FnOnce(Python<'_>) -> PyResult<()>) {
        // `None`: the interpreter is shutting down.
        if let Some(Err(error)) = Python::try_attach(action) {
            *self.interrupt.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            self.control.cancel();
        }
    }

    fn interrupted(&self) -> Option<PyErr> {
        self.interrupt.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A `progress=` callable and what it was told last.
pub(crate) struct Progress {
    callable: Py<PyAny>,
    rows: u64,
    told: Mutex<(u64, u64)>,
}

impl Progress {
    /// Checks the argument. `rows` is the total where the work announces none.
    pub(crate) fn new(given: Option<&Bound<'_, PyAny>>, rows: usize) -> PyResult<Option<Self>> {
        let Some(given) = given else { return Ok(None) };
        if !given.is_callable() {
            let got = crate::scalars::type_name(given);
            return Err(PyTypeError::new_err(format!(
                "progress: expected a callable of (done, total), got {got}"
            )));
        }
        let callable = given.clone().unbind();
        Ok(Some(Self { callable, rows: rows as u64, told: Mutex::new((0, 0)) }))
    }

    /// Tells what is new; never less than was told.
    fn tell(&self, py: Python<'_>, control: &Control, finished: bool) -> PyResult<()> {
        let (mut done, mut total) = control.progress();
        if finished {
            total = if total == 0 { self.rows } else { total };
            done = total;
        }
        {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if !finished && (total == 0 || done <= told.0 || done >= total) {
                return Ok(());
            }
            *told = (done, total);
        }
        self.callable.call1(py, (done, total)).map(drop)
    }
}

/// Runs `job` without the GIL.
///
/// # Errors
/// What interrupted the call, else what the job failed with.
pub(crate) fn enter<T: Send>(
    py: Python<'_>,
    call: &Call,
    progress: Option<&Progress>,
    job: impl FnOnce(&Call) -> Result<T, Failure> + Send,
) -> PyResult<T> {
    let outcome = py.detach(|| if call.watched { watch(call, progress, job) } else { run(call, job) });
    if let Some(interrupt) = call.interrupted() {
        return Err(interrupt);
    }
    let value = outcome?;
    if let Some(progress) = progress {
        progress.tell(py, &call.control, true)?;
    }
    Ok(value)
}

fn run<T>(call: &Call, job: impl FnOnce(&Call) -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(|| job(call))).unwrap_or_else(|panic| Err(Failure::Panic(message(&*panic))))
}

fn watch<T: Send>(
    call: &Call,
    progress: Option<&Progress>,
    job: impl FnOnce(&Call) -> Result<T, Failure> + Send,
) -> Result<T, Failure> {
    thread::scope(|scope| {
        let (finished, wait) = sync_channel::<()>(1);
        let worker =
            thread::Builder::new().name("counterpoint-call".to_owned()).spawn_scoped(scope, move || {
                let outcome = run(call, job);
                drop(finished);
                outcome
            });
        match worker {
            Ok(worker) => {
                attend_until(&wait, call, progress);
                worker.join().unwrap_or_else(|panic| Err(Failure::Panic(message(&*panic))))
            }
            Err(error) => Err(Failure::Panic(format!("no thread to be had: {error}"))),
        }
    })
}

/// Minds signals and progress until the other end of the channel is gone, or the call is cancelled.
fn attend_until(finished: &Receiver<()>, call: &Call, progress: Option<&Progress>) {
    while let Err(RecvTimeoutError::Timeout) = finished.recv_timeout(WAKE) {
        call.attend(|py| {
            py.check_signals()?;
            progress.map_or(Ok(()), |progress| progress.tell(py, &call.control, false))
        });
        if call.control.check().is_err() {
            return;
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
