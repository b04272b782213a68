//! Kernels over rows of values: everything that is not a matrix product.
//!
//! Sums over a row use sixteen lanes, then the fixed tree of [`Simd::sum`].

use super::code::{MOST_WIDE, Rounding};
use super::math;
use super::rest::F16_STEP;
use crate::graph::Pointwise;
use crate::simd::Simd;
use crate::weights::LANES;

/// Runs `$body` for every sixteen values of `0..$len` with the loader and storer fit for whole or
/// part lanes.
macro_rules! lanes {
    ($len:expr, |$at:ident, $part:ident| $body:expr) => {{
        let len = $len;
        let mut $at = 0;
        while $at + LANES <= len {
            let $part = LANES;
            $body;
            $at += LANES;
        }
        if $at < len {
            let $part = len - $at;
            $body;
        }
    }};
}

pub(super) use lanes;

/// Loads `n <= 16` values from `s[at..]`.
#[inline(always)]
pub(super) unsafe fn get<S: Simd>(s: &[f32], at: usize, n: usize) -> S {
    debug_assert!(at + n <= s.len());
    // SAFETY: the caller's contract, and `at + n <= s.len()`.
    unsafe {
        let p = s.as_ptr().add(at);
        if n == LANES { S::load(p) } else { S::load_part(p, n) }
    }
}

/// Stores `n <= 16` lanes to `s[at..]`.
#[inline(always)]
pub(super) unsafe fn put<S: Simd>(v: S, s: &mut [f32], at: usize, n: usize) {
    debug_assert!(at + n <= s.len());
    // SAFETY: the caller's contract, and `at + n <= s.len()`.
    unsafe {
        let p = s.as_mut_ptr().add(at);
        if n == LANES { v.store(p) } else { v.store_part(p, n) }
    }
}

/// What is done to a finished row of a matrix product.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finish<'a> {
    /// Added first.
    pub bias: Option<&'a [f32]>,
    /// Added next.
    pub vector: Option<&'a [f32]>,
    /// Applied then.
    pub pointwise: Option<Pointwise>,
    /// Added next.
    pub residual: Option<&'a [f32]>,
    /// Applied last.
    pub last: Option<Pointwise>,
}

/// # Safety
/// As [`Simd`]; all slices of `f` have the length of `y` or more.
#[inline(always)]
pub(crate) unsafe fn finish<S: Simd>(f: &Finish<'_>, y: &mut [f32]) {
    // SAFETY: the caller's contract.
    unsafe {
        lanes!(y.len(), |at, n| {
            let mut v = get::<S>(y, at, n);
            if let Some(bias) = f.bias {
                v = v.add(get(bias, at, n));
            }
            if let Some(vector) = f.vector {
                v = v.add(get(vector, at, n));
            }
            if let Some(function) = f.pointwise {
                v = math::pointwise(function, v);
            }
            if let Some(residual) = f.residual {
                v = v.add(get(residual, at, n));
            }
            if let Some(function) = f.last {
                v = math::pointwise(function, v);
            }
            put(v, y, at, n);
        });
    }
}

/// What is done to a finished tile of integer sums.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IntFinish<'a> {
    /// `[height][panels][16]`.
    pub sums: &'a [i32],
    pub panels: usize,
    /// What one step of each row's activations is worth.
    pub row_scales: &'a [f32],
    /// What one step of each column's weights is worth, from the tile's first column on.
    pub scales: &'a [f32],
    /// Added next.
    pub bias: Option<&'a [f32]>,
    /// Added then.
    pub vector: Option<&'a [f32]>,
    /// Applied then.
    pub pointwise: Option<Pointwise>,
    /// With two panels, of which the second holds gates: the distance in columns from values to
    /// gates. The output is the value times GELU of the gate, sixteen columns wide.
    pub gate: Option<usize>,
    /// Added next; rows as far apart as the output's, where it may lie.
    pub residual: Option<Place>,
    /// Applied last.
    pub last: Option<Pointwise>,
    pub out: Place,
    /// Values from one output row to the next.
    pub stride: usize,
    /// Columns written.
    pub width: usize,
}

/// Where values lie or go to. f16 count [`super::rest::F16_STEP`]; summands come in whole lanes of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    F32(*mut f32),
    F16(*mut u16),
}

impl Place {
    /// The place `at` values on.
    pub fn offset(self, at: usize) -> Self {
        match self {
            Self::F32(p) => Self::F32(p.wrapping_add(at)),
            Self::F16(p) => Self::F16(p.wrapping_add(at)),
        }
    }

    /// The addresses of the first `n` values.
    pub fn bytes(self, n: usize) -> std::ops::Range<usize> {
        match self {
            Self::F32(p) => p.addr()..p.wrapping_add(n).addr(),
            Self::F16(p) => p.addr()..p.wrapping_add(n).addr(),
        }
    }

    /// The `n <= 16` values `at` places on.
    ///
    /// # Safety
    /// As [`Simd`]; they are there.
    #[inline(always)]
    unsafe fn load<S: Simd>(self, at: usize, n: usize) -> S {
        // SAFETY: the caller's contract.
        unsafe {
            match self {
                Self::F32(p) if n == LANES => S::load(p.add(at)),
                Self::F32(p) => S::load_part(p.add(at), n),
                Self::F16(p) => S::load_f16(p.add(at)).mul(S::splat(F16_STEP)),
            }
        }
    }

    /// Writes the first `n <= 16` lanes of `v` `at` places on.
    ///
    /// # Safety
    /// As [`Simd`]; there is room.
    #[inline(always)]
    pub unsafe fn store<S: Simd>(self, v: S, at: usize, n: usize) {
        // SAFETY: the caller's contract.
        unsafe {
            match self {
                Self::F32(p) if n == LANES => v.store(p.add(at)),
                Self::F32(p) => v.store_part(p.add(at), n),
                Self::F16(p) => {
                    let v = v.mul(S::splat(1.0 / F16_STEP));
                    if n == LANES {
                        v.store_f16(p.add(at));
                    } else {
                        let mut part = [0_u16; LANES];
                        v.store_f16(part.as_mut_ptr());
                        std::ptr::copy_nonoverlapping(part.as_ptr(), p.add(at), n);
                    }
                }
            }
        }
    }
}

impl IntFinish<'_> {
    /// Sums of row `i`, panel `p`, to values: `sum * row scale * column scale + bias + vector`.
    ///
    /// # Safety
    /// As [`int_finish`].
    #[inline(always)]
    unsafe fn value<S: Simd>(&self, i: usize, p: usize, c: &Column<S>) -> S {
        // SAFETY: the caller's contract.
        unsafe {
            let sums = self.sums.as_ptr().add((i * self.panels + p) * LANES);
            let scaled = S::load_i32(sums).mul(S::splat(self.row_scales[i]));
            let v = scaled.fma(c.scale, c.bias);
            match c.vector {
                Some(vector) => v.add(vector),
                None => v,
            }
        }
    }

    /// What sixteen columns from `at` on share.
    ///
    /// # Safety
    /// As [`int_finish`].
    #[inline(always)]
    unsafe fn column<S: Simd>(&self, at: usize, n: usize) -> Column<S> {
        // SAFETY: the caller's contract.
        unsafe {
            Column {
                scale: get(self.scales, at, n),
                bias: match self.bias {
                    Some(bias) => get(bias, at, n),
                    None => S::splat(0.0),
                },
                vector: self.vector.map(|v| get(v, at, n)),
            }
        }
    }
}

struct Column<S> {
    scale: S,
    bias: S,
    vector: Option<S>,
}

/// # Safety
/// As [`Simd`]; all slices and pointers hold what the fields of `f` say.
#[inline(always)]
pub(crate) unsafe fn int_finish<S: Simd>(f: &IntFinish<'_>) {
    // SAFETY: the caller's contract.
    unsafe {
        if let Some(gate) = f.gate {
            let (value, gate) = (f.column::<S>(0, f.width), f.column::<S>(gate, f.width));
            return each_row(f, 0, f.width, |i| {
                f.value(i, 0, &value).mul(math::gelu(f.value(i, 1, &gate)))
            });
        }
        for p in 0..f.panels {
            let n = LANES.min(f.width - p * LANES);
            let c = f.column::<S>(p * LANES, n);
            match f.pointwise {
                None => each_row(f, p, n, |i| f.value(i, p, &c)),
                Some(Pointwise::Relu) => {
                    each_row(f, p, n, |i| math::pointwise(Pointwise::Relu, f.value(i, p, &c)))
                }
                Some(g) => each_row(f, p, n, |i| math::pointwise(g, f.value(i, p, &c))),
            }
        }
    }
}

/// Writes `value(i)` plus the residual, and what becomes of the sum, to `n` columns of panel `p` in
/// every row `i`.
///
/// # Safety
/// As [`int_finish`].
#[inline(always)]
unsafe fn each_row<S: Simd>(f: &IntFinish<'_>, p: usize, n: usize, value: impl Fn(usize) -> S) {
    // SAFETY: the caller's contract.
    unsafe {
        for i in 0..f.row_scales.len() {
            let at = i * f.stride + p * LANES;
            f.out.store(after(value(i), f.residual, f.last, at, n), at, n);
        }
    }
}

/// What becomes of `n` values behind a product: the sum with those `at` places on in `residual`, and a
/// function of that.
///
/// # Safety
/// As [`Simd`]; the residual has them.
#[inline(always)]
unsafe fn after<S: Simd>(
    v: S,
    residual: Option<Place>,
    last: Option<Pointwise>,
    at: usize,
    n: usize,
) -> S {
    // SAFETY: the caller's contract.
    unsafe {
        // Not by closures, which may be compiled without the instructions.
        let v = match residual {
            Some(residual) => v.add(residual.load(at, n)),
            None => v,
        };
        match last {
            Some(function) => math::pointwise(function, v),
            None => v,
        }
    }
}

/// Writes values, plus a summand if there is one, and through a function of the sum.
///
/// # Safety
/// As [`Simd`]; both places hold as many. f16 comes in whole lanes.
#[inline(always)]
pub(crate) unsafe fn put_sum<S: Simd>(
    x: &[f32],
    residual: Option<Place>,
    last: Option<Pointwise>,
    out: Place,
) {
    // SAFETY: the caller's contract.
    unsafe {
        lanes!(x.len(), |at, n| {
            out.store(after(get::<S>(x, at, n), residual, last, at, n), at, n)
        });
    }
}

/// Nine products of a tile in a picture doubled by repetition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nine<'a> {
    /// Three positions along each side, `plane` values apart.
    pub products: &'a [f32],
    pub plane: usize,
    /// Added last.
    pub bias: Option<&'a [f32]>,
    /// The two outputs above, and the two below.
    pub out: [Place; 4],
    /// Columns.
    pub width: usize,
}

/// Adds nine products up to four outputs: along each side, the first and the second, and the second
/// and the third.
///
/// # Safety
/// As [`Simd`]; slices and places hold what the fields of `p` say.
#[inline(always)]
pub(crate) unsafe fn add_nine<S: Simd>(p: &Nine<'_>) {
    // SAFETY: the caller's contract.
    unsafe {
        lanes!(p.width, |at, n| {
            let bias = match p.bias {
                Some(bias) => get::<S>(bias, at, n),
                None => S::splat(0.0),
            };
            let mut lines = [[S::splat(0.0); 2]; 3];
            for (y, line) in lines.iter_mut().enumerate() {
                let of = |x: usize| get::<S>(p.products, (3 * y + x) * p.plane + at, n);
                let (a, b, c) = (of(0), of(1), of(2));
                *line = [a.add(b), b.add(c)];
            }
            for (i, out) in p.out.iter().enumerate() {
                let (y, x) = (i / 2, i % 2);
                out.store(lines[y][x].add(lines[y + 1][x]).add(bias), at, n);
            }
        });
    }
}

/// Products of the pixels of three lines with all taps of a 3 x 3 kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TapSums<'a> {
    /// `[pixel][stride]`, each `[tap][output]`, from the pixel before the first output's on.
    pub seen: [&'a [f32]; 3],
    pub stride: usize,
    pub bias: Option<&'a [f32]>,
    /// At most sixteen.
    pub outputs: usize,
}

/// Adds the products that each output pixel sees to the bias, in the order of taps; `out: [pixel]
/// [output]`.
///
/// # Safety
/// As [`Simd`]; every line has two pixels more than `out` and sixteen values behind them.
#[inline(always)]
pub(crate) unsafe fn add_taps<S: Simd>(p: &TapSums<'_>, out: &mut [f32]) {
    // SAFETY: the caller's contract: a tap's outputs begin within their pixel.
    unsafe {
        let bias = match p.bias {
            Some(bias) => get::<S>(bias, 0, p.outputs),
            None => S::splat(0.0),
        };
        for (x, out) in out.chunks_exact_mut(p.outputs).enumerate() {
            let mut sum = bias;
            for tap in 0..9 {
                let at = (x + tap % 3) * p.stride + tap * p.outputs;
                sum = sum.add(get(p.seen[tap / 3], at, LANES));
            }
            put(sum, out, 0, p.outputs);
        }
    }
}

/// The largest magnitude of `x`; 0 for none.
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
pub(crate) unsafe fn magnitude<S: Simd>(x: &[f32]) -> f32 {
    // SAFETY: the caller's contract.
    unsafe {
        let one = S::splat(1.0);
        let mut largest = S::splat(0.0);
        lanes!(x.len(), |at, n| largest = get::<S>(x, at, n).copysign(one).max(largest));
        largest.largest()
    }
}

/// How a row of activations is rounded.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Quantise {
    /// To bytes, held at -127 ..= 127, plus `offset`.
    Int8 { rounding: Rounding, offset: u8 },
    /// To int16, held at plus and minus [`MOST_WIDE`].
    Int16 { inverse: f32 },
}

impl Quantise {
    /// Bytes of a value.
    pub const fn size(self) -> usize {
        match self {
            Self::Int8 { .. } => 1,
            Self::Int16 { .. } => size_of::<i16>(),
        }
    }

    /// Writes sixteen values of a row from `at` on.
    ///
    /// # Safety
    /// As [`Simd`]; the row that starts at `y` has room for them.
    #[inline(always)]
    pub unsafe fn store<S: Simd>(self, v: S, y: *mut u8, at: usize) {
        // SAFETY: the caller's contract.
        unsafe {
            let held = |v: S, most: f32| v.max(S::splat(-most)).min(S::splat(most));
            match self {
                Self::Int8 { rounding: Rounding { inverse, zero }, offset } => {
                    let v = v.fma(S::splat(inverse), S::splat(zero));
                    held(v, 127.0).store_i8(y.add(at), offset);
                }
                Self::Int16 { inverse } => {
                    let v = v.mul(S::splat(inverse));
                    held(v, MOST_WIDE).store_i16(y.cast::<i16>().add(at));
                }
            }
        }
    }
}

/// # Safety
/// As [`Simd`]; `y` has room for as many as `x`, padded to whole lanes, and is aligned for them.
#[inline(always)]
pub(crate) unsafe fn quantise<S: Simd>(q: Quantise, x: &[f32], y: &mut [u8]) {
    // SAFETY: the caller's contract.
    unsafe {
        lanes!(x.len(), |at, n| q.store(get::<S>(x, at, n), y.as_mut_ptr(), at));
    }
}

/// Bytes of one row: `y = round(x * scale + shift)`, held at -127 ..= 127.
///
/// # Safety
/// As [`quantise`]; scale and shift are as long as `x`.
#[inline(always)]
pub(crate) unsafe fn scale_shift_quantise<S: Simd>(p: &ScaleShift<'_>, x: &[f32], y: &mut [u8]) {
    // SAFETY: the caller's contract.
    unsafe {
        let (least, most) = (S::splat(-127.0), S::splat(127.0));
        lanes!(x.len(), |at, n| {
            let v = get::<S>(x, at, n).fma(get(p.scale, at, n), get(p.shift, at, n));
            v.max(least).min(most).store_i8(y.as_mut_ptr().add(at), 0)
        });
    }
}

/// `low = min(low, x)`, `high = max(high, x)`.
///
/// # Safety
/// As [`Simd`]; all are of one length.
#[inline(always)]
pub(crate) unsafe fn extremes<S: Simd>(x: &[f32], low: &mut [f32], high: &mut [f32]) {
    // SAFETY: the caller's contract.
    unsafe {
        lanes!(x.len(), |at, n| {
            let v = get::<S>(x, at, n);
            put(v.min(get(low, at, n)), low, at, n);
            put(v.max(get(high, at, n)), high, at, n)
        });
    }
}

/// Widens `x` to `y`.
///
/// # Safety
/// As [`Simd`]; `y` is as long as `x` and both hold whole panels.
#[inline(always)]
pub(crate) unsafe fn widen<S: Simd>(x: &[u16], y: &mut [f32]) {
    debug_assert!(x.len() == y.len() && x.len().is_multiple_of(LANES));
    for at in (0..x.len()).step_by(LANES) {
        // SAFETY: the caller's contract: sixteen values of both start at `at`.
        unsafe { S::load_f16(x.as_ptr().add(at)).store(y.as_mut_ptr().add(at)) }
    }
}

/// # Safety
/// As [`Simd`]; `y` is as long as `x`.
#[inline(always)]
pub(crate) unsafe fn pointwise<S: Simd>(function: Pointwise, x: &[f32], y: &mut [f32]) {
    // SAFETY: the caller's contract.
    unsafe {
        lanes!(y.len(), |at, n| put(math::pointwise(function, get::<S>(x, at, n)), y, at, n));
    }
}

/// `y = x[..c] * gelu(x[c..])`.
///
/// # Safety
/// As [`Simd`]; `x` is twice as long as `y`.
#[inline(always)]
pub(crate) unsafe fn geglu<S: Simd>(x: &[f32], y: &mut [f32]) {
    let (value, gate) = x.split_at(y.len());
    // SAFETY: the caller's contract.
    unsafe {
        lanes!(y.len(), |at, n| {
            let gate = math::gelu(get::<S>(gate, at, n));
            put(get::<S>(value, at, n).mul(gate), y, at, n)
        });
    }
}

/// `y = a - b`.
///
/// # Safety
/// As [`Simd`]; all are of one length.
#[inline(always)]
pub(crate) unsafe fn difference<S: Simd>(a: &[f32], b: &[f32], y: &mut [f32]) {
    // SAFETY: the caller's contract.
    unsafe {
        lanes!(y.len(), |at, n| put(get::<S>(a, at, n).sub(get(b, at, n)), y, at, n));
    }
}

/// `y = a + b`.
///
/// # Safety
/// As [`Simd`]; all are of one length.
#[inline(always)]
pub(crate) unsafe fn add<S: Simd>(a: &[f32], b: &[f32], y: &mut [f32]) {
    // SAFETY: the caller's contract.
    unsafe {
        lanes!(y.len(), |at, n| put(get::<S>(a, at, n).add(get(b, at, n)), y, at, n));
    }
}

/// `y += x`.
///
/// # Safety
/// As [`Simd`]; both are of one length.
#[inline(always)]
pub(crate) unsafe fn accumulate<S: Simd>(x: &[f32], y: &mut [f32]) {
    // SAFETY: the caller's contract.
    unsafe {
        lanes!(y.len(), |at, n| put(get::<S>(y, at, n).add(get(x, at, n)), y, at, n));
    }
}

/// `y += a * b`.
///
/// # Safety
/// As [`Simd`]; all are of one length.
#[inline(always)]
pub(crate) unsafe fn multiply_accumulate<S: Simd>(a: &[f32], b: &[f32], y: &mut [f32]) {
    // SAFETY: the caller's contract.
    unsafe {
        lanes!(y.len(), |at, n| {
            put(get::<S>(a, at, n).fma(get(b, at, n), get(y, at, n)), y, at, n)
        });
    }
}

/// `y = x * scale + shift`, then SiLU if asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScaleShift<'a> {
    pub scale: &'a [f32],
    pub shift: &'a [f32],
    pub silu: bool,
}

/// # Safety
/// As [`Simd`]; all are of one length.
#[inline(always)]
pub(crate) unsafe fn scale_shift<S: Simd>(p: &ScaleShift<'_>, x: &[f32], y: &mut [f32]) {
    // SAFETY: the caller's contract.
    unsafe {
        lanes!(y.len(), |at, n| {
            let v = get::<S>(x, at, n).fma(get(p.scale, at, n), get(p.shift, at, n));
            put(if p.silu { math::silu(v) } else { v }, y, at, n)
        });
    }
}

/// Scale and shift of a layer normalisation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LayerNorm<'a> {
    pub scale: &'a [f32],
    pub shift: &'a [f32],
    pub eps: f32,
}

/// Layer normalisation of one row, then scale and shift.
///
/// # Safety
/// As [`Simd`]; all are of one length.
#[inline(always)]
pub(crate) unsafe fn layer_norm<S: Simd>(p: &LayerNorm<'_>, x: &[f32], y: &mut [f32]) {
    let count = x.len() as f32;
    // SAFETY: the caller's contract.
    unsafe {
        let mut sum = S::splat(0.0);
        lanes!(x.len(), |at, n| sum = sum.add(get(x, at, n)));
        let mean = S::splat(sum.sum() / count);
        let mut squares = S::splat(0.0);
        lanes!(x.len(), |at, n| {
            put(get::<S>(x, at, n).sub(mean), y, at, n);
            let d = get::<S>(y, at, n);
            squares = d.fma(d, squares)
        });
        let inverse = S::splat(1.0 / (squares.sum() / count + p.eps).sqrt());
        lanes!(x.len(), |at, n| {
            let v = get::<S>(y, at, n).mul(inverse);
            put(v.fma(get(p.scale, at, n), get(p.shift, at, n)), y, at, n)
        });
    }
}

/// Where a query row stands in the online softmax.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SoftmaxRow {
    /// Largest score so far.
    pub largest: f32,
    /// Sum of the weights so far.
    pub sum: f32,
}

/// Turns a block of scores into weights relative to the largest score so far: `s = e^(scale (s -
/// largest))`, for a positive scale. Returns the factor by which what was accumulated before must
/// be multiplied.
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
pub(crate) unsafe fn softmax<S: Simd>(s: &mut [f32], scale: f32, row: &mut SoftmaxRow) -> f32 {
    // SAFETY: the caller's contract.
    unsafe {
        let next = largest::<S>(s, row.largest);
        let factor = if next > row.largest {
            math::exp(S::splat((row.largest - next) * scale)).lanes()[0]
        } else {
            1.0
        };
        let (scale, offset) = (S::splat(scale), S::splat(-next * scale));
        let mut sum = S::splat(0.0);
        lanes!(s.len(), |at, n| {
            put(math::exp(get::<S>(s, at, n).fma(scale, offset)), s, at, n);
            sum = sum.add(get(s, at, n))
        });
        row.sum = row.sum * factor + sum.sum();
        row.largest = next;
        factor
    }
}

/// The largest of `s` and `least`.
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
unsafe fn largest<S: Simd>(s: &[f32], least: f32) -> f32 {
    // SAFETY: the caller's contract.
    unsafe {
        let whole = s.len() - s.len() % LANES;
        let mut largest = S::splat(least);
        for at in (0..whole).step_by(LANES) {
            largest = get::<S>(s, at, LANES).max(largest);
        }
        s[whole..].iter().fold(largest.largest(), |m, v| if *v > m { *v } else { m })
    }
}

/// `x *= factor`.
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
pub(crate) unsafe fn scale<S: Simd>(factor: f32, x: &mut [f32]) {
    // SAFETY: the caller's contract.
    unsafe {
        lanes!(x.len(), |at, n| put(get::<S>(x, at, n).mul(S::splat(factor)), x, at, n));
    }
}
