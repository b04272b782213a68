//! The scheduler's config of a checkpoint: the schedule of Stable Diffusion, from the betas where
//! the checkpoint has them.

use serde_json::{Value, json};

use super::Predicts;
use crate::files::TensorFile;

/// Tensors that belong to no network and are not missed.
pub(super) const ROOT_TENSORS: [&str; 4] = ["betas", "alphas_cumprod", "v_pred", "ztsnr"];

/// More timesteps than any model was trained with.
const MOST_TIMESTEPS: usize = 10_000;

pub(super) fn config(files: &[TensorFile], is_xl: bool, predicts: Predicts) -> Value {
    let betas = files.iter().find_map(betas).unwrap_or_else(|| vec![0.00085, 0.012]);
    let timesteps = if betas.len() > 2 { betas.len() } else { 1000 };
    let end = |value: Option<&f32>| value.copied().and_then(shortest);
    let mut config = json!({
        "_class_name": if is_xl { "EulerDiscreteScheduler" } else { "DDIMScheduler" },
        "beta_schedule": "scaled_linear",
        "beta_start": end(betas.first()),
        "beta_end": end(betas.last()),
        "num_train_timesteps": timesteps,
        "prediction_type": predicts.word(),
        "timestep_spacing": "leading",
        "steps_offset": 1,
        "clip_sample": false,
        "set_alpha_to_one": false,
    });
    if files.iter().any(|file| file.find("ztsnr").is_some()) {
        config["rescale_betas_zero_snr"] = true.into();
        config["timestep_spacing"] = "trailing".into();
    }
    config
}

/// The noise per timestep, where the checkpoint has it and it is the square of a line.
fn betas(file: &TensorFile) -> Option<Vec<f32>> {
    let tensor =
        file.find("betas").filter(|tensor| (3..=MOST_TIMESTEPS).contains(&tensor.len()))?;
    let betas = file.view_of(tensor).ok()?.to_f32();
    let roots: Vec<f64> = betas.iter().map(|beta| f64::from(*beta).sqrt()).collect();
    let (first, last) = (roots[0], roots[roots.len() - 1]);
    let step = (last - first) / (roots.len() - 1) as f64;
    let straight = |(i, root): (usize, &f64)| (root - (first + i as f64 * step)).abs() < 1e-5;
    (first > 0.0 && last < 1.0 && roots.iter().enumerate().all(straight)).then_some(betas)
}

/// The shortest decimal that is this f32, as people write it.
fn shortest(value: f32) -> Option<f64> {
    value.to_string().parse().ok()
}
