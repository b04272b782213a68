//! The way from one picture to the next, for screens that should never stand still: what is seen
//! after a share of the time has gone.

use std::time::Duration;

use jiff::Zoned;

use crate::paint::{Request, Resolved, Toward};

/// Somewhere between two pictures.
#[derive(Clone, Debug)]
pub(super) struct Way {
    /// What is painted at the start; all but prompt and seed stays as it is here.
    from: Request,
    /// Prompt and seed at the end.
    to: (String, u64),
    begun: Zoned,
    ends: Zoned,
    /// Before this, the last picture of the way stays.
    pub next: Zoned,
}

impl Way {
    /// The way from a picture that hangs to another, between two times.
    pub fn new(hung: &Resolved, like: &Request, to: (String, u64), times: [Zoned; 2]) -> Self {
        let from = Request { prompt: hung.prompt.clone(), seed: hung.seed, ..like.clone() };
        let [begun, ends] = times;
        Self { from, to, next: begun.clone(), begun, ends }
    }

    /// What is painted at the end.
    pub fn end(&self) -> Request {
        let (prompt, seed) = self.to.clone();
        Request { prompt, seed, ..self.from.clone() }
    }

    /// What is painted now.
    pub fn at(&self, now: &Zoned) -> Request {
        let span = |until: &Zoned| {
            Duration::try_from(self.begun.duration_until(until)).unwrap_or_default().as_secs_f32()
        };
        let share = (span(now) / span(&self.ends).max(1.0)).clamp(0.0, 1.0);
        let (prompt, seed) = self.to.clone();
        Request { toward: Some(Toward { prompt, seed, share }), ..self.from.clone() }.settled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_time_is_a_quarter_of_the_way() {
        let at = |minute: &str| format!("2026-11-22T15:{minute}:00[UTC]").parse::<Zoned>().unwrap();
        let hung = Resolved {
            prompt: "a sea".to_owned(),
            negative: String::new(),
            toward: None,
            strength: None,
            seed: 1,
            steps: 4,
            guidance: 3.0,
            size: crate::paint::Size { width: 8, height: 8 },
            sampler: crate::diffusion::SamplerKind::Ddim,
            model: "tiny".to_owned(),
            model_hash: None,
        };
        let like = Request { steps: Some(4), ..Request::default() };
        let to = ("a hill".to_owned(), 2);
        let way = Way::new(&hung, &like, to, [at("10"), at("30")]);
        let start = Request { prompt: "a sea".to_owned(), seed: 1, ..like };
        assert_eq!(way.at(&at("10")), start);
        assert_eq!(way.at(&at("30")), way.end());
        assert_eq!(
            (way.end().prompt.as_str(), way.end().seed, way.end().steps),
            ("a hill", 2, Some(4))
        );
        let quarter = way.at(&at("15"));
        assert_eq!(quarter.toward.unwrap().share, 0.25);
    }
}
