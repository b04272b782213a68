//! The networks of latent diffusion, each built from a config.
//!
//! Every network is a struct of its weights, read through canonical names, and one `forward` that
//! writes its computation into a [`Graph`](pochade_engine::Graph). Feature maps are NHWC; `n` is
//! the batch, `h` and `w` are in latent pixels.

mod attention_block;
mod autoencoder;
mod autoencoder_blocks;
mod autoencoder_kl;
mod autoencoder_tiny;
mod autoencoder_vq;
mod clip_text;
mod conditioning;
mod config;
mod conv_stack_config;
mod resblock;
mod spatial_transformer;
mod table;
mod text_pool;
mod timestep;
mod unet;
mod unet_blocks;
mod unet_config;
mod unet_diffusers;

pub use autoencoder::{Autoencoder, AutoencoderConfig, Halves};
pub use autoencoder_kl::{AutoencoderKl, AutoencoderKlConfig, Posterior};
pub use autoencoder_tiny::{AutoencoderTiny, AutoencoderTinyConfig};
pub use autoencoder_vq::{AutoencoderVq, AutoencoderVqConfig};
pub use clip_text::{
    Activation, ClipText, ClipTextConfig, ClipTextFeatures, ContextLayer, TokenError,
};
pub use conditioning::{Conditioning, UNetExtent, UNetInputs};
pub use config::ConfigError;
pub use conv_stack_config::ConvStackConfig;
pub use timestep::{Sinusoid, guidance_embedding, size_vector};
pub use unet::UNet;
pub use unet_config::{
    Attention, Heads, LdmUNet, Level, Middle, Resample, UNetConfig, VectorInput,
};
