//! CLIP's text transformer (Radford et al. 2021) and OpenCLIP's, the conditioning stage of Stable
//! Diffusion: tokens in, one vector per token out.

use std::fmt;
use std::sync::Arc;

use pochade_engine::{Filter, Graph, Mask, Norm, Pointwise, Rate, Shape, Value};
use serde_json::Value as Json;

use super::ConfigError;
use super::config::{Fields, MAX_CHANNELS, MAX_LAYERS, MAX_ROWS};
use super::table::Table;
use crate::files::{FileError, Weights};

/// Architecture of a [`ClipText`].
#[derive(Clone, Debug, PartialEq)]
pub struct ClipTextConfig {
    /// Tokens in the vocabulary.
    pub vocabulary: usize,
    /// Tokens in the longest prompt, its first and last included.
    pub positions: usize,
    /// Width of a token's vector.
    pub width: usize,
    /// Width inside the feed-forward layers.
    pub feed_forward: usize,
    /// Transformer layers.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Between the feed-forward layers.
    pub activation: Activation,
    /// Epsilon of the layer norms.
    pub norm_eps: f32,
    /// The token that ends a prompt.
    pub end_token: u32,
    /// Where the context is read.
    pub context: ContextLayer,
    /// Width of the projected pooled vector, where there is a projection.
    pub projection: Option<usize>,
}

/// The feed-forward layers' nonlinearity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x * Phi(x)`: OpenCLIP.
    Gelu,
    /// `x * sigmoid(1.702 x)`: CLIP.
    QuickGelu,
}

/// The layer whose output is the context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContextLayer {
    /// The last one, after the final norm.
    Last,
    /// So many layers before the last, after the final norm ("clip skip"; Stable Diffusion 2 with
    /// 1).
    Skip(usize),
    /// So many layers before the last, as it is (Stable Diffusion XL with 1).
    SkipRaw(usize),
}

impl ClipTextConfig {
    /// CLIP ViT-L/14: Stable Diffusion 1.
    pub fn vit_l() -> Self {
        Self {
            vocabulary: 49408,
            positions: 77,
            width: 768,
            feed_forward: 3072,
            layers: 12,
            heads: 12,
            activation: Activation::QuickGelu,
            norm_eps: 1e-5,
            end_token: 49407,
            context: ContextLayer::Last,
            projection: None,
        }
    }

    /// Reads the config of `CLIPTextModel` or `CLIPTextModelWithProjection` of transformers. The
    /// context is the last layer's; a pipeline that skips layers says so in
    /// [`ClipTextConfig::context`].
    ///
    /// # Errors
    /// Names the first field with a value that is not supported.
    pub fn from_diffusers(json: &Json) -> Result<Self, ConfigError> {
        let fields = Fields::new("CLIPTextModel", json)?;
        let class = fields.words("architectures", &["CLIPTextModel"])?.first().copied();
        let projects = match class {
            Some("CLIPTextModel" | "CLIPModel") | None => false,
            Some("CLIPTextModelWithProjection") => true,
            Some(_) => {
                let wanted = "CLIPTextModel, CLIPTextModelWithProjection";
                return Err(fields.unsupported("architectures", wanted));
            }
        };
        let width = fields.count("hidden_size", 512, MAX_CHANNELS)?;
        let heads = fields.count("num_attention_heads", 8, MAX_CHANNELS)?;
        fields.divides("num_attention_heads", heads, &[width])?;
        let vocabulary = fields.count("vocab_size", 49408, MAX_ROWS)?;
        let projection = fields.count("projection_dim", 512, MAX_CHANNELS)?;
        Ok(Self {
            vocabulary,
            positions: fields.count("max_position_embeddings", 77, MAX_ROWS)?,
            width,
            feed_forward: fields.count("intermediate_size", 2048, MAX_CHANNELS)?,
            layers: fields.count("num_hidden_layers", 12, MAX_LAYERS)?,
            heads,
            activation: match fields.one_of("hidden_act", "quick_gelu", &["quick_gelu", "gelu"])? {
                "gelu" => Activation::Gelu,
                _ => Activation::QuickGelu,
            },
            norm_eps: fields.positive("layer_norm_eps", 1e-5)?,
            end_token: fields.count("eos_token_id", 49407, MAX_ROWS)? as u32,
            context: ContextLayer::Last,
            projection: projects.then_some(projection),
        })
    }

    /// Layers that the context has passed.
    fn context_layers(&self) -> usize {
        match self.context {
            ContextLayer::Last => self.layers,
            ContextLayer::Skip(n) | ContextLayer::SkipRaw(n) => self.layers.saturating_sub(n),
        }
    }
}

/// A prompt's tokens do not fit the text encoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// A token is not in the vocabulary.
    Unknown {
        /// The token.
        token: u32,
        /// Tokens in the vocabulary.
        vocabulary: usize,
    },
    /// There are more tokens than positions.
    TooMany {
        /// The prompt's tokens.
        tokens: usize,
        /// What the text encoder was trained with.
        positions: usize,
    },
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { token, vocabulary } => {
                write!(f, "token {token} is not among the text encoder's {vocabulary}")
            }
            Self::TooMany { tokens, positions } => {
                write!(f, "{tokens} tokens are more than the text encoder's {positions} positions")
            }
        }
    }
}

impl std::error::Error for TokenError {}

/// The values that a prompt becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClipTextFeatures {
    /// What a UNet attends to: `[n, tokens, width]`.
    pub context: Value,
    /// The last layer after the final norm, `[n, tokens, width]`, which [`ClipText::pooled`] reads.
    pub last: Value,
}

/// The weights of a text encoder.
#[derive(Clone, Debug)]
pub struct ClipText {
    config: ClipTextConfig,
    /// `[vocabulary, width]`.
    token_embedding: Table,
    /// `[positions, width]`.
    position_embedding: Table,
    layers: Vec<Layer>,
    /// `[width]`.
    final_layer_norm: Arc<Norm>,
    /// `[projection, width]`.
    text_projection: Option<Table>,
}

impl ClipText {
    /// Reads the weights, named as in transformers without their `text_model.` prefix.
    ///
    /// # Errors
    /// When a tensor is missing or does not have the shape that `config` asks for.
    pub fn load(w: &Weights<'_>, config: &ClipTextConfig) -> Result<Self, FileError> {
        let (layers, embeddings, width) =
            (w.at("encoder.layers"), w.at("embeddings"), config.width);
        let table = |name, rows| Table::load(&embeddings.at(name), "weight", [rows, width]);
        let project = |rows| Table::load(&w.at("text_projection"), "weight", [rows, width]);
        Ok(Self {
            token_embedding: table("token_embedding", config.vocabulary)?,
            position_embedding: table("position_embedding", config.positions)?,
            layers: (0..config.layers)
                .map(|i| Layer::load(&layers.at(i), config))
                .collect::<Result<_, _>>()?,
            final_layer_norm: w.at("final_layer_norm").norm(width)?,
            text_projection: config.projection.map(project).transpose()?,
            config: config.clone(),
        })
    }

    /// The architecture.
    pub fn config(&self) -> &ClipTextConfig {
        &self.config
    }

    /// Declares the input of a graph: `[n, tokens, width]`.
    pub fn input(&self, g: &mut Graph, n: usize, tokens: usize) -> Value {
        g.input(Shape::tokens(n, tokens, self.config.width), Rate::Run)
    }

    /// One prompt's tokens as vectors, each with its position's added: `[tokens, width]`.
    ///
    /// # Errors
    /// When a token is not in the vocabulary, or there are more tokens than positions.
    pub fn embed(&self, tokens: &[u32]) -> Result<Vec<f32>, TokenError> {
        let (vocabulary, positions) = (self.config.vocabulary, self.config.positions);
        let mut embedded = Vec::new();
        for (i, &token) in tokens.iter().enumerate() {
            let row = self.token_embedding.row(token as usize);
            let row = row.ok_or(TokenError::Unknown { token, vocabulary })?;
            let position = self.position_embedding.row(i);
            let position =
                position.ok_or(TokenError::TooMany { tokens: tokens.len(), positions })?;
            embedded.extend(row.iter().zip(position).map(|(a, b)| a + b));
        }
        Ok(embedded)
    }

    /// `x: [n, tokens, width]`, embedded tokens -> one vector per token.
    pub fn forward(&self, g: &mut Graph, x: Value) -> ClipTextFeatures {
        let mut h = x;
        let mut context = x;
        for (i, layer) in self.layers.iter().enumerate() {
            h = layer.forward(g, h);
            if i + 1 == self.config.context_layers() {
                context = h;
            }
        }
        let last = self.final_norm(g, h);
        let context = match self.config.context {
            ContextLayer::Last => last,
            ContextLayer::Skip(_) => self.final_norm(g, context),
            ContextLayer::SkipRaw(_) => context,
        };
        ClipTextFeatures { context, last }
    }

    /// One prompt's vector: the last layer `[tokens, width]` at the end token, projected where the
    /// model projects.
    pub fn pooled(&self, last: &[f32], tokens: &[u32]) -> Vec<f32> {
        let width = self.config.width;
        let row = last.chunks_exact(width.max(1)).nth(self.end_position(tokens)).unwrap_or(&[]);
        self.text_projection.as_ref().map_or_else(|| row.to_vec(), |table| table.times(row))
    }

    /// Position of the first end token. Configs that say 2 were written in error: there the largest
    /// token ends the prompt.
    fn end_position(&self, tokens: &[u32]) -> usize {
        let end = match self.config.end_token {
            2 => tokens.iter().max().copied().unwrap_or(2),
            end => end,
        };
        tokens.iter().position(|&token| token == end).unwrap_or(0)
    }

    fn final_norm(&self, g: &mut Graph, x: Value) -> Value {
        g.layer_norm(x, &self.final_layer_norm, self.config.norm_eps)
    }
}

/// Causal self-attention and a feed-forward layer, each behind a layer norm and beside a shortcut.
#[derive(Clone, Debug)]
struct Layer {
    heads: usize,
    eps: f32,
    activation: Pointwise,
    /// `[width]`.
    layer_norm1: Arc<Norm>,
    /// Query, key and value, each `[width, width]`.
    qkv: [Arc<Filter>; 3],
    /// `[width, width]`.
    out_proj: Arc<Filter>,
    /// `[width]`.
    layer_norm2: Arc<Norm>,
    /// `[feed_forward, width]`.
    fc1: Arc<Filter>,
    /// `[width, feed_forward]`.
    fc2: Arc<Filter>,
}

impl Layer {
    fn load(w: &Weights<'_>, config: &ClipTextConfig) -> Result<Self, FileError> {
        let (attention, mlp) = (w.at("self_attn"), w.at("mlp"));
        let (c, hidden) = (config.width, config.feed_forward);
        let proj = |name| attention.at(name).linear(c, c);
        Ok(Self {
            heads: config.heads,
            eps: config.norm_eps,
            activation: match config.activation {
                Activation::Gelu => Pointwise::Gelu,
                Activation::QuickGelu => Pointwise::QuickGelu,
            },
            layer_norm1: w.at("layer_norm1").norm(c)?,
            qkv: [proj("q_proj")?, proj("k_proj")?, proj("v_proj")?],
            out_proj: proj("out_proj")?,
            layer_norm2: w.at("layer_norm2").norm(c)?,
            fc1: mlp.at("fc1").linear(hidden, c)?,
            fc2: mlp.at("fc2").linear(c, hidden)?,
        })
    }

    /// `[n, tokens, width] -> [n, tokens, width]`.
    fn forward(&self, g: &mut Graph, x: Value) -> Value {
        let h = g.layer_norm(x, &self.layer_norm1, self.eps);
        let [q, k, v] = self.qkv.each_ref().map(|filter| g.linear(h, filter));
        let h = g.attention(q, k, v, self.heads, Mask::Causal);
        let h = g.linear(h, &self.out_proj);
        let x = g.add(h, x);
        let h = g.layer_norm(x, &self.layer_norm2, self.eps);
        let h = g.linear(h, &self.fc1);
        let h = g.pointwise(h, self.activation);
        let h = g.linear(h, &self.fc2);
        g.add(h, x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_config_of_stable_diffusion_1_is_vit_l() {
        let config = ClipTextConfig::from_diffusers(&json!({
            "architectures": ["CLIPTextModel"], "hidden_size": 768, "intermediate_size": 3072,
            "num_attention_heads": 12, "projection_dim": 768,
        }));
        assert_eq!(config, Ok(ClipTextConfig::vit_l()));
    }

    #[test]
    fn unsupported_fields_are_named() {
        for (field, value) in [
            ("hidden_act", json!("relu")),
            ("architectures", json!(["T5EncoderModel"])),
            ("num_attention_heads", json!(7)),
            ("hidden_size", json!(1e10)),
            ("vocab_size", json!(0)),
            ("layer_norm_eps", json!(0.0)),
            ("eos_token_id", json!([2, 3])),
        ] {
            let message = ClipTextConfig::from_diffusers(&json!({ field: value }));
            let message = message.unwrap_err().to_string();
            assert!(message.contains(&format!("'{field}'")), "{message}");
        }
    }
}
