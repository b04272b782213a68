//! Which of the training timesteps a run visits (Lin et al. 2023, table 2).
//!
//! All numbers follow NumPy's rounding, because one timestep more or less is another picture.

/// How `steps` timesteps are chosen among `train` ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// Whole strides from 0 upwards, moved up by an offset: never reaches the last timestep.
    Leading,
    /// Whole strides from the last timestep downwards: needed for zero terminal SNR.
    Trailing,
    /// Both ends and evenly between.
    Linspace,
}

impl Spacing {
    /// `steps` timesteps, falling, not rounded for [`Spacing::Linspace`].
    ///
    /// `offset` is added to leading timesteps. `steps` must not be 0.
    pub(super) fn timesteps(self, train: usize, steps: usize, offset: usize) -> Vec<f64> {
        match self {
            Self::Leading => leading(train / steps, steps, offset),
            Self::Trailing => trailing(train as f64, train as f64 / steps as f64, steps),
            Self::Linspace => linspace((train - 1) as f64, steps),
        }
    }
}

/// `steps` multiples of `stride`, the largest first.
pub(super) fn leading(stride: usize, steps: usize, offset: usize) -> Vec<f64> {
    (0..steps).rev().map(|i| (i * stride + offset) as f64).collect()
}

/// `from`, `from - stride`, ... above 0, each rounded and lowered by one; at most `steps` of them.
///
/// Where the division leaves a crumb, NumPy's `arange` takes one value more, close to 0, which
/// would become timestep -1. It is not taken here.
pub(super) fn trailing(from: f64, stride: f64, steps: usize) -> Vec<f64> {
    let count = ((from / stride).ceil() as usize).min(steps);
    let delta = (from - stride) - from;
    (0..count).map(|i| (from + i as f64 * delta).round_ties_even() - 1.0).collect()
}

/// `count` values from `last` down to 0, both included; 0 alone when `count` is 1.
pub(super) fn linspace(last: f64, count: usize) -> Vec<f64> {
    let step = last / (count.max(2) - 1) as f64;
    let value = |i: usize| if i > 0 && i == count - 1 { last } else { i as f64 * step };
    (0..count).rev().map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn five_steps_of_a_thousand() {
        assert_eq!(Spacing::Leading.timesteps(1000, 5, 1), [801., 601., 401., 201., 1.]);
        assert_eq!(Spacing::Trailing.timesteps(1000, 5, 1), [999., 799., 599., 399., 199.]);
        assert_eq!(Spacing::Linspace.timesteps(1000, 4, 1), [999., 666., 333., 0.]);
    }

    #[test]
    fn one_step_starts_at_the_end_only_when_trailing() {
        assert_eq!(Spacing::Leading.timesteps(1000, 1, 0), [0.]);
        assert_eq!(Spacing::Trailing.timesteps(1000, 1, 0), [999.]);
        assert_eq!(Spacing::Linspace.timesteps(1000, 1, 0), [0.]);
    }

    proptest! {
        #[test]
        fn there_are_as_many_timesteps_as_steps_and_they_fall(
            steps in 1usize..=1000, pick in 0usize..3,
        ) {
            let spacing = [Spacing::Leading, Spacing::Trailing, Spacing::Linspace][pick];
            let timesteps = spacing.timesteps(1000, steps, 0);
            prop_assert_eq!(timesteps.len(), steps);
            prop_assert!(timesteps.windows(2).all(|w| w[1] < w[0]));
            prop_assert!(timesteps.iter().all(|t| (0.0..1000.0).contains(t)));
        }
    }
}
