//! `exp`, `sin` and `cos` in f64 from additions, multiplications and divisions alone.
//!
//! The platform's mathematics library differs from system to system in the last bit; these give the
//! same bits everywhere, which the promise of one picture per seed needs. Their error stays below
//! 1e-15.

use std::f64::consts::{FRAC_2_PI, LN_2};

/// `pi / 2` in two parts; the first has 33 significant bits, so that small multiples of it are
/// exact.
const HALF_PI: [f64; 2] = [1.570_796_326_734_125_6, 6.077_100_506_506_192e-11];

/// `e^x` for `x` between -700 and 700.
pub(crate) fn exp(x: f64) -> f64 {
    let n = (x / LN_2).round();
    let r = x - n * LN_2;
    // 1 + r/1 (1 + r/2 (1 + r/3 (...)))
    let series = (1..=20).rev().fold(1.0, |sum, k| 1.0 + r / f64::from(k) * sum);
    series * f64::from_bits(((1023 + n as i64) as u64) << 52)
}

/// `(sin x, cos x)` for `|x|` up to a million.
pub(crate) fn sin_cos(x: f64) -> (f64, f64) {
    let quarter = (x * FRAC_2_PI).round();
    let r = x - quarter * HALF_PI[0] - quarter * HALF_PI[1];
    let (sin, cos) = (alternating(r * r, 1) * r, alternating(r * r, 0));
    match (quarter as i64).rem_euclid(4) {
        0 => (sin, cos),
        1 => (cos, -sin),
        2 => (-sin, -cos),
        _ => (-cos, sin),
    }
}

/// `1 - s/((1+o)(2+o)) (1 - s/((3+o)(4+o)) (...))`: cosine for `o = 0`, sine over `r` for `o = 1`,
/// where `s = r^2`.
fn alternating(square: f64, offset: i32) -> f64 {
    (1..=10).rev().fold(1.0, |sum, k| {
        let last = f64::from(2 * k + offset);
        1.0 - square / (last * (last - 1.0)) * sum
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_agree_with_the_platform_to_a_few_units_in_the_last_place() {
        for i in -20_000..20_000 {
            let x = f64::from(i) * 0.77;
            let (sin, cos) = sin_cos(x);
            assert!((sin - x.sin()).abs() < 4e-15, "sin {x}");
            assert!((cos - x.cos()).abs() < 4e-15, "cos {x}");
            let y = x / 1000.0;
            assert!((exp(y) / y.exp() - 1.0).abs() < 4e-15, "exp {y}");
        }
    }
}
