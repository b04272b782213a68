//! The part of integer attention between its two products: integer scores to weights of one byte,
//! and what a block of keys adds to its queries' values.
//!
//! A tile is a few queries with a block of keys. What belongs to its queries is kept in lanes, one per
//! query, so that a tile's factors cost one vector operation and not one per query.

use super::math;
use super::rows::Place;
use crate::simd::Simd;
use crate::weights::LANES;

/// Keys whose weights are rounded and written together: see [`Simd::store_bytes`].
pub(crate) const GROUP: usize = 4 * LANES;

/// Where the queries of a tile stand in the online softmax; one lane per query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queries {
    /// What one step of a query's int8 values is worth.
    pub steps: [f32; LANES],
    /// Its largest score so far, as a power of two.
    pub largest: [f32; LANES],
    /// The sum of its weights so far, relative to the largest.
    pub sums: [f32; LANES],
}

impl Default for Queries {
    fn default() -> Self {
        Self { steps: [0.0; LANES], largest: [f32::NEG_INFINITY; LANES], sums: [0.0; LANES] }
    }
}

/// The scores of a tile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scores<'a> {
    /// `[queries][columns]`, whole lanes.
    pub scores: &'a [i32],
    /// Keys, and repetitions of the last one behind it.
    pub columns: usize,
    pub repeated: usize,
    /// What one step of a score is worth, of a query whose own step is 1, as a power of two.
    pub unit: f32,
}

/// By what to multiply each query's values so far, and those of a block of keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Factors {
    pub keep: [f32; LANES],
    pub take: [f32; LANES],
}

/// Where the weight of a block's key `t` is written, in a block of so many columns: whole groups lie
/// in the order of [`Simd::store_bytes`], what is left as it comes.
pub(crate) fn position(t: usize, columns: usize) -> usize {
    if t < columns - columns % GROUP {
        t - t % GROUP + t / 4 % 4 * LANES + t % GROUP / LANES * 4 + t % 4
    } else {
        t
    }
}

/// Turns scores into weights `round(127 * 2^(step * (score - largest)))`, relative to the block's
/// largest score, and takes them into the queries' state. `weights: [queries][stride]`.
///
/// # Safety
/// As [`Simd`]; there is at least one score and at most one row per lane, rows are whole lanes and
/// fit the stride.
#[inline(always)]
pub(crate) unsafe fn weigh<S: Simd>(
    s: &Scores<'_>,
    q: &mut Queries,
    weights: &mut [u8],
    stride: usize,
) -> Factors {
    let height = s.scores.len() / s.columns;
    let mut largest = [0; LANES];
    for (i, largest) in largest.iter_mut().enumerate().take(height) {
        // SAFETY: the caller's contract.
        *largest = unsafe { row_largest::<S>(&s.scores[i * s.columns..][..s.columns]) };
    }
    let mut sums = [0; LANES];
    // SAFETY: the caller's contract.
    unsafe {
        let largest = S::load_i32(largest.as_ptr());
        let bound = S::splat(FARTHEST).div(largest.copysign(S::splat(1.0)).max(S::splat(1.0)));
        let steps = S::load(q.steps.as_ptr()).mul(S::splat(s.unit)).min(bound);
        let (factors, next) = rescale(q, largest.mul(steps));
        next.store(q.largest.as_mut_ptr());
        let steps = steps.mul(S::splat(ONE));
        let bases = S::splat(0.0).sub(largest).fma(steps, S::splat(BASE)).lanes();
        let steps = steps.lanes();
        for i in 0..height {
            let row = s.scores[i * s.columns..].as_ptr();
            let to = &mut weights[i * stride..][..s.columns];
            sums[i] = weigh_row::<S>(row, [steps[i], bases[i]], to);
            let last = to[position(s.columns - 1, s.columns)];
            sums[i] -= s.repeated as i32 * i32::from(last);
        }
        let kept = S::load(q.sums.as_ptr()).mul(S::load(factors.keep.as_ptr()));
        let sums = S::load_i32(sums.as_ptr()).fma(S::load(factors.take.as_ptr()), kept);
        sums.store(q.sums.as_mut_ptr());
        factors
    }
}

/// # Safety
/// As [`weigh`].
#[inline(always)]
unsafe fn row_largest<S: Simd>(row: &[i32]) -> i32 {
    // SAFETY: the caller's contract.
    unsafe {
        let mut largest = S::load(row.as_ptr().cast());
        for at in (LANES..row.len()).step_by(LANES) {
            largest = largest.max_i32(row.as_ptr().add(at));
        }
        let lanes = largest.lanes();
        lanes.iter().fold(i32::MIN, |m, v| m.max(v.to_bits().cast_signed()))
    }
}

/// What brings values so far and those of a block with these largest scores to the larger of both,
/// and that.
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
unsafe fn rescale<S: Simd>(q: &Queries, largest: S) -> (Factors, S) {
    // SAFETY: the caller's contract.
    unsafe {
        let before = S::load(q.largest.as_ptr());
        let next = before.max(largest);
        let ln2 = S::splat(std::f32::consts::LN_2);
        let keep = math::exp(before.sub(next).mul(ln2)).lanes();
        let take = math::exp(largest.sub(next).mul(ln2)).lanes();
        (Factors { keep, take }, next)
    }
}

/// Writes the weights of one row; returns their sum.
///
/// # Safety
/// As [`weigh`].
#[inline(always)]
unsafe fn weigh_row<S: Simd>(
    scores: *const i32,
    [step, base]: [f32; 2],
    weights: &mut [u8],
) -> i32 {
    let (columns, to) = (weights.len(), weights.as_mut_ptr());
    // SAFETY: the caller's contract.
    unsafe {
        let row = Row { scores, step: S::splat(step), base: S::splat(base) };
        let mut sums = S::splat(0.0);
        let mut at = 0;
        while at + 2 * GROUP <= columns {
            let [a, b, c, d, e, f, g, h] = row.weights(at);
            sums = S::store_bytes([a, b, c, d], to.add(at), sums);
            sums = S::store_bytes([e, f, g, h], to.add(at + GROUP), sums);
            at += 2 * GROUP;
        }
        if at + GROUP <= columns {
            sums = S::store_bytes(row.weights(at), to.add(at), sums);
            at += GROUP;
        }
        if at < columns {
            let nothing = S::splat(0.0);
            let group = match (columns - at) / LANES {
                1 => {
                    let [a] = row.weights(at);
                    [a, nothing, nothing, nothing]
                }
                2 => {
                    let [a, b] = row.weights(at);
                    [a, b, nothing, nothing]
                }
                _ => {
                    let [a, b, c] = row.weights(at);
                    [a, b, c, nothing]
                }
            };
            let mut bytes = [0_u8; GROUP];
            sums = S::store_bytes(group, bytes.as_mut_ptr(), sums);
            for (i, four) in weights[at..].as_chunks_mut::<4>().0.iter_mut().enumerate() {
                *four = bytes.as_chunks::<4>().0[i % 4 * 4 + i / 4];
            }
        }
        sums.lanes().iter().fold(0, |sum, v| sum + v.to_bits().cast_signed())
    }
}

/// What the bits of an f32, read as an integer, rise by from one power of two to the next.
const ONE: f32 = (1 << 23) as f32;
/// Scores farther from zero than so many powers of two are drawn nearer, so that none of their
/// weights is rounded to more than the largest there is.
const FARTHEST: f32 = (1 << 16) as f32;
/// The bits of 1, and `log2(127)` more.
const BASE: f32 = (127.0 + 6.988_684_7) * ONE;
/// `2^(m - 1) / m` for `m` from 1 to 2, minimax.
const MEND: [f32; 4] = [-0.106_452_39, 0.707_504_4, -1.377_347_5, 1.775_632_9];

/// The scores of a query with a block of keys.
struct Row<S> {
    scores: *const i32,
    /// What one step of them is worth, in bits of an f32, and what a score of zero is.
    step: S,
    base: S,
}

impl<S: Simd> Row<S> {
    /// `16 N` weights `127 * 2^(step * (score - largest))`, with a relative error below 0.0007.
    ///
    /// The bits of an f32, read as an integer, are its logarithm, with a straight line between powers
    /// of two. So the exponent, scaled and rounded to an integer, is read as an f32; its fraction `m`
    /// says how far the line is off, and a cubic `2^(m - 1) / m` mends that. Exponents below -127 become
    /// negative numbers or none at all.
    ///
    /// # Safety
    /// As [`Simd`]; there are as many scores at `at`.
    #[inline(always)]
    unsafe fn weights<const N: usize>(&self, at: usize) -> [S; N] {
        // SAFETY: the caller's contract.
        unsafe {
            let mut line = [self.step; N];
            for (i, line) in line.iter_mut().enumerate() {
                let score = S::load_i32(self.scores.add(at + i * LANES));
                *line = score.fma(self.step, self.base).round_bits();
            }
            let (mut m, mut mend) = (line, [S::splat(MEND[0]); N]);
            for m in &mut m {
                *m = m.mantissa();
            }
            for coefficient in &MEND[1..] {
                for (mend, m) in mend.iter_mut().zip(&m) {
                    *mend = mend.fma(*m, S::splat(*coefficient));
                }
            }
            for (line, mend) in line.iter_mut().zip(&mend) {
                *line = line.mul(*mend);
            }
            line
        }
    }
}

/// `y = values / sum`, the first `len` of them.
///
/// # Safety
/// As [`Simd`]; values are as many, padded to whole lanes, and there is room for them at `y`.
#[inline(always)]
pub(crate) unsafe fn weighted_mean<S: Simd>(values: &[f32], sum: f32, y: Place, len: usize) {
    // SAFETY: the caller's contract.
    unsafe {
        let inverse = S::splat(1.0 / sum);
        for at in (0..len).step_by(LANES) {
            let mean = S::load(values.as_ptr().add(at)).mul(inverse);
            y.store(mean, at, LANES.min(len - at));
        }
    }
}

/// `values = values * keep + sums * steps * take`, `[queries][width]` and a row of steps.
///
/// # Safety
/// As [`Simd`]; rows are whole lanes, one per lane of factors at most.
#[inline(always)]
pub(crate) unsafe fn gather<S: Simd>(sums: &[i32], steps: &[f32], f: &Factors, values: &mut [f32]) {
    let width = steps.len();
    // SAFETY: the caller's contract.
    unsafe {
        for i in 0..values.len() / width {
            let (keep, take) = (S::splat(f.keep[i]), S::splat(f.take[i]));
            for at in (i * width..(i + 1) * width).step_by(LANES) {
                let (y, step) =
                    (values.as_mut_ptr().add(at), S::load(steps.as_ptr().add(at - i * width)));
                let sums = S::load_i32(sums.as_ptr().add(at)).mul(step);
                sums.fma(take, S::load(y).mul(keep)).store(y);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::portable::Portable;

    /// The weights of one query with these scores, back in order, and its state.
    fn weights(scores: &[i32], repeated: usize, step: f32) -> (Vec<u8>, Queries) {
        let columns = scores.len();
        let s = Scores { scores, columns, repeated, unit: 1.0 };
        let mut q = Queries { steps: [step; LANES], ..Queries::default() };
        let mut bytes = vec![0; columns];
        // SAFETY: plain Rust needs no instructions; scores are whole lanes and fit the row.
        unsafe { weigh::<Portable>(&s, &mut q, &mut bytes, columns) };
        ((0..columns).map(|t| bytes[position(t, columns)]).collect(), q)
    }

    #[test]
    fn weights_are_powers_of_two_within_half_a_step() {
        for (columns, step) in [(16, 0.37), (192, 0.01), (80, 0.003), (240, 1.7), (176, 1e30)] {
            let scores: Vec<i32> = (0..columns).map(|t| 1000 - t * 7919 % columns).collect();
            let (got, q) = weights(&scores, 0, step);
            // As far as the step is not held: see `FARTHEST`.
            let step = f64::from(step).min(f64::from(FARTHEST) / 1000.0);
            for (t, weight) in got.iter().enumerate() {
                let exact = 127.0 * (step * f64::from(scores[t] - 1000)).exp2();
                let error = (f64::from(*weight) - exact).abs();
                assert!(error <= 0.5 + 0.0008 * exact + 1e-3, "{columns}, {t}: {weight}, {exact}");
            }
            assert_eq!(q.sums[0], got.iter().map(|w| f32::from(*w)).sum());
        }
    }

    #[test]
    fn repetitions_of_the_last_key_weigh_nothing() {
        let scores: Vec<i32> = (0..80).map(|t| [3, 1, 2][t.min(76) % 3]).collect();
        let (got, q) = weights(&scores, 3, 0.5);
        assert_eq!(q.sums[0], got[..77].iter().map(|w| f32::from(*w)).sum());
        assert!(got[77..].iter().all(|w| *w == got[76]));
    }
}
