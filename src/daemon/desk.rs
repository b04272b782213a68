//! Where everything that wants something of the kiosk arrives: orders for pictures, and calls to show
//! the next one, to read the configuration again, or to stop.
//!
//! Orders wait in one line of bounded length. A desk is shared: sources of work put something down
//! from their own threads, the kiosk takes it up when it has time.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::paint::Request;

/// A picture that somebody asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// Its number, by which it can be taken back.
    pub id: u64,
    /// What is to be painted; without a seed, one is drawn.
    pub request: Request,
}

/// What the kiosk is called for.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// Stop, after the step that is being done.
    Stop,
    /// Read the configuration again.
    Reload,
    /// Show another picture at once.
    Next,
    /// Paint this and show it.
    Order(Order),
}

/// No order more can wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// How many wait.
    pub waiting: usize,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pictures are waiting already; ask again later", self.waiting)
    }
}

impl std::error::Error for Full {}

/// The desk, which may be handed out by cloning it.
#[derive(Clone, Debug)]
pub struct Desk {
    shared: Arc<Shared>,
    most: usize,
}

#[derive(Debug, Default)]
struct Shared {
    inbox: Mutex<Inbox>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct Inbox {
    stop: bool,
    reload: bool,
    next: bool,
    orders: VecDeque<Order>,
    last_id: u64,
}

impl Inbox {
    fn take(&mut self) -> Option<Call> {
        if self.stop {
            // Stays: whoever asks again is told again.
            return Some(Call::Stop);
        }
        if std::mem::take(&mut self.reload) {
            return Some(Call::Reload);
        }
        if std::mem::take(&mut self.next) {
            return Some(Call::Next);
        }
        self.orders.pop_front().map(Call::Order)
    }
}

impl Desk {
    /// A desk where `most` orders can wait.
    pub fn new(most: usize) -> Self {
        Self { shared: Arc::default(), most }
    }

    /// Takes in an order, and says its number.
    ///
    /// # Errors
    /// When too many wait already.
    pub fn order(&self, request: Request) -> Result<u64, Full> {
        let mut inbox = self.inbox();
        let waiting = inbox.orders.len();
        if waiting >= self.most {
            return Err(Full { waiting });
        }
        inbox.last_id += 1;
        let id = inbox.last_id;
        inbox.orders.push_back(Order { id, request });
        drop(inbox);
        self.shared.filled.notify_all();
        Ok(id)
    }

    /// Takes an order back; `false` when it does not wait any more.
    pub fn cancel(&self, id: u64) -> bool {
        let mut inbox = self.inbox();
        let before = inbox.orders.len();
        inbox.orders.retain(|order| order.id != id);
        inbox.orders.len() < before
    }

    /// Numbers of the orders that wait, the next one first.
    pub fn waiting(&self) -> Vec<u64> {
        self.inbox().orders.iter().map(|order| order.id).collect()
    }

    /// Calls for the next picture.
    pub fn call_next(&self) {
        self.call(|inbox| inbox.next = true);
    }

    /// Calls for the configuration to be read again.
    pub fn call_reload(&self) {
        self.call(|inbox| inbox.reload = true);
    }

    /// Calls to stop.
    pub fn call_stop(&self) {
        self.call(|inbox| inbox.stop = true);
    }

    /// Whether somebody wants the kiosk to stop.
    pub fn stops(&self) -> bool {
        self.inbox().stop
    }

    /// What was called for last, if anything, stopping first and orders at the end.
    pub fn take(&self) -> Option<Call> {
        self.inbox().take()
    }

    /// The same, waiting for a while if there is nothing.
    pub fn wait(&self, patience: Duration) -> Option<Call> {
        let empty = |inbox: &mut Inbox| {
            !inbox.stop && !inbox.reload && !inbox.next && inbox.orders.is_empty()
        };
        let waited = self.shared.filled.wait_timeout_while(self.inbox(), patience, empty);
        let (mut inbox, _) = waited.unwrap_or_else(PoisonError::into_inner);
        inbox.take()
    }

    fn call(&self, change: impl FnOnce(&mut Inbox)) {
        change(&mut self.inbox());
        self.shared.filled.notify_all();
    }

    /// What is there is whole even if a thread that held it came to an end.
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.shared.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(prompt: &str) -> Request {
        Request { prompt: prompt.to_owned(), ..Request::default() }
    }

    fn prompt(call: Option<Call>) -> String {
        match call {
            Some(Call::Order(order)) => order.request.prompt,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn orders_are_painted_in_turn_and_can_be_taken_back() {
        let desk = Desk::new(3);
        let ids = ["a", "b", "c"].map(|prompt| desk.order(request(prompt)).unwrap());
        assert_eq!(desk.order(request("d")), Err(Full { waiting: 3 }));
        assert_eq!(desk.waiting(), ids);
        assert!(desk.cancel(ids[1]) && !desk.cancel(ids[1]));
        assert_eq!(prompt(desk.take()), "a");
        assert_eq!(prompt(desk.take()), "c");
        assert_eq!(desk.take(), None);
    }

    #[test]
    fn stopping_comes_first_and_stays() {
        let desk = Desk::new(1);
        desk.order(request("a")).unwrap();
        desk.call_next();
        desk.call_next();
        desk.call_reload();
        assert_eq!([desk.take(), desk.take()], [Some(Call::Reload), Some(Call::Next)]);
        desk.call_stop();
        assert_eq!([desk.take(), desk.take()], [Some(Call::Stop), Some(Call::Stop)]);
        assert!(desk.stops());
    }

    #[test]
    fn a_call_from_another_thread_ends_the_waiting() {
        let desk = Desk::new(1);
        assert_eq!(desk.wait(Duration::from_millis(1)), None);
        let other = desk.clone();
        let caller = std::thread::spawn(move || other.call_next());
        assert_eq!(desk.wait(Duration::from_secs(60)), Some(Call::Next));
        caller.join().unwrap();
    }
}
