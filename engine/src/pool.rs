//! The engine's own threads: pinned to cores, fed task numbers from one counter.
//!
//! Work is split over outputs only, and which thread computes a task never changes its result.
//! Workers spin for a moment between jobs, since the next operation of a plan follows within
//! microseconds, and then sleep.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Spins before a waiting thread lets others run; some microseconds.
const SPINS: usize = 2_000;
/// Times a worker lets others run before it sleeps.
const YIELDS: usize = 200;

/// A job: called with the number of the worker and that of the task.
type Job<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// Persistent worker threads. The calling thread is worker 0.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    /// Counts jobs; a worker that sees it change takes part in the job.
    epoch: AtomicUsize,
    job: Mutex<State>,
    wake: Condvar,
    /// Next task to hand out.
    next: AtomicUsize,
    /// Workers that have not finished the job.
    busy: AtomicUsize,
    panicked: AtomicBool,
}

#[derive(Clone, Copy)]
struct State {
    job: Option<Erased>,
    quit: bool,
}

/// A job whose lifetime is not written down.
#[derive(Clone, Copy)]
struct Erased {
    job: *const Job<'static>,
    tasks: usize,
}

// SAFETY: the pointee is `Sync`, and `Pool::run` does not return while any worker may still call
// it.
unsafe impl Send for Erased {}

impl Pool {
    /// Starts a pool of `threads` (at least one), the caller included.
    pub fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            epoch: AtomicUsize::new(0),
            job: Mutex::new(State { job: None, quit: false }),
            wake: Condvar::new(),
            next: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
        });
        let workers = (1..threads.max(1)).map_while(|worker| spawn(worker, &shared)).collect();
        Self { shared, workers }
    }

    /// Number of threads, the caller included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `job(worker, task)` for every task below `tasks`, on all threads, and waits for the
    /// end.
    ///
    /// # Panics
    /// When a task panics.
    pub fn run(&mut self, tasks: usize, job: &(dyn Fn(usize, usize) + Sync)) {
        if tasks <= 1 || self.workers.is_empty() {
            (0..tasks).for_each(|task| job(0, task));
            return;
        }
        self.publish(tasks, job);
        self.shared.work(0, Erased { job: erase(job), tasks });
        let done = || self.shared.busy.load(Ordering::Acquire) == 0;
        while !spin(done) {
            std::thread::yield_now();
        }
        assert!(!self.shared.panicked.load(Ordering::Acquire), "a kernel panicked");
    }

    fn publish(&self, tasks: usize, job: &Job<'_>) {
        let shared = &self.shared;
        shared.next.store(0, Ordering::Relaxed);
        shared.busy.store(self.workers.len(), Ordering::Relaxed);
        let mut state = shared.lock();
        state.job = Some(Erased { job: erase(job), tasks });
        // Under the lock, so that no worker goes to sleep between looking at the epoch and waiting.
        shared.epoch.fetch_add(1, Ordering::Release);
        drop(state);
        shared.wake.notify_all();
    }
}

/// Waits a moment for `done`; says whether it came.
fn spin(done: impl Fn() -> bool) -> bool {
    (0..SPINS).any(|_| {
        std::hint::spin_loop();
        done()
    })
}

fn erase(job: &Job<'_>) -> *const Job<'static> {
    let job: *const Job<'_> = job;
    // SAFETY: only the lifetime changes; `Pool::run` outlives every use of the pointer.
    unsafe { std::mem::transmute(job) }
}

fn spawn(worker: usize, shared: &Arc<Shared>) -> Option<JoinHandle<()>> {
    let shared = shared.clone();
    let thread = std::thread::Builder::new().name(format!("pochade-{worker}"));
    let started = thread.spawn(move || {
        pin(worker);
        shared.serve(worker);
    });
    started.map_err(|e| log::warn!("thread {worker} could not be started: {e}")).ok()
}

/// Binds the calling thread to the `worker`-th core it may use. A refusal (a container's, say)
/// costs speed, nothing else.
fn pin(worker: usize) {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let Ok(allowed) = sched_getaffinity(None) else { return };
    let Some(core) = (0..CpuSet::MAX_CPU).filter(|&c| allowed.is_set(c)).nth(worker) else {
        return;
    };
    let mut one = CpuSet::new();
    one.set(core);
    if let Err(error) = sched_setaffinity(None, &one) {
        log::debug!("thread {worker} is not pinned: {error}");
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.job.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, worker: usize) {
        let mut seen = 0;
        loop {
            seen = self.wait(seen);
            let state = *self.lock();
            if state.quit {
                return;
            }
            if let Some(job) = state.job {
                self.work(worker, job);
            }
            self.busy.fetch_sub(1, Ordering::Release);
        }
    }

    /// Waits for an epoch other than `seen` and returns it.
    fn wait(&self, seen: usize) -> usize {
        let changed = || self.epoch.load(Ordering::Acquire) != seen;
        for _ in 0..YIELDS {
            if spin(changed) {
                return self.epoch.load(Ordering::Acquire);
            }
            std::thread::yield_now();
        }
        let mut guard = self.lock();
        loop {
            let epoch = self.epoch.load(Ordering::Acquire);
            if epoch != seen {
                return epoch;
            }
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn work(&self, worker: usize, job: Erased) {
        // SAFETY: `Pool::run`, which published the job, waits for all workers before the reference
        // behind it ends.
        let call = unsafe { &*job.job };
        let all = std::panic::AssertUnwindSafe(|| {
            loop {
                let task = self.next.fetch_add(1, Ordering::Relaxed);
                if task >= job.tasks {
                    break;
                }
                call(worker, task);
            }
        });
        if std::panic::catch_unwind(all).is_err() {
            self.panicked.store(true, Ordering::Release);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.quit = true;
        self.shared.epoch.fetch_add(1, Ordering::Release);
        drop(state);
        self.shared.wake.notify_all();
        for worker in self.workers.drain(..) {
            // A worker cannot fail: panics of tasks are caught above.
            let _ = worker.join();
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({} threads)", self.threads())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_is_done_once() {
        for threads in 1..5 {
            let mut pool = Pool::new(threads);
            for tasks in [0, 1, 2, 7, 1000] {
                let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                pool.run(tasks, &|_, task| {
                    counts[task].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn workers_sleep_and_wake() {
        let mut pool = Pool::new(3);
        for _ in 0..3 {
            std::thread::sleep(std::time::Duration::from_millis(20));
            let sum = AtomicUsize::new(0);
            pool.run(100, &|_, task| {
                sum.fetch_add(task, Ordering::Relaxed);
            });
            assert_eq!(sum.load(Ordering::Relaxed), 4950);
        }
    }

    #[test]
    #[should_panic(expected = "a kernel panicked")]
    fn a_panicking_task_is_not_swallowed() {
        Pool::new(2).run(10, &|_, task| assert_ne!(task, 5));
    }
}
