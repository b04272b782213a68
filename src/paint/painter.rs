//! The painter: prompt to picture, with the parts of a model taking turns in memory.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fmt, mem};

use pochade_engine::{Engine, SessionProfile, release_freed_memory};

use super::beginning::Origin;
use super::decode::DecoderStage;
use super::denoise::{self, Denoising, Step, UNetStage};
use super::encode;
use super::hints::Hints;
use super::limits::Limits;
use super::listen::{Ear, LayerListener};
use super::memory::{self, Memory, MemoryPlan, Work};
use super::text_stage::{self, Context, TextStage};
use super::{
    Beginning, LatentMap, LatentPreview, Paint, PaintError, Painting, Progress, Request, Resolved,
    Size, Sizes, Stage, Timings, Toward, default_model,
};
use crate::diffusion::{Guidance, Sampler, SamplerSettings, SchedulerConfig, SeedNoise, sampler};
use crate::files::{Component, ModelFiles, NewTensor};

/// Listens to a painter; breaking stops it.
type Observer<'a> = dyn FnMut(Progress<'_>) -> ControlFlow<()> + 'a;

/// Paints with one model on one engine.
pub struct Painter {
    files: ModelFiles,
    engine: Engine,
    scheduler: SchedulerConfig,
    limits: Limits,
    /// Bytes that the process takes beside what is planned.
    base: usize,
    /// Whether all parts stay loaded.
    keep_all: bool,
    /// The parts whose weights are read as they are needed.
    streamed: Vec<Component>,
    /// Whether the halves of a guided step take turns.
    in_turn: bool,
    /// Whether the decoder computes its largest maps anew.
    recomputes: bool,
    text: Option<TextStage>,
    unet: Option<UNetStage>,
    decoder: Option<DecoderStage>,
    /// The prompts of the last picture.
    encoded: Vec<Arc<Encoded>>,
    hash: Option<String>,
    colours: Option<LatentMap>,
}

/// Who follows the denoising.
struct Watch<'a, 'b, 'c> {
    colours: Option<&'a LatentMap>,
    /// Seconds of the fastest step so far.
    fastest: &'a mut Duration,
    progress: &'a mut Observer<'b>,
    ear: Ear<'a, 'c>,
}

/// A prompt's encoding.
struct Encoded {
    prompt: String,
    context: Context,
    /// Tokens of the context.
    tokens: usize,
    /// What the user should know of it.
    warning: Option<String>,
}

impl Painter {
    /// Opens the model at `path`, or the one that is part of the binary, on `threads` threads
    /// (default: one per core).
    ///
    /// # Errors
    /// When the model cannot be read, or the environment asks for an instruction set that is not
    /// there.
    pub fn open(path: Option<&Path>, threads: Option<usize>) -> Result<Self, PaintError> {
        let files = match path {
            Some(path) => ModelFiles::open(path)?,
            None => default_model()?,
        };
        Self::new(files, Engine::new(threads)?)
    }

    /// A painter for an opened model.
    ///
    /// # Errors
    /// When a config is missing or asks for something unknown.
    pub fn new(files: ModelFiles, engine: Engine) -> Result<Self, PaintError> {
        let scheduler = SchedulerConfig::from_diffusers(files.config(Component::Scheduler)?)?;
        let limits = Limits::of(&files)?;
        let keep_all = memory::keeps_all(&files)?;
        Ok(Self {
            files,
            engine,
            scheduler,
            limits,
            base: memory::base(),
            keep_all,
            streamed: Vec::new(),
            in_turn: false,
            recomputes: false,
            text: None,
            unet: None,
            decoder: None,
            encoded: Vec::new(),
            hash: None,
            colours: None,
        })
    }

    /// The model.
    pub fn files(&self) -> &ModelFiles {
        &self.files
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Tokens of a prompt as the network attends to them; 0 for a model that knows no words.
    ///
    /// # Errors
    /// When the text encoder's config is wrong.
    pub fn text_positions(&self) -> Result<usize, PaintError> {
        text_stage::positions(&self.files)
    }

    /// Rows and columns of the latent of a picture of `size`.
    pub fn latent_size(&self, size: Size) -> (usize, usize) {
        self.limits.latent(size)
    }

    /// The request with the model's choices filled in.
    ///
    /// # Errors
    /// When the size is not one the model paints.
    pub fn resolve(&mut self, request: &Request) -> Result<Resolved, PaintError> {
        let request = request.settled();
        let hints = Hints::of(self.files.config(Component::Scheduler)?);
        let size = request.size.unwrap_or(self.limits.sizes.native);
        self.limits.check(size)?;
        Ok(Resolved {
            prompt: request.prompt,
            negative: request.negative,
            seed: request.seed,
            toward: request.toward,
            strength: request.from.map(|from| from.strength),
            steps: request.steps.unwrap_or(hints.steps()),
            guidance: request.guidance.or(hints.guidance).unwrap_or(7.5),
            size,
            sampler: request.sampler.unwrap_or(self.scheduler.sampler),
            model: self.model_name(),
            model_hash: Some(self.model_hash()?),
        })
    }

    /// A stage that is done, if all stay loaded; else its memory is given back for the next one.
    fn kept<T>(&self, stage: T) -> Option<T> {
        let kept = self.keep_all.then_some(stage);
        if kept.is_none() {
            release_freed_memory();
        }
        kept
    }

    fn streams(&self, part: Component) -> bool {
        self.streamed.contains(&part)
    }

    /// Plans for a budget of memory, and lets go of what was planned otherwise.
    fn keep_within(&mut self, settings: &Resolved, ram: usize) -> Result<MemoryPlan, PaintError> {
        let batch = Guidance::new(settings.guidance).batch();
        let (size, threads) = (settings.size, self.engine.threads());
        let steps = self.sampler(settings)?.len();
        let memory = Memory::plan_for(&self.files, Work { size, batch, steps, threads }, None)?;
        let encoder = settings.strength.map(|_| encode::memory(&self.files, size, threads));
        let memory = Memory { encoder: encoder.transpose()?.unwrap_or(0), ..memory };
        let plan = memory.within(ram, self.base).map_err(|least| PaintError::Memory {
            ram,
            least,
            size,
        })?;
        self.in_turn = plan.in_turn;
        let now = (&self.streamed, self.keep_all, self.recomputes);
        if now != (&plan.streamed, plan.keeps_all, plan.recomputes) {
            self.recomputes = plan.recomputes;
            (self.text, self.unet, self.decoder) = (None, None, None);
            self.streamed.clone_from(&plan.streamed);
            self.keep_all = plan.keeps_all;
        }
        Ok(plan)
    }

    /// The last part of the model's path, without its extension.
    fn model_name(&self) -> String {
        let origin = Path::new(self.files.origin());
        origin.file_stem().unwrap_or(origin.as_os_str()).to_string_lossy().into_owned()
    }

    /// The hash of the model, read once.
    fn model_hash(&mut self) -> Result<String, PaintError> {
        if self.hash.is_none() {
            self.hash = Some(self.files.short_hash()?);
        }
        Ok(self.hash.clone().unwrap_or_default())
    }

    /// From now on, these tensors stand in the place of the model's own, or beside them; none takes
    /// all back. See [`ModelFiles::replace`].
    pub fn replace(&mut self, part: Component, tensors: Vec<NewTensor>) {
        self.files.replace(part, tensors);
        self.unload();
    }

    fn unload(&mut self) {
        (self.text, self.unet, self.decoder) = (None, None, None);
        self.encoded.clear();
        self.colours = None;
    }

    /// Paints as [`Paint::paint`] does, while `listener` hears what the layers read. That takes the memory of all that it
    /// hears in one step.
    ///
    /// # Errors
    /// As [`Paint::paint`].
    pub fn paint_heard(
        &mut self,
        request: &Request,
        listener: &mut dyn LayerListener,
        progress: &mut Observer<'_>,
    ) -> Result<Painting, PaintError> {
        self.unload();
        let painting = self.paint_with(request, progress, Some(listener));
        self.unload();
        painting
    }

    /// The picture that the decoder makes of a latent `[h, w, channels]`, as a [`super::Look`] or a
    /// [`Painting`] has one, of a picture of `size`.
    ///
    /// # Errors
    /// When the size is not one the model paints, or the latent is not of that size.
    pub fn decode_latent(
        &mut self,
        latent: &[f32],
        size: Size,
    ) -> Result<image::RgbImage, PaintError> {
        self.limits.check(size)?;
        let (height, width) = self.limits.latent(size);
        let channels = denoise::config(&self.files)?.out_channels;
        if latent.len() != height * width * channels {
            return Err(PaintError::Unsuitable(format!(
                "a latent of {size} has {height} x {width} x {channels} numbers, not {}",
                latent.len()
            )));
        }
        self.decode(size, latent, None)
    }

    /// Encodes the prompts, but for those of the last picture.
    fn encode(
        &mut self,
        prompts: &[&str],
        ear: &mut Ear<'_, '_>,
    ) -> Result<Vec<Arc<Encoded>>, PaintError> {
        let mut known = mem::take(&mut self.encoded);
        let missing = |known: &[Arc<Encoded>]| {
            prompts.iter().find(|prompt| known.iter().all(|e| e.prompt != **prompt)).copied()
        };
        if missing(&known).is_some() {
            let mut stage = match self.text.take() {
                Some(stage) => stage,
                None => TextStage::load(&self.files, &self.engine, &self.streamed, ear)?,
            };
            while let Some(prompt) = missing(&known) {
                known.push(Arc::new(Encoded::new(prompt, &mut stage, (&mut self.engine, ear))?));
            }
            self.text = self.kept(stage);
        }
        let find = |prompt: &&str| known.iter().find(|e| e.prompt == **prompt).cloned();
        Ok(prompts.iter().filter_map(find).collect())
    }

    /// What the denoiser begins with instead of noise.
    fn origin(&mut self, from: &Beginning, settings: &Resolved) -> Result<Origin, PaintError> {
        from.check()?;
        let latent = encode::encode(&self.files, &from.fitted(settings.size), &mut self.engine)?;
        let mask = from.latent_mask(settings.size, self.limits.latent(settings.size));
        let first = from.first_step(self.sampler(settings)?.len());
        Ok(Origin { latent, mask, first })
    }

    fn sampler(&self, settings: &Resolved) -> Result<Box<dyn Sampler>, PaintError> {
        let settings = SamplerSettings { kind: settings.sampler, steps: settings.steps, eta: 0.0 };
        Ok(sampler(&self.scheduler, settings)?)
    }

    fn denoise(
        &mut self,
        settings: &Resolved,
        contexts: [&Context; 2],
        (tokens, origin): (usize, Option<&Origin>),
        watch: Watch<'_, '_, '_>,
    ) -> Result<Vec<f32>, PaintError> {
        let mut sampler = self.sampler(settings)?;
        let mut stage = match self.unet.take() {
            Some(stage) => stage,
            None => UNetStage::load(&self.files, self.streams(Component::Unet))?,
        };
        let (height, width) = self.limits.latent(settings.size);
        let toward = settings.toward.as_ref();
        let denoising = Denoising {
            height,
            width,
            pixels: settings.size,
            contexts,
            tokens,
            guidance: settings.guidance,
            origin,
            in_turn: self.in_turn,
            noise: SeedNoise::new(settings.seed, toward.map(|t| (t.seed, t.share))),
        };
        let steps = sampler.len() - origin.map_or(0, |origin| origin.first);
        *watch.fastest = Duration::MAX;
        let mut after = |step: Step<'_>| {
            *watch.fastest = step.took.min(*watch.fastest);
            let preview = watch.colours.filter(|_| step.look.clean.len() == step.shape.len());
            let preview = preview.map(|map| LatentPreview {
                latent: step.look.clean,
                shape: step.shape,
                map,
            });
            let progress = Progress {
                stage: Stage::Denoise,
                step: step.done,
                steps,
                preview,
                latent: step.latent,
                look: Some(step.look),
            };
            (watch.progress)(progress).is_continue()
        };
        let (sampler, engine) = (sampler.as_mut(), &mut self.engine);
        let latent = stage.denoise(&denoising, sampler, engine, &mut after, watch.ear);
        self.unet = self.kept(stage);
        latent
    }

    fn decode(
        &mut self,
        size: Size,
        latent: &[f32],
        ear: Ear<'_, '_>,
    ) -> Result<image::RgbImage, PaintError> {
        let mut stage = match self.decoder.take() {
            Some(stage) => stage,
            None => self.load_decoder()?,
        };
        let size = self.limits.latent(size);
        let image = stage.decode(latent, size, &mut self.engine, ear);
        self.decoder = self.kept(stage);
        image
    }

    fn load_decoder(&self) -> Result<DecoderStage, PaintError> {
        let streams = self.streams(Component::Autoencoder);
        Ok(DecoderStage::load(&self.files, streams)?.recompute(self.recomputes))
    }

    /// How colours are guessed from latents: learned once from what the decoder makes of random
    /// ones. Only where the decoder stays loaded.
    fn colours(&mut self, wanted: bool) -> Result<Option<LatentMap>, PaintError> {
        if !wanted || !self.keep_all || self.colours.is_some() {
            return Ok(self.colours.take().filter(|_| wanted));
        }
        let mut stage = match self.decoder.take() {
            Some(stage) => stage,
            None => self.load_decoder()?,
        };
        let colours = stage.colours(&mut self.engine)?;
        self.decoder = Some(stage);
        Ok(Some(colours))
    }

    fn paint_with(
        &mut self,
        request: &Request,
        progress: &mut Observer<'_>,
        mut ear: Ear<'_, '_>,
    ) -> Result<Painting, PaintError> {
        let settings = self.resolve(request)?;
        if let Some(ram) = request.ram {
            log::info!("{}", self.keep_within(&settings, ram)?);
        }
        let mut timings = Timings::default();
        let steps = settings.steps;

        let start = Instant::now();
        let toward = settings.toward.as_ref();
        let prompts = [&settings.negative, &settings.prompt].map(String::as_str);
        let prompts = prompts.into_iter().chain(toward.map(|t| t.prompt.as_str()));
        let encoded = self.encode(&prompts.collect::<Vec<_>>(), &mut ear)?;
        let [negative, prompt] = contexts(&encoded, toward);
        let origin = request.from.as_ref().map(|from| self.origin(from, &settings)).transpose()?;
        timings.text = start.elapsed();
        let steps = steps - origin.as_ref().map_or(0, |origin| origin.first.min(steps));
        notify(progress, Progress::after(Stage::Text, 0, steps))?;

        let start = Instant::now();
        let colours = self.colours(request.preview)?;
        let watch = Watch {
            colours: colours.as_ref(),
            fastest: &mut timings.step,
            progress,
            ear: ear.as_deref_mut(),
        };
        let tokens = encoded.first().map_or(0, |e| e.tokens);
        let begins = (tokens, origin.as_ref());
        let latent = self.denoise(&settings, [&negative, &prompt], begins, watch);
        self.colours = colours;
        let mut warnings: Vec<String> = encoded.iter().filter_map(|e| e.warning.clone()).collect();
        self.encoded = encoded;
        let latent = latent?;
        timings.denoise = start.elapsed();

        let start = Instant::now();
        let mut image = self.decode(settings.size, &latent, ear)?;
        if let Some(from) = &request.from {
            from.put_back(&mut image, settings.size);
        }
        timings.decode = start.elapsed();
        notify(progress, Progress::after(Stage::Decode, steps, steps))?;

        warnings.extend(self.substituted_sampler(request));
        Ok(Painting { image, latent, request: settings, warnings, timings })
    }

    fn substituted_sampler(&self, request: &Request) -> Option<String> {
        let class = self.scheduler.substituted.as_ref().filter(|_| request.sampler.is_none())?;
        let instead = self.scheduler.sampler;
        Some(format!("the model asks for {class}, which is not known here; {instead} was used"))
    }
}

impl Encoded {
    fn new(
        prompt: &str,
        stage: &mut TextStage,
        (engine, ear): (&mut Engine, &mut Ear<'_, '_>),
    ) -> Result<Self, PaintError> {
        let (context, dropped) = stage.encode(prompt, engine, ear)?;
        let warning = dropped.map(|rest| {
            format!("the prompt is too long for this model, which did not read: \"{rest}\"")
        });
        Ok(Self { prompt: prompt.to_owned(), context, tokens: stage.positions(), warning })
    }
}

/// What the network is told of a negative prompt and a prompt, which may be on the way to a third.
fn contexts<'a>(encoded: &'a [Arc<Encoded>], toward: Option<&Toward>) -> [Cow<'a, Context>; 2] {
    let context = |i: usize| {
        encoded.get(i).map_or_else(|| Cow::Owned(Context::default()), |e| Cow::Borrowed(&e.context))
    };
    let prompt = match (encoded, toward) {
        ([_, from, to], Some(toward)) => {
            Cow::Owned(from.context.toward(&to.context, from.tokens, toward.share))
        }
        _ => context(1),
    };
    [context(0), prompt]
}

impl Paint for Painter {
    type Error = PaintError;

    fn paint(
        &mut self,
        request: &Request,
        progress: &mut Observer<'_>,
    ) -> Result<Painting, PaintError> {
        self.paint_with(request, progress, None)
    }

    fn plan_memory(&mut self, request: &Request) -> Result<Option<MemoryPlan>, PaintError> {
        let settings = self.resolve(request)?;
        request.ram.map(|ram| self.keep_within(&settings, ram)).transpose()
    }

    fn name(&self) -> String {
        self.model_name()
    }

    fn sizes(&self) -> Option<Sizes> {
        Some(self.limits.sizes)
    }

    fn start_profile(&mut self) {
        self.engine.start_profile();
    }

    fn profile(&self) -> Vec<SessionProfile> {
        self.engine.profile()
    }
}

fn notify(observer: &mut Observer<'_>, progress: Progress<'_>) -> Result<(), PaintError> {
    match observer(progress) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(PaintError::Interrupted),
    }
}

impl fmt::Debug for Painter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Painter({} on {:?})", self.files.origin(), self.engine)
    }
}
