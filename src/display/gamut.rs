//! Which light a panel can show: mixtures of its inks, and no other.
//!
//! A colour outside, such as violet on a panel of black, white and red, can never be reached by
//! dithering: its error would grow from pixel to pixel until it spoils what can be shown. So every
//! colour is first moved to the nearest mixture, where a difference in lightness counts for more
//! than one in colour.

use super::dither::Light;

/// Entries of the table along each side; linear between them.
const SIDE: usize = 16;

/// Steps of the search for one mixture, at most.
const STEPS: usize = 96;

/// The search ends when a step would gain less than this.
const NEAR: f32 = 1e-6;

/// For colours of pictures, how far they are moved.
#[derive(Debug)]
pub(super) struct Gamut {
    /// By red, green and blue in sRGB, the first changing slowest.
    moves: Vec<Light>,
    /// Black, and up to three directions at right angles in which the inks lie from there.
    span: (Light, Vec<Light>),
}

impl Gamut {
    /// The mixtures of those inks; `linear` is the light of every value in a picture.
    pub(super) fn new(inks: &[Light], linear: &[f32; 256]) -> Self {
        let seen: Vec<Light> = inks.iter().map(|ink| weighted(*ink)).collect();
        let value = |index: usize| linear[index * 255 / (SIDE - 1)];
        let corner =
            |index: usize| [index / (SIDE * SIDE), index / SIDE % SIDE, index % SIDE].map(value);
        let moved = |light: Light| -> Light {
            let shares = nearest_mixture(&seen, weighted(light));
            let mixture = mixed(inks, &shares);
            std::array::from_fn(|i| mixture[i] - light[i])
        };
        let moves = (0..SIDE * SIDE * SIDE).map(|index| moved(corner(index))).collect();
        Self { moves, span: span(inks) }
    }

    /// Where a pixel of that light is moved.
    pub(super) fn moved(&self, pixel: [u8; 3], light: Light) -> Light {
        let shift = self.shift(pixel);
        let (black, directions) = &self.span;
        let from_black = std::array::from_fn(|i| light[i] + shift[i] - black[i]);
        if directions.len() == 3 {
            return std::array::from_fn(|i| black[i] + from_black[i]);
        }
        // What lies beside the inks' line or plane could never be shown.
        directions.iter().fold(*black, |sum, direction| {
            let along = dot(*direction, from_black);
            std::array::from_fn(|i| sum[i] + along * direction[i])
        })
    }

    /// How far a pixel's light is moved, between the entries of the table.
    fn shift(&self, pixel: [u8; 3]) -> Light {
        let position = pixel.map(|value| f32::from(value) * ((SIDE - 1) as f32 / 255.0));
        let cell = position.map(|at| (at as usize).min(SIDE - 2));
        let within: Light = std::array::from_fn(|i| position[i] - cell[i] as f32);
        let mut shift = [0.0; 3];
        for corner in 0..8 {
            let upper = [corner >> 2 & 1, corner >> 1 & 1, corner & 1];
            let weight = |i: usize| if upper[i] == 1 { within[i] } else { 1.0 - within[i] };
            let share = weight(0) * weight(1) * weight(2);
            let at = |i: usize| cell[i] + upper[i];
            let entry = self.moves[(at(0) * SIDE + at(1)) * SIDE + at(2)];
            shift = std::array::from_fn(|i| shift[i] + share * entry[i]);
        }
        shift
    }
}

/// The first ink, and directions at right angles in which the others lie (Gram and Schmidt).
fn span(inks: &[Light]) -> (Light, Vec<Light>) {
    let black = inks.first().copied().unwrap_or_default();
    let mut directions: Vec<Light> = Vec::new();
    for ink in inks {
        let way: Light = std::array::from_fn(|i| ink[i] - black[i]);
        let rest: Light = directions.iter().fold(way, |rest, direction| {
            let along = dot(*direction, way);
            std::array::from_fn(|i| rest[i] - along * direction[i])
        });
        let length = dot(rest, rest).sqrt();
        if length > 1e-2 {
            directions.push(rest.map(|part| part / length));
        }
    }
    (black, directions)
}

/// Linear light as lightness, redness and blueness, the first counting four times.
fn weighted([r, g, b]: Light) -> Light {
    let luminance = 0.2126 * r + 0.7152 * g + 0.0722 * b;
    [4.0 * luminance, r - luminance, b - luminance]
}

fn dot(a: Light, b: Light) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn mixed(inks: &[Light], shares: &[f32]) -> Light {
    inks.iter()
        .zip(shares)
        .fold([0.0; 3], |sum, (ink, share)| std::array::from_fn(|i| sum[i] + share * ink[i]))
}

/// The shares of the inks, adding up to one, whose mixture is nearest to `wanted`.
///
/// Every step takes share from the ink that is farthest in the direction of what is missing and
/// gives it to the one that is nearest (pairwise Frank-Wolfe, Lacoste-Julien and Jaggi 2015).
fn nearest_mixture(inks: &[Light], wanted: Light) -> Vec<f32> {
    let mut shares = vec![1.0 / inks.len() as f32; inks.len()];
    for _ in 0..STEPS {
        let mixture = mixed(inks, &shares);
        let missing = std::array::from_fn(|i| wanted[i] - mixture[i]);
        let gains = || inks.iter().map(|ink| dot(*ink, missing)).enumerate();
        let best = gains().max_by(|a, b| a.1.total_cmp(&b.1));
        let worst = gains().filter(|(i, _)| shares[*i] > 0.0).min_by(|a, b| a.1.total_cmp(&b.1));
        let (Some((to, most)), Some((from, least))) = (best, worst) else { break };
        let way: Light = std::array::from_fn(|i| inks[to][i] - inks[from][i]);
        let length = dot(way, way);
        if length <= 0.0 || most - least < NEAR {
            break;
        }
        let share = ((most - least) / length).min(shares[from]);
        shares[to] += share;
        shares[from] -= share;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    const CORNERS: [Light; 4] = [[0.0; 3], [1.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]];

    fn near(a: Light, b: Light) -> bool {
        a.iter().zip(b).all(|(a, b)| (a - b).abs() < 2e-3)
    }

    #[test]
    fn a_mixture_of_the_inks_is_found() {
        let light = mixed(&CORNERS, &[0.4, 0.3, 0.2, 0.1]);
        let shares = nearest_mixture(&CORNERS, light);
        assert!(near(mixed(&CORNERS, &shares), light), "{shares:?}");
        assert!((shares.iter().sum::<f32>() - 1.0).abs() < 1e-4);
    }

    #[test]
    fn on_black_and_white_every_colour_is_its_grey() {
        let linear = std::array::from_fn(|value| value as f32 / 255.0);
        let gamut = Gamut::new(&CORNERS[..2], &linear);
        for pixel in [[255, 0, 0], [16, 240, 80], [7, 7, 7]] {
            let light = pixel.map(|value| linear[usize::from(value)]);
            let moved = gamut.moved(pixel, light);
            assert!((moved[0] - moved[1]).abs() < 1e-3 && (moved[1] - moved[2]).abs() < 1e-3);
            assert!((weighted(moved)[0] - weighted(light)[0]).abs() < 0.5, "{light:?} {moved:?}");
        }
    }

    #[test]
    fn red_stays_red_where_there_is_red_ink_and_green_does_not_become_red() {
        let linear = std::array::from_fn(|value| value as f32 / 255.0);
        let gamut = Gamut::new(&CORNERS[..3], &linear);
        assert!(near(gamut.moved([255, 0, 0], CORNERS[2]), CORNERS[2]));
        let [r, g, b] = gamut.moved([0, 255, 0], [0.0, 1.0, 0.0]);
        assert!((r - g).abs() < 0.1 && (g - b).abs() < 0.1, "{r} {g} {b}");
    }
}
