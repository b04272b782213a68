//! From a prompt to what the denoiser attends to: one text encoder, or the two of Stable Diffusion
//! XL.

use pochade_engine::{Engine, Graph, Plan, Session, Value};

use super::PaintError;
use super::listen::{self, Ear, Run, Taps};
use crate::diffusion::slerp;
use crate::files::{Component, ModelFiles, Weights};
use crate::nets::{ClipText, ClipTextConfig, ContextLayer};
use crate::text::Tokenizer;

/// A prompt as the denoiser takes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Context {
    /// `[tokens, width]`.
    pub tokens: Vec<f32>,
    /// One vector for the whole prompt, of the last encoder.
    pub pooled: Vec<f32>,
}

impl Context {
    /// What lies at `share` of the way to another prompt, of as many `positions`: every token goes
    /// on a sphere of its own to the token in its place, and so does the vector.
    pub fn toward(&self, other: &Self, positions: usize, share: f32) -> Self {
        let width = (self.tokens.len() / positions.max(1)).max(1);
        let rows = self.tokens.chunks(width).zip(other.tokens.chunks(width));
        let tokens = rows.flat_map(|(from, to)| slerp(from, to, share)).collect();
        Self { tokens, pooled: slerp(&self.pooled, &other.pooled, share) }
    }
}

/// The tokenizers and text encoders of a model, with a plan for one prompt.
pub(super) struct TextStage {
    encoders: Vec<Encoder>,
}

struct Encoder {
    part: Component,
    tokenizer: Tokenizer,
    network: ClipText,
    input: Value,
    features: [Value; 2],
    session: Session,
    taps: Taps,
}

impl TextStage {
    /// Weights of the parts that `streamed` names are read as they are needed.
    pub fn load(
        files: &ModelFiles,
        engine: &Engine,
        streamed: &[Component],
        ear: &Ear<'_, '_>,
    ) -> Result<Self, PaintError> {
        let parts = [Component::TextEncoder, Component::TextEncoder2];
        let present = parts.into_iter().filter(|part| files.has(*part));
        let encoders =
            present.map(|part| Encoder::load((files, part), engine, streamed.contains(&part), ear));
        Ok(Self { encoders: encoders.collect::<Result<_, _>>()? })
    }

    /// Tokens of a prompt.
    pub fn positions(&self) -> usize {
        self.encoders.first().map_or(0, |e| e.network.config().positions)
    }

    /// The prompt as tokens and vector; and, in words, what of it did not fit.
    pub fn encode(
        &mut self,
        prompt: &str,
        engine: &mut Engine,
        ear: &mut Ear<'_, '_>,
    ) -> Result<(Context, Option<String>), PaintError> {
        let mut parts = Vec::new();
        let mut dropped = None;
        for encoder in &mut self.encoders {
            let (context, rest) = encoder.encode(prompt, engine, ear)?;
            parts.push(context);
            dropped = dropped.or(rest);
        }
        // Stable Diffusion XL is trained with zeros, not with the encoding of nothing.
        let zeros = prompt.is_empty() && parts.len() > 1;
        let mut context = join(parts, self.positions());
        if zeros {
            context.tokens.fill(0.0);
            context.pooled.fill(0.0);
        }
        Ok((context, dropped))
    }
}

impl Encoder {
    fn load(
        (files, part): (&ModelFiles, Component),
        engine: &Engine,
        streams: bool,
        ear: &Ear<'_, '_>,
    ) -> Result<Self, PaintError> {
        let weights = files.weights(part)?;
        let network = load(files, part, &Weights::new(&weights))?;
        let (mut g, input, features) = graph(&network);
        let taps = listen::taps(&mut g, part, ear);
        let plan = Plan::new(&g).map_err(|e| PaintError::Graph(part.name(), e))?;
        let session = Session::new(engine, plan).stream(streams);
        let tokenizer = files.tokenizer(part)?;
        Ok(Self { part, tokenizer, network, input, features, session, taps })
    }

    fn encode(
        &mut self,
        prompt: &str,
        engine: &mut Engine,
        ear: &mut Ear<'_, '_>,
    ) -> Result<(Context, Option<String>), PaintError> {
        let encoded = self.tokenizer.encode(prompt, self.network.config().positions);
        let embedded = self.network.embed(&encoded.ids)?;
        self.session.setup(engine, &[]);
        self.session.run(engine, &[(self.input, &embedded)]);
        let (part, session, taps) = (self.part, &self.session, &self.taps);
        listen::report(ear, &Run { part, step: 0, steps: 1, of_prompt: Some(0), session, taps });
        let [context, last] = self.features.map(|f| self.session.output(f));
        let pooled = self.network.pooled(last, &encoded.ids);
        Ok((Context { tokens: context.to_vec(), pooled }, encoded.dropped))
    }
}

/// Tokens of a prompt, 0 for a model without a text encoder.
pub(super) fn positions(files: &ModelFiles) -> Result<usize, PaintError> {
    if !files.has(Component::TextEncoder) {
        return Ok(0);
    }
    Ok(config(files, Component::TextEncoder)?.positions)
}

fn config(files: &ModelFiles, part: Component) -> Result<ClipTextConfig, PaintError> {
    let json = files.config(part)?;
    let config =
        ClipTextConfig::from_diffusers(json).map_err(|e| PaintError::Config(part.name(), e))?;
    // Stable Diffusion XL attends to the second-to-last layer of both of its encoders.
    let context = match files.has(Component::TextEncoder2) {
        true => ContextLayer::SkipRaw(1),
        false => config.context,
    };
    Ok(ClipTextConfig { context, ..config })
}

/// The text encoder `part`.
pub(super) fn load(
    files: &ModelFiles,
    part: Component,
    weights: &Weights<'_>,
) -> Result<ClipText, PaintError> {
    Ok(ClipText::load(weights, &config(files, part)?)?)
}

/// One prompt through a text encoder: the graph, its input, and the context and last layer that
/// come out.
pub(super) fn graph(network: &ClipText) -> (Graph, Value, [Value; 2]) {
    let mut g = Graph::named("text encoder");
    let input = network.input(&mut g, 1, network.config().positions);
    let features = network.forward(&mut g, input);
    let features = [features.context, features.last];
    features.iter().for_each(|f| g.output(*f));
    (g, input, features)
}

/// Puts the encoders' channels side by side, token by token; the last encoder's vector speaks for
/// all.
fn join(parts: Vec<Context>, positions: usize) -> Context {
    let [_, _, ..] = &parts[..] else {
        return parts.into_iter().next().unwrap_or_default();
    };
    let rows = |part: &Context, t: usize| {
        let width = part.tokens.len() / positions;
        part.tokens[t * width..(t + 1) * width].to_vec()
    };
    let tokens = (0..positions).flat_map(|t| parts.iter().flat_map(move |p| rows(p, t))).collect();
    let pooled = parts.into_iter().next_back().map(|p| p.pooled).unwrap_or_default();
    Context { tokens, pooled }
}
