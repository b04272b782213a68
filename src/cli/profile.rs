//! Where the time went, by kind of operation or step by step.

use std::io::{self, Write};
use std::str::FromStr;
use std::time::Duration;

use pochade_engine::{Rate, SessionProfile, StepProfile};
use serde::Serialize;

/// How a profile is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProfileView {
    /// One line per kind of operation.
    Kinds,
    /// One line per step of the plan.
    Steps,
}

impl FromStr for ProfileView {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "kinds" => Ok(Self::Kinds),
            "steps" => Ok(Self::Steps),
            _ => Err("choose one of kinds, steps"),
        }
    }
}

/// One line of a profile.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Row {
    /// The network.
    network: String,
    /// The kind of operation.
    kind: String,
    /// Shapes of a single step, and whether it is computed once per `setup`, for every step of a
    /// `schedule` at once or by every `run`.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    step: Option<Place>,
    /// Steps computed.
    calls: u64,
    /// Seconds of all calls.
    seconds: f64,
    /// Part of the network's time, 0 to 1.
    share: f64,
    /// Billions of multiply-adds of all calls.
    gmac: f64,
    /// Billions of multiply-adds per second; none for work that multiplies nothing.
    gmac_per_s: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Place {
    shapes: String,
    once_per: &'static str,
}

/// Calls, time and multiply-adds.
#[derive(Clone, Copy, Default)]
struct Sum {
    calls: u64,
    time: Duration,
    macs: u64,
}

impl Sum {
    fn add(&mut self, profile: &StepProfile) {
        self.calls += profile.calls;
        self.time += profile.time;
        self.macs += profile.calls * profile.step.macs;
    }

    fn of<'a>(steps: impl IntoIterator<Item = &'a StepProfile>) -> Self {
        let mut sum = Self::default();
        steps.into_iter().for_each(|step| sum.add(step));
        sum
    }

    fn row(self, network: &str, kind: &str, all: Self) -> Row {
        let (seconds, gmac) = (self.time.as_secs_f64(), self.macs as f64 / 1e9);
        Row {
            network: network.to_owned(),
            kind: kind.to_owned(),
            step: None,
            calls: self.calls,
            seconds,
            share: seconds / all.time.as_secs_f64().max(f64::MIN_POSITIVE),
            gmac,
            gmac_per_s: (self.macs > 0 && seconds > 0.0).then(|| gmac / seconds),
        }
    }
}

/// The lines of a profile; what was never computed is left out.
pub(super) fn rows(profile: &[SessionProfile], view: ProfileView) -> Vec<Row> {
    let mut rows = Vec::new();
    for network in names(profile) {
        let sessions = || profile.iter().filter(|session| session.name == network);
        let steps = || sessions().flat_map(|session| &session.steps).filter(|step| step.calls > 0);
        match view {
            ProfileView::Kinds => rows.extend(kinds(network, steps())),
            ProfileView::Steps => {
                let all = Sum::of(steps());
                rows.extend(steps().map(|step| single(network, step, all)));
            }
        }
    }
    rows
}

/// The networks, each once, in the order in which they worked.
fn names(profile: &[SessionProfile]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for session in profile {
        if !names.contains(&session.name.as_str()) {
            names.push(&session.name);
        }
    }
    names
}

/// One row per kind, the slowest first.
fn kinds<'a>(network: &str, steps: impl Iterator<Item = &'a StepProfile>) -> Vec<Row> {
    let mut sums: Vec<(&str, Sum)> = Vec::new();
    let mut all = Sum::default();
    for step in steps {
        let at = sums.iter().position(|(kind, _)| *kind == step.step.kind);
        let at = at.unwrap_or_else(|| {
            sums.push((&step.step.kind, Sum::default()));
            sums.len() - 1
        });
        sums[at].1.add(step);
        all.add(step);
    }
    sums.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.time));
    sums.into_iter().map(|(kind, sum)| sum.row(network, kind, all)).collect()
}

fn single(network: &str, profile: &StepProfile, all: Sum) -> Row {
    let once_per = match profile.step.rate {
        Rate::Setup => "setup",
        Rate::Schedule => "schedule",
        Rate::Run => "run",
    };
    let step = Some(Place { shapes: profile.step.shapes.clone(), once_per });
    Row { step, ..Sum::of([profile]).row(network, &profile.step.kind, all) }
}

/// Prints a profile as a table per network.
pub(super) fn print(
    out: &mut dyn Write,
    profile: &[SessionProfile],
    view: ProfileView,
) -> io::Result<()> {
    let rows = rows(profile, view);
    for network in rows.chunk_by(|a, b| a.network == b.network) {
        let seconds: f64 = network.iter().map(|row| row.seconds).sum();
        writeln!(out, "\n{}: {seconds:.3} s", network[0].network)?;
        line(out, ["ms", "share", "calls", "GMAC/s"].map(str::to_owned), "kind")?;
        for row in network {
            let cells = [
                format!("{:.3}", row.seconds * 1e3),
                format!("{:.1} %", row.share * 100.0),
                row.calls.to_string(),
                row.gmac_per_s.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}")),
            ];
            line(out, cells, &what(row))?;
        }
    }
    Ok(())
}

/// The kind, and of a single step its shapes.
fn what(row: &Row) -> String {
    match &row.step {
        None => row.kind.clone(),
        Some(Place { shapes, once_per: "setup" }) => {
            format!("{:<24} {shapes} (once)", row.kind)
        }
        Some(Place { shapes, once_per: "schedule" }) => {
            format!("{:<24} {shapes} (schedule)", row.kind)
        }
        Some(Place { shapes, .. }) => format!("{:<24} {shapes}", row.kind),
    }
}

fn line(
    out: &mut dyn Write,
    [time, share, calls, rate]: [String; 4],
    what: &str,
) -> io::Result<()> {
    writeln!(out, "{time:>12} {share:>8} {calls:>7} {rate:>8}  {what}")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use pochade_engine::{Arithmetic, StepInfo};

    /// A profile of two networks, one of which ran in two sessions.
    pub fn profile() -> Vec<SessionProfile> {
        let step = |kind: &str, rate, calls, millis, macs| StepProfile {
            step: StepInfo {
                kind: kind.to_owned(),
                shapes: "[1, 8, 8, 32] -> [1, 8, 8, 64]".to_owned(),
                rate,
                macs,
                arithmetic: Arithmetic::Int8,
                products: macs,
                weight_bytes: 0,
                activation_bytes: 0,
            },
            calls,
            time: Duration::from_millis(millis),
        };
        let session = |name: &str, steps| SessionProfile { name: name.to_owned(), steps };
        vec![
            session(
                "unet",
                vec![
                    step("linear f16", Rate::Setup, 1, 10, 5_000_000),
                    step("linear f16", Rate::Schedule, 4, 2, 1_000_000),
                    step("quantise", Rate::Run, 4, 20, 0),
                    step("conv 3x3 int8", Rate::Run, 4, 100, 2_000_000_000),
                ],
            ),
            session("decoder", vec![step("conv 3x3 int8", Rate::Run, 1, 50, 1_000_000_000)]),
            session(
                "unet",
                vec![
                    step("conv 3x3 int8", Rate::Run, 1, 70, 3_000_000_000),
                    step("add", Rate::Run, 0, 0, 0),
                ],
            ),
        ]
    }

    #[test]
    fn kinds_are_added_up_per_network_and_the_slowest_comes_first() {
        let mut out = Vec::new();
        print(&mut out, &profile(), ProfileView::Kinds).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap());
    }

    #[test]
    fn steps_stand_in_their_order_with_their_shapes() {
        let mut out = Vec::new();
        print(&mut out, &profile(), ProfileView::Steps).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap());
    }

    #[test]
    fn shares_of_a_network_add_up_to_one() {
        for view in [ProfileView::Kinds, ProfileView::Steps] {
            let rows = rows(&profile(), view);
            let unet = rows.iter().filter(|row| row.network == "unet");
            assert!((unet.map(|row| row.share).sum::<f64>() - 1.0).abs() < 1e-12);
        }
    }
}
