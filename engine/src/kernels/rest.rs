//! Kernels over activations as they lie between steps: f32, f16 or int8.

use std::ops::Range;

use super::code::Code;
use super::math;
use super::rows::{Quantise, ScaleShift, get, lanes, put};
use crate::simd::Simd;
use crate::weights::LANES;

/// What an f16 at rest counts: values up to a million fit, and only those below a thousandth lose
/// relative precision.
pub(crate) const F16_STEP: f32 = 16.0;

/// Rows of activations at rest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rest<'a> {
    pub values: RestValues<'a>,
    /// Values of a row.
    pub width: usize,
}

/// The values of [`Rest`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum RestValues<'a> {
    F32(&'a [f32]),
    /// In steps of [`F16_STEP`].
    F16(&'a [u16]),
    /// Rows of `stride` bytes, each plus `offset`; a step for every row.
    Int8 {
        steps: &'a [f32],
        bytes: &'a [u8],
        stride: usize,
        offset: u8,
    },
}

impl<'a> Rest<'a> {
    /// One row of f32.
    pub fn row(values: &'a [f32]) -> Self {
        Self::rows(values, values.len())
    }

    /// Rows of f32, each `width` wide.
    pub fn rows(values: &'a [f32], width: usize) -> Self {
        Self { values: RestValues::F32(values), width }
    }

    /// How many rows there are.
    pub fn rows_there(&self) -> usize {
        match self.values {
            RestValues::F32(values) => values.len() / self.width,
            RestValues::F16(values) => values.len() / self.width,
            RestValues::Int8 { steps, bytes, stride, .. } => steps.len().min(bytes.len() / stride),
        }
    }

    /// Whether row `row` is there.
    pub fn has(&self, row: usize) -> bool {
        row < self.rows_there()
    }
}

/// Runs `$body` with `$load` bound to a loader of lanes of one row, `(at, n) -> S`, once per format so
/// that the choice is outside of the loops. To be used where the loader's contract is kept.
macro_rules! with_loader {
    ($s:ty, $rest:expr, $row:expr, |$load:ident| $body:expr) => {{
        let (rest, row) = ($rest, $row);
        match rest.values {
            RestValues::F32(values) => {
                let values = &values[row * rest.width..];
                let $load = |at: usize, n: usize| get::<$s>(values, at, n);
                $body
            }
            RestValues::F16(values) => {
                let values = &values[row * rest.width..];
                let $load = |at: usize, n: usize| get_f16::<$s>(values, at, n);
                $body
            }
            RestValues::Int8 { steps, bytes, stride, offset } => {
                let (bytes, step) = (&bytes[row * stride..], steps[row]);
                // Rows of bytes are padded to whole lanes.
                let $load = |at: usize, _: usize| {
                    <$s>::load_i8(bytes.as_ptr().add(at), offset).mul(<$s>::splat(step))
                };
                $body
            }
        }
    }};
}

/// Loads `n <= 16` values at rest from `s[at..]`.
///
/// # Safety
/// As [`Simd`]; `at + n` values are there.
#[inline(always)]
unsafe fn get_f16<S: Simd>(s: &[u16], at: usize, n: usize) -> S {
    debug_assert!(at + n <= s.len());
    // SAFETY: the caller's contract.
    unsafe {
        let halves = if n == LANES {
            S::load_f16(s.as_ptr().add(at))
        } else {
            let mut part = [0_u16; LANES];
            std::ptr::copy_nonoverlapping(s.as_ptr().add(at), part.as_mut_ptr(), n);
            S::load_f16(part.as_ptr())
        };
        halves.mul(S::splat(F16_STEP))
    }
}

/// `y` becomes the values of row `row` from `first` on.
///
/// # Safety
/// As [`Simd`]; the row has so many values from there on, and `first` is 0 where rows are int8.
#[inline(always)]
pub(crate) unsafe fn read<S: Simd>(x: &Rest<'_>, row: usize, first: usize, y: &mut [f32]) {
    // SAFETY: the caller's contract.
    unsafe {
        with_loader!(S, x, row, |load| lanes!(y.len(), |at, n| {
            put(load(first + at, n), y, at, n)
        }));
    }
}

/// `y` at rest becomes `x` in f16.
///
/// # Safety
/// As [`Simd`]; both are of one length, whole lanes.
#[inline(always)]
pub(crate) unsafe fn narrow<S: Simd>(x: &[f32], y: &mut [u16]) {
    for at in (0..x.len()).step_by(LANES) {
        // SAFETY: the caller's contract: sixteen values of both start at `at`.
        unsafe {
            let v = get::<S>(x, at, LANES).mul(S::splat(1.0 / F16_STEP));
            v.store_f16(y.as_mut_ptr().add(at));
        }
    }
}

/// Rows scaled and shifted, perhaps through SiLU, then rounded, each to as many bytes of `y`.
///
/// # Safety
/// As [`Simd`]; the rows are there, `p` has their width, each has room in `y` for as many, padded to
/// whole lanes, and is aligned for them.
#[inline(always)]
pub(crate) unsafe fn normalise<S: Simd>(
    x: &Rest<'_>,
    rows: Range<usize>,
    p: &ScaleShift<'_>,
    q: Quantise,
    y: &mut [u8],
) {
    let stride = y.len() / rows.len();
    for (row, y) in rows.zip(y.chunks_exact_mut(stride)) {
        // SAFETY: the caller's contract.
        unsafe {
            with_loader!(S, x, row, |load| lanes!(x.width, |at, n| {
                let v = load(at, n).fma(get(p.scale, at, n), get(p.shift, at, n));
                let v = if p.silu { math::silu(v) } else { v };
                q.store(v, y.as_mut_ptr(), at)
            }));
        }
    }
}

/// Calls `f(lanes, which)` for all lanes of a row, where `which` counts to [`WIDE`] and starts again:
/// so many chains of what `f` does, of which none waits for another.
macro_rules! each_lane {
    ($width:expr, $load:ident, |$v:ident, $which:ident| $body:expr) => {{
        let (width, mut at) = ($width, 0);
        while at + WIDE * LANES <= width {
            for $which in 0..WIDE {
                let $v = $load(at + $which * LANES, LANES);
                $body;
            }
            at += WIDE * LANES;
        }
        while at < width {
            let ($which, $v) = (0, $load(at, LANES.min(width - at)));
            $body;
            at += LANES;
        }
    }};
}

/// Chains of [`each_lane`].
const WIDE: usize = 4;

/// Rows rounded to int8, each to as many bytes of `y` and with a step of its own: what that is worth.
///
/// # Safety
/// As [`Simd`]; the rows are there, each has room in `y` for as many, padded to whole lanes.
#[inline(always)]
pub(crate) unsafe fn round<S: Simd>(
    x: &Rest<'_>,
    rows: Range<usize>,
    offset: u8,
    y: &mut [u8],
    steps: &mut [f32],
) {
    let stride = y.len() / rows.len();
    for ((row, y), step) in rows.zip(y.chunks_exact_mut(stride)).zip(steps) {
        // SAFETY: the caller's contract.
        unsafe {
            with_loader!(S, x, row, |load| {
                let (mut largest, one) = ([S::splat(0.0); WIDE], S::splat(1.0));
                each_lane!(x.width, load, |v, i| largest[i] = v.copysign(one).max(largest[i]));
                let [a, b, c, d] = largest;
                let code = Code::symmetric(a.max(b).max(c.max(d)).largest());
                let q = Quantise::Int8 { rounding: code.rounding(), offset };
                lanes!(x.width, |at, n| q.store(load(at, n), y.as_mut_ptr(), at));
                *step = code.step;
            });
        }
    }
}

/// The smallest and the largest value of some rows, and zero.
///
/// # Safety
/// As [`Simd`]; the rows are there.
#[inline(always)]
pub(crate) unsafe fn range<S: Simd>(x: &Rest<'_>, rows: Range<usize>) -> [f32; 2] {
    // SAFETY: the caller's contract.
    unsafe {
        let zero = S::splat(0.0);
        let (mut low, mut high) = ([zero; WIDE], [zero; WIDE]);
        for row in rows {
            with_loader!(S, x, row, |load| each_lane!(x.width, load, |v, i| {
                low[i] = v.min(low[i]);
                high[i] = v.max(high[i]);
            }));
        }
        let ([a, b, c, d], [e, f, g, h]) = (low, high);
        let low = zero.sub(a.min(b).min(c.min(d)));
        [0.0 - low.largest(), e.max(f).max(g.max(h)).largest()]
    }
}

/// Statistics of the channels of some rows.
#[derive(Debug)]
pub(crate) struct ChannelMoments<'a> {
    pub mean: &'a mut [f32],
    /// Sums of squared deviations from the mean.
    pub squares: &'a mut [f32],
    pub low: &'a mut [f32],
    pub high: &'a mut [f32],
}

/// The moments of every channel over the rows `rows`, each summed in the order of rows. A few
/// channels at a time stay in registers, so that rows are the inner loop; they pass twice.
///
/// # Safety
/// As [`Simd`]; the rows are there, the moments are as long as they are wide.
#[inline(always)]
pub(crate) unsafe fn moments<S: Simd>(
    x: &Rest<'_>,
    rows: Range<usize>,
    m: &mut ChannelMoments<'_>,
) {
    let mut at = 0;
    // SAFETY: the caller's contract.
    unsafe {
        while at + WIDE * LANES <= x.width {
            moments_of::<S, WIDE>(x, rows.clone(), at, LANES, m);
            at += WIDE * LANES;
        }
        while at < x.width {
            let n = LANES.min(x.width - at);
            moments_of::<S, 1>(x, rows.clone(), at, n, m);
            at += n;
        }
    }
}

/// The moments of `B` times `n` channels from `at` on.
///
/// # Safety
/// As [`moments`]; `n` is 16 where `B` is not 1.
#[inline(always)]
unsafe fn moments_of<S: Simd, const B: usize>(
    x: &Rest<'_>,
    rows: Range<usize>,
    at: usize,
    n: usize,
    m: &mut ChannelMoments<'_>,
) {
    // SAFETY: the caller's contract.
    unsafe {
        let part = S::splat(1.0 / rows.len() as f32);
        let mut sums = [S::splat(0.0); B];
        let (mut low, mut high) = ([S::splat(f32::INFINITY); B], [S::splat(f32::NEG_INFINITY); B]);
        for row in rows.clone() {
            with_loader!(S, x, row, |load| for b in 0..B {
                let v = load(at + b * LANES, n);
                sums[b] = sums[b].add(v);
                low[b] = v.min(low[b]);
                high[b] = v.max(high[b]);
            });
        }
        let mean = sums.map(|sum| sum.mul(part));
        let mut squares = [S::splat(0.0); B];
        for row in rows {
            with_loader!(S, x, row, |load| for b in 0..B {
                let d = load(at + b * LANES, n).sub(mean[b]);
                squares[b] = d.fma(d, squares[b]);
            });
        }
        for b in 0..B {
            let at = at + b * LANES;
            put(mean[b], m.mean, at, n);
            put(squares[b], m.squares, at, n);
            put(low[b], m.low, at, n);
            put(high[b], m.high, at, n);
        }
    }
}
