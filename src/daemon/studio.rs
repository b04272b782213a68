//! Where pictures are painted: the model, which is opened when it is wanted and given up when it has
//! been idle for long; its pace; and all who watch.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use image::RgbImage;
use jiff::Zoned;
use pochade_engine::release_freed_memory;

use super::board::{Source, Work};
use super::config::Config;
use super::desk::{Desk, Finished};
use super::exhibit::Exhibit;
use super::pace::{Pace, Plan};
use super::site::{Notice, Site, SiteError};
use crate::paint::infotext::Infotext;
use crate::paint::{Paint, Painting, Progress, Request, Sizes, png};

/// How long a machine that is too hot rests before its temperature is looked at again.
const REST: Duration = Duration::from_secs(2);
/// Degrees that it must have cooled down.
const COOLER: f64 = 5.0;

/// A model at a site.
pub(super) struct Studio<P> {
    painter: Option<P>,
    pace: Pace,
    /// The model's.
    sizes: Option<Sizes>,
    /// Steps that the model takes if it is not told how many, once a picture was painted so.
    usual_steps: Option<usize>,
    /// When it was last used.
    used: Zoned,
}

/// What surrounds the painter.
pub(super) struct Room<'a, S> {
    pub site: &'a S,
    pub config: &'a Config,
    pub desk: &'a Desk,
    pub exhibit: &'a mut Exhibit,
}

/// A picture to paint.
pub(super) struct Task {
    /// What is to be painted.
    pub request: Request,
    /// Its order's number.
    pub id: Option<u64>,
    pub source: Source,
    /// Whether it may be seen emerging.
    pub seen: bool,
}

/// Why there is no picture.
pub(super) enum Failure {
    /// Somebody stopped it; the picture as it could be guessed by then.
    Stopped(Option<Arc<RgbImage>>),
    /// Something is wrong.
    Trouble(SiteError),
}

impl From<SiteError> for Failure {
    fn from(error: SiteError) -> Self {
        Self::Trouble(error)
    }
}

/// How a painting is watched.
struct Watch<'a, S> {
    site: &'a S,
    desk: &'a Desk,
    hottest: Option<f64>,
    /// Where it is seen emerging.
    exhibit: Option<&'a mut Exhibit>,
    begun: Zoned,
    preview: Option<Arc<RgbImage>>,
}

impl<P: Paint> Studio<P> {
    /// Opens a model.
    pub fn open<S: Site<Painter = P>>(
        site: &S,
        config: &Config,
        desk: &Desk,
    ) -> Result<Self, SiteError> {
        let mut studio = Self {
            painter: None,
            pace: Pace::default(),
            sizes: None,
            usual_steps: None,
            used: site.now(),
        };
        studio.painter(site, config, desk)?;
        Ok(studio)
    }

    fn painter<S: Site<Painter = P>>(
        &mut self,
        site: &S,
        config: &Config,
        desk: &Desk,
    ) -> Result<&mut P, SiteError> {
        let painter = match self.painter.take() {
            Some(painter) => painter,
            None => site.painter(config)?,
        };
        self.sizes = painter.sizes();
        desk.set_rules(|rules| rules.model = self.sizes);
        let name = painter.name();
        desk.board().write(|state| (state.loaded, state.model) = (true, name));
        Ok(self.painter.insert(painter))
    }

    /// Gives the model up if nothing was painted for so long.
    pub fn rest(&mut self, now: &Zoned, idle: Duration, desk: &Desk) {
        let since = Duration::try_from(self.used.duration_until(now)).unwrap_or_default();
        if self.painter.is_some() && since >= idle {
            self.painter = None;
            release_freed_memory();
            desk.board().write(|state| state.loaded = false);
            log::debug!("the model is given up until it is wanted");
        }
    }

    /// Paints, and lets the picture be seen emerging.
    pub fn paint<S: Site<Painter = P>>(
        &mut self,
        mut room: Room<'_, S>,
        task: &Task,
    ) -> Result<Finished, Failure> {
        let (site, config, desk) = (room.site, room.config, room.desk);
        let chosen = task.request.steps.is_some();
        let seen = task.seen && room.exhibit.emerges();
        let request = self.in_time(&task.request, config.within);
        let request = Request { preview: seen || desk.board().is_watched(), ..request };
        let work = Work {
            id: task.id,
            prompt: request.prompt.clone(),
            source: task.source,
            ..Work::default()
        };
        desk.begin(task.id);
        desk.board().write(|state| state.work = Some(work));
        let result = self.watched(&mut room, &request, seen);
        let took = site.now().duration_since(&self.used);
        self.used = site.now();
        let took = Duration::try_from(took).unwrap_or_default();
        let stopped = desk.end(took);
        desk.board().write(|state| state.work = None);
        let painting = match result {
            Err(Failure::Trouble(_)) if stopped => return Err(Failure::Stopped(None)),
            other => other?,
        };
        painting.warnings.iter().for_each(|warning| log::warn!("{warning}"));
        self.pace.measure(painting.timings, &painting.request);
        if !chosen {
            self.usual_steps.get_or_insert(painting.request.steps);
        }
        let finished = finish(painting)?;
        if let Some(gate) = &config.gate {
            gate.pass(&finished.file).map_err(SiteError::from)?;
        }
        Ok(finished)
    }

    /// The request with as many steps, and as large, as can be done in time.
    fn in_time(&self, request: &Request, within: Option<Duration>) -> Request {
        let steps = request.steps.or(self.usual_steps);
        let (Some(within), Some(steps)) = (within, steps) else { return request.clone() };
        let plan = self.pace.plan(Plan { steps, size: request.size }, within, self.sizes);
        Request { steps: Some(plan.steps), size: plan.size, ..request.clone() }
    }

    fn watched<S: Site<Painter = P>>(
        &mut self,
        room: &mut Room<'_, S>,
        request: &Request,
        seen: bool,
    ) -> Result<Painting, Failure> {
        let (site, desk) = (room.site, room.desk);
        self.used = site.now();
        let mut watch = Watch {
            site,
            desk,
            hottest: room.config.hottest,
            exhibit: Some(&mut *room.exhibit).filter(|_| seen),
            begun: site.now(),
            preview: None,
        };
        let painter = self.painter(site, room.config, desk)?;
        let painted = painter.paint(request, &mut |progress| watch.look(progress));
        match painted {
            Ok(painting) => Ok(painting),
            Err(_) if desk.interrupts() => Err(Failure::Stopped(watch.preview)),
            Err(error) => Err(Failure::Trouble(error.into())),
        }
    }
}

/// Makes the file of a picture.
fn finish(painting: Painting) -> Result<Finished, SiteError> {
    let Painting { image, request, warnings, timings, .. } = painting;
    let file = png::encode(&image, &Infotext::of(&request).to_string())?;
    Ok(Finished { file, image, name: None, request, warnings, timings })
}

impl<S: Site> Watch<'_, S> {
    /// After every step.
    fn look(&mut self, progress: Progress<'_>) -> ControlFlow<()> {
        self.site.notify(Notice::Alive);
        self.rest_while_hot();
        if self.desk.interrupts() {
            return ControlFlow::Break(());
        }
        let sketch = progress.preview;
        if let Some(sketch) = sketch.map(|sketch| sketch.picture()) {
            if let Some(exhibit) = &mut self.exhibit {
                sketch_on(exhibit, &sketch);
            }
            self.preview = Some(Arc::new(sketch));
        }
        self.post(&progress);
        ControlFlow::Continue(())
    }

    /// Lets everybody see how far it is.
    fn post(&self, progress: &Progress<'_>) {
        let gone = Duration::try_from(self.begun.duration_until(&self.site.now()));
        let left = gone.ok().filter(|_| progress.share > 0.0);
        let left = left.map(|gone| gone.mul_f64((1.0 / progress.share - 1.0).max(0.0)));
        let temperature = self.site.temperature();
        self.desk.board().write(|state| {
            state.temperature = temperature;
            if let Some(work) = &mut state.work {
                (work.step, work.steps) = (progress.step, progress.steps);
                (work.share, work.left) = (progress.share, left);
                work.preview.clone_from(&self.preview);
            }
        });
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
            self.desk.board().write(|state| {
                (state.status, state.temperature) = (status, Some(degrees));
            });
            self.site.pause(REST);
            if self.desk.interrupts() {
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
