//! Transforms of 3 x 3 convolutions that take fewer products: of a window of activations, of a
//! filter's taps, and of the products to a tile of 2 x 2 outputs.
//!
//! Along one side, with `d` the window, `g` the taps and `m` the products of transformed `d` by
//! transformed `g`:
//!
//! | | `N = 4` | `N = 3` |
//! |---|---|---|
//! | window | `d0 - d2, d1 + d2, d2 - d1, d1 - d3` | `d1, d1 - d0, d2 - d1` |
//! | taps | `g0, (g0 + g1 + g2) / 2, (g0 - g1 + g2) / 2, g2` | `g0 + g1 + g2, g0, g2` |
//! | outputs | `m0 + m1 + m2, m1 - m2 - m3` | `m0 - m1, m0 + m2` |
//!
//! `N = 4` is F(2, 3) of Winograd's minimal filtering (Lavin and Gray, "Fast algorithms for
//! convolutional neural networks", 2016): 16 products in two dimensions where 36 are. `N = 3` is a
//! convolution of a picture that was doubled by repetition, whose outputs 0 and 1 are `g0 d0 + (g1
//! + g2) d1` and `(g0 + g1) d1 + g2 d2`: 9 products where 36 are.
//!
//! Everything is computed in whole numbers until the products are done. Activations come in 12 bits,
//! and are rounded to bytes when a window is transformed: per position, with a step and a zero point
//! of its own. Transformed taps that are sums along one side are rounded
//! to int8 per position and output; those that are sums along both are kept exactly in two
//! *planes*, `9 * high + low`.

#![allow(
    clippy::needless_range_loop,
    reason = "iterators over registers are not sure to be compiled for the functions they are in"
)]

use super::code::Code;
use super::int::BLOCK;
use crate::int_weights::BLOCK_BYTES;
use crate::simd::Simd;
use crate::simd::shorts::Shorts;
use crate::weights::LANES;

/// Most positions of a window along a side.
pub(crate) const MAX_SIDE: usize = 4;
/// Most positions of a window.
pub(crate) const MAX_POSITIONS: usize = MAX_SIDE * MAX_SIDE;
/// Most planes of transformed taps.
pub(crate) const MAX_PLANES: usize = MAX_POSITIONS + 4;
/// Outputs of a tile.
pub(crate) const OUTPUTS: usize = 4;
/// Channels come in multiples of this many.
pub(crate) const CHANNELS: usize = 32;

/// Four depths of sixteen outputs.
const QUADS: usize = 4 * LANES;
/// The multiplier that changes nothing.
const ONE: i16 = 1 << 13;
/// What the high plane of a sum along both sides is worth: 9 taps of 127 are 127 of it.
const HIGH: i16 = 9;

/// Planes of transformed taps for windows of `side` by `side`.
pub(crate) const fn planes(side: usize) -> usize {
    if side == MAX_SIDE { MAX_PLANES } else { side * side + 1 }
}

/// A window of activations to transform.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// Pixels of the window along a side.
    pub side: usize,
    /// Where each pixel's channels lie, `[side][side]`: int16 of 12 bits.
    pub pixels: [*const i16; MAX_POSITIONS],
    /// Channels, a multiple of [`CHANNELS`].
    pub channels: usize,
    /// What is added to every byte, modulo 256.
    pub offset: u8,
    /// Room for the channels of the first position.
    pub out: *mut u8,
    /// Bytes from one position to the next.
    pub stride: usize,
}

/// A panel's taps to transform.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taps {
    /// Pixels of a window along a side.
    pub side: usize,
    /// `[9][channels / 16]` blocks in their order at rest.
    pub taps: *const i8,
    /// Multiple of [`CHANNELS`].
    pub channels: usize,
    /// Room for the blocks of the first plane.
    pub out: *mut i8,
    /// Bytes from one plane to the next.
    pub stride: usize,
}

impl Taps {
    /// Bytes of a tap, and of a plane.
    #[inline(always)]
    fn bytes(&self) -> usize {
        self.channels / BLOCK * BLOCK_BYTES
    }
}

/// What sums of taps along one side are multiplied by to become int8, in steps of 2^-13: per
/// position of the larger window, which has those of the smaller one too, and per output.
pub(crate) type Multipliers = [[i16; LANES]; MAX_POSITIONS];

/// The transforms, compiled for one instruction set. Pointers must be valid for what the fields
/// say.
#[derive(Debug)]
pub(crate) struct Transforms {
    /// Gives what a step of each position is worth in steps of the window's activations, and what is
    /// zero in the bytes that the integer tile multiplies.
    pub window: unsafe fn(&Window, &mut [Code; MAX_POSITIONS]),
    /// Reads the taps alone.
    pub multipliers: unsafe fn(&Taps) -> Multipliers,
    pub taps: unsafe fn(&Taps, &Multipliers),
}

/// Compiles the transforms for an instruction set.
macro_rules! transforms {
    ($shorts:ident $(, $features:literal)?) => {{
        use crate::kernels::winograd::{
            self, MAX_POSITIONS, Multipliers, Taps, Transforms, Window,
        };
        use crate::kernels::code::Code;
        use crate::simd::shorts::$shorts;

        $(#[target_feature(enable = $features)])?
        unsafe fn window(w: &Window, codes: &mut [Code; MAX_POSITIONS]) {
            // SAFETY: the contract of `Transforms`.
            unsafe { winograd::window::<$shorts>(w, codes) }
        }

        $(#[target_feature(enable = $features)])?
        unsafe fn multipliers(t: &Taps) -> Multipliers {
            // SAFETY: the contract of `Transforms`.
            unsafe { winograd::multipliers::<$shorts>(t) }
        }

        $(#[target_feature(enable = $features)])?
        unsafe fn taps(t: &Taps, multipliers: &Multipliers) {
            // SAFETY: the contract of `Transforms`.
            unsafe { winograd::taps::<$shorts>(t, multipliers) }
        }

        Transforms { window, multipliers, taps }
    }};
}
pub(crate) use transforms;

/// A window along one side.
///
/// # Safety
/// As [`Shorts`].
#[inline(always)]
unsafe fn along_window<W: Shorts, const N: usize>(d: [W; N]) -> [W; N] {
    let mut v = d;
    // SAFETY: the caller's contract.
    unsafe {
        if N == 3 {
            (v[0], v[1], v[2]) = (d[1], d[1].sub(d[0]), d[2].sub(d[1]));
        } else {
            (v[0], v[1]) = (d[0].sub(d[2]), d[1].add(d[2]));
            (v[2], v[3]) = (d[2].sub(d[1]), d[1].sub(d[3]));
        }
    }
    v
}

/// Taps along one side, not halved.
///
/// # Safety
/// As [`Shorts`].
#[inline(always)]
unsafe fn along_taps<W: Shorts, const N: usize>([a, b, c]: [W; 3]) -> [W; N] {
    let mut u = [a; N];
    // SAFETY: the caller's contract.
    unsafe {
        let ends = a.add(c);
        if N == 3 {
            (u[0], u[1], u[2]) = (ends.add(b), a, c);
        } else {
            (u[0], u[1], u[2], u[3]) = (a, ends.add(b), ends.sub(b), c);
        }
    }
    u
}

/// Whether a position along a side is a sum of all taps.
#[inline(always)]
const fn is_sum(side: usize, i: usize) -> bool {
    if side == MAX_SIDE { i == 1 || i == 2 } else { i == 0 }
}

/// What the taps of a position were multiplied by so as not to be halved, inverted.
const fn halves(side: usize, i: usize) -> f32 {
    if side == MAX_SIDE && is_sum(side, i) { 0.5 } else { 1.0 }
}

/// The plane of the low part of a position that is a sum along both sides.
#[inline(always)]
const fn low_plane(side: usize, y: usize, x: usize) -> usize {
    if side == MAX_SIDE { MAX_POSITIONS + (y - 1) * 2 + (x - 1) } else { side * side }
}

/// The position of the larger window that has the same sum of taps.
#[inline(always)]
const fn sums(side: usize, y: usize, x: usize) -> usize {
    const SAME: [usize; 3] = [1, 0, 3];
    if side == MAX_SIDE { y * side + x } else { SAME[y] * MAX_SIDE + SAME[x] }
}

/// The position of the window that meets a plane of taps.
pub(crate) const fn position(side: usize, plane: usize) -> usize {
    match plane.checked_sub(side * side) {
        None => plane,
        Some(low) if side == MAX_SIDE => (low / 2 + 1) * side + low % 2 + 1,
        Some(_) => 0,
    }
}

/// The columns of a square as rows.
#[inline(always)]
fn turned<W: Copy, const M: usize, const N: usize>(x: [[W; N]; M]) -> [[W; M]; N] {
    let mut y = [[x[0][0]; M]; N];
    for i in 0..M {
        for j in 0..N {
            y[j][i] = x[i][j];
        }
    }
    y
}

/// The multiplier that brings a magnitude of `largest` to `most`, at most [`ONE`].
fn multiplier(largest: i16, most: i32) -> i16 {
    let largest = i32::from(largest);
    if largest <= most { ONE } else { (most * i32::from(ONE) / largest) as i16 }
}

/// `v * multiplier / ONE`, rounded as [`Shorts::scale`] does.
fn rounded(v: i16, multiplier: i16) -> i16 {
    ((((i32::from(v) * i32::from(multiplier)) >> 12) + 1) >> 1) as i16
}

/// # Safety
/// As [`Transforms`] and [`Shorts`].
#[inline(always)]
pub(crate) unsafe fn window<W: Shorts>(w: &Window, codes: &mut [Code; MAX_POSITIONS]) {
    // SAFETY: the caller's contract.
    unsafe {
        match w.side {
            3 => window_of::<W, 3>(w, codes),
            _ => window_of::<W, 4>(w, codes),
        }
    }
}

/// # Safety
/// As [`window`].
#[inline(always)]
unsafe fn window_of<W: Shorts, const N: usize>(w: &Window, codes: &mut [Code; MAX_POSITIONS]) {
    // SAFETY: the caller's contract; there are so many channels, and room for them.
    unsafe {
        let (mut low, mut high) = ([[W::splat(0); N]; N], [[W::splat(0); N]; N]);
        for at in (0..w.channels).step_by(W::LANES) {
            let v = transformed::<W, N>(w, at);
            for y in 0..N {
                for x in 0..N {
                    low[y][x] = low[y][x].min(v[y][x]);
                    high[y][x] = high[y][x].max(v[y][x]);
                }
            }
        }
        let (mut multipliers, mut zeros) = ([[W::splat(0); N]; N], [[W::splat(0); N]; N]);
        // The lowest value becomes the byte 0 of those with an offset.
        let lowest = i16::from(w.offset) - 128;
        for y in 0..N {
            for x in 0..N {
                let low = fold(low[y][x], i16::min);
                let multiplier = multiplier(fold(high[y][x], i16::max) - low, 254);
                let zero = lowest - rounded(low, multiplier);
                let step = f32::from(ONE) / f32::from(multiplier);
                codes[y * N + x] = Code { step, zero: i32::from(zero) };
                (multipliers[y][x], zeros[y][x]) = (W::splat(multiplier), W::splat(zero));
            }
        }
        for at in (0..w.channels).step_by(W::LANES) {
            let v = transformed::<W, N>(w, at);
            for y in 0..N {
                for x in 0..N {
                    let bytes = v[y][x].scale(multipliers[y][x]).add(zeros[y][x]);
                    bytes.store_bytes(w.out.add((y * N + x) * w.stride + at));
                }
            }
        }
    }
}

/// Some channels of a window, transformed.
///
/// # Safety
/// As [`window`]; the window has them.
#[inline(always)]
unsafe fn transformed<W: Shorts, const N: usize>(w: &Window, at: usize) -> [[W; N]; N] {
    // SAFETY: the caller's contract.
    unsafe {
        let mut pixels = [[W::splat(0); N]; N];
        for y in 0..N {
            for x in 0..N {
                pixels[y][x] = W::load(w.pixels[y * N + x].add(at));
            }
        }
        let mut columns = turned(pixels);
        for column in &mut columns {
            *column = along_window(*column);
        }
        let mut rows = turned(columns);
        for row in &mut rows {
            *row = along_window(*row);
        }
        rows
    }
}

/// All lanes in one.
///
/// # Safety
/// As [`Shorts`].
#[inline(always)]
unsafe fn fold<W: Shorts>(v: W, f: impl Fn(i16, i16) -> i16) -> i16 {
    let mut lanes = [0; CHANNELS];
    // SAFETY: as the caller's; no register has more lanes.
    unsafe { v.store(lanes.as_mut_ptr()) };
    lanes.into_iter().fold(0, f)
}

/// # Safety
/// As [`Transforms`] and [`Shorts`].
#[inline(always)]
pub(crate) unsafe fn taps<W: Shorts>(t: &Taps, multipliers: &Multipliers) {
    // SAFETY: the caller's contract.
    unsafe {
        match t.side {
            3 => taps_of::<W, 3>(t, multipliers),
            _ => taps_of::<W, 4>(t, multipliers),
        }
    }
}

/// What a step of a plane is worth, in steps of the taps.
pub(crate) fn tap_steps(side: usize, plane: usize, multipliers: &Multipliers) -> [f32; LANES] {
    let position = position(side, plane);
    let (y, x) = (position / side, position % side);
    let halves = halves(side, y) * halves(side, x);
    match (is_sum(side, y) && is_sum(side, x), plane < side * side) {
        (false, _) => {
            multipliers[sums(side, y, x)].map(|m| halves * (f32::from(ONE) / f32::from(m)))
        }
        (true, true) => [halves * f32::from(HIGH); LANES],
        (true, false) => [halves; LANES],
    }
}

/// # Safety
/// As [`taps`].
#[inline(always)]
unsafe fn taps_of<W: Shorts, const N: usize>(t: &Taps, multipliers: &Multipliers) {
    let multipliers = multipliers.map(|outputs| {
        let mut each = [0; QUADS];
        for (i, each) in each.iter_mut().enumerate() {
            *each = outputs[i / 4];
        }
        each
    });
    // SAFETY: the caller's contract: every tap and every plane has so many bytes.
    unsafe {
        for at in (0..t.bytes()).step_by(W::LANES) {
            let u = transformed_taps::<W, N>(t, at);
            for y in 0..N {
                for x in 0..N {
                    let out = t.out.cast::<u8>().add(at);
                    let plane = out.add((y * N + x) * t.stride);
                    match (is_sum(N, y), is_sum(N, x)) {
                        (false, false) => u[y][x].store_bytes(plane),
                        (true, true) => {
                            let high = u[y][x].scale(W::splat(ONE / HIGH));
                            let low = u[y][x].sub(high.mul(W::splat(HIGH)));
                            high.store_bytes(plane);
                            low.store_bytes(out.add(low_plane(N, y, x) * t.stride));
                        }
                        _ => {
                            let each = multipliers[sums(N, y, x)].as_ptr().add(at % QUADS);
                            u[y][x].scale(W::load(each)).store_bytes(plane);
                        }
                    }
                }
            }
        }
    }
}

/// # Safety
/// As [`Transforms`] and [`Shorts`].
#[inline(always)]
pub(crate) unsafe fn multipliers<W: Shorts>(t: &Taps) -> Multipliers {
    const N: usize = MAX_SIDE;
    let mut largest = [[0; QUADS]; MAX_POSITIONS];
    for at in (0..t.bytes()).step_by(W::LANES) {
        // SAFETY: the caller's contract: every tap has so many bytes.
        unsafe {
            let u = transformed_taps::<W, N>(t, at);
            for y in 0..N {
                for x in 0..N {
                    if is_sum(N, y) != is_sum(N, x) {
                        let largest = largest[y * N + x].as_mut_ptr().add(at % QUADS);
                        W::load(largest).max(u[y][x].abs()).store(largest);
                    }
                }
            }
        }
    }
    largest.map(|largest| {
        let mut outputs = [0; LANES];
        for (output, quad) in outputs.iter_mut().zip(largest.as_chunks::<4>().0) {
            *output = multiplier(quad.iter().fold(0, |m, v| *v.max(&m)), 127);
        }
        outputs
    })
}

/// Some depths of a panel's taps, transformed.
///
/// # Safety
/// As [`taps`]; the taps have them.
#[inline(always)]
unsafe fn transformed_taps<W: Shorts, const N: usize>(t: &Taps, at: usize) -> [[W; N]; N] {
    // SAFETY: the caller's contract.
    unsafe {
        let mut taps = [[W::splat(0); 3]; 3];
        for y in 0..3 {
            for x in 0..3 {
                taps[y][x] =
                    W::load_bytes(t.taps.cast::<u8>().add((y * 3 + x) * t.bytes() + at), 0);
            }
        }
        let zeros = [W::splat(0); N];
        let mut columns = [zeros; 3];
        let taps = turned(taps);
        for x in 0..3 {
            columns[x] = along_taps(taps[x]);
        }
        let mut rows = [zeros; N];
        let columns = turned(columns);
        for y in 0..N {
            rows[y] = along_taps(columns[y]);
        }
        rows
    }
}

/// The products of a tile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Products<'a> {
    /// Pixels of a window along a side.
    pub side: usize,
    /// `[planes][panels][16]`.
    pub sums: &'a [i32],
    pub panels: usize,
    /// What is zero in each position of the window.
    pub zeros: &'a [i32],
    /// The sum of each plane and column, `[planes][panels][16]`.
    pub totals: &'a [i32],
    /// What a step of each position of the window is worth.
    pub window_steps: &'a [f32],
    /// What a step of each plane and column is worth, `[planes][panels][16]`.
    pub tap_steps: &'a [f32],
}

/// A tile's outputs, `[4][panels][16]`, from its products.
///
/// # Safety
/// As [`Simd`]; slices and pointers hold what the fields say.
#[inline(always)]
pub(crate) unsafe fn outputs<S: Simd>(p: &Products<'_>, out: &mut [f32]) {
    // SAFETY: the caller's contract.
    unsafe {
        match p.side {
            3 => outputs_of::<S, 3>(p, out),
            _ => outputs_of::<S, 4>(p, out),
        }
    }
}

/// # Safety
/// As [`outputs`].
#[inline(always)]
unsafe fn outputs_of<S: Simd, const N: usize>(p: &Products<'_>, out: &mut [f32]) {
    for panel in 0..p.panels {
        // SAFETY: the caller's contract.
        unsafe {
            let mut columns = [[S::splat(0.0); N]; 2];
            [columns[0][0], columns[1][0]] = column::<S, N, 0>(p, panel);
            [columns[0][1], columns[1][1]] = column::<S, N, 1>(p, panel);
            [columns[0][2], columns[1][2]] = column::<S, N, 2>(p, panel);
            if N == MAX_SIDE {
                [columns[0][N - 1], columns[1][N - 1]] = column::<S, N, 3>(p, panel);
            }
            let [[a, b], [c, d]] = [along_products(columns[0]), along_products(columns[1])];
            let out = out.as_mut_ptr().add(panel * LANES);
            a.store(out);
            b.store(out.add(p.panels * LANES));
            c.store(out.add(2 * p.panels * LANES));
            d.store(out.add(3 * p.panels * LANES));
        }
    }
}

/// Two outputs of column `X` of positions. All positions are named, so that the compiler holds them
/// in registers.
///
/// # Safety
/// As [`outputs`].
#[inline(always)]
unsafe fn column<S: Simd, const N: usize, const X: usize>(
    p: &Products<'_>,
    panel: usize,
) -> [S; 2] {
    // SAFETY: the caller's contract.
    unsafe {
        let mut m = [S::splat(0.0); N];
        m[0] = product::<S, N, 0, X>(p, panel);
        m[1] = product::<S, N, 1, X>(p, panel);
        m[2] = product::<S, N, 2, X>(p, panel);
        if N == MAX_SIDE {
            m[N - 1] = product::<S, N, 3, X>(p, panel);
        }
        along_products(m)
    }
}

/// Products along one side to two outputs.
///
/// # Safety
/// As [`outputs`].
#[inline(always)]
unsafe fn along_products<S: Simd, const N: usize>(m: [S; N]) -> [S; 2] {
    // SAFETY: the caller's contract.
    unsafe {
        match N {
            3 => [m[0].sub(m[1]), m[0].add(m[2])],
            _ => [m[0].add(m[1]).add(m[2]), m[1].sub(m[2]).sub(m[3])],
        }
    }
}

/// The product at position `Y`, `X`, of sixteen columns.
///
/// # Safety
/// As [`outputs`].
#[inline(always)]
unsafe fn product<S: Simd, const N: usize, const Y: usize, const X: usize>(
    p: &Products<'_>,
    panel: usize,
) -> S {
    // SAFETY: the caller's contract.
    unsafe {
        let zero = *p.zeros.as_ptr().add(Y * N + X);
        let (sums, steps) = plane::<S>(p, panel, Y * N + X, zero);
        let mut m = sums.mul(steps);
        if is_sum(N, Y) && is_sum(N, X) {
            let (sums, steps) = plane::<S>(p, panel, low_plane(N, Y, X), zero);
            m = sums.fma(steps, m);
        }
        m.mul(S::splat(*p.window_steps.as_ptr().add(Y * N + X)))
    }
}

/// Sums of a plane, and what their steps are worth.
///
/// # Safety
/// As [`outputs`].
#[inline(always)]
unsafe fn plane<S: Simd>(p: &Products<'_>, panel: usize, plane: usize, zero: i32) -> (S, S) {
    let at = (plane * p.panels + panel) * LANES;
    // SAFETY: the caller's contract.
    unsafe {
        let (sums, totals) = (p.sums.as_ptr().add(at), p.totals.as_ptr().add(at));
        let sums = S::load_i32_less_times(sums, zero, totals);
        (sums, S::load(p.tap_steps.as_ptr().add(at)))
    }
}
