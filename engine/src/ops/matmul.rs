//! Matrix products and convolutions: the loop nest around the register tile.
//!
//! No patch matrix is built. For every tile of output pixels the tile gets one row pointer per tap, to the input pixel's
//! channels or to a row of zeros. A block of panels stays in the second-level cache while all pixels of a task pass over it;
//! blocks of narrower encodings are decoded into scratch memory first. How the work is cut never changes a result, as each
//! output is one chain over `(tap, channel)`.

use std::ops::Range;

use super::{Context, Operands, SharedMut};
use crate::graph::{ConvSpec, Epilogue};
use crate::kernels::Kernels;
use crate::kernels::rows::Finish;
use crate::kernels::tile::Tile;
use crate::session::scratch_of;
use crate::tensor::Shape;
use crate::weights::{Filter, LANES, Panels};

/// Most taps of a kernel (7 x 7).
pub(crate) const MAX_TAPS: usize = 49;
/// Most rows of a register tile.
const MAX_ROWS: usize = 8;
/// Values of a block of panels: 384 KiB, within the second-level cache of every board in view.
const BLOCK: usize = 96 * 1024;
/// Output pixels per task where there are many.
const ROWS_PER_TASK: usize = 256;

/// Room for a decoded block and a row of zeros.
pub(super) fn thread_scratch(filter: &Filter) -> usize {
    let block = match filter.panels {
        Panels::F32(_) => 0,
        Panels::F16(_) => BLOCK.max(3 * LANES * filter.depth()),
    };
    block + filter.channels()
}

pub(super) fn conv(
    filter: &Filter,
    spec: &ConvSpec,
    epilogue: &Epilogue,
    o: Operands<'_>,
    c: &mut Context<'_>,
) {
    let residual = epilogue.residual.then(|| o.inputs[o.count - 1].data);
    let product = Product {
        kernels: c.kernels,
        filter,
        spec,
        epilogue,
        x: o.inputs[0].data,
        from: o.inputs[0].shape,
        to: o.shape,
        vector: epilogue.vector.then(|| o.inputs[1].data),
        residual,
        out: SharedMut(o.out.as_mut_ptr()),
    };
    let cut = Cut::new(&product, c.pool.threads());
    let scratch = c.scratch;
    c.pool.run(cut.tasks(), &|worker, task| {
        let (rows, panels) = cut.task(task);
        product.compute(rows, panels, &mut scratch_of(scratch, worker));
    });
}

/// How the output is cut into tasks.
struct Cut {
    rows: usize,
    rows_per_task: usize,
    panels: usize,
    panels_per_task: usize,
}

impl Cut {
    fn new(p: &Product<'_>, threads: usize) -> Self {
        let (rows, panels) = (p.to.rows(), p.filter.outputs().div_ceil(LANES));
        let step = p.kernels.tile_panels;
        let fits = (BLOCK / (LANES * p.filter.depth())).max(1);
        // Few pixels: cut along the outputs, finely enough for all threads.
        let shared = if rows <= ROWS_PER_TASK { panels.div_ceil(3 * threads) } else { panels };
        let panels_per_task = fits.min(shared).next_multiple_of(step).min(fits.max(step));
        let per_thread = rows.div_ceil(threads).next_multiple_of(MAX_ROWS * 3);
        let rows_per_task = match p.filter.panels {
            Panels::F32(_) => ROWS_PER_TASK.min(rows),
            // A decoded block wants to be used by as many pixels as there are.
            Panels::F16(_) => per_thread.max(ROWS_PER_TASK),
        };
        Self { rows, rows_per_task, panels, panels_per_task }
    }

    fn tasks(&self) -> usize {
        self.rows.div_ceil(self.rows_per_task) * self.panels.div_ceil(self.panels_per_task)
    }

    /// Consecutive tasks share a block of panels.
    fn task(&self, task: usize) -> (Range<usize>, Range<usize>) {
        let row_tasks = self.rows.div_ceil(self.rows_per_task);
        let row = task % row_tasks * self.rows_per_task;
        let panel = task / row_tasks * self.panels_per_task;
        (
            row..(row + self.rows_per_task).min(self.rows),
            panel..(panel + self.panels_per_task).min(self.panels),
        )
    }
}

/// One convolution and all it touches.
struct Product<'a> {
    kernels: &'static Kernels,
    filter: &'a Filter,
    spec: &'a ConvSpec,
    epilogue: &'a Epilogue,
    x: &'a [f32],
    from: Shape,
    to: Shape,
    vector: Option<&'a [f32]>,
    residual: Option<&'a [f32]>,
    out: SharedMut,
}

impl Product<'_> {
    /// Computes the output pixels `rows` for the outputs of `panels`.
    fn compute(&self, rows: Range<usize>, panels: Range<usize>, scratch: &mut [f32]) {
        let (zeros, block) = scratch.split_at_mut(self.filter.channels());
        zeros.fill(0.0);
        let weights = self.block(&panels, block);
        let mut pointers = [std::ptr::null(); MAX_TAPS * MAX_ROWS];
        let mut row = rows.start;
        while row < rows.end {
            let height = self.kernels.tile_rows.min(rows.end - row);
            self.point(row, height, zeros, &mut pointers);
            self.sweep(row, height, &panels, weights, &pointers);
            (row..row + height).for_each(|row| self.finish(row, &panels));
            row += height;
        }
    }

    /// The f32 values of a block of panels.
    fn block<'b>(&'b self, panels: &Range<usize>, scratch: &'b mut [f32]) -> &'b [f32] {
        let stride = LANES * self.filter.depth();
        let range = panels.start * stride..panels.end * stride;
        match &self.filter.panels {
            Panels::F32(values) => &values[range],
            Panels::F16(values) => {
                let decoded = &mut scratch[..range.len()];
                self.kernels.widen(&values[range], decoded);
                decoded
            }
        }
    }

    /// Fills `pointers[tap][i]` with the input pixel that output pixel `row + i` sees through `tap`.
    fn point(&self, row: usize, height: usize, zeros: &[f32], pointers: &mut [*const f32]) {
        let (kh, kw) = self.filter.kernel();
        for i in 0..height {
            let pixel = row + i;
            let (n, at) = (pixel / self.to.positions(), pixel % self.to.positions());
            let (y, x) = (at / self.to.w * self.spec.stride, at % self.to.w * self.spec.stride);
            for ky in 0..kh {
                for kx in 0..kw {
                    pointers[(ky * kw + kx) * height + i] = self
                        .source(n, y + ky, x + kx)
                        .map_or(zeros.as_ptr(), |at| self.x[at..at + self.from.c].as_ptr());
                }
            }
        }
    }

    /// Where the input pixel at padded `(y, x)` starts, `None` in the padding.
    fn source(&self, n: usize, y: usize, x: usize) -> Option<usize> {
        let shift = usize::from(self.spec.upsample);
        let y = y.checked_sub(self.spec.padding.top)? >> shift;
        let x = x.checked_sub(self.spec.padding.left)? >> shift;
        let inside = y < self.from.h && x < self.from.w;
        inside.then(|| ((n * self.from.h + y) * self.from.w + x) * self.from.c)
    }

    /// One tile of rows over all panels of the block.
    fn sweep(
        &self,
        row: usize,
        height: usize,
        panels: &Range<usize>,
        weights: &[f32],
        pointers: &[*const f32],
    ) {
        let (kh, kw) = self.filter.kernel();
        let (step, stride) = (self.kernels.tile_panels, LANES * self.filter.depth());
        for panel in panels.clone().step_by(step) {
            let last = (panel + step).min(panels.end);
            let columns = panel * LANES..(last * LANES).min(self.to.c);
            let tile = Tile {
                rows: pointers.as_ptr(),
                height,
                taps: kh * kw,
                depth: self.from.c,
                panels: weights[(panel - panels.start) * stride..].as_ptr(),
                panel_stride: stride,
                width: columns.len(),
                // SAFETY: inside the output; no other task has these rows and columns.
                out: unsafe { self.out.pointer(row * self.to.c + columns.start) },
                out_stride: self.to.c,
                accumulate: false,
            };
            // SAFETY: `point` filled all row pointers; the block holds the panels; see `out` above.
            unsafe { self.kernels.tile(&tile) }
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
        };
        self.kernels.finish(&finish, y);
    }
}
