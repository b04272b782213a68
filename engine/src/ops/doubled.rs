//! 3 x 3 convolutions in f32 of a picture doubled by repetition, with 9 products instead of 36 per
//! tile of 2 x 2 outputs.
//!
//! Along one side, a pair of outputs sees three pixels, of which it counts one twice or the other:
//! `g0 d0 + (g1 + g2) d1 = (g0 + g1 + g2) d1 - g0 (d1 - d0)`, and its neighbour is
//! `(g0 + g1 + g2) d1 + g2 (d2 - d1)`. So there are three products, and a difference of neighbours
//! serves the tiles on both of its sides. ([`super::int_winograd`] does the same in integers.)
//!
//! Taps are transformed once per run, `[panel][position][channel][16]`, into memory that all threads
//! share. A task is a few tiles of a line: it takes the differences of their inputs, multiplies each
//! position, and adds the products up.

use super::matmul::Call;
use super::{Context, Operand, Operands, SharedPlace, for_chunks};
use crate::fuse::Fused;
use crate::graph::{ConvSpec, Epilogue, Op, Prologue};
use crate::kernels::Kernels;
use crate::kernels::rows::Nine;
use crate::kernels::tile::Tile;
use crate::session::scratch_of;
use crate::tensor::Shape;
use crate::weights::{Filter, LANES, Panels};

/// Tiles of a task.
const TILES: usize = 32;
/// Positions of a tile's window: three along each side.
const SIDE: usize = 3;
const POSITIONS: usize = SIDE * SIDE;
/// Differences that a task takes, each of a line of its tiles and the one behind them: across, of
/// three lines; down, of two pairs of lines; and down of those across.
const DIFFERENCES: usize = 7;
/// Channels and outputs from which on and up to which this is done: below, transforms take as long as
/// they save, and above, transformed taps leave the second-level cache.
const WIDTHS: std::ops::RangeInclusive<usize> = 64..=128;
/// Rows of the register tile, at most.
const MAX_ROWS: usize = 8;

/// Whether a convolution is computed in this way, on every machine.
pub(super) fn fits(
    filter: &Filter,
    spec: ConvSpec,
    prologue: Option<Prologue>,
    epilogue: Epilogue,
) -> bool {
    !filter.is_integer()
        && filter.kernel() == (3, 3)
        && spec == ConvSpec::up(3)
        && prologue.is_none()
        && epilogue == Epilogue::default()
        && WIDTHS.contains(&filter.channels())
        && WIDTHS.contains(&filter.outputs())
}

/// The same of a step, which may write f16 then.
pub(crate) fn is_doubled(step: &Fused) -> bool {
    match &step.op {
        Op::Conv { filter, spec, prologue, epilogue } => fits(filter, *spec, *prologue, *epilogue),
        _ => false,
    }
}

/// Shared scratch memory: the transformed taps.
pub(super) fn scratch(filter: &Filter) -> usize {
    POSITIONS * filter.channels() * filter.outputs().next_multiple_of(LANES)
}

/// Scratch memory of each thread: a row of zeros, the differences and the products of a task. Taps
/// are widened there too, before there are any.
pub(super) fn thread_scratch(filter: &Filter) -> usize {
    let (channels, outputs) = (filter.channels(), filter.outputs().next_multiple_of(LANES));
    let own = channels + DIFFERENCES * (TILES + 1) * channels + POSITIONS * TILES * outputs;
    own.max(POSITIONS * channels * LANES)
}

/// Computes a step.
pub(super) fn conv(call: &Call<'_>, o: Operands<'_>, c: &mut Context<'_>) {
    transform(call.filter, o.scratch, c);
    let from = o.inputs[0].shape;
    let product = Product {
        kernels: c.kernels,
        filter: call.filter,
        taps: o.scratch,
        x: o.inputs[0],
        out: SharedPlace::new(o.out.as_mut_ptr(), o.format),
    };
    let pieces = from.w.div_ceil(TILES);
    let scratch = c.scratch;
    c.pool.run(from.n * from.h * pieces, &|worker, task| {
        let (line, first) = (task / pieces, task % pieces * TILES);
        let tiles = TILES.min(from.w - first);
        product.tiles(Tiles { line, first, tiles }, &mut scratch_of(scratch, worker));
    });
}

/// Transforms the taps of all panels.
fn transform(filter: &Filter, out: &mut [f32], c: &mut Context<'_>) {
    let (k, scratch, tap) = (c.kernels, c.scratch, filter.channels() * LANES);
    for_chunks(c.pool, out, POSITIONS * tap, |worker, panel, out| {
        let mut space = scratch_of(scratch, worker);
        let taps = match &filter.panels {
            Panels::F32(values) => &values[panel * POSITIONS * tap..][..POSITIONS * tap],
            Panels::F16(values) => {
                let space = &mut space[..POSITIONS * tap];
                k.widen(&values[panel * POSITIONS * tap..][..POSITIONS * tap], space);
                space
            }
            Panels::Int(_) => unreachable!("integer products have their own loops"),
        };
        for (i, positions) in out.chunks_exact_mut(SIDE * tap).enumerate() {
            for (j, position) in positions.chunks_exact_mut(tap).enumerate() {
                for (at, value) in position.iter_mut().enumerate() {
                    let along = |y: usize| {
                        along_taps(j, std::array::from_fn(|x| taps[(SIDE * y + x) * tap + at]))
                    };
                    *value = along_taps(i, std::array::from_fn(along));
                }
            }
        }
    });
}

/// What position `at` of a window is multiplied by.
fn along_taps(at: usize, [a, b, c]: [f32; SIDE]) -> f32 {
    match at {
        0 => -a,
        1 => a + b + c,
        _ => c,
    }
}

/// Some tiles of a line, which counts over pictures.
#[derive(Clone, Copy)]
struct Tiles {
    line: usize,
    first: usize,
    tiles: usize,
}

struct Product<'a> {
    kernels: &'static Kernels,
    filter: &'a Filter,
    /// Transformed.
    taps: &'a [f32],
    x: Operand<'a>,
    out: SharedPlace,
}

/// What each position of the windows of a task's tiles holds.
struct Windows<'a> {
    /// The input, one row per tile.
    pixels: &'a [f32],
    /// `[7][tiles + 1][channels]`, see [`DIFFERENCES`].
    differences: &'a [f32],
    width: usize,
}

impl Windows<'_> {
    /// The row at position `(y, x)` of a tile's window.
    fn row(&self, y: usize, x: usize, tile: usize) -> &[f32] {
        // The difference to the left of a tile, or that to its right.
        let of = |line: usize, tile: usize| {
            &self.differences[(line * (TILES + 1) + tile) * self.width..][..self.width]
        };
        match (y, x) {
            (1, 1) => &self.pixels[tile * self.width..][..self.width],
            (1, x) => of(1, tile + x / 2),
            (y, 1) => of(3 + y / 2, tile),
            (y, x) => of(5 + y / 2, tile + x / 2),
        }
    }
}

impl Product<'_> {
    fn shape(&self) -> Shape {
        self.x.shape
    }

    fn tiles(&self, at: Tiles, scratch: &mut [f32]) {
        let width = self.shape().c;
        let (zeros, rest) = scratch.split_at_mut(width);
        let (differences, products) = rest.split_at_mut(DIFFERENCES * (TILES + 1) * width);
        zeros.fill(0.0);
        self.differences(at, zeros, differences);
        let first = (at.line * self.shape().w + at.first) * width;
        let pixels = &self.x.data[first..][..at.tiles * width];
        let windows = Windows { pixels, differences, width };
        for position in 0..POSITIONS {
            self.multiply(position, at.tiles, &windows, products);
        }
        (0..at.tiles).for_each(|tile| self.add_up(at, tile, products));
    }

    /// An input pixel, of a line above or below that of the tiles; zeros outside of the picture.
    fn pixel<'a>(&'a self, line: usize, y: usize, x: usize, zeros: &'a [f32]) -> &'a [f32] {
        let from = self.shape();
        // One line and one pixel further, so that none is negative.
        let inside = (1..=from.h).contains(&(line % from.h + y)) && (1..=from.w).contains(&x);
        if !inside {
            return zeros;
        }
        &self.x.data[((line + y - 1) * from.w + x - 1) * from.c..][..from.c]
    }

    /// Takes the differences of the windows of some tiles.
    fn differences(&self, at: Tiles, zeros: &[f32], differences: &mut [f32]) {
        let (k, width) = (self.kernels, self.shape().c);
        let line = (TILES + 1) * width;
        let (across, rest) = differences.split_at_mut(SIDE * line);
        for tile in 0..=at.tiles {
            let (own, x) = (tile * width, at.first + tile);
            let pixel = |y: usize, x: usize| self.pixel(at.line, y, x, zeros);
            for y in 0..SIDE {
                let out = &mut across[y * line + own..][..width];
                k.difference(pixel(y, x + 1), pixel(y, x), out);
            }
            for y in 0..2 {
                let down = &mut rest[y * line + own..][..width];
                k.difference(pixel(y + 1, x + 1), pixel(y, x + 1), down);
                let [above, below] = [y, y + 1].map(|y| &across[y * line + own..][..width]);
                k.difference(below, above, &mut rest[(2 + y) * line + own..][..width]);
            }
        }
    }

    /// The products of one position, `[position][tile][output]`.
    fn multiply(&self, position: usize, tiles: usize, w: &Windows<'_>, products: &mut [f32]) {
        let (k, depth, columns) = (self.kernels, w.width, self.columns());
        let plane = &mut products[position * TILES * columns..][..tiles * columns];
        for first in (0..tiles).step_by(k.tile_rows) {
            let height = k.tile_rows.min(tiles - first);
            let mut rows = [std::ptr::null(); MAX_ROWS];
            for (i, row) in rows[..height].iter_mut().enumerate() {
                *row = w.row(position / SIDE, position % SIDE, first + i).as_ptr();
            }
            for column in (0..columns).step_by(k.tile_panels * LANES) {
                let taps = column / LANES * POSITIONS + position;
                let tile = Tile {
                    rows: rows.as_ptr(),
                    height,
                    taps: 1,
                    depth,
                    panels: self.taps[taps * depth * LANES..].as_ptr(),
                    panel_stride: POSITIONS * depth * LANES,
                    width: (columns - column).min(k.tile_panels * LANES),
                    out: plane[first * columns + column..].as_mut_ptr(),
                    out_stride: columns,
                    accumulate: false,
                };
                // SAFETY: the rows hold as many values as they are deep; the taps are those of all
                // panels, the plane has room for the tiles' products.
                unsafe { k.tile(&tile) }
            }
        }
    }

    /// Columns of the products.
    fn columns(&self) -> usize {
        self.filter.outputs().next_multiple_of(LANES)
    }

    /// Adds the products of a tile up to its four outputs.
    fn add_up(&self, at: Tiles, tile: usize, products: &[f32]) {
        let (from, columns, outputs) = (self.shape(), self.columns(), self.filter.outputs());
        let (line, first) = (2 * at.line, 2 * (at.first + tile));
        let place = |y: usize, x: usize| {
            self.out.place().offset(((line + y) * 2 * from.w + first + x) * outputs)
        };
        let nine = Nine {
            products: &products[tile * columns..],
            plane: TILES * columns,
            bias: self.filter.bias.as_deref(),
            out: [place(0, 0), place(0, 1), place(1, 0), place(1, 1)],
            width: outputs,
        };
        // SAFETY: no other task has these outputs.
        unsafe { self.kernels.add_nine(&nine) }
    }
}
