//! The painter: prompt to picture, with the parts of a model taking turns in memory.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
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
use super::upscale::{self, Upscaling};
use super::watch::{Observer, Watch};
use super::{
    Beginning, LatentMap, Paint, PaintError, Painting, Progress, Request, Resolved, Size, Sizes,
    Stage, Timings, Toward, default_model,
};
use crate::diffusion::{
    Guidance, LatentShape, Sampler, SamplerSettings, SchedulerConfig, SeedNoise, sampler,
};
use crate::files::{Component, ModelFiles, NewTensor};

/// Paints with one model on one engine.
pub struct Painter {
    files: ModelFiles,
    engine: Engine,
    scheduler: SchedulerConfig,
    limits: Limits,
    /// How the second stage was trained, in a model that has one.
    upscaling: Option<Upscaling>,
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
    unets: BTreeMap<Component, UNetStage>,
    decoder: Option<DecoderStage>,
    /// The prompts of the last picture.
    encoded: Vec<Arc<Encoded>>,
    hash: Option<String>,
    colours: Option<LatentMap>,
}

/// What a picture begins with.
struct Start<'a> {
    /// Of the negative prompt and the prompt.
    contexts: [&'a Context; 2],
    /// Tokens of a context.
    tokens: usize,
    /// Without it, noise.
    origin: Option<&'a Origin>,
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
        let upscaling = Upscaling::of(&files)?;
        let keep_all = memory::keeps_all(&files)?;
        Ok(Self {
            files,
            engine,
            scheduler,
            limits,
            upscaling,
            base: memory::base(),
            keep_all,
            streamed: Vec::new(),
            in_turn: false,
            recomputes: false,
            text: None,
            unets: BTreeMap::new(),
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

    /// The size that the network which knows the words paints of a picture of `size`: half of its
    /// sides where a second stage doubles them.
    pub fn base_size(&self, size: Size) -> Size {
        self.limits.base(size)
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

    /// The second stage where a picture needs it, and how many steps of the first one of its own is
    /// worth.
    fn second_stage(&self, settings: &Resolved) -> Result<Option<(Upscaling, f64)>, PaintError> {
        let second = self.upscaling.filter(|_| self.limits.enlarges(settings.size));
        let worth = |second| Ok((second, upscale::worth(&self.files, self.work(settings)?)?));
        second.map(worth).transpose()
    }

    fn work(&self, settings: &Resolved) -> Result<Work, PaintError> {
        Ok(Work {
            size: settings.size,
            batch: Guidance::new(settings.guidance).batch(),
            steps: self.sampler(settings)?.len(),
            threads: self.engine.threads(),
        })
    }

    /// Plans for a budget of memory, and lets go of what was planned otherwise.
    fn keep_within(&mut self, settings: &Resolved, ram: usize) -> Result<MemoryPlan, PaintError> {
        let (size, work) = (settings.size, self.work(settings)?);
        let memory = Memory::plan_for(&self.files, work, None)?;
        let base = self.limits.base(size);
        let encoder = settings.strength.map(|_| encode::memory(&self.files, base, work.threads));
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
            self.unload_networks();
            self.streamed.clone_from(&plan.streamed);
            self.keep_all = plan.keeps_all;
        }
        if !self.limits.enlarges(size) {
            self.unets.remove(&Component::Upscaler);
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

    fn unload_networks(&mut self) {
        (self.text, self.decoder) = (None, None);
        self.unets.clear();
    }

    fn unload(&mut self) {
        self.unload_networks();
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
        let channels = denoise::config(&self.files, Component::Unet)?.out_channels;
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
        let size = self.limits.base(settings.size);
        let latent = encode::encode(&self.files, &from.fitted(size), &mut self.engine)?;
        let mask = from.latent_mask(size, self.limits.latent(size));
        let first = from.first_step(self.sampler(settings)?.len());
        Ok(Origin { latent, mask, first })
    }

    fn sampler(&self, settings: &Resolved) -> Result<Box<dyn Sampler>, PaintError> {
        let settings = SamplerSettings { kind: settings.sampler, steps: settings.steps, eta: 0.0 };
        Ok(sampler(&self.scheduler, settings)?)
    }

    /// The latent that is decoded.
    fn denoise(
        &mut self,
        settings: &Resolved,
        start: &Start<'_>,
        watch: &mut Watch<'_, '_>,
        mut ear: Ear<'_, '_>,
    ) -> Result<Vec<f32>, PaintError> {
        let toward = settings.toward.as_ref();
        let mut noise = SeedNoise::new(settings.seed, toward.map(|t| (t.seed, t.share)));
        let sampler = self.sampler(settings)?;
        let steps = sampler.len() - start.origin.map_or(0, |origin| origin.first);
        let second = self.second_stage(settings)?;
        let pixels = self.limits.base(settings.size);
        let (height, width) = self.limits.latent(pixels);
        let denoising = Denoising {
            height,
            width,
            pixels,
            contexts: start.contexts,
            tokens: start.tokens,
            beside: &[],
            guidance: settings.guidance,
            origin: start.origin,
            in_turn: self.in_turn,
        };
        watch.begin(steps, second.map_or(0.0, |(second, worth)| second.steps as f64 * worth));
        let heard = ear.as_deref_mut();
        let way = (sampler, &mut noise);
        let mut latent = self.ask(Component::Unet, &denoising, way, (watch, heard))?;
        if let Some((second, worth)) = second {
            watch.begin_second(second.steps, worth);
            let shape = LatentShape { channels: latent.len() / (height * width), height, width };
            let condition = second.condition(&latent, shape, &mut noise);
            latent = self.upscale((second, settings.size), &condition, noise, (watch, ear))?;
        }
        watch.end();
        Ok(latent)
    }

    /// The latent of a picture of `size` by the second stage, on the condition of the first one's.
    fn upscale(
        &mut self,
        (second, size): (Upscaling, Size),
        condition: &[f32],
        mut noise: SeedNoise,
        (watch, ear): (&mut Watch<'_, '_>, Ear<'_, '_>),
    ) -> Result<Vec<f32>, PaintError> {
        let sampler = second.sampler(&self.scheduler)?;
        let words = Context::default();
        let (height, width) = self.limits.latent(size);
        let denoising = Denoising {
            height,
            width,
            pixels: size,
            contexts: [&words; 2],
            tokens: 0,
            beside: condition,
            guidance: 1.0,
            origin: None,
            in_turn: false,
        };
        self.ask(Component::Upscaler, &denoising, (sampler, &mut noise), (watch, ear))
    }

    /// Lets one of the model's UNets remove noise.
    fn ask(
        &mut self,
        part: Component,
        denoising: &Denoising<'_>,
        (mut sampler, noise): (Box<dyn Sampler>, &mut SeedNoise),
        (watch, ear): (&mut Watch<'_, '_>, Ear<'_, '_>),
    ) -> Result<Vec<f32>, PaintError> {
        let mut stage = match self.unets.remove(&part) {
            Some(stage) => stage,
            None => UNetStage::load(&self.files, part, self.streams(part))?,
        };
        let mut after = |step: Step<'_>| watch.after(step).is_continue();
        let engine = &mut self.engine;
        let latent = stage.denoise(denoising, (sampler.as_mut(), noise), engine, &mut after, ear);
        self.unets.extend(self.kept(stage).map(|stage| (part, stage)));
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
        let tokens = encoded.first().map_or(0, |e| e.tokens);
        let begins = Start { contexts: [&negative, &prompt], tokens, origin: origin.as_ref() };
        let mut watch = Watch::new(colours.as_ref(), (start, &mut timings), progress);
        let latent = self.denoise(&settings, &begins, &mut watch, ear.as_deref_mut());
        self.colours = colours;
        let mut warnings: Vec<String> = encoded.iter().filter_map(|e| e.warning.clone()).collect();
        self.encoded = encoded;
        let latent = latent?;

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
