//! Which stored name holds which canonical tensor.
//!
//! Canonical names are those of the latent diffusion checkpoints, relative to the component: what
//! stands there behind `model.diffusion_model.`, `first_stage_model.` and
//! `cond_stage_model.transformer.text_model.`. Diffusers and transformers name the same tensors by
//! their own module trees. Each network's map is built from its config alone, in the order of
//! execution, so that a file written in that order streams.
//!
//! One choice departs from the old checkpoints: attention without context has `q`, `k` and `v`
//! apart, as in the autoencoder, in the UNet too. A fused `qkv` interleaves the heads and is taken
//! apart on reading ([`Cut::HeadThird`]).

mod autoencoder;
mod clip;
mod unet;

use std::collections::HashMap;

use super::{Component, Config, FileError};

pub use autoencoder::autoencoder;
pub use clip::{clip, open_clip, renamed_open_clip};
pub use unet::unet;

/// Pairs of module names, canonical and stored. A tensor's name is a module's, a dot, and a leaf
/// such as `weight`.
#[derive(Clone, Debug, Default)]
pub struct NameMap {
    modules: Vec<(String, String)>,
    by_stored: HashMap<String, usize>,
    by_canonical: HashMap<String, usize>,
}

impl NameMap {
    /// Adds a module, behind those that are computed before it.
    fn push(&mut self, canonical: impl Into<String>, stored: impl Into<String>) {
        let (canonical, stored) = (canonical.into(), stored.into());
        let next = self.modules.len();
        self.by_stored.insert(stored.clone(), next);
        self.by_canonical.insert(canonical.clone(), next);
        self.modules.push((canonical, stored));
    }

    /// Lets `stored` be a second stored name of a module that is already there.
    fn alias(&mut self, canonical: &str, stored: impl Into<String>) {
        if let Some(&i) = self.by_canonical.get(canonical) {
            self.by_stored.insert(stored.into(), i);
        }
    }

    /// Adds modules `canonical.a -> stored.b` for each `(a, b)`.
    fn push_all(&mut self, canonical: &str, stored: &str, leaves: &[(&str, &str)]) {
        for (a, b) in leaves {
            self.push(format!("{canonical}.{a}"), format!("{stored}.{b}"));
        }
    }

    /// The modules, canonical and stored, in the order of execution.
    pub fn modules(&self) -> impl Iterator<Item = (&str, &str)> {
        self.modules.iter().map(|(canonical, stored)| (canonical.as_str(), stored.as_str()))
    }

    /// The canonical name of the tensor stored as `stored`.
    pub fn canonical(&self, stored: &str) -> Option<String> {
        let (module, leaf) = stored.rsplit_once('.')?;
        let (canonical, _) = &self.modules[*self.by_stored.get(module)?];
        Some(format!("{canonical}.{leaf}"))
    }

    /// The stored name of the tensor that is canonically `canonical`.
    pub fn stored(&self, canonical: &str) -> Option<String> {
        let (module, leaf) = canonical.rsplit_once('.')?;
        let (_, stored) = &self.modules[*self.by_canonical.get(module)?];
        Some(format!("{stored}.{leaf}"))
    }

    /// Where the tensor `canonical` comes in the order of execution; unknown ones come last. A
    /// weight precedes its bias.
    pub fn rank(&self, canonical: &str) -> (usize, bool) {
        let (module, leaf) = canonical.rsplit_once('.').unwrap_or((canonical, ""));
        (self.by_canonical.get(module).copied().unwrap_or(usize::MAX), leaf == "bias")
    }
}

/// The map of a part's names, built from its config.
///
/// # Errors
/// When the config lacks what decides the layout.
pub fn map_of(component: Component, fields: Config<'_>) -> Result<NameMap, FileError> {
    match component {
        Component::Unet | Component::Upscaler => unet(fields),
        Component::Autoencoder => autoencoder(fields),
        Component::TextEncoder | Component::TextEncoder2 => clip(fields),
        Component::Scheduler => Ok(NameMap::default()),
    }
}

/// How a canonical tensor is got from a stored one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It is the stored tensor.
    Whole,
    /// Rows `part * n .. (part + 1) * n` of a stored `[3 n, ..]`: q, k or v of a fused projection.
    Third(usize),
    /// The same, of a projection fused head by head: for every head its q, k and v rows.
    HeadThird {
        /// 0, 1, 2 for q, k, v.
        part: usize,
        /// Rows of one head.
        head: usize,
    },
    /// The stored matrix, transposed.
    Transposed,
}

/// The parts of a UNet's fused `qkv` module, where `stored` is a tensor of one. `head` is the width
/// of a head.
pub fn fused_qkv(stored: &str, head: usize) -> Option<[(String, Cut); 3]> {
    let (module, leaf) = stored.rsplit_once('.')?;
    let block = module.strip_suffix(".qkv")?;
    let part = |part, letter| (format!("{block}.{letter}.{leaf}"), Cut::HeadThird { part, head });
    Some([part(0, 'q'), part(1, 'k'), part(2, 'v')])
}
