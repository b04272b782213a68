//! The configuration as its file has it, before it is known whether it makes sense.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{Button, Display, Quiet};
#[cfg(feature = "mqtt")]
use crate::daemon::mqtt::MqttSettings;
use crate::daemon::times::{Between, Span};
#[cfg(feature = "web")]
use crate::daemon::web::WebSettings;
use crate::display::ScreenSettings;

/// The file, as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case", expecting = "a table of settings")]
pub(super) struct File {
    pub model: ModelTable,
    pub paint: PaintTable,
    pub screen: Option<ScreenSettings>,
    pub display: Display,
    pub schedule: ScheduleTable,
    pub playlist: BTreeMap<String, Vec<String>>,
    pub words: BTreeMap<String, Vec<String>>,
    pub gallery: GalleryTable,
    pub safety: SafetyTable,
    pub orders: OrdersTable,
    pub button: Vec<Button>,
    #[cfg(feature = "web")]
    pub web: Option<WebSettings>,
    #[cfg(feature = "mqtt")]
    pub mqtt: Option<MqttSettings>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case", expecting = "a table of settings")]
pub(super) struct ModelTable {
    pub path: Option<PathBuf>,
    pub threads: Option<usize>,
    pub ram: Option<Bytes>,
    pub hottest: Option<f64>,
    pub unload: Span,
}

impl Default for ModelTable {
    fn default() -> Self {
        let unload = Span(Duration::from_secs(300));
        Self { path: None, threads: None, ram: None, hottest: None, unload }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case", expecting = "a table of settings")]
pub(super) struct PaintTable {
    pub size: Option<String>,
    pub steps: Option<usize>,
    pub guidance: Option<f32>,
    pub sampler: Option<String>,
    pub negative: String,
    pub within: Option<Span>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case", expecting = "a table of settings")]
pub(super) struct ScheduleTable {
    pub every: Span,
    pub between: Option<Between>,
    pub quiet: Quiet,
    pub stock: usize,
    pub walk: Option<Span>,
    pub southern: bool,
    pub at: Vec<AtTable>,
}

impl Default for ScheduleTable {
    fn default() -> Self {
        Self {
            every: Span(Duration::from_secs(600)),
            between: None,
            quiet: Quiet::Keep,
            stock: 2,
            walk: None,
            southern: false,
            at: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AtTable {
    pub between: Between,
    pub playlist: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case", expecting = "a table of settings")]
pub(super) struct GalleryTable {
    pub folder: PathBuf,
    pub pictures: usize,
    pub bytes: Bytes,
    pub free: Bytes,
}

impl Default for GalleryTable {
    fn default() -> Self {
        Self {
            folder: PathBuf::from("/var/lib/pochade/gallery"),
            pictures: 1000,
            bytes: Bytes(200_000_000),
            free: Bytes(200_000_000),
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case", expecting = "a table of settings")]
pub(super) struct SafetyTable {
    pub deny: Option<Vec<String>>,
    pub allow: Vec<String>,
    pub fallback: Option<PathBuf>,
    pub gate: Option<Vec<String>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case", expecting = "a table of settings")]
pub(super) struct OrdersTable {
    pub waiting: usize,
    pub steps: usize,
    pub size: Option<String>,
}

impl Default for OrdersTable {
    fn default() -> Self {
        Self { waiting: 16, steps: 50, size: None }
    }
}

/// A number of bytes, such as `200MB` or `256MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Bytes(pub u64);

impl TryFrom<String> for Bytes {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        const UNITS: [(&str, u64); 6] = [
            ("GiB", 1 << 30),
            ("MiB", 1 << 20),
            ("kB", 1000),
            ("MB", 1_000_000),
            ("GB", 1_000_000_000),
            ("TB", 1_000_000_000_000),
        ];
        let unit = UNITS.iter().find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, scale)));
        let bytes =
            unit.and_then(|(number, scale)| number.trim().parse::<u64>().ok()?.checked_mul(*scale));
        bytes
            .map(Self)
            .ok_or_else(|| format!("'{text}' is no number of bytes; write it as 200MB or 256MiB"))
    }
}
