//! A checkpoint: the tensors of a whole model under the names of latent diffusion's own programs,
//! and nothing else: no configs, no tokenizer.
//!
//! ```text
//! model.diffusion_model.*                            UNet
//! first_stage_model.*                                autoencoder
//! cond_stage_model.transformer.text_model.*          text encoder (CLIP), Stable Diffusion 1
//! cond_stage_model.model.*                           text encoder (OpenCLIP), Stable Diffusion 2
//! conditioner.embedders.{0,1}.*                      both text encoders of Stable Diffusion XL
//! cond_stage_model.1.transformer.text_model.*        the second one in stable-diffusion.cpp's GGUF
//! ```
//! The configs are inferred from names and shapes ([`unet`], [`autoencoder`], [`text`],
//! [`scheduler`]). What shapes do not tell, the number of heads and of groups, is that of the
//! published models; a model that has others needs the configs of its diffusers folder.

mod autoencoder;
mod scheduler;
mod shapes;
mod text;
mod unet;

use std::collections::BTreeMap;

use serde_json::Value;

use super::loaded::Found;
use super::names::{self, Cut};
use super::{Component, ComponentWeights, Config, FileError, StoredTensor, TensorFile};
use scheduler::ROOT_TENSORS;
use shapes::Shapes;

/// What a network predicts, which its weights do not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Predicts {
    /// The noise: Stable Diffusion 1, Stable Diffusion 2 at 512 pixels, Stable Diffusion XL.
    #[default]
    Epsilon,
    /// The velocity: Stable Diffusion 2 at 768 pixels.
    Velocity,
}

impl Predicts {
    /// The word of diffusers' scheduler configs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Epsilon => "epsilon",
            Self::Velocity => "v_prediction",
        }
    }
}

/// How the tensors behind a prefix are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    /// Canonically, or as transformers or stable-diffusion.cpp name a text encoder's.
    Canonical,
    OpenClip,
}

/// Beginnings of names, what part they mean, and how the rest is named. The first that fits counts.
const PLACES: [(&str, Component, Names); 12] = {
    use Component::{Autoencoder, TextEncoder, TextEncoder2, Unet};
    use Names::{Canonical, OpenClip};
    [
        ("model.diffusion_model.", Unet, Canonical),
        ("first_stage_model.", Autoencoder, Canonical),
        ("cond_stage_model.1.transformer.text_model.", TextEncoder2, Canonical),
        ("cond_stage_model.1.transformer.", TextEncoder2, Canonical),
        ("cond_stage_model.transformer.1.text_model.", TextEncoder2, Canonical),
        ("cond_stage_model.transformer.1.", TextEncoder2, Canonical),
        ("conditioner.embedders.1.model.", TextEncoder2, OpenClip),
        ("cond_stage_model.transformer.text_model.", TextEncoder, Canonical),
        ("cond_stage_model.transformer.", TextEncoder, Canonical),
        ("cond_stage_model.model.", TextEncoder, OpenClip),
        ("conditioner.embedders.0.transformer.text_model.", TextEncoder, Canonical),
        ("conditioner.embedders.0.model.", TextEncoder, OpenClip),
    ]
};

/// The tensors of a checkpoint, in one file or several.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    files: Vec<TensorFile>,
}

impl Checkpoint {
    /// Takes the tensors of a checkpoint.
    ///
    /// # Errors
    /// When none of them is named as in latent diffusion's checkpoints.
    pub fn new(origin: &str, files: Vec<TensorFile>) -> Result<Self, FileError> {
        let mut names = files.iter().flat_map(TensorFile::tensors).map(|tensor| &tensor.name);
        if names.any(|name| place(name).is_some()) {
            return Ok(Self { files });
        }
        let problem = "none of its tensors is named as in latent diffusion's checkpoints \
                       (model.diffusion_model.*), so its architecture is not known; convert the \
                       diffusers folder of the whole model";
        Err(FileError::NotAModel { file: origin.to_owned(), problem: problem.to_owned() })
    }

    /// The files that the tensors are in.
    pub fn files(&self) -> &[TensorFile] {
        &self.files
    }

    pub(super) fn origin(&self) -> &str {
        self.files.first().map_or("", TensorFile::origin)
    }

    /// The configs of all parts, inferred from the tensors' names and shapes, with what names them
    /// in messages.
    pub(super) fn configs(
        &self,
        predicts: Option<Predicts>,
    ) -> Result<BTreeMap<Component, (String, Value)>, FileError> {
        let shapes = |part| self.shapes(part);
        let (unet, vae) = (shapes(Component::Unet), shapes(Component::Autoencoder));
        let (text, text_2) = (shapes(Component::TextEncoder), shapes(Component::TextEncoder2));
        let is_xl = !text_2.is_empty();
        for (shapes, part) in [(&unet, "UNet"), (&vae, "autoencoder"), (&text, "text encoder")] {
            if shapes.is_empty() {
                return Err(self.lacks(part));
            }
        }
        let predicts = predicts.unwrap_or_else(|| self.marked());
        let mut configs = vec![
            (Component::TextEncoder, text::config(&text, is_xl)?),
            (Component::Unet, unet::config(&unet, is_xl, predicts)?),
            (Component::Autoencoder, autoencoder::config(&vae, is_xl)?),
            (Component::Scheduler, scheduler::config(&self.files, is_xl, predicts)),
        ];
        if is_xl {
            configs.push((Component::TextEncoder2, text::config(&text_2, is_xl)?));
        }
        let named = |(part, config)| {
            (part, (format!("{}: inferred config of {part}", self.origin()), config))
        };
        Ok(configs.into_iter().map(named).collect())
    }

    /// The tensors of a part by canonical names, in the order of execution.
    pub(super) fn weights(
        &self,
        component: Component,
        fields: Config<'_>,
    ) -> Result<ComponentWeights, FileError> {
        let map = names::map_of(component, fields)?;
        let (mut found, mut unused) = (Vec::new(), Vec::new());
        for (file, tensor, stored) in self.tensors() {
            // What belongs to no part is told of once, with the UNet.
            let (part, mut names) =
                canonical_names(&stored.name).unwrap_or((Component::Unet, Vec::new()));
            if part != component || ROOT_TENSORS.contains(&stored.name.as_str()) {
                continue;
            }
            names.retain(|(name, _)| map.rank(name).0 != usize::MAX);
            if names.is_empty() {
                unused.push(stored.name.clone());
            }
            let place = |(name, cut)| Found { name, cut, file, tensor, hash: None };
            found.extend(names.into_iter().map(place));
        }
        found.sort_by_cached_key(|found| (map.rank(&found.name), found.name.clone()));
        ComponentWeights::new(self.origin().to_owned(), self.files.clone(), found, unused)
    }

    fn tensors(&self) -> impl Iterator<Item = (usize, usize, &StoredTensor)> {
        let of_file = |(file, table): (usize, &TensorFile)| {
            (0..table.tensors().len()).map(move |tensor| (file, tensor))
        };
        let places = self.files.iter().enumerate().flat_map(of_file);
        places.map(|(file, tensor)| (file, tensor, &self.files[file].tensors()[tensor]))
    }

    fn shapes(&self, component: Component) -> Shapes<'_> {
        let mut shapes = Shapes::new(self.origin());
        for (_, _, stored) in self.tensors() {
            if let Some((part, names)) = canonical_names(&stored.name)
                && part == component
            {
                names.into_iter().for_each(|(name, cut)| shapes.add(name, cut, &stored.shape));
            }
        }
        shapes
    }

    fn lacks(&self, part: &str) -> FileError {
        let problem = format!(
            "the checkpoint has no {part}; it must hold a UNet (model.diffusion_model.*), an \
             autoencoder (first_stage_model.*) and a text encoder (cond_stage_model.*)"
        );
        FileError::NotAModel { file: self.origin().to_owned(), problem }
    }

    /// What the network predicts, by the empty tensor that some programs mark a checkpoint with.
    fn marked(&self) -> Predicts {
        let marked = self.files.iter().any(|file| file.find("v_pred").is_some());
        if marked { Predicts::Velocity } else { Predicts::Epsilon }
    }
}

/// The part that a stored name belongs to, the rest of the name, and how that is to be read.
fn place(stored: &str) -> Option<(Component, &str, Names)> {
    PLACES.iter().find_map(|&(prefix, part, names)| {
        stored.strip_prefix(prefix).map(|rest| (part, rest, names))
    })
}

/// The part that a stored tensor belongs to and the canonical tensors that it holds.
fn canonical_names(stored: &str) -> Option<(Component, Vec<(String, Cut)>)> {
    let (part, rest, names) = place(stored)?;
    let names = match (part, names) {
        (_, Names::OpenClip) => names::open_clip(rest),
        (Component::TextEncoder | Component::TextEncoder2, _) => names::renamed_open_clip(rest),
        _ => vec![(rest.to_owned(), Cut::Whole)],
    };
    Some((part, names))
}
