//! The kernels of one instruction set, behind one table that is chosen once at start.
//!
//! The contract is the same for all: the generic code of [`tile`], [`rows`] and [`math`] over
//! sixteen lanes, compiled once per instruction set. Products of integers have a tile per instruction
//! set, in [`int`].

pub(crate) mod attention;
pub(crate) mod code;
pub(crate) mod int;
pub(crate) mod math;
pub(crate) mod peak;
pub(crate) mod rest;
pub(crate) mod rows;
pub(crate) mod tile;
pub(crate) mod winograd;

use std::ops::Range;

use crate::graph::Pointwise;
use crate::simd::Simd;
use crate::weights::LANES;
use attention::{Factors, Queries, Scores};
use code::Rounding;
use int::{IntKernels, IntTile};
use rest::{ChannelMoments, Rest, RestValues};
use rows::{Finish, IntFinish, LayerNorm, Nine, Place, Quantise, ScaleShift, SoftmaxRow, TapSums};
use tile::Tile;
use winograd::Products;

/// Function pointers of one instruction set. Only [`crate::isa`] hands one out, after it has seen
/// that the machine has the instructions: that is what makes the safe methods below sound.
#[derive(Debug)]
pub(crate) struct Kernels {
    /// Rows of the register tile.
    pub tile_rows: usize,
    /// Panels of the register tile.
    pub tile_panels: usize,
    /// Products of integers.
    pub int: &'static IntKernels,
    tile: unsafe fn(&Tile),
    int_finish: unsafe fn(&IntFinish<'_>),
    winograd_outputs: unsafe fn(&Products<'_>, &mut [f32]),
    decode_int4: unsafe fn(&[u8], &[i8; LANES], &mut [i8]),
    put: unsafe fn(&[f32], Option<Place>, Option<Pointwise>, Place),
    add_nine: unsafe fn(&Nine<'_>),
    add_taps: unsafe fn(&TapSums<'_>, &mut [f32]),
    magnitude: unsafe fn(&[f32]) -> f32,
    range: unsafe fn(&Rest<'_>, Range<usize>) -> [f32; 2],
    quantise: unsafe fn(Quantise, &[f32], &mut [u8]),
    extremes: unsafe fn(&[f32], &mut [f32], &mut [f32]),
    finish: unsafe fn(&Finish<'_>, &mut [f32]),
    widen: unsafe fn(&[u16], &mut [f32]),
    pointwise: unsafe fn(Pointwise, &[f32], &mut [f32]),
    geglu: unsafe fn(&[f32], &mut [f32]),
    difference: unsafe fn(&[f32], &[f32], &mut [f32]),
    add: unsafe fn(&[f32], &[f32], &mut [f32]),
    accumulate: unsafe fn(&[f32], &mut [f32]),
    read: unsafe fn(&Rest<'_>, usize, usize, &mut [f32]),
    narrow: unsafe fn(&[f32], &mut [u16]),
    normalise: unsafe fn(&Rest<'_>, Range<usize>, &ScaleShift<'_>, Quantise, &mut [u8]),
    round: unsafe fn(&Rest<'_>, Range<usize>, u8, &mut [u8], &mut [f32]),
    moments: unsafe fn(&Rest<'_>, Range<usize>, &mut ChannelMoments<'_>),
    multiply_accumulate: unsafe fn(&[f32], &[f32], &mut [f32]),
    scale_shift: unsafe fn(&ScaleShift<'_>, &[f32], &mut [f32]),
    layer_norm: unsafe fn(&LayerNorm<'_>, &[f32], &mut [f32]),
    scale_shift_quantise: unsafe fn(&ScaleShift<'_>, &[f32], &mut [u8]),
    weighted_mean: unsafe fn(&[f32], f32, Place, usize),
    weigh: unsafe fn(&Scores<'_>, &mut Queries, &mut [u8], usize) -> Factors,
    gather: unsafe fn(&[i32], &[f32], &Factors, &mut [f32]),
    softmax: unsafe fn(&mut [f32], f32, &mut SoftmaxRow) -> f32,
    scale: unsafe fn(f32, &mut [f32]),
}

/// Compiles the generic kernels for one instruction set into `$module::KERNELS`.
macro_rules! stamp {
    ($module:ident, $simd:ty, $int:expr $(, $features:literal)?) => {
        pub(crate) mod $module {
            use super::*;

            type S = $simd;

            pub(crate) static KERNELS: Kernels = TABLE;

            pub(crate) const TABLE: Kernels = Kernels {
                tile_rows: <S as Simd>::TILE_ROWS,
                tile_panels: <S as Simd>::TILE_PANELS,
                int: &$int,
                tile,
                int_finish,
                winograd_outputs,
                decode_int4,
                put,
                add_nine,
                add_taps,
                magnitude,
                range,
                quantise,
                extremes,
                finish,
                widen,
                pointwise,
                geglu,
                difference,
                add,
                accumulate,
                read,
                narrow,
                normalise,
                round,
                moments,
                multiply_accumulate,
                scale_shift,
                layer_norm,
                scale_shift_quantise,
                weighted_mean,
                weigh,
                gather,
                softmax,
                scale,
            };

            $(#[target_feature(enable = $features)])?
            unsafe fn tile(t: &Tile) {
                // SAFETY: the caller has seen the instructions; the rest is its contract too.
                unsafe { super::tile::tile::<S>(t) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn int_finish(f: &IntFinish<'_>) {
                // SAFETY: the caller has seen the instructions; the rest is its contract too.
                unsafe { super::rows::int_finish::<S>(f) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn winograd_outputs(p: &Products<'_>, out: &mut [f32]) {
                // SAFETY: the caller has seen the instructions; the rest is its contract too.
                unsafe { super::winograd::outputs::<S>(p, out) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn decode_int4(pairs: &[u8], multipliers: &[i8; LANES], out: &mut [i8]) {
                super::int::decode_int4(pairs, multipliers, out);
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn put(
                x: &[f32],
                residual: Option<Place>,
                last: Option<Pointwise>,
                out: Place,
            ) {
                // SAFETY: the caller has seen the instructions; the rest is its contract too.
                unsafe { super::rows::put_sum::<S>(x, residual, last, out) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn add_nine(p: &Nine<'_>) {
                // SAFETY: the caller has seen the instructions; the rest is its contract too.
                unsafe { super::rows::add_nine::<S>(p) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn add_taps(p: &TapSums<'_>, out: &mut [f32]) {
                // SAFETY: the caller has seen the instructions; the rest is its contract too.
                unsafe { super::rows::add_taps::<S>(p, out) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn magnitude(x: &[f32]) -> f32 {
                // SAFETY: the caller has seen the instructions; the rest is its contract too.
                unsafe { super::rows::magnitude::<S>(x) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn range(x: &Rest<'_>, rows: Range<usize>) -> [f32; 2] {
                // SAFETY: the caller has seen the instructions; the rest is its contract too.
                unsafe { super::rest::range::<S>(x, rows) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn quantise(q: Quantise, x: &[f32], y: &mut [u8]) {
                // SAFETY: the caller has seen the instructions; the rest is its contract too.
                unsafe { super::rows::quantise::<S>(q, x, y) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn extremes(x: &[f32], low: &mut [f32], high: &mut [f32]) {
                // SAFETY: the caller has seen the instructions; the rest is its contract too.
                unsafe { super::rows::extremes::<S>(x, low, high) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn finish(f: &Finish<'_>, y: &mut [f32]) {
                // SAFETY: the caller has seen the instructions; the rest is its contract too.
                unsafe { super::rows::finish::<S>(f, y) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn widen(x: &[u16], y: &mut [f32]) {
                // SAFETY: the caller has seen the instructions; the rest is its contract too.
                unsafe { super::rows::widen::<S>(x, y) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn pointwise(f: Pointwise, x: &[f32], y: &mut [f32]) {
                // SAFETY: the caller has seen the instructions; the rest is its contract too.
                unsafe { super::rows::pointwise::<S>(f, x, y) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn geglu(x: &[f32], y: &mut [f32]) {
                // SAFETY: the caller has seen the instructions; the rest is its contract too.
                unsafe { super::rows::geglu::<S>(x, y) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn difference(a: &[f32], b: &[f32], y: &mut [f32]) {
                // SAFETY: the caller has seen the instructions; the rest is its contract too.
                unsafe { super::rows::difference::<S>(a, b, y) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn add(a: &[f32], b: &[f32], y: &mut [f32]) {
                // SAFETY: the caller has seen the instructions; the rest is its contract too.
                unsafe { super::rows::add::<S>(a, b, y) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn accumulate(x: &[f32], y: &mut [f32]) {
                // SAFETY: the caller has seen the instructions; the rest is its contract too.
                unsafe { super::rows::accumulate::<S>(x, y) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn read(x: &Rest<'_>, row: usize, first: usize, y: &mut [f32]) {
                // SAFETY: the caller has seen the instructions; the rest is its contract too.
                unsafe { super::rest::read::<S>(x, row, first, y) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn narrow(x: &[f32], y: &mut [u16]) {
                // SAFETY: the caller has seen the instructions; the rest is its contract too.
                unsafe { super::rest::narrow::<S>(x, y) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn normalise(
                x: &Rest<'_>,
                rows: Range<usize>,
                p: &ScaleShift<'_>,
                q: Quantise,
                y: &mut [u8],
            ) {
                // SAFETY: the caller has seen the instructions; the rest is its contract too.
                unsafe { super::rest::normalise::<S>(x, rows, p, q, y) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn round(
                x: &Rest<'_>,
                rows: Range<usize>,
                offset: u8,
                y: &mut [u8],
                steps: &mut [f32],
            ) {
                // SAFETY: the caller has seen the instructions; the rest is its contract too.
                unsafe { super::rest::round::<S>(x, rows, offset, y, steps) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn moments(x: &Rest<'_>, rows: Range<usize>, m: &mut ChannelMoments<'_>) {
                // SAFETY: the caller has seen the instructions; the rest is its contract too.
                unsafe { super::rest::moments::<S>(x, rows, m) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn multiply_accumulate(a: &[f32], b: &[f32], y: &mut [f32]) {
                // SAFETY: the caller has seen the instructions; the rest is its contract too.
                unsafe { super::rows::multiply_accumulate::<S>(a, b, y) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn scale_shift(p: &ScaleShift<'_>, x: &[f32], y: &mut [f32]) {
                // SAFETY: the caller has seen the instructions; the rest is its contract too.
                unsafe { super::rows::scale_shift::<S>(p, x, y) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn layer_norm(p: &LayerNorm<'_>, x: &[f32], y: &mut [f32]) {
                // SAFETY: the caller has seen the instructions; the rest is its contract too.
                unsafe { super::rows::layer_norm::<S>(p, x, y) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn scale_shift_quantise(p: &ScaleShift<'_>, x: &[f32], y: &mut [u8]) {
                // SAFETY: the caller has seen the instructions; the rest is its contract too.
                unsafe { super::rows::scale_shift_quantise::<S>(p, x, y) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn weighted_mean(values: &[f32], sum: f32, y: Place, len: usize) {
                // SAFETY: the caller has seen the instructions; the rest is its contract too.
                unsafe { super::attention::weighted_mean::<S>(values, sum, y, len) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn weigh(s: &Scores<'_>, q: &mut Queries, w: &mut [u8], n: usize) -> Factors {
                // SAFETY: the caller has seen the instructions; the rest is its contract too.
                unsafe { super::attention::weigh::<S>(s, q, w, n) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn gather(sums: &[i32], steps: &[f32], f: &Factors, y: &mut [f32]) {
                // SAFETY: the caller has seen the instructions; the rest is its contract too.
                unsafe { super::attention::gather::<S>(sums, steps, f, y) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn softmax(s: &mut [f32], scale: f32, row: &mut SoftmaxRow) -> f32 {
                // SAFETY: the caller has seen the instructions; the rest is its contract too.
                unsafe { super::rows::softmax::<S>(s, scale, row) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn scale(factor: f32, x: &mut [f32]) {
                // SAFETY: the caller has seen the instructions; the rest is its contract too.
                unsafe { super::rows::scale::<S>(factor, x) }
            }
        }
    };
}

stamp!(portable, crate::simd::portable::Portable, int::portable::KERNELS);
#[cfg(target_arch = "x86_64")]
stamp!(avx2, crate::simd::avx2::Avx2, int::avx2::KERNELS, "avx2,fma,f16c");
#[cfg(target_arch = "x86_64")]
stamp!(avx512, crate::simd::avx512::Avx512, int::avx2::KERNELS, "avx512f,avx512dq,avx512bw");
#[cfg(target_arch = "aarch64")]
stamp!(neon, crate::simd::neon::Neon, int::neon_mlal::KERNELS, "neon");

/// AVX2 with VNNI on 256 bits.
#[cfg(target_arch = "x86_64")]
pub(crate) static AVX_VNNI: Kernels = Kernels { int: &int::avxvnni::KERNELS, ..avx2::TABLE };
/// AVX-512 with VNNI.
#[cfg(target_arch = "x86_64")]
pub(crate) static AVX512_VNNI: Kernels =
    Kernels { int: &int::avx512vnni::KERNELS, ..avx512::TABLE };
/// AVX-512 with AMX.
#[cfg(target_arch = "x86_64")]
pub(crate) static AMX: Kernels = Kernels { int: &int::amx::KERNELS, ..avx512::TABLE };
/// NEON with dot products of bytes.
#[cfg(target_arch = "aarch64")]
pub(crate) static NEON_DOTPROD: Kernels = Kernels { int: &int::neon_dot::KERNELS, ..neon::TABLE };
/// NEON with products of byte matrices.
#[cfg(target_arch = "aarch64")]
pub(crate) static NEON_I8MM: Kernels = Kernels { int: &int::neon_i8mm::KERNELS, ..neon::TABLE };

/// The kernels as safe functions over slices: lengths are checked, and the table's existence proves
/// the instructions.
impl Kernels {
    /// Computes a register tile.
    ///
    /// # Safety
    /// The tile's pointers must be valid for what its fields say, its size within `tile_rows` x
    /// `tile_panels`.
    pub unsafe fn tile(&self, t: &Tile) {
        // SAFETY: the caller's contract; the table was handed out for this machine.
        unsafe { (self.tile)(t) }
    }

    /// Computes a tile of integer sums.
    ///
    /// # Safety
    /// The tile's pointers must be valid for what its fields say, its size within that of
    /// [`Kernels::int`].
    pub unsafe fn int_tile(&self, t: &IntTile) {
        // SAFETY: the caller's contract; the table was handed out for this machine.
        unsafe { (self.int.tile)(t) }
    }

    /// Gives back what products keep from the calling thread.
    pub fn release(&self) {
        if let Some(release) = self.int.release {
            // SAFETY: the table was handed out for this machine.
            unsafe { release() }
        }
    }

    /// Turns a tile of integer sums into values.
    ///
    /// # Safety
    /// Slices and pointers must hold what the fields of `f` say.
    pub unsafe fn int_finish(&self, f: &IntFinish<'_>) {
        // SAFETY: the caller's contract; the table was handed out for this machine.
        unsafe { (self.int_finish)(f) }
    }

    /// A tile's outputs, `[4][panels][16]`, from its products.
    pub fn winograd_outputs(&self, p: &Products<'_>, out: &mut [f32]) {
        let (width, positions) = (p.panels * LANES, p.side * p.side);
        let values = winograd::planes(p.side) * width;
        assert!(p.sums.len() >= values && p.totals.len() >= values && p.tap_steps.len() >= values);
        assert!(p.zeros.len() >= positions && p.window_steps.len() >= positions);
        assert!(out.len() >= winograd::OUTPUTS * width);
        // SAFETY: lengths checked; the table was handed out for this machine.
        unsafe { (self.winograd_outputs)(p, out) }
    }

    /// Writes values, plus a summand if there is one, and through a function of the sum.
    ///
    /// # Safety
    /// Both places hold as many. f16 comes in whole lanes.
    pub unsafe fn put(
        &self,
        x: &[f32],
        residual: Option<Place>,
        last: Option<Pointwise>,
        out: Place,
    ) {
        // SAFETY: the caller's contract; the table was handed out for this machine.
        unsafe { (self.put)(x, residual, last, out) }
    }

    /// Decodes int4 blocks that share multipliers to int8: `pairs: [blocks][128]`, `out:
    /// [blocks][256]`.
    pub fn decode_int4(&self, pairs: &[u8], multipliers: &[i8; LANES], out: &mut [i8]) {
        // SAFETY: the table was handed out for this machine.
        unsafe { (self.decode_int4)(pairs, multipliers, out) }
    }

    /// Adds nine products up to four outputs.
    ///
    /// # Safety
    /// Every output has room for as many columns as the products have; f16 comes in whole lanes.
    pub unsafe fn add_nine(&self, p: &Nine<'_>) {
        assert!(p.products.len() >= 8 * p.plane + p.width);
        assert!(p.bias.is_none_or(|bias| bias.len() >= p.width));
        // SAFETY: lengths checked, or the caller's contract; the table was handed out for this
        // machine.
        unsafe { (self.add_nine)(p) }
    }

    /// Adds the products that each output pixel sees; see [`rows::add_taps`].
    pub fn add_taps(&self, p: &TapSums<'_>, out: &mut [f32]) {
        let pixels = out.len() / p.outputs + 2;
        assert!(9 * p.outputs <= p.stride && p.outputs <= LANES);
        assert!(p.seen.iter().all(|line| line.len() >= pixels * p.stride + LANES));
        assert!(p.bias.is_none_or(|bias| bias.len() >= p.outputs));
        // SAFETY: lengths checked; the table was handed out for this machine.
        unsafe { (self.add_taps)(p, out) }
    }

    /// The largest magnitude of `x`; 0 for none.
    pub fn magnitude(&self, x: &[f32]) -> f32 {
        // SAFETY: the table was handed out for this machine.
        unsafe { (self.magnitude)(x) }
    }

    /// The smallest and the largest value of some rows, and zero.
    pub fn range(&self, x: &Rest<'_>, rows: Range<usize>) -> [f32; 2] {
        assert!(rows.end <= x.rows_there());
        // SAFETY: lengths checked; the table was handed out for this machine.
        unsafe { (self.range)(x, rows) }
    }

    /// One row of activations as bytes, padded with zeros to the length of `y`.
    pub fn quantise(&self, rounding: Rounding, x: &[f32], y: &mut [u8]) {
        let offset = self.int.offset;
        let written = x.len().next_multiple_of(LANES);
        assert!(y.len() >= written);
        // SAFETY: lengths checked; the table was handed out for this machine.
        unsafe { (self.quantise)(Quantise::Int8 { rounding, offset }, x, y) }
        y[written..].fill(offset);
    }

    /// `low = min(low, x)`, `high = max(high, x)`.
    pub fn extremes(&self, x: &[f32], low: &mut [f32], high: &mut [f32]) {
        assert!(x.len() == low.len() && x.len() == high.len());
        // SAFETY: lengths checked; the table was handed out for this machine.
        unsafe { (self.extremes)(x, low, high) }
    }

    /// Bias, vector, pointwise function and residual of one row.
    pub fn finish(&self, f: &Finish<'_>, y: &mut [f32]) {
        let long_enough = |s: Option<&[f32]>| s.is_none_or(|s| s.len() >= y.len());
        assert!(long_enough(f.bias) && long_enough(f.vector) && long_enough(f.residual));
        // SAFETY: lengths checked; the table was handed out for this machine.
        unsafe { (self.finish)(f, y) }
    }

    /// Decodes whole binary16 panels.
    pub fn widen(&self, x: &[u16], y: &mut [f32]) {
        assert!(x.len() == y.len() && x.len().is_multiple_of(LANES));
        // SAFETY: lengths checked; the table was handed out for this machine.
        unsafe { (self.widen)(x, y) }
    }

    /// `y = f(x)`.
    pub fn pointwise(&self, f: Pointwise, x: &[f32], y: &mut [f32]) {
        assert_eq!(x.len(), y.len());
        // SAFETY: lengths checked; the table was handed out for this machine.
        unsafe { (self.pointwise)(f, x, y) }
    }

    /// `y = x[..c] * gelu(x[c..])` of one row.
    pub fn geglu(&self, x: &[f32], y: &mut [f32]) {
        assert_eq!(x.len(), 2 * y.len());
        // SAFETY: lengths checked; the table was handed out for this machine.
        unsafe { (self.geglu)(x, y) }
    }

    /// `y = a - b`.
    pub fn difference(&self, a: &[f32], b: &[f32], y: &mut [f32]) {
        assert!(a.len() == y.len() && b.len() == y.len());
        // SAFETY: lengths checked; the table was handed out for this machine.
        unsafe { (self.difference)(a, b, y) }
    }

    /// `y = a + b`.
    pub fn add(&self, a: &[f32], b: &[f32], y: &mut [f32]) {
        assert!(a.len() == y.len() && b.len() == y.len());
        // SAFETY: lengths checked; the table was handed out for this machine.
        unsafe { (self.add)(a, b, y) }
    }

    /// `y += x`.
    pub fn accumulate(&self, x: &[f32], y: &mut [f32]) {
        assert_eq!(x.len(), y.len());
        // SAFETY: lengths checked; the table was handed out for this machine.
        unsafe { (self.accumulate)(x, y) }
    }

    /// `y` becomes the values of row `row` from `first` on (0 where they are int8).
    pub fn read(&self, x: &Rest<'_>, row: usize, first: usize, y: &mut [f32]) {
        assert!(x.has(row) && first + y.len() <= x.width);
        assert!(first == 0 || !matches!(x.values, RestValues::Int8 { .. }));
        // SAFETY: lengths checked; the table was handed out for this machine.
        unsafe { (self.read)(x, row, first, y) }
    }

    /// `y` becomes `x`, at rest in f16.
    pub fn narrow(&self, x: &[f32], y: &mut [u16]) {
        assert!(x.len() == y.len() && x.len().is_multiple_of(LANES));
        // SAFETY: lengths checked; the table was handed out for this machine.
        unsafe { (self.narrow)(x, y) }
    }

    /// Rows scaled and shifted, perhaps through SiLU, then rounded, each to as many bytes of `y`, padded
    /// with zeros.
    pub fn normalise(
        &self,
        x: &Rest<'_>,
        rows: Range<usize>,
        p: &ScaleShift<'_>,
        q: Quantise,
        y: &mut [u8],
    ) {
        let (written, stride) = self.row_bytes(x, &rows, q.size(), y);
        assert!(y.as_ptr().addr().is_multiple_of(q.size()) && stride.is_multiple_of(q.size()));
        assert!(p.scale.len() == x.width && p.shift.len() == x.width);
        // SAFETY: lengths and alignment checked; the table was handed out for this machine.
        unsafe { (self.normalise)(x, rows, p, q, y) }
        self.pad(y, written, stride);
    }

    /// Rows as bytes, each to as many of `y`, padded with zeros, and with a step that none of its
    /// values exceeds 127 of.
    pub fn round(&self, x: &Rest<'_>, rows: Range<usize>, y: &mut [u8], steps: &mut [f32]) {
        let (written, stride) = self.row_bytes(x, &rows, 1, y);
        assert_eq!(steps.len(), rows.len());
        // SAFETY: lengths checked; the table was handed out for this machine.
        unsafe { (self.round)(x, rows, self.int.offset, y, steps) }
        self.pad(y, written, stride);
    }

    /// Bytes that a row of `x` becomes with values of `size`, and those from one row of `y` to the
    /// next.
    fn row_bytes(
        &self,
        x: &Rest<'_>,
        rows: &Range<usize>,
        size: usize,
        y: &[u8],
    ) -> (usize, usize) {
        let (written, stride) = (x.width.next_multiple_of(LANES) * size, y.len() / rows.len());
        assert!(!rows.is_empty() && rows.end <= x.rows_there());
        assert!(written <= stride && y.len() == stride * rows.len());
        (written, stride)
    }

    /// Fills the ends of rows with zeros.
    fn pad(&self, y: &mut [u8], written: usize, stride: usize) {
        if written < stride {
            y.chunks_exact_mut(stride).for_each(|y| y[written..].fill(self.int.offset));
        }
    }

    /// The moments of every channel over some rows.
    pub fn moments(&self, x: &Rest<'_>, rows: Range<usize>, m: &mut ChannelMoments<'_>) {
        let long = |s: &[f32]| s.len() == x.width;
        assert!(long(m.mean) && long(m.squares) && long(m.low) && long(m.high));
        assert!(!rows.is_empty() && x.has(rows.end - 1));
        // SAFETY: lengths checked; the table was handed out for this machine.
        unsafe { (self.moments)(x, rows, m) }
    }

    /// `y += a * b`.
    pub fn multiply_accumulate(&self, a: &[f32], b: &[f32], y: &mut [f32]) {
        assert!(a.len() == y.len() && b.len() == y.len());
        // SAFETY: lengths checked; the table was handed out for this machine.
        unsafe { (self.multiply_accumulate)(a, b, y) }
    }

    /// `y = x * scale + shift`, perhaps SiLU, of one row.
    pub fn scale_shift(&self, p: &ScaleShift<'_>, x: &[f32], y: &mut [f32]) {
        assert!(x.len() == y.len() && p.scale.len() == y.len() && p.shift.len() == y.len());
        // SAFETY: lengths checked; the table was handed out for this machine.
        unsafe { (self.scale_shift)(p, x, y) }
    }

    /// Layer normalisation of one row.
    pub fn layer_norm(&self, p: &LayerNorm<'_>, x: &[f32], y: &mut [f32]) {
        assert!(x.len() == y.len() && p.scale.len() == y.len() && p.shift.len() == y.len());
        // SAFETY: lengths checked; the table was handed out for this machine.
        unsafe { (self.layer_norm)(p, x, y) }
    }

    /// `y = round(x * scale + shift)`, held at -127 ..= 127, padded with zeros to the length of `y`;
    /// without the offset of stored activations.
    pub fn scale_shift_quantise(&self, p: &ScaleShift<'_>, x: &[f32], y: &mut [u8]) {
        let written = x.len().next_multiple_of(LANES);
        assert!(x.len() == p.scale.len() && x.len() == p.shift.len() && y.len() >= written);
        // SAFETY: lengths checked; the table was handed out for this machine.
        unsafe { (self.scale_shift_quantise)(p, x, y) }
        y[written..].fill(0);
    }

    /// Scores of a tile to weights, `[queries][stride]`; see [`attention::weigh`].
    pub fn weigh(
        &self,
        s: &Scores<'_>,
        queries: &mut Queries,
        weights: &mut [u8],
        stride: usize,
    ) -> Factors {
        let height = s.scores.len() / s.columns;
        assert!(s.columns.is_multiple_of(LANES) && s.scores.len() == height * s.columns);
        assert!((1..=LANES).contains(&height) && s.repeated < s.columns && s.columns <= stride);
        assert!(weights.len() >= height * stride);
        // SAFETY: lengths checked; the table was handed out for this machine.
        unsafe { (self.weigh)(s, queries, weights, stride) }
    }

    /// `y = values / sum`, the first `len` of them; values are padded to whole lanes.
    ///
    /// # Safety
    /// There is room for them at `y`.
    pub unsafe fn weighted_mean(&self, values: &[f32], sum: f32, y: Place, len: usize) {
        assert!(values.len() >= len.next_multiple_of(LANES));
        // SAFETY: lengths checked, or the caller's contract; the table was handed out for this
        // machine.
        unsafe { (self.weighted_mean)(values, sum, y, len) }
    }

    /// What a block of keys adds to the values of a tile's queries; see [`attention::gather`].
    pub fn gather(&self, sums: &[i32], steps: &[f32], f: &Factors, values: &mut [f32]) {
        let width = steps.len();
        assert!(width.is_multiple_of(LANES) && values.len() <= LANES * width);
        assert!(sums.len() == values.len() && values.len().is_multiple_of(width));
        // SAFETY: lengths checked; the table was handed out for this machine.
        unsafe { (self.gather)(sums, steps, f, values) }
    }

    /// One block of an online softmax; see [`rows::softmax`].
    pub fn softmax(&self, s: &mut [f32], scale: f32, row: &mut SoftmaxRow) -> f32 {
        // SAFETY: the table was handed out for this machine.
        unsafe { (self.softmax)(s, scale, row) }
    }

    /// `x *= factor`.
    pub fn scale(&self, factor: f32, x: &mut [f32]) {
        // SAFETY: the table was handed out for this machine.
        unsafe { (self.scale)(factor, x) }
    }
}
