//! The kiosk: one line of orders, one painter, one gallery, one screen.
//!
//! Whatever there is to do is done here, one thing after the other, so that nothing needs a lock but
//! the desk: answer a call; change the picture when its time is over; and while there is nothing
//! else, paint ahead, so that a change or a button is answered at once, or go on along the way to the
//! next picture.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Zoned;

use super::board::{Board, Source};
use super::config::{Config, Quiet};
use super::desk::{Call, Desk, Finished, Order, Outcome};
use super::exhibit::Exhibit;
use super::gallery::Gallery;
use super::rules::Rules;
use super::site::{Notice, Site, SiteError};
use super::studio::{Failure, Room, Studio, Task};
use super::way::Way;
use super::words::Moment;
use crate::paint::{Request, Resolved};

/// The time of day is looked at this often.
const LOOK: Duration = Duration::from_secs(30);
/// Prompts that are thought of before one is taken that may be painted.
const TRIES: usize = 20;

/// A kiosk at a site.
pub struct Kiosk<S: Site> {
    site: S,
    /// The configuration's file, to read it again.
    path: Option<PathBuf>,
    config: Config,
    desk: Desk,
    studio: Studio<S::Painter>,
    exhibit: Exhibit,
    gallery: Gallery,
    /// Pictures that wait to be shown, with the playlist they are of.
    stock: VecDeque<(String, Finished)>,
    /// What hangs on the screen, and where the screen is going from there.
    hung: Option<Resolved>,
    way: Option<Way>,
    random: fastrand::Rng,
    /// When the picture changes next.
    due: Zoned,
    /// No picture is painted ahead before this, after one could not be painted.
    paint_again: Zoned,
}

/// What others may do with a kiosk, from threads of their own.
#[derive(Clone, Debug)]
pub struct Handle {
    /// Where orders are given.
    pub desk: Desk,
    /// Where everything can be seen.
    pub board: Board,
    /// The pictures.
    pub gallery: Gallery,
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
        let mut exhibit = exhibit(&site, &config, desk.board())?;
        exhibit.announce("Pochade", "Preparing the first picture.")?;
        let gallery = Gallery::open(&config.gallery, config.keep, site.free_space())?;
        if let Some((name, picture)) = gallery.newest() {
            exhibit.show(picture, "", |_| {})?;
            desk.board().write(|state| state.shown = Some(name));
        }
        desk.set_rules(|rules| *rules = config.rules.clone());
        let studio = Studio::open(&site, &config, &desk).or_else(|error| {
            exhibit.complain(&error.to_string())?;
            Err(error)
        })?;
        let (now, random) = (site.now(), fastrand::Rng::with_seed(site.random()));
        Ok(Self {
            site,
            path: path.map(Path::to_owned),
            config,
            desk,
            studio,
            exhibit,
            gallery,
            stock: VecDeque::new(),
            hung: None,
            way: None,
            random,
            due: now.clone(),
            paint_again: now,
        })
    }

    /// The site.
    pub fn site(&self) -> &S {
        &self.site
    }

    /// What others may do with it.
    pub fn handle(&self) -> Handle {
        let (desk, gallery) = (self.desk.clone(), self.gallery.clone());
        Handle { board: desk.board().clone(), desk, gallery }
    }

    /// Works until it is called to stop.
    pub fn run(&mut self) {
        self.site.notify(Notice::Ready);
        loop {
            self.site.notify(Notice::Alive);
            self.post();
            let patience = self.patience();
            let call = self.site.wait(&self.desk, patience);
            match call {
                Some(Call::Stop) => break,
                Some(Call::Reload) => self.reload(),
                Some(Call::Next) => self.change(),
                Some(Call::Order(order)) => self.serve(*order),
                None => self.work(),
            }
        }
        self.site.notify(Notice::Stopping);
    }

    /// Lets everybody see what happens next.
    fn post(&self) {
        let now = self.site.now();
        let (quiet, playlist) = (self.is_quiet(&now), self.playlist());
        let temperature = self.site.temperature();
        let status = if quiet { "quiet hours" } else { "waiting" };
        let next = Some(self.due.clone()).filter(|_| !quiet);
        let state = self.desk.board().state();
        if (&state.status[..], &state.playlist, &state.next_change, state.temperature)
            != (status, &playlist, &next, temperature)
        {
            self.desk.board().write(|state| {
                (state.status, state.playlist, state.quiet) = (status.to_owned(), playlist, quiet);
                (state.next_change, state.temperature) = (next, temperature);
            });
        }
    }

    /// How long nothing is to be done unless somebody calls.
    fn patience(&self) -> Duration {
        if self.wants_stock() {
            return Duration::ZERO;
        }
        let now = self.site.now();
        let left =
            |until: &Zoned| Duration::try_from(now.duration_until(until)).unwrap_or_default();
        let due = left(&self.due).min(LOOK);
        match &self.way {
            _ if !self.strolls() => due,
            Some(way) => left(&way.next).min(due),
            // It sets out at once.
            None => Duration::ZERO,
        }
    }

    /// What is done without a call: the picture changes, or one is painted ahead.
    fn work(&mut self) {
        let now = self.site.now();
        let quiet = self.is_quiet(&now);
        let dark = quiet && self.config.schedule.quiet == Quiet::Dark;
        let kept = self.exhibit.keep_time(now.time(), dark);
        self.said("the screen", kept);
        self.studio.rest(&now, self.config.unload, &self.desk);
        // A clock that was set back must not make a picture stay for years.
        let latest = self.after(self.config.schedule.every);
        if self.due > latest {
            self.due = latest;
        }
        if quiet {
            // Until the quiet hours are over.
            self.due = self.due.clone().max(self.after(LOOK));
            self.way = None;
        } else if now >= self.due {
            self.change();
        } else if self.strolls() {
            self.stroll(&now);
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

    /// Whether the screen is to go on from picture to picture, and can.
    fn strolls(&self) -> bool {
        let now = self.site.now();
        self.config.schedule.walk.is_some()
            && self.exhibit.is_live()
            && self.hung.is_some()
            && now >= self.paint_again
            && !self.is_quiet(&now)
    }

    fn wants_stock(&self) -> bool {
        let now = self.site.now();
        let open = !self.is_quiet(&now) && now < self.due && now >= self.paint_again;
        open && self.stock.len() < self.config.schedule.stock && !self.strolls()
    }

    fn paint_ahead(&mut self) {
        let playlist = self.playlist();
        match self.paint_of(&playlist, false) {
            Ok(finished) => self.stock.push_back((playlist, finished)),
            Err(failure) => self.failed(failure),
        }
    }

    /// One picture further along the way.
    fn stroll(&mut self, now: &Zoned) {
        if self.way.is_none() {
            match self.set_out() {
                Ok(way) => self.way = way,
                Err(error) => return self.failed(Failure::Trouble(error)),
            }
        }
        let (Some(way), Some(span)) = (&mut self.way, self.config.schedule.walk) else { return };
        if *now < way.next {
            return;
        }
        way.next = now.checked_add(span).unwrap_or(now.clone());
        let request = way.at(now);
        match self.paint(request, (None, Source::Schedule), false) {
            Ok(finished) => {
                let shown = self.exhibit.sketch(&finished.image);
                self.said("the screen", shown);
            }
            Err(failure) => self.failed(failure),
        }
    }

    /// The way from what hangs to something of the playlist, which is reached when it is due.
    fn set_out(&mut self) -> Result<Option<Way>, SiteError> {
        let Some(hung) = self.hung.clone() else { return Ok(None) };
        let prompt = self.prompt(&self.playlist())?;
        let to = (prompt, self.random.u64(..1 << 32));
        let times = [self.site.now(), self.due.clone()];
        Ok(Some(Way::new(&hung, &self.config.request, to, times)))
    }

    /// Shows another picture: the end of the way, one that is ready, or else one that is painted
    /// now.
    fn change(&mut self) {
        self.due = self.after(self.config.schedule.every);
        let playlist = self.playlist();
        // What was painted for the morning is not shown in the evening.
        self.stock.retain(|(of, _)| *of == playlist);
        let painting = match (self.way.take(), self.stock.pop_front()) {
            (Some(way), _) => self.paint(way.end(), (None, Source::Schedule), false),
            (None, Some((_, finished))) => Ok(finished),
            (None, None) => self.paint_of(&playlist, true),
        };
        match painting {
            Ok(finished) => {
                self.accept(finished, true);
            }
            Err(failure) => self.failed(failure),
        }
    }

    /// Paints what was ordered, and answers.
    fn serve(&mut self, order: Order) {
        let request = self.config.complete(&order.wish.request);
        let show = order.wish.show;
        let outcome = match self.paint(request, (Some(order.id), order.wish.source), show) {
            Ok(finished) => {
                if show {
                    self.due = self.after(self.config.schedule.every);
                    self.way = None;
                }
                Outcome::Finished(Arc::new(self.accept(finished, show)))
            }
            Err(Failure::Stopped(preview)) => {
                self.count(|counts| counts.interrupted += 1);
                Outcome::Interrupted(preview)
            }
            Err(Failure::Trouble(error)) => {
                log::warn!("order {}: {error}", order.id);
                self.count(|counts| counts.failed += 1);
                Outcome::Failed(error.to_string())
            }
        };
        order.answer(outcome);
    }

    /// Takes a picture into the gallery, and onto the screen.
    fn accept(&mut self, mut finished: Finished, show: bool) -> Finished {
        let kept = self.gallery.add(&finished.file, &finished.request, &self.site.now());
        finished.name = kept.as_ref().ok().cloned();
        self.count(|counts| counts.painted += 1);
        if show {
            self.hang(&finished);
        }
        if let Err(error) = kept {
            self.complain(&error.to_string());
        }
        finished
    }

    fn hang(&mut self, finished: &Finished) {
        let prompt = &finished.request.prompt;
        log::info!("showing \"{prompt}\", seed {}", finished.request.seed);
        self.site.notify(Notice::Status(prompt));
        let pause = |span| self.site.pause(span);
        let shown = self.exhibit.show(finished.image.clone(), prompt, pause);
        self.said("the screen", shown);
        self.hung = Some(finished.request.clone());
        self.desk.board().write(|state| state.shown.clone_from(&finished.name));
    }

    /// Paints something of a playlist.
    fn paint_of(&mut self, playlist: &str, seen: bool) -> Result<Finished, Failure> {
        let prompt = self.prompt(playlist)?;
        let seed = self.random.u64(..1 << 32);
        let request = Request { prompt, seed, ..self.config.request.clone() };
        self.paint(request, (None, Source::Schedule), seen)
    }

    /// A prompt that may be painted.
    fn prompt(&mut self, playlist: &str) -> Result<String, SiteError> {
        let schedule = &self.config.schedule;
        let moment = Moment { now: self.site.now(), southern: schedule.southern };
        let templates = schedule.playlists.get(playlist).map(Vec::as_slice).unwrap_or_default();
        for _ in 0..TRIES {
            let template = self.random.choice(templates).ok_or("the playlist is empty")?;
            let prompt = self.config.words.fill(template, &moment, &mut self.random);
            if self.config.rules.guard.refused(&prompt).is_none() {
                return Ok(prompt);
            }
        }
        Err(format!("the playlist '{playlist}' has no prompt that [safety] lets pass").into())
    }

    fn paint(
        &mut self,
        request: Request,
        (id, source): (Option<u64>, Source),
        seen: bool,
    ) -> Result<Finished, Failure> {
        let begun = self.site.now();
        let room = Room {
            site: &self.site,
            config: &self.config,
            desk: &self.desk,
            exhibit: &mut self.exhibit,
        };
        let finished = self.studio.paint(room, &Task { request, id, source, seen })?;
        let took = begun.duration_until(&self.site.now()).as_secs_f64();
        self.desk.board().write(|state| {
            state.counts.seconds += took;
        });
        Ok(finished)
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
        if (&config.model, config.threads) != (&self.config.model, self.config.threads) {
            self.studio = Studio::open(&self.site, &config, &self.desk)?;
        }
        self.gallery.reopen(&config.gallery, config.keep, self.site.free_space())?;
        if (&config.screen, &config.display) != (&self.config.screen, &self.config.display) {
            let exhibit = exhibit(&self.site, &config, self.desk.board())?;
            let old = std::mem::replace(&mut self.exhibit, exhibit);
            self.exhibit.take_over(old)?;
        }
        self.desk.set_rules(|rules| *rules = Rules { model: rules.model, ..config.rules.clone() });
        self.stock.clear();
        self.config = config;
        self.way = None;
        self.due = self.site.now();
        self.paint_again = self.due.clone();
        Ok(())
    }

    /// A picture could not be painted: it is tried again when the next one is due.
    fn failed(&mut self, failure: Failure) {
        self.paint_again = self.after(self.config.schedule.every);
        let Failure::Trouble(error) = failure else {
            self.count(|counts| counts.interrupted += 1);
            return;
        };
        log::error!("no picture: {error}");
        self.count(|counts| counts.failed += 1);
        let fallback = self.config.fallback.clone().and_then(|path| image::open(path).ok());
        let shown = match fallback.filter(|_| !self.exhibit.has_picture()) {
            Some(picture) => self.exhibit.show(picture.to_rgb8(), "", |_| {}),
            None => self.exhibit.complain(&error.to_string()),
        };
        self.said("the screen", shown);
    }

    fn count(&self, change: impl FnOnce(&mut super::board::Counts)) {
        self.desk.board().write(|state| change(&mut state.counts));
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

fn exhibit(site: &impl Site, config: &Config, board: &Board) -> Result<Exhibit, SiteError> {
    let screen = site.screen(config.screen.as_ref())?;
    Ok(Exhibit::new(screen, config.display.clone(), board.clone()))
}
