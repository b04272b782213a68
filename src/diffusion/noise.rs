//! Unit normal noise as PyTorch's CPU generator draws it, so that a seed means the same picture.
//!
//! PyTorch fills a tensor of 16 numbers or more in blocks of 16 (Box and Muller's transform, the
//! first eight uniforms for the radius, the last eight for the angle) and, when the size is no
//! multiple of 16, draws the last 16 anew. Smaller tensors are drawn one by one in double
//! precision, two at a time, the second kept for later.
//!
//! The integers behind are the same as PyTorch's. The logarithm, sine and cosine come from `libm`
//! in double precision and are rounded once, so they are the same on every platform; PyTorch's own
//! differ between its vectorised and scalar builds.

/// A 32-bit Mersenne twister (Matsumoto and Nishimura 1998) with PyTorch's normal distributions.
#[derive(Clone, Debug)]
pub struct TorchRng {
    state: [u32; STATE],
    next: usize,
    /// The second number of the last pair that was drawn in double precision.
    kept: Option<f64>,
}

const STATE: usize = 624;
const SHIFT: usize = 397;
const BLOCK: usize = 16;

impl TorchRng {
    /// The generator after `torch.Generator().manual_seed(seed)`, which uses the low 32 bits.
    pub fn new(seed: u64) -> Self {
        let mut state = [seed as u32; STATE];
        for i in 1..STATE {
            let before = state[i - 1];
            state[i] = (before ^ (before >> 30)).wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        Self { state, next: STATE, kept: None }
    }

    /// Fills `out` as `torch.randn(out.len(), generator=self)` would, in `f32`.
    pub fn randn(&mut self, out: &mut [f32]) {
        if out.len() < BLOCK {
            out.iter_mut().for_each(|value| *value = self.normal() as f32);
            return;
        }
        out.iter_mut().for_each(|value| *value = self.uniform());
        out.chunks_exact_mut(BLOCK).for_each(box_muller);
        if !out.len().is_multiple_of(BLOCK) {
            let start = out.len() - BLOCK;
            out[start..].iter_mut().for_each(|value| *value = self.uniform());
            box_muller(&mut out[start..]);
        }
    }

    /// Noise for one latent, drawn as PyTorch draws `[1, channels, height, width]` and returned in
    /// `out` as `[height, width, channels]`.
    pub fn randn_latent(&mut self, shape: LatentShape, out: &mut [f32]) {
        let mut planes = vec![0.0; shape.len()];
        self.randn(&mut planes);
        nchw_to_nhwc(shape, &planes, out);
    }

    fn next_u32(&mut self) -> u32 {
        if self.next == STATE {
            self.twist();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    fn twist(&mut self) {
        for i in 0..STATE {
            let joined =
                (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % STATE] & 0x7fff_ffff);
            let odd = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + SHIFT) % STATE] ^ (joined >> 1) ^ odd;
        }
        self.next = 0;
    }

    /// Uniform in `[0, 1)` with 24 bits.
    fn uniform(&mut self) -> f32 {
        (self.next_u32() & 0x00ff_ffff) as f32 / 16_777_216.0
    }

    /// Uniform in `[0, 1)` with 53 bits; the first draw gives the high ones.
    fn uniform_double(&mut self) -> f64 {
        let high = u64::from(self.next_u32());
        let low = u64::from(self.next_u32());
        (((high << 32) | low) & ((1 << 53) - 1)) as f64 / 9_007_199_254_740_992.0
    }

    fn normal(&mut self) -> f64 {
        if let Some(kept) = self.kept.take() {
            return kept;
        }
        let turn = self.uniform_double();
        let radius = (-2.0 * libm::log1p(-self.uniform_double())).sqrt();
        let angle = 2.0 * std::f64::consts::PI * turn;
        self.kept = Some(radius * libm::sin(angle));
        radius * libm::cos(angle)
    }
}

/// Turns 16 uniforms into 16 normals: pairs are 8 apart.
fn box_muller(block: &mut [f32]) {
    let (first, second) = block.split_at_mut(BLOCK / 2);
    for (a, b) in first.iter_mut().zip(second) {
        // In (0, 1], so that the logarithm is finite.
        let uniform = 1.0 - *a;
        let radius = (-2.0 * libm::log(f64::from(uniform)) as f32).sqrt();
        let angle = f64::from(std::f32::consts::TAU * *b);
        *a = radius * libm::cos(angle) as f32;
        *b = radius * libm::sin(angle) as f32;
    }
}

/// Size of one latent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatentShape {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Numbers per place.
    pub channels: usize,
}

impl LatentShape {
    /// Numbers in all.
    pub fn len(self) -> usize {
        self.height * self.width * self.channels
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// Turns planes `[channels, height, width]` into `[height, width, channels]`.
pub fn nchw_to_nhwc(shape: LatentShape, planes: &[f32], out: &mut [f32]) {
    let places = shape.height * shape.width;
    for (place, values) in out.chunks_exact_mut(shape.channels.max(1)).enumerate() {
        for (channel, value) in values.iter_mut().enumerate() {
            *value = planes[channel * places + place];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_twister_is_the_published_one() {
        // The 10000th output for the default seed, as the C++ standard demands of `mt19937`.
        let mut rng = TorchRng::new(5489);
        let last = (0..10_000).map(|_| rng.next_u32()).last();
        assert_eq!(last, Some(4_123_659_995));
    }

    #[test]
    fn only_the_low_half_of_a_seed_counts() {
        let (mut low, mut high) = (TorchRng::new(7), TorchRng::new(7 + (9 << 32)));
        assert_eq!(low.next_u32(), high.next_u32());
    }

    #[test]
    fn a_latent_is_the_same_noise_with_channels_last() {
        let shape = LatentShape { height: 3, width: 5, channels: 4 };
        let (mut planes, mut latent) = (vec![0.0; shape.len()], vec![0.0; shape.len()]);
        TorchRng::new(1).randn(&mut planes);
        TorchRng::new(1).randn_latent(shape, &mut latent);
        assert_eq!(latent[(2 * 5 + 4) * 4 + 3], planes[(3 * 3 + 2) * 5 + 4]);
        assert_eq!(latent[1], planes[15]);
    }

    #[test]
    fn noise_is_normal() {
        let mut noise = vec![0.0; 100_003];
        TorchRng::new(3).randn(&mut noise);
        let mean = noise.iter().sum::<f32>() / noise.len() as f32;
        let square = noise.iter().map(|v| v * v).sum::<f32>() / noise.len() as f32;
        assert!(mean.abs() < 0.01 && (square - 1.0).abs() < 0.01, "{mean} {square}");
        assert!(noise.iter().all(|v| v.is_finite()));
    }
}
