//! The size of a convolution or linear layer, and how many products it takes: what a cost model
//! needs to know before anything runs.

use crate::graph::ConvSpec;
use crate::kernels::winograd;
use crate::ops::winograd_window;
use crate::tensor::Shape;
use crate::weights::Filter;

/// The size of a convolution or linear layer on one input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LayerSize {
    /// Pictures of the batch.
    pub pictures: usize,
    /// Pixels or tokens of the output, of one picture.
    pub positions: usize,
    /// Output channels.
    pub outputs: usize,
    /// Input channels.
    pub channels: usize,
    /// Pixels of the kernel, 1 for a linear layer.
    pub taps: usize,
    /// Step in both directions.
    pub stride: usize,
    /// Whether the input is first doubled in both directions by repetition.
    pub doubled: bool,
}

impl LayerSize {
    /// The size of a convolution of `filter` whose output has the shape `to`.
    pub(crate) fn of(filter: &Filter, spec: ConvSpec, to: Shape) -> Self {
        let (kh, kw) = filter.kernel();
        Self {
            pictures: to.n,
            positions: to.positions(),
            outputs: filter.outputs(),
            channels: filter.channels(),
            taps: kh * kw,
            stride: spec.stride,
            doubled: spec.upsample,
        }
    }

    /// Rows of the matrix product: positions of all pictures.
    pub fn rows(&self) -> usize {
        self.pictures * self.positions
    }

    /// Weights.
    pub fn parameters(&self) -> usize {
        self.outputs * self.channels * self.taps
    }

    /// Multiply-accumulate operations of the plain form.
    pub fn macs(&self) -> u64 {
        self.rows() as u64 * self.parameters() as u64
    }

    /// Multiply-accumulate operations that are computed: less than [`LayerSize::macs`] where
    /// weights are in integers and the sizes suit a form with fewer products.
    pub fn products(&self, integers: bool) -> u64 {
        match winograd_window(self).filter(|_| integers) {
            // A tile of 2 x 2 outputs takes a product per plane instead of 4 x 9.
            Some(side) => self.macs() / 36 * winograd::planes(side) as u64,
            None => self.macs(),
        }
    }

    /// Whether weights in integers have a form with fewer products, whose products are in int8.
    pub fn has_fewer_products(&self) -> bool {
        winograd_window(self).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doubled_or_wide_convolution_takes_fewer_products_in_integers_alone() {
        let layer = |channels: usize, positions: usize, doubled: bool| LayerSize {
            pictures: 2,
            positions,
            outputs: channels,
            channels,
            taps: 9,
            stride: 1,
            doubled,
        };
        let share = |layer: LayerSize, integers| {
            layer.products(integers) as f64 * 36.0 / layer.macs() as f64
        };
        assert_eq!(share(layer(640, 4096, true), true), 10.0);
        assert_eq!(share(layer(640, 1024, false), true), 20.0);
        assert_eq!(share(layer(640, 1024, false), false), 36.0);
        assert_eq!(share(layer(288, 1024, false), true), 36.0);
        assert_eq!(share(LayerSize { stride: 2, ..layer(640, 1024, false) }, true), 36.0);
        assert_eq!(share(LayerSize { taps: 1, ..layer(640, 1024, false) }, true), 36.0);
    }
}
