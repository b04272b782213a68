//! The kiosk's configuration: one TOML file, checked whole before anything is done by it.

mod tables;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use self::tables::{Bytes, File, GalleryTable, ModelTable, OrdersTable, PaintTable, ScheduleTable};
use super::gallery::Keep;
use super::gate::Gate;
use super::guard::Guard;
#[cfg(feature = "mqtt")]
use super::mqtt::MqttSettings;
use super::rules::Rules;
use super::times::Between;
#[cfg(feature = "web")]
use super::web::WebSettings;
use super::words::{Template, Words, WordsError};
use crate::diffusion::SamplerKind;
use crate::display::{Fit, Rotation, ScreenSettings};
use crate::paint::{Request, Size};

/// What a picture of the default playlist is painted from.
const PLAYLIST: &[&str] = &[
    "a __colour__ sun over {2::__colour__ mountains|2::__colour__ hills|the sea} __time_of_day__, __style__",
    "a __colour__ {flower on a __colour__ background|hot air balloon over __colour__ hills}, __style__",
    "{a __colour__ planet|__colour__ and __colour__ waves|a __colour__ forest __time_of_day__}, __style__",
];
const COLOURS: &[&str] = &["red", "orange", "yellow", "green", "teal", "blue", "purple", "pink"];
const STYLES: &[&str] = &["flat", "watercolour", "ink", "pastel"];

/// What is wrong with a configuration, in a sentence that names the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.problem)
    }
}

impl std::error::Error for ConfigError {}

/// How pictures lie on the screen.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case", expecting = "a table of settings")]
pub struct Display {
    /// What to do with a picture of another shape.
    pub fit: Fit,
    /// How far the picture is turned.
    pub rotate: Rotation,
    /// What is behind a picture that does not fill the screen.
    pub background: Colour,
    /// From 0 to 1.
    pub brightness: f32,
    /// When the screen is darker.
    pub night: Option<Between>,
    /// How bright it is then.
    pub night_brightness: f32,
    /// Whether the prompt stands below the picture.
    pub caption: bool,
    /// Whether a painting is seen emerging and fades into the next, where the screen is fast enough.
    pub emerge: bool,
}

impl Default for Display {
    fn default() -> Self {
        Self {
            fit: Fit::Cover,
            rotate: Rotation::None,
            background: Colour([16; 3]),
            brightness: 1.0,
            night: None,
            night_brightness: 0.4,
            caption: false,
            emerge: true,
        }
    }
}

/// A colour, written `#rrggbb`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Colour(pub [u8; 3]);

impl TryFrom<String> for Colour {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = text.strip_prefix('#').filter(|d| d.len() == 6);
        let digits = digits.filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let number = digits.and_then(|d| u32::from_str_radix(d, 16).ok());
        let [_, rgb @ ..] = number
            .ok_or_else(|| format!("'{text}' is no colour; write it as #1a2b3c"))?
            .to_be_bytes();
        Ok(Self(rgb))
    }
}

/// What the screen shows in quiet hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quiet {
    /// The last picture.
    #[default]
    Keep,
    /// Nothing.
    Dark,
}

/// A configuration that makes sense.
#[derive(Clone, Debug)]
pub struct Config {
    /// The model's file or folder; none for the one in the binary.
    pub model: Option<PathBuf>,
    /// Threads that paint.
    pub threads: Option<usize>,
    /// Degrees Celsius above which nothing is painted.
    pub hottest: Option<f64>,
    /// How long the model stays in memory when nothing is painted.
    pub unload: Duration,
    /// What all pictures have in common; the prompt is empty.
    pub request: Request,
    /// How long a picture may take; steps are left out to keep to it.
    pub within: Option<Duration>,
    /// Where pictures are shown; without a screen, they go to the gallery alone.
    pub screen: Option<ScreenSettings>,
    /// How they lie on it.
    pub display: Display,
    /// When.
    pub schedule: Schedule,
    /// The lists that prompts name.
    pub words: Words,
    /// Where pictures are kept.
    pub gallery: PathBuf,
    /// How many of them.
    pub keep: Keep,
    /// What may be painted, and how much of it.
    pub rules: Rules,
    /// What every finished picture must pass.
    pub gate: Option<Gate>,
    /// Shown where nothing else may be.
    pub fallback: Option<PathBuf>,
    /// Buttons on pins.
    pub buttons: Vec<Button>,
    /// Where its page is served, if anywhere.
    #[cfg(feature = "web")]
    pub web: Option<WebSettings>,
    /// Where the kiosk is published, if anywhere.
    #[cfg(feature = "mqtt")]
    pub mqtt: Option<MqttSettings>,
}

/// A button that connects a pin to ground.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Button {
    /// The pin's number on the chip: on a Raspberry Pi, its GPIO number.
    pub pin: u32,
    /// The chip's device; without it, that of the board's header.
    pub chip: Option<PathBuf>,
    /// What a press does.
    #[serde(default)]
    pub does: Press,
}

/// What a button does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Press {
    /// Shows another picture.
    #[default]
    Next,
    /// Keeps the picture on the screen for good.
    Favourite,
    /// Stops what is being painted.
    Interrupt,
}

/// When pictures change, and what they are of.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// How long a picture stays.
    pub every: Duration,
    /// When pictures change at all.
    pub between: Option<Between>,
    /// What is shown when they do not.
    pub quiet: Quiet,
    /// Pictures that are painted ahead.
    pub stock: usize,
    /// How long a picture on the way from one to the next stays at least; without it, the screen
    /// stands still between them.
    pub walk: Option<Duration>,
    /// Whether the kiosk is south of the equator.
    pub southern: bool,
    /// Playlists of parts of the day; the first that fits is taken.
    pub at: Vec<(Between, String)>,
    /// The prompts of all playlists. There is one called `default`.
    pub playlists: BTreeMap<String, Vec<Template>>,
}

/// The playlist for all times that have none of their own.
pub const DEFAULT_PLAYLIST: &str = "default";

impl Schedule {
    /// The name of the playlist at a time.
    pub fn playlist(&self, time: jiff::civil::Time) -> &str {
        let set = self.at.iter().find(|(between, _)| between.contains(time));
        set.map_or(DEFAULT_PLAYLIST, |(_, name)| name)
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or makes no sense.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let wrong = |problem| ConfigError { path: path.into(), problem };
        let text = std::fs::read_to_string(path)
            .map_err(|e| wrong(format!("{e}; name a file with --config")))?;
        Self::parse(&text).map_err(wrong)
    }

    /// Reads a configuration; what is not in it has a good default.
    ///
    /// # Errors
    /// A sentence, when it makes no sense.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|e| syntax(text, &e))?;
        let words = words(file.words)?;
        let schedule = schedule(file.schedule, &file.playlist, &words)?;
        check(&file.display)?;
        if let Some(screen) = &file.screen {
            screen.check().map_err(|e| format!("[screen] {e}"))?;
        }
        let keep = keep(&file.gallery);
        if keep.pictures == 0 {
            return Err("[gallery] pictures must be 1 at least".to_owned());
        }
        let guard = Guard::new(file.safety.deny.as_deref(), &file.safety.allow);
        Ok(Self {
            request: request(&file.paint, file.model.ram)?,
            threads: threads(&file.model)?,
            model: file.model.path,
            hottest: file.model.hottest,
            unload: file.model.unload.0,
            within: file.paint.within.map(|span| span.0),
            screen: file.screen,
            display: file.display,
            schedule,
            words,
            keep,
            gallery: file.gallery.folder,
            rules: rules(&file.orders, guard)?,
            gate: file.safety.gate.map(Gate::new).transpose()?,
            fallback: file.safety.fallback,
            buttons: file.button,
            #[cfg(feature = "web")]
            web: file.web.map(WebSettings::checked).transpose()?,
            #[cfg(feature = "mqtt")]
            mqtt: file.mqtt,
        })
    }

    /// An order with all that it leaves open.
    pub fn complete(&self, order: &Request) -> Request {
        let usual = &self.request;
        Request {
            steps: order.steps.or(usual.steps),
            guidance: order.guidance.or(usual.guidance),
            size: order.size.or(usual.size),
            sampler: order.sampler.or(usual.sampler),
            ram: order.ram.or(usual.ram),
            ..order.clone()
        }
    }
}

/// What is wrong, and in which line.
fn syntax(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().replace('\n', " ");
    match error.span().and_then(|span| text.get(..span.start)) {
        Some(before) => format!("line {}: {message}", before.matches('\n').count() + 1),
        None => message,
    }
}

fn keep(table: &GalleryTable) -> Keep {
    Keep { pictures: table.pictures, bytes: table.bytes.0, free: table.free.0 }
}

fn threads(table: &ModelTable) -> Result<Option<usize>, String> {
    match table.threads {
        Some(number @ (0 | 1025..)) => {
            Err(format!("[model] threads = {number} is not in 1 to 1024"))
        }
        threads => Ok(threads),
    }
}

fn rules(table: &OrdersTable, guard: Guard) -> Result<Rules, String> {
    if !(1..=1000).contains(&table.waiting) {
        return Err(format!("[orders] waiting = {} is not in 1 to 1000", table.waiting));
    }
    if !(1..=1000).contains(&table.steps) {
        return Err(format!("[orders] steps = {} is not in 1 to 1000", table.steps));
    }
    let size = table.size.as_deref().map(str::parse::<Size>).transpose();
    let size = size.map_err(|e| format!("[orders] size: {e}"))?;
    Ok(Rules { guard, waiting: table.waiting, steps: table.steps, size, model: None })
}

/// The lists, with those the default playlist needs.
fn words(mut lists: BTreeMap<String, Vec<String>>) -> Result<Words, String> {
    for (name, entries) in [("colour", COLOURS), ("style", STYLES)] {
        let entries = || entries.iter().map(ToString::to_string).collect();
        lists.entry(name.to_owned()).or_insert_with(entries);
    }
    Words::new(&lists).map_err(|e| format!("[words] {e}"))
}

fn schedule(
    table: ScheduleTable,
    playlists: &BTreeMap<String, Vec<String>>,
    words: &Words,
) -> Result<Schedule, String> {
    let mut read = BTreeMap::new();
    for (name, prompts) in playlists {
        let wrong = |e: WordsError| format!("[playlist] {name}: {e}");
        if prompts.is_empty() {
            return Err(format!("[playlist] {name} is empty; give it a prompt at least"));
        }
        read.insert(name.clone(), templates(prompts, words).map_err(wrong)?);
    }
    if !read.contains_key(DEFAULT_PLAYLIST) {
        let prompts: Vec<String> = PLAYLIST.iter().map(ToString::to_string).collect();
        let prompts = templates(&prompts, words).map_err(|e| e.to_string())?;
        read.insert(DEFAULT_PLAYLIST.to_owned(), prompts);
    }
    for set in &table.at {
        if !read.contains_key(&set.playlist) {
            let known: Vec<&str> = read.keys().map(String::as_str).collect();
            let (name, known) = (&set.playlist, known.join(", "));
            return Err(format!("[schedule] there is no playlist '{name}'; there are: {known}"));
        }
    }
    Ok(Schedule {
        every: table.every.0,
        between: table.between,
        quiet: table.quiet,
        stock: table.stock,
        walk: table.walk.map(|span| span.0),
        southern: table.southern,
        at: table.at.into_iter().map(|set| (set.between, set.playlist)).collect(),
        playlists: read,
    })
}

fn templates(prompts: &[String], words: &Words) -> Result<Vec<Template>, WordsError> {
    let template = |prompt: &String| {
        let template = Template::parse(prompt)?;
        words.check(&template)?;
        Ok(template)
    };
    prompts.iter().map(template).collect()
}

fn request(table: &PaintTable, ram: Option<Bytes>) -> Result<Request, String> {
    let wrong = |name: &str, e: &str| format!("[paint] {name}: {e}");
    let steps = table.steps.map(|n| match n {
        1..=1000 => Ok(n),
        _ => Err(wrong("steps", "steps are a whole number from 1 to 1000")),
    });
    let guidance = table.guidance.map(|x| match x {
        0.0..=100.0 => Ok(x),
        _ => Err(wrong("guidance", "guidance is a number from 0 to 100, such as 7.5")),
    });
    let sampler = table
        .sampler
        .as_deref()
        .map(|name| name.parse::<SamplerKind>().map_err(|e| wrong("sampler", &e.to_string())));
    let size = table.size.as_deref();
    let size = size.map(|size| size.parse::<Size>().map_err(|e| wrong("size", e)));
    let ram = ram.map(|Bytes(bytes)| usize::try_from(bytes).unwrap_or(usize::MAX));
    Ok(Request {
        negative: table.negative.clone(),
        steps: steps.transpose()?,
        guidance: guidance.transpose()?,
        size: size.transpose()?,
        sampler: sampler.transpose()?,
        ram,
        ..Request::default()
    })
}

/// What can be checked without the screen.
fn check(display: &Display) -> Result<(), String> {
    for (name, value) in
        [("brightness", display.brightness), ("night_brightness", display.night_brightness)]
    {
        if !(0.0..=1.0).contains(&value) {
            return Err(format!("[display] {name} = {value} is not from 0 to 1"));
        }
    }
    Ok(())
}
