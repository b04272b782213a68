//! The encoder: from a picture to its latent (section 3.1 of the LDM paper). It is needed once for a
//! picture, and takes no memory before and after that.

use image::RgbImage;
use pochade_engine::{Engine, Graph, Plan, Rate, Session, Shape, Value};

use super::{PaintError, Size, decode};
use crate::files::{Component, ComponentWeights, ModelFiles, Weights};
use crate::nets::{Autoencoder, Halves};

/// The latent `[h, w, channels]` of a picture as the denoiser knows latents: the most likely one.
pub(super) fn encode(
    files: &ModelFiles,
    image: &RgbImage,
    engine: &mut Engine,
) -> Result<Vec<f32>, PaintError> {
    let weights = files.weights(Component::Autoencoder)?;
    let network = load(files, &weights, &Weights::new(&weights))?;
    let size = Size { width: image.width() as usize, height: image.height() as usize };
    let (g, input, output) = graph(&network, size)?;
    let plan = Plan::new(&g).map_err(|e| PaintError::Graph("vae", e))?;
    let mut session = Session::new(engine, plan);
    // As diffusers: 0..255 to -1..1.
    let values: Vec<f32> =
        image.as_raw().iter().map(|v| f32::from(*v) / 255.0 * 2.0 - 1.0).collect();
    session.setup(engine, &[]);
    session.run(engine, &[(input, &values)]);
    let config = network.config();
    let (scale, shift) = (config.scaling_factor(), config.shift_factor());
    let latent = network.latent(session.output(output));
    Ok(latent.into_iter().map(|v| (v - shift) * scale).collect())
}

/// Bytes that [`encode`] takes for a picture of a size.
pub(super) fn memory(files: &ModelFiles, size: Size, threads: usize) -> Result<usize, PaintError> {
    let weights = files.weights(Component::Autoencoder)?;
    let network = load(files, &weights, &Weights::hollow(&weights))?;
    let plan = Plan::new(&graph(&network, size)?.0).map_err(|e| PaintError::Graph("vae", e))?;
    let picture = size.width * size.height * 3 * size_of::<f32>();
    Ok(plan.weight_bytes() + plan.activation_bytes(threads) + picture)
}

fn load(
    files: &ModelFiles,
    stored: &ComponentWeights,
    weights: &Weights<'_>,
) -> Result<Autoencoder, PaintError> {
    if !stored.tensors().any(|tensor| tensor.name.starts_with("encoder.")) {
        return Err(no_encoder());
    }
    Ok(Autoencoder::load(weights, &decode::config(files)?, Halves::Both)?)
}

/// Encoding a picture: the graph, its input and what is known of the latent.
fn graph(network: &Autoencoder, size: Size) -> Result<(Graph, Value, Value), PaintError> {
    let mut g = Graph::named("encoder");
    let input = g.input(Shape::image(1, size.height, size.width, 3), Rate::Run);
    let output = network.encode(&mut g, input).ok_or_else(no_encoder)?;
    g.output(output);
    Ok((g, input, output))
}

fn no_encoder() -> PaintError {
    PaintError::Unsuitable(
        "this model's file has no encoder, which a picture to begin with needs; quantise it without \
         --without-encoder"
            .to_owned(),
    )
}
