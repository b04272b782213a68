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

/// `1 / (1 + e^-x)`.
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
unsafe fn sigmoid<S: Simd>(x: S) -> S {
    // SAFETY: the caller's contract.
    unsafe {
        let one = S::splat(1.0);
        one.div(one.add(exp(S::splat(0.0).sub(x))))
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

/// The error function by Abramowitz and Stegun 7.1.26, absolute error below 5e-7.
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
unsafe fn erf<S: Simd>(x: S) -> S {
    const P: f32 = 0.327_591_1;
    const A: [f32; 5] = [1.061_405_4, -1.453_152_1, 1.421_413_8, -0.284_496_72, 0.254_829_6];
    // SAFETY: the caller's contract.
    unsafe {
        let one = S::splat(1.0);
        let magnitude = x.copysign(one);
        let t = one.div(magnitude.fma(S::splat(P), one));
        let mut sum = S::splat(A[0]);
        for coefficient in &A[1..] {
            sum = sum.fma(t, S::splat(*coefficient));
        }
        let tail = exp(S::splat(0.0).sub(x.mul(x)));
        one.sub(sum.mul(t).mul(tail)).copysign(x)
    }
}

/// `x * Phi(x)`.
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
pub(crate) unsafe fn gelu<S: Simd>(x: S) -> S {
    // SAFETY: the caller's contract.
    unsafe {
        let phi = erf(x.mul(S::splat(std::f32::consts::FRAC_1_SQRT_2)));
        let half = x.mul(S::splat(0.5));
        half.fma(phi, half)
    }
}

/// `x * sigmoid(x)`.
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
pub(crate) unsafe fn silu<S: Simd>(x: S) -> S {
    // SAFETY: the caller's contract.
    unsafe { x.mul(sigmoid(x)) }
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
            Pointwise::QuickGelu => x.mul(sigmoid(x.mul(S::splat(1.702)))),
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

    #[test]
    fn the_error_function_is_as_exact_as_it_says() {
        let absolute = worst(2.5, erf, |x, y| {
            // The Taylor series, which converges fast enough this near to zero.
            let (mut term, mut sum) = (x, x);
            for n in 1..80 {
                term *= -x * x / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            (y - sum * 2.0 / std::f64::consts::PI.sqrt()).abs()
        });
        assert!(absolute < 5e-7, "erf: {absolute:.2e}");
    }
}
