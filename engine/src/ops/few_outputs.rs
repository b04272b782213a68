//! 3 x 3 convolutions in f32 with so few outputs that those of all taps fit two panels: the pictures
//! at the ends of decoders.
//!
//! A panel of sixteen outputs would be mostly empty. Here every pixel is multiplied by all taps at
//! once, `[channels] x [taps * outputs]`, and an output adds up what its neighbours came to, in the
//! order of taps. A task is a few lines of a strip; the products of three lines are there at a time.

use std::ops::Range;

use super::matmul::{Call, MAX_ROWS};
use super::{Context, Operand, Operands, SharedMut};
use crate::fuse::Fused;
use crate::graph::{ConvSpec, Epilogue, Op, Pointwise, Prologue};
use crate::kernels::Kernels;
use crate::kernels::rows::{Finish, TapSums};
use crate::kernels::tile::Tile;
use crate::session::scratch_of;
use crate::weights::{Filter, LANES, Panels};

/// Panels of the outputs of all taps.
const PANELS: usize = 2;
/// Values of a pixel's products.
const PRODUCTS: usize = PANELS * LANES;
const TAPS: usize = 9;
/// Channels from which on the sums are worth less than the products they save.
const CHANNELS: usize = 64;
/// Pixels of a strip, and lines of a task.
const STRIP: usize = 64;
const LINES: usize = 16;
/// Lines that an output sees.
const SEEN: usize = 3;
/// Values of the products of a line of a strip, and lanes that are read behind them.
const LINE: usize = (STRIP + 2) * PRODUCTS + LANES;

/// Whether a convolution is computed in this way, on every machine.
pub(super) fn fits(
    filter: &Filter,
    spec: ConvSpec,
    prologue: Option<Prologue>,
    epilogue: Epilogue,
) -> bool {
    let Epilogue { pointwise, .. } = epilogue;
    !filter.is_integer()
        && filter.kernel() == (3, 3)
        && spec == ConvSpec::same(3)
        && prologue.is_none()
        && epilogue == Epilogue { pointwise, ..Epilogue::default() }
        && filter.channels() >= CHANNELS
        && TAPS * filter.outputs() <= PRODUCTS
}

/// The same of a step, which may read f16 then.
pub(crate) fn has_few_outputs(step: &Fused) -> bool {
    match &step.op {
        Op::Conv { filter, spec, prologue, epilogue } => fits(filter, *spec, *prologue, *epilogue),
        _ => false,
    }
}

/// Shared scratch memory: the taps beside one another.
pub(super) fn scratch(filter: &Filter) -> usize {
    PRODUCTS * filter.channels()
}

/// Scratch memory of each thread: some pixels in f32, and the products of three lines of a strip.
pub(super) fn thread_scratch(filter: &Filter) -> usize {
    MAX_ROWS * filter.channels() + SEEN * LINE
}

/// Computes a step.
pub(super) fn conv(call: &Call<'_>, o: Operands<'_>, c: &mut Context<'_>) {
    turn(call.filter, o.scratch, c.kernels);
    let product = Product {
        kernels: c.kernels,
        filter: call.filter,
        pointwise: call.epilogue.pointwise,
        taps: o.scratch,
        x: o.inputs[0],
        out: SharedMut(o.out.as_mut_ptr()),
    };
    let to = o.shape;
    let (strips, groups) = (to.w.div_ceil(STRIP), to.h.div_ceil(LINES));
    let scratch = c.scratch;
    c.pool.run(to.n * groups * strips, &|worker, task| {
        let (group, column) = (task / strips, task % strips * STRIP);
        let (n, line) = (group / groups, group % groups * LINES);
        let lines = line..(line + LINES).min(to.h);
        let columns = column..(column + STRIP).min(to.w);
        product.piece(n, lines, columns, &mut scratch_of(scratch, worker));
    });
}

/// Puts the outputs of all taps beside one another: `[panel][channel][16]`.
fn turn(filter: &Filter, out: &mut [f32], k: &Kernels) {
    let (channels, outputs) = (filter.channels(), filter.outputs());
    let mut row = [0.0; LANES];
    out.fill(0.0);
    for tap in 0..TAPS {
        for channel in 0..channels {
            let from = (tap * channels + channel) * LANES;
            match &filter.panels {
                Panels::F32(values) => row.copy_from_slice(&values[from..][..LANES]),
                Panels::F16(values) => k.widen(&values[from..][..LANES], &mut row),
                Panels::Int(_) => unreachable!("integer products have their own loops"),
            }
            for (output, value) in row[..outputs].iter().enumerate() {
                let column = tap * outputs + output;
                out[(column / LANES * channels + channel) * LANES + column % LANES] = *value;
            }
        }
    }
}

struct Product<'a> {
    kernels: &'static Kernels,
    filter: &'a Filter,
    pointwise: Option<Pointwise>,
    /// `[panel][channel][16]`.
    taps: &'a [f32],
    x: Operand<'a>,
    out: SharedMut,
}

impl Product<'_> {
    /// Some lines of a strip of picture `n`.
    fn piece(&self, n: usize, lines: Range<usize>, columns: Range<usize>, scratch: &mut [f32]) {
        let (space, products) = scratch.split_at_mut(MAX_ROWS * self.filter.channels());
        // Lines count from the one above the picture, and lie at their number modulo three.
        for y in lines.start..lines.end + 2 {
            self.multiply(n, y, &columns, space, &mut products[y % SEEN * LINE..][..LINE]);
            if let Some(first) = y.checked_sub(2).filter(|first| *first >= lines.start) {
                let seen = [first, first + 1, y].map(|y| &products[y % SEEN * LINE..][..LINE]);
                self.add_up((n, first), &columns, seen);
            }
        }
    }

    /// The products of the pixels of line `y` that the outputs of a strip see; zeros outside of the
    /// picture. Lines and pixels count from those before the first.
    fn multiply(
        &self,
        n: usize,
        y: usize,
        columns: &Range<usize>,
        space: &mut [f32],
        products: &mut [f32],
    ) {
        let (k, from) = (self.kernels, self.x.shape);
        let line = (n * from.h + y).wrapping_sub(1);
        let inside = columns.start.max(1)..(columns.end + 2).min(from.w + 1);
        if !(1..=from.h).contains(&y) {
            return products.fill(0.0);
        }
        products[..PRODUCTS].fill(0.0);
        products[(inside.end - columns.start) * PRODUCTS..].fill(0.0);
        for first in inside.clone().step_by(k.tile_rows) {
            let height = k.tile_rows.min(inside.end - first);
            let pixel = line * from.w + first - 1;
            let rows = self.rows(pixel, height, space);
            for panel in (0..PANELS).step_by(k.tile_panels) {
                let tile = Tile {
                    rows: rows.as_ptr(),
                    height,
                    taps: 1,
                    depth: from.c,
                    panels: self.taps[panel * from.c * LANES..].as_ptr(),
                    panel_stride: from.c * LANES,
                    width: (PANELS - panel).min(k.tile_panels) * LANES,
                    out: products[(first - columns.start) * PRODUCTS + panel * LANES..]
                        .as_mut_ptr(),
                    out_stride: PRODUCTS,
                    accumulate: false,
                };
                // SAFETY: the rows hold as many values as they are deep; the taps are those of all
                // panels; the products have room for the pixels.
                unsafe { k.tile(&tile) }
            }
        }
    }

    /// Some pixels in f32, by way of `space` where they are not.
    fn rows(&self, pixel: usize, height: usize, space: &mut [f32]) -> [*const f32; MAX_ROWS] {
        let mut rows = [std::ptr::null(); MAX_ROWS];
        let space = space.chunks_exact_mut(self.x.shape.c);
        for ((i, row), space) in rows[..height].iter_mut().enumerate().zip(space) {
            *row = self.x.row(self.kernels, pixel + i, space).as_ptr();
        }
        rows
    }

    /// The outputs of a strip of line `y` of picture `n` from the products of the three lines that
    /// they see.
    fn add_up(&self, (n, y): (usize, usize), columns: &Range<usize>, seen: [&[f32]; SEEN]) {
        let (outputs, shape) = (self.filter.outputs(), self.x.shape);
        let first = ((n * shape.h + y) * shape.w + columns.start) * outputs;
        // SAFETY: inside the output; no other task has this part of the line.
        let out = unsafe { self.out.slice(first, columns.len() * outputs) };
        let sums = TapSums { seen, stride: PRODUCTS, bias: self.filter.bias.as_deref(), outputs };
        self.kernels.add_taps(&sums, out);
        let (pointwise, none) = (self.pointwise, None);
        let finish = Finish { bias: none, vector: none, pointwise, residual: none, last: None };
        self.kernels.finish(&finish, out);
    }
}
