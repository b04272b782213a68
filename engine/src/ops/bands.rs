//! How a product is cut into bands that make their own input: a few lines at a time pass through the
//! prologue into a ring that stays in the second-level cache, and what it makes never exists as a
//! whole.
//!
//! Behind a group norm, whose scales are known by then, a band is some lines of a picture. Where a
//! pixel sees no other, every pixel is a line.

use std::ops::Range;

use super::{Context, Operand, SharedMut};
use crate::graph::ConvSpec;
use crate::kernels::rows::ScaleShift;
use crate::session::scratch_of;
use crate::tensor::Shape;
use crate::weights::Filter;

/// Most bytes of a ring, where a kernel's height allows it.
const RING_BYTES: usize = 2 << 20;
/// Pixels per task of a prologue.
pub(super) const PIXELS: usize = 64;

/// The bands of one product.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bands {
    /// Input and output as the bands see them.
    pub from: Shape,
    pub to: Shape,
    /// Lines of the input in the ring: line `y` of picture `n` is its `n * h + y`th modulo this.
    pub ring: usize,
    /// Output lines of a band.
    height: usize,
    /// Lines of the kernel.
    kernel: usize,
    spec: ConvSpec,
    granules: Granules,
}

/// How many lines come and go together; what remains at the end of a picture may be fewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Granules {
    /// Of the input.
    pub from: usize,
    /// Of the output.
    pub to: usize,
}

impl Granules {
    pub const SINGLE: Self = Self { from: 1, to: 1 };
}

impl Bands {
    /// The bands of a product `from -> to`, for a ring of values of `size` bytes.
    pub fn new(filter: &Filter, spec: ConvSpec, shapes: [Shape; 2], size: usize) -> Self {
        Self::with_granules(filter, spec, shapes, size, Granules::SINGLE)
    }

    /// The same for lines that come and go in groups.
    pub fn with_granules(
        filter: &Filter,
        spec: ConvSpec,
        shapes: [Shape; 2],
        size: usize,
        granules: Granules,
    ) -> Self {
        let pointwise = filter.kernel() == (1, 1) && spec == ConvSpec::same(1);
        let single = granules == Granules::SINGLE;
        let shapes = shapes.map(|s| if pointwise && single { column(s) } else { s });
        let whole = Self::whole(filter, spec, shapes, granules);
        whole.within((RING_BYTES / (whole.from.w * whole.from.c * size)).max(1))
    }

    /// The same with at most `lines` of output in a band.
    pub fn no_higher(self, lines: usize) -> Self {
        if self.height <= lines {
            return self;
        }
        let height = self.to.h.div_ceil(self.to.h.div_ceil(lines));
        let height = height.next_multiple_of(self.granules.to).min(self.to.h);
        Self { height, ring: self.span(height), ..self }
    }

    /// Bands of any `height` lines of the output or fewer, as another walk asks for them.
    pub fn of_height(
        filter: &Filter,
        spec: ConvSpec,
        shapes: [Shape; 2],
        height: usize,
        granules: Granules,
    ) -> Self {
        let whole = Self::whole(filter, spec, shapes, granules);
        Self { height, ring: whole.span(height.min(whole.to.h)), ..whole }
    }

    fn whole(filter: &Filter, spec: ConvSpec, [from, to]: [Shape; 2], granules: Granules) -> Self {
        let kernel = filter.kernel().0;
        Self { from, to, ring: from.h, height: to.h, kernel, spec, granules }
    }

    /// The same with at most `lines` in the ring, if one granule of output needs no more.
    fn within(self, lines: usize) -> Self {
        if self.span(self.to.h) <= lines {
            return Self { ring: self.span(self.to.h), ..self };
        }
        let most = self.height_behind((lines + 1).saturating_sub(self.granules.from).max(1));
        let most = (most / self.granules.to).max(1) * self.granules.to;
        // Bands of about one height, so that the last does not leave threads idle.
        let height = self.to.h.div_ceil(self.to.h.div_ceil(most));
        let height = height.next_multiple_of(self.granules.to).min(self.to.h);
        Self { height, ring: self.span(height), ..self }
    }

    /// Most lines of input behind `height` lines of output, in whole granules.
    fn span(&self, height: usize) -> usize {
        let lines = (height - 1) * self.spec.stride + self.kernel;
        // A pair of lines of a doubled picture is one, and a span may begin and end within a pair.
        let lines = if self.spec.upsample { lines / 2 + 1 } else { lines };
        (lines + self.granules.from - 1).min(self.from.h)
    }

    /// A number of output lines that have at most `lines` of input behind them.
    fn height_behind(&self, lines: usize) -> usize {
        let lines = if self.spec.upsample { 2 * (lines - 1) } else { lines };
        lines.saturating_sub(self.kernel) / self.spec.stride + 1
    }

    /// Most output lines of a band.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The input lines that are needed for some output lines, up to the end of a granule.
    pub fn behind(&self, out: Range<usize>) -> Range<usize> {
        let shift = usize::from(self.spec.upsample);
        let line = |padded: usize| padded.saturating_sub(self.spec.padding.top) >> shift;
        let last = line((out.end - 1) * self.spec.stride + self.kernel - 1);
        let end = (last + 1).next_multiple_of(self.granules.from);
        line(out.start * self.spec.stride)..end.min(self.from.h)
    }

    /// Calls `f(output pixels)` for all bands in order.
    pub fn each_output(&self, mut f: impl FnMut(Range<usize>)) {
        for n in 0..self.to.n {
            for first in (0..self.to.h).step_by(self.height) {
                let last = (first + self.height).min(self.to.h);
                f((n * self.to.h + first) * self.to.w..(n * self.to.h + last) * self.to.w);
            }
        }
    }

    /// The picture of some output pixels in whole lines, and which pixels of its input must be added to
    /// the first `ready` for them.
    pub fn next(&self, out: &Range<usize>, ready: &mut usize) -> (usize, Range<usize>) {
        let (from, to) = (self.from, self.to);
        let n = out.start / to.positions();
        let behind = self.behind(out.start / to.w - n * to.h..out.end.div_ceil(to.w) - n * to.h);
        let [start, end] = [behind.start, behind.end].map(|line| (n * from.h + line) * from.w);
        let new = start.max(*ready)..end;
        *ready = end;
        (n, new)
    }

    /// Calls `f(picture, input pixels that are new, output pixels)` for all bands in order.
    pub fn each(&self, mut f: impl FnMut(usize, Range<usize>, Range<usize>)) {
        let mut ready = 0;
        self.each_output(|out| {
            let (n, new) = self.next(&out, &mut ready);
            f(n, new, out);
        });
    }

    /// Pixels in the ring.
    pub fn ring_pixels(&self) -> usize {
        self.ring * self.from.w
    }

    /// Normalises pixels of `x` into a ring of f32.
    pub fn normalise(
        &self,
        x: Operand<'_>,
        affine: &ScaleShift<'_>,
        pixels: Range<usize>,
        ring: &mut [f32],
        c: &mut Context<'_>,
    ) {
        let (k, scratch, width) = (c.kernels, c.scratch, self.from.c);
        let (x, size) = (Operand { shape: self.from, ..x }, self.ring_pixels());
        let ring = SharedMut(ring.as_mut_ptr());
        c.pool.run(pixels.len().div_ceil(PIXELS), &|worker, task| {
            let mut space = scratch_of(scratch, worker);
            let first = pixels.start + task * PIXELS;
            for pixel in first..(first + PIXELS).min(pixels.end) {
                // SAFETY: inside the ring; no more pixels are filled at a time than it has, so that no
                // other task has this one.
                let y = unsafe { ring.slice(pixel % size * width, width) };
                k.scale_shift(affine, x.row(k, pixel, &mut space), y);
            }
        });
    }
}

/// All pixels below one another.
fn column(s: Shape) -> Shape {
    Shape::image(s.n, s.positions(), 1, s.c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Padding;
    use proptest::prelude::*;

    /// A kernel of three lines over two pictures of `h` lines.
    fn bands(h: usize, kind: usize, [lines, most]: [usize; 2], granules: Granules) -> Bands {
        let spec = match kind {
            0 => ConvSpec::same(3),
            1 => ConvSpec::up(3),
            2 => ConvSpec::down(Padding::same(1)),
            _ => ConvSpec::down(Padding { top: 0, left: 0, bottom: 1, right: 1 }),
        };
        let padded = if spec.upsample { 2 * h } else { h } + spec.padding.top + spec.padding.bottom;
        let to = Shape::image(2, (padded - 3) / spec.stride + 1, 5, 1);
        let from = Shape::image(2, h, 3, 1);
        let whole = Bands { from, to, ring: h, height: to.h, kernel: 3, spec, granules };
        whole.within(lines).no_higher(most.next_multiple_of(granules.to))
    }

    proptest! {
        /// Plays the ring with the numbers of lines in place of lines.
        #[test]
        fn every_line_that_a_band_reads_is_in_the_ring(
            h in 3_usize..40, kind in 0_usize..4, lines in 1_usize..12,
            from in 1_usize..4, to in 1_usize..4, most in 1_usize..20
        ) {
            let b = bands(h, kind, [lines, most], Granules { from, to });
            let least = b.span(to.min(b.to.h));
            prop_assert!(b.ring <= lines.max(least), "{} lines of {}", b.ring, lines);
            let mut ring = vec![usize::MAX; b.ring];
            let mut next = 0;
            b.each(|n, new, out| {
                let whole = |px: &Range<usize>, s: Shape, granule: usize| {
                    let ends = [px.start, px.end].map(|px| px / s.w - n * s.h);
                    ends.iter().all(|line| line.is_multiple_of(granule) || *line == s.h)
                };
                assert!(whole(&new, b.from, from) && whole(&out, b.to, to));
                for line in new.start / b.from.w..new.end / b.from.w {
                    ring[line % b.ring] = line;
                }
                assert_eq!(out.start, next);
                next = out.end;
                for y in out.start / b.to.w % b.to.h..(out.end / b.to.w - 1) % b.to.h + 1 {
                    for tap in 0..3 {
                        let padded = y * b.spec.stride + tap;
                        let shift = usize::from(b.spec.upsample);
                        let Some(y) = padded.checked_sub(b.spec.padding.top) else { continue };
                        if y >> shift < h {
                            let line = n * h + (y >> shift);
                            assert_eq!(ring[line % b.ring], line);
                        }
                    }
                }
            });
            prop_assert_eq!(next, b.to.rows());
        }
    }
}
