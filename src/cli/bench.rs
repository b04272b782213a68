//! `pochade bench`: results as they come, in a table or as one JSON object.

use std::io::{self, Write};
use std::ops::ControlFlow;

use super::inspect::bytes;
use super::{BenchArgs, Console, Studio};
use crate::bench::{Event, Machine, Outcome};

/// Measures and prints.
pub(super) fn bench(
    studio: &impl Studio,
    args: &BenchArgs,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let settings = args.settings().map_err(anyhow::Error::msg)?;
    let mut table = Table::new(console.out);
    let mut show = |event: Event<'_>| match args.json || table.print(event).is_ok() {
        true => ControlFlow::Continue(()),
        false => ControlFlow::Break(()),
    };
    let report = studio.bench(&settings, &mut show)?;
    if args.json {
        writeln!(console.out, "{}", serde_json::to_string(&report)?)?;
    }
    Ok(())
}

/// The table for people, printed row by row.
struct Table<'a> {
    out: &'a mut dyn Write,
}

const HEADINGS: [&str; 8] =
    ["", "best", "median", "GMAC", "GMAC/s", "of peak", "weights", "activations"];

impl<'a> Table<'a> {
    fn new(out: &'a mut dyn Write) -> Self {
        Self { out }
    }

    fn print(&mut self, event: Event<'_>) -> io::Result<()> {
        match event {
            Event::Machine(machine) => {
                self.machine(machine)?;
                self.row(HEADINGS.map(str::to_owned))
            }
            Event::Outcome(outcome) => self.outcome(outcome),
        }?;
        self.out.flush()
    }

    fn machine(&mut self, m: &Machine) -> io::Result<()> {
        let threads =
            if m.threads == 1 { "1 thread".to_owned() } else { format!("{} threads", m.threads) };
        writeln!(self.out, "{}, {threads}", m.isa)?;
        for (name, peak, by) in
            [("int8", m.int8_gmac_per_s, m.int8_peak_by), ("f32", m.f32_gmac_per_s, m.f32_peak_by)]
        {
            let by = if by == "registers" { "" } else { "  (a product in the caches)" };
            writeln!(self.out, "  {name:<6} peak {peak:9.1} GMAC/s{by}")?;
        }
        let buffer = bytes(m.read_buffer_bytes as u64);
        writeln!(self.out, "  memory read {:8.1} GB/s  ({buffer} in order)\n", m.read_gb_per_s)
    }

    fn outcome(&mut self, o: &Outcome) -> io::Result<()> {
        let work = |text: String| if o.gmac > 0.0 { text } else { "-".to_owned() };
        let percent = o.percent_of_peak.map(|p| format!("{p:.0} % {:<4}", o.peak));
        self.row([
            o.name.clone(),
            time(o.seconds),
            time(o.median_seconds),
            work(format!("{:.2}", o.gmac)),
            work(format!("{:.1}", o.gmac_per_s)),
            percent.unwrap_or_else(|| "-".to_owned()),
            bytes(o.weight_bytes as u64),
            bytes(o.arena_bytes as u64),
        ])
    }

    fn row(&mut self, cells: [String; 8]) -> io::Result<()> {
        let [name, best, median, gmac, rate, percent, weights, arena] = cells;
        let numbers = format!("{best:>10} {median:>10} {gmac:>8} {rate:>8} {percent:>11}");
        writeln!(self.out, "{name:<34} {numbers} {weights:>10} {arena:>11}")
    }
}

/// Seconds in a unit that leaves three digits or more in front of or behind the point.
fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{:.1} us", s * 1e6),
        s if s < 1.0 => format!("{:.2} ms", s * 1e3),
        s => format!("{s:.3} s"),
    }
}
