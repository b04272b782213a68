//! Which convolutions are computed with fewer products, and how they are cut into tiles.

use std::ops::Range;

use crate::activations::Format;
use crate::graph::{Op, Padding, Prologue};
use crate::int_weights::BLOCK_BYTES;
use crate::kernels::int::BLOCK;
use crate::kernels::winograd::{self, CHANNELS, MAX_SIDE, OUTPUTS};
use crate::layer::LayerSize;
use crate::tensor::Shape;
use crate::weights::{LANES, Panels};

/// Taps of the filter.
pub(super) const TAPS: usize = 9;
/// Panels of a group: twice what the widest kernel multiplies at once, so that windows are read
/// seldom.
const GROUP: usize = 6;
/// Groups that so many threads, or half as many, share fairly.
const FAIR: usize = 4;
/// Channels from which a group has half as many, so that its taps are not too many bytes.
const DEEP: usize = 1281;
/// Most bytes of the transformed windows of a block, and of outputs that wait to be rounded.
const BLOCK_OF_TILES: usize = 3 << 20;
/// Tiles whose products wait together.
pub(super) const TILES: usize = 64;
/// Bytes between planes, and between positions, beyond their length, so that the same place of all
/// of them is not in one set of a cache.
pub(super) const APART: usize = 192;
/// From which sizes on the transforms are worth their time.
struct Least {
    channels: usize,
    outputs: usize,
    /// Of a picture of the output.
    positions: usize,
}

const LEAST_DOUBLED: Least = Least { channels: 64, outputs: 64, positions: 256 };
const LEAST_PLAIN: Least = Least { channels: 320, outputs: 128, positions: 1024 };
/// The most channels whose sums, less what zero points add, fit 32 bits.
const MOST_CHANNELS: usize = 1 << 14;

/// Pixels along a side of a layer's windows, where its weights in integers are worth transforming.
pub(crate) fn window(layer: &LayerSize) -> Option<usize> {
    let (side, least) = match layer.doubled {
        true => (3, LEAST_DOUBLED),
        false => (MAX_SIDE, LEAST_PLAIN),
    };
    let fits = (layer.taps, layer.stride) == (TAPS, 1)
        && layer.channels.is_multiple_of(CHANNELS)
        && layer.channels <= MOST_CHANNELS;
    let wins = layer.channels >= least.channels
        && layer.outputs >= least.outputs
        && layer.positions >= least.positions;
    (fits && wins).then_some(side)
}

/// Whether a convolution is computed in this way.
pub(crate) fn has_form(op: &Op, to: Shape) -> bool {
    Form::of(op, to, Format::F32).is_some()
}

/// How a convolution is cut into tiles.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    /// Pixels of a window along a side.
    pub side: usize,
    pub channels: usize,
    /// The output.
    pub to: Shape,
    /// Whether whole rows of the output are rounded.
    pub rounds: bool,
}

impl Form {
    /// The form of a convolution that is computed in this way. The rule is the same on every
    /// machine, since the rounding of transformed values is part of the result.
    pub fn of(op: &Op, to: Shape, format: Format) -> Option<Self> {
        let Op::Conv { filter, spec, prologue: None | Some(Prologue::Normalise { .. }), epilogue } =
            op
        else {
            return None;
        };
        let fits = spec.stride == 1
            && spec.padding == Padding::same(1)
            && filter.kernel() == (3, 3)
            && !epilogue.gated
            && matches!(filter.panels, Panels::Int(_));
        let side = window(&LayerSize::of(filter, *spec, to)).filter(|_| fits)?;
        let rounds = matches!(format, Format::Int8);
        Some(Self { side, channels: filter.channels(), to, rounds })
    }

    pub fn positions(self) -> usize {
        self.side * self.side
    }

    pub fn planes(self) -> usize {
        winograd::planes(self.side)
    }

    /// Tiles of the output: pictures, rows and columns of them.
    pub fn grid(self) -> [usize; 3] {
        [self.to.n, self.to.h.div_ceil(2), self.to.w.div_ceil(2)]
    }

    fn tiles(self) -> usize {
        self.grid().iter().product()
    }

    /// The tiles of some lines of output, of which the first begins a tile.
    pub fn tiles_of(self, rows: Range<usize>) -> Range<usize> {
        let [_, lines, columns] = self.grid();
        let tiles = |row: usize| {
            let line = row / self.to.w;
            (line / self.to.h * lines + (line % self.to.h).div_ceil(2)) * columns
        };
        tiles(rows.start)..tiles(rows.end)
    }

    /// Most tiles of a block.
    pub fn block(self) -> usize {
        let staged = if self.rounds { OUTPUTS * self.to.c * size_of::<f32>() } else { 0 };
        let most = (BLOCK_OF_TILES / (self.positions() * self.channels + staged)).max(1);
        self.tiles().min(most)
    }

    /// Most lines of output that are one block, of two at least.
    pub fn lines(self) -> usize {
        let [_, _, columns] = self.grid();
        2 * (self.block() / columns).max(1)
    }

    pub fn panels(self) -> usize {
        self.to.c.div_ceil(LANES)
    }

    /// Panels of a group. Where there are many groups, threads get as much to do.
    pub fn group(self) -> usize {
        let most = if self.channels < DEEP { GROUP } else { GROUP / 2 };
        let groups = self.panels().div_ceil(most);
        if groups < FAIR { most } else { self.panels().div_ceil(groups.next_multiple_of(FAIR)) }
    }

    /// Columns of a group.
    pub fn columns(self) -> usize {
        self.group() * LANES
    }

    /// Bytes of a panel in one plane, or of one tap.
    pub fn panel_bytes(self) -> usize {
        self.channels / BLOCK * BLOCK_BYTES
    }

    /// Parts of the memory that all threads share, in f32: windows' bytes, steps and zero points, and
    /// outputs that wait to be rounded.
    pub fn shared(self) -> [usize; 4] {
        let (tiles, positions) = (self.block(), self.positions());
        let bytes = positions * (tiles * self.channels + APART);
        let staged = if self.rounds { tiles * OUTPUTS * self.to.c } else { 0 };
        [bytes / size_of::<f32>(), tiles * positions, tiles * positions, staged]
    }

    /// Parts of a thread's memory, in f32.
    pub fn own(self) -> [usize; 7] {
        let columns = self.planes() * self.columns();
        [
            self.planes() * (self.group() * self.panel_bytes() + APART) / size_of::<f32>(),
            TAPS * self.panel_bytes() / size_of::<f32>(),
            columns,
            columns,
            columns * TILES,
            TILES,
            self.channels / size_of::<f32>() + OUTPUTS * self.columns(),
        ]
    }
}
