//! The engine's own threads: pinned to cores, fed task numbers from one counter.
//!
//! Work is split over outputs only, and which thread computes a task never changes its result.
//! Workers spin for a moment between jobs, since the next operation of a plan follows within
//! microseconds, and then sleep.
//!
//! A job is published by making its number odd and ends when that is even again. A worker that sees an
//! odd number says that it takes part and looks again; if the number is still the same, the job stays
//! until the worker has said that it is done. So the caller waits for workers that came, never for one
//! that sleeps or whose core is busy with something else, and no lock is taken while all are awake.

use std::cell::UnsafeCell;
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

/// What threads write at the same time lies apart, so that none waits for another's cache line.
#[repr(align(128))]
#[derive(Default)]
struct Apart<T>(T);

struct Shared {
    /// The number of the job: odd while workers may take part.
    number: Apart<AtomicUsize>,
    /// Next task to hand out.
    next: Apart<AtomicUsize>,
    /// Workers that take part, or look whether they may.
    busy: Apart<AtomicUsize>,
    job: UnsafeCell<Erased>,
    quit: AtomicBool,
    panicked: AtomicBool,
    /// Workers that sleep or are about to.
    asleep: AtomicUsize,
    bed: Mutex<()>,
    wake: Condvar,
}

/// A job whose lifetime is not written down.
#[derive(Clone, Copy)]
struct Erased {
    job: *const Job<'static>,
    tasks: usize,
}

// SAFETY: the job is `Sync`. The cell that holds it is written by `Pool::run` alone, while no worker
// takes part, and `Pool::run` does not return while any may still call it.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Pool {
    /// Starts a pool of `threads` (at least one), the caller included.
    pub fn new(threads: usize) -> Self {
        let nothing: *const Job<'static> = &|_, _| ();
        let shared = Arc::new(Shared {
            number: Apart::default(),
            next: Apart::default(),
            busy: Apart::default(),
            job: UnsafeCell::new(Erased { job: nothing, tasks: 0 }),
            quit: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
            asleep: AtomicUsize::new(0),
            bed: Mutex::new(()),
            wake: Condvar::new(),
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
        let (shared, job) = (&*self.shared, Erased { job: erase(job), tasks });
        shared.publish(job);
        shared.work(0, job);
        // In one order with what workers do: one that is not seen here sees that the job has ended.
        shared.number.0.fetch_add(1, Ordering::SeqCst);
        let done = || shared.busy.0.load(Ordering::SeqCst) == 0;
        while !done() && !spin(done) {
            std::thread::yield_now();
        }
        assert!(!shared.panicked.load(Ordering::Acquire), "a kernel panicked");
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
    fn lock(&self) -> MutexGuard<'_, ()> {
        self.bed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets workers take part in a job. The last one has ended, and no worker takes part in it.
    fn publish(&self, job: Erased) {
        // SAFETY: no worker reads the cell before the number is odd.
        unsafe { *self.job.get() = job }
        self.next.0.store(0, Ordering::Relaxed);
        // In one order with what a worker does that goes to sleep: it sees the number, or is seen.
        self.number.0.fetch_add(1, Ordering::SeqCst);
        self.rouse();
    }

    /// Wakes workers that sleep.
    fn rouse(&self) {
        if self.asleep.load(Ordering::SeqCst) > 0 {
            // Under the lock, so that no worker is between looking at the number and waiting.
            let bed = self.lock();
            self.wake.notify_all();
            drop(bed);
        }
    }

    fn serve(&self, worker: usize) {
        let mut seen = 0;
        while !self.quit.load(Ordering::Acquire) {
            let number = self.wait(seen);
            self.busy.0.fetch_add(1, Ordering::SeqCst);
            if self.number.0.load(Ordering::SeqCst) == number && number % 2 == 1 {
                // SAFETY: the job was published, and stays as long as this worker is busy.
                let job = unsafe { *self.job.get() };
                self.work(worker, job);
            }
            self.busy.0.fetch_sub(1, Ordering::SeqCst);
            seen = number;
        }
    }

    /// Whether a number other than `seen` lets workers take part, or they are to end.
    fn calls(&self, seen: usize) -> bool {
        let number = self.number.0.load(Ordering::SeqCst);
        (number != seen && number % 2 == 1) || self.quit.load(Ordering::SeqCst)
    }

    /// Waits for a job other than `seen`, or the end, and returns the number.
    fn wait(&self, seen: usize) -> usize {
        let called = (0..YIELDS).any(|_| {
            let called = spin(|| self.calls(seen));
            if !called {
                std::thread::yield_now();
            }
            called
        });
        if !called {
            let mut bed = self.lock();
            self.asleep.fetch_add(1, Ordering::SeqCst);
            while !self.calls(seen) {
                bed = self.wake.wait(bed).unwrap_or_else(PoisonError::into_inner);
            }
            self.asleep.fetch_sub(1, Ordering::SeqCst);
        }
        self.number.0.load(Ordering::SeqCst)
    }

    fn work(&self, worker: usize, job: Erased) {
        // SAFETY: `Pool::run`, which published the job, waits for all who take part before the
        // reference behind it ends.
        let call = unsafe { &*job.job };
        let all = std::panic::AssertUnwindSafe(|| {
            loop {
                let task = self.next.0.fetch_add(1, Ordering::Relaxed);
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
        self.shared.quit.store(true, Ordering::SeqCst);
        self.shared.rouse();
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
    fn jobs_that_follow_at_once_do_not_mix() {
        let mut pool = Pool::new(4);
        for round in 0..1_000 {
            let done = AtomicUsize::new(0);
            pool.run(2 + round % 5, &|_, task| {
                done.fetch_add(round + task, Ordering::Relaxed);
            });
            let tasks = 2 + round % 5;
            assert_eq!(done.into_inner(), tasks * round + tasks * (tasks - 1) / 2);
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
