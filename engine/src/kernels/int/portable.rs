//! The integer tile in plain Rust: the scalar twin of all others.

use super::{IntKernels, IntTile, sized, start};
use crate::kernels::winograd::transforms;
use crate::weights::LANES;

pub(crate) static KERNELS: IntKernels = IntKernels {
    rows: 4,
    panels: 1,
    offset: 0,
    step: 4,
    rearrange: None,
    tile,
    int4: None,
    transforms: transforms!(Portable),
    release: None,
};

/// # Safety
/// The tile's pointers must be valid for what its fields say.
unsafe fn tile(t: &IntTile) {
    sized!(t, fixed, 1: [1 2 3 4])
}

/// # Safety
/// As [`tile`].
unsafe fn fixed<const ROWS: usize, const PANELS: usize>(t: &IntTile) {
    // SAFETY: the caller's contract.
    unsafe {
        let mut sums = [[[0_i32; LANES]; PANELS]; ROWS];
        if let Some(start) = start(t) {
            for (i, row) in sums.iter_mut().enumerate() {
                for (p, lanes) in row.iter_mut().enumerate() {
                    *lanes = start.of(i, p).cast::<[i32; LANES]>().read();
                }
            }
        }
        for tap in 0..t.taps {
            for k in (0..t.depth).step_by(4) {
                let at = (tap * t.depth + k) * LANES;
                for (i, row) in sums.iter_mut().enumerate() {
                    let from = *t.offsets.add(tap * ROWS + i) as usize + k;
                    let x = t.base.add(from).cast::<[i8; 4]>().read();
                    for (p, lanes) in row.iter_mut().enumerate() {
                        let w = t.weights.add(p * t.weight_stride + at);
                        let w = w.cast::<[[i8; 4]; LANES]>().read();
                        for (lane, w) in lanes.iter_mut().zip(w) {
                            let products =
                                x.iter().zip(w).map(|(x, w)| i32::from(*x) * i32::from(w));
                            *lane += products.sum::<i32>();
                        }
                    }
                }
            }
        }
        for (i, row) in sums.into_iter().enumerate() {
            t.sums.add(i * t.sum_stride).cast::<[[i32; LANES]; PANELS]>().write(row);
        }
    }
}
