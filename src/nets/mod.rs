//! The networks of latent diffusion, each built from a config.
