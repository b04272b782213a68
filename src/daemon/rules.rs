//! The rules of the house for those who order pictures: how many may wait, how large they may be,
//! what they may be of.

use std::fmt;
use std::time::Duration;

use super::guard::Guard;
use crate::paint::{Request, Size, Sizes};

/// Characters of a prompt; no model reads more.
const MOST_CHARACTERS: usize = 2000;

/// What may be ordered.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What pictures may be of.
    pub guard: Guard,
    /// How many may wait.
    pub waiting: usize,
    /// The most steps of one.
    pub steps: usize,
    /// The largest one, by its pixels; without it, the size the model was trained at.
    pub size: Option<Size>,
    /// The sizes of the model, once it was read.
    pub model: Option<Sizes>,
}

impl Default for Rules {
    fn default() -> Self {
        Self { guard: Guard::new(None, &[]), waiting: 16, steps: 50, size: None, model: None }
    }
}

/// Why an order is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No more can wait.
    Full {
        /// How many wait.
        waiting: usize,
        /// When to ask again.
        patience: Duration,
    },
    /// The prompt has a word that is not painted here.
    Word(String),
    /// It makes no sense, in a sentence.
    Wrong(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { waiting, .. } => {
                write!(f, "{waiting} pictures are waiting already; ask again later")
            }
            Self::Word(word) => write!(f, "pictures of '{word}' are not painted here"),
            Self::Wrong(sentence) => f.write_str(sentence),
        }
    }
}

impl std::error::Error for Refusal {}

impl Rules {
    /// Lets an order in: what is too large is made smaller.
    ///
    /// # Errors
    /// When its prompt is not painted here.
    pub fn admit(&self, mut request: Request) -> Result<Request, Refusal> {
        if request.prompt.chars().count() > MOST_CHARACTERS {
            let words = format!("a prompt has {MOST_CHARACTERS} characters at most");
            return Err(Refusal::Wrong(words));
        }
        if request.prompt.trim().is_empty() {
            return Err(Refusal::Wrong("say in the prompt what should be seen".to_owned()));
        }
        if let Some(word) = self.guard.refused(&request.prompt) {
            return Err(Refusal::Word(word));
        }
        request.steps = request.steps.map(|steps| steps.clamp(1, self.steps));
        request.size = request.size.map(|size| self.fit(size));
        Ok(request)
    }

    /// The size that is painted for one that is asked for: of about the same shape, no larger than
    /// is allowed, and one of the model's.
    fn fit(&self, asked: Size) -> Size {
        let multiple = self.model.map_or(8, |model| model.multiple);
        let most = self.size.or(self.model.map(|model| model.native));
        let most = most.map_or(usize::MAX, |size| size.width * size.height);
        let round = |side: usize| (side / multiple * multiple).max(multiple);
        let pixels = asked.width as f64 * asked.height as f64;
        let scale = (most as f64 / pixels).sqrt().min(1.0);
        // A hair more, so that 512 * 0.25 is not 127.
        let scaled = |side: usize| (side as f64 * scale + 1e-6) as usize;
        let short = round(scaled(asked.width.min(asked.height)));
        let long = round(scaled(asked.width.max(asked.height)).min(most / short));
        let [width, height] =
            if asked.width < asked.height { [short, long] } else { [long, short] };
        Size { width, height }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(width: usize, height: usize) -> Size {
        Size { width, height }
    }

    fn admitted(
        rules: &Rules,
        prompt: &str,
        asked: Size,
        steps: usize,
    ) -> Result<Request, Refusal> {
        let prompt = prompt.to_owned();
        let (size, steps) = (Some(asked), Some(steps));
        rules.admit(Request { prompt, size, steps, ..Request::default() })
    }

    #[test]
    fn what_is_too_large_becomes_smaller_and_keeps_its_shape() {
        let base = size(128, 128);
        let native = Sizes { native: base, base, multiple: 32 };
        let rules = Rules { model: Some(native), ..Rules::default() };
        let became = |asked| admitted(&rules, "a sun", asked, 90).unwrap().size.unwrap();
        assert_eq!(became(size(512, 512)), size(128, 128));
        assert_eq!(became(size(1024, 512)), size(160, 64));
        assert_eq!(became(size(64, 100)), size(64, 96));
        assert_eq!(became(size(16_384, 8)), size(512, 32));
        assert_eq!(admitted(&rules, "a sun", size(8, 8), 90).unwrap().steps, Some(50));
        let larger = Rules { size: Some(size(512, 512)), ..rules };
        let asked = size(512, 256);
        assert_eq!(admitted(&larger, "a sun", asked, 0).unwrap().size, Some(asked));
        assert_eq!(admitted(&larger, "a sun", asked, 0).unwrap().steps, Some(1));
    }

    #[test]
    fn what_is_not_painted_here_is_said() {
        let says = |prompt: &str| {
            admitted(&Rules::default(), prompt, size(8, 8), 1).unwrap_err().to_string()
        };
        assert_eq!(says("a gun"), "pictures of 'gun' are not painted here");
        assert_eq!(says(" "), "say in the prompt what should be seen");
        assert!(says(&"sun ".repeat(501)).contains("2000 characters at most"));
    }
}
