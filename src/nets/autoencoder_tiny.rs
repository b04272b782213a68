//! The tiny autoencoder (TAESD; `AutoencoderTiny` in diffusers): plain residual blocks of one
//! width, no norms, no attention. It decodes Stable Diffusion's latents for a hundredth of the
//! work.

use std::sync::Arc;

use pochade_engine::{ConvSpec, Filter, Graph, Padding, Pointwise, Value};
use serde_json::{Value as Json, json};

use super::config::{Fields, MAX_CHANNELS, MAX_LAYERS, MAX_LEVELS};
use super::{ConfigError, Halves};
use crate::files::{FileError, Weights};

/// The decoder limits its latents to this by a hyperbolic tangent.
const LATENT_LIMIT: f32 = 3.0;

/// Architecture of an [`AutoencoderTiny`].
#[derive(Clone, Debug, PartialEq)]
pub struct AutoencoderTinyConfig {
    /// Channels of the picture that is encoded.
    pub in_channels: usize,
    /// Channels of the picture that is decoded.
    pub out_channels: usize,
    /// Channels of the latent.
    pub latent_channels: usize,
    /// Width of all the encoder's layers.
    pub encoder_width: usize,
    /// Residual blocks of the encoder, from the full resolution down.
    pub encoder_blocks: Vec<usize>,
    /// Width of all the decoder's layers.
    pub decoder_width: usize,
    /// Residual blocks of the decoder, from the lowest resolution up.
    pub decoder_blocks: Vec<usize>,
    /// The denoiser works on `(latent - shift_factor) * scaling_factor`.
    pub scaling_factor: f32,
    /// See `scaling_factor`.
    pub shift_factor: f32,
}

impl AutoencoderTinyConfig {
    /// TAESD: 1.2 M parameters in each half.
    pub fn taesd() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            latent_channels: 4,
            encoder_width: 64,
            encoder_blocks: vec![1, 3, 3, 3],
            decoder_width: 64,
            decoder_blocks: vec![3, 3, 3, 1],
            scaling_factor: 1.0,
            shift_factor: 0.0,
        }
    }

    /// Reads the config of diffusers' `AutoencoderTiny`.
    ///
    /// # Errors
    /// Names the first field with a value that is not supported.
    pub fn from_diffusers(json: &Json) -> Result<Self, ConfigError> {
        let fields = Fields::new("AutoencoderTiny", json)?;
        fields.expect_class()?;
        fields.only("act_fn", json!("relu"))?;
        fields.only("upsample_fn", json!("nearest"))?;
        fields.only("upsampling_scaling_factor", json!(2))?;
        let (encoder_width, encoder_blocks) =
            read_half(&fields, ["encoder_block_out_channels", "num_encoder_blocks"], [1, 3, 3, 3])?;
        let (decoder_width, decoder_blocks) =
            read_half(&fields, ["decoder_block_out_channels", "num_decoder_blocks"], [3, 3, 3, 1])?;
        if encoder_blocks.len() != decoder_blocks.len() {
            let wanted = format!("as many levels as the encoder, {}", encoder_blocks.len());
            return Err(fields.unsupported("num_decoder_blocks", wanted));
        }
        Ok(Self {
            in_channels: fields.count("in_channels", 3, MAX_CHANNELS)?,
            out_channels: fields.count("out_channels", 3, MAX_CHANNELS)?,
            latent_channels: fields.count("latent_channels", 4, MAX_CHANNELS)?,
            encoder_width,
            encoder_blocks,
            decoder_width,
            decoder_blocks,
            scaling_factor: fields.positive("scaling_factor", 1.0)?,
            shift_factor: fields.number("shift_factor", 0.0)?,
        })
    }

    /// Pixels per latent pixel, in each direction.
    pub fn factor(&self) -> usize {
        2_usize.saturating_pow(self.decoder_blocks.len().saturating_sub(1) as u32)
    }
}

/// The width and the block counts of one half.
fn read_half(
    fields: &Fields<'_>,
    [widths, blocks]: [&str; 2],
    default: [usize; 4],
) -> Result<(usize, Vec<usize>), ConfigError> {
    let channels = fields.counts(widths, &[64; 4], (1, MAX_CHANNELS))?;
    let counts = fields.counts(blocks, &default, (0, MAX_LAYERS))?;
    if channels.iter().any(|&c| c != channels[0]) {
        return Err(fields.unsupported(widths, "one width for all levels"));
    }
    if channels.len() != counts.len() || channels.len() > MAX_LEVELS {
        let wanted = format!("a list of {}, of up to {MAX_LEVELS} levels", channels.len());
        return Err(fields.unsupported(blocks, wanted));
    }
    Ok((channels[0], counts))
}

/// The weights of a tiny autoencoder.
#[derive(Clone, Debug)]
pub struct AutoencoderTiny {
    encoder: Option<Vec<Layer>>,
    decoder: Vec<Layer>,
}

impl AutoencoderTiny {
    /// Reads `encoder` and `decoder`, whose layers are numbered as in diffusers' `layers`: those
    /// without weights count.
    ///
    /// # Errors
    /// When a tensor is missing or does not have the shape that `config` asks for.
    pub fn load(
        w: &Weights<'_>,
        config: &AutoencoderTinyConfig,
        halves: Halves,
    ) -> Result<Self, FileError> {
        let encoder = || load_encoder(w.at("encoder"), config);
        Ok(Self {
            encoder: (halves == Halves::Both).then(encoder).transpose()?,
            decoder: load_decoder(w.at("decoder"), config)?,
        })
    }

    /// `image: [n, h, w, 3]` in -1..1 -> latent `[n, h / f, w / f, latent_channels]`; nothing when
    /// only the decoder was loaded.
    pub fn encode(&self, g: &mut Graph, image: Value) -> Option<Value> {
        let encoder = self.encoder.as_ref()?;
        let unit = g.pointwise(image, Pointwise::Affine { scale: 0.5, shift: 0.5 });
        Some(pass(g, unit, encoder))
    }

    /// `latent: [n, h, w, latent_channels]` -> image `[n, f h, f w, 3]`, about -1..1.
    pub fn decode(&self, g: &mut Graph, latent: Value) -> Value {
        let scaled = scale(g, latent, 1.0 / LATENT_LIMIT);
        let bounded = g.pointwise(scaled, Pointwise::Tanh);
        let limited = scale(g, bounded, LATENT_LIMIT);
        let unit = pass(g, limited, &self.decoder);
        g.pointwise(unit, Pointwise::Affine { scale: 2.0, shift: -1.0 })
    }
}

fn scale(g: &mut Graph, x: Value, scale: f32) -> Value {
    g.pointwise(x, Pointwise::Affine { scale, shift: 0.0 })
}

fn pass(g: &mut Graph, x: Value, layers: &[Layer]) -> Value {
    layers.iter().fold(x, |h, layer| layer.forward(g, h))
}

/// Per level a convolution (at stride 2 but for the first) and its blocks; then the convolution to
/// the latent.
fn load_encoder(w: Weights<'_>, config: &AutoencoderTinyConfig) -> Result<Vec<Layer>, FileError> {
    let c = config.encoder_width;
    let mut layers = Numbered { w, number: 0, layers: Vec::new() };
    for (level, &blocks) in config.encoder_blocks.iter().enumerate() {
        if level == 0 {
            layers.conv(c, config.in_channels, ConvSpec::same(3))?;
        } else {
            layers.conv(c, c, ConvSpec::down(Padding::same(1)))?;
        }
        layers.blocks(blocks, c)?;
    }
    layers.conv(config.latent_channels, c, ConvSpec::same(3))?;
    Ok(layers.layers)
}

/// Convolution and ReLU; per level its blocks, then doubling and a convolution, but for the last,
/// whose convolution gives the picture.
fn load_decoder(w: Weights<'_>, config: &AutoencoderTinyConfig) -> Result<Vec<Layer>, FileError> {
    let c = config.decoder_width;
    let mut layers = Numbered { w, number: 0, layers: Vec::new() };
    layers.conv(c, config.latent_channels, ConvSpec::same(3))?;
    layers.push(Layer::Relu);
    for (level, &blocks) in config.decoder_blocks.iter().enumerate() {
        layers.blocks(blocks, c)?;
        if level + 1 == config.decoder_blocks.len() {
            layers.conv(config.out_channels, c, ConvSpec::same(3))?;
        } else {
            layers.number += 1; // the doubling has a number of its own
            layers.conv(c, c, ConvSpec::up(3))?;
        }
    }
    Ok(layers.layers)
}

/// Layers read one after the other by their numbers.
struct Numbered<'a> {
    w: Weights<'a>,
    number: usize,
    layers: Vec<Layer>,
}

impl Numbered<'_> {
    fn push(&mut self, layer: Layer) {
        self.layers.push(layer);
        self.number += 1;
    }

    fn conv(&mut self, outputs: usize, inputs: usize, spec: ConvSpec) -> Result<(), FileError> {
        let filter = self.w.at(self.number).conv(outputs, inputs, 3)?;
        self.push(Layer::Conv(filter, spec));
        Ok(())
    }

    fn blocks(&mut self, count: usize, c: usize) -> Result<(), FileError> {
        for _ in 0..count {
            let block = TinyBlock::load(&self.w.at(self.number), c)?;
            self.push(Layer::Block(block));
        }
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Layer {
    /// `[c_out, c_in, 3, 3]`.
    Conv(Arc<Filter>, ConvSpec),
    Relu,
    Block(TinyBlock),
}

impl Layer {
    fn forward(&self, g: &mut Graph, x: Value) -> Value {
        match self {
            Self::Conv(filter, spec) => g.conv(x, filter, *spec),
            Self::Relu => g.pointwise(x, Pointwise::Relu),
            Self::Block(block) => block.forward(g, x),
        }
    }
}

/// Three convolutions with ReLU between them, beside a shortcut, and a ReLU over the sum.
#[derive(Clone, Debug)]
struct TinyBlock {
    /// Each `[c, c, 3, 3]`.
    convs: [Arc<Filter>; 3],
}

impl TinyBlock {
    fn load(w: &Weights<'_>, c: usize) -> Result<Self, FileError> {
        let w = w.at("conv");
        let conv = |i: usize| w.at(i).conv(c, c, 3);
        Ok(Self { convs: [conv(0)?, conv(2)?, conv(4)?] })
    }

    /// `[n, h, w, c] -> [n, h, w, c]`.
    fn forward(&self, g: &mut Graph, x: Value) -> Value {
        let [first, second, third] = &self.convs;
        let h = g.conv(x, first, ConvSpec::same(3));
        let h = g.pointwise(h, Pointwise::Relu);
        let h = g.conv(h, second, ConvSpec::same(3));
        let h = g.pointwise(h, Pointwise::Relu);
        let h = g.conv(h, third, ConvSpec::same(3));
        let h = g.add(h, x);
        g.pointwise(h, Pointwise::Relu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_without_fields_is_taesd() {
        let config = AutoencoderTinyConfig::from_diffusers(&json!({}));
        assert_eq!(config, Ok(AutoencoderTinyConfig::taesd()));
        assert_eq!(AutoencoderTinyConfig::taesd().factor(), 8);
    }

    #[test]
    fn a_level_may_have_no_blocks() {
        let json = json!({ "num_encoder_blocks": [0, 3, 3, 3] });
        let config = AutoencoderTinyConfig::from_diffusers(&json).unwrap();
        assert_eq!(config.encoder_blocks, [0, 3, 3, 3]);
    }

    #[test]
    fn unsupported_fields_are_named() {
        for (field, value) in [
            ("act_fn", json!("gelu")),
            ("decoder_block_out_channels", json!([64, 32, 64, 64])),
            ("num_decoder_blocks", json!([1, 1])),
            ("num_encoder_blocks", json!([1, 1, 1, 1_000_000])),
            ("upsampling_scaling_factor", json!(4)),
            ("latent_channels", json!(0)),
        ] {
            let message = AutoencoderTinyConfig::from_diffusers(&json!({ field: value }));
            let message = message.unwrap_err().to_string();
            assert!(message.contains(&format!("'{field}'")), "{message}");
        }
    }
}
