//! A walk from picture to picture: what lies between prompts and seeds, frame by frame, for screens
//! that should never stand still.
//!
//! The noise goes from seed to seed on a sphere, and so does every token of the encoded prompts
//! ([`crate::diffusion::slerp`]). Every stop of a walk is a frame of its own, and is the picture
//! that is painted for its prompt and seed without any walk.

use std::fmt;

use super::{Request, Toward};

/// A picture that a walk passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// What should be seen.
    pub prompt: String,
    /// Where the noise starts.
    pub seed: u64,
}

/// A way past two stops or more, in a number of frames. A frame is a [`Request`] to a painter:
///
/// ```no_run
/// use pochade::paint::{Paint, Painter, Request, Stop, Walk};
/// use std::ops::ControlFlow;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let stop = |prompt: &str| Stop { prompt: prompt.to_owned(), seed: 7 };
/// let stops = vec![stop("a calm sea at dawn"), stop("a calm sea at night")];
/// let walk = Walk::new(stops, 48, false, Request::default())?;
/// let mut painter = Painter::open(None, None)?;
/// for request in walk.requests() {
///     let painting = painter.paint(&request, &mut |_| ControlFlow::Continue(()))?;
///     println!("{} pixels to show", painting.image.pixels().count());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Walk {
    stops: Vec<Stop>,
    frames: usize,
    closed: bool,
    like: Request,
}

/// Why there is no such walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkError {
    /// There is one stop, or none.
    Stops,
    /// There are fewer frames than stops.
    Frames {
        /// Asked for.
        frames: usize,
        /// One for every stop.
        least: usize,
    },
}

impl fmt::Display for WalkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stops => f.write_str(
                "a walk needs somewhere to go: give a second prompt, or another seed with --seed-to",
            ),
            Self::Frames { frames, least } => {
                write!(f, "--frames {frames}: every stop is a frame; ask for {least} or more")
            }
        }
    }
}

impl std::error::Error for WalkError {}

impl Walk {
    /// A walk past `stops` in `frames` pictures; a closed one goes back to the first stop, so that
    /// it can go round for ever. All that the stops do not say is as in `like`.
    ///
    /// # Errors
    /// When there are fewer than two stops, or fewer frames than stops.
    pub fn new(
        stops: Vec<Stop>,
        frames: usize,
        closed: bool,
        like: Request,
    ) -> Result<Self, WalkError> {
        let least = stops.len();
        if least < 2 {
            return Err(WalkError::Stops);
        }
        if frames < least {
            return Err(WalkError::Frames { frames, least });
        }
        Ok(Self { stops, frames, closed, like })
    }

    /// How many pictures it has.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// The pictures it passes.
    pub fn stops(&self) -> &[Stop] {
        &self.stops
    }

    /// All frames, from the first stop on.
    pub fn requests(&self) -> impl Iterator<Item = Request> {
        (0..self.frames).map(|frame| self.request(frame))
    }

    /// Frame number `frame`, from 0; behind the last one a closed walk begins again, and any other
    /// stands still.
    pub fn request(&self, frame: usize) -> Request {
        let frame = if self.closed { frame % self.frames } else { frame.min(self.frames - 1) };
        let legs = self.legs();
        let leg = (0..legs).rev().find(|leg| self.start(*leg) <= frame).unwrap_or(0);
        let (start, end) = (self.start(leg), self.start(leg + 1));
        self.at(leg as f64 + (frame - start) as f64 / (end - start) as f64)
    }

    /// What lies at `place`, counted in stops: 1.25 is a quarter of the way from the second to the
    /// third. Places beyond the ends are taken for the ends, or in a closed walk for those of the
    /// next round.
    pub fn at(&self, place: f64) -> Request {
        let legs = self.legs() as f64;
        let place = if self.closed { place.rem_euclid(legs) } else { place.clamp(0.0, legs) };
        let leg = (place as usize).min(self.legs() - 1);
        let stop = |i: usize| self.stops[i % self.stops.len()].clone();
        let (from, to) = (stop(leg), stop(leg + 1));
        let share = (place - leg as f64) as f32;
        let request = Request {
            prompt: from.prompt,
            seed: from.seed,
            toward: Some(Toward { prompt: to.prompt, seed: to.seed, share }),
            ..self.like.clone()
        };
        request.settled()
    }

    /// Ways between two stops.
    fn legs(&self) -> usize {
        self.stops.len() - usize::from(!self.closed)
    }

    /// The frame that a leg starts with. Legs differ by one frame at most.
    fn start(&self, leg: usize) -> usize {
        leg * (self.frames - usize::from(!self.closed)) / self.legs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stops(count: u64) -> Vec<Stop> {
        (0..count).map(|i| Stop { prompt: format!("prompt {i}"), seed: 10 + i }).collect()
    }

    fn walk(count: u64, frames: usize, closed: bool) -> Walk {
        Walk::new(stops(count), frames, closed, Request::default()).unwrap()
    }

    /// Where a frame is, in stops.
    fn place(request: &Request) -> f64 {
        let start = (request.seed - 10) as f64;
        start + request.toward.as_ref().map_or(0.0, |toward| f64::from(toward.share))
    }

    proptest! {
        #[test]
        fn every_stop_is_a_frame_and_the_way_goes_forward(
            count in 2u64..6, more in 0usize..40, closed in any::<bool>(),
        ) {
            let walk = walk(count, count as usize + more, closed);
            let requests: Vec<Request> = walk.requests().collect();
            prop_assert_eq!(requests.len(), walk.frames());
            for stop in walk.stops() {
                let plain = Request {
                    prompt: stop.prompt.clone(), seed: stop.seed, ..Request::default()
                };
                prop_assert!(requests.contains(&plain), "{:?}", stop);
            }
            let places: Vec<f64> = requests.iter().map(place).collect();
            prop_assert!(places.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", places);
            let last = if closed { f64::from(count as u32) } else { (count - 1) as f64 };
            let end = places.last().copied().unwrap_or(0.0);
            prop_assert!(if closed { end < last } else { end == last }, "{:?}", places);
        }
    }

    #[test]
    fn a_closed_walk_begins_again_and_an_open_one_stands_still() {
        let (closed, open) = (walk(3, 9, true), walk(3, 9, false));
        assert_eq!(closed.request(9), closed.request(0));
        assert_eq!(open.request(9), open.request(8));
        let last = closed.request(8);
        let toward = last.toward.unwrap();
        assert_eq!((last.seed, toward.seed), (12, 10));
        assert_eq!(closed.at(-0.5), closed.at(2.5));
        assert_eq!(open.at(-0.5), open.at(0.0));
    }

    #[test]
    fn a_walk_that_goes_nowhere_is_refused_with_a_remedy() {
        let refused = |count, frames| {
            Walk::new(stops(count), frames, false, Request::default()).unwrap_err().to_string()
        };
        insta::assert_snapshot!([refused(1, 9), refused(0, 0), refused(4, 3)].join("\n"));
    }
}
