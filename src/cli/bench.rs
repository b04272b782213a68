//! `pochade bench`: results as they come, in a table or as one JSON object.

use std::io::{self, Write};
use std::ops::ControlFlow;

use serde::Serialize;

use super::inspect::bytes;
use super::profile::{self, ProfileView, Row};
use super::{BenchArgs, Console, Studio};
use crate::bench::{Event, Machine, Outcome, Report};

/// Measures and prints.
pub(super) fn bench(
    studio: &impl Studio,
    args: &BenchArgs,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let settings = args.settings().map_err(anyhow::Error::msg)?;
    let mut printed = Ok(());
    let mut table = Table { out: console.out, view: args.profile };
    let mut show = |event: Event<'_>| {
        if !args.json {
            printed = table.print(event);
        }
        if printed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let report = studio.bench(&settings, &mut show);
    printed?;
    let report = report?;
    if args.json {
        let record = Record::new(&report, args.profile);
        writeln!(console.out, "{}", serde_json::to_string(&record)?)?;
    }
    Ok(())
}

/// What is said to machines, on one line.
#[derive(Serialize)]
struct Record<'a> {
    machine: &'a Machine,
    results: Vec<OutcomeRecord<'a>>,
}

#[derive(Serialize)]
struct OutcomeRecord<'a> {
    #[serde(flatten)]
    outcome: &'a Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<Vec<Row>>,
}

impl<'a> Record<'a> {
    fn new(report: &'a Report, view: Option<ProfileView>) -> Self {
        let record = |outcome: &'a Outcome| {
            let rows = |view| profile::rows(outcome.profile.as_slice(), view);
            let profile = view.filter(|_| outcome.profile.is_some()).map(rows);
            OutcomeRecord { outcome, profile }
        };
        Self { machine: &report.machine, results: report.results.iter().map(record).collect() }
    }
}

/// The table for people, printed row by row.
struct Table<'a> {
    out: &'a mut dyn Write,
    view: Option<ProfileView>,
}

const HEADINGS: [&str; 8] =
    ["", "best", "median", "GMAC", "GMAC/s", "of peak", "weights", "activations"];

impl Table<'_> {
    fn print(&mut self, event: Event<'_>) -> io::Result<()> {
        match event {
            Event::Machine(machine) => {
                self.machine(machine)?;
                self.row(HEADINGS.map(str::to_owned))?;
            }
            Event::Outcome(outcome) => self.outcome(outcome)?,
        }
        self.out.flush()
    }

    fn machine(&mut self, m: &Machine) -> io::Result<()> {
        let plural = if m.threads == 1 { "" } else { "s" };
        writeln!(self.out, "{} kernels on {} thread{plural}", m.isa, m.threads)?;
        for (name, peak, by) in
            [("int8", m.int8_gmac_per_s, m.int8_peak_by), ("f32", m.f32_gmac_per_s, m.f32_peak_by)]
        {
            writeln!(self.out, "{name:>6} peak {peak:9.1} GMAC/s  ({by})")?;
        }
        let buffer = bytes(m.read_buffer_bytes as u64);
        writeln!(self.out, "memory read {:8.1} GB/s    ({buffer} in order)\n", m.read_gb_per_s)
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
            percent.unwrap_or_else(|| "-     ".to_owned()),
            bytes(o.weight_bytes as u64),
            bytes(o.arena_bytes as u64),
        ])?;
        match (self.view, &o.profile) {
            (Some(view), Some(noted)) => {
                profile::print(self.out, std::slice::from_ref(noted), view)?;
                writeln!(self.out)
            }
            _ => Ok(()),
        }
    }

    fn row(&mut self, cells: [String; 8]) -> io::Result<()> {
        let [name, best, median, gmac, rate, percent, weights, arena] = cells;
        let numbers = format!("{best:>10} {median:>10} {gmac:>8} {rate:>8} {percent:>11}");
        writeln!(self.out, "{name:<36} {numbers} {weights:>10} {arena:>11}")
    }
}

/// Seconds in the unit that leaves a number from 1 to 1000.
fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{:.1} us", s * 1e6),
        s if s < 1.0 => format!("{:.2} ms", s * 1e3),
        s => format!("{s:.3} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Cli, Inspection, run};
    use super::*;
    use crate::bench::{Observer, Settings};
    use crate::cli::HowArgs;
    use crate::explain;
    use crate::paint::Painter;
    use crate::paint::Request;
    use clap::Parser;
    use std::path::Path;

    /// Tells the same figures whatever it is asked for.
    struct Stand;

    impl Studio for Stand {
        type Painter = Painter;

        fn open(&self, _: Option<&Path>, _: Option<usize>) -> anyhow::Result<Painter> {
            anyhow::bail!("there is nothing to paint with")
        }

        fn explain(
            &self,
            _: &HowArgs,
            _: &Request,
            _: &mut explain::Observer<'_>,
        ) -> anyhow::Result<explain::Explanation> {
            anyhow::bail!("there is nothing to explain")
        }

        fn inspect(&self, _: &Path) -> anyhow::Result<Inspection> {
            anyhow::bail!("there is nothing to see")
        }

        fn bench(&self, settings: &Settings, tell: &mut Observer<'_>) -> anyhow::Result<Report> {
            let report = report(settings.profile);
            assert!(tell(Event::Machine(&report.machine)).is_continue());
            for outcome in &report.results {
                assert!(tell(Event::Outcome(outcome)).is_continue());
            }
            Ok(report)
        }
    }

    fn report(profile: bool) -> Report {
        let machine = Machine {
            isa: "neon".to_owned(),
            threads: 4,
            int8_gmac_per_s: 153.6,
            int8_peak_by: "registers",
            f32_gmac_per_s: 38.4,
            f32_peak_by: "cached product",
            read_gb_per_s: 9.25,
            read_buffer_bytes: 512 << 20,
        };
        let norm = Outcome {
            name: "group norm, SiLU 320 at 64x64".to_owned(),
            seconds: 0.000_75,
            median_seconds: 0.001,
            runs: 400,
            peak: "f32",
            arena_bytes: 7 << 20,
            weight_bytes: 2560,
            ..Outcome::default()
        };
        let unet = Outcome {
            name: "sd15 unet 512".to_owned(),
            seconds: 5.25,
            median_seconds: 5.5,
            runs: 2,
            setup_seconds: 0.025,
            schedule_seconds: 0.0125,
            gmac: 400.125,
            gmac_per_s: 76.25,
            peak: "int8",
            percent_of_peak: Some(49.5),
            arena_bytes: 30 << 20,
            weight_bytes: 850 << 20,
            peak_rss_bytes: Some(900 << 20),
            profile: profile.then(|| profile::tests::profile().swap_remove(0)),
        };
        Report { machine, results: vec![norm, unet] }
    }

    fn said(arguments: &[&str]) -> String {
        let cli = Cli::try_parse_from(["pochade", "bench"].iter().chain(arguments)).unwrap();
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        let mut console = Console { out: &mut out, notes: &mut notes, pictures: None, columns: 80 };
        run(&Stand, &cli, &mut console).unwrap();
        assert!(notes.is_empty());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn results_are_shown_as_a_table() {
        insta::assert_snapshot!(said(&[]));
    }

    #[test]
    fn a_profile_stands_below_its_network() {
        insta::assert_snapshot!(said(&["--profile"]));
    }

    #[test]
    fn json_tells_the_machine_and_every_result() {
        let json: serde_json::Value =
            serde_json::from_str(&said(&["--json", "--profile"])).unwrap();
        insta::assert_snapshot!(serde_json::to_string_pretty(&json).unwrap());
        let json: serde_json::Value = serde_json::from_str(&said(&["--json"])).unwrap();
        assert!(json["results"][1].get("profile").is_none());
    }

    #[test]
    fn a_time_has_the_unit_that_suits_it() {
        assert_eq!([2e-6, 0.25, 61.5].map(time), ["2.0 us", "250.00 ms", "61.500 s"]);
    }
}
