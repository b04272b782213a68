//! What a report says, as programs read it. Decibels and ratios that would be infinite, because
//! nothing differs, are `null`.

use serde::{Deserialize, Serialize};

use crate::calibrate::Inputs;

/// The version of this schema; it grows when a field changes its meaning or goes.
pub(crate) const SCHEMA: u32 = 1;

/// A model beside another one: most often what a conversion made of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The program and its version.
    pub tool: String,
    /// The model that is held to be right.
    pub original: Model,
    /// The model that is judged.
    pub other: Model,
    /// Bytes of every part.
    pub parts: Vec<Part>,
    /// What the numbers of the judged model are kept in, the widest first.
    pub encodings: Vec<EncodingShare>,
    /// Filters and matrices, in the order they work.
    pub layers: Vec<Layer>,
    /// Norms, biases and other vectors.
    pub vectors: Vectors,
    /// Pictures of the same prompts and seeds.
    pub pictures: Vec<Picture>,
    /// How far the latents are apart after every step.
    pub trajectory: Vec<StepError>,
    /// Means over the pictures; none where none were painted.
    pub quality: Option<Quality>,
    /// Seconds and memory that are predicted, not measured.
    pub boards: Vec<BoardPrediction>,
    /// How the encoding of each layer was chosen, where that is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Choice>,
}

/// A file or folder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Model {
    /// Its name, without its folder.
    pub name: String,
    /// Bytes of its tensors.
    pub bytes: u64,
    /// Numbers in them.
    pub parameters: u64,
}

/// A part of the model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Its name: text_encoder, unet, vae.
    pub part: String,
    /// Numbers in the original's tensors.
    pub parameters: u64,
    /// How many of them the judged model does without: another half of an autoencoder.
    pub parameters_left_out: u64,
    /// Bytes in the original.
    pub bytes_before: u64,
    /// Bytes in the judged model.
    pub bytes_after: u64,
}

/// How much of a model is kept in one encoding.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct EncodingShare {
    /// f32, f16, int8, int4, ...
    pub encoding: String,
    /// Numbers.
    pub parameters: u64,
    /// Their bytes, those of steps and multipliers included.
    pub bytes: u64,
}

/// A filter or matrix.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Layer {
    /// The part it belongs to.
    pub part: String,
    /// Canonical name, without `.weight`.
    pub layer: String,
    /// Its encoding in the judged model.
    pub encoding: String,
    /// Numbers.
    pub parameters: u64,
    /// Signal-to-noise ratio of the weights in decibels; `null` where they are identical.
    pub sqnr_db: Option<f64>,
}

/// Tensors of one dimension.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Vectors {
    /// How many.
    pub tensors: u64,
    /// How many differ.
    pub different: u64,
    /// The lowest signal-to-noise ratio of them in decibels.
    pub least_sqnr_db: Option<f64>,
}

/// A picture by both models.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Picture {
    /// What it should show.
    pub prompt: String,
    /// Where the noise starts.
    pub seed: u64,
    /// Peak signal-to-noise ratio in decibels; `null` where they are identical.
    pub psnr_db: Option<f64>,
    /// Structural similarity, 1 where they are identical.
    pub ssim: f64,
    /// Relative error of the latent that the decoder gets.
    pub latent_error: f64,
}

/// A step of the trajectory from noise to latent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct StepError {
    /// Steps done.
    pub step: usize,
    /// Length of the latents' difference over the original's length, the mean over the pictures.
    pub mean: f64,
    /// The largest of them.
    pub worst: f64,
}

/// What the pictures say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Quality {
    /// How many.
    pub pictures: usize,
    /// How many of them are identical.
    pub identical: usize,
    /// Steps of each.
    pub steps: usize,
    /// Mean peak signal-to-noise ratio of those that differ, in decibels; `null` where none does.
    pub mean_psnr_db: Option<f64>,
    /// The lowest of them.
    pub least_psnr_db: Option<f64>,
    /// Mean structural similarity of all.
    pub mean_ssim: f64,
}

/// One guided picture of the native size on a board. Predicted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct BoardPrediction {
    /// The name that `--board` takes.
    pub board: String,
    /// Its name for people.
    pub title: String,
    /// Predicted seconds of the picture by the judged model.
    pub predicted_seconds: f64,
    /// Predicted seconds of one of its steps.
    pub predicted_step_seconds: f64,
    /// Predicted seconds of the picture by the original.
    pub predicted_seconds_original: f64,
    /// Steps of the picture.
    pub steps: usize,
    /// Peak memory of the process in bytes, or the least that would do.
    pub peak_bytes: u64,
    /// The same of the original.
    pub peak_bytes_original: u64,
    /// Whether it fits.
    pub fits: bool,
    /// Whether the original fits.
    pub original_fits: bool,
    /// How it is made to fit, in words; empty where it simply does.
    pub memory: String,
}

/// Why a layer is kept as it is: what a search under a budget says of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Choice {
    /// The part it belongs to.
    pub part: String,
    /// Canonical name, without `.weight`.
    pub layer: String,
    /// Its encoding.
    pub encoding: String,
    /// How its values were found.
    pub method: String,
    /// What the model loses by it, in the unit of the search.
    pub sensitivity: f64,
    /// What it reads while the model paints in floating point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Inputs>,
}

impl Report {
    /// What static ranges of the layers' inputs would win over those the engine finds while it
    /// paints, in a sentence; none where nothing was heard.
    pub fn static_ranges(&self) -> Option<String> {
        let gains = self.choices.iter().filter_map(|choice| choice.inputs.as_ref());
        let gains: Vec<f64> = gains.map(Inputs::static_gain_db).collect();
        let most = gains.iter().copied().reduce(f64::max)?;
        let wins = gains.iter().filter(|gain| **gain > 0.0).count();
        let most = if wins > 0 { format!(", by {most:.1} dB at most") } else { String::new() };
        let all = gains.len();
        Some(format!(
            "Ranges fixed beforehand, one for each quarter of the way, would round the inputs of \
             {wins} of {all} layers better than those found while painting{most}."
        ))
    }
}
