//! A denoiser and its loop (section 3.2 of the LDM paper): from noise to a latent, guided by two
//! contexts at once, or by channels beside the latent.

use std::time::{Duration, Instant};

use pochade_engine::{Engine, Graph, Plan, Session, Value};
use serde_json::Value as Json;

use super::beginning::Origin;
use super::listen::{self, Ear, Run, Taps};
use super::text_stage::Context;
use super::{Look, PaintError, Size};
use crate::diffusion::{Guidance, LatentShape, Sampler, SeedNoise};
use crate::files::{Component, ModelFiles, Weights};
use crate::nets::{
    Conditioning, Sinusoid, UNet, UNetConfig, UNetExtent, UNetInputs, VectorInput,
    guidance_embedding, size_vector,
};

/// A UNet, and the session for the sizes that were painted last.
pub(super) struct UNetStage {
    /// Which of a model's UNets it is.
    part: Component,
    network: UNet,
    /// Embeds the sizes that Stable Diffusion XL is told.
    sizes: Sinusoid,
    /// Whether weights are read as they are needed.
    streams: bool,
    prepared: Option<Prepared>,
}

struct Prepared {
    extent: UNetExtent,
    inputs: UNetInputs,
    output: Value,
    session: Session,
    taps: Taps,
    /// What the session's table was computed from.
    told: Option<Told>,
}

/// What the network is told about a picture, but for the latent.
#[derive(PartialEq)]
struct Told {
    /// Of all turns.
    contexts: Vec<Context>,
    beside: Vec<f32>,
    pixels: Size,
    guidance: f32,
    timesteps: Vec<f32>,
}

/// What one run of the loop needs beside the sampler.
pub(super) struct Denoising<'a> {
    /// Rows and columns of the latent.
    pub height: usize,
    pub width: usize,
    /// The picture's.
    pub pixels: Size,
    /// Of the negative prompt and the prompt.
    pub contexts: [&'a Context; 2],
    /// Tokens of a context.
    pub tokens: usize,
    /// Channels beside the latent, `[h, w, in_channels - channels]`; empty where there are none.
    pub beside: &'a [f32],
    pub guidance: f32,
    /// What the run begins with; without it, noise.
    pub origin: Option<&'a Origin>,
    /// Whether the network answers for one context after the other, in half the memory.
    pub in_turn: bool,
}

/// A denoising step that is done.
pub(super) struct Step<'a> {
    /// How many are done.
    pub done: usize,
    pub took: Duration,
    pub look: Look<'a>,
    /// What the next step begins with, `[h, w, channels]`.
    pub latent: &'a [f32],
    pub shape: LatentShape,
}

impl UNetStage {
    pub fn load(files: &ModelFiles, part: Component, streams: bool) -> Result<Self, PaintError> {
        let json = files.config(part)?;
        let weights = files.weights(part)?;
        let network = load(files, part, &Weights::new(&weights))?;
        if part == Component::Unet {
            check_conditioning(network.config())?;
        }
        let config = network.config();
        let width = json.get("addition_time_embed_dim").and_then(Json::as_u64).unwrap_or(256);
        let sizes = Sinusoid { width: width as usize, ..config.sinusoid() };
        Ok(Self { part, network, sizes, streams, prepared: None })
    }

    /// Channels of the latent.
    pub fn channels(&self) -> usize {
        self.network.config().out_channels
    }

    /// The plan for one step, ready to run.
    fn prepare(
        &mut self,
        extent: UNetExtent,
        engine: &Engine,
        ear: &Ear<'_, '_>,
    ) -> Result<Prepared, PaintError> {
        if let Some(prepared) = self.prepared.take_if(|p| p.extent == extent) {
            return Ok(prepared);
        }
        self.prepared = None;
        let (mut g, inputs, output) = graph(self.part, &self.network, extent);
        let taps = listen::taps(&mut g, self.part, ear);
        let plan = Plan::new(&g).map_err(|e| PaintError::Graph(self.part.name(), e))?;
        log::debug!(
            "{} at {}x{}: {:.1} GMAC a step, {} MiB of intermediates",
            self.part,
            extent.width,
            extent.height,
            plan.macs() as f64 / 1e9,
            plan.activation_bytes(engine.threads()) >> 20
        );
        let session = Session::new(engine, plan).stream(self.streams);
        Ok(Prepared { extent, inputs, output, session, taps, told: None })
    }

    /// Runs the loop; `after` is called after every step and stops the loop by returning false.
    /// `noise` has drawn all that the run needed afterwards, and no more. Returns the latent
    /// `[h, w, channels]`.
    pub fn denoise(
        &mut self,
        d: &Denoising<'_>,
        (sampler, noise): (&mut dyn Sampler, &mut SeedNoise),
        engine: &mut Engine,
        after: &mut dyn FnMut(Step<'_>) -> bool,
        mut ear: Ear<'_, '_>,
    ) -> Result<Vec<f32>, PaintError> {
        let embedded = self.network.config().guidance_width;
        let guidance = Guidance::new(if embedded.is_some() { 1.0 } else { d.guidance });
        let batch = guidance.batch();
        let asked = if d.in_turn { 1 } else { batch };
        let extent =
            UNetExtent { batch: asked, height: d.height, width: d.width, tokens: d.tokens };
        let mut prepared = self.prepare(extent, engine, &ear)?;
        let contexts = &d.contexts[2 - batch..];
        let told = Told {
            contexts: contexts.iter().map(|c| (*c).clone()).collect(),
            beside: d.beside.to_vec(),
            pixels: d.pixels,
            guidance: d.guidance,
            timesteps: (0..sampler.len()).map(|i| sampler.timestep(i)).collect(),
        };
        let known = prepared.told.take().is_some_and(|last| last == told);
        let turns = batch / asked;
        prepared.session.reserve_table(turns * sampler.len());

        let shape = LatentShape { channels: self.channels(), height: d.height, width: d.width };
        let mut x = vec![0.0; shape.len()];
        noise.draw(shape, &mut x);
        let begun = d.origin.map(|origin| (origin, x.clone()));
        let first = d.origin.map_or(0, |origin| origin.first);
        match &begun {
            Some((origin, noise)) => origin.noised(sampler.level(first), noise, &mut x),
            None => x.iter_mut().for_each(|v| *v *= sampler.init_noise_sigma()),
        }
        let mut input = vec![0.0; batch * x.len()];
        let mut answer = input.clone();
        for i in first..sampler.len() {
            let start = Instant::now();
            let (one, rest) = input.split_at_mut(x.len());
            sampler.scale_input(i, &x, one);
            rest.copy_from_slice(&one[..rest.len()]);
            let pieces = input.chunks(asked * x.len()).zip(answer.chunks_mut(asked * x.len()));
            for (turn, (input, answer)) in pieces.enumerate() {
                let entry = turn * sampler.len();
                if turns > 1 || (i == first && !known) {
                    let contexts = &contexts[turn * asked..][..asked];
                    self.condition(d, contexts, &mut prepared, engine);
                }
                if i == first && !known {
                    self.tabulate(&told.timesteps, entry, &mut prepared, engine);
                }
                prepared.ask(entry + i, input, answer, engine);
                let run = Run {
                    part: self.part,
                    step: i,
                    steps: sampler.len(),
                    of_prompt: (batch - 1).checked_sub(turn * asked).filter(|i| *i < asked),
                    session: &prepared.session,
                    taps: &prepared.taps,
                };
                listen::report(&mut ear, &run);
            }
            let guided = guidance.combine(&mut answer);
            sampler.step(i, guided, &mut x, &mut |out| noise.draw(shape, out));
            if let Some((origin, noise)) = &begun {
                origin.put_back(sampler.level(i + 1), noise, &mut x);
            }
            let took = start.elapsed();
            let (timestep, noisy) = (told.timesteps[i], &input[..x.len()]);
            let look = Look { timestep, noisy, clean: sampler.denoised() };
            if !after(Step { done: i + 1 - first, took, look, latent: &x, shape }) {
                return Err(PaintError::Interrupted);
            }
        }
        self.prepared = Some(Prepared { told: Some(told), ..prepared });
        Ok(x)
    }

    /// Gives the network what holds for all that it is asked about some contexts.
    fn condition(
        &self,
        d: &Denoising<'_>,
        contexts: &[&Context],
        prepared: &mut Prepared,
        engine: &mut Engine,
    ) {
        let config = self.network.config();
        let tokens: Vec<f32> = contexts.iter().flat_map(|c| c.tokens.iter().copied()).collect();
        let (height, width) = (d.pixels.height as f32, d.pixels.width as f32);
        let sizes = [height, width, 0.0, 0.0, height, width];
        let vector: Vec<f32> =
            contexts.iter().flat_map(|c| size_vector(&c.pooled, &sizes, self.sizes)).collect();
        let scale = config.guidance_width.map(|w| guidance_embedding(d.guidance - 1.0, w));
        let scale = scale.unwrap_or_default();
        let inputs = &prepared.inputs;
        let given = [
            (inputs.concat, d.beside),
            (inputs.context, &tokens),
            (inputs.vector, &vector),
            (inputs.guidance, &scale),
        ];
        let given: Vec<_> = given.into_iter().filter_map(|(v, data)| Some((v?, data))).collect();
        prepared.session.setup(engine, &given);
    }

    /// Computes what the network makes of all timesteps in the contexts it was given: the entries of
    /// its table from `first` on.
    fn tabulate(
        &self,
        timesteps: &[f32],
        first: usize,
        prepared: &mut Prepared,
        engine: &mut Engine,
    ) {
        let sinusoid = self.network.config().sinusoid();
        let batch = prepared.extent.batch;
        let embedded: Vec<f32> =
            timesteps.iter().flat_map(|&t| sinusoid.embed(t).repeat(batch)).collect();
        prepared.session.tabulate(engine, first, &[(prepared.inputs.timestep, &embedded)]);
    }
}

impl Prepared {
    /// One answer of the network, at the time of an entry of its table: `input` and `answer` are
    /// `[n, h, w, channels]`.
    fn ask(&mut self, entry: usize, input: &[f32], answer: &mut [f32], engine: &mut Engine) {
        self.session.run_entry(engine, entry, &[(self.inputs.latent, input)]);
        answer.copy_from_slice(self.session.output(self.output));
    }
}

/// One of the model's UNets.
pub(super) fn load(
    files: &ModelFiles,
    part: Component,
    weights: &Weights<'_>,
) -> Result<UNet, PaintError> {
    let config = config(files, part)?;
    Ok(UNet::load(weights, &config)?)
}

/// A UNet's architecture.
pub(super) fn config(files: &ModelFiles, part: Component) -> Result<UNetConfig, PaintError> {
    UNetConfig::from_diffusers(files.config(part)?).map_err(|e| PaintError::Config(part.name(), e))
}

/// One denoising step: the graph, its inputs and its answer.
pub(super) fn graph(
    part: Component,
    network: &UNet,
    extent: UNetExtent,
) -> (Graph, UNetInputs, Value) {
    let mut g = Graph::named(part.name());
    let config = network.config();
    let inputs = Conditioning::of(config).declare(&mut g, config, extent);
    let output = network.forward(&mut g, &inputs);
    g.output(output);
    (g, inputs, output)
}

/// Words can give a context and a size; they cannot give a mask, a layout or a class.
fn check_conditioning(config: &UNetConfig) -> Result<(), PaintError> {
    let conditioning = Conditioning::of(config);
    if conditioning.takes_channels() {
        return Err(PaintError::Unsuitable(format!(
            "this model is conditioned by a picture ({conditioning}); paint can give it words only"
        )));
    }
    if let VectorInput::Classes(classes) = config.vector {
        return Err(PaintError::Unsuitable(format!(
            "this model is conditioned by one of {classes} classes; paint can give it words only"
        )));
    }
    Ok(())
}
