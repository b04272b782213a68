//! Spherical interpolation (Shoemake 1985): the way between two vectors on which the length does
//! not sag. Unit noise in many dimensions has nearly one length, the square root of their number,
//! and no network was trained on shorter noise: the middle of a straight line has 0.7 of it.

use super::{LatentShape, TorchRng};

/// Below this sine the two directions are taken for one (or opposite), between which no sphere
/// says where to go.
const PARALLEL: f64 = 1e-6;

/// What lies at `share` (0 to 1) of the way from `a` to `b`, both of one length. The angle is
/// covered evenly, and the length goes evenly from that of `a` to that of `b` where they are at
/// right angles. Between vectors of one direction the way is straight.
pub fn slerp(a: &[f32], b: &[f32], share: f32) -> Vec<f32> {
    let [from, to] = factors(cosine(a, b), f64::from(share)).map(|factor| factor as f32);
    a.iter().zip(b).map(|(a, b)| from * a + to * b).collect()
}

/// How much of each end there is at `share` of the way, by the cosine between them.
fn factors(cosine: f64, share: f64) -> [f64; 2] {
    let angle = libm::acos(cosine.clamp(-1.0, 1.0));
    let sine = libm::sin(angle);
    if sine < PARALLEL {
        return [1.0 - share, share];
    }
    [libm::sin((1.0 - share) * angle) / sine, libm::sin(share * angle) / sine]
}

/// Of the angle between two vectors; 1 where one has no length. Summed in the order of the slices,
/// so that every machine finds the same.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let (mut dot, mut squares) = (0.0, [0.0; 2]);
    for (a, b) in a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b))) {
        dot += a * b;
        squares[0] += a * a;
        squares[1] += b * b;
    }
    let lengths = squares[0].sqrt() * squares[1].sqrt();
    if lengths > 0.0 { dot / lengths } else { 1.0 }
}

/// The noise of a seed, or what lies between that of two.
#[derive(Clone, Debug)]
pub struct SeedNoise {
    from: TorchRng,
    toward: Option<(TorchRng, f32)>,
}

impl SeedNoise {
    /// The noise of `seed`; with `toward`, at that share of the way to another seed's.
    pub fn new(seed: u64, toward: Option<(u64, f32)>) -> Self {
        let toward = toward.filter(|(other, _)| *other != seed);
        Self {
            from: TorchRng::new(seed),
            toward: toward.map(|(seed, share)| (TorchRng::new(seed), share)),
        }
    }

    /// Fills `out`, `[height, width, channels]`, with noise that was not drawn before.
    pub fn draw(&mut self, shape: LatentShape, out: &mut [f32]) {
        self.from.randn_latent(shape, out);
        if let Some((rng, share)) = &mut self.toward {
            let mut other = vec![0.0; out.len()];
            rng.randn_latent(shape, &mut other);
            out.copy_from_slice(&slerp(out, &other, *share));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn length(v: &[f32]) -> f64 {
        v.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt()
    }

    fn vector() -> impl Strategy<Value = Vec<f32>> {
        prop::collection::vec(-3f32..3.0, 5)
    }

    proptest! {
        #[test]
        fn the_ends_are_the_vectors_themselves(a in vector(), b in vector()) {
            prop_assert_eq!(&slerp(&a, &b, 0.0), &a);
            prop_assert_eq!(&slerp(&a, &b, 1.0), &b);
        }

        #[test]
        fn the_angle_is_covered_evenly(a in vector(), b in vector(), share in 0f32..1.0) {
            prop_assume!(length(&a) > 0.5 && length(&b) > 0.5 && cosine(&a, &b).abs() < 0.99);
            // On a sphere both ends have one length.
            let scale = (length(&a) / length(&b)) as f32;
            let b: Vec<f32> = b.iter().map(|v| v * scale).collect();
            let there = slerp(&a, &b, share);
            prop_assert!((length(&there) - length(&a)).abs() < 1e-4 * length(&a));
            let angle = |v: &[f32]| cosine(&a, v).clamp(-1.0, 1.0).acos();
            let wanted = f64::from(share) * angle(&b);
            prop_assert!((angle(&there) - wanted).abs() < 2e-3, "{} {}", angle(&there), wanted);
        }
    }

    #[test]
    fn between_one_direction_and_itself_the_way_is_straight() {
        assert_eq!(slerp(&[1.0, 2.0], &[3.0, 6.0], 0.5), [2.0, 4.0]);
        assert_eq!(slerp(&[0.0; 2], &[1.0, 2.0], 0.5), [0.5, 1.0]);
        assert!(slerp(&[1.0], &[-1.0], 0.25)[0].is_finite());
    }

    #[test]
    fn noise_between_two_seeds_is_unit_noise_again() {
        let shape = LatentShape { channels: 4, height: 64, width: 64 };
        let mut noise = vec![0.0; shape.len()];
        SeedNoise::new(1, Some((2, 0.5))).draw(shape, &mut noise);
        let deviation = length(&noise) / (noise.len() as f64).sqrt();
        assert!((deviation - 1.0).abs() < 0.02, "{deviation}");
    }

    #[test]
    fn every_draw_is_new_and_one_seed_needs_no_way() {
        let shape = LatentShape { channels: 4, height: 8, width: 8 };
        let draw = |mut noise: SeedNoise| {
            let mut drawn = [vec![0.0; shape.len()], vec![0.0; shape.len()]];
            drawn.iter_mut().for_each(|out| noise.draw(shape, out));
            drawn
        };
        let [first, second] = draw(SeedNoise::new(7, Some((8, 0.3))));
        assert_ne!(first, second);
        assert_eq!(draw(SeedNoise::new(7, Some((7, 0.3)))), draw(SeedNoise::new(7, None)));
    }
}
