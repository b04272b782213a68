//! rten: a pure-Rust engine, nearest relative among the peers.

use crate::engine::Engine;
use anyhow::{Context, Result};
use rten::{Dimension, Model, ModelOptions, NodeId, RunOptions, ThreadPool};
use rten_tensor::Tensor;
use rten_tensor::prelude::*;
use std::path::Path;
use std::sync::Arc;

struct Rten {
    model: Model,
    inputs: Vec<(NodeId, Tensor<f32>)>,
    pool: Arc<ThreadPool>,
}

/// Loads a model, with its weights packed ahead as rten advises for repeated runs.
pub fn load(model: &Path, inputs: &[Vec<f32>], threads: usize) -> Result<Box<dyn Engine>> {
    let model = ModelOptions::with_all_ops().prepack_weights(true).load_file(model)?;
    let tensors = inputs.iter().zip(model.input_ids()).enumerate();
    let tensors = tensors.map(|(i, (numbers, id))| {
        let shape = shape(&model, i).with_context(|| format!("input {i} has no fixed shape"))?;
        Ok((*id, Tensor::from_data(&shape, numbers.clone())))
    });
    let inputs = tensors.collect::<Result<_>>()?;
    let pool = Arc::new(ThreadPool::with_num_threads(threads));
    Ok(Box::new(Rten { model, inputs, pool }))
}

fn shape(model: &Model, input: usize) -> Option<Vec<usize>> {
    let fixed = |dimension| match dimension {
        Dimension::Fixed(size) => Some(size),
        Dimension::Symbolic(_) => None,
    };
    model.input_shape(input)?.into_iter().map(fixed).collect()
}

impl Engine for Rten {
    fn run(&self) -> Result<Vec<f32>> {
        let inputs = self.inputs.iter().map(|(id, tensor)| (*id, tensor.view().into())).collect();
        let options = RunOptions::default().with_thread_pool(Some(self.pool.clone()));
        let outputs = self.model.run(inputs, self.model.output_ids(), Some(options))?;
        let answer = Tensor::<f32>::try_from(outputs.into_iter().next().context("no output")?)?;
        Ok(answer.to_vec())
    }
}
