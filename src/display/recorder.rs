//! A bus and pins that write down what happens, in the notation of the transcripts in
//! `tests/fixtures/display`.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use embedded_hal::delay::DelayNs;
use embedded_hal::digital::{self, InputPin, OutputPin};
use embedded_hal::spi::{self, Operation, SpiDevice};
use sha2::{Digest, Sha256};

/// Everything that has happened. Clones write to the same record.
#[derive(Clone, Debug, Default)]
pub(super) struct Recorder(Arc<Mutex<Record>>);

#[derive(Debug, Default)]
struct Record {
    events: Vec<String>,
    written: Vec<u8>,
    longest: usize,
    levels: HashMap<&'static str, bool>,
    slept: u32,
}

impl Record {
    fn flush(&mut self) {
        let written = std::mem::take(&mut self.written);
        if written.len() > 32 {
            self.events.push(format!("write {} {}", written.len(), sha256(&written)));
        } else if !written.is_empty() {
            self.events.push(format!("write {}", hex(&written)));
        }
    }

    fn event(&mut self, text: String) {
        self.flush();
        self.events.push(text);
    }

    /// Whether the busy pin is high. All looks of one wait are one event, which says at which level
    /// it ended; what happened between them is not written down.
    fn look(&mut self, busy: Busy) -> bool {
        self.flush();
        let between = |event: &String| event.starts_with("sleep ") || event == "write 71";
        let last = self.events.iter().rposition(|event| event.starts_with("busy"));
        let same = last.filter(|at| self.events[at + 1..].iter().all(between));
        let high = match busy {
            Busy::Changes => same.is_some_and(|at| self.events[at] == "busy high"),
            Busy::Low => false,
            Busy::High => true,
        };
        self.events.truncate(same.unwrap_or(self.events.len()));
        self.events.push(if high { "busy" } else { "busy high" }.to_owned());
        high
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

impl Recorder {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn pin(&self, name: &'static str) -> Pin {
        Pin { recorder: self.clone(), name, busy: Busy::Low }
    }

    pub(super) fn busy(&self, busy: Busy) -> Pin {
        Pin { busy, ..self.pin("busy") }
    }

    pub(super) fn transcript(&self) -> String {
        let mut record = self.record();
        record.flush();
        record.events.join("\n") + "\n"
    }

    pub(super) fn longest_write(&self) -> usize {
        self.record().longest
    }

    /// Milliseconds.
    pub(super) fn slept(&self) -> u32 {
        self.record().slept
    }
}

impl spi::ErrorType for Recorder {
    type Error = Infallible;
}

impl SpiDevice for Recorder {
    fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), Infallible> {
        let mut record = self.record();
        for operation in operations {
            let Operation::Write(bytes) = operation else { panic!("only writes are recorded") };
            record.longest = record.longest.max(bytes.len());
            record.written.extend_from_slice(bytes);
        }
        Ok(())
    }
}

impl DelayNs for Recorder {
    fn delay_ns(&mut self, nanoseconds: u32) {
        let milliseconds = nanoseconds.div_ceil(1_000_000);
        self.delay_ms(milliseconds);
    }

    fn delay_ms(&mut self, milliseconds: u32) {
        let mut record = self.record();
        record.slept += milliseconds;
        if milliseconds > 0 {
            record.event(format!("sleep {milliseconds}"));
        }
    }
}

/// The level of the busy pin.
#[derive(Clone, Copy, Debug)]
pub(super) enum Busy {
    /// Another one with every look of a wait, low at first.
    Changes,
    /// Always low.
    Low,
    /// Always high.
    High,
}

/// A pin whose changes are written down.
#[derive(Debug)]
pub(super) struct Pin {
    recorder: Recorder,
    name: &'static str,
    busy: Busy,
}

impl digital::ErrorType for Pin {
    type Error = Infallible;
}

impl OutputPin for Pin {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.set(false)
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.set(true)
    }
}

impl Pin {
    fn set(&self, high: bool) -> Result<(), Infallible> {
        let mut record = self.recorder.record();
        if record.levels.insert(self.name, high) != Some(high) {
            record.event(format!("{} {}", self.name, u8::from(high)));
        }
        Ok(())
    }
}

impl InputPin for Pin {
    fn is_high(&mut self) -> Result<bool, Infallible> {
        Ok(self.recorder.record().look(self.busy))
    }

    fn is_low(&mut self) -> Result<bool, Infallible> {
        self.is_high().map(|high| !high)
    }
}
