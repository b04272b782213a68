//! Every network against diffusers and transformers, on small networks with weights drawn anew by
//! both sides.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod fixture;
mod full_size;

use fixture::{Fixture, Given, NETWORK, SINUSOID, assert_close, run};
use pochade::files::{Weights, names};
use pochade::nets::{
    Autoencoder, AutoencoderConfig, ClipText, ClipTextConfig, Conditioning, ContextLayer, Halves,
    Resample, Sinusoid, UNet, UNetConfig, UNetExtent, guidance_embedding, size_vector,
};
use pochade_engine::{Graph, Plan, Rate, Shape, Value};

fn check_unet(name: &str) {
    let fixture = Fixture::open(name);
    let weights = fixture.weights(names::unet);
    let mut config = UNetConfig::from_diffusers(fixture.config()).unwrap();
    if fixture.flag("pool") {
        config.resample = Resample::Pool;
    }
    let unet = UNet::load(&Weights::new(&weights), &config).unwrap();
    let [batch, height, width, tokens] = fixture.extent();
    let extent = UNetExtent { batch, height, width, tokens };

    let mut g = Graph::new();
    let inputs = Conditioning::of(&config).declare(&mut g, &config, extent);
    let noise = unet.forward(&mut g, &inputs);
    g.output(noise);

    // diffusers is given one sample; here the channels beside the latent are an input of their own.
    let channels = g.shape(inputs.latent).c;
    let sample = fixture.drawn("latent", &[batch, height, width, config.in_channels]);
    let (latent, concat): (Vec<&[f32]>, Vec<&[f32]>) =
        sample.chunks_exact(config.in_channels).map(|pixel| pixel.split_at(channels)).unzip();
    let sinusoid = embed_all(config.sinusoid(), &fixture.numbers("timesteps"));
    assert_close(&format!("{name}: sinusoid"), &sinusoid, &fixture.output("sinusoid"), SINUSOID);

    let mut setup: Given = Vec::new();
    setup.extend(inputs.concat.map(|value| (value, concat.concat())));
    setup.extend(inputs.context.map(|value| (value, fixture.drawn_for("context", g.shape(value)))));
    setup.extend(inputs.vector.map(|value| (value, vector_of(&fixture, &unet))));
    setup.extend(inputs.guidance.map(|value| (value, guidance_of(&fixture, &config))));
    let (schedule, step) =
        (vec![(inputs.timestep, sinusoid)], vec![(inputs.latent, latent.concat())]);
    let found = run(&g, [&setup, &schedule, &step], noise);
    assert_close(name, &found, &fixture.output("noise"), NETWORK);
}

fn embed_all(sinusoid: Sinusoid, numbers: &[f32]) -> Vec<f32> {
    numbers.iter().flat_map(|&t| sinusoid.embed(t)).collect()
}

/// The vector of every picture in the batch: its class's, or its text and sizes.
fn vector_of(fixture: &Fixture, unet: &UNet) -> Vec<f32> {
    if let Some(labels) = fixture.optional_numbers("labels") {
        return labels
            .iter()
            .flat_map(|&label| unet.class_vector(label as usize).unwrap())
            .collect();
    }
    let width = fixture.number("text_width") as usize;
    let text = fixture.drawn("text", &[2, width]);
    let sizes = fixture.rows("sizes");
    let sinusoid = Sinusoid { width: 32, ..unet.config().sinusoid() };
    let of_one = |(text, sizes): (&[f32], &Vec<f32>)| {
        size_vector(text, sizes.first_chunk::<6>().unwrap(), sinusoid)
    };
    text.chunks_exact(width).zip(&sizes).flat_map(of_one).collect()
}

fn guidance_of(fixture: &Fixture, config: &UNetConfig) -> Vec<f32> {
    let width = config.guidance_width.unwrap();
    fixture.numbers("guidance").iter().flat_map(|&w| guidance_embedding(w, width)).collect()
}

fn check_autoencoder(name: &str) {
    let fixture = Fixture::open(name);
    let weights = fixture.weights(names::autoencoder);
    let config = AutoencoderConfig::from_diffusers(fixture.config()).unwrap();
    let network = Autoencoder::load(&Weights::new(&weights), &config, Halves::Both).unwrap();
    let [image_shape, latent_shape] =
        ["image_shape", "latent_shape"].map(|field| fixture.shape(field));
    assert_eq!(image_shape.h, latent_shape.h * config.factor());
    assert_eq!(latent_shape.c, config.latent_channels());

    let encode = |g: &mut Graph, image| network.encode(g, image).unwrap();
    let encoding = through(image_shape, &fixture.drawn_for("image", image_shape), encode);
    assert_close(&format!("{name}: encoder"), &encoding, &fixture.output("encoding"), NETWORK);
    assert_eq!(network.latent(&encoding).len(), latent_shape.len());

    let decode = |g: &mut Graph, latent| network.decode(g, latent);
    let image = through(latent_shape, &fixture.drawn_for("latent", latent_shape), decode);
    assert_close(&format!("{name}: decoder"), &image, &fixture.output("image"), NETWORK);
}

/// What a network of one input makes of `data`.
fn through(
    shape: Shape,
    data: &[f32],
    forward: impl FnOnce(&mut Graph, Value) -> Value,
) -> Vec<f32> {
    let mut g = Graph::new();
    let x = g.input(shape, Rate::Run);
    let y = forward(&mut g, x);
    g.output(y);
    run(&g, [&vec![], &vec![], &vec![(x, data.to_vec())]], y)
}

fn check_text_encoder(name: &str) {
    let fixture = Fixture::open(name);
    let weights = fixture.weights(names::clip);
    let read = ClipTextConfig::from_diffusers(fixture.config()).unwrap();
    for (output, context) in [
        ("last", ContextLayer::Last),
        ("skip", ContextLayer::Skip(1)),
        ("skip_raw", ContextLayer::SkipRaw(1)),
    ] {
        let config = ClipTextConfig { context, ..read.clone() };
        let network = ClipText::load(&Weights::new(&weights), &config).unwrap();
        let tokens = fixture.tokens();
        let embedded: Vec<f32> =
            tokens.iter().flat_map(|tokens| network.embed(tokens).unwrap()).collect();
        let (n, length) = (tokens.len(), tokens[0].len());

        let mut g = Graph::new();
        let x = network.input(&mut g, n, length);
        let features = network.forward(&mut g, x);
        g.output(features.context);
        g.output(features.last);
        let given = [&vec![], &vec![], &vec![(x, embedded)]];
        let found = run(&g, given, features.context);
        assert_close(&format!("{name}: {output}"), &found, &fixture.output(output), NETWORK);

        let last = run(&g, given, features.last);
        let pooled = last.chunks_exact(length * config.width).zip(&tokens);
        let pooled: Vec<f32> = pooled.flat_map(|(last, t)| network.pooled(last, t)).collect();
        assert_close(&format!("{name}: pooled"), &pooled, &fixture.output("pooled"), NETWORK);
    }
}

macro_rules! parity {
    ($check:ident: $($name:ident)*) => {
        $(#[test] fn $name() { $check(stringify!($name)); })*
    };
}

parity!(check_unet:
    unet_sd1 unet_sd2 unet_sdxl unet_inpainting unet_guidance_embedded unet_pooled_text
    unet_no_attention_in_the_middle unet_unconditional unet_class unet_scale_shift unet_concat);
parity!(check_autoencoder:
    autoencoder_kl autoencoder_kl_without_quant_conv autoencoder_vq autoencoder_tiny);
parity!(check_text_encoder: clip open_clip);

/// A small UNet with a context, and its config.
fn small_unet() -> (UNetConfig, UNet) {
    let fixture = Fixture::open("unet_sd1");
    let weights = fixture.weights(names::unet);
    let config = UNetConfig::from_diffusers(fixture.config()).unwrap();
    let unet = UNet::load(&Weights::new(&weights), &config).unwrap();
    (config, unet)
}

/// Why the UNet cannot be planned for this switch and these sizes, if it cannot.
fn plan_error(switch: Conditioning, extent: UNetExtent) -> Option<String> {
    let (config, unet) = small_unet();
    let mut g = Graph::new();
    let inputs = switch.declare(&mut g, &config, extent);
    let noise = unet.forward(&mut g, &inputs);
    g.output(noise);
    Plan::new(&g).err().map(|error| error.to_string())
}

const EXTENT: UNetExtent = UNetExtent { batch: 1, height: 8, width: 8, tokens: 4 };

#[test]
fn a_switch_that_does_not_fit_the_unet_is_an_error_of_the_plan() {
    assert_eq!(plan_error(Conditioning::CrossAttention, EXTENT), None);
    let error = plan_error(Conditioning::None, EXTENT).unwrap();
    assert_eq!(error, "a convolution of 48 channels was given 32");
}

#[test]
fn a_latent_that_does_not_halve_is_an_error_of_the_plan() {
    let error = plan_error(Conditioning::CrossAttention, UNetExtent { height: 10, ..EXTENT });
    assert_eq!(error.unwrap(), "channels of [1, 5, 4, 64] put behind those of [1, 6, 4, 64]");
}

#[test]
fn keys_and_values_of_the_context_are_computed_by_the_setup_alone() {
    let (config, unet) = small_unet();
    let macs = |tokens| {
        let mut g = Graph::new();
        let extent = UNetExtent { tokens, ..EXTENT };
        let inputs = Conditioning::CrossAttention.declare(&mut g, &config, extent);
        let noise = unet.forward(&mut g, &inputs);
        g.output(noise);
        Plan::new(&g).unwrap().macs()
    };
    // A run attends to every further token, twice its positions times its channels in each of the
    // eleven transformers, but projects none.
    let attention: u64 = 2 * (5 * 64 * 32 + 5 * 16 * 64 + 4 * 64);
    assert_eq!(macs(5) - macs(4), attention);
}
