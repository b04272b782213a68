//! The pixels under a kernel as one row, `[taps][channels]`: what the engine's convolutions read
//! without ever laying it out.

use pochade_engine::Tap;

/// Rows and columns of a layer's output.
pub(super) fn output_size(tap: &Tap) -> (usize, usize) {
    let (spec, up) = (tap.spec, if tap.spec.upsample { 2 } else { 1 });
    let extent = |len: usize, padding: usize, kernel: usize| {
        (len * up + padding).saturating_sub(kernel) / spec.stride + 1
    };
    let padding = spec.padding;
    (
        extent(tap.shape.h, padding.top + padding.bottom, tap.kernel.0),
        extent(tap.shape.w, padding.left + padding.right, tap.kernel.1),
    )
}

/// Appends what output pixel `(y, x)` of picture `n` is computed from; zeros where that lies outside.
pub(super) fn append(row: &mut Vec<f32>, values: &[f32], tap: &Tap, [n, y, x]: [usize; 3]) {
    let (shape, spec) = (tap.shape, tap.spec);
    let up = if spec.upsample { 2 } else { 1 };
    let inside = |at: usize, padding: usize, len: usize| {
        at.checked_sub(padding).map(|at| at / up).filter(|at| *at < len)
    };
    for ky in 0..tap.kernel.0 {
        let line = inside(y * spec.stride + ky, spec.padding.top, shape.h);
        for kx in 0..tap.kernel.1 {
            let column = inside(x * spec.stride + kx, spec.padding.left, shape.w);
            match line.zip(column) {
                Some((line, column)) => {
                    let pixel = (n * shape.h + line) * shape.w + column;
                    row.extend_from_slice(&values[pixel * shape.c..][..shape.c]);
                }
                None => row.extend(std::iter::repeat_n(0.0, shape.c)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use pochade_engine::{ConvSpec, Graph, Padding, Rate, Shape};

    use super::*;

    fn tap(spec: ConvSpec, kernel: usize) -> Tap {
        let mut g = Graph::new();
        let shape = Shape::image(1, 2, 2, 1);
        let input = g.input(shape, Rate::Run);
        Tap { layer: "layer".into(), input, shape, kernel: (kernel, kernel), spec, joined_at: None }
    }

    fn row(tap: &Tap, at: [usize; 3]) -> Vec<f32> {
        let mut row = Vec::new();
        append(&mut row, &[1.0, 2.0, 3.0, 4.0], tap, at);
        row
    }

    #[test]
    fn a_corner_has_zeros_outside() {
        let tap = tap(ConvSpec::same(3), 3);
        assert_eq!(output_size(&tap), (2, 2));
        assert_eq!(row(&tap, [0, 0, 0]), [0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 0.0, 3.0, 4.0]);
    }

    #[test]
    fn a_stride_skips_pixels() {
        let padding = Padding { top: 0, left: 0, bottom: 1, right: 1 };
        let tap = tap(ConvSpec::down(padding), 3);
        assert_eq!(output_size(&tap), (1, 1));
        assert_eq!(row(&tap, [0, 0, 0]), [1.0, 2.0, 0.0, 3.0, 4.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn a_doubled_picture_repeats_its_pixels() {
        let tap = tap(ConvSpec::up(3), 3);
        assert_eq!(output_size(&tap), (4, 4));
        assert_eq!(row(&tap, [0, 1, 1]), [1.0, 1.0, 2.0, 1.0, 1.0, 2.0, 3.0, 3.0, 4.0]);
    }
}
