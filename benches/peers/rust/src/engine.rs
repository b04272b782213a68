//! What is timed.

use anyhow::Result;

/// A loaded model with its inputs.
pub trait Engine {
    /// One forward pass; answers with the model's only output.
    fn run(&self) -> Result<Vec<f32>>;
}
