//! Matrix products and convolutions: the loop nest around the register tile.
//!
//! No patch matrix is built. For every tile of output pixels the tile gets one row pointer per tap,
//! to the input pixel's channels or to a row of zeros. A task is a range of output pixels and of
//! panels; it walks the panels in groups as wide as the register tile, and each group in segments
//! of the depth that stay in the second-level cache while all pixels of the task pass over them.
//! Panels of narrower encodings are decoded into scratch memory first. How the work is cut never
//! changes a result, as each output is one chain over `(tap, channel)` that a segment takes up
//! where the last one left it.

use std::ops::Range;

use super::bands::Bands;
use super::scales::Scales;
use super::sliding::{Sliding, Window};
use super::{Context, Operands, SharedMut, doubled, few_outputs};
use crate::graph::{ConvSpec, Epilogue, Prologue};
use crate::kernels::Kernels;
use crate::kernels::rows::Finish;
use crate::kernels::tile::Tile;
use crate::session::scratch_of;
use crate::tensor::Shape;
use crate::weights::{Filter, LANES, Panels};

/// Most taps of a kernel (7 x 7).
pub(crate) const MAX_TAPS: usize = 49;
/// Most rows of a register tile.
pub(super) const MAX_ROWS: usize = 8;
/// Most panels that a register tile is wide.
const MAX_PANELS: usize = 3;
/// Depth of a segment: with three panels 192 KiB, within the second-level cache of every board in
/// view.
const SEGMENT: usize = 1024;
/// Where padding lies: beyond all pixels.
const OUTSIDE: usize = usize::MAX;
/// Output pixels per task where there are many.
const ROWS_PER_TASK: usize = 512;

/// Room for a decoded segment and a row of zeros, or for what another form needs.
pub(super) fn thread_scratch(call: &Call<'_>) -> usize {
    let &Call { filter, spec, prologue, epilogue } = call;
    if doubled::fits(filter, *spec, *prologue, *epilogue) {
        return doubled::thread_scratch(filter);
    }
    if few_outputs::fits(filter, *spec, *prologue, *epilogue) {
        return few_outputs::thread_scratch(filter);
    }
    let decoded = match filter.panels {
        Panels::F32(_) => 0,
        Panels::F16(_) => MAX_PANELS * LANES * SEGMENT,
        Panels::Int(_) => unreachable!("integer products have their own loops"),
    };
    decoded + filter.channels()
}

/// A convolution or matrix product.
pub(super) struct Call<'a> {
    pub filter: &'a Filter,
    pub spec: &'a ConvSpec,
    pub prologue: &'a Option<Prologue>,
    pub epilogue: &'a Epilogue,
}

impl Call<'_> {
    /// Which input is the vector, if there is one.
    pub fn vector_input(&self) -> usize {
        match self.prologue {
            Some(Prologue::Normalise { .. }) => 2,
            _ => 1,
        }
    }

    /// Which input is the residual, if there is one.
    pub fn summand_input(&self) -> usize {
        self.vector_input() + usize::from(self.epilogue.vector)
    }
}

pub(super) fn conv(call: &Call<'_>, o: Operands<'_>, c: &mut Context<'_>) {
    let &Call { filter, spec, prologue, epilogue } = call;
    if doubled::fits(filter, *spec, *prologue, *epilogue) {
        return doubled::conv(call, o, c);
    }
    if few_outputs::fits(filter, *spec, *prologue, *epilogue) {
        return few_outputs::conv(call, o, c);
    }
    let (x, residual) = (o.inputs[0], epilogue.residual.then(|| o.inputs[o.count - 1].data));
    let product = Product {
        kernels: c.kernels,
        filter,
        spec,
        epilogue,
        x: x.data,
        from: x.shape,
        lines: x.shape.n * x.shape.h,
        to: o.shape,
        vector: epilogue.vector.then(|| o.inputs[call.vector_input()].data),
        residual,
        out: SharedMut(o.out.as_mut_ptr()),
    };
    let Some(Prologue::Normalise { silu }) = *prologue else {
        return product.run(0..o.shape.rows(), c);
    };
    let bands = Bands::new(filter, *spec, [x.shape, o.shape], size_of::<f32>());
    let scales = o.inputs[1].data;
    bands.each(|n, pixels, out| {
        let affine = Scales::of(scales, x.shape.c, n).affine(silu);
        bands.normalise(x, &affine, pixels, o.scratch, c);
        let Bands { from, to, ring, .. } = bands;
        Product { x: o.scratch, from, to, lines: ring, ..product }.run(out, c);
    });
}

/// Memory that all threads share: the ring of a convolution behind a norm, or taps in another form.
pub(super) fn scratch(call: &Call<'_>, shapes: [Shape; 2]) -> usize {
    let &Call { filter, spec, prologue, epilogue } = call;
    if doubled::fits(filter, *spec, *prologue, *epilogue) {
        return doubled::scratch(filter);
    }
    if few_outputs::fits(filter, *spec, *prologue, *epilogue) {
        return few_outputs::scratch(filter);
    }
    if prologue.is_none() {
        return 0;
    }
    let bands = Bands::new(filter, *spec, shapes, size_of::<f32>());
    bands.ring_pixels() * bands.from.c
}

/// How the output is cut into tasks.
struct Cut {
    first: usize,
    rows: usize,
    rows_per_task: usize,
    panels: usize,
    panels_per_task: usize,
}

impl Cut {
    fn new(p: &Product<'_>, rows: Range<usize>, threads: usize) -> Self {
        let (first, rows, panels) = (rows.start, rows.len(), p.filter.outputs().div_ceil(LANES));
        let rows_per_task = rows.div_ceil(threads).next_multiple_of(MAX_ROWS).min(ROWS_PER_TASK);
        let row_tasks = rows.div_ceil(rows_per_task);
        // Some tasks more than threads, so that a late thread is not waited for long.
        let panel_tasks = (4 * threads).div_ceil(row_tasks);
        let panels_per_task = panels.div_ceil(panel_tasks).next_multiple_of(p.kernels.tile_panels);
        Self { first, rows, rows_per_task, panels, panels_per_task }
    }

    fn tasks(&self) -> usize {
        self.rows.div_ceil(self.rows_per_task) * self.panels.div_ceil(self.panels_per_task)
    }

    /// Consecutive tasks share their panels.
    fn task(&self, task: usize) -> (Range<usize>, Range<usize>) {
        let row_tasks = self.rows.div_ceil(self.rows_per_task);
        let row = task % row_tasks * self.rows_per_task;
        let panel = task / row_tasks * self.panels_per_task;
        (
            self.first + row..self.first + (row + self.rows_per_task).min(self.rows),
            panel..(panel + self.panels_per_task).min(self.panels),
        )
    }
}

/// A piece of the depth: some taps with all channels, or some channels of one tap.
#[derive(Clone)]
struct Segment {
    taps: Range<usize>,
    channels: Range<usize>,
}

/// The pieces of a depth, in the order of the chain, each about [`SEGMENT`] deep.
fn segments(taps: usize, channels: usize) -> impl Iterator<Item = Segment> {
    let taps_each = (SEGMENT / channels).max(1);
    let channels_each = channels.min(SEGMENT);
    (0..taps).step_by(taps_each).flat_map(move |tap| {
        let taps = tap..(tap + taps_each).min(taps);
        (0..channels).step_by(channels_each).map(move |channel| Segment {
            taps: taps.clone(),
            channels: channel..(channel + channels_each).min(channels),
        })
    })
}

/// A segment of some panels, and the values from one panel to the next.
#[derive(Clone, Copy)]
struct Block<'a> {
    values: &'a [f32],
    stride: usize,
}

/// One convolution and all it touches.
#[derive(Clone, Copy)]
struct Product<'a> {
    kernels: &'static Kernels,
    filter: &'a Filter,
    spec: &'a ConvSpec,
    epilogue: &'a Epilogue,
    /// Line `y` of picture `n` is the one of `n * h + y` modulo `lines`.
    x: &'a [f32],
    from: Shape,
    lines: usize,
    to: Shape,
    vector: Option<&'a [f32]>,
    residual: Option<&'a [f32]>,
    out: SharedMut,
}

impl Product<'_> {
    /// Computes some output pixels on all threads.
    fn run(&self, rows: Range<usize>, c: &mut Context<'_>) {
        let cut = Cut::new(self, rows, c.pool.threads());
        let scratch = c.scratch;
        c.pool.run(cut.tasks(), &|worker, task| {
            let (rows, panels) = cut.task(task);
            self.compute(rows, panels, &mut scratch_of(scratch, worker));
        });
    }

    /// Computes the output pixels `rows` for the outputs of `panels`.
    fn compute(&self, rows: Range<usize>, panels: Range<usize>, scratch: &mut [f32]) {
        let (zeros, decoded) = scratch.split_at_mut(self.filter.channels());
        zeros.fill(0.0);
        let (kh, kw) = self.filter.kernel();
        for first in panels.clone().step_by(self.kernels.tile_panels) {
            let group = first..(first + self.kernels.tile_panels).min(panels.end);
            for segment in segments(kh * kw, self.filter.channels()) {
                let weights = self.weights(&group, &segment, decoded);
                self.sweep(rows.clone(), &group, &segment, weights, zeros);
            }
            rows.clone().for_each(|row| self.finish(row, &group));
        }
    }

    /// A segment of a group of panels as f32.
    fn weights<'b>(
        &'b self,
        group: &Range<usize>,
        segment: &Segment,
        decoded: &'b mut [f32],
    ) -> Block<'b> {
        let stride = LANES * self.filter.depth();
        let first = (segment.taps.start * self.from.c + segment.channels.start) * LANES;
        let len = segment.taps.len() * segment.channels.len() * LANES;
        match &self.filter.panels {
            Panels::F32(values) => {
                let values = &values[group.start * stride + first..];
                Block { values: &values[..(group.len() - 1) * stride + len], stride }
            }
            Panels::F16(values) => {
                let decoded = &mut decoded[..group.len() * len];
                for (panel, decoded) in group.clone().zip(decoded.chunks_exact_mut(len)) {
                    self.kernels.widen(&values[panel * stride + first..][..len], decoded);
                }
                Block { values: decoded, stride: len }
            }
            Panels::Int(_) => unreachable!("integer products have their own loops"),
        }
    }

    /// All pixels of a task over one segment of one group of panels.
    fn sweep(
        &self,
        rows: Range<usize>,
        group: &Range<usize>,
        segment: &Segment,
        weights: Block<'_>,
        zeros: &[f32],
    ) {
        let columns = group.start * LANES..(group.end * LANES).min(self.to.c);
        let mut pointers = [std::ptr::null(); MAX_TAPS * MAX_ROWS];
        let sizes = Sliding {
            from: self.from,
            to: self.to,
            spec: *self.spec,
            kernel: self.filter.kernel(),
            lines: self.lines,
            stride: self.from.c,
            outside: OUTSIDE,
        };
        let mut window = sizes.at(rows.start);
        for row in rows.clone().step_by(self.kernels.tile_rows) {
            let height = self.kernels.tile_rows.min(rows.end - row);
            self.point(&mut window, height, segment, zeros, &mut pointers);
            let tile = Tile {
                rows: pointers.as_ptr(),
                height,
                taps: segment.taps.len(),
                depth: segment.channels.len(),
                panels: weights.values.as_ptr(),
                panel_stride: weights.stride,
                width: columns.len(),
                // SAFETY: inside the output; no other task has these rows and columns.
                out: unsafe { self.out.pointer(row * self.to.c + columns.start) },
                out_stride: self.to.c,
                accumulate: segment.taps.start > 0 || segment.channels.start > 0,
            };
            // SAFETY: `point` filled the segment's row pointers; `weights` holds its panels; see
            // `out` above.
            unsafe { self.kernels.tile(&tile) }
        }
    }

    /// Fills `pointers[tap][i]` with the input pixels that the next `height` output pixels see through
    /// the taps of the segment.
    fn point(
        &self,
        window: &mut Window<'_>,
        height: usize,
        segment: &Segment,
        zeros: &[f32],
        pointers: &mut [*const f32],
    ) {
        let channels = segment.channels.clone();
        for i in 0..height {
            window.next(&segment.taps, |slot, at| {
                let pixel = if at == OUTSIDE { zeros } else { &self.x[at..] };
                pointers[slot * height + i] = pixel[channels.clone()].as_ptr();
            });
        }
    }

    fn finish(&self, row: usize, panels: &Range<usize>) {
        let bias = self.filter.bias.as_deref();
        if bias.is_none() && *self.epilogue == Epilogue::default() {
            return;
        }
        let columns = panels.start * LANES..(panels.end * LANES).min(self.to.c);
        let at = row * self.to.c + columns.start;
        let (n, len) = (row / self.to.positions(), columns.len());
        // SAFETY: inside the output; no other task has this row and these columns.
        let y = unsafe { self.out.slice(at, len) };
        let finish = Finish {
            bias: bias.map(|b| &b[columns.start..]),
            vector: self.vector.map(|v| &v[n * self.to.c + columns.start..][..len]),
            pointwise: self.epilogue.pointwise,
            residual: self.residual.map(|r| &r[at..at + len]),
            last: self.epilogue.last,
        };
        self.kernels.finish(&finish, y);
    }
}
