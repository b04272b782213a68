//! Files without the encoder of the autoencoder, which only pictures need.

use pochade::files::gguf::Value;
use pochade::files::{Component, Packing, TensorEncoding, TensorInfo};
use pochade_engine::{Encoding, Filter, TensorView, WeightError};

use crate::layer::is_of_encoder;

/// Another packing but for the encoder, where that is left out.
pub(crate) struct WithoutEncoder<'a> {
    pub packing: &'a mut dyn Packing,
    pub leaves_out: bool,
}

impl Packing for WithoutEncoder<'_> {
    fn encoding(&self, part: Component, tensor: &TensorInfo<'_>) -> TensorEncoding {
        if self.leaves_out && part == Component::Autoencoder && is_of_encoder(tensor.name) {
            return TensorEncoding::LeftOut;
        }
        self.packing.encoding(part, tensor)
    }

    fn filter(
        &mut self,
        part: Component,
        name: &str,
        weight: &TensorView<'_>,
        integers: Encoding,
    ) -> Result<Filter, WeightError> {
        self.packing.filter(part, name, weight, integers)
    }

    fn metadata(&self) -> Vec<(String, Value)> {
        self.packing.metadata()
    }
}
