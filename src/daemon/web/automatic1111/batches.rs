//! Pictures that one request asked for, painted in turn.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Zoned;

/// The batches of all clients, in the order they came.
#[derive(Default)]
pub(in crate::daemon::web) struct Batches(Mutex<Vec<Arc<Batch>>>);

/// One of them.
pub(super) struct Batch {
    /// Numbers of its orders.
    pub ids: Vec<u64>,
    /// When it came, as the interface writes times.
    pub timestamp: String,
    done: AtomicUsize,
    interrupted: AtomicBool,
    skipped: AtomicBool,
}

/// A batch in the list for as long as it is waited for.
pub(super) struct Listed<'a> {
    batches: &'a Batches,
    pub batch: Arc<Batch>,
}

impl Batches {
    /// Lists a batch.
    pub(super) fn enter(&self, ids: Vec<u64>) -> Listed<'_> {
        let batch = Arc::new(Batch {
            ids,
            timestamp: Zoned::now().strftime("%Y%m%d%H%M%S").to_string(),
            done: AtomicUsize::new(0),
            interrupted: AtomicBool::new(false),
            skipped: AtomicBool::new(false),
        });
        self.list().push(batch.clone());
        Listed { batches: self, batch }
    }

    /// The batch whose picture is being painted, or else the one that came first.
    pub(super) fn current(&self, painting: Option<u64>) -> Option<Arc<Batch>> {
        let list = self.list();
        let is_painted = |batch: &&Arc<Batch>| painting.is_some_and(|id| batch.ids.contains(&id));
        list.iter().find(is_painted).or(list.first()).cloned()
    }

    fn list(&self) -> MutexGuard<'_, Vec<Arc<Batch>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Batch {
    /// A picture came to its end.
    pub fn advance(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
        self.skipped.store(false, Ordering::Relaxed);
    }

    /// Pictures that came to their end.
    pub fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    pub fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Relaxed);
    }

    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    pub fn skip(&self) {
        self.skipped.store(true, Ordering::Relaxed);
    }

    pub fn is_skipped(&self) -> bool {
        self.skipped.load(Ordering::Relaxed)
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.batches.list().retain(|batch| !Arc::ptr_eq(batch, &self.batch));
    }
}
