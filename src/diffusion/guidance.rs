//! Classifier-free guidance (Ho and Salimans 2022), and its rescaling (Lin et al. 2023, 3.4).
//!
//! The network answers for both prompts in one batch of two, so that weights are read once.

/// How strongly the prompt is followed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guidance {
    /// How far to go beyond the conditional answer, seen from the unconditional one. Up to 1
    /// there is no guidance and the network is asked once, as in diffusers.
    pub scale: f32,
    /// How much of the conditional answer's contrast is restored, from 0 (none) to 1.
    pub rescale: f32,
}

impl Guidance {
    /// Guidance of a scale, without rescaling.
    pub fn new(scale: f32) -> Self {
        Self { scale, rescale: 0.0 }
    }

    /// Whether the network must be asked for the negative prompt too.
    pub fn is_on(self) -> bool {
        self.scale > 1.0
    }

    /// How many latents go to the network per step: 2 (negative prompt first), or 1.
    pub fn batch(self) -> usize {
        if self.is_on() { 2 } else { 1 }
    }

    /// Joins the answers for a batch, `[batch, ...]` with the negative prompt first, into one,
    /// in place: the answer is the slice returned, `[...]`.
    pub fn combine(self, outputs: &mut [f32]) -> &[f32] {
        if !self.is_on() {
            return outputs;
        }
        let (negative, positive) = outputs.split_at_mut(outputs.len() / 2);
        for (n, p) in negative.iter_mut().zip(positive.iter()) {
            *n += self.scale * (p - *n);
        }
        if self.rescale > 0.0 {
            self.restore_contrast(negative, positive);
        }
        negative
    }

    /// Mixes in the guided answer brought to the standard deviation of the conditional one.
    fn restore_contrast(self, guided: &mut [f32], positive: &[f32]) {
        let spread = deviation(guided);
        if spread == 0.0 {
            return;
        }
        let ratio = (deviation(positive) / spread) as f32;
        for value in guided {
            *value = self.rescale * (*value * ratio) + (1.0 - self.rescale) * *value;
        }
    }
}

/// Standard deviation, summed in `f64` in the order of the slice.
fn deviation(values: &[f32]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
    let square = |v: &f32| (f64::from(*v) - mean) * (f64::from(*v) - mean);
    (values.iter().map(square).sum::<f64>() / (count - 1.0).max(1.0)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_scale_of_one_asks_once_and_changes_nothing() {
        let guidance = Guidance::new(1.0);
        assert_eq!(guidance.batch(), 1);
        assert_eq!(guidance.combine(&mut [1.0, 2.0, 3.0]), [1.0, 2.0, 3.0]);
    }

    #[test]
    fn guidance_goes_beyond_the_conditional_answer() {
        assert_eq!(Guidance::new(3.0).combine(&mut [1.0, 2.0, 2.0, 1.0]), [4.0, -1.0]);
    }

    #[test]
    fn equal_answers_have_no_contrast_to_restore() {
        let guidance = Guidance { scale: 2.0, rescale: 0.7 };
        assert_eq!(guidance.combine(&mut [1.0; 6]), [1.0; 3]);
    }

    proptest! {
        #[test]
        fn full_rescaling_gives_the_deviation_of_the_conditional_answer(
            mut outputs in prop::collection::vec(-3f32..3.0, 16), scale in 1.5f32..9.0,
        ) {
            let wanted = deviation(&outputs[8..]);
            let found = deviation(Guidance { scale, rescale: 1.0 }.combine(&mut outputs));
            prop_assert!((found - wanted).abs() < 1e-4 * wanted.max(1.0));
        }
    }
}
