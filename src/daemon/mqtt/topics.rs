//! The names of all topics, and what a message at one of them means.

/// What a member of the fleet publishes of itself.
pub(super) const MEMBER: &str = "member";

/// The topics of a kiosk below `BASE/NAME`, and those of the fleet below `BASE/fleet`.
#[derive(Clone, Debug)]
pub(super) struct Topics {
    base: String,
    name: String,
}

/// What a topic is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject<'a> {
    /// The button for another picture.
    Next,
    /// The button that stops the painting.
    Interrupt,
    /// Words to paint.
    Prompt,
    /// A job of the fleet.
    Job,
    /// The result of a job of that name.
    Result(&'a str),
    /// A kiosk of that name belongs to the fleet.
    Member(&'a str),
    /// Whether the kiosk of that name is there.
    Presence(&'a str),
}

impl Topics {
    pub fn new(base: &str, name: &str) -> Self {
        Self { base: base.to_owned(), name: name.to_owned() }
    }

    /// The kiosk's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn own(&self, what: &str) -> String {
        format!("{}/{}/{what}", self.base, self.name)
    }

    fn fleet(&self, what: &str) -> String {
        format!("{}/fleet/{what}", self.base)
    }

    /// Retained: `online`, or `offline` by the broker's own doing.
    pub fn presence(&self) -> String {
        self.own("availability")
    }

    /// Retained: what the kiosk does, as JSON.
    pub fn state(&self) -> String {
        self.own("state")
    }

    /// Retained: the file of the picture that is shown.
    pub fn picture(&self) -> String {
        self.own("picture")
    }

    /// What others may send to the kiosk.
    pub fn next(&self) -> String {
        self.own("next")
    }

    /// See [`Topics::next`].
    pub fn interrupt(&self) -> String {
        self.own("interrupt")
    }

    /// See [`Topics::next`].
    pub fn prompt(&self) -> String {
        self.own("prompt")
    }

    /// Where jobs for the fleet are sent.
    pub fn jobs(&self) -> String {
        self.fleet("jobs")
    }

    /// The subscription by which each job goes to one member alone.
    pub fn share(&self, group: &str) -> String {
        format!("$share/{group}/{}", self.jobs())
    }

    /// Retained for a day: what became of a job, as JSON.
    pub fn result(&self, job: &str) -> String {
        self.fleet(&format!("results/{job}"))
    }

    /// Retained for a day: a job's picture.
    pub fn result_picture(&self, job: &str) -> String {
        self.fleet(&format!("results/{job}/picture"))
    }

    /// Retained: a kiosk belongs to the fleet; what is published there is [`MEMBER`], or the name of
    /// another that takes over what the kiosk has left behind.
    pub fn member(&self, name: &str) -> String {
        self.fleet(&format!("members/{name}"))
    }

    /// What is subscribed to for the kiosk itself.
    pub fn commands(&self) -> [String; 3] {
        [self.next(), self.interrupt(), self.prompt()]
    }

    /// What a member of the fleet subscribes to besides the jobs.
    pub fn rounds(&self) -> [String; 3] {
        let presences = format!("{}/+/availability", self.base);
        [self.fleet("results/+"), self.fleet("members/+"), presences]
    }

    /// What a message at this topic is about.
    pub fn read<'a>(&self, topic: &'a str) -> Option<Subject<'a>> {
        let below = topic.strip_prefix(&self.base)?.strip_prefix('/')?;
        let levels: Vec<&str> = below.split('/').collect();
        match levels[..] {
            ["fleet", "jobs"] => Some(Subject::Job),
            ["fleet", "results", job] => Some(Subject::Result(job)),
            ["fleet", "members", name] => Some(Subject::Member(name)),
            [name, "availability"] => Some(Subject::Presence(name)),
            [name, what] if name == self.name => match what {
                "next" => Some(Subject::Next),
                "interrupt" => Some(Subject::Interrupt),
                "prompt" => Some(Subject::Prompt),
                _ => None,
            },
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_is_read_as_what_it_was_written_for() {
        let topics = Topics::new("home/pochade", "hall");
        for (topic, subject) in [
            (topics.next(), Subject::Next),
            (topics.interrupt(), Subject::Interrupt),
            (topics.prompt(), Subject::Prompt),
            (topics.jobs(), Subject::Job),
            (topics.result("one"), Subject::Result("one")),
            (topics.member("attic"), Subject::Member("attic")),
            (topics.presence(), Subject::Presence("hall")),
        ] {
            assert_eq!(topics.read(&topic), Some(subject), "{topic}");
        }
        for other in ["pochade/hall/next", "home/pochade/attic/next", "home/pochade/hall/state"] {
            assert_eq!(topics.read(other), None, "{other}");
        }
        assert_eq!(topics.read(&topics.result_picture("one")), None);
        assert_eq!(topics.share("a"), "$share/a/home/pochade/fleet/jobs");
    }
}
