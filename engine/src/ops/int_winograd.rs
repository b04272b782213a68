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

use super::matmul::Call;
use super::output::Output;
use super::{
    Context, Operands, SharedBytes, SharedMut, SharedPlace, as_bytes, as_i32, as_u32, bytes_as_i8,
    int8_rows,
};
use crate::activations::{Format, Rows};
use crate::graph::{Op, Padding};
use crate::int_weights::{BLOCK_BYTES, IntPanels, Values};
use crate::kernels::Kernels;
use crate::kernels::code::Code;
use crate::kernels::int::{BLOCK, IntTile};
use crate::kernels::rows::{Finish, Place};
use crate::kernels::winograd::{
    self, CHANNELS, MAX_POSITIONS, MAX_SIDE, OUTPUTS, Products, Taps, Window,
};
use crate::session::scratch_of;
use crate::tensor::Shape;
use crate::weights::{LANES, Panels};

/// Taps of the filter.
const TAPS: usize = 9;
/// Panels of a group: twice what the widest kernel multiplies at once, so that windows are read
/// seldom.
const GROUP: usize = 6;
/// Channels from which a group has half as many, so that its taps are not too many bytes.
const DEEP: usize = 1281;
/// Most bytes of the transformed windows of a block, and of outputs that wait to be rounded.
const BLOCK_OF_TILES: usize = 4 << 20;
/// Tiles whose products wait together.
const TILES: usize = 64;
/// Bytes between planes, and between positions, beyond their length, so that the same place of all
/// of them is not in one set of a cache.
const APART: usize = 192;
/// Tiles per task where windows are transformed.
const WINDOWS_PER_TASK: usize = 4;
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

/// Whether a convolution is computed in this way.
pub(crate) fn has_form(op: &Op, to: Shape) -> bool {
    Form::of(op, to, Format::F32).is_some()
}

/// How a convolution is cut into tiles.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    /// Pixels of a window along a side.
    side: usize,
    channels: usize,
    /// The output.
    to: Shape,
    /// Whether whole rows of the output are rounded.
    rounds: bool,
}

impl Form {
    /// The form of a convolution that is computed in this way. The rule is the same on every
    /// machine, since the rounding of transformed values is part of the result.
    pub fn of(op: &Op, to: Shape, format: Format) -> Option<Self> {
        let Op::Conv { filter, spec, prologue: None, epilogue } = op else { return None };
        let channels = filter.channels();
        let fits = filter.kernel() == (3, 3)
            && (spec.stride, spec.padding) == (1, Padding::same(1))
            && channels.is_multiple_of(CHANNELS)
            && channels <= MOST_CHANNELS
            && !epilogue.gated
            && matches!(filter.panels, Panels::Int(_));
        let (side, least) = match spec.upsample {
            true => (3, LEAST_DOUBLED),
            false => (MAX_SIDE, LEAST_PLAIN),
        };
        let wins = channels >= least.channels
            && filter.outputs() >= least.outputs
            && to.positions() >= least.positions;
        let rounds = matches!(format, Format::Int8(_));
        (fits && wins).then_some(Self { side, channels, to, rounds })
    }

    fn positions(self) -> usize {
        self.side * self.side
    }

    fn planes(self) -> usize {
        winograd::planes(self.side)
    }

    /// Tiles of the output: pictures, rows and columns of them.
    fn grid(self) -> [usize; 3] {
        [self.to.n, self.to.h.div_ceil(2), self.to.w.div_ceil(2)]
    }

    fn tiles(self) -> usize {
        self.grid().iter().product()
    }

    /// Tiles of a block.
    fn block(self) -> usize {
        let staged = if self.rounds { OUTPUTS * self.to.c * size_of::<f32>() } else { 0 };
        let most = (BLOCK_OF_TILES / (self.positions() * self.channels + staged)).max(1);
        self.tiles().div_ceil(self.tiles().div_ceil(most).max(1))
    }

    fn panels(self) -> usize {
        self.to.c.div_ceil(LANES)
    }

    /// Panels of a group.
    fn group(self) -> usize {
        if self.channels < DEEP { GROUP } else { GROUP / 2 }
    }

    /// Columns of a group.
    fn columns(self) -> usize {
        self.group() * LANES
    }

    /// Bytes of a panel in one plane, or of one tap.
    fn panel_bytes(self) -> usize {
        self.channels / BLOCK * BLOCK_BYTES
    }

    /// Parts of the memory that all threads share, in f32: windows' bytes, steps and zero points, and
    /// outputs that wait to be rounded.
    fn shared(self) -> [usize; 4] {
        let (tiles, positions) = (self.block(), self.positions());
        let bytes = positions * (tiles * self.channels + APART);
        let staged = if self.rounds { tiles * OUTPUTS * self.to.c } else { 0 };
        [bytes / size_of::<f32>(), tiles * positions, tiles * positions, staged]
    }

    /// Parts of a thread's memory, in f32.
    fn own(self) -> [usize; 7] {
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

pub(super) fn conv(form: Form, call: &Call<'_>, mut o: Operands<'_>, c: &mut Context<'_>) {
    let (x, epilogue) = (o.inputs[0], call.epilogue);
    let (out, residual) = Output::of(epilogue, &mut o);
    let (Some(layout), Panels::Int(panels)) = (int8_rows(x.shape, x.format), &call.filter.panels)
    else {
        unreachable!("the plan gives integer products int8 activations");
    };
    let (steps, bytes) = layout.split(x.data);
    let product = Product {
        form,
        kernels: c.kernels,
        call,
        panels,
        layout,
        steps,
        bytes,
        vector: epilogue.vector.then(|| o.inputs[call.vector_input()].data),
        residual,
        out,
    };
    for first in (0..form.tiles()).step_by(form.block()) {
        let tiles = first..(first + form.block()).min(form.tiles());
        product.block(tiles, o.scratch, c);
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

/// One convolution and all it touches.
struct Product<'a> {
    form: Form,
    kernels: &'static Kernels,
    call: &'a Call<'a>,
    panels: &'a IntPanels,
    layout: Rows,
    steps: &'a [f32],
    bytes: &'a [u8],
    vector: Option<&'a [f32]>,
    residual: Option<SharedPlace>,
    out: Output,
}

impl Product<'_> {
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
        if let Output::Rounded(output) = self.out {
            let (width, kernels) = (self.form.to.c, self.kernels);
            let staged = &*staged;
            c.pool.run(count, &|_, tile| {
                let rows = staged[tile * OUTPUTS * width..].chunks_exact(width);
                for (row, x) in self.outputs(tiles.start + tile).into_iter().zip(rows) {
                    // SAFETY: inside the output; no other task has this tile.
                    row.into_iter().for_each(|row| unsafe { output.put(kernels, row, x) });
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
        c.pool.run(count.div_ceil(WINDOWS_PER_TASK), &|_, task| {
            let first = task * WINDOWS_PER_TASK;
            for at in first..(first + WINDOWS_PER_TASK).min(count) {
                let mut codes = [Code::default(); MAX_POSITIONS];
                let [n, ..] = self.place(tiles.start + at);
                let picture = self.layout.image_code(self.steps, n);
                // SAFETY: inside the block's memory; no other task has this tile.
                let (steps, zeros) = unsafe {
                    self.window(tiles.start + at, (at, count), bytes, &mut codes);
                    let at = at * positions;
                    (steps.slice(at, positions), as_i32(zeros.slice(at, positions)))
                };
                for ((code, step), zero) in codes.iter().zip(steps).zip(zeros) {
                    *step = picture.step * code.step;
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
        let shift = usize::from(self.call.spec.upsample);
        let mut pixels = [self.bytes.as_ptr(); MAX_POSITIONS];
        for (i, pixel) in pixels[..side * side].iter_mut().enumerate() {
            let y = ((y >> shift) + i / side).checked_sub(1);
            let x = ((x >> shift) + i % side).checked_sub(1);
            *pixel = self.bytes[self.pixel(n, y, x)..][..channels].as_ptr();
        }
        let zero = self.layout.image_code(self.steps, n).zero as i16;
        // SAFETY: every pixel has its channels, and `bytes` room for all positions of the tile.
        unsafe {
            let out = bytes.slice(at * channels, 1).as_mut_ptr();
            let offset = self.kernels.int.offset;
            let stride = count * channels + APART;
            let window = Window { side, pixels, channels, offset, zero, out, stride };
            (self.kernels.int.transforms.window)(&window, codes);
        }
    }

    /// Where a pixel of the input lies; outside of it, where the picture's row of zeros does.
    fn pixel(&self, n: usize, y: Option<usize>, x: Option<usize>) -> usize {
        let from = self.layout.shape;
        let pixel = match (y, x) {
            (Some(y), Some(x)) if y < from.h && x < from.w => (n * from.h + y) * from.w + x,
            _ => from.rows() + n,
        };
        pixel * self.layout.stride()
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
            let transforms = &self.kernels.int.transforms;
            // SAFETY: nine taps; a plane of the group follows the other; the table was handed out
            // for this machine.
            let multipliers = unsafe {
                let found = || (transforms.multipliers)(&taps);
                let multipliers = self.panels.multipliers[panel].get_or_init(found);
                (transforms.taps)(&taps, multipliers);
                multipliers
            };
            let columns = &self.panels.steps[panel * LANES..][..LANES];
            for plane in 0..form.planes() {
                let steps = winograd::tap_steps(form.side, plane, multipliers);
                let out = &mut own.steps[plane * width + i * LANES..][..LANES];
                for ((out, step), column) in out.iter_mut().zip(steps).zip(columns) {
                    *out = step * column;
                }
            }
        }
        let len = form.planes() * (panels.len() * bytes + APART);
        if let Some(rearrange) = self.kernels.int.rearrange {
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
        if let Values::Int8(values) = &self.panels.values {
            return &values[panel * TAPS * self.form.panel_bytes()..][..decoded.len()];
        }
        let groups = self.panels.int4_groups(panel, 0..TAPS);
        for ((pairs, m), out) in groups.zip(decoded.chunks_exact_mut(2 * BLOCK_BYTES)) {
            self.kernels.decode_int4(pairs, m, out);
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
        let most = self.kernels.int.rows;
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
        let (bytes, wide) = (self.form.panel_bytes(), self.kernels.int.panels);
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
            unsafe { self.kernels.int_tile(&piece) }
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
        self.kernels.winograd_outputs(&products, own.out);
        let columns = panels.start * LANES..(panels.end * LANES).min(self.form.to.c);
        let rows = self.outputs(windows.first + tile);
        for (i, values) in own.out.chunks_exact_mut(width).take(OUTPUTS).enumerate() {
            let Some(row) = rows[i] else { continue };
            let place = match self.out {
                Output::Direct(place) => place.place().offset(row * self.form.to.c),
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
            bias: self.call.filter.bias.as_deref().map(|b| &b[columns.clone()]),
            vector: self.vector.map(|v| &v[n * to.c..][columns.clone()]),
            pointwise: self.call.epilogue.pointwise,
            residual: None,
        };
        self.kernels.finish(&finish, values);
        let first = row * to.c + columns.start;
        let residual = self.residual.map(|r| r.place().offset(first));
        // SAFETY: inside the output; no other task has these rows and columns.
        unsafe { self.kernels.put(values, residual, place.offset(columns.start)) }
    }
}
