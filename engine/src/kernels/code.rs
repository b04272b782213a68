//! What bytes of activations stand for, and how values become them.

/// A byte stands for `step * (byte - zero)`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Code {
    pub step: f32,
    pub zero: i32,
}

impl Code {
    /// For values of at most this magnitude, with zero in the middle.
    pub fn symmetric(magnitude: f32) -> Self {
        Self { step: magnitude / 127.0, zero: 0 }
    }

    /// For zero and values from `low` to `high`, which take all bytes of -127 ..= 127. One step is
    /// left over, so that zero can be a byte without an end leaving the range.
    pub fn spanning(low: f32, high: f32) -> Self {
        let (low, high) = (low.min(0.0), high.max(0.0));
        let step = (high - low) / 253.0;
        let middle = 0.5 * (low + high) * inverse(step);
        // No number becomes 0.
        Self { step, zero: -middle.round_ties_even() as i32 }
    }

    pub fn rounding(self) -> Rounding {
        Rounding { inverse: inverse(self.step), zero: self.zero as f32 }
    }
}

/// How values become bytes: `round(value * inverse + zero)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounding {
    /// One over what a step is worth.
    pub inverse: f32,
    pub zero: f32,
}

/// The largest magnitude of int16 activations: 12 bits, so that the sum of four of them is within
/// what [`crate::simd::shorts::Shorts::scale`] takes.
pub(crate) const MOST_WIDE: f32 = 2047.0;

/// What a step of int16 activations between these two values is worth.
pub(crate) fn wide_step(low: f32, high: f32) -> f32 {
    high.max(-low) / MOST_WIDE
}

/// One over a step. Where that is not finite, all values shall become zero.
pub(crate) fn inverse(step: f32) -> f32 {
    if step > 1e-36 { 1.0 / step } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn values_of_a_span_and_zero_are_kept_to_half_a_step(
            low in -10.0_f32..10.0, width in 0.0_f32..20.0, at in 0.0_f32..=1.0
        ) {
            let (high, value) = (low + width, low + at * width);
            let code = Code::spanning(low, high);
            let rounding = code.rounding();
            let byte = value.mul_add(rounding.inverse, rounding.zero).round_ties_even();
            prop_assert!(byte.abs() <= 127.0 && code.zero.abs() <= 127, "{byte} of {code:?}");
            let error = (code.step * (byte - code.zero as f32) - value).abs();
            prop_assert!(error <= 0.501 * code.step + 1e-6, "{value} is {error} off in {code:?}");
        }
    }

    #[test]
    fn values_that_are_no_numbers_or_none_leave_a_code() {
        for (low, high) in [(f32::NAN, f32::NAN), (f32::INFINITY, f32::NEG_INFINITY), (0.0, 0.0)] {
            let zero = Code::spanning(low, high).zero;
            assert!(zero.abs() <= 127, "{low} to {high}: {zero}");
        }
    }
}
