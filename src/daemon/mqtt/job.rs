//! A job of the fleet, as it is sent, and what is said about it when it is done.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use twox_hash::XxHash3_64;

use super::super::desk::Finished;
use super::settings::is_name;
use crate::paint::Request;

/// A picture that somebody wants of the fleet: JSON, at most 64 KiB of it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with the keys \"job\" and \"prompt\"")]
pub(super) struct Job {
    /// Its name, which no other job has: 1 to 64 letters, digits, `-` and `_`.
    #[serde(rename = "job")]
    pub name: String,
    prompt: String,
    #[serde(default)]
    negative: Option<String>,
    #[serde(default)]
    seed: Option<u64>,
    #[serde(default)]
    steps: Option<usize>,
    #[serde(default)]
    guidance: Option<f32>,
    #[serde(default)]
    size: Option<String>,
    #[serde(default)]
    sampler: Option<String>,
}

/// Something that was sent as a job and is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadJob {
    /// The name that it has or was given, under which it is answered.
    pub name: String,
    /// What is wrong with it, in a sentence.
    pub problem: String,
}

impl Job {
    /// Reads a job and what it asks for.
    pub fn read(payload: &[u8]) -> Result<(String, Request), BadJob> {
        let wrong = |problem| BadJob { name: name_of(payload), problem };
        let job: Self = serde_json::from_slice(payload).map_err(|e| wrong(e.to_string()))?;
        if !is_name(&job.name) {
            let wanted = "is not 1 to 64 letters, digits, '-' and '_'";
            return Err(wrong(format!("job: '{}' {wanted}", job.name)));
        }
        let request = job.request().map_err(wrong)?;
        Ok((job.name, request))
    }

    /// Without a seed, the name decides, so that whoever paints it paints the same.
    fn request(&self) -> Result<Request, String> {
        let size = self.size.as_deref().map(str::parse).transpose();
        let sampler = self.sampler.as_deref().map(str::parse).transpose();
        if self.guidance.is_some_and(|x| !(0.0..=100.0).contains(&x)) {
            return Err("guidance: it is a number from 0 to 100".to_owned());
        }
        Ok(Request {
            prompt: self.prompt.clone(),
            negative: self.negative.clone().unwrap_or_default(),
            seed: self.seed.unwrap_or_else(|| XxHash3_64::oneshot(self.name.as_bytes()) >> 32),
            steps: self.steps,
            guidance: self.guidance,
            size: size.map_err(|problem| format!("size: {problem}"))?,
            sampler: sampler.map_err(|problem| format!("sampler: {problem}"))?,
            ..Request::default()
        })
    }
}

/// The name that something has which is no job, or one made of what it is: the same each time.
fn name_of(payload: &[u8]) -> String {
    let object = serde_json::from_slice::<Value>(payload).unwrap_or_default();
    let name = object.get("job").and_then(Value::as_str).filter(|name| is_name(name));
    name.map_or_else(|| format!("bad-{:016x}", XxHash3_64::oneshot(payload)), str::to_owned)
}

/// What became of a job.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub(super) enum Answer<'a> {
    /// It was painted.
    Finished {
        /// Its name.
        job: &'a str,
        /// Who painted it.
        board: &'a str,
        /// The topic of the picture.
        picture: &'a str,
        /// What was painted.
        prompt: &'a str,
        /// From which seed.
        seed: u64,
        /// In how many steps.
        steps: usize,
        /// Pixels per row.
        width: usize,
        /// Rows.
        height: usize,
        /// How long it took.
        seconds: f64,
        /// What should be known about it.
        warnings: &'a [String],
    },
    /// It will never be.
    Failed {
        /// Its name.
        job: &'a str,
        /// Who says so.
        board: &'a str,
        /// Why, in a sentence.
        error: &'a str,
    },
}

impl<'a> Answer<'a> {
    /// The answer for a picture.
    pub fn finished(job: &'a str, board: &'a str, picture: &'a str, done: &'a Finished) -> Self {
        let request = &done.request;
        Self::Finished {
            job,
            board,
            picture,
            prompt: &request.prompt,
            seed: request.seed,
            steps: request.steps,
            width: request.size.width,
            height: request.size.height,
            seconds: (done.timings.total().as_secs_f64() * 100.0).round() / 100.0,
            warnings: &done.warnings,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paint::Size;

    #[test]
    fn a_job_is_a_request_with_a_name() {
        let (name, request) = Job::read(
            br#"{"job": "sun-1", "prompt": "a red sun", "seed": 7, "steps": 4, "size": "64x96"}"#,
        )
        .unwrap();
        let size = Some(Size { width: 64, height: 96 });
        let prompt = "a red sun".to_owned();
        assert_eq!(name, "sun-1");
        let wanted = Request { prompt, seed: 7, steps: Some(4), size, ..Request::default() };
        assert_eq!(request, wanted);
        let seed = |job: &str| {
            let payload = format!(r#"{{"job": "{job}", "prompt": "a sun"}}"#);
            Job::read(payload.as_bytes()).unwrap().1.seed
        };
        assert_eq!(seed("one"), seed("one"));
        assert_ne!(seed("one"), seed("two"));
    }

    #[test]
    fn what_is_no_job_is_answered_with_one_sentence_under_the_same_name_each_time() {
        let bad: [&[u8]; 9] = [
            b"a red sun",
            b"\xff\xfe",
            b"",
            br#"{"prompt": "a red sun"}"#,
            br#"{"job": "a/b", "prompt": "a red sun"}"#,
            br#"{"job": "one", "prompt": "a red sun", "size": "big"}"#,
            br#"{"job": "one", "prompt": "a red sun", "sampler": "heun"}"#,
            br#"{"job": "one", "prompt": "a red sun", "guidance": -1}"#,
            br#"{"job": "one", "prompt": "a red sun", "stepps": 4}"#,
        ];
        let said = bad.map(|payload| {
            let BadJob { name, problem } = Job::read(payload).unwrap_err();
            format!("{name}: {problem}")
        });
        insta::assert_snapshot!(said.join("\n"));
    }
}
