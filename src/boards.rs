//! Named boards, and a cost model that predicts seconds from shapes: the time that the arithmetic
//! units take for a step's products, at the share of their peak that the engine reaches, and the
//! time that memory takes to deliver its bytes. The sum of both fits what was measured on x86
//! better than the longer of both, which is what a roofline would take.
//!
//! No board was measured. Multiply-adds per cycle of integer kernels are those that llvm-mca's
//! models of the cores find in the engine's inner loops (`benches/mca.py`), of f32 kernels what the
//! cores issue. All that comes out is to be called *predicted*; `docs/numbers.md` has the sources,
//! and the model beside a machine that was measured.

use std::fmt;
use std::str::FromStr;

use pochade_engine::{Arithmetic, Encoding, LayerSize, PanelShape, Plan, Rate, StepInfo};

use crate::files::FilterEncoding;

/// Share of the peak that layers reach.
const LAYERS: f64 = 0.6;
/// Share of the peak that attention reaches, whose exponentials are not counted.
const ATTENTION: f64 = 0.33;

/// A board, or one like it, and what it can do at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Board {
    /// The name that command lines take.
    pub name: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// Cores, all of which work.
    pub cores: usize,
    /// Clock in GHz.
    pub ghz: f64,
    /// Multiply-adds per cycle and core of a layer in int8.
    pub int8: f64,
    /// The same in int4.
    pub int4: f64,
    /// The same in f32.
    pub float: f64,
    /// Billions of bytes per second that all cores together read from memory.
    pub memory_gb_per_s: f64,
    /// Billions of bytes per second that the usual storage is read with.
    pub storage_gb_per_s: f64,
    /// Bytes of memory that one process may take beside a system without a desktop.
    pub ram: usize,
}

/// Mebibytes in bytes, as far as addresses go.
const fn mebibytes(count: usize) -> usize {
    count.saturating_mul(1 << 20)
}

impl Board {
    /// All boards, the fastest first.
    pub const ALL: [Self; 6] = [
        Self {
            name: "orin",
            title: "Jetson Orin Nano, 8 GB",
            cores: 6,
            ghz: 1.7,
            int8: 31.97,
            int4: 31.97,
            float: 8.0,
            memory_gb_per_s: 30.0,
            storage_gb_per_s: 0.5,
            ram: mebibytes(6500),
        },
        Self {
            name: "pi5",
            title: "Raspberry Pi 5, 4 GB",
            cores: 4,
            ghz: 2.4,
            int8: 31.97,
            int4: 31.97,
            float: 8.0,
            memory_gb_per_s: 11.0,
            storage_gb_per_s: 0.08,
            ram: mebibytes(3600),
        },
        Self {
            name: "pi4",
            title: "Raspberry Pi 4, 2 GB",
            cores: 4,
            ghz: 1.8,
            int8: 7.99,
            int4: 7.53,
            float: 4.0,
            memory_gb_per_s: 4.4,
            storage_gb_per_s: 0.04,
            ram: mebibytes(1650),
        },
        Self {
            name: "jetson-nano",
            title: "Jetson Nano, 4 GB",
            cores: 4,
            ghz: 1.43,
            int8: 7.99,
            int4: 7.53,
            float: 4.0,
            memory_gb_per_s: 12.0,
            storage_gb_per_s: 0.08,
            ram: mebibytes(3300),
        },
        Self {
            name: "pi3",
            title: "Raspberry Pi 3 B+, 1 GB",
            cores: 4,
            ghz: 1.4,
            int8: 4.74,
            int4: 6.65,
            float: 4.0,
            memory_gb_per_s: 1.8,
            storage_gb_per_s: 0.023,
            ram: mebibytes(780),
        },
        Self {
            name: "zero2",
            title: "Raspberry Pi Zero 2 W, 512 MB",
            cores: 4,
            ghz: 1.0,
            int8: 4.74,
            int4: 6.65,
            float: 4.0,
            memory_gb_per_s: 1.8,
            storage_gb_per_s: 0.023,
            ram: mebibytes(330),
        },
    ];

    /// Predicted seconds of a layer on its own, its activations included, with its weights in
    /// `encoding`.
    pub fn layer_seconds(&self, layer: &LayerSize, encoding: FilterEncoding) -> f64 {
        let integers = matches!(encoding, FilterEncoding::Int8 | FilterEncoding::Int4);
        let arithmetic = match encoding {
            FilterEncoding::F32 | FilterEncoding::F16 => Arithmetic::Float,
            FilterEncoding::Int4 if !layer.has_fewer_products() => Arithmetic::Int4,
            FilterEncoding::Int8 | FilterEncoding::Int4 => Arithmetic::Int8,
        };
        let bytes = weight_bytes(layer, encoding) + activation_bytes(layer, integers);
        self.seconds(arithmetic, layer.products(integers), bytes)
    }

    /// Predicted seconds of one call of a step of a plan.
    pub fn step_seconds(&self, step: &StepInfo) -> f64 {
        self.seconds(step.arithmetic, step.products, step.weight_bytes + step.activation_bytes)
    }

    /// Predicted seconds of all steps of a rate, each computed once.
    pub fn plan_seconds(&self, plan: &Plan, rate: Rate) -> f64 {
        let steps = plan.steps();
        steps.iter().filter(|step| step.rate == rate).map(|step| self.step_seconds(step)).sum()
    }

    fn seconds(&self, arithmetic: Arithmetic, products: u64, bytes: usize) -> f64 {
        let (per_cycle, share) = match arithmetic {
            Arithmetic::Values | Arithmetic::Float => (self.float, LAYERS),
            Arithmetic::Int8 => (self.int8, LAYERS),
            Arithmetic::Int4 => (self.int4, LAYERS),
            Arithmetic::Attention => (self.float, ATTENTION),
            Arithmetic::AttentionInt8 => (self.int8, ATTENTION),
        };
        let peak = self.cores as f64 * self.ghz * 1e9 * per_cycle;
        products as f64 / (peak * share) + bytes as f64 / (self.memory_gb_per_s * 1e9)
    }
}

/// Bytes of a layer's weights as they are stored.
pub fn weight_bytes(layer: &LayerSize, encoding: FilterEncoding) -> usize {
    let LayerSize { outputs, channels, taps, .. } = *layer;
    let shape = PanelShape { outputs, taps, channels };
    let product = |extents: [usize; 4]| extents.iter().product::<usize>();
    match encoding {
        FilterEncoding::F32 => 4 * layer.parameters(),
        FilterEncoding::F16 => 2 * layer.parameters(),
        FilterEncoding::Int8 => product(shape.weight(Encoding::Int8)) + 4 * outputs,
        FilterEncoding::Int4 => {
            product(shape.weight(Encoding::Int4)) + product(shape.multipliers()) + 4 * outputs
        }
    }
}

/// Bytes of what a layer reads and writes: bytes in and f16 out in integers, else f32 both.
fn activation_bytes(layer: &LayerSize, integers: bool) -> usize {
    let read = layer.rows() * layer.stride * layer.stride * layer.channels;
    let read = if layer.doubled { read / 4 } else { read };
    let written = layer.rows() * layer.outputs;
    if integers { read + 2 * written } else { 4 * (read + written) }
}

impl FromStr for Board {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|board| board.name == name);
        found.ok_or("choose one of orin, pi5, pi4, jetson-nano, pi3, zero2")
    }
}

impl fmt::Display for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYER: LayerSize = LayerSize {
        pictures: 2,
        positions: 256,
        outputs: 320,
        channels: 320,
        taps: 9,
        stride: 1,
        doubled: false,
    };

    #[test]
    fn a_board_is_found_by_its_name_and_no_other_is() {
        for board in Board::ALL {
            assert_eq!(board.to_string().parse(), Ok(board));
        }
        assert!("pi6".parse::<Board>().is_err());
    }

    #[test]
    fn narrower_weights_are_fewer_bytes_and_never_slower_where_they_take_fewer_cycles() {
        use FilterEncoding::{F16, F32, Int4, Int8};
        let bytes = [F32, F16, Int8, Int4].map(|encoding| weight_bytes(&LAYER, encoding));
        assert!(bytes.is_sorted_by(|a, b| a > b), "{bytes:?}");
        assert_eq!(bytes[2], 320 * 320 * 9 + 4 * 320);
        for board in Board::ALL {
            let seconds = |encoding| board.layer_seconds(&LAYER, encoding);
            assert!(seconds(F16) > seconds(Int8), "{board}");
            assert_eq!(seconds(Int8) > seconds(Int4), board.int4 >= board.int8, "{board}");
        }
    }

    #[test]
    fn a_layer_takes_its_products_at_a_share_of_the_peak_and_its_bytes() {
        let zero = "zero2".parse::<Board>().unwrap();
        let products = 2.0 * 256.0 * 320.0 * 320.0 * 9.0 / (4.0 * 1e9 * 4.74 * 0.6);
        let bytes = (320.0 * 320.0 * 9.0 + 4.0 * 320.0 + 512.0 * 320.0 * 3.0) / 1.8e9;
        let found = zero.layer_seconds(&LAYER, FilterEncoding::Int8);
        assert!((found - products - bytes).abs() < 1e-9, "{found}");
    }
}
