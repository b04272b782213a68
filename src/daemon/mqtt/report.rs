//! The kiosk's state as it is published: a flat JSON object.

use serde::Serialize;

use super::super::board::State;

/// What the kiosk does; seconds, degrees Celsius, progress in per cent.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Report<'a> {
    status: &'a str,
    model: &'a str,
    prompt: Option<&'a str>,
    progress: u8,
    step: usize,
    steps: usize,
    seconds_left: Option<u64>,
    waiting: usize,
    shown: Option<&'a str>,
    next_change: Option<String>,
    playlist: &'a str,
    quiet: bool,
    trouble: Option<&'a str>,
    temperature: Option<f64>,
    painted: u64,
    failed: u64,
    interrupted: u64,
}

impl<'a> Report<'a> {
    pub fn new(state: &'a State) -> Self {
        let work = state.work.as_ref();
        let (step, steps) = work.map_or((0, 0), |work| (work.step, work.steps));
        let left = work.and_then(|work| work.left);
        let next = state.next_change.as_ref();
        Self {
            status: &state.status,
            model: &state.model,
            prompt: work.map(|work| work.prompt.as_str()),
            progress: work.map_or(0, |work| (100.0 * work.share) as u8),
            step,
            steps,
            seconds_left: left.map(|left| left.as_secs()),
            waiting: state.waiting.len(),
            shown: state.shown.as_deref(),
            next_change: next.map(|time| time.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()),
            playlist: &state.playlist,
            quiet: state.quiet,
            trouble: state.trouble.as_deref(),
            temperature: state.temperature.map(|degrees| (degrees * 10.0).round() / 10.0),
            painted: state.counts.painted,
            failed: state.counts.failed,
            interrupted: state.counts.interrupted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::board::{Counts, Source, Work};
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_state_is_published_as_flat_json() {
        let work = Work {
            prompt: "a red sun".to_owned(),
            source: Source::Mqtt,
            step: 5,
            steps: 20,
            share: 0.25,
            left: Some(Duration::from_millis(4900)),
            ..Work::default()
        };
        let state = State {
            status: "painting \"a red sun\"".to_owned(),
            model: "default".to_owned(),
            work: Some(work),
            shown: Some("20261122-101500-a-red-sun.png".to_owned()),
            next_change: Some("2026-11-22T10:25:00[Europe/Berlin]".parse().unwrap()),
            playlist: "default".to_owned(),
            counts: Counts { painted: 12, failed: 1, interrupted: 2, seconds: 77.5 },
            temperature: Some(51.54),
            ..State::default()
        };
        insta::assert_snapshot!(serde_json::to_string_pretty(&Report::new(&state)).unwrap());
        let idle = serde_json::to_value(Report::new(&State::default())).unwrap();
        assert_eq!((&idle["progress"], &idle["temperature"]), (&0.into(), &().into()));
    }
}
