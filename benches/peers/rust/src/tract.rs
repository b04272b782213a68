//! tract: a pure-Rust engine that optimises the graph when it loads it.

use crate::engine::Engine;
use anyhow::{Result, bail};
use std::path::Path;
use std::sync::Arc;
use tract_onnx::prelude::*;

struct Tract {
    plan: Arc<TypedRunnableModel>,
    inputs: Vec<Tensor>,
}

/// Loads a model. tract runs on one thread unless it is built with a thread pool, as it is not here.
pub fn load(model: &Path, inputs: &[Vec<f32>], threads: usize) -> Result<Box<dyn Engine>> {
    if threads != 1 {
        bail!("tract is built for one thread here");
    }
    let model = tract_onnx::onnx().model_for_path(model)?.into_optimized()?;
    let tensors = inputs.iter().enumerate().map(|(i, numbers)| {
        let shape = model.input_fact(i)?.shape.as_concrete().map(<[usize]>::to_vec);
        Tensor::from_shape(&shape.unwrap_or_default(), numbers)
    });
    let inputs = tensors.collect::<TractResult<_>>()?;
    Ok(Box::new(Tract { plan: model.into_runnable()?, inputs }))
}

impl Engine for Tract {
    fn run(&self) -> Result<Vec<f32>> {
        let inputs = self.inputs.iter().map(|tensor| tensor.clone().into()).collect();
        let outputs = self.plan.run(inputs)?;
        Ok(outputs[0].try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
    }
}
