//! The lock around an index.
//!
//! Searches share the lock, changes have it alone; `fit` builds aside and holds it only to swap. Who comes first
//! goes first ([`Turn`]), so that neither searches nor changes can keep the others out; waiting is done in short
//! sleeps, in which a call can be cancelled.
//!
//! **Fork.** In a forked child the threads that held a lock do not exist, so it would stay locked for ever.
//! `os.register_at_fork` counts generations; an index whose lock is of an older one gets a new lock first. If
//! searches held the old one, they may keep a reference for ever, and the first change then copies the index. If
//! a change held it, the index is unusable in the child, and every use says so.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock, TryLockError, TryLockResult};

use arc_swap::{ArcSwap, Guard};
use counterpoint_core::file::Map;
use counterpoint_core::index::AnnIndex;
use pyo3::pyfunction;

use crate::enter::Call;
use crate::errors::Failure;

static GENERATION: AtomicU64 = AtomicU64::new(0);

/// Runs in a forked child, where it is alone.
#[pyfunction]
pub(crate) fn after_fork() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// An index of any method. (Spelt so, it is `'static`, as core's methods on it ask.)
pub(crate) type AnyIndex = dyn AnnIndex;

/// What a lock protects.
pub(crate) struct State {
    index: Arc<AnyIndex>,
    /// The file that the index was mapped from, for `verify`.
    pub(crate) map: Option<Arc<Map>>,
    /// How often the index was replaced.
    pub(crate) fits: u64,
}

impl State {
    /// The index.
    pub(crate) fn index(&self) -> &AnyIndex {
        &*self.index
    }

    fn change<T>(&mut self, change: impl FnOnce(&mut AnyIndex) -> T) -> Result<T, Failure> {
        if Arc::get_mut(&mut self.index).is_none() {
            self.index = Arc::from(self.index.boxed_clone());
        }
        match Arc::get_mut(&mut self.index) {
            Some(index) => Ok(change(index)),
            None => Err(Failure::Panic("a fresh copy has two owners".to_owned())),
        }
    }
}

struct Lock {
    generation: u64,
    /// Calls that came.
    arrived: AtomicU64,
    /// Calls that got the lock, or gave up.
    through: AtomicU64,
    state: RwLock<State>,
}

/// A place in the queue: it is a call's turn when as many as came before it are through. (Which ones does not
/// matter: if a later one gives up, an earlier one may try beside its predecessor.)
struct Turn<'a> {
    lock: &'a Lock,
    place: u64,
}

impl<'a> Turn<'a> {
    fn take(lock: &'a Lock) -> Self {
        Self { lock, place: lock.arrived.fetch_add(1, Ordering::Relaxed) }
    }

    fn has_come(&self) -> bool {
        self.lock.through.load(Ordering::Relaxed) >= self.place
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.lock.through.fetch_add(1, Ordering::Relaxed);
    }
}

/// An index that threads share.
pub(crate) struct Shared(ArcSwap<Lock>);

impl Shared {
    pub(crate) fn new(index: Box<AnyIndex>, map: Option<Arc<Map>>) -> Self {
        Self(ArcSwap::from_pointee(Lock::new(State { index: Arc::from(index), map, fits: 0 })))
    }

    /// Runs `look` beside other readers.
    pub(crate) fn read<T>(&self, call: &Call, look: impl FnOnce(&State) -> T) -> Result<T, Failure> {
        let lock = self.lock()?;
        let state = lock.wait_for(call, || lock.state.try_read())?;
        Ok(look(&state))
    }

    /// As `read`, if that needs no waiting.
    pub(crate) fn glance<T>(&self, look: impl FnOnce(&State) -> T) -> Option<T> {
        let lock = self.lock().ok()?;
        let state = lock.state.try_read().ok()?;
        Some(look(&state))
    }

    /// Runs `change` alone.
    fn alone<T>(&self, call: &Call, change: impl FnOnce(&mut State) -> T) -> Result<T, Failure> {
        let lock = self.lock()?;
        let mut state = lock.wait_for(call, || lock.state.try_write())?;
        call.control.check()?;
        Ok(change(&mut state))
    }

    /// Runs `change` alone on the index.
    pub(crate) fn write<T>(
        &self,
        call: &Call,
        change: impl FnOnce(&mut AnyIndex) -> T,
    ) -> Result<T, Failure> {
        self.alone(call, |state| state.change(change))?
    }

    /// As `write`, if the index is still the one that was replaced `fits` times.
    pub(crate) fn write_unless_refitted<T>(
        &self,
        call: &Call,
        fits: u64,
        change: impl FnOnce(&mut AnyIndex) -> T,
    ) -> Result<T, Failure> {
        self.alone(
            call,
            |state| if state.fits == fits { state.change(change) } else { Err(Failure::Refitted) },
        )?
    }

    /// Puts another index in the place of this one.
    pub(crate) fn replace(&self, call: &Call, index: Box<AnyIndex>) -> Result<(), Failure> {
        let old = self.alone(call, |state| {
            let fits = state.fits + 1;
            std::mem::replace(state, State { index: Arc::from(index), map: None, fits })
        })?;
        drop(old); // not under the lock: a large index takes a while
        Ok(())
    }

    /// The lock, a new one if the process was forked since.
    fn lock(&self) -> Result<Guard<Arc<Lock>>, Failure> {
        let lock = self.0.load();
        if lock.generation == GENERATION.load(Ordering::Relaxed) {
            return Ok(lock);
        }
        self.renew(&lock)?;
        Ok(self.0.load())
    }

    #[cold]
    fn renew(&self, old: &Arc<Lock>) -> Result<(), Failure> {
        match old.state.try_read() {
            Ok(state) => {
                let copy =
                    State { index: Arc::clone(&state.index), map: state.map.clone(), fits: state.fits };
                // If another thread of the child was faster, its lock stays.
                self.0.compare_and_swap(old, Arc::new(Lock::new(copy)));
                Ok(())
            }
            Err(TryLockError::Poisoned(_)) => Err(Failure::Poisoned),
            // No thread of the child has ever had this lock to write.
            Err(TryLockError::WouldBlock) => Err(Failure::ForkedInChange),
        }
    }
}

impl Lock {
    fn new(state: State) -> Self {
        Self {
            generation: GENERATION.load(Ordering::Relaxed),
            arrived: AtomicU64::new(0),
            through: AtomicU64::new(0),
            state: RwLock::new(state),
        }
    }

    /// Tries, from this call's turn on, until it succeeds.
    fn wait_for<G>(&self, call: &Call, take: impl Fn() -> TryLockResult<G>) -> Result<G, Failure> {
        let turn = Turn::take(self);
        let mut round = 0;
        loop {
            if turn.has_come() {
                match take() {
                    Ok(guard) => return Ok(guard),
                    Err(TryLockError::Poisoned(_)) => return Err(Failure::Poisoned),
                    Err(TryLockError::WouldBlock) => {}
                }
            }
            call.wait(round)?;
            round += 1;
        }
    }
}
