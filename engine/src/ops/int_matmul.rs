//! Matrix products and convolutions in integers: the loop nest around the integer tile.
//!
//! The same walk as in [`super::matmul`]: a task is a range of output pixels and of panels, no patch
//! matrix is built. Where each row of the tile reads its taps is looked up once per task, as offsets
//! into the activations. A group of panels as wide as the tile stays in the second-level cache while
//! all pixels of the task pass over it; very deep filters are cut into segments of whole taps, whose
//! sums wait in scratch memory. int4 panels, and int8 panels of kernels with an order of their own,
//! are decoded once per group and segment.

use std::ops::Range;

use super::int_product::Product;
use super::output::Output;
use super::sliding::Sliding;
use super::source::Lines;
use super::{Context, as_bytes, as_i32, as_u32, bytes_as_i8, int8_rows};
use crate::activations::Format;
use crate::int_weights::{BLOCK_BYTES, IntPanels, Values};
use crate::kernels::code::Code;
use crate::kernels::int::{self, Int4Kernels, IntTile};
use crate::kernels::rest::Rest;
use crate::kernels::rows::{IntFinish, Place};
use crate::prefetch::prefetch;
use crate::session::scratch_of;
use crate::tensor::Shape;
use crate::weights::LANES;

/// Output pixels per task where there are many.
const ROWS_PER_TASK: usize = 512;
/// Most bytes of a panel's segment: with three panels 192 KiB, as in float.
const SEGMENT_BYTES: usize = 64 << 10;

/// Output pixels per task where a task needs whole rows.
const STAGED_ROWS: usize = 64;

/// Taps of a segment.
fn taps_per_segment(panels: &IntPanels) -> usize {
    let tap = panels.shape.blocks() * BLOCK_BYTES;
    (SEGMENT_BYTES / tap).clamp(1, panels.shape.taps)
}

/// Lengths of the parts of a thread's scratch memory, in f32.
struct Scratch {
    offsets: usize,
    /// Of steps, and of zero points.
    steps: usize,
    sums: usize,
    decoded: usize,
    staged: usize,
}

impl Scratch {
    /// `staged` values of a row wait until it is whole.
    fn new(panels: &IntPanels, staged: usize) -> Self {
        let taps = panels.shape.taps;
        let rows = if taps_per_segment(panels) == taps { int::MAX_ROWS } else { ROWS_PER_TASK };
        Self {
            offsets: ROWS_PER_TASK * taps,
            steps: ROWS_PER_TASK,
            sums: rows * int::MAX_PANELS * LANES,
            decoded: int::MAX_PANELS
                * taps_per_segment(panels)
                * panels.shape.groups()
                * int::MAX_GROUP_BYTES
                / size_of::<f32>(),
            staged: STAGED_ROWS * staged,
        }
    }
}

/// Room for offsets, steps, sums, decoded weights and rows of `out` that wait to be rounded.
pub(super) fn thread_scratch(panels: &IntPanels, out: Shape, format: Format) -> usize {
    let s = Scratch::new(panels, int8_rows(out, format).map_or(0, |rows| rows.shape.c));
    s.offsets + s.steps + s.sums + s.decoded + s.staged
}

/// int8 activations.
#[derive(Clone, Copy)]
pub(super) struct Input<'a> {
    /// Rows of `stride` bytes, the last of zeros.
    pub bytes: &'a [u8],
    pub shape: Shape,
    /// Lines of pixels in `bytes`. Line `y` of picture `n` is the one of `n * h + y` modulo this.
    pub lines: usize,
    pub stride: usize,
    pub codes: Codes<'a>,
}

/// What the activations behind each output pixel stand for.
#[derive(Clone, Copy)]
pub(super) enum Codes<'a> {
    /// A step for each pixel, `cycle` of them before they start again.
    Rows { steps: &'a [f32], cycle: usize },
    /// One for all.
    Picture(Code),
}

impl Codes<'_> {
    /// What a step is worth.
    pub fn step(&self, row: usize) -> f32 {
        match self {
            Self::Rows { steps, cycle } => steps[row % cycle],
            Self::Picture(code) => code.step,
        }
    }

    /// What is zero.
    fn zero(&self) -> i32 {
        match self {
            Self::Picture(code) => code.zero,
            Self::Rows { .. } => 0,
        }
    }

    /// What the steps of some pixels are worth.
    fn look_up(&self, rows: Range<usize>, steps: &mut [f32]) {
        steps.iter_mut().zip(rows).for_each(|(step, row)| *step = self.step(row));
    }
}

impl Input<'_> {
    pub const NONE: Input<'static> = Input {
        bytes: &[],
        shape: Shape::vector(0, 0),
        lines: 0,
        stride: 0,
        codes: Codes::Rows { steps: &[], cycle: 1 },
    };

    /// Where a pixel starts.
    pub fn pixel(&self, n: usize, y: usize, x: usize) -> usize {
        ((n * self.shape.h + y) % self.lines * self.shape.w + x) * self.stride
    }

    /// Where the row of zeros starts.
    pub fn zeros(&self) -> usize {
        self.lines * self.shape.w * self.stride
    }
}

/// How the output is cut into tasks.
struct Cut {
    first: usize,
    rows: usize,
    rows_per_task: usize,
    groups: usize,
    groups_per_task: usize,
}

impl Cut {
    fn new(p: &Product<'_>, rows: Range<usize>, threads: usize) -> Self {
        let (first, rows, groups) = (rows.start, rows.len(), p.groups());
        let tile = p.kernels.int.rows;
        if p.staged() > 0 {
            let rows_per_task = STAGED_ROWS / tile * tile;
            return Self { first, rows, rows_per_task, groups, groups_per_task: groups };
        }
        let rows_per_task = rows.div_ceil(threads).next_multiple_of(tile);
        let rows_per_task = rows_per_task.min(ROWS_PER_TASK / tile * tile);
        // Some tasks more than threads, so that a late thread is not waited for long.
        let wanted = if threads == 1 { 1 } else { 4 * threads };
        let group_tasks = wanted.div_ceil(rows.div_ceil(rows_per_task));
        let groups_per_task = groups.div_ceil(group_tasks);
        Self { first, rows, rows_per_task, groups, groups_per_task }
    }

    fn tasks(&self) -> usize {
        self.rows.div_ceil(self.rows_per_task) * self.groups.div_ceil(self.groups_per_task)
    }

    /// Consecutive tasks share their panels.
    fn task(&self, task: usize) -> (Range<usize>, Range<usize>) {
        let row_tasks = self.rows.div_ceil(self.rows_per_task);
        let row = task % row_tasks * self.rows_per_task;
        let group = task / row_tasks * self.groups_per_task;
        (
            self.first + row..self.first + (row + self.rows_per_task).min(self.rows),
            group..(group + self.groups_per_task).min(self.groups),
        )
    }
}

/// The panels of a tile: consecutive ones, or one of values and one of gates.
#[derive(Clone, Copy)]
struct Group {
    first: usize,
    count: usize,
    /// Panels from one to the next.
    step: usize,
}

/// Some output pixels of a product.
struct Task<'a> {
    rows: Range<usize>,
    /// Where they read their taps, see [`Product::locate`].
    offsets: &'a [u32],
    /// What a step of the activations behind each is worth; looked up once for all panels.
    steps: &'a [f32],
    /// Where their values go, and the pixel whose values go to its start.
    out: Place,
    first: usize,
}

/// int8 weights in the order of the tile, and the bytes from one panel to the next.
#[derive(Clone, Copy)]
struct Weights {
    first: *const i8,
    stride: usize,
}

/// Computes some output pixels on all threads.
pub(super) fn run(p: &Product<'_>, rows: Range<usize>, c: &mut Context<'_>) {
    let cut = Cut::new(p, rows, c.pool.threads());
    let scratch = c.scratch;
    c.pool.run(cut.tasks(), &|worker, task| {
        let (rows, groups) = cut.task(task);
        p.compute(rows, groups, &mut scratch_of(scratch, worker));
    });
}

impl Product<'_> {
    /// Panels that a group of values is wide.
    fn panels_per_group(&self) -> usize {
        if self.call.epilogue.gated { 1 } else { self.kernels.int.panels }
    }

    fn groups(&self) -> usize {
        self.to.c.div_ceil(LANES).div_ceil(self.panels_per_group())
    }

    fn group(&self, index: usize) -> Group {
        let (first, each) = (index * self.panels_per_group(), self.panels_per_group());
        match self.call.epilogue.gated {
            true => Group { first, count: 2, step: self.to.c / LANES },
            false => Group { first, count: each.min(self.to.c.div_ceil(LANES) - first), step: 1 },
        }
    }

    /// Computes the output pixels `rows` for the panels of `groups`.
    fn compute(&self, rows: Range<usize>, groups: Range<usize>, scratch: &mut [f32]) {
        let sizes = Scratch::new(self.panels, self.staged());
        let (offsets, rest) = scratch.split_at_mut(sizes.offsets);
        let (steps, rest) = rest.split_at_mut(sizes.steps);
        let (sums, rest) = rest.split_at_mut(sizes.sums);
        let (decoded, staged) = rest.split_at_mut(sizes.decoded);
        let (offsets, sums, decoded) =
            (as_u32(offsets), as_i32(sums), bytes_as_i8(as_bytes(decoded)));
        self.locate(rows.clone(), offsets);
        self.input.codes.look_up(rows.clone(), steps);
        let (out, first) = match self.out {
            Output::Direct(place) => (place.place(), self.first),
            Output::Rounded(_) => (Place::F32(staged.as_mut_ptr()), rows.start),
        };
        self.stage_summand(rows.clone(), staged);
        let task = Task { rows: rows.clone(), offsets, steps, out, first };
        let (taps, each) = (self.panels.shape.taps, taps_per_segment(self.panels));
        for index in groups {
            let group = self.group(index);
            for first in (0..taps).step_by(each) {
                let segment = first..(first + each).min(taps);
                let weights = self.weights(group, segment.clone(), decoded);
                self.sweep(&task, group, &segment, weights, sums);
            }
        }
        if let Output::Rounded(output) = self.out {
            let values = Rest::rows(&staged[..rows.len() * self.to.c], self.to.c);
            // SAFETY: inside the output; no other task has these rows.
            unsafe { output.put(self.kernels, rows.start - self.first, &values) }
        }
    }

    /// Where the summand is int8, its values wait in the place of the sums.
    fn stage_summand(&self, rows: Range<usize>, staged: &mut [f32]) {
        let Some(summand) = self.summand.filter(Lines::is_int8) else { return };
        // SAFETY: it has the rows, which this task alone writes over, later on.
        let x = unsafe { summand.rows(self.kernels, rows.clone()) };
        for (row, y) in (0..rows.len()).zip(staged.chunks_exact_mut(self.to.c)) {
            self.kernels.read(&x, row, 0, y);
        }
    }

    /// Values of a row that wait until all of it is there.
    fn staged(&self) -> usize {
        if let Output::Rounded(_) = self.out { self.to.c } else { 0 }
    }

    /// Consecutive rows of a tile: the rows from `row` on, within one picture where a vector per
    /// picture is added.
    fn height(&self, row: usize, end: usize) -> usize {
        let height = self.kernels.int.rows.min(end - row);
        match self.vector {
            None => height,
            Some(_) => height.min(self.to.positions() - row % self.to.positions()),
        }
    }

    /// Fills `offsets[tile][tap][i]` with where the input pixel lies that output pixel `i` of a tile
    /// sees through a tap: the row of zeros where that is padding.
    fn locate(&self, rows: Range<usize>, offsets: &mut [u32]) {
        let taps = self.panels.shape.taps;
        let sizes = Sliding {
            from: self.input.shape,
            to: self.to,
            spec: *self.call.spec,
            kernel: self.call.filter.kernel(),
            lines: self.input.lines,
            stride: self.input.stride,
            outside: self.input.zeros(),
        };
        let mut window = sizes.at(rows.start);
        let (mut row, mut at) = (rows.start, 0);
        while row < rows.end {
            let height = self.height(row, rows.end);
            window.locate(taps, height, &mut offsets[at..]);
            (row, at) = (row + height, at + height * taps);
        }
    }

    /// A segment of a group's panels.
    fn weights(&self, group: Group, taps: Range<usize>, decoded: &mut [i8]) -> Weights {
        let shape = self.panels.shape;
        let tap_bytes = shape.blocks() * BLOCK_BYTES;
        let (first, len) = (taps.start * tap_bytes, taps.len() * tap_bytes);
        if let Some(int4) = self.int4() {
            return self.int4_weights(int4, group, taps, decoded);
        }
        let rearrange = self.kernels.int.rearrange;
        if let (Values::Int8(values), None) = (&self.panels.values, rearrange) {
            let last = group.first + (group.count - 1) * group.step;
            assert!(values.len() >= last * shape.panel_bytes() + first + len);
            let from = &values[group.first * shape.panel_bytes() + first..];
            return Weights { first: from.as_ptr(), stride: group.step * shape.panel_bytes() };
        }
        for (i, out) in decoded.chunks_exact_mut(len).take(group.count).enumerate() {
            let panel = group.first + i * group.step;
            self.decode(panel, taps.clone(), out);
            if let Some(rearrange) = rearrange {
                // SAFETY: whole blocks; the table was handed out for this machine.
                unsafe { rearrange(out) }
            }
        }
        Weights { first: decoded.as_ptr(), stride: len }
    }

    /// The kernels that multiply these weights as int4, if there are any.
    fn int4(&self) -> Option<&'static Int4Kernels> {
        matches!(self.panels.values, Values::Int4 { .. }).then_some(self.kernels.int.int4).flatten()
    }

    /// A segment of a group's int4 panels as the kernels of int4 values read them.
    fn int4_weights(
        &self,
        int4: &Int4Kernels,
        group: Group,
        taps: Range<usize>,
        decoded: &mut [i8],
    ) -> Weights {
        let stride = taps.len() * self.panels.shape.groups() * int4.group_bytes;
        for (i, out) in decoded.chunks_exact_mut(stride).take(group.count).enumerate() {
            let groups = self.panels.int4_groups(group.first + i * group.step, taps.clone());
            for ((pairs, m), out) in groups.zip(out.chunks_exact_mut(int4.group_bytes)) {
                // SAFETY: the table was handed out for this machine.
                unsafe { (int4.unpack)(pairs, m, out) }
            }
        }
        Weights { first: decoded.as_ptr(), stride }
    }

    /// Some taps of a panel as int8 in the order at rest.
    fn decode(&self, panel: usize, taps: Range<usize>, out: &mut [i8]) {
        let shape = self.panels.shape;
        let first = panel * shape.taps + taps.start;
        let tap_bytes = shape.blocks() * BLOCK_BYTES;
        match &self.panels.values {
            Values::Int8(values) => out.copy_from_slice(&values[first * tap_bytes..][..out.len()]),
            Values::Int4 { pairs, multipliers } => {
                let pairs = &pairs[first * tap_bytes / 2..][..out.len() / 2];
                let multipliers = &multipliers[first * shape.groups() * LANES..];
                self.decode_int4(pairs, multipliers, out);
            }
        }
    }

    fn decode_int4(&self, pairs: &[u8], multipliers: &[i8], out: &mut [i8]) {
        let tap_bytes = self.panels.shape.blocks() * BLOCK_BYTES;
        let mut multipliers = multipliers.as_chunks::<LANES>().0.iter();
        for (pairs, out) in pairs.chunks_exact(tap_bytes / 2).zip(out.chunks_exact_mut(tap_bytes)) {
            // A group is two blocks, but for the last of a tap with an odd number of them.
            for (pairs, out) in pairs.chunks(BLOCK_BYTES).zip(out.chunks_mut(2 * BLOCK_BYTES)) {
                if let Some(multipliers) = multipliers.next() {
                    self.kernels.decode_int4(pairs, multipliers, out);
                }
            }
        }
    }

    /// All pixels of a task over one segment of one group of panels.
    fn sweep(
        &self,
        task: &Task<'_>,
        group: Group,
        segment: &Range<usize>,
        weights: Weights,
        sums: &mut [i32],
    ) {
        let Task { rows, offsets, .. } = task;
        let shape = self.panels.shape;
        let (whole, last) = (segment.len() == shape.taps, segment.end == shape.taps);
        let starts = self.starts(group);
        let (mut row, mut at) = (rows.start, 0);
        while row < rows.end {
            let height = self.height(row, rows.end);
            // Sums of a whole depth are used at once, those of a segment wait for the next.
            let first = if whole { 0 } else { (row - rows.start) * group.count * LANES };
            let sums = &mut sums[first..][..height * group.count * LANES];
            let tile = IntTile {
                base: self.input.bytes.as_ptr(),
                offsets: offsets[at + segment.start * height..][..segment.len() * height].as_ptr(),
                height,
                taps: segment.len(),
                depth: self.input.stride,
                weights: weights.first,
                weight_stride: weights.stride,
                panels: group.count,
                start: starts.as_ref().map_or(std::ptr::null(), |starts| starts.as_ptr()),
                start_stride: LANES,
                sums: sums.as_mut_ptr(),
                sum_stride: group.count * LANES,
                accumulate: segment.start > 0,
            };
            if last {
                self.ask_for_residual(row..row + height, group);
            }
            self.tiles(&tile);
            if last {
                self.finish(task, row, height, group, sums);
            }
            (row, at) = (row + height, at + height * shape.taps);
        }
    }

    /// What the sums of a group start from: what the offset of stored activations adds to them, and
    /// what their zero point does, taken off. `None` for zeros.
    fn starts(&self, group: Group) -> Option<[i32; int::MAX_PANELS * LANES]> {
        let zero = self.input.codes.zero();
        let offset = self.kernels.int.offset != 0;
        if zero == 0 && !offset {
            return None;
        }
        let mut starts = [0; int::MAX_PANELS * LANES];
        for (i, starts) in starts.chunks_exact_mut(LANES).take(group.count).enumerate() {
            let columns = (group.first + i * group.step) * LANES..;
            if offset {
                starts.copy_from_slice(&self.panels.starts[columns.clone()][..LANES]);
            }
            for (start, total) in starts.iter_mut().zip(&self.panels.totals[columns]) {
                *start = start.wrapping_sub(total.wrapping_mul(zero));
            }
        }
        Some(starts)
    }

    /// Lets the summands of a tile come while it is computed.
    fn ask_for_residual(&self, rows: Range<usize>, group: Group) {
        const LINE: usize = 64;
        let (first, width) = (group.first * LANES, group.count * LANES);
        let Some(place) = self.summand.and_then(|s| s.place(rows.start)) else { return };
        for row in 0..rows.len() {
            let bytes = place.offset(row * self.to.c + first).bytes(width);
            bytes.step_by(LINE).for_each(|at| prefetch(std::ptr::without_provenance(at)));
        }
    }

    /// Computes a tile, in pieces where the group has more panels than the kernel's tile.
    fn tiles(&self, tile: &IntTile) {
        let wide = self.kernels.int.panels;
        for first in (0..tile.panels).step_by(wide) {
            let panels = wide.min(tile.panels - first);
            let start = match tile.start.is_null() {
                true => tile.start,
                false => tile.start.wrapping_add(first * tile.start_stride),
            };
            let piece = IntTile {
                weights: tile.weights.wrapping_add(first * tile.weight_stride),
                start,
                sums: tile.sums.wrapping_add(first * LANES),
                panels,
                ..*tile
            };
            // SAFETY: `locate` filled the offsets with rows inside the activations; `weights` and
            // `sweep` checked the other pointers; the table was handed out for this machine.
            unsafe {
                match self.int4() {
                    Some(int4) => (int4.tile)(&piece),
                    None => self.kernels.int_tile(&piece),
                }
            }
        }
    }

    fn finish(&self, task: &Task<'_>, row: usize, height: usize, group: Group, sums: &[i32]) {
        let own = row - task.rows.start..row - task.rows.start + height;
        let epilogue = self.call.epilogue;
        let columns = group.first * LANES..((group.first + group.count) * LANES).min(self.to.c);
        let width = if epilogue.gated { LANES } else { columns.len() };
        let out = task.out.offset((row - task.first) * self.to.c + columns.start);
        let summand = |s: Lines<'_>| s.place(row).map_or(out, |place| place.offset(columns.start));
        let n = row / self.to.positions();
        let finish = IntFinish {
            sums,
            panels: group.count,
            row_scales: &task.steps[own],
            scales: &self.panels.steps[columns.start..],
            bias: self.call.filter.bias.as_deref().map(|b| &b[columns.start..]),
            vector: self.vector.map(|v| &v[n * self.to.c + columns.start..]),
            pointwise: epilogue.pointwise,
            gate: epilogue.gated.then_some(group.step * LANES),
            residual: self.summand.map(summand),
            last: epilogue.last,
            out,
            stride: self.to.c,
            width,
        };
        // SAFETY: the slices hold whole panels, the places the tile's rows and columns; no other task
        // has these.
        unsafe { self.kernels.int_finish(&finish) }
    }
}
