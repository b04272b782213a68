//! Where everything that wants something of the kiosk arrives: orders for pictures, and calls to show
//! the next one, to read the configuration again, or to stop.
//!
//! Orders wait in one line of bounded length. A desk is shared: sources of work put something down
//! from their own threads, the kiosk takes it up when it has time, and answers when it is done.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use image::RgbImage;

use super::board::{Board, Source, Ticket};
use super::rules::{Refusal, Rules};
use crate::paint::{Request, Resolved, Timings};

/// What somebody wants to see.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wish {
    /// What is to be painted; what it leaves open is as the configuration says.
    pub request: Request,
    /// Who wants it.
    pub source: Source,
    /// Whether it goes on the screen.
    pub show: bool,
}

/// What became of an order.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It was painted.
    Finished(Arc<Finished>),
    /// Somebody stopped it while it was painted; the picture as it could be guessed by then.
    Interrupted(Option<Arc<RgbImage>>),
    /// Somebody took it back, or the kiosk came to an end.
    Cancelled,
    /// It could not be painted, for this reason.
    Failed(String),
}

/// A picture and its file.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The PNG file, as `pochade paint` writes it.
    pub file: Vec<u8>,
    /// Its pixels.
    pub image: RgbImage,
    /// Its name in the gallery, where it could be kept.
    pub name: Option<String>,
    /// What was painted.
    pub request: Resolved,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// How long it took.
    pub timings: Timings,
}

type Answer = Box<dyn FnOnce(Outcome) + Send>;

/// A picture that somebody asked for. One that is dropped is answered as cancelled.
pub struct Order {
    /// Its number, by which it can be taken back.
    pub id: u64,
    /// What is wanted.
    pub wish: Wish,
    answer: Option<Answer>,
}

impl Order {
    /// Tells whoever ordered it.
    pub fn answer(mut self, outcome: Outcome) {
        if let Some(answer) = self.answer.take() {
            answer(outcome);
        }
    }

    fn ticket(&self) -> Ticket {
        let (prompt, source) = (self.wish.request.prompt.clone(), self.wish.source);
        Ticket { id: self.id, prompt, source }
    }
}

impl Drop for Order {
    fn drop(&mut self) {
        if let Some(answer) = self.answer.take() {
            answer(Outcome::Cancelled);
        }
    }
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Order").field("id", &self.id).field("wish", &self.wish).finish()
    }
}

/// What the kiosk is called for.
#[derive(Debug)]
pub enum Call {
    /// Stop, after the step that is being done.
    Stop,
    /// Read the configuration again.
    Reload,
    /// Show another picture at once.
    Next,
    /// Paint this.
    Order(Box<Order>),
}

/// The desk, which may be handed out by cloning it.
#[derive(Clone, Debug, Default)]
pub struct Desk {
    shared: Arc<Shared>,
    board: Board,
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
    /// The order whose picture is being painted; 0 for a picture of the kiosk's own.
    at_work: Option<u64>,
    /// Whether that is to stop.
    interrupt: bool,
    rules: Rules,
    /// How long a picture takes.
    each: Duration,
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
        self.orders.pop_front().map(|order| Call::Order(Box::new(order)))
    }

    fn tickets(&self) -> Vec<Ticket> {
        self.orders.iter().map(Order::ticket).collect()
    }
}

impl Desk {
    /// Where it can be seen what waits, and all else of the kiosk.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Takes in an order, as far as the rules of the house allow it, and says its number. `answer`
    /// is called once, when the picture is finished or will never be.
    ///
    /// # Errors
    /// When too many wait already, or such a picture is not painted here.
    pub fn order(
        &self,
        wish: Wish,
        answer: impl FnOnce(Outcome) + Send + 'static,
    ) -> Result<u64, Refusal> {
        let mut inbox = self.inbox();
        let request = inbox.rules.admit(wish.request)?;
        let waiting = inbox.orders.len();
        if waiting >= inbox.rules.waiting {
            let patience = inbox.each.max(Duration::from_secs(1));
            return Err(Refusal::Full { waiting, patience });
        }
        inbox.last_id += 1;
        let id = inbox.last_id;
        let answer: Option<Answer> = Some(Box::new(answer));
        inbox.orders.push_back(Order { id, wish: Wish { request, ..wish }, answer });
        self.post(&inbox);
        drop(inbox);
        self.shared.filled.notify_all();
        Ok(id)
    }

    /// Takes an order back, or stops its painting; `false` when it is done already.
    pub fn cancel(&self, id: u64) -> bool {
        let mut inbox = self.inbox();
        if inbox.at_work == Some(id) {
            inbox.interrupt = true;
            return true;
        }
        let place = inbox.orders.iter().position(|order| order.id == id);
        let order = place.and_then(|place| inbox.orders.remove(place));
        if order.is_some() {
            self.post(&inbox);
        }
        drop(inbox);
        // Its answer may give an order again.
        order.is_some()
    }

    /// Stops what is being painted, if anything, after the step that is being done.
    pub fn interrupt(&self) {
        let mut inbox = self.inbox();
        inbox.interrupt = inbox.at_work.is_some();
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
        let mut inbox = self.inbox();
        self.taken(&mut inbox)
    }

    /// The same, waiting for a while if there is nothing.
    pub fn wait(&self, patience: Duration) -> Option<Call> {
        let empty = |inbox: &mut Inbox| {
            !inbox.stop && !inbox.reload && !inbox.next && inbox.orders.is_empty()
        };
        let waited = self.shared.filled.wait_timeout_while(self.inbox(), patience, empty);
        let (mut inbox, _) = waited.unwrap_or_else(PoisonError::into_inner);
        self.taken(&mut inbox)
    }

    /// What may be ordered from now on.
    pub(super) fn set_rules(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.inbox().rules);
    }

    /// A picture is being painted from now on, of this order or of none.
    pub(super) fn begin(&self, id: Option<u64>) {
        let mut inbox = self.inbox();
        let id = Some(id.unwrap_or(0));
        // An order was at work when it was taken; it may have been stopped since.
        if inbox.at_work != id {
            (inbox.at_work, inbox.interrupt) = (id, false);
        }
    }

    /// Whether what is being painted is to stop.
    pub(super) fn interrupts(&self) -> bool {
        let inbox = self.inbox();
        inbox.interrupt || inbox.stop
    }

    /// Nothing is painted any more; whether that was somebody's wish. It took so long.
    pub(super) fn end(&self, took: Duration) -> bool {
        let mut inbox = self.inbox();
        (inbox.at_work, inbox.each) = (None, took);
        std::mem::take(&mut inbox.interrupt) || inbox.stop
    }

    fn taken(&self, inbox: &mut Inbox) -> Option<Call> {
        let call = inbox.take();
        if let Some(Call::Order(order)) = &call {
            // Whoever takes it back from now on stops it.
            (inbox.at_work, inbox.interrupt) = (Some(order.id), false);
            self.post(inbox);
        }
        call
    }

    /// Shows everybody what waits; with the desk held, so that the last word is the newest.
    fn post(&self, inbox: &Inbox) {
        self.board.write(|state| state.waiting = inbox.tickets());
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
    use std::sync::mpsc::channel;

    fn wish(prompt: &str) -> Wish {
        let request = Request { prompt: prompt.to_owned(), ..Request::default() };
        Wish { request, source: Source::Web, show: true }
    }

    fn prompt(call: Option<Call>) -> String {
        match call {
            Some(Call::Order(order)) => order.wish.request.prompt.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn orders_are_painted_in_turn_and_can_be_taken_back() {
        let desk = Desk::default();
        desk.set_rules(|rules| rules.waiting = 3);
        let (answers, answered) = channel();
        let order = |prompt: &str| {
            let (answers, name) = (answers.clone(), prompt.to_owned());
            desk.order(wish(prompt), move |outcome| answers.send((name, outcome)).unwrap())
        };
        let ids = ["a", "b", "c"].map(|prompt| order(prompt).unwrap());
        let patience = Duration::from_secs(1);
        assert_eq!(order("d"), Err(Refusal::Full { waiting: 3, patience }));
        assert_eq!(desk.board().state().waiting.iter().map(|t| t.id).collect::<Vec<_>>(), ids);
        assert!(desk.cancel(ids[1]) && !desk.cancel(ids[1]));
        let (name, outcome) = answered.try_recv().unwrap();
        assert!(name == "b" && matches!(outcome, Outcome::Cancelled));
        assert_eq!(prompt(desk.take()), "a");
        assert_eq!(prompt(desk.take()), "c");
        assert!(desk.take().is_none() && desk.board().state().waiting.is_empty());
    }

    #[test]
    fn what_is_being_painted_can_be_stopped_and_nothing_else() {
        let desk = Desk::default();
        desk.interrupt();
        desk.begin(Some(7));
        assert!(!desk.interrupts(), "that was before");
        assert!(!desk.cancel(8) && desk.cancel(7) && desk.interrupts());
        assert!(desk.end(Duration::ZERO) && !desk.cancel(7));
        desk.begin(None);
        assert!(!desk.interrupts());
        desk.interrupt();
        assert!(desk.interrupts() && desk.end(Duration::ZERO));
    }

    #[test]
    fn an_order_that_is_taken_back_before_its_first_step_is_not_painted() {
        let desk = Desk::default();
        let id = desk.order(wish("a"), |_| {}).unwrap();
        let order = desk.take();
        assert!(desk.cancel(id), "between the line and the easel");
        desk.begin(Some(id));
        assert!(desk.interrupts());
        drop(order);
    }

    #[test]
    fn stopping_comes_first_and_stays() {
        let desk = Desk::default();
        desk.order(wish("a"), |_| {}).unwrap();
        desk.call_next();
        desk.call_next();
        desk.call_reload();
        assert!(matches!([desk.take(), desk.take()], [Some(Call::Reload), Some(Call::Next)]));
        desk.call_stop();
        assert!(matches!([desk.take(), desk.take()], [Some(Call::Stop), Some(Call::Stop)]));
        assert!(desk.stops());
    }

    #[test]
    fn a_call_from_another_thread_ends_the_waiting() {
        let desk = Desk::default();
        assert!(desk.wait(Duration::from_millis(1)).is_none());
        let other = desk.clone();
        let caller = std::thread::spawn(move || other.call_next());
        assert!(matches!(desk.wait(Duration::from_secs(60)), Some(Call::Next)));
        caller.join().unwrap();
    }
}
