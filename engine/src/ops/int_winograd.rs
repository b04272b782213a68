//! 3 x 3 convolutions in integers with fewer products: 20 instead of 36 per tile of 2 x 2 outputs
//! (Winograd's F(2 x 2, 3 x 3), with the widest of its transformed taps in two parts), and 10 where
//! the picture is first doubled by repetition. The transforms are those of
//! [`crate::kernels::winograd`].
//!
//! The output is walked in blocks of tiles. All windows of a block are transformed once and stored,
//! `[position][tile][channel]` in bytes. Then a task takes a group of panels: it transforms their
//! taps, `[plane][panel][block]`, from what the file holds, so that neither the file nor the
//! weights in memory grow; multiplies every plane by the tiles' windows with the integer tile; and
//! brings the products of each tile to four outputs. Planes come one after the other: what is in
//! the caches at a time is one plane of a group.
//!
//! No value depends on how the work is cut, and only shapes decide what is computed this way.

use std::ops::Range;

use super::int_product::Product;
use super::output::Output;
use super::winograd_form::{APART, Form, TAPS, TILES};
use super::{Context, SharedBytes, SharedMut, as_bytes, as_i32, as_u32, bytes_as_i8};
use crate::int_weights::{BLOCK_BYTES, Values};
use crate::kernels::code::Code;
use crate::kernels::int::IntTile;
use crate::kernels::rest::Rest;
use crate::kernels::rows::{Finish, Place};
use crate::kernels::winograd::{self, MAX_POSITIONS, OUTPUTS, Products, Taps, Window};
use crate::session::scratch_of;
use crate::weights::LANES;

/// Tiles per task where windows are transformed.
const WINDOWS_PER_TASK: usize = 4;

/// Scratch memory that all threads share, in f32.
pub(super) fn scratch(form: Form) -> usize {
    form.shared().iter().sum()
}

/// Scratch memory of each thread, in f32.
pub(super) fn thread_scratch(form: Form) -> usize {
    form.own().iter().sum()
}

/// Takes the first `len` values off `rest`.
fn take<'a>(rest: &mut &'a mut [f32], len: usize) -> &'a mut [f32] {
    let (first, behind) = std::mem::take(rest).split_at_mut(len);
    *rest = behind;
    first
}

/// Computes some lines of output, whose first is not the second one of a tile, in the memory that all
/// threads share.
pub(super) fn run(
    form: Form,
    p: &Product<'_>,
    rows: Range<usize>,
    shared: &mut [f32],
    c: &mut Context<'_>,
) {
    let tiles = form.tiles_of(rows);
    let blocks = tiles.len().div_ceil(form.block());
    let block = tiles.len().div_ceil(blocks.max(1)).max(1);
    for first in tiles.clone().step_by(block) {
        Tiled { form, p }.block(first..(first + block).min(tiles.end), shared, c);
    }
}

/// The transformed windows of a block.
#[derive(Clone, Copy)]
struct Windows<'a> {
    /// Tiles of the block: the first, and how many there are.
    first: usize,
    count: usize,
    /// `[position][tile][channel]`.
    bytes: &'a [u8],
    /// What a step is worth, `[tile][position]`.
    steps: &'a [f32],
    /// What is zero, `[tile][position]`.
    zeros: &'a [i32],
    /// Where outputs wait to be rounded, `[tile][output][channel]`.
    waiting: SharedMut,
}

/// Consecutive rows of a block's windows and where their sums go.
#[derive(Clone, Copy)]
struct Tile {
    base: *const u8,
    height: usize,
    sums: *mut i32,
    stride: usize,
}

/// A thread's memory while it computes a group.
struct Own<'a> {
    /// `[plane][panel]` blocks.
    weights: &'a mut [i8],
    /// One panel's taps, decoded.
    decoded: &'a mut [i8],
    /// `[plane][column]`.
    steps: &'a mut [f32],
    /// The sum of each plane and column, `[plane][column]`.
    totals: &'a mut [i32],
    /// `[tile][plane][column]`.
    sums: &'a mut [i32],
    offsets: &'a mut [u32],
    /// A row of ones.
    ones: &'a mut [u8],
    /// A tile's outputs.
    out: &'a mut [f32],
}

impl<'a> Own<'a> {
    fn new(form: Form, mut memory: &'a mut [f32]) -> Self {
        let [weights, decoded, steps, totals, sums, offsets, _] = form.own();
        let rest = &mut memory;
        let own = Self {
            weights: bytes_as_i8(as_bytes(take(rest, weights))),
            decoded: bytes_as_i8(as_bytes(take(rest, decoded))),
            steps: take(rest, steps),
            totals: as_i32(take(rest, totals)),
            sums: as_i32(take(rest, sums)),
            offsets: as_u32(take(rest, offsets)),
            ones: as_bytes(take(rest, form.channels / size_of::<f32>())),
            out: take(rest, OUTPUTS * form.columns()),
        };
        own.ones.fill(1);
        for (tile, offset) in own.offsets.iter_mut().enumerate() {
            *offset = (tile * form.channels) as u32;
        }
        own
    }
}

/// A product in tiles.
struct Tiled<'a> {
    form: Form,
    p: &'a Product<'a>,
}

impl Tiled<'_> {
    /// Computes some consecutive tiles.
    fn block(&self, tiles: Range<usize>, shared: &mut [f32], c: &mut Context<'_>) {
        let [bytes, steps, zeros, _] = self.form.shared();
        let (bytes, rest) = shared.split_at_mut(bytes);
        let (steps, rest) = rest.split_at_mut(steps);
        let (zeros, staged) = rest.split_at_mut(zeros);
        self.transform(tiles.clone(), [bytes, steps, zeros], c);
        let count = tiles.len();
        let waiting = SharedMut(staged.as_mut_ptr());
        let (bytes, zeros) = (as_bytes(bytes), as_i32(zeros));
        let windows = Windows { first: tiles.start, count, bytes, steps, zeros, waiting };
        let groups = self.form.panels().div_ceil(self.form.group());
        // Parts of a block repeat the transform of the taps, and are made only to keep threads
        // busy.
        let threads = c.pool.threads();
        let parts = if threads == 1 { 1 } else { (2 * threads).div_ceil(groups) };
        let part = tiles.len().div_ceil(parts).max(TILES);
        let parts = tiles.len().div_ceil(part);
        let scratch = c.scratch;
        c.pool.run(parts * groups, &|worker, task| {
            let first = task % parts * part;
            let own = &mut scratch_of(scratch, worker);
            let own = &mut Own::new(self.form, own);
            let within = first..(first + part).min(tiles.len());
            self.group(task / parts, within, &windows, own);
        });
        if let Output::Rounded(output) = self.p.out {
            let (width, kernels, first) = (self.form.to.c, self.p.kernels, self.p.first);
            let staged = &*staged;
            c.pool.run(count, &|_, tile| {
                let rows = staged[tile * OUTPUTS * width..].chunks_exact(width);
                for (row, x) in self.outputs(tiles.start + tile).into_iter().zip(rows) {
                    // SAFETY: inside the output; no other task has this tile.
                    row.into_iter().for_each(|row| unsafe {
                        output.put(kernels, row - first, &Rest::row(x));
                    });
                }
            });
        }
    }

    /// The output pixels of a tile, as far as they are inside.
    fn outputs(&self, tile: usize) -> [Option<usize>; OUTPUTS] {
        let (to, [n, y, x]) = (self.form.to, self.place(tile));
        std::array::from_fn(|i| {
            let (y, x) = (y + i / 2, x + i % 2);
            (y < to.h && x < to.w).then_some((n * to.h + y) * to.w + x)
        })
    }

    /// Transforms the windows of some tiles.
    fn transform(
        &self,
        tiles: Range<usize>,
        [bytes, steps, zeros]: [&mut [f32]; 3],
        c: &mut Context<'_>,
    ) {
        let (positions, count) = (self.form.positions(), tiles.len());
        let bytes = SharedBytes(as_bytes(bytes).as_mut_ptr());
        let (steps, zeros) = (SharedMut(steps.as_mut_ptr()), SharedMut(zeros.as_mut_ptr()));
        // The lines of a run are those of one picture.
        let picture = self.p.input.codes.step(0);
        c.pool.run(count.div_ceil(WINDOWS_PER_TASK), &|_, task| {
            let first = task * WINDOWS_PER_TASK;
            for at in first..(first + WINDOWS_PER_TASK).min(count) {
                let mut codes = [Code::default(); MAX_POSITIONS];
                // SAFETY: inside the block's memory; no other task has this tile.
                let (steps, zeros) = unsafe {
                    self.window(tiles.start + at, (at, count), bytes, &mut codes);
                    let at = at * positions;
                    (steps.slice(at, positions), as_i32(zeros.slice(at, positions)))
                };
                for ((code, step), zero) in codes.iter().zip(steps).zip(zeros) {
                    *step = picture * code.step;
                    *zero = code.zero;
                }
            }
        });
    }

    /// A tile's picture, and the row and column of its first output.
    fn place(&self, tile: usize) -> [usize; 3] {
        let [_, rows, columns] = self.form.grid();
        let (row, column) = (tile / columns, tile % columns);
        [row / rows, row % rows * 2, column * 2]
    }

    /// Transforms the window of tile `tile`, the one at `at` of the `count` of its block.
    ///
    /// # Safety
    /// `bytes` has room for the block, and no one else uses the tile's.
    unsafe fn window(
        &self,
        tile: usize,
        (at, count): (usize, usize),
        bytes: SharedBytes,
        codes: &mut [Code; MAX_POSITIONS],
    ) {
        let Form { side, channels, .. } = self.form;
        let [n, y, x] = self.place(tile);
        let shift = usize::from(self.p.call.spec.upsample);
        let input = self.p.input.bytes;
        let mut pixels = [input.as_ptr().cast(); MAX_POSITIONS];
        for (i, pixel) in pixels[..side * side].iter_mut().enumerate() {
            let y = ((y >> shift) + i / side).checked_sub(1);
            let x = ((x >> shift) + i % side).checked_sub(1);
            let bytes = &input[self.pixel(n, y, x)..][..channels * size_of::<i16>()];
            *pixel = bytes.as_ptr().cast();
        }
        // SAFETY: every pixel has its channels, and `bytes` room for all positions of the tile.
        unsafe {
            let out = bytes.slice(at * channels, 1).as_mut_ptr();
            let offset = self.p.kernels.int.offset;
            let stride = count * channels + APART;
            let window = Window { side, pixels, channels, offset, out, stride };
            (self.p.kernels.int.transforms.window)(&window, codes);
        }
    }

    /// Where a pixel of the input lies; outside of it, where the row of zeros does.
    fn pixel(&self, n: usize, y: Option<usize>, x: Option<usize>) -> usize {
        let input = &self.p.input;
        match (y, x) {
            (Some(y), Some(x)) if y < input.shape.h && x < input.shape.w => input.pixel(n, y, x),
            _ => input.zeros(),
        }
    }

    /// Computes the tiles `within` a block, for one group of panels.
    fn group(&self, group: usize, within: Range<usize>, windows: &Windows<'_>, own: &mut Own<'_>) {
        let first_panel = group * self.form.group();
        let panels = first_panel..(first_panel + self.form.group()).min(self.form.panels());
        self.weights(panels.clone(), own);
        for start in within.clone().step_by(TILES) {
            let tiles = start..(start + TILES).min(within.end);
            for plane in 0..self.form.planes() {
                self.multiply(plane, panels.len(), tiles.clone(), windows, own);
            }
            for tile in tiles {
                self.finish(tile, tile - start, panels.clone(), windows, own);
            }
        }
    }

    /// Transforms the taps of a group.
    fn weights(&self, panels: Range<usize>, own: &mut Own<'_>) {
        let (form, bytes) = (self.form, self.form.panel_bytes());
        let width = panels.len() * LANES;
        for (i, panel) in panels.clone().enumerate() {
            let taps = Taps {
                side: form.side,
                taps: self.taps(panel, own.decoded).as_ptr(),
                channels: form.channels,
                out: own.weights[i * bytes..].as_mut_ptr(),
                stride: panels.len() * bytes + APART,
            };
            let transforms = &self.p.kernels.int.transforms;
            // SAFETY: nine taps; a plane of the group follows the other; the table was handed out
            // for this machine.
            let multipliers = unsafe {
                let found = || (transforms.multipliers)(&taps);
                let multipliers = self.p.panels.multipliers[panel].get_or_init(found);
                (transforms.taps)(&taps, multipliers);
                multipliers
            };
            let columns = &self.p.panels.steps[panel * LANES..][..LANES];
            for plane in 0..form.planes() {
                let steps = winograd::tap_steps(form.side, plane, multipliers);
                let out = &mut own.steps[plane * width + i * LANES..][..LANES];
                for ((out, step), column) in out.iter_mut().zip(steps).zip(columns) {
                    *out = step * column;
                }
            }
        }
        let len = form.planes() * (panels.len() * bytes + APART);
        if let Some(rearrange) = self.p.kernels.int.rearrange {
            for plane in own.weights[..len].chunks_exact_mut(panels.len() * bytes + APART) {
                // SAFETY: whole blocks; the table was handed out for this machine.
                unsafe { rearrange(&mut plane[..panels.len() * bytes]) }
            }
        }
        for plane in 0..form.planes() {
            let sums = own.totals[plane * width..][..width].as_mut_ptr();
            let tile = Tile { base: own.ones.as_ptr(), height: 1, sums, stride: 0 };
            self.tiles(plane, panels.len(), tile, own);
        }
    }

    /// A panel's taps in int8, in their order at rest.
    fn taps<'a>(&'a self, panel: usize, decoded: &'a mut [i8]) -> &'a [i8] {
        if let Values::Int8(values) = &self.p.panels.values {
            return &values[panel * TAPS * self.form.panel_bytes()..][..decoded.len()];
        }
        let groups = self.p.panels.int4_groups(panel, 0..TAPS);
        for ((pairs, m), out) in groups.zip(decoded.chunks_exact_mut(2 * BLOCK_BYTES)) {
            self.p.kernels.decode_int4(pairs, m, out);
        }
        decoded
    }

    /// Multiplies a plane of the group by the windows of some tiles.
    fn multiply(
        &self,
        plane: usize,
        panels: usize,
        tiles: Range<usize>,
        windows: &Windows<'_>,
        own: &mut Own<'_>,
    ) {
        let Form { side, channels, .. } = self.form;
        let (position, width) = (winograd::position(side, plane), panels * LANES);
        let stride = self.form.planes() * width;
        let sums = &mut own.sums[plane * width..][..tiles.len() * stride - plane * width];
        let sums = sums.as_mut_ptr();
        let most = self.p.kernels.int.rows;
        for first in (0..tiles.len()).step_by(most) {
            let stored = position * (windows.count * channels + APART);
            let base = windows.bytes[stored + (tiles.start + first) * channels..].as_ptr();
            let height = most.min(tiles.len() - first);
            let sums = sums.wrapping_add(first * stride);
            self.tiles(plane, panels, Tile { base, height, sums, stride }, own);
        }
    }

    /// Multiplies consecutive rows by a plane of the group, in pieces where the group has more
    /// panels than the kernel's tile.
    fn tiles(&self, plane: usize, panels: usize, tile: Tile, own: &Own<'_>) {
        let (bytes, wide) = (self.form.panel_bytes(), self.p.kernels.int.panels);
        for first in (0..panels).step_by(wide) {
            let piece = IntTile {
                base: tile.base,
                offsets: own.offsets.as_ptr(),
                height: tile.height,
                taps: 1,
                depth: self.form.channels,
                weights: own.weights[plane * (panels * bytes + APART) + first * bytes..].as_ptr(),
                weight_stride: bytes,
                panels: wide.min(panels - first),
                start: std::ptr::null(),
                start_stride: 0,
                sums: tile.sums.wrapping_add(first * LANES),
                sum_stride: tile.stride,
                accumulate: false,
            };
            // SAFETY: the callers have rows and room for sums; the weights hold whole planes; the
            // table was handed out for this machine.
            unsafe { self.p.kernels.int_tile(&piece) }
        }
    }

    /// Brings the products of a tile of the block, number `at` of those that wait, to outputs.
    fn finish(
        &self,
        tile: usize,
        at: usize,
        panels: Range<usize>,
        windows: &Windows<'_>,
        own: &mut Own<'_>,
    ) {
        let (width, positions) = (panels.len() * LANES, self.form.positions());
        let codes = tile * positions..(tile + 1) * positions;
        let products = Products {
            side: self.form.side,
            sums: &own.sums[at * self.form.planes() * width..],
            panels: panels.len(),
            zeros: &windows.zeros[codes.clone()],
            totals: own.totals,
            window_steps: &windows.steps[codes],
            tap_steps: own.steps,
        };
        self.p.kernels.winograd_outputs(&products, own.out);
        let columns = panels.start * LANES..(panels.end * LANES).min(self.form.to.c);
        let rows = self.outputs(windows.first + tile);
        for (i, values) in own.out.chunks_exact_mut(width).take(OUTPUTS).enumerate() {
            let Some(row) = rows[i] else { continue };
            let place = match self.p.out {
                Output::Direct(place) => {
                    place.place().offset((row - self.p.first) * self.form.to.c)
                }
                Output::Rounded(_) => {
                    let at = (tile * OUTPUTS + i) * self.form.to.c;
                    // SAFETY: the block's memory has all of its tiles' outputs.
                    Place::F32(unsafe { windows.waiting.pointer(at) })
                }
            };
            self.write(row, columns.clone(), values, place);
        }
    }

    /// Writes some columns of output pixel `row` to `place`, where its first column goes, with what
    /// follows the product.
    fn write(&self, row: usize, columns: Range<usize>, values: &mut [f32], place: Place) {
        let to = self.form.to;
        let n = row / to.positions();
        let values = &mut values[..columns.len()];
        let finish = Finish {
            bias: self.p.call.filter.bias.as_deref().map(|b| &b[columns.clone()]),
            vector: self.p.vector.map(|v| &v[n * to.c..][columns.clone()]),
            pointwise: self.p.call.epilogue.pointwise,
            residual: None,
            last: None,
        };
        self.p.kernels.finish(&finish, values);
        let summand = self.p.summand.and_then(|s| s.place(row)).map(|s| s.offset(columns.start));
        let last = self.p.call.epilogue.last;
        // SAFETY: inside the output; no other task has these rows and columns.
        unsafe { self.p.kernels.put(values, summand, last, place.offset(columns.start)) }
    }
}
