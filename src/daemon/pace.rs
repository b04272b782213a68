//! How many steps a picture may take to be ready in time, from how long the last ones took.

use std::time::Duration;

use crate::paint::Timings;

/// Fewer steps make no picture.
const FEWEST: usize = 2;

/// What painting takes on this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pace {
    /// Seconds of a step and of all else, once a picture was painted.
    measured: Option<[Duration; 2]>,
}

impl Pace {
    /// Takes in what a picture of so many steps took.
    pub fn measure(&mut self, timings: Timings, steps: usize) {
        let step = timings.step;
        let rest = timings.total().saturating_sub(step * u32::try_from(steps).unwrap_or(u32::MAX));
        self.measured = Some([step, rest]);
    }

    /// How many of `steps` steps can be done `within` some time; all, as long as nothing is known.
    pub fn steps(&self, steps: usize, within: Duration) -> usize {
        let Some([step, rest]) = self.measured.filter(|[step, _]| !step.is_zero()) else {
            return steps;
        };
        let left = within.saturating_sub(rest).as_secs_f64() / step.as_secs_f64();
        (left as usize).clamp(FEWEST.min(steps), steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_left_out_where_time_is_short() {
        let second = Duration::from_secs(1);
        let mut pace = Pace::default();
        assert_eq!(pace.steps(20, second), 20, "nothing is known yet");
        // Twenty steps of a second, and three seconds for words and decoding.
        let timings = Timings { text: second, denoise: 21 * second, step: second, decode: second };
        pace.measure(timings, 20);
        assert_eq!(pace.steps(20, 60 * second), 20);
        assert_eq!(pace.steps(20, 10 * second), 7);
        assert_eq!(pace.steps(20, second), 2);
        assert_eq!(pace.steps(1, second), 1);
    }
}
