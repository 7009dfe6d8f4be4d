//! The library's own thread pool, cancellation and progress.
//!
//! The pool is made at first use, never at import, and belongs to the process that made it: after a `fork` its
//! threads do not exist in the child, so the child makes its own (the parent's is leaked there, because
//! dropping it would wait for threads that are gone). No lock is held while the pool is looked up, so a fork
//! at any moment leaves the child able to make one.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwapOption;

use crate::simd::Level;

struct Pool {
    process: u32,
    threads: rayon::ThreadPool,
}

static POOL: ArcSwapOption<Pool> = ArcSwapOption::const_empty();

/// The pool of this process; `None` if the system gives no threads (the caller then works alone).
fn pool() -> Option<Arc<Pool>> {
    let process = std::process::id();
    let current = POOL.load_full();
    if let Some(pool) = &current
        && pool.process == process
    {
        return current;
    }
    let threads = rayon::ThreadPoolBuilder::new()
        .num_threads(available())
        .thread_name(|i| format!("counterpoint-{i}"))
        .build()
        .ok()?;
    let made = Arc::new(Pool { process, threads });
    if let Some(old) = POOL.swap(Some(Arc::clone(&made)))
        && old.process != process
    {
        std::mem::forget(old);
    }
    // The clone taken above must not be the last owner of a dead pool either.
    if let Some(stale) = current {
        std::mem::forget(stale);
    }
    Some(made)
}

/// Processors this process may use: asked once, for the answer is read from files.
pub fn available() -> usize {
    static AVAILABLE: OnceLock<usize> = OnceLock::new();
    *AVAILABLE.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// The most threads a call may name; more would not be made anyway.
const MOST_THREADS: usize = 4096;

/// The caller asked for the work to stop; nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cancelled")]
pub struct Cancelled;

/// Drops something large on a thread of its own: to give gigabytes back to the system takes a while, and someone
/// who has cancelled should not wait for it.
pub fn dispose(large: impl Send + 'static) {
    // Without a thread to be had it is dropped here.
    let _ = std::thread::Builder::new().name("counterpoint-drop".to_owned()).spawn(move || drop(large));
}

/// How one call runs: at which level, on how many threads, whether it was cancelled, how far it is.
#[derive(Debug)]
pub struct Control {
    level: Level,
    threads: usize,
    state: Arc<State>,
}

/// What everything that works on one call shares.
#[derive(Debug, Default)]
struct State {
    cancelled: AtomicBool,
    done: AtomicU64,
    total: AtomicU64,
}

impl Control {
    /// Work at `level` on `threads` threads (`None` or 0: all processors available).
    pub fn new(level: Level, threads: Option<usize>) -> Self {
        Self {
            level,
            threads: threads.filter(|&n| n > 0).unwrap_or_else(available).min(MOST_THREADS),
            state: Arc::default(),
        }
    }

    /// The same call on one thread: to cancel either is to cancel both, and they count one progress.
    pub fn single(&self) -> Self {
        Self { level: self.level, threads: 1, state: Arc::clone(&self.state) }
    }

    /// The instruction set to use.
    pub fn level(&self) -> Level {
        self.level
    }

    /// How many threads to use, at least 1.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Asks the work to stop; it then fails with [`Cancelled`] soon, its index unchanged.
    pub fn cancel(&self) {
        self.state.cancelled.store(true, Ordering::Relaxed);
    }

    /// # Errors
    /// [`Cancelled`] once [`Control::cancel`] was called. Long loops ask this every few milliseconds.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.state.cancelled.load(Ordering::Relaxed) { Err(Cancelled) } else { Ok(()) }
    }

    /// Announces how many units of work (rows) are to do.
    pub fn expect(&self, total: usize) {
        self.state.done.store(0, Ordering::Relaxed);
        self.state.total.store(total as u64, Ordering::Relaxed);
    }

    /// Reports that `units` more are done.
    pub fn advance(&self, units: usize) {
        self.state.done.fetch_add(units as u64, Ordering::Relaxed);
    }

    /// Units done and units expected.
    pub fn progress(&self) -> (u64, u64) {
        (self.state.done.load(Ordering::Relaxed), self.state.total.load(Ordering::Relaxed))
    }

    /// Runs `work` on every item, on up to `threads` threads; on the caller's alone where that is 1 or there is
    /// one item. Cancellation is asked before each item.
    ///
    /// # Errors
    /// The error of the earliest failing item, whatever the thread count; [`Cancelled`] where cancelled.
    pub fn for_each<I, E, W>(
        &self,
        items: impl IntoIterator<Item = I, IntoIter: Send>,
        work: W,
    ) -> Result<(), E>
    where
        I: Send,
        E: Send + From<Cancelled>,
        W: Fn(I) -> Result<(), E> + Sync,
    {
        let mut items = items.into_iter().enumerate().peekable();
        let Some((_, first)) = items.next() else { return Ok(()) };
        let pool = if self.threads > 1 && items.peek().is_some() { pool() } else { None };
        let Some(pool) = pool else {
            self.check()?;
            work(first)?;
            return items.try_for_each(|(_, item)| {
                self.check()?;
                work(item)
            });
        };
        let queue = Mutex::new(std::iter::once((0, first)).chain(items));
        let failed_at = AtomicUsize::new(usize::MAX);
        let failure = Mutex::new(None);
        let run = || {
            loop {
                // Items are handed out in order, so all before the earliest failure are finished.
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((index, item)) = next else { return };
                if index > failed_at.load(Ordering::Relaxed) {
                    return;
                }
                if let Err(error) = self.check().map_err(E::from).and_then(|()| work(item)) {
                    let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                    if index < failed_at.load(Ordering::Relaxed) {
                        failed_at.store(index, Ordering::Relaxed);
                        *failure = Some(error);
                    }
                }
            }
        };
        let run = &run;
        pool.threads.scope(|scope| {
            for _ in 0..self.threads.min(pool.threads.current_num_threads()) {
                scope.spawn(|_| run());
            }
        });
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// Like [`Control::for_each`], collecting the results in the items' order.
    ///
    /// # Errors
    /// As [`Control::for_each`].
    pub fn map<I, T, E, W>(
        &self,
        items: impl IntoIterator<Item = I, IntoIter: Send>,
        work: W,
    ) -> Result<Vec<T>, E>
    where
        I: Send,
        T: Send,
        E: Send + From<Cancelled>,
        W: Fn(I) -> Result<T, E> + Sync,
    {
        let results = Mutex::new(Vec::new());
        self.for_each(items.into_iter().enumerate(), |(index, item)| {
            let result = work(item)?;
            results.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
            Ok::<(), E>(())
        })?;
        let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        results.sort_unstable_by_key(|&(index, _)| index);
        Ok(results.into_iter().map(|(_, result)| result).collect())
    }
}

impl Default for Control {
    /// The best level, all processors.
    fn default() -> Self {
        Self::new(Level::detect(), None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    enum Failure {
        At(usize),
        Cancelled,
    }

    impl From<Cancelled> for Failure {
        fn from(_: Cancelled) -> Self {
            Failure::Cancelled
        }
    }

    #[test]
    fn every_item_once_in_order() {
        for threads in [1, 2, 7] {
            let control = Control::new(Level::SCALAR, Some(threads));
            let squares = control.map(0..1000_usize, |i| Ok::<_, Failure>(i * i));
            assert_eq!(squares, Ok((0..1000).map(|i| i * i).collect()));
        }
    }

    #[test]
    fn the_earliest_error_wins_whatever_the_threads() {
        for threads in [1, 2, 7] {
            let control = Control::new(Level::SCALAR, Some(threads));
            let fail = |i| if i % 100 == 37 { Err(Failure::At(i)) } else { Ok(()) };
            assert_eq!(control.for_each(0..10_000, fail), Err(Failure::At(37)));
        }
    }

    #[test]
    fn cancelling_stops_the_work() {
        for threads in [1, 2] {
            let control = Control::new(Level::SCALAR, Some(threads));
            let ran = AtomicUsize::new(0);
            let result = control.for_each(0..1000, |_| {
                ran.fetch_add(1, Ordering::Relaxed);
                control.cancel();
                Ok(())
            });
            assert_eq!(result, Err(Failure::Cancelled));
            assert!(ran.into_inner() <= 2);
        }
    }

    #[test]
    fn one_thread_of_a_call_is_cancelled_with_it() {
        let control = Control::new(Level::SCALAR, Some(3));
        let single = control.single();
        assert_eq!((single.threads(), single.check()), (1, Ok(())));
        single.expect(5);
        single.advance(2);
        assert_eq!(control.progress(), (2, 5));
        control.cancel();
        assert_eq!(single.check(), Err(Cancelled));
    }
}
