//! Which input pixels an output pixel sees through the taps of a kernel: a window that slides over
//! the output in order, so that nothing is divided on the way.

use std::ops::Range;

use super::matmul::MAX_TAPS;
use crate::graph::ConvSpec;
use crate::tensor::Shape;

/// The sizes of a convolution, and how its input lies in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sliding {
    pub from: Shape,
    pub to: Shape,
    pub spec: ConvSpec,
    /// Lines and columns of the kernel.
    pub kernel: (usize, usize),
    /// Lines of pixels in memory. Line `y` of picture `n` is the one of `n * h + y` modulo this.
    pub lines: usize,
    /// From one pixel of the input to the next.
    pub stride: usize,
    /// Where padding is read.
    pub outside: usize,
}

impl Sliding {
    /// The window of output pixel `row`; pixels count over pictures.
    pub fn at(&self, row: usize) -> Window<'_> {
        let (n, at) = (row / self.to.positions(), row % self.to.positions());
        let (y, x) = (at / self.to.w, at % self.to.w);
        let mut window = Window { sizes: self, n, y, x, starts: [None; MAX_TAPS] };
        window.find_lines();
        window
    }
}

/// What one output pixel sees.
pub(super) struct Window<'a> {
    sizes: &'a Sliding,
    n: usize,
    y: usize,
    x: usize,
    /// Where the lines begin that the lines of the kernel lie on; none in the padding.
    starts: [Option<usize>; MAX_TAPS],
}

impl Window<'_> {
    fn find_lines(&mut self) {
        let Sliding { from, spec, kernel, lines, stride, .. } = *self.sizes;
        let shift = usize::from(spec.upsample);
        for (line, start) in self.starts[..kernel.0].iter_mut().enumerate() {
            let y = (self.y * spec.stride + line).checked_sub(spec.padding.top);
            let inside = y.map(|y| y >> shift).filter(|y| *y < from.h);
            *start = inside.map(|y| (self.n * from.h + y) % lines * from.w * stride);
        }
    }

    /// Calls `f(place, where its pixel lies)` for some taps, whose places count from 0, and slides on
    /// to the next output pixel.
    #[inline(always)]
    pub fn next(&mut self, taps: &Range<usize>, mut f: impl FnMut(usize, usize)) {
        let Sliding { from, spec, kernel, stride, outside, .. } = *self.sizes;
        let (shift, first) = (usize::from(spec.upsample), self.x * spec.stride);
        let mut tap = 0;
        for start in &self.starts[..kernel.0] {
            for column in 0..kernel.1 {
                if taps.contains(&tap) {
                    // Left of the picture this is larger than any width.
                    let x = (first + column).wrapping_sub(spec.padding.left) >> shift;
                    let start = start.filter(|_| x < from.w);
                    f(tap - taps.start, start.map_or(outside, |start| start + x * stride));
                }
                tap += 1;
            }
        }
        self.slide(1);
    }

    /// Fills `offsets[tap][i]` for the next `height` output pixels.
    pub fn locate(&mut self, taps: usize, height: usize, offsets: &mut [u32]) {
        if !self.is_within(height) {
            for i in 0..height {
                self.next(&(0..taps), |tap, from| offsets[tap * height + i] = from as u32);
            }
            return;
        }
        let Sliding { spec, kernel, stride, outside, .. } = *self.sizes;
        for (tap, offsets) in offsets[..taps * height].chunks_exact_mut(height).enumerate() {
            let x = self.x + tap % kernel.1 - spec.padding.left;
            match self.starts[tap / kernel.1] {
                Some(start) => {
                    let first = (start + x * stride) as u32;
                    for (i, offset) in offsets.iter_mut().enumerate() {
                        *offset = first + i as u32 * stride as u32;
                    }
                }
                None => offsets.fill(outside as u32),
            }
        }
        self.slide(height);
    }

    /// Whether the next `height` output pixels lie on one line and see neighbours of one another, none
    /// of them beside the picture.
    fn is_within(&self, height: usize) -> bool {
        let Sliding { from, to, spec, kernel, .. } = *self.sizes;
        let end = self.x + height;
        spec.stride == 1
            && !spec.upsample
            && end <= to.w
            && self.x >= spec.padding.left
            && end + kernel.1 - 1 <= from.w + spec.padding.left
    }

    /// Goes on by some output pixels of a line.
    fn slide(&mut self, pixels: usize) {
        let Sliding { to, .. } = *self.sizes;
        self.x += pixels;
        if self.x == to.w {
            self.x = 0;
            self.y += 1;
            if self.y == to.h {
                (self.n, self.y) = (self.n + 1, 0);
            }
            self.find_lines();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Padding;
    use proptest::prelude::*;

    proptest! {
        /// The twin divides.
        #[test]
        fn the_window_sees_what_the_definition_of_a_convolution_says(
            h in 3_usize..8, w in 3_usize..8, kind in 0_usize..4, first in 0_usize..9,
            cut in 0_usize..9, ring in 0_usize..3
        ) {
            let spec = match kind {
                0 => ConvSpec::same(3),
                1 => ConvSpec::up(3),
                2 => ConvSpec::down(Padding::same(1)),
                _ => ConvSpec::down(Padding { top: 0, left: 0, bottom: 1, right: 1 }),
            };
            let double = 1 + usize::from(spec.upsample);
            let side = |len: usize, before: usize, after: usize| {
                (double * len + before + after - 3) / spec.stride + 1
            };
            let p = spec.padding;
            let to = Shape::image(2, side(h, p.top, p.bottom), side(w, p.left, p.right), 5);
            let (from, lines) = (Shape::image(2, h, w, 4), 2 * h - ring);
            let sizes =
                Sliding { from, to, spec, kernel: (3, 3), lines, stride: 7, outside: 9999 };
            let taps = cut.min(8)..9;
            let mut window = sizes.at(first);
            for row in first..to.rows() {
                let (n, y, x) = (row / to.positions(), row % to.positions() / to.w, row % to.w);
                let mut places = 0;
                window.next(&taps, |place, at| {
                    let tap = taps.start + place;
                    let see = |at: usize, tap: usize, before: usize, len: usize| {
                        let at = (at * spec.stride + tap).checked_sub(before)? / double;
                        (at < len).then_some(at)
                    };
                    let expected = match (see(y, tap / 3, p.top, h), see(x, tap % 3, p.left, w)) {
                        (Some(y), Some(x)) => ((n * h + y) % lines * w + x) * 7,
                        _ => 9999,
                    };
                    assert_eq!((place, at), (places, expected));
                    places += 1;
                });
                prop_assert_eq!(places, taps.len());
            }
        }

        #[test]
        fn many_pixels_at_once_see_what_each_sees(
            w in 3_usize..30, upsample in any::<bool>(), first in 0_usize..36,
            heights in proptest::collection::vec(1_usize..17, 1..6)
        ) {
            let spec = if upsample { ConvSpec::up(3) } else { ConvSpec::same(3) };
            let from = Shape::image(1, 12, w, 4);
            let to = Shape::image(1, 12 << u8::from(upsample), w << u8::from(upsample), 5);
            let sizes =
                Sliding { from, to, spec, kernel: (3, 3), lines: 5, stride: 16, outside: 9999 };
            let (mut many, mut each) = (sizes.at(first), sizes.at(first));
            let mut row = first;
            for height in heights {
                let height = height.min(to.rows() - row);
                let mut got = vec![0; 9 * height];
                many.locate(9, height, &mut got);
                let mut want = vec![0; 9 * height];
                for i in 0..height {
                    each.next(&(0..9), |tap, at| want[tap * height + i] = at as u32);
                }
                prop_assert_eq!(got, want);
                row += height;
                if row == to.rows() {
                    break;
                }
            }
        }
    }
}
