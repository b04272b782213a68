//! Transcendental functions from one polynomial on every instruction set.

use crate::graph::Pointwise;
use crate::simd::Simd;

/// `e^x`, relative error below 2e-7; 0 far below, infinity never (arguments are held at +-87.3).
///
/// `x = n ln 2 + r` with `|r| <= ln 2 / 2`; `e^r` by its Taylor polynomial of degree 7 in Horner
/// form.
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S) -> S {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    const TAYLOR: [f32; 8] =
        [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
    // SAFETY: the caller's contract.
    unsafe {
        let x = x.max(S::splat(-87.3)).min(S::splat(87.3));
        let n = x.mul(S::splat(std::f32::consts::LOG2_E)).round();
        let r = n.fma(S::splat(-LN2_HIGH), x);
        let r = n.fma(S::splat(-LN2_LOW), r);
        let mut sum = S::splat(TAYLOR[0]);
        for coefficient in &TAYLOR[1..] {
            sum = sum.fma(r, S::splat(*coefficient));
        }
        sum.mul(n.exp2_integral())
    }
}

/// Hyperbolic tangent, absolute error below 3e-7.
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
unsafe fn tanh<S: Simd>(x: S) -> S {
    // SAFETY: the caller's contract.
    unsafe {
        let one = S::splat(1.0);
        let e = exp(x.copysign(S::splat(-1.0)).mul(S::splat(2.0)));
        one.sub(e).div(one.add(e)).copysign(x)
    }
}

/// `x * Phi(x)`, error below `2e-7 |x|`.
///
/// `max(x, 0) + t q(t)^4` with `t = -|x|` and `q^4 = Phi`: a fourth root falls so slowly that a
/// polynomial of degree 11 follows it, with no exponential and no division. (Minimax for the error
/// of the result, up to where what is left is below 1e-7.)
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
pub(crate) unsafe fn gelu<S: Simd>(x: S) -> S {
    const FAR: f32 = -5.6;
    const Q: [[f32; 2]; 6] = [
        [7.135_865_2e-9, 2.253_977_4e-7],
        [2.721_520_8e-6, 1.371_865_7e-5],
        [4.353_027_6e-6, -1.673_891_5e-4],
        [2.260_358_2e-4, 3.949_912e-3],
        [-4.580_730_6e-3, -5.018_297e-2],
        [1.677_351_1e-1, 8.408_964e-1],
    ];
    // SAFETY: the caller's contract.
    unsafe {
        let t = x.copysign(S::splat(-1.0)).max(S::splat(FAR));
        let q = polynomial(&Q, t);
        let q = q.mul(q);
        q.mul(q).fma(t, S::splat(0.0).max(x))
    }
}

/// `x * sigmoid(k x)` for `k > 0`, error below `2e-7 |x|`.
///
/// `x / (1 + e)` with `e = e^(-k x) = 2^n p(y)`, where `y` is what remains of `-k x / ln 2` beside
/// its nearest integer `n`. (Minimax for the relative error of `p`.)
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
unsafe fn times_sigmoid<S: Simd>(x: S, k: f32) -> S {
    /// Up to this magnitude of `k x` all powers are normal numbers, and beyond it the sigmoid is 0 or
    /// 1.
    const FAR: f32 = 80.0;
    /// A sum with this number ends in the bits of the nearest integer to the other summand.
    const ROUND: f32 = 12_582_912.0;
    const P: [[f32; 2]; 3] = [
        [1.327_647_2e-3, 9.675_542e-3],
        [5.550_713e-2, 2.402_212e-1],
        [6.931_469_4e-1, 1.000_000_1],
    ];
    // SAFETY: the caller's contract.
    unsafe {
        let near = x.max(S::splat(-FAR / k)).min(S::splat(FAR / k));
        let scale = S::splat(-k * std::f32::consts::LOG2_E);
        let bits = near.fma(scale, S::splat(ROUND));
        let y = near.fma(scale, S::splat(ROUND).sub(bits));
        let e = polynomial(&P, y).times_exp2(bits);
        x.div(S::splat(1.0).add(e))
    }
}

/// The polynomial of `coefficients`, highest powers first, two at a time: half as long a chain as
/// Horner's form.
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
unsafe fn polynomial<S: Simd>(coefficients: &[[f32; 2]], x: S) -> S {
    // SAFETY: the caller's contract.
    unsafe {
        let square = x.mul(x);
        let mut sum = S::splat(0.0);
        for (i, [odd, even]) in coefficients.iter().enumerate() {
            let line = S::splat(*odd).fma(x, S::splat(*even));
            sum = if i == 0 { line } else { sum.fma(square, line) };
        }
        sum
    }
}

/// `x * sigmoid(x)`.
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
pub(crate) unsafe fn silu<S: Simd>(x: S) -> S {
    // SAFETY: the caller's contract.
    unsafe { times_sigmoid(x, 1.0) }
}

/// Any of the pointwise functions.
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
pub(crate) unsafe fn pointwise<S: Simd>(function: Pointwise, x: S) -> S {
    // SAFETY: the caller's contract.
    unsafe {
        match function {
            Pointwise::Relu => x.max(S::splat(0.0)),
            Pointwise::Silu => silu(x),
            Pointwise::Gelu => gelu(x),
            Pointwise::QuickGelu => times_sigmoid(x, 1.702),
            Pointwise::Tanh => tanh(x),
            Pointwise::Affine { scale, shift } => x.fma(S::splat(scale), S::splat(shift)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::portable::Portable;
    use crate::weights::LANES;

    /// The largest error of `f` against `truth` at many points of `-limit..limit`.
    fn worst(
        limit: f32,
        f: unsafe fn(Portable) -> Portable,
        error: impl Fn(f64, f64) -> f64,
    ) -> f64 {
        const POINTS: usize = 20_000;
        let mut worst = 0.0_f64;
        for i in 0..POINTS {
            let x = (i as f32 / POINTS as f32 * 2.0 - 1.0) * limit;
            // SAFETY: plain Rust needs no instructions; the array holds sixteen values.
            let y = unsafe { f(Portable::load([x; LANES].as_ptr())).lanes()[0] };
            worst = worst.max(error(f64::from(x), f64::from(y)));
        }
        worst
    }

    #[test]
    fn exponential_and_tangent_are_as_exact_as_they_say() {
        let relative = worst(87.0, exp, |x, y| (y / x.exp() - 1.0).abs());
        assert!(relative < 2e-7, "exp: {relative:.2e}");
        let absolute = worst(20.0, tanh, |x, y| (y - x.tanh()).abs());
        assert!(absolute < 3e-7, "tanh: {absolute:.2e}");
    }

    /// `Phi(x)` by the Taylor series of the error function, which six standard deviations from zero
    /// is 1.
    fn phi(x: f64) -> f64 {
        let z = x.clamp(-6.0, 6.0) / std::f64::consts::SQRT_2;
        let (mut term, mut sum) = (z, z);
        for n in 1..120 {
            term *= -z * z / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        0.5 + sum / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn the_gated_units_are_as_exact_as_they_say() {
        let gelu = worst(9.0, gelu, |x, y| (y - x * phi(x)).abs() / x.abs().max(1e-6));
        assert!(gelu < 2e-7, "GELU: {gelu:.2e}");
        let of = |k: f64| {
            move |x: f64, y: f64| (y - x / (1.0 + (-k * x).exp())).abs() / x.abs().max(1e-6)
        };
        let silu = worst(90.0, silu, of(1.0)).max(worst(9.0, silu, of(1.0)));
        assert!(silu < 2e-7, "SiLU: {silu:.2e}");
        // SAFETY: as that of `worst`.
        let quick = worst(9.0, |x| unsafe { pointwise(Pointwise::QuickGelu, x) }, of(1.702));
        assert!(quick < 2e-7, "quick GELU: {quick:.2e}");
    }

    #[test]
    fn far_from_zero_the_gated_units_are_the_rectifier() {
        for f in [gelu::<Portable>, silu::<Portable>] {
            for (x, y) in [(1e20, 1e20), (-1e20, 0.0), (f32::INFINITY, f32::INFINITY)] {
                // SAFETY: plain Rust needs no instructions.
                let found = unsafe { f(Portable::splat(x)).lanes()[0] };
                assert!(found == y || (found - y).abs() < 1e-7, "{x}: {found}");
            }
            // SAFETY: plain Rust needs no instructions.
            assert!(unsafe { f(Portable::splat(f32::NAN)).lanes()[0] }.is_nan());
        }
    }
}
