//! A member's part in the fleet: one job at a time, which is acknowledged after its result is with the
//! broker. Until then it is the broker's to give to somebody else.

use std::collections::{HashSet, VecDeque};

use rumqttc::v5::mqttbytes::v5::Publish;

use super::super::desk::Outcome;
use super::super::rules::Refusal;
use super::job::{Answer, BadJob, Job};
use super::topics::Topics;
use crate::paint::Request;

/// Names of jobs that are remembered as done.
const REMEMBERED: usize = 4096;

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Act {
    /// Publish, so that the broker says that it has it.
    Tell(Notice),
    /// Acknowledge.
    Acknowledge(Publish),
    /// Order a picture for the job of this name.
    Order(String, Request),
}

/// Something that everybody may know of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    /// Where it is published.
    pub topic: String,
    /// What.
    pub payload: Vec<u8>,
}

/// A member of the fleet at work.
#[derive(Debug)]
pub(super) struct Worker {
    topics: Topics,
    /// Whether the connection stands.
    up: bool,
    done: Done,
    current: Option<Current>,
    /// What came in while there was something to do still.
    waiting: VecDeque<Publish>,
}

/// The job that is being done.
#[derive(Debug)]
struct Current {
    job: String,
    /// The message it came in; none when the broker has forgotten that it gave it to us.
    message: Option<Publish>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The desk was full.
    Waiting(Request),
    /// It is being painted.
    Painting,
    /// It is done, and the broker hears of it.
    Telling {
        notices: Vec<Notice>,
        /// How many the broker has to answer still; none were sent while the connection is broken.
        left: usize,
        /// Whether it has refused one.
        refused: bool,
    },
}

/// The jobs that were done last, by whomever.
#[derive(Debug, Default)]
struct Done {
    names: HashSet<String>,
    order: VecDeque<String>,
}

impl Done {
    fn insert(&mut self, job: &str) {
        if self.names.insert(job.to_owned()) {
            self.order.push_back(job.to_owned());
        }
        if self.order.len() > REMEMBERED {
            self.order.pop_front().map(|oldest| self.names.remove(&oldest));
        }
    }
}

impl Worker {
    pub fn new(topics: Topics) -> Self {
        let (done, waiting) = (Done::default(), VecDeque::new());
        Self { topics, up: false, done, current: None, waiting }
    }

    /// The connection stands. What the broker was told is told again where it has forgotten us;
    /// else the connection itself sees to it.
    pub fn up(&mut self, resumed: bool) -> Vec<Act> {
        self.up = true;
        if !resumed {
            self.waiting.clear();
        }
        let Some(current) = &mut self.current else { return Vec::new() };
        if !resumed {
            current.message = None;
        }
        match &mut current.stage {
            Stage::Telling { left, refused, .. } if !resumed || *left == 0 => {
                (*left, *refused) = (0, false);
                self.tell()
            }
            _ => Vec::new(),
        }
    }

    /// The connection is broken.
    pub fn down(&mut self) {
        self.up = false;
    }

    /// Somebody has done a job.
    pub fn hear_result(&mut self, job: &str) {
        self.done.insert(job);
    }

    /// A job has come in, or something that should be one.
    pub fn hear_job(&mut self, message: Publish) -> Vec<Act> {
        let read = Job::read(&message.payload);
        let name = match &read {
            Ok((name, _)) => name,
            Err(bad) => &bad.name,
        };
        if let Some(current) = &mut self.current {
            if current.job == *name {
                // Sent again because the connection broke: this is the one to acknowledge.
                current.message = Some(message);
            } else {
                self.waiting.push_back(message);
            }
            return Vec::new();
        }
        if self.done.names.contains(name) {
            log::info!("the fleet's job {name} was done before");
            return vec![Act::Acknowledge(message)];
        }
        let (job, message) = (name.clone(), Some(message));
        self.current = Some(Current { job: job.clone(), message, stage: Stage::Painting });
        match read {
            Ok((_, request)) => vec![Act::Order(job, request)],
            Err(BadJob { problem, .. }) => self.fail(&problem),
        }
    }

    /// The desk does not take the order.
    pub fn refused(&mut self, request: Request, refusal: &Refusal) -> Vec<Act> {
        match (&mut self.current, refusal) {
            (Some(current), Refusal::Full { .. }) => {
                current.stage = Stage::Waiting(request);
                Vec::new()
            }
            _ => self.fail(&refusal.to_string()),
        }
    }

    /// Time has passed: what could not be done before is tried again.
    pub fn again(&mut self) -> Vec<Act> {
        let Some(current) = &mut self.current else { return Vec::new() };
        match std::mem::replace(&mut current.stage, Stage::Painting) {
            Stage::Waiting(request) => vec![Act::Order(current.job.clone(), request)],
            Stage::Telling { notices, left: 0, refused: true } => {
                current.stage = Stage::Telling { notices, left: 0, refused: false };
                self.tell()
            }
            stage => {
                current.stage = stage;
                Vec::new()
            }
        }
    }

    /// What became of the order.
    pub fn painted(&mut self, outcome: &Outcome) -> Vec<Act> {
        let Some(current) = &mut self.current else { return Vec::new() };
        match outcome {
            // Somebody else was given it too, and was faster.
            _ if self.done.names.contains(&current.job) => self.finish(),
            Outcome::Finished(done) => {
                let (job, board) = (&current.job, self.topics.name());
                let topic = self.topics.result_picture(job);
                let answer = Answer::finished(job, board, &topic, done);
                let answer = Notice { topic: self.topics.result(job), payload: json(&answer) };
                let picture = Notice { topic: topic.clone(), payload: done.file.clone() };
                self.publish(vec![picture, answer])
            }
            Outcome::Interrupted(_) => self.fail("somebody stopped it while it was painted"),
            Outcome::Cancelled => self.fail("somebody took it back"),
            Outcome::Failed(error) => self.fail(error),
        }
    }

    /// The broker has one of the notices, or will not have it.
    pub fn told(&mut self, good: bool) -> Vec<Act> {
        let Some(Current { job, stage: Stage::Telling { left, refused, .. }, .. }) =
            &mut self.current
        else {
            return Vec::new();
        };
        *left = left.saturating_sub(1);
        if !good {
            *refused = true;
            log::warn!("the broker does not take the result of the fleet's job {job}");
        }
        if *left == 0 && !*refused { self.finish() } else { Vec::new() }
    }

    /// The job will never be done.
    fn fail(&mut self, error: &str) -> Vec<Act> {
        let Some(Current { job, .. }) = &self.current else { return Vec::new() };
        log::warn!("the fleet's job {job}: {error}");
        let answer = Answer::Failed { job, board: self.topics.name(), error };
        let notice = Notice { topic: self.topics.result(job), payload: json(&answer) };
        self.publish(vec![notice])
    }

    fn publish(&mut self, notices: Vec<Notice>) -> Vec<Act> {
        if let Some(current) = &mut self.current {
            current.stage = Stage::Telling { notices, left: 0, refused: false };
        }
        if self.up { self.tell() } else { Vec::new() }
    }

    /// All that the broker is to hear of the current job.
    fn tell(&mut self) -> Vec<Act> {
        let stage = self.current.as_mut().map(|current| &mut current.stage);
        let Some(Stage::Telling { notices, left, .. }) = stage else { return Vec::new() };
        *left = notices.len();
        notices.iter().cloned().map(Act::Tell).collect()
    }

    /// The job is done: the broker hears that, and the next one is taken up.
    fn finish(&mut self) -> Vec<Act> {
        let Some(Current { job, message, .. }) = self.current.take() else { return Vec::new() };
        self.done.insert(&job);
        let mut acts: Vec<Act> = message.map(Act::Acknowledge).into_iter().collect();
        while self.current.is_none() {
            let Some(next) = self.waiting.pop_front() else { break };
            acts.extend(self.hear_job(next));
        }
        acts
    }
}

/// A value that always has a form in JSON.
fn json(answer: &Answer<'_>) -> Vec<u8> {
    serde_json::to_vec(answer).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::Finished;
    use crate::diffusion::SamplerKind;
    use crate::paint::{Resolved, Size, Timings};
    use image::RgbImage;
    use std::sync::Arc;
    use std::time::Duration;

    fn worker() -> Worker {
        let mut worker = Worker::new(Topics::new("pochade", "hall"));
        assert_eq!(worker.up(false), []);
        worker
    }

    fn message(job: &str, pkid: u16) -> Publish {
        let payload = format!(r#"{{"job": "{job}", "prompt": "a red sun", "seed": 7}}"#);
        Publish { pkid, payload: payload.into(), ..Publish::default() }
    }

    fn finished() -> Outcome {
        let request = Resolved {
            prompt: "a red sun".to_owned(),
            negative: String::new(),
            seed: 7,
            toward: None,
            strength: None,
            steps: 4,
            guidance: 3.0,
            size: Size { width: 2, height: 1 },
            sampler: SamplerKind::Ddim,
            model: "default".to_owned(),
            model_hash: None,
        };
        Outcome::Finished(Arc::new(Finished {
            file: b"png".to_vec(),
            image: RgbImage::new(2, 1),
            name: None,
            request,
            warnings: Vec::new(),
            timings: Timings { denoise: Duration::from_millis(1234), ..Timings::default() },
        }))
    }

    /// The acts in words.
    fn said(acts: &[Act]) -> String {
        let line = |act: &Act| match act {
            Act::Tell(Notice { topic, payload }) => {
                format!("tell {topic} {}", String::from_utf8_lossy(payload))
            }
            Act::Acknowledge(message) => format!("acknowledge {}", message.pkid),
            Act::Order(job, request) => format!("order {job} {}", request.prompt),
        };
        acts.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_job_is_acknowledged_after_the_broker_has_its_result() {
        let mut worker = worker();
        assert_eq!(said(&worker.hear_job(message("one", 5))), "order one a red sun");
        insta::assert_snapshot!(said(&worker.painted(&finished())));
        assert_eq!(said(&worker.told(true)), "");
        assert_eq!(said(&worker.told(true)), "acknowledge 5");
    }

    #[test]
    fn a_job_that_was_done_before_is_not_painted_again() {
        let mut worker = worker();
        worker.hear_result("one");
        assert_eq!(said(&worker.hear_job(message("one", 5))), "acknowledge 5");
        worker.hear_job(message("two", 6));
        worker.hear_result("two");
        assert_eq!(said(&worker.painted(&finished())), "acknowledge 6", "another was faster");
    }

    #[test]
    fn a_bad_job_is_answered_and_acknowledged() {
        let mut worker = worker();
        let bad = Publish { pkid: 3, payload: "a red sun".into(), ..Publish::default() };
        let acts = said(&worker.hear_job(bad));
        assert!(acts.starts_with("tell pochade/fleet/results/bad-"), "{acts}");
        assert!(acts.contains(r#""state":"failed""#) && acts.contains("expected"), "{acts}");
        assert_eq!(said(&worker.told(true)), "acknowledge 3");
    }

    #[test]
    fn a_full_desk_is_asked_again_and_a_refusal_is_an_answer() {
        let mut worker = worker();
        worker.hear_job(message("one", 1));
        let full = Refusal::Full { waiting: 16, patience: Duration::from_secs(1) };
        let request = Request { prompt: "a red sun".to_owned(), ..Request::default() };
        assert_eq!(worker.refused(request.clone(), &full), []);
        assert_eq!(said(&worker.again()), "order one a red sun");
        let acts = said(&worker.refused(request, &Refusal::Word("gun".to_owned())));
        assert!(acts.contains("pictures of 'gun' are not painted here"), "{acts}");
    }

    #[test]
    fn what_the_broker_forgot_is_told_again_and_what_it_remembers_is_not() {
        let mut worker = worker();
        worker.hear_job(message("one", 5));
        worker.down();
        assert_eq!(said(&worker.painted(&finished())), "", "nobody would hear it");
        assert_eq!(worker.up(true).len(), 2);
        worker.down();
        assert_eq!(worker.up(true), [], "the connection sends it again itself");
        assert_eq!(worker.hear_job(message("one", 9)), [], "the same, sent again");
        worker.down();
        assert_eq!(worker.up(false).len(), 2);
        worker.told(true);
        assert_eq!(said(&worker.told(true)), "", "there is nothing to acknowledge any more");
        assert_eq!(said(&worker.hear_job(message("one", 1))), "acknowledge 1");
    }

    #[test]
    fn a_result_that_the_broker_refuses_is_told_again_later() {
        let mut worker = worker();
        worker.hear_job(message("one", 5));
        worker.painted(&Outcome::Failed("no memory".to_owned()));
        assert_eq!(worker.told(false), []);
        assert_eq!(worker.again().len(), 1);
        assert_eq!(said(&worker.told(true)), "acknowledge 5");
        assert_eq!(worker.again(), []);
    }
}
