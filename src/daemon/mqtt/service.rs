//! The thread's work: what comes from the broker goes to the kiosk and to the fleet's worker, and what
//! they have to say goes back.

use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{LastWill, Publish, PublishProperties};
use rumqttc::v5::{AsyncClient, ClientError};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::time::{MissedTickBehavior, interval};

use super::super::board::Source;
use super::super::desk::{Outcome, Wish};
use super::super::kiosk::Handle;
use super::discovery::{OFFLINE, ONLINE, announcement};
use super::link::{Link, News};
use super::report::Report;
use super::roll::Roll;
use super::settings::{FleetSettings, MqttSettings};
use super::topics::{MEMBER, Subject, Topics};
use super::worker::{Act, Worker};
use super::{Access, heir};
use crate::paint::Request;

/// The kiosk is looked at this often.
const LOOK: Duration = Duration::from_secs(1);
/// What could not be done is tried again after so many looks.
const AGAIN: u64 = 5;
/// How long the broker keeps results, in seconds: a day.
const KEPT: u32 = 24 * 60 * 60;
/// Messages at once from a session that is taken over.
const HANDED_ON_AT_ONCE: u16 = 16;
/// The largest picture that is published.
const LARGEST_PICTURE: u64 = 32 << 20;

/// What happens besides the broker's news.
#[derive(Debug)]
pub(super) enum Event {
    /// The fleet's current order has its outcome.
    Painted(Outcome),
    /// What was left behind by a kiosk was handed on, or was not.
    HandedOn(String, Result<usize, &'static str>),
    /// It is over.
    Stop,
}

/// A kiosk at its broker.
pub(super) struct Service {
    settings: MqttSettings,
    access: Access,
    topics: Topics,
    kiosk: Handle,
    events: UnboundedSender<Event>,
    member: Option<Member>,
    /// Whether the connection stands.
    up: bool,
    /// The board's version that was published last.
    version: Option<u64>,
    /// The picture that was published last.
    shown: Option<String>,
}

/// The kiosk as a member of a fleet.
struct Member {
    settings: FleetSettings,
    worker: Worker,
    roll: Roll,
    /// Whether it is taking over what another left behind.
    inherits: bool,
}

type Sent = Result<(), ClientError>;

impl Service {
    pub fn new(
        settings: MqttSettings,
        access: Access,
        topics: Topics,
        kiosk: Handle,
        events: UnboundedSender<Event>,
    ) -> Self {
        let member = settings.fleet.clone().map(|settings| Member {
            worker: Worker::new(topics.clone()),
            roll: Roll::new(topics.name(), settings.patience),
            inherits: false,
            settings,
        });
        let (up, version, shown) = (false, None, None);
        Self { settings, access, topics, kiosk, events, member, up, version, shown }
    }

    /// Works until it is told to stop.
    pub async fn run(mut self, mut events: UnboundedReceiver<Event>) {
        let mut options = self.access.options(self.topics.name(), self.member.is_some());
        let presence = self.topics.presence();
        options.set_last_will(LastWill::new(presence, OFFLINE, QoS::AtMostOnce, true, None));
        let mut link = Link::open(options, true);
        let client = link.client.clone();
        let mut clock = interval(LOOK);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = 0;
        loop {
            let sent = tokio::select! {
                Some(news) = link.news.recv() => self.hear(&client, news).await,
                Some(event) = events.recv() => match event {
                    Event::Stop => break,
                    event => self.happen(&client, event).await,
                },
                _ = clock.tick() => {
                    looks += 1;
                    self.look(&client, looks).await
                }
            };
            if let Err(error) = sent {
                log::error!("MQTT: {error}");
            }
        }
        if self.up {
            let _ = self.retain(&client, self.topics.presence(), OFFLINE).await;
        }
        link.close().await;
    }

    async fn hear(&mut self, client: &AsyncClient, news: News) -> Sent {
        match news {
            News::Up { resumed } => self.arrive(client, resumed).await,
            News::Down => {
                self.up = false;
                self.member.iter_mut().for_each(|member| member.worker.down());
                Ok(())
            }
            News::Heard(message) => self.read(client, *message).await,
            News::Acknowledged { good } => {
                let acts = self.member.as_mut().map(|member| member.worker.told(good));
                self.act(client, acts.unwrap_or_default()).await
            }
            News::Unsubscribed => Ok(()),
        }
    }

    async fn happen(&mut self, client: &AsyncClient, event: Event) -> Sent {
        let Some(member) = &mut self.member else { return Ok(()) };
        match event {
            // Somebody else will have the job.
            Event::Painted(_) if self.kiosk.desk.stops() => Ok(()),
            Event::Painted(outcome) => {
                let acts = member.worker.painted(&outcome);
                self.act(client, acts).await
            }
            Event::HandedOn(name, Ok(jobs)) => {
                member.inherits = false;
                log::info!("{name} is gone: {jobs} of the fleet's jobs were handed on");
                if !member.roll.is_gone(&name) {
                    return Ok(());
                }
                member.roll.hear_member(&name, false);
                let topic = self.topics.member(&name);
                self.retain(client, topic, "").await
            }
            Event::HandedOn(name, Err(problem)) => {
                member.inherits = false;
                log::warn!("the jobs that {name} left behind are not handed on yet: {problem}");
                Ok(())
            }
            Event::Stop => Ok(()),
        }
    }

    /// The connection stands: everything is subscribed to and said again, whatever was before.
    async fn arrive(&mut self, client: &AsyncClient, resumed: bool) -> Sent {
        (self.up, self.version, self.shown) = (true, None, None);
        for topic in self.topics.commands() {
            client.subscribe(topic, QoS::AtMostOnce).await?;
        }
        if !self.settings.discovery.is_empty() {
            let (topic, payload) = announcement(&self.settings.discovery, &self.topics);
            self.retain(client, topic, payload.to_string()).await?;
        }
        self.retain(client, self.topics.presence(), ONLINE).await?;
        self.publish_state(client).await?;
        let Some(member) = &mut self.member else { return Ok(()) };
        let share = self.topics.share(&member.settings.name);
        let acts = member.worker.up(resumed);
        for topic in self.topics.rounds() {
            client.subscribe(topic, QoS::AtMostOnce).await?;
        }
        self.retain(client, self.topics.member(self.topics.name()), MEMBER).await?;
        client.subscribe(share, QoS::AtLeastOnce).await?;
        self.act(client, acts).await
    }

    /// What somebody sent.
    async fn read(&mut self, client: &AsyncClient, message: Publish) -> Sent {
        let topic = String::from_utf8_lossy(&message.topic).into_owned();
        let text = String::from_utf8_lossy(&message.payload).trim().to_owned();
        match (self.topics.read(&topic), &mut self.member) {
            // What was pressed before the kiosk came is over.
            (Some(Subject::Next | Subject::Interrupt | Subject::Prompt), _) if message.retain => {}
            (Some(Subject::Next), _) => self.kiosk.desk.call_next(),
            (Some(Subject::Interrupt), _) => self.kiosk.desk.interrupt(),
            (Some(Subject::Prompt), _) => self.order(text),
            (Some(Subject::Job), Some(member)) => {
                let acts = member.worker.hear_job(message);
                return self.act(client, acts).await;
            }
            (Some(Subject::Result(job)), Some(member)) if !text.is_empty() => {
                member.worker.hear_result(job);
            }
            (Some(Subject::Member(name)), Some(member)) => match text.as_str() {
                "" => member.roll.hear_member(name, false),
                MEMBER => member.roll.hear_member(name, true),
                _ => member.roll.hear_heir(name, Instant::now()),
            },
            // An older connection's end, told late.
            (Some(Subject::Presence(name)), Some(_))
                if name == self.topics.name() && text == OFFLINE =>
            {
                return self.retain(client, self.topics.presence(), ONLINE).await;
            }
            (Some(Subject::Presence(name)), Some(member)) => {
                member.roll.hear_presence(name, text == ONLINE, Instant::now());
            }
            _ => {}
        }
        Ok(())
    }

    /// Somebody's words, to be painted and shown.
    fn order(&self, prompt: String) {
        let request = Request { prompt, seed: fastrand::u64(..1 << 32), ..Request::default() };
        let wish = Wish { request, source: Source::Mqtt, show: true };
        if let Err(refusal) = self.kiosk.desk.order(wish, |_| {}) {
            log::warn!("a prompt over MQTT is not painted: {refusal}");
        }
    }

    /// Does what the worker wants done.
    async fn act(&mut self, client: &AsyncClient, acts: Vec<Act>) -> Sent {
        let mut acts = std::collections::VecDeque::from(acts);
        while let Some(act) = acts.pop_front() {
            match act {
                Act::Tell(notice) => {
                    let kept = PublishProperties {
                        message_expiry_interval: Some(KEPT),
                        ..Default::default()
                    };
                    let (topic, payload) = (notice.topic, notice.payload);
                    let sent = client.publish_with_properties(
                        topic,
                        QoS::AtLeastOnce,
                        true,
                        payload,
                        kept,
                    );
                    sent.await?;
                }
                Act::Acknowledge(message) => client.ack(&message).await?,
                Act::Order(_, request) => acts.extend(self.order_for_fleet(request)),
            }
        }
        Ok(())
    }

    fn order_for_fleet(&mut self, request: Request) -> Vec<Act> {
        let Some(member) = &mut self.member else { return Vec::new() };
        let (events, show) = (self.events.clone(), member.settings.show);
        let wish = Wish { request: request.clone(), source: Source::Fleet, show };
        let answer = move |outcome| {
            // Fails when nobody waits for it any more.
            let _ = events.send(Event::Painted(outcome));
        };
        match self.kiosk.desk.order(wish, answer) {
            Ok(_) => Vec::new(),
            Err(refusal) => member.worker.refused(request, &refusal),
        }
    }

    /// Every second: what has changed is published, and who has gone is noticed.
    async fn look(&mut self, client: &AsyncClient, looks: u64) -> Sent {
        if !self.up {
            return Ok(());
        }
        self.publish_state(client).await?;
        let Some(member) = &mut self.member else { return Ok(()) };
        let gone = if member.inherits { None } else { member.roll.heir_of(Instant::now()) };
        if let Some(name) = gone {
            member.inherits = true;
            let topic = self.topics.member(&name);
            self.retain(client, topic, self.topics.name()).await?;
            self.hand_on(name);
        }
        let again = self.member.as_mut().filter(|_| looks.is_multiple_of(AGAIN));
        let acts = again.map(|member| member.worker.again()).unwrap_or_default();
        self.act(client, acts).await
    }

    /// Takes over what a kiosk left behind.
    fn hand_on(&self, name: String) {
        let Some(member) = &self.member else { return };
        let (share, jobs) = (self.topics.share(&member.settings.name), self.topics.jobs());
        let mut options = self.access.options(&name, true);
        options.set_receive_maximum(Some(HANDED_ON_AT_ONCE));
        let events = self.events.clone();
        tokio::spawn(async move {
            let handed = heir::hand_on(options, &share, &jobs).await;
            let _ = events.send(Event::HandedOn(name, handed));
        });
    }

    /// Publishes the state, and the picture, where they are others than before.
    async fn publish_state(&mut self, client: &AsyncClient) -> Sent {
        let state = self.kiosk.board.state();
        if self.version.replace(state.version) == Some(state.version) {
            return Ok(());
        }
        let report = serde_json::to_vec(&Report::new(&state)).unwrap_or_default();
        self.retain(client, self.topics.state(), report).await?;
        if state.shown.is_none() || state.shown == self.shown {
            return Ok(());
        }
        self.shown = state.shown;
        let file = self.shown.as_deref().and_then(|name| self.kiosk.gallery.file(name));
        let small = |path: &std::path::PathBuf| {
            std::fs::metadata(path).is_ok_and(|file| file.len() <= LARGEST_PICTURE)
        };
        match file.filter(small).map(std::fs::read) {
            Some(Ok(picture)) => self.retain(client, self.topics.picture(), picture).await,
            _ => Ok(()),
        }
    }

    async fn retain(
        &self,
        client: &AsyncClient,
        topic: String,
        payload: impl Into<Vec<u8>>,
    ) -> Sent {
        client.publish(topic, QoS::AtMostOnce, true, payload.into()).await
    }
}
