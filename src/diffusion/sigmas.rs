//! Noise levels between the training timesteps, for the samplers that count in sigmas.
//!
//! `table` is always noise over signal at every training timestep, rising, `[train_timesteps]`.

/// The sigma at the fractional timestep `t`, linear between the two neighbours.
pub(super) fn interpolate(table: &[f32], t: f64) -> f64 {
    let at = |i: usize| f64::from(table[i]);
    let last = table.len() - 1;
    if t >= last as f64 {
        return at(last);
    }
    let below = t.max(0.0) as usize;
    (at(below + 1) - at(below)) * (t - below as f64) + at(below)
}

/// `steps` sigmas from `max` to `min`, evenly spaced in their seventh root (Karras et al. 2022,
/// equation 5).
pub(super) fn karras(min: f64, max: f64, steps: usize) -> Vec<f64> {
    const RHO: f64 = 7.0;
    let root = |sigma: f64| libm::pow(sigma, 1.0 / RHO);
    let (low, high) = (root(min), root(max));
    let ramp = |i: usize| i as f64 / (steps.max(2) - 1) as f64;
    (0..steps).map(|i| libm::pow(high + ramp(i) * (low - high), RHO)).collect()
}

/// The fractional timestep whose sigma is `sigma`, linear in the logarithm. `logs` are the
/// logarithms of the table, at least two.
pub(super) fn timestep_of(sigma: f64, logs: &[f32]) -> f64 {
    let log = libm::log(sigma.max(1e-10));
    let below = logs.partition_point(|l| f64::from(*l) <= log).saturating_sub(1);
    let below = below.min(logs.len() - 2);
    let (low, high) = (f64::from(logs[below]), f64::from(logs[below + 1]));
    let weight = ((low - log) / (low - high)).clamp(0.0, 1.0);
    (1.0 - weight) * below as f64 + weight * (below + 1) as f64
}

/// Logarithms of the table.
pub(super) fn logs(table: &[f32]) -> Vec<f32> {
    table.iter().map(|sigma| libm::logf(*sigma)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: [f32; 4] = [0.1, 0.5, 2.0, 10.0];

    #[test]
    fn a_whole_timestep_has_its_own_sigma() {
        for (t, sigma) in TABLE.iter().enumerate() {
            assert_eq!(interpolate(&TABLE, t as f64), f64::from(*sigma));
            assert!((timestep_of(f64::from(*sigma), &logs(&TABLE)) - t as f64).abs() < 1e-6);
        }
    }

    #[test]
    fn sigmas_outside_the_table_stay_at_its_ends() {
        assert_eq!(timestep_of(1e-12, &logs(&TABLE)), 0.0);
        assert_eq!(timestep_of(1e9, &logs(&TABLE)), 3.0);
    }

    #[test]
    fn karras_sigmas_touch_both_ends_and_fall() {
        let sigmas = karras(0.03, 14.6, 9);
        assert!((sigmas[0] - 14.6).abs() < 1e-9 && (sigmas[8] - 0.03).abs() < 1e-9);
        assert!(sigmas.windows(2).all(|w| w[1] < w[0]));
    }
}
