//! The table `[mqtt]` of the configuration: which broker, under which name, and in which fleet.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::super::times::Span;

/// Characters of a name: it is a level of a topic, and part of a client's identifier.
const LONGEST_NAME: usize = 64;

/// Where the broker is, and what the kiosk is called there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Table")]
pub struct MqttSettings {
    /// The broker's name or address.
    pub broker: String,
    /// Its port.
    pub port: u16,
    /// As whom the kiosk logs in.
    pub user: Option<String>,
    /// A file whose first line is the password.
    pub password_file: Option<PathBuf>,
    /// The kiosk's name among others; without it, the machine's.
    pub name: Option<String>,
    /// The level that all topics begin with.
    pub base: String,
    /// The level that Home Assistant looks for devices below; empty for none.
    pub discovery: String,
    /// The fleet whose jobs are done here too.
    pub fleet: Option<FleetSettings>,
}

/// A fleet: many kiosks that share the jobs of one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetSettings {
    /// What those who share call themselves.
    pub name: String,
    /// Whether what is painted for the fleet goes on the screen here.
    pub show: bool,
    /// How long a kiosk must be gone until the others take its jobs.
    pub patience: Duration,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a table of settings")]
struct Table {
    broker: String,
    #[serde(default = "port")]
    port: u16,
    user: Option<String>,
    password_file: Option<PathBuf>,
    name: Option<String>,
    #[serde(default = "base")]
    base: String,
    #[serde(default = "discovery")]
    discovery: String,
    fleet: Option<FleetTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a table of settings")]
struct FleetTable {
    #[serde(default = "base")]
    name: String,
    #[serde(default)]
    show: bool,
    #[serde(default = "patience")]
    patience: Span,
}

fn port() -> u16 {
    1883
}

fn base() -> String {
    "pochade".to_owned()
}

fn discovery() -> String {
    "homeassistant".to_owned()
}

fn patience() -> Span {
    Span(Duration::from_secs(60))
}

impl TryFrom<Table> for MqttSettings {
    type Error = String;

    fn try_from(table: Table) -> Result<Self, String> {
        if table.broker.trim().is_empty() {
            return Err("broker is empty; name the machine where the broker runs".to_owned());
        }
        if table.password_file.is_some() && table.user.is_none() {
            return Err("password-file needs a user to log in as".to_owned());
        }
        let path = |key: &str, levels: &str| levels.split('/').try_for_each(|l| name(key, l));
        path("base", &table.base)?;
        if !table.discovery.is_empty() {
            path("discovery", &table.discovery)?;
        }
        if let Some(own) = &table.name {
            name("name", own)?;
            reserved(own)?;
        }
        let fleet = table.fleet.map(FleetSettings::try_from).transpose()?;
        let Table { broker, port, user, password_file, name, base, discovery, .. } = table;
        Ok(Self { broker, port, user, password_file, name, base, discovery, fleet })
    }
}

impl TryFrom<FleetTable> for FleetSettings {
    type Error = String;

    fn try_from(FleetTable { name: own, show, patience }: FleetTable) -> Result<Self, String> {
        name("fleet.name", &own)?;
        Ok(Self { name: own, show, patience: patience.0 })
    }
}

impl MqttSettings {
    /// The kiosk's name.
    ///
    /// # Errors
    /// When it is the machine's, and that cannot be one.
    pub fn own_name(&self) -> Result<String, String> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let own = machine.split('.').next().unwrap_or_default().to_owned();
        let checked = name("name", &own).and_then(|()| reserved(&own));
        checked.map_err(|problem| format!("[mqtt] {problem}, which is this machine's name"))?;
        Ok(own)
    }
}

/// Whether a text can be a level of a topic and part of an identifier in Home Assistant.
pub(super) fn is_name(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=LONGEST_NAME).contains(&text.len()) && text.chars().all(good)
}

fn name(key: &str, text: &str) -> Result<(), String> {
    let wanted = "is not 1 to 64 letters, digits, '-' and '_'";
    is_name(text).then_some(()).ok_or_else(|| format!("{key}: '{text}' {wanted}"))
}

fn reserved(own: &str) -> Result<(), String> {
    (own != "fleet").then_some(()).ok_or_else(|| "name: 'fleet' is taken; choose another".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<MqttSettings, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn a_broker_is_enough() {
        let settings = read("broker = \"broker.local\"").unwrap();
        assert_eq!((settings.port, settings.base.as_str()), (1883, "pochade"));
        assert_eq!((settings.discovery.as_str(), settings.fleet), ("homeassistant", None));
        let fleet = read("broker = \"b\"\n[fleet]").unwrap().fleet.unwrap();
        assert_eq!((fleet.name.as_str(), fleet.show), ("pochade", false));
        assert_eq!(fleet.patience, Duration::from_secs(60));
        let named =
            MqttSettings { name: Some("hall".to_owned()), ..read("broker = \"b\"").unwrap() };
        assert_eq!(named.own_name(), Ok("hall".to_owned()));
    }

    #[test]
    fn what_cannot_be_a_topic_is_answered_with_one_sentence() {
        let wrong = [
            "port = 1883",
            "broker = \" \"",
            "broker = \"b\"\nport = 99999",
            "broker = \"b\"\npassword-file = \"/etc/secret\"",
            "broker = \"b\"\nname = \"the hall\"",
            "broker = \"b\"\nname = \"fleet\"",
            "broker = \"b\"\nbase = \"a/#\"",
            "broker = \"b\"\nbase = \"\"",
            "broker = \"b\"\n[fleet]\nname = \"a+b\"",
            "broker = \"b\"\n[fleet]\npatience = \"soon\"",
            "broker = \"b\"\ntls = true",
        ];
        let errors = wrong.map(|text| read(text).unwrap_err());
        insta::assert_snapshot!(errors.join("\n"));
    }
}
