//! The attribute reader: a small network that tells what a picture of the default model's world
//! shows. It was trained on the renderer alone, and runs on tract, so that the engine that paints is
//! not the one that judges.

use std::sync::Arc;

use anyhow::Context;
use image::RgbImage;
use tract_onnx::prelude::*;

use super::EvalError;

/// What the reader looks at: a square of so many pixels.
const SIDE: usize = 64;

/// What the reader makes of a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// `[128]`, for distances.
    pub features: Vec<f32>,
    /// Of all attributes' classes, side by side.
    pub logits: Vec<f32>,
}

/// The network, ready to run.
#[derive(Debug)]
pub struct Reader {
    plan: Arc<TypedRunnableModel>,
}

impl Reader {
    /// Reads the network from the bytes of an ONNX file.
    ///
    /// # Errors
    /// When they are none, or ask for what tract does not know.
    pub fn new(onnx: &[u8]) -> Result<Self, EvalError> {
        let read =
            || tract_onnx::onnx().model_for_read(&mut &*onnx)?.into_optimized()?.into_runnable();
        Ok(Self { plan: read().map_err(EvalError::reader)? })
    }

    /// Reads a picture of any size.
    ///
    /// # Errors
    /// When the network has other inputs or outputs than it should.
    pub fn read(&self, picture: &RgbImage) -> Result<Reading, EvalError> {
        let input = Tensor::from_shape(&[1, 3, SIDE, SIDE], &shrunk(picture));
        let read = || {
            let outputs = self.plan.run(tvec!(input?.into()))?;
            let values = |i: usize| {
                let output = outputs.get(i).context("the reader has two outputs")?;
                TractResult::Ok(output.try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
            };
            TractResult::Ok(Reading { features: values(0)?, logits: values(1)? })
        };
        read().map_err(EvalError::reader)
    }
}

/// Planes of `[3, 64, 64]` in 0..1, each the mean of the pixels it covers, whole or in part (as
/// PyTorch's adaptive average pooling).
fn shrunk(picture: &RgbImage) -> Vec<f32> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let span = |i: usize, len: usize| i * len / SIDE..((i + 1) * len).div_ceil(SIDE);
    let mut planes = Vec::with_capacity(3 * SIDE * SIDE);
    for channel in 0..3 {
        for (y, x) in (0..SIDE).flat_map(|y| (0..SIDE).map(move |x| (y, x))) {
            let (rows, columns) = (span(y, height), span(x, width));
            let count = rows.len() * columns.len();
            let pixels = rows.flat_map(|y| columns.clone().map(move |x| (x as u32, y as u32)));
            let sum: f32 = pixels.map(|(x, y)| f32::from(picture.get_pixel(x, y).0[channel])).sum();
            planes.push(sum / 255.0 / count.max(1) as f32);
        }
    }
    planes
}
