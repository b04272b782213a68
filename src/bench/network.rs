//! One network of random weights with its inputs, ready to be timed.

use pochade_engine::{Graph, Rate, Shape, Value};

use super::BenchError;
use super::arch::{Arch, Networks, Part};
use crate::diffusion::TorchRng;
use crate::files::{FilterEncoding, RandomWeights, Weights};
use crate::nets::{
    Autoencoder, AutoencoderConfig, ClipText, ClipTextConfig, Conditioning, Halves, UNet,
    UNetConfig, UNetExtent,
};

/// Pixels per latent pixel of every architecture here.
const FACTOR: usize = 8;
/// A timestep from the middle of the schedule.
const TIMESTEP: f32 = 500.0;

/// What to build.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub arch: Arch,
    /// Width and height of the picture.
    pub size: usize,
    pub batch: usize,
    pub weights: FilterEncoding,
}

/// A graph and the values of its inputs.
pub(super) struct Subject {
    pub name: String,
    pub graph: Graph,
    pub setup: Vec<(Value, Vec<f32>)>,
    /// For one entry of the table.
    pub schedule: Vec<(Value, Vec<f32>)>,
    pub run: Vec<(Value, Vec<f32>)>,
}

/// How many subjects a part has. They are built one at a time: only the network at work takes
/// memory.
pub(super) fn count(networks: &Networks, part: Part) -> usize {
    match part {
        Part::Text => networks.text.len(),
        Part::Unet => usize::from(networks.unet.is_some()),
        Part::Decoder => usize::from(networks.decoder.is_some()),
    }
}

/// Subject `index` of a part.
pub(super) fn build(
    wanted: Wanted,
    networks: &Networks,
    (part, index): (Part, usize),
) -> Result<Option<Subject>, BenchError> {
    let tokens = networks.text.first().map_or(77, |text| text.positions);
    Ok(match part {
        Part::Text => networks.text.get(index).map(|c| text(wanted, c, index)).transpose()?,
        Part::Unet => networks.unet.as_ref().map(|c| unet(wanted, c, tokens)).transpose()?,
        Part::Decoder => networks.decoder.as_ref().map(|c| decoder(wanted, c)).transpose()?,
    })
}

fn text(wanted: Wanted, config: &ClipTextConfig, index: usize) -> Result<Subject, BenchError> {
    let weights = RandomWeights::new(wanted.weights);
    let network = ClipText::load(&Weights::random(&weights), config)?;
    let mut graph = Graph::named("text encoder");
    let input = network.input(&mut graph, wanted.batch, config.positions);
    let features = network.forward(&mut graph, input);
    graph.output(features.context);
    graph.output(features.last);
    let number = if index == 0 { String::new() } else { format!(" {}", index + 1) };
    let name = format!("{} text{number}", wanted.arch);
    let run = vec![(input, noise(&graph, input))];
    Ok(Subject { name, graph, setup: Vec::new(), schedule: Vec::new(), run })
}

fn unet(wanted: Wanted, config: &UNetConfig, tokens: usize) -> Result<Subject, BenchError> {
    let weights = RandomWeights::new(wanted.weights);
    let network = UNet::load(&Weights::random(&weights), config)?;
    let side = wanted.size / FACTOR;
    let extent = UNetExtent { batch: wanted.batch, height: side, width: side, tokens };
    let mut graph = Graph::named("unet");
    let inputs = Conditioning::of(config).declare(&mut graph, config, extent);
    let output = network.forward(&mut graph, &inputs);
    graph.output(output);
    let given = [inputs.concat, inputs.context, inputs.vector, inputs.guidance];
    let setup = given.into_iter().flatten().map(|v| (v, noise(&graph, v))).collect();
    let time = config.sinusoid().embed(TIMESTEP).repeat(wanted.batch);
    let schedule = vec![(inputs.timestep, time)];
    let run = vec![(inputs.latent, noise(&graph, inputs.latent))];
    let name = format!("{} unet {}", wanted.arch, wanted.size);
    Ok(Subject { name, graph, setup, schedule, run })
}

fn decoder(wanted: Wanted, config: &AutoencoderConfig) -> Result<Subject, BenchError> {
    let weights = RandomWeights::new(wanted.weights);
    let network = Autoencoder::load(&Weights::random(&weights), config, Halves::Decoder)?;
    let side = wanted.size / FACTOR;
    let mut graph = Graph::named("decoder");
    let shape = Shape::image(wanted.batch, side, side, config.latent_channels());
    let input = graph.input(shape, Rate::Run);
    let output = network.decode(&mut graph, input);
    graph.output(output);
    let name = format!("{} decoder {}", wanted.arch, wanted.size);
    let run = vec![(input, noise(&graph, input))];
    Ok(Subject { name, graph, setup: Vec::new(), schedule: Vec::new(), run })
}

/// Standard normal values for an input.
pub(super) fn noise(graph: &Graph, input: Value) -> Vec<f32> {
    let mut values = vec![0.0; graph.shape(input).len()];
    TorchRng::new(0).randn(&mut values);
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use pochade_engine::Plan;

    /// Billions of multiply-adds, what is computed once included, and bytes of weights.
    fn size(arch: Arch, part: Part, weights: FilterEncoding) -> (f64, usize) {
        let wanted = Wanted { arch, size: arch.native_size(), batch: 1, weights };
        let networks = arch.networks().unwrap();
        let subject = build(wanted, &networks, (part, 0)).unwrap().unwrap();
        let plan = Plan::new(&subject.graph).unwrap();
        let macs: u64 = plan.steps().iter().map(|step| step.macs).sum();
        (macs as f64 / 1e9, plan.weight_bytes())
    }

    #[test]
    fn the_small_unet_has_25_6_million_parameters_and_3_14_gmac() {
        let (gmac, bytes) = size(Arch::Small, Part::Unet, FilterEncoding::F16);
        assert_eq!(format!("{gmac:.2}"), "3.14");
        // Biases and norms are in f32, outputs are padded to whole panels.
        let parameters = bytes as f64 / 2e6;
        assert!((25.6..25.8).contains(&parameters), "{parameters} M");
        let (_, int8) = size(Arch::Small, Part::Unet, FilterEncoding::Int8);
        let (_, int4) = size(Arch::Small, Part::Unet, FilterEncoding::Int4);
        assert!(int4 < int8 && int8 < bytes, "{int4} {int8} {bytes}");
    }

    #[test]
    fn a_tiny_decoder_computes_70_7_gmac_for_512_pixels() {
        let (gmac, _) = size(Arch::Taesd, Part::Decoder, FilterEncoding::Int8);
        assert_eq!(format!("{gmac:.1}"), "70.7");
    }

    #[test]
    fn the_default_models_networks_can_be_built() {
        for part in [Part::Text, Part::Unet, Part::Decoder] {
            let (gmac, bytes) = size(Arch::Default, part, FilterEncoding::Int4);
            assert!(gmac > 0.0 && bytes > 0, "{part}");
        }
    }
}
