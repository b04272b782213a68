//! The decoder: from a latent to a picture (section 3.1 of the LDM paper).

use image::RgbImage;
use pochade_engine::{Engine, Graph, Plan, PlanOptions, Rate, Session, Shape, Value};

use super::listen::{self, Ear, Run, Taps};
use super::{LatentMap, PaintError};
use crate::diffusion::{LatentShape, TorchRng};
use crate::files::{Component, ModelFiles, Weights};
use crate::nets::{Autoencoder, AutoencoderConfig, Halves};

/// A decoder, and the session for the size that was painted last.
pub(super) struct DecoderStage {
    network: Autoencoder,
    /// Whether weights are read as they are needed.
    streams: bool,
    /// Whether large maps are computed anew for all that read them.
    recomputes: bool,
    prepared: Option<Prepared>,
}

struct Prepared {
    size: (usize, usize),
    input: Value,
    output: Value,
    session: Session,
    taps: Taps,
}

/// The autoencoder's architecture.
pub(super) fn config(files: &ModelFiles) -> Result<AutoencoderConfig, PaintError> {
    let json = files.config(Component::Autoencoder)?;
    AutoencoderConfig::from_diffusers(json).map_err(|e| PaintError::Config("vae", e))
}

impl DecoderStage {
    pub fn load(files: &ModelFiles, streams: bool) -> Result<Self, PaintError> {
        let weights = files.weights(Component::Autoencoder)?;
        let network = load(files, &Weights::new(&weights))?;
        Ok(Self { network, streams, recomputes: false, prepared: None })
    }

    /// Makes sessions take less memory, and more time.
    pub fn recompute(self, recomputes: bool) -> Self {
        Self { recomputes, ..self }
    }

    /// `latent: [h, w, channels]` as the denoiser leaves it.
    pub fn decode(
        &mut self,
        latent: &[f32],
        size: (usize, usize),
        engine: &mut Engine,
        mut ear: Ear<'_, '_>,
    ) -> Result<RgbImage, PaintError> {
        let config = self.network.config();
        let (scale, shift) = (config.scaling_factor(), config.shift_factor());
        let unscaled: Vec<f32> = latent.iter().map(|v| v / scale + shift).collect();
        let mut prepared = self.prepare(size, engine, &ear)?;
        prepared.session.setup(engine, &[]);
        prepared.session.run(engine, &[(prepared.input, &unscaled)]);
        let (session, taps) = (&prepared.session, &prepared.taps);
        let part = Component::Autoencoder;
        listen::report(
            &mut ear,
            &Run { part, step: 0, steps: 1, of_prompt: Some(0), session, taps },
        );
        let pixels = prepared.session.output(prepared.output).iter().map(|v| to_byte(*v)).collect();
        self.prepared = Some(prepared);
        let factor = self.network.config().factor();
        let (width, height) = ((size.1 * factor) as u32, (size.0 * factor) as u32);
        RgbImage::from_raw(width, height, pixels).ok_or_else(|| {
            PaintError::Unsuitable("this model's decoder does not make RGB pictures".to_owned())
        })
    }

    /// The colours of latents, from what becomes of a random one whose places are not too different
    /// from their neighbours.
    pub fn colours(&mut self, engine: &mut Engine) -> Result<LatentMap, PaintError> {
        const SIDE: usize = 16;
        const PATCH: usize = 4;
        let channels = self.network.config().latent_channels();
        let mut patches = vec![0.0; (SIDE / PATCH).pow(2) * channels];
        TorchRng::new(0).randn(&mut patches);
        let patch = |place: usize| place / SIDE / PATCH * (SIDE / PATCH) + place % SIDE / PATCH;
        let latent: Vec<f32> = (0..SIDE * SIDE)
            .flat_map(|place| patches[patch(place) * channels..][..channels].to_vec())
            .collect();
        let image = self.decode(&latent, (SIDE, SIDE), engine, None)?;
        let shape = LatentShape { channels, height: SIDE, width: SIDE };
        Ok(LatentMap::fit(&latent, shape, &image))
    }

    fn prepare(
        &mut self,
        size: (usize, usize),
        engine: &Engine,
        ear: &Ear<'_, '_>,
    ) -> Result<Prepared, PaintError> {
        if let Some(prepared) = self.prepared.take_if(|p| p.size == size) {
            return Ok(prepared);
        }
        self.prepared = None;
        let (mut g, input, output) = graph(&self.network, size);
        let taps = listen::taps(&mut g, Component::Autoencoder, ear);
        let options = PlanOptions { recompute: self.recomputes, ..PlanOptions::default() };
        let plan = Plan::with(&g, &options).map_err(|e| PaintError::Graph("vae", e))?;
        let session = Session::new(engine, plan).stream(self.streams);
        Ok(Prepared { size, input, output, session, taps })
    }
}

/// The model's autoencoder without its encoder.
pub(super) fn load(files: &ModelFiles, weights: &Weights<'_>) -> Result<Autoencoder, PaintError> {
    Ok(Autoencoder::load(weights, &config(files)?, Halves::Decoder)?)
}

/// Decoding a latent of `size` (rows and columns): the graph, its input and the picture.
pub(super) fn graph(network: &Autoencoder, size: (usize, usize)) -> (Graph, Value, Value) {
    let mut g = Graph::named("decoder");
    let channels = network.config().latent_channels();
    let input = g.input(Shape::image(1, size.0, size.1, channels), Rate::Run);
    let output = network.decode(&mut g, input);
    g.output(output);
    (g, input, output)
}

/// -1..1 to 0..255 as diffusers rounds.
fn to_byte(value: f32) -> u8 {
    ((value / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8
}
