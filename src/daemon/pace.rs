//! How many steps a picture may take, and how large it may be, to be ready in time, from how long the
//! last one took.

use std::time::Duration;

use crate::paint::{Resolved, Size, Sizes, Timings};

/// Fewer steps make no picture.
const FEWEST: usize = 2;
/// A smaller picture in so many steps is better than a larger one in fewer.
const ENOUGH: usize = 8;
/// Width and height become smaller by no more than this.
const SMALLEST: f64 = 0.5;

/// What painting takes on this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Pace {
    measured: Option<Measured>,
}

/// Seconds that a picture took.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Measured {
    step: f64,
    /// All but the steps.
    rest: f64,
    size: Size,
}

/// How a picture is painted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub steps: usize,
    /// Nothing where the model decides, and any size is as good as another.
    pub size: Option<Size>,
}

impl Pace {
    /// Takes in how long a picture took.
    pub fn measure(&mut self, timings: Timings, request: &Resolved) {
        let step = timings.step.as_secs_f64();
        let rest = timings.total().as_secs_f64() - step * request.steps as f64;
        self.measured = Some(Measured { step, rest: rest.max(0.0), size: request.size });
    }

    /// The plan, or what of it can be done `within` some time by a model of these sizes: first steps
    /// are left out, then the picture becomes smaller. All of it, as long as nothing is known.
    pub fn plan(&self, wanted: Plan, within: Duration, sizes: Option<Sizes>) -> Plan {
        let Some(last) = self.measured.filter(|last| last.step > 0.0) else { return wanted };
        let within = within.as_secs_f64();
        let size = wanted.size.or(sizes.map(|sizes| sizes.native));
        let larger = size.map_or(1.0, |size| pixels(size) / pixels(last.size));
        let steps = |scale: f64| ((within - last.rest * scale) / (last.step * scale)) as usize;
        let (fewest, enough) = (FEWEST.min(wanted.steps), ENOUGH.min(wanted.steps));
        let (Some(size), Some(sizes)) = (size, sizes.filter(|_| steps(larger) < enough)) else {
            return Plan { steps: steps(larger).clamp(fewest, wanted.steps), ..wanted };
        };
        // Steps and all else take time by the pixel.
        let scale = within / (last.rest + last.step * enough as f64) / larger;
        let side = |side: usize| {
            let scaled = side as f64 * scale.sqrt().clamp(SMALLEST, 1.0);
            (scaled as usize / sizes.multiple * sizes.multiple).max(sizes.multiple).min(side)
        };
        let smaller = Size { width: side(size.width), height: side(size.height) };
        let steps = steps(pixels(smaller) / pixels(last.size)).clamp(fewest, wanted.steps);
        Plan { steps, size: Some(smaller) }
    }
}

fn pixels(size: Size) -> f64 {
    size.width as f64 * size.height as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::SamplerKind;

    const SECOND: Duration = Duration::from_secs(1);

    fn size(side: usize) -> Size {
        Size { width: side, height: side }
    }

    /// Twenty steps of a second, and three seconds for words and decoding.
    fn measured() -> Pace {
        let request = Resolved {
            prompt: String::new(),
            negative: String::new(),
            toward: None,
            strength: None,
            seed: 0,
            steps: 20,
            guidance: 3.0,
            size: size(512),
            sampler: SamplerKind::Ddim,
            model: String::new(),
            model_hash: None,
        };
        let mut pace = Pace::default();
        let timings = Timings {
            text: SECOND,
            denoise: 21 * SECOND,
            step: SECOND,
            decode: SECOND,
            ..Timings::default()
        };
        pace.measure(timings, &request);
        pace
    }

    #[test]
    fn steps_are_left_out_where_time_is_short() {
        let all = Plan { steps: 20, size: None };
        assert_eq!(Pace::default().plan(all, SECOND, None), all, "nothing is known yet");
        let pace = measured();
        let steps =
            |steps, seconds| pace.plan(Plan { steps, size: None }, seconds * SECOND, None).steps;
        assert_eq!([steps(20, 60), steps(20, 10), steps(20, 1), steps(1, 1)], [20, 7, 2, 1]);
    }

    #[test]
    fn where_too_few_would_be_left_the_picture_becomes_smaller() {
        let (pace, sizes) =
            (measured(), Sizes { native: size(512), base: size(512), multiple: 64 });
        let plan = |asked: Option<Size>, seconds: u32| {
            let plan = pace.plan(Plan { steps: 20, size: asked }, seconds * SECOND, Some(sizes));
            (plan.steps, plan.size)
        };
        assert_eq!(plan(None, 11), (8, None));
        // Eight steps of 384 x 384 take 11 * 0.5625 seconds.
        assert_eq!(plan(None, 7), (9, Some(size(384))));
        assert_eq!(plan(None, 1), (2, Some(size(256))), "no smaller than half");
        // Four times the pixels, four times the time.
        assert_eq!(plan(Some(size(1024)), 44), (8, Some(size(1024))));
        assert_eq!(plan(Some(size(1024)), 11), (8, Some(size(512))));
        assert_eq!(plan(Some(size(256)), 11), (20, Some(size(256))));
    }
}
