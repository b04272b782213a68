//! What one network answers to given numbers: `cargo run --release --example forward -- MODEL ANSWER
//! LATENT [TIMESTEP CONTEXT]`.
//!
//! All files are raw little-endian f32 in PyTorch's order, for comparing with it: a latent
//! `[channels, side, side]`, one timestep and a context `[tokens, width]` for the UNet, a latent
//! alone for the decoder.

use std::error::Error;
use std::path::Path;

use pochade::diffusion::{LatentShape, nchw_to_nhwc};
use pochade::files::{Component, ModelFiles, Weights};
use pochade::nets::{
    Autoencoder, AutoencoderConfig, Conditioning, Halves, UNet, UNetConfig, UNetExtent,
};
use pochade_engine::{Engine, Graph, Plan, Rate, Session, Shape, Value};

/// A network's graph and what is given to it.
struct Question {
    graph: Graph,
    answer: Value,
    setup: Vec<(Value, Vec<f32>)>,
    schedule: Vec<(Value, Vec<f32>)>,
    run: Vec<(Value, Vec<f32>)>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, target, latent, rest @ ..] = &args[..] else {
        return Err("a model, a file for the answer and the inputs' files are needed".into());
    };
    let files = ModelFiles::open(Path::new(model))?;
    let latent = read(latent)?;
    let question = match rest {
        [] => decoder(&files, &latent)?,
        [timestep, context] => unet(&files, &latent, read(timestep)?[0], read(context)?)?,
        _ => return Err("a UNet takes a latent, a timestep and a context".into()),
    };
    let channels = question.graph.shape(question.answer).c;
    let answer = ask(question)?;
    let places = answer.len() / channels;
    // Planes of channels, as PyTorch has them: the same turn of a matrix the other way round.
    let turned = LatentShape { height: 1, width: channels, channels: places };
    let mut planes = vec![0.0; answer.len()];
    nchw_to_nhwc(turned, &answer, &mut planes);
    let bytes: Vec<u8> = planes.iter().flat_map(|value| value.to_le_bytes()).collect();
    Ok(std::fs::write(target, bytes)?)
}

fn read(path: &str) -> Result<Vec<f32>, Box<dyn Error>> {
    let bytes = std::fs::read(path).map_err(|e| format!("cannot read {path}: {e}"))?;
    let (values, rest) = bytes.as_chunks();
    let whole = rest.is_empty() && !values.is_empty();
    whole.then(|| values.iter().copied().map(f32::from_le_bytes).collect()).ok_or_else(|| {
        format!("{path} is not a file of 4-byte numbers: it has {} bytes", bytes.len()).into()
    })
}

/// A square latent with its channels last, and its side.
fn square(planes: &[f32], channels: usize) -> (Vec<f32>, usize) {
    let side = (planes.len() / channels).isqrt();
    let mut last = vec![0.0; side * side * channels];
    nchw_to_nhwc(LatentShape { height: side, width: side, channels }, planes, &mut last);
    (last, side)
}

fn unet(
    files: &ModelFiles,
    latent: &[f32],
    timestep: f32,
    context: Vec<f32>,
) -> Result<Question, Box<dyn Error>> {
    let config = UNetConfig::from_diffusers(files.config(Component::Unet)?)?;
    let weights = files.weights(Component::Unet)?;
    let network = UNet::load(&Weights::new(&weights), &config)?;
    let (latent, side) = square(latent, config.in_channels);
    let width = config.context_width.ok_or("the UNet takes no context")?;
    let tokens = context.len() / width;
    if tokens * width != context.len() {
        return Err(format!("the context is not of tokens of {width} numbers").into());
    }
    let extent = UNetExtent { batch: 1, height: side, width: side, tokens };
    let mut graph = Graph::named("unet");
    let inputs = Conditioning::of(&config).declare(&mut graph, &config, extent);
    let answer = network.forward(&mut graph, &inputs);
    let setup = inputs.context.map(|value| (value, context)).into_iter().collect();
    let time = config.sinusoid().embed(timestep);
    let schedule = vec![(inputs.timestep, time)];
    Ok(Question { graph, answer, setup, schedule, run: vec![(inputs.latent, latent)] })
}

fn decoder(files: &ModelFiles, latent: &[f32]) -> Result<Question, Box<dyn Error>> {
    let config = AutoencoderConfig::from_diffusers(files.config(Component::Autoencoder)?)?;
    let weights = files.weights(Component::Autoencoder)?;
    let network = Autoencoder::load(&Weights::new(&weights), &config, Halves::Decoder)?;
    let channels = config.latent_channels();
    let (latent, side) = square(latent, channels);
    let mut graph = Graph::named("decoder");
    let input = graph.input(Shape::image(1, side, side, channels), Rate::Run);
    let answer = network.decode(&mut graph, input);
    let run = vec![(input, latent)];
    Ok(Question { graph, answer, setup: Vec::new(), schedule: Vec::new(), run })
}

fn ask(mut question: Question) -> Result<Vec<f32>, Box<dyn Error>> {
    question.graph.output(question.answer);
    let mut engine = Engine::new(None)?;
    let mut session = Session::new(&engine, Plan::new(&question.graph)?);
    session.setup(&mut engine, &borrow(&question.setup));
    session.reserve_table(1);
    session.tabulate(&mut engine, 0, &borrow(&question.schedule));
    session.run(&mut engine, &borrow(&question.run));
    Ok(session.output(question.answer).to_vec())
}

fn borrow(given: &[(Value, Vec<f32>)]) -> Vec<(Value, &[f32])> {
    given.iter().map(|(value, data)| (*value, &data[..])).collect()
}
