//! The kiosk's day, in a moment: a site whose clock is a number, whose painter takes its time and
//! whose screen remembers what it showed.
#![cfg(feature = "kiosk")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use image::{Rgb, RgbImage};
use jiff::Zoned;
use pochade::daemon::{
    Call, Config, Desk, FreeSpace, Kiosk, Notice, Outcome, Refusal, Site, SiteError, Source, Wish,
};
#[cfg(feature = "web")]
use pochade::daemon::{Display, web::WebSettings};
use pochade::diffusion::SamplerKind;
use pochade::display::{Pace, Screen, ScreenError, ScreenInfo, ScreenSettings};
use pochade::paint::{Paint, Painting, Progress, Request, Resolved, Size, Stage, Timings};

const STEPS: usize = 4;
const SECOND: Duration = Duration::from_secs(1);

/// What stops a painting.
type Stop = Box<dyn Fn()>;

/// What happens at some time of the day.
type Event = Box<dyn FnOnce(&Day, &Desk)>;

/// A day at the site, shared by all its parts.
struct Day {
    now: RefCell<Zoned>,
    end: Zoned,
    events: RefCell<BTreeMap<String, Event>>,
    /// Bytes on the disk.
    free: Arc<AtomicU64>,
    /// Models that were opened.
    opened: RefCell<usize>,
    degrees: RefCell<f64>,
    /// Why nothing can be painted.
    broken: RefCell<Option<String>>,
    log: RefCell<Vec<String>>,
    alive: RefCell<usize>,
    /// What somebody does after a step of the next painting.
    stop_at: RefCell<Option<(usize, Stop)>>,
}

impl Day {
    fn of(hours: i64) -> Rc<Self> {
        let now: Zoned = "2026-11-22T00:00[UTC]".parse().unwrap();
        let end = now.checked_add(jiff::SignedDuration::from_hours(hours)).unwrap();
        Rc::new(Self {
            now: RefCell::new(now),
            end,
            events: RefCell::default(),
            free: Arc::new(AtomicU64::new(1 << 40)),
            opened: RefCell::default(),
            degrees: RefCell::new(40.0),
            broken: RefCell::default(),
            log: RefCell::default(),
            alive: RefCell::default(),
            stop_at: RefCell::default(),
        })
    }

    fn at(&self, time: &str, event: impl FnOnce(&Day, &Desk) + 'static) {
        self.events.borrow_mut().insert(time.to_owned(), Box::new(event));
    }

    fn pass(&self, span: Duration) {
        let later = self.now.borrow().checked_add(span).unwrap();
        self.now.replace(later);
    }

    fn time(&self) -> String {
        self.now.borrow().strftime("%H:%M").to_string()
    }

    fn note(&self, what: &str) {
        self.log.borrow_mut().push(format!("{} {what}", self.time()));
    }

    /// What was noted that begins with this.
    fn noted(&self, what: &str) -> Vec<String> {
        let log = self.log.borrow();
        log.iter().filter(|line| line[6..].starts_with(what)).cloned().collect()
    }
}

struct Painter(Rc<Day>);

#[derive(Debug)]
struct Broken(String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

impl Paint for Painter {
    type Error = Broken;

    fn paint(
        &mut self,
        request: &Request,
        progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
    ) -> Result<Painting, Broken> {
        if let Some(why) = self.0.broken.borrow().clone() {
            return Err(Broken(why));
        }
        let steps = request.steps.unwrap_or(STEPS);
        match &request.toward {
            Some(toward) => self.0.note(&format!("goes {}", toward.share)),
            None => self.0.note(&format!("paints \"{}\" in {steps}", request.prompt)),
        }
        for step in 1..=steps {
            self.0.pass(5 * SECOND);
            match self.0.stop_at.take() {
                Some((at, stop)) if at == step => stop(),
                later => drop(self.0.stop_at.replace(later)),
            }
            if progress(Progress::after(Stage::Denoise, step, steps)).is_break() {
                self.0.note(&format!("stops after {step}"));
                return Err(Broken("stopped".to_owned()));
            }
        }
        let resolved = Resolved {
            prompt: request.prompt.clone(),
            negative: String::new(),
            toward: None,
            strength: None,
            seed: request.seed,
            steps,
            guidance: 3.0,
            size: Size { width: 8, height: 8 },
            sampler: SamplerKind::Ddim,
            model: "stand-in".to_owned(),
            model_hash: None,
        };
        let shade = 100 + (request.seed % 156) as u8;
        Ok(Painting {
            image: RgbImage::from_pixel(8, 8, Rgb([shade; 3])),
            latent: Vec::new(),
            request: resolved,
            warnings: Vec::new(),
            timings: Timings {
                denoise: 5 * SECOND * steps as u32,
                step: 5 * SECOND,
                ..Timings::default()
            },
        })
    }
}

/// Frames that were shown, by their brightest value.
#[derive(Clone)]
struct Frames {
    brightest: Arc<Mutex<Vec<u8>>>,
    pace: Pace,
}

impl Default for Frames {
    fn default() -> Self {
        Self { brightest: Arc::default(), pace: Pace::Slow }
    }
}

impl Screen for Frames {
    fn info(&self) -> ScreenInfo {
        ScreenInfo { width: 64, height: 48, pace: self.pace, name: "a test".to_owned() }
    }

    fn show(&mut self, frame: &RgbImage) -> Result<(), ScreenError> {
        self.brightest.lock().unwrap().push(frame.iter().copied().max().unwrap());
        Ok(())
    }
}

struct Place {
    day: Rc<Day>,
    frames: Frames,
}

impl Site for Place {
    type Painter = Painter;

    fn painter(&self, config: &Config) -> Result<Painter, SiteError> {
        match &config.model {
            None => {
                *self.day.opened.borrow_mut() += 1;
                Ok(Painter(self.day.clone()))
            }
            Some(path) => Err(format!("{} is no model", path.display()).into()),
        }
    }

    fn screen(&self, _settings: Option<&ScreenSettings>) -> Result<Box<dyn Screen>, SiteError> {
        Ok(Box::new(self.frames.clone()))
    }

    fn now(&self) -> Zoned {
        self.day.now.borrow().clone()
    }

    fn wait(&self, desk: &Desk, patience: Duration) -> Option<Call> {
        let shown = self.frames.brightest.lock().unwrap().drain(..).collect::<Vec<_>>();
        for brightest in shown {
            self.day
                .note(&format!("shows {}", if brightest == 0 { "nothing" } else { "a picture" }));
        }
        if *self.day.now.borrow() >= self.day.end {
            desk.call_stop();
        }
        let due = self.day.events.borrow().keys().find(|time| **time <= self.day.time()).cloned();
        if let Some(time) = due {
            let event = self.day.events.borrow_mut().remove(&time).unwrap();
            event(&self.day, desk);
        }
        let call = desk.take();
        if call.is_none() {
            self.day.pass(patience);
        }
        call
    }

    fn pause(&self, span: Duration) {
        self.day.pass(span);
        let cooler = *self.day.degrees.borrow() - 1.0;
        self.day.degrees.replace(cooler);
    }

    fn temperature(&self) -> Option<f64> {
        Some(*self.day.degrees.borrow())
    }

    fn free_space(&self) -> FreeSpace {
        let free = self.day.free.clone();
        Box::new(move |_| Ok(free.load(Ordering::Relaxed)))
    }

    fn notify(&self, notice: Notice<'_>) {
        match notice {
            Notice::Alive => *self.day.alive.borrow_mut() += 1,
            Notice::Status(words) => self.day.note(&format!("says {words}")),
            other => self.day.note(&format!("is {other:?}")),
        }
    }

    fn random(&self) -> u64 {
        7
    }
}

const CONFIG: &str = r##"
[schedule]
every = "10m"
between = "07:00-22:00"
quiet = "dark"
at = [{ between = "07:00-12:00", playlist = "morning" }]

[playlist]
morning = ["a {red|yellow} sun, morning"]
default = ["a blue moon, __time_of_day__"]

[gallery]
folder = "FOLDER"
pictures = 30
"##;

fn run(day: &Rc<Day>, folder: &Path, more: &str) {
    run_with(day, folder, &format!("{more}\n{CONFIG}"), Pace::Slow);
}

fn run_with(day: &Rc<Day>, folder: &Path, config: &str, pace: Pace) {
    let text = config.replace("FOLDER", &folder.display().to_string());
    let path = folder.with_extension("toml");
    fs::write(&path, &text).unwrap();
    let config = Config::parse(&text).unwrap();
    let site = Place { day: day.clone(), frames: Frames { pace, ..Frames::default() } };
    Kiosk::open(site, Some(&path), config, Desk::default()).unwrap().run();
}

fn wish(prompt: &str, steps: usize) -> Wish {
    let (prompt, steps) = (prompt.to_owned(), Some(steps));
    let request = Request { prompt, steps, ..Request::default() };
    Wish { request, source: Source::Web, show: true }
}

fn pictures(folder: &Path) -> usize {
    let names = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name());
    names.filter(|name| Path::new(name).extension().is_some_and(|e| e == "png")).count()
}

#[test]
fn a_day_goes_by_as_the_configuration_says() {
    let (day, folder) = (Day::of(24), tempfile::tempdir().unwrap());
    let gallery = folder.path().join("gallery");
    run(&day, &gallery, "");
    let said = day.noted("says");
    // Every ten minutes from seven to ten in the evening.
    assert_eq!(said.len(), 15 * 6, "{said:#?}");
    let hour = |line: &String| line[..2].parse::<usize>().unwrap();
    assert!(said.iter().all(|line| (7..22).contains(&hour(line))));
    assert!(said.iter().all(|line| line.ends_with("morning") == (hour(line) < 12)), "{said:#?}");
    assert!(said[89].ends_with("a blue moon, at night"), "{}", said[89]);
    assert_eq!(pictures(&gallery), 30);
    // Dark in the quiet hours, and one picture after the other between.
    let nothing = day.noted("shows nothing");
    assert_eq!(nothing.len(), 2, "{nothing:?}");
    assert!(nothing[0].starts_with("00:00") && nothing[1].starts_with("22:00"), "{nothing:?}");
    // Two that were painted ahead for the morning and two for the night come to nothing.
    assert_eq!(day.noted("paints").len(), 90 + 4);
    // A supervisor that wants to hear of it every two minutes is never left waiting.
    assert!(*day.alive.borrow() > 24 * 60);
    assert_eq!(day.log.borrow().last().unwrap(), "00:00 is Stopping");
}

#[test]
fn a_button_is_answered_from_the_stock_and_an_order_when_it_is_painted() {
    let (day, folder) = (Day::of(10), tempfile::tempdir().unwrap());
    day.at("09:05", |_, desk| desk.call_next());
    day.at("09:08", |_, desk| {
        desk.order(wish("a green hill", 6), |_| {}).unwrap();
        let refused = desk.order(wish("a murder", 6), |_| {});
        assert_eq!(refused, Err(Refusal::Word("murder".to_owned())));
    });
    run(&day, &folder.path().join("gallery"), "");
    let log = day.log.borrow();
    let button = log.iter().position(|line| line.starts_with("09:05 says")).unwrap();
    assert!(log[button - 1].starts_with("09:00"), "it was ready: {}", log[button - 1]);
    let order = log.iter().position(|line| line == "09:08 says a green hill").unwrap();
    assert_eq!(log[order - 1], "09:08 paints \"a green hill\" in 6");
    assert!(!log.iter().any(|line| line.contains("murder")));
    assert_eq!(log.iter().filter(|line| line.ends_with("in 6")).count(), 1, "that order alone");
    // Both stay for their ten minutes.
    assert!(
        log[order + 1..].iter().find(|line| line.contains("says")).unwrap().as_str() >= "09:18"
    );
}

/// What became of an order, in a few words.
fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Finished(picture) => {
            let kept = if picture.name.is_some() { "kept" } else { "lost" };
            format!("\"{}\" in {}, {kept}", picture.request.prompt, picture.request.steps)
        }
        Outcome::Interrupted(_) => "interrupted".to_owned(),
        Outcome::Cancelled => "cancelled".to_owned(),
        Outcome::Failed(why) => why.clone(),
    }
}

#[test]
fn whoever_orders_is_told_what_became_of_it() {
    let (day, folder) = (Day::of(10), tempfile::tempdir().unwrap());
    let (sender, receiver) = std::sync::mpsc::channel();
    let order = move |desk: &Desk, wish: Wish| {
        let sender = sender.clone();
        desk.order(wish, move |outcome| sender.send(told(&outcome)).unwrap()).unwrap()
    };
    let first = order.clone();
    day.at("09:01", move |_, desk| {
        first(desk, wish("a green hill", 90));
        let unwanted = first(desk, wish("a lake", 4));
        assert!(desk.cancel(unwanted));
        let hidden = Wish { show: false, ..wish("a yellow moon", 3) };
        first(desk, hidden);
        assert_eq!(desk.board().state().waiting.len(), 2);
    });
    let broken = order;
    day.at("09:30", move |day, desk| {
        *day.broken.borrow_mut() = Some("the model is gone".to_owned());
        broken(desk, wish("a tree", 4));
    });
    day.at("09:31", |day, _| *day.broken.borrow_mut() = None);
    run(&day, &folder.path().join("gallery"), "[orders]\nsteps = 8\n");
    assert_eq!(
        receiver.try_iter().collect::<Vec<_>>(),
        [
            "cancelled",
            "\"a green hill\" in 8, kept",
            "\"a yellow moon\" in 3, kept",
            "the model is gone"
        ]
    );
    assert_eq!(day.noted("says a green hill").len(), 1);
    assert!(day.noted("says a yellow moon").is_empty(), "not for the screen");
}

#[test]
fn what_is_being_painted_can_be_stopped_within_a_step() {
    let (day, folder) = (Day::of(9), tempfile::tempdir().unwrap());
    let (sender, receiver) = std::sync::mpsc::channel();
    day.at("08:01", move |day, desk| {
        let other = desk.clone();
        day.stop_at.replace(Some((3, Box::new(move || other.interrupt()))));
        let answer = move |outcome| sender.send(told(&outcome)).unwrap();
        desk.order(wish("a green hill", 9), answer).unwrap();
    });
    run(&day, &folder.path().join("gallery"), "");
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), ["interrupted"]);
    assert_eq!(day.noted("stops").len(), 1);
    assert!(day.noted("stops")[0].ends_with("stops after 3"));
    assert!(day.noted("says a green hill").is_empty());
    // The day goes on.
    assert_eq!(day.noted("says").iter().filter(|line| line.starts_with("08:")).count(), 6);
}

#[test]
fn a_model_that_is_idle_is_given_up_until_it_is_wanted() {
    let (day, folder) = (Day::of(9), tempfile::tempdir().unwrap());
    run(&day, &folder.path().join("gallery"), "[model]\nunload = \"4m\"\n");
    // Once to see whether it is there, then for every change that leaves the stock short.
    assert_eq!(*day.opened.borrow(), 1 + 12);
    assert_eq!(day.noted("says").len(), 13);
}

#[test]
fn what_the_gate_does_not_let_pass_is_not_shown() {
    let (day, folder) = (Day::of(8), tempfile::tempdir().unwrap());
    let gallery = folder.path().join("gallery");
    // Of two pictures, the one of the yellow sun.
    let gate = "[safety]\ngate = [\"grep\", \"-q\", \"yellow\"]\n";
    run(&day, &gallery, gate);
    assert!(day.noted("paints \"a red sun").len() > 1);
    let said = day.noted("says");
    assert!(!said.is_empty() && said.iter().all(|line| line.contains("yellow")), "{said:?}");
    assert_eq!(pictures(&gallery), said.len());
}

#[test]
fn a_walk_never_stands_still_and_arrives_when_the_picture_is_due() {
    let (day, folder) = (Day::of(9), tempfile::tempdir().unwrap());
    let gallery = folder.path().join("gallery");
    run_with(&day, &gallery, &CONFIG.replace("every", "walk = \"50s\"\nevery"), Pace::Live);
    assert_eq!(day.noted("says").len(), 13, "a picture every ten minutes");
    assert_eq!(pictures(&gallery), 13, "the way itself is not kept");
    let ways = day.noted("goes");
    assert!((12 * 11..=12 * 13).contains(&ways.len()), "{}", ways.len());
    assert!(ways[0][..5] <= *"07:01", "it sets out at once: {}", ways[0]);
    assert!(ways.iter().all(|line| line[11..].parse::<f32>().unwrap() < 1.0), "{ways:?}");
}

#[test]
fn what_goes_wrong_is_shown_over_the_last_picture_and_passes() {
    let (day, folder) = (Day::of(12), tempfile::tempdir().unwrap());
    day.at("08:00", |day, _| *day.broken.borrow_mut() = Some("the model is gone".to_owned()));
    day.at("09:00", |day, _| *day.broken.borrow_mut() = None);
    run(&day, &folder.path().join("gallery"), "");
    // The stock lasts until 08:20 or so; then the same trouble is shown once, not every ten minutes.
    let between = |from: &str, to: &str, what: &str| {
        day.noted(what).iter().filter(|line| (from..to).contains(&&line[..5])).count()
    };
    assert!(between("08:00", "09:00", "says") <= 3);
    assert_eq!(between("08:25", "09:00", "shows"), 0);
    assert_eq!(between("10:00", "11:00", "says"), 6);
}

#[test]
fn a_model_that_is_not_there_is_said_on_the_screen_too() {
    let (day, folder) = (Day::of(1), tempfile::tempdir().unwrap());
    let text = CONFIG.replace("FOLDER", &folder.path().display().to_string());
    let config = Config::parse(&format!("[model]\npath = \"x.gguf\"\n{text}")).unwrap();
    let frames = Frames::default();
    let site = Place { day, frames: frames.clone() };
    let error = Kiosk::open(site, None, config, Desk::default()).err().unwrap();
    assert_eq!(error.to_string(), "x.gguf is no model");
    assert_eq!(frames.brightest.lock().unwrap().len(), 2, "what is awaited, and what is wrong");
}

#[test]
fn a_disk_that_fills_up_makes_room_for_new_pictures() {
    let (day, folder) = (Day::of(12), tempfile::tempdir().unwrap());
    let gallery = folder.path().join("gallery");
    let seen = gallery.clone();
    day.at("10:00", move |day, _| {
        assert_eq!(pictures(&seen), 19);
        day.free.store(1000, Ordering::Relaxed);
    });
    run(&day, &gallery, "");
    assert_eq!(day.noted("says").len(), 5 * 6 + 1, "it goes on all the same");
    assert_eq!(pictures(&gallery), 2, "the newest, and the one before it");
}

#[test]
fn painting_rests_while_the_board_is_hot_and_leaves_steps_out_to_be_in_time() {
    let (day, folder) = (Day::of(9), tempfile::tempdir().unwrap());
    day.at("08:00", |day, _| *day.degrees.borrow_mut() = 90.0);
    let more = "[model]\nhottest = 80.0\n[paint]\nwithin = \"15s\"\n";
    run(&day, &folder.path().join("gallery"), more);
    let paints = day.noted("paints");
    assert!(paints[0].ends_with("in 4") && paints[1..].iter().all(|line| line.ends_with("in 3")));
    let rests = day.noted("says resting at");
    assert_eq!(rests.len(), 15, "from 90 to 75: {rests:?}");
    assert!(day.noted("says").last().unwrap().starts_with("09:00"));
}

#[test]
fn a_configuration_is_read_again_and_a_wrong_one_is_not_taken() {
    let (day, folder) = (Day::of(10), tempfile::tempdir().unwrap());
    let gallery = folder.path().join("gallery");
    let path = gallery.with_extension("toml");
    let edit = |from: &'static str, to: &'static str| {
        let path = path.clone();
        move |_: &Day, desk: &Desk| {
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, text.replace(from, to)).unwrap();
            desk.call_reload();
        }
    };
    day.at("08:01", edit("10m", "5m"));
    day.at("09:01", edit("\"5m\"", "5"));
    run(&day, &gallery, "");
    let between = |from: &str, to: &str| {
        day.noted("says").iter().filter(|line| (from..to).contains(&&line[..5])).count()
    };
    assert_eq!([between("07:00", "08:00"), between("08:01", "09:01")], [6, 12]);
    assert_eq!(between("09:02", "10:00"), 11, "as before");
    assert_eq!(day.noted("is Reloading").len(), 2);
}

/// The example, with everything that is commented out taken in.
#[cfg(feature = "web")]
fn example() -> [String; 2] {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/examples/pochade.toml");
    let text = fs::read_to_string(path).unwrap();
    let comment = |rest: &&str| rest.starts_with(' ');
    let setting = |line| str::strip_prefix(line, '#').filter(|rest| !comment(rest));
    let whole: Vec<&str> = text.lines().map(|line| setting(line).unwrap_or(line)).collect();
    [text.clone(), whole.join("\n")]
}

#[cfg(feature = "web")]
#[test]
fn the_example_says_what_the_defaults_are() {
    let [short, whole] = example().map(|text| Config::parse(&text).unwrap());
    let none = Config::parse("").unwrap();
    for config in [&short, &whole] {
        assert_eq!((&config.gallery, config.keep), (&none.gallery, none.keep));
        assert_eq!(
            (config.schedule.every, config.schedule.stock),
            (none.schedule.every, none.schedule.stock)
        );
        assert_eq!(config.words, none.words);
        assert_eq!((config.unload, config.rules.waiting), (none.unload, none.rules.waiting));
    }
    let web = whole.web.clone().map(|web| WebSettings { token: None, ..web });
    assert_eq!((&short.web, web), (&None, Some(WebSettings::default())));
    let shown = |display: &Display| Display { night: None, ..display.clone() };
    assert_eq!(shown(&whole.display), none.display);
    #[cfg(feature = "mqtt")]
    {
        let [mut mqtt, bare] =
            [&whole, &Config::parse("[mqtt]\nbroker = \"b\"\n[mqtt.fleet]").unwrap()]
                .map(|config| config.mqtt.clone().unwrap());
        (mqtt.broker, mqtt.user, mqtt.password_file, mqtt.name) =
            (bare.broker.clone(), None, None, None);
        assert_eq!(mqtt, bare);
    }
    assert!(whole.model.is_some() && whole.hottest.is_some() && whole.within.is_some());
}

#[test]
fn settings_that_make_no_sense_are_answered_with_one_sentence() {
    let errors = [
        "[schedule]\nevery = \"often\"",
        "[schedule]\nat = [{ between = \"05:00-09:00\", playlist = \"morning\" }]",
        "[playlist]\ndefault = [\"a __boat__\"]",
        "[playlist]\nmorning = []",
        "[paint]\nsteps = 0",
        "[paint]\nsize = \"big\"",
        "[paint]\nsampler = \"heun\"",
        "[model]\nram = \"256\"",
        "[screen]\nkind = \"hologram\"",
        "[screen]\nkind = \"waveshare\"",
        "[screen]\nkind = \"waveshare\"\npanel = \"7in5\"",
        "[display]\nbackground = \"black\"",
        "[display]\nbrightness = 2.0",
        "[gallery]\npictures = 0",
        "[gallery]\nfolders = \"x\"",
        "schedule = 5",
    ];
    let said = errors.map(|text| {
        let error = Config::parse(text).unwrap_err();
        assert!(!error.contains('\n'), "{error}");
        format!("{text}\n-> {error}\n")
    });
    insta::assert_snapshot!(said.join("\n"));
}
