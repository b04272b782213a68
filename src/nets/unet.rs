//! The denoiser: a UNet over latents with residual blocks, attention and long skips (Rombach et al.
//! 2022, section 3.2 and figure 3; architecture of Dhariwal and Nichol 2021).

use std::sync::Arc;

use pochade_engine::{ConvSpec, Filter, Graph, Norm, Value};

use super::table::Table;
use super::text_pool::TextPool;
use super::timestep::{TimestepEmbedding, VectorMlp};
use super::unet_blocks::{Block, Conditions, Stack};
use super::{UNetConfig, UNetInputs, VectorInput};
use crate::files::{FileError, Weights};

/// The weights of a UNet, and the order in which a latent passes them.
#[derive(Clone, Debug)]
pub struct UNet {
    config: UNetConfig,
    time_embed: TimestepEmbedding,
    vector: VectorEmbedding,
    input_blocks: Vec<Block>,
    middle_block: Block,
    output_blocks: Vec<Block>,
    /// `[levels[0].channels]`.
    out_norm: Arc<Norm>,
    /// `[out_channels, levels[0].channels, 3, 3]`.
    out_conv: Arc<Filter>,
}

impl UNet {
    /// Reads the weights, named as below `model.diffusion_model.` in latent diffusion's
    /// checkpoints.
    ///
    /// # Errors
    /// When a tensor is missing or does not have the shape that `config` asks for.
    pub fn load(w: &Weights<'_>, config: &UNetConfig) -> Result<Self, FileError> {
        let first = config.levels.first().map_or(config.model_channels, |level| level.channels);
        let mut stack = Stack::new(w, config);
        Ok(Self {
            time_embed: TimestepEmbedding::load(
                &w.at("time_embed"),
                config.model_channels,
                config.time_embed_dim,
                config.guidance_width,
            )?,
            vector: VectorEmbedding::load(w, config)?,
            input_blocks: stack.input_blocks()?,
            middle_block: stack.middle_block()?,
            output_blocks: stack.output_blocks()?,
            out_norm: w.at("out.0").norm(first)?,
            out_conv: w.at("out.2").conv(config.out_channels, first, 3)?,
            config: config.clone(),
        })
    }

    /// The architecture.
    pub fn config(&self) -> &UNetConfig {
        &self.config
    }

    /// The input vector `[time_embed_dim]` of class `label`, if this UNet knows that class.
    pub fn class_vector(&self, label: usize) -> Option<Vec<f32>> {
        match &self.vector {
            VectorEmbedding::Classes(table) => table.row(label),
            _ => None,
        }
    }

    /// One denoising step: `latent: [n, h, w, latent channels]` and its conditioning -> `[n, h, w,
    /// out_channels]`.
    pub fn forward(&self, g: &mut Graph, inputs: &UNetInputs) -> Value {
        let emb = self.embed(g, inputs); // [n, time_embed_dim]
        let conditions = Conditions { emb, context: inputs.context };
        let mut h = inputs.concat.map_or(inputs.latent, |extra| g.concat(inputs.latent, extra));
        let mut skips = Vec::new();
        for block in &self.input_blocks {
            h = block.forward(g, h, conditions);
            skips.push(h);
        }
        h = self.middle_block.forward(g, h, conditions);
        for (block, skip) in self.output_blocks.iter().zip(skips.into_iter().rev()) {
            h = g.concat(h, skip);
            h = block.forward(g, h, conditions);
        }
        let h = g.group_norm(h, &self.out_norm, self.config.groups, self.config.norm_eps);
        let h = g.silu(h);
        g.conv(h, &self.out_conv, ConvSpec::same(3))
    }

    /// The embedded time with what joins it, after SiLU (which every residual block begins with).
    fn embed(&self, g: &mut Graph, inputs: &UNetInputs) -> Value {
        let time = self.time_embed.forward(g, inputs.timestep, inputs.guidance);
        let vector = self.vector.forward(g, inputs);
        let emb = vector.map_or(time, |vector| g.add(time, vector));
        g.silu(emb)
    }
}

/// How a vector becomes a summand of the embedded time.
#[derive(Clone, Debug)]
enum VectorEmbedding {
    None,
    /// `[classes, time_embed_dim]`; looked up outside the graph.
    Classes(Table),
    Projection(VectorMlp),
    PooledContext(TextPool),
}

impl VectorEmbedding {
    fn load(w: &Weights<'_>, config: &UNetConfig) -> Result<Self, FileError> {
        let dim = config.time_embed_dim;
        Ok(match config.vector {
            VectorInput::None => Self::None,
            VectorInput::Classes(classes) => {
                Self::Classes(Table::load(&w.at("label_emb"), "weight", [classes, dim])?)
            }
            VectorInput::Projection(width) => {
                Self::Projection(VectorMlp::load(&w.at("label_emb.0"), width, dim)?)
            }
            VectorInput::PooledContext(heads) => {
                let width = config.context_width.unwrap_or(0);
                Self::PooledContext(TextPool::load(&w.at("text_pool"), (width, dim), heads)?)
            }
        })
    }

    /// `[n, time_embed_dim]`.
    fn forward(&self, g: &mut Graph, inputs: &UNetInputs) -> Option<Value> {
        match self {
            Self::None => None,
            Self::Classes(_) => inputs.vector,
            Self::Projection(mlp) => inputs.vector.map(|vector| mlp.forward(g, vector)),
            Self::PooledContext(pool) => inputs.context.map(|context| pool.forward(g, context)),
        }
    }
}
