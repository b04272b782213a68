//! The layers of a model that may work in integers.

use pochade::files::{Component, FileError, ModelFiles, is_integer_layer};

/// A convolution or a linear layer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Layer {
    /// Part of the model.
    pub part: Component,
    /// Canonical name, without `.weight`.
    pub name: String,
    /// `[outputs, channels, kernel height, kernel width]`.
    pub size: [usize; 4],
    /// The same as the model stores it: matrices have no kernel.
    pub shape: Vec<usize>,
    /// Whether it has a bias.
    pub bias: bool,
}

/// Whether a tensor or layer of an autoencoder is of the half that reads pictures.
pub(crate) fn is_of_encoder(name: &str) -> bool {
    name.starts_with("encoder.") || name == "quant_conv" || name.starts_with("quant_conv.")
}

impl Layer {
    /// All of a model, in the order of execution.
    pub fn all(model: &ModelFiles) -> Result<Vec<Self>, FileError> {
        let mut layers = Vec::new();
        for part in model.components().filter(|part| *part != Component::Scheduler) {
            let weights = model.weights(part)?;
            for tensor in weights.tensors().filter(is_integer_layer) {
                let Some(name) = tensor.name.strip_suffix(".weight") else { continue };
                let [outputs, channels] = [tensor.shape[0], tensor.shape[1]];
                let [kh, kw] =
                    tensor.shape.get(2..).and_then(|k| k.try_into().ok()).unwrap_or([1; 2]);
                let bias = weights.tensors().any(|t| t.name.strip_suffix(".bias") == Some(name));
                let size = [outputs, channels, kh, kw];
                layers.push(Self {
                    part,
                    name: name.to_owned(),
                    size,
                    shape: tensor.shape.to_vec(),
                    bias,
                });
            }
        }
        Ok(layers)
    }

    /// The part and the name: how recipes and reports call it.
    pub fn key(&self) -> String {
        format!("{}/{}", self.part, self.name)
    }

    /// Whether painting from words needs it: all but the half of the autoencoder that reads pictures.
    pub fn is_heard(&self) -> bool {
        self.part != Component::Autoencoder || !is_of_encoder(&self.name)
    }

    /// The name of its weight.
    pub fn weight(&self) -> String {
        format!("{}.weight", self.name)
    }

    /// Pixels of the kernel.
    pub fn taps(&self) -> usize {
        self.size[2] * self.size[3]
    }

    /// Length of one sum of products: what a row of samples has.
    pub fn columns(&self) -> usize {
        self.size[1] * self.taps()
    }

    /// Number of weights.
    pub fn parameters(&self) -> usize {
        self.size.iter().product()
    }
}
