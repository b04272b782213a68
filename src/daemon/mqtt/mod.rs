//! The kiosk over MQTT 5: its state and picture for whoever wants them, buttons and a line for prompts,
//! all of which Home Assistant finds by itself; and its part in a fleet that shares one queue of jobs.
//!
//! Everything runs on a thread of its own and knows the rest of the daemon by its [`Handle`].

mod discovery;
mod heir;
mod job;
mod link;
mod report;
mod roll;
mod service;
mod settings;
mod topics;
mod worker;

use std::fs;
use std::io;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rumqttc::v5::MqttOptions;
use tokio::runtime;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use self::service::{Event, Service};
pub use self::settings::{FleetSettings, MqttSettings};
use self::topics::Topics;
use super::kiosk::Handle;

/// How long the farewell may take.
const FAREWELL: Duration = Duration::from_secs(3);
/// So often the broker hears of a kiosk that has nothing to say.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How long the broker may take to answer at first, in seconds.
const CONNECTING: u64 = 10;
/// Messages under way to the broker.
const IN_FLIGHT: u16 = 16;
/// The longest message that is read.
const LONGEST_MESSAGE: u32 = 64 << 10;
/// How long the broker keeps the jobs of a member of the fleet that is gone, in seconds: a week.
const SESSION: u32 = 7 * 24 * 60 * 60;

/// The connection to a broker, for as long as it is wanted.
#[derive(Debug)]
pub struct Mqtt {
    events: UnboundedSender<Event>,
    thread: JoinHandle<()>,
}

/// How a kiosk comes to the broker.
#[derive(Clone, Debug)]
struct Access {
    broker: String,
    port: u16,
    login: Option<(String, String)>,
}

impl Mqtt {
    /// Connects the kiosk, now or whenever the broker can be reached.
    ///
    /// # Errors
    /// When the password cannot be read, or the machine's name cannot be the kiosk's.
    pub fn start(settings: &MqttSettings, kiosk: Handle) -> io::Result<Self> {
        let name = settings.own_name().map_err(io::Error::other)?;
        let access = Access::read(settings)?;
        let topics = Topics::new(&settings.base, &name);
        let (events, inbox) = unbounded_channel();
        let service = Service::new(settings.clone(), access, topics, kiosk, events.clone());
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let work = move || runtime.block_on(service.run(inbox));
        let thread = std::thread::Builder::new().name("mqtt".to_owned()).spawn(work)?;
        Ok(Self { events, thread })
    }

    /// Says farewell to the broker, which takes a few seconds at most.
    pub fn stop(self) {
        // Fails when the thread has come to its end already.
        let _ = self.events.send(Event::Stop);
        let started = Instant::now();
        while !self.thread.is_finished() && started.elapsed() < FAREWELL {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Access {
    fn read(settings: &MqttSettings) -> io::Result<Self> {
        let password = settings.password_file.as_ref().map(|path| {
            let text = fs::read_to_string(path).map_err(|error| {
                let problem = format!("{}: {error}; see [mqtt] password-file", path.display());
                io::Error::new(error.kind(), problem)
            })?;
            Ok::<_, io::Error>(text.lines().next().unwrap_or_default().to_owned())
        });
        let password = password.transpose()?.unwrap_or_default();
        let login = settings.user.clone().map(|user| (user, password));
        Ok(Self { broker: settings.broker.clone(), port: settings.port, login })
    }

    /// A connection in the name of a kiosk. A member of a fleet has a session that outlives it, and is
    /// given one job at a time.
    fn options(&self, name: &str, fleet: bool) -> MqttOptions {
        let mut options = MqttOptions::new(format!("pochade-{name}"), &self.broker, self.port);
        options
            .set_keep_alive(KEEP_ALIVE)
            .set_connection_timeout(CONNECTING)
            .set_outgoing_inflight_upper_limit(IN_FLIGHT)
            .set_manual_acks(true)
            .set_clean_start(!fleet)
            .set_max_packet_size(Some(LONGEST_MESSAGE));
        if fleet {
            options.set_session_expiry_interval(Some(SESSION)).set_receive_maximum(Some(1));
        }
        if let Some((user, password)) = &self.login {
            options.set_credentials(user, password);
        }
        options
    }
}
