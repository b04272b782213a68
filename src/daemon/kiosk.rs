//! The kiosk: one line of orders, one painter, one gallery, one screen.
//!
//! Whatever there is to do is done here, one thing after the other, so that nothing needs a lock but
//! the desk: answer a call; change the picture when its time is over; and while there is nothing
//! else, paint ahead, so that a change or a button is answered at once.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use image::RgbImage;
use jiff::Zoned;

use super::config::{Config, Quiet};
use super::desk::{Call, Desk, Order};
use super::exhibit::Exhibit;
use super::gallery::Gallery;
use super::pace::Pace;
use super::site::{Notice, Site, SiteError};
use super::words::Moment;
use crate::paint::{Paint, Painting, Progress, Request, Stage};

/// The time of day is looked at this often.
const LOOK: Duration = Duration::from_secs(30);
/// How long a machine that is too hot rests before its temperature is looked at again.
const REST: Duration = Duration::from_secs(2);
/// Degrees that it must have cooled down.
const COOLER: f64 = 5.0;
/// Prompts that are thought of before one is taken that may be painted.
const TRIES: usize = 20;

/// A kiosk at a site.
pub struct Kiosk<S: Site> {
    site: S,
    /// The configuration's file, to read it again.
    path: Option<PathBuf>,
    config: Config,
    desk: Desk,
    painter: S::Painter,
    exhibit: Exhibit,
    gallery: Gallery,
    /// Pictures that wait to be shown, with the playlist they are of.
    stock: VecDeque<(String, Painting)>,
    pace: Pace,
    /// Steps that the model takes if it is not told how many, once a picture was painted so.
    usual_steps: Option<usize>,
    random: fastrand::Rng,
    /// When the picture changes next.
    due: Zoned,
    /// No picture is painted ahead before this, after one could not be painted.
    paint_again: Zoned,
}

/// How a painting is watched.
struct Watch<'a, S: Site> {
    site: &'a S,
    desk: &'a Desk,
    hottest: Option<f64>,
    /// Where it is seen emerging.
    exhibit: Option<&'a mut Exhibit>,
}

impl<S: Site> std::fmt::Debug for Kiosk<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kiosk").field("config", &self.config).finish_non_exhaustive()
    }
}

impl<S: Site> Kiosk<S> {
    /// Puts up a kiosk: first the screen, so that somebody who waits sees something.
    ///
    /// # Errors
    /// When the screen is not there, the model cannot be read, or the gallery's folder cannot be
    /// used.
    pub fn open(
        site: S,
        path: Option<&Path>,
        config: Config,
        desk: Desk,
    ) -> Result<Self, SiteError> {
        let mut exhibit = exhibit(&site, &config)?;
        exhibit.announce("Pochade", "Preparing the first picture.")?;
        let gallery = Gallery::open(&config.gallery, config.keep, site.free_space())?;
        if let Some(picture) = gallery.newest() {
            exhibit.show(picture, "", |_| {})?;
        }
        let painter = site.painter(&config).or_else(|error| {
            exhibit.complain(&error.to_string())?;
            Err(error)
        })?;
        let (now, random) = (site.now(), fastrand::Rng::with_seed(site.random()));
        Ok(Self {
            site,
            path: path.map(Path::to_owned),
            config,
            desk,
            painter,
            exhibit,
            gallery,
            stock: VecDeque::new(),
            pace: Pace::default(),
            usual_steps: None,
            random,
            due: now.clone(),
            paint_again: now,
        })
    }

    /// The site.
    pub fn site(&self) -> &S {
        &self.site
    }

    /// Works until it is called to stop.
    pub fn run(&mut self) {
        self.site.notify(Notice::Ready);
        loop {
            self.site.notify(Notice::Alive);
            let patience = self.patience();
            let call = self.site.wait(&self.desk, patience);
            match call {
                Some(Call::Stop) => break,
                Some(Call::Reload) => self.reload(),
                Some(Call::Next) => self.change(),
                Some(Call::Order(order)) => self.serve(&order),
                None => self.work(),
            }
        }
        self.site.notify(Notice::Stopping);
    }

    /// How long nothing is to be done unless somebody calls.
    fn patience(&self) -> Duration {
        if self.wants_stock() {
            return Duration::ZERO;
        }
        let left = self.site.now().duration_until(&self.due);
        Duration::try_from(left).unwrap_or_default().min(LOOK)
    }

    /// What is done without a call: the picture changes, or one is painted ahead.
    fn work(&mut self) {
        let now = self.site.now();
        let quiet = self.is_quiet(&now);
        let dark = quiet && self.config.schedule.quiet == Quiet::Dark;
        let kept = self.exhibit.keep_time(now.time(), dark);
        self.said("the screen", kept);
        // A clock that was set back must not make a picture stay for years.
        let latest = self.after(self.config.schedule.every);
        if self.due > latest {
            self.due = latest;
        }
        if quiet {
            // Until the quiet hours are over.
            self.due = self.due.clone().max(self.after(LOOK));
        } else if now >= self.due {
            self.change();
        } else if self.wants_stock() {
            self.paint_ahead();
        }
    }

    /// When so much time has passed.
    fn after(&self, span: Duration) -> Zoned {
        let now = self.site.now();
        now.checked_add(span).unwrap_or(now)
    }

    fn is_quiet(&self, now: &Zoned) -> bool {
        self.config.schedule.between.is_some_and(|open| !open.contains(now.time()))
    }

    fn playlist(&self) -> String {
        self.config.schedule.playlist(self.site.now().time()).to_owned()
    }

    fn wants_stock(&self) -> bool {
        let now = self.site.now();
        let open = !self.is_quiet(&now) && now < self.due && now >= self.paint_again;
        open && self.stock.len() < self.config.schedule.stock
    }

    fn paint_ahead(&mut self) {
        let playlist = self.playlist();
        match self.paint_of(&playlist, false) {
            Ok(painting) => self.stock.push_back((playlist, painting)),
            Err(error) => self.failed(&error),
        }
    }

    /// Shows another picture: one that is ready, or else one that is painted now.
    fn change(&mut self) {
        self.due = self.after(self.config.schedule.every);
        let playlist = self.playlist();
        // What was painted for the morning is not shown in the evening.
        self.stock.retain(|(of, _)| *of == playlist);
        let painting = match self.stock.pop_front() {
            Some((_, painting)) => Ok(painting),
            None => self.paint_of(&playlist, true),
        };
        match painting {
            Ok(painting) => self.hang(painting),
            Err(error) => self.failed(&error),
        }
    }

    fn serve(&mut self, order: &Order) {
        if let Some(word) = self.config.guard.refused(&order.request.prompt) {
            log::warn!("order {} is refused for the word '{word}'", order.id);
            return;
        }
        match self.paint(&order.request, true) {
            Ok(painting) => {
                self.due = self.after(self.config.schedule.every);
                self.hang(painting);
            }
            Err(error) => self.failed(&error),
        }
    }

    /// Keeps a picture and shows it.
    fn hang(&mut self, painting: Painting) {
        let kept = self.gallery.add(&painting, &self.site.now());
        let prompt = painting.request.prompt.clone();
        log::info!("showing \"{prompt}\", seed {}", painting.request.seed);
        self.site.notify(Notice::Status(&prompt));
        let shown = self.exhibit.show(painting.image, &prompt, |span| self.site.pause(span));
        self.said("the screen", shown);
        if let Err(error) = kept {
            self.complain(&error.to_string());
        }
    }

    /// Paints something of a playlist.
    fn paint_of(&mut self, playlist: &str, seen: bool) -> Result<Painting, SiteError> {
        let prompt = self.prompt(playlist)?;
        let seed = self.random.u64(..1 << 32);
        let request = Request { prompt, seed, ..self.config.request.clone() };
        self.paint(&request, seen)
    }

    /// A prompt that may be painted.
    fn prompt(&mut self, playlist: &str) -> Result<String, SiteError> {
        let schedule = &self.config.schedule;
        let moment = Moment { now: self.site.now(), southern: schedule.southern };
        let templates = schedule.playlists.get(playlist).map(Vec::as_slice).unwrap_or_default();
        for _ in 0..TRIES {
            let template = self.random.choice(templates).ok_or("the playlist is empty")?;
            let prompt = self.config.words.fill(template, &moment, &mut self.random);
            if self.config.guard.refused(&prompt).is_none() {
                return Ok(prompt);
            }
        }
        Err(format!("the playlist '{playlist}' has no prompt that [safety] lets pass").into())
    }

    /// Paints, and lets the picture be seen emerging.
    fn paint(&mut self, request: &Request, seen: bool) -> Result<Painting, SiteError> {
        let mut request = request.clone();
        let chosen = request.steps.is_some();
        if let Some(within) = self.config.within {
            let steps = request.steps.or(self.usual_steps);
            request.steps = steps.map(|steps| self.pace.steps(steps, within));
        }
        let seen = seen && self.exhibit.emerges();
        request.preview = seen;
        let mut watch = Watch {
            site: &self.site,
            desk: &self.desk,
            hottest: self.config.hottest,
            exhibit: Some(&mut self.exhibit).filter(|_| seen),
        };
        let painting = self.painter.paint(&request, &mut |progress| watch.look(progress))?;
        painting.warnings.iter().for_each(|warning| log::warn!("{warning}"));
        self.pace.measure(painting.timings, painting.request.steps);
        if !chosen {
            self.usual_steps.get_or_insert(painting.request.steps);
        }
        Ok(painting)
    }

    /// Reads the configuration again. What is wrong with the new one is said, and the old one kept.
    fn reload(&mut self) {
        self.site.notify(Notice::Reloading);
        let reloaded = self.try_reload();
        if let Err(error) = reloaded {
            log::error!("the configuration is kept as it was: {error}");
            self.complain(&error.to_string());
        }
        self.site.notify(Notice::Ready);
    }

    fn try_reload(&mut self) -> Result<(), SiteError> {
        let Some(path) = &self.path else { return Ok(()) };
        let config = Config::read(path)?;
        let gallery = Gallery::open(&config.gallery, config.keep, self.site.free_space())?;
        if (&config.model, config.threads) != (&self.config.model, self.config.threads) {
            self.painter = self.site.painter(&config)?;
            (self.pace, self.usual_steps) = (Pace::default(), None);
        }
        if (&config.screen, &config.display) != (&self.config.screen, &self.config.display) {
            let exhibit = exhibit(&self.site, &config)?;
            let old = std::mem::replace(&mut self.exhibit, exhibit);
            self.exhibit.take_over(old)?;
        }
        self.stock.clear();
        (self.gallery, self.config) = (gallery, config);
        self.due = self.site.now();
        self.paint_again = self.due.clone();
        Ok(())
    }

    /// A picture could not be painted: it is tried again when the next one is due.
    fn failed(&mut self, error: &SiteError) {
        if self.desk.stops() {
            return;
        }
        log::error!("no picture: {error}");
        self.paint_again = self.after(self.config.schedule.every);
        let fallback = self.config.fallback.clone().and_then(|path| image::open(path).ok());
        let shown = match fallback.filter(|_| !self.exhibit.has_picture()) {
            Some(picture) => self.exhibit.show(picture.to_rgb8(), "", |_| {}),
            None => self.exhibit.complain(&error.to_string()),
        };
        self.said("the screen", shown);
    }

    fn complain(&mut self, trouble: &str) {
        log::error!("{trouble}");
        let shown = self.exhibit.complain(trouble);
        self.said("the screen", shown);
    }

    /// What goes wrong with the screen can only be said in the log.
    fn said(&self, what: &str, result: Result<(), SiteError>) {
        if let Err(error) = result {
            log::error!("{what}: {error}");
        }
    }
}

fn exhibit(site: &impl Site, config: &Config) -> Result<Exhibit, SiteError> {
    Ok(Exhibit::new(site.screen(config.screen.as_ref())?, config.display.clone()))
}

impl<S: Site> Watch<'_, S> {
    /// After every step.
    fn look(&mut self, progress: Progress<'_>) -> ControlFlow<()> {
        self.site.notify(Notice::Alive);
        self.rest_while_hot();
        if self.desk.stops() {
            return ControlFlow::Break(());
        }
        let sketch = progress.preview.filter(|_| progress.stage == Stage::Denoise);
        if let (Some(exhibit), Some(sketch)) = (&mut self.exhibit, sketch) {
            sketch_on(exhibit, &sketch.picture());
        }
        ControlFlow::Continue(())
    }

    fn rest_while_hot(&self) {
        let Some(hottest) = self.hottest else { return };
        let mut limit = hottest;
        while let Some(degrees) = self.site.temperature().filter(|degrees| *degrees > limit) {
            let status = format!("resting at {degrees:.0} °C");
            if limit == hottest {
                log::warn!("{status}: painting goes on below {:.0} °C", hottest - COOLER);
                limit = hottest - COOLER;
            }
            self.site.notify(Notice::Status(&status));
            self.site.notify(Notice::Alive);
            self.site.pause(REST);
            if self.desk.stops() {
                return;
            }
        }
    }
}

/// A sketch that cannot be shown is no reason to stop painting.
fn sketch_on(exhibit: &mut Exhibit, sketch: &RgbImage) {
    if let Err(error) = exhibit.sketch(sketch) {
        log::debug!("the screen: {error}");
    }
}
