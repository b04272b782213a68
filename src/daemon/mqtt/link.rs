//! The connection to the broker, kept up for months: it is made again whenever it breaks, with pauses
//! that grow, and the log hears once that the broker has gone and once that it is back.

use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason, Publish};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};
use rumqttc::v5::{StateError, mqttbytes::v5::DisconnectReasonCode};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Messages that wait to be sent.
const REQUESTS: usize = 64;
/// The pause before the connection is made again.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest one.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A connection that held so long was a good one.
const GOOD: Duration = Duration::from_secs(60);
/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// What is heard of the broker.
#[derive(Debug, PartialEq)]
pub(super) enum News {
    /// The connection stands; whether the broker remembers the last one.
    Up {
        /// It does.
        resumed: bool,
    },
    /// The connection is broken.
    Down,
    /// A message.
    Heard(Box<Publish>),
    /// The broker has a message that was sent to it, or will not have it.
    Acknowledged {
        /// It has.
        good: bool,
    },
    /// A subscription has ended.
    Unsubscribed,
}

/// A connection, and a task that looks after it as long as this is there.
#[derive(Debug)]
pub(super) struct Link {
    /// Sends.
    pub client: AsyncClient,
    /// Hears.
    pub news: UnboundedReceiver<News>,
    task: JoinHandle<()>,
}

impl Link {
    /// A connection; `lasting` when it is to be made again after it broke.
    pub fn open(options: MqttOptions, lasting: bool) -> Self {
        let broker = format!("the broker {}", options.broker_address().0);
        let (client, events) = AsyncClient::new(options, REQUESTS);
        let (sender, news) = unbounded_channel();
        let keeper = Keeper { broker, lasting, news: sender, trouble: None, since: None };
        let task = tokio::spawn(keeper.run(events));
        Self { client, news, task }
    }

    /// Ends the connection as it should be, so that the broker does not speak of an accident.
    pub async fn close(mut self) {
        let _ = timeout(FAREWELL, async {
            if self.client.disconnect().await.is_ok() {
                let _ = (&mut self.task).await;
            }
        })
        .await;
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Looks after a connection.
struct Keeper {
    /// What the broker is called.
    broker: String,
    /// Whether it is made again after it broke, and the log hears of it.
    lasting: bool,
    news: UnboundedSender<News>,
    /// What is wrong, as it was said last.
    trouble: Option<String>,
    /// Since when the connection stands.
    since: Option<Instant>,
}

impl Keeper {
    async fn run(mut self, mut events: EventLoop) {
        let mut pause = FIRST_PAUSE;
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::Disconnect(_))) => {}
                Ok(Event::Incoming(packet)) => self.hear(packet),
                Ok(Event::Outgoing(rumqttc::Outgoing::Disconnect)) => return,
                Ok(Event::Outgoing(_)) => {}
                Err(error) => {
                    if self.since.take().is_some_and(|since| since.elapsed() > GOOD) {
                        pause = FIRST_PAUSE;
                    }
                    self.broken(&error);
                    if !self.lasting {
                        return;
                    }
                    sleep(pause).await;
                    pause = (2 * pause).min(LONGEST_PAUSE);
                }
            }
        }
    }

    fn hear(&mut self, packet: Packet) {
        let news = match packet {
            Packet::ConnAck(answer) => {
                self.since = Some(Instant::now());
                match self.trouble.take() {
                    Some(_) => log::info!("{} is back", self.broker),
                    None if self.lasting => log::info!("connected to {}", self.broker),
                    None => {}
                }
                News::Up { resumed: answer.session_present }
            }
            Packet::Publish(message) => News::Heard(Box::new(message)),
            Packet::PubAck(answer) => {
                use PubAckReason::{NoMatchingSubscribers, Success};
                News::Acknowledged {
                    good: matches!(answer.reason, Success | NoMatchingSubscribers),
                }
            }
            Packet::UnsubAck(_) => News::Unsubscribed,
            _ => return,
        };
        // Nobody listens any more when all this is about to end.
        let _ = self.news.send(news);
    }

    /// Says what is wrong, where it was not said before.
    fn broken(&mut self, error: &ConnectionError) {
        let trouble = sentence(error);
        if self.trouble.is_none() {
            let _ = self.news.send(News::Down);
        }
        if self.trouble.is_none() && self.lasting {
            log::warn!("{} has gone: {trouble}; trying again for as long as it takes", self.broker);
        } else if self.trouble.as_ref() != Some(&trouble) {
            log::debug!("{}: {trouble}", self.broker);
        }
        self.trouble = Some(trouble);
    }
}

fn sentence(error: &ConnectionError) -> String {
    use DisconnectReasonCode::SessionTakenOver;
    match error {
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. })
            if *reason_code == SessionTakenOver =>
        {
            "another kiosk has come with the same name; each needs its own in [mqtt]".to_owned()
        }
        ConnectionError::ConnectionRefused(code) => format!("it refuses the connection: {code:?}"),
        ConnectionError::Timeout(_) => "it does not answer".to_owned(),
        ConnectionError::MqttState(error) => format!("the connection broke ({error})"),
        error => error.to_string(),
    }
}
