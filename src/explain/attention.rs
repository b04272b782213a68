//! What cross-attention looked at: for every place of the picture, how much each token of the prompt
//! counted (Rombach et al. 2022, section 3.3; maps as in Hertz et al. 2022, "Prompt-to-prompt").
//!
//! The probabilities are computed anew from the queries and keys that the layers compared, in plain
//! `f32`. Of a model in integers these are the integers' values, so the maps are its own.

use std::collections::BTreeMap;

use crate::files::Component;
use crate::paint::{AttentionInput, LayerListener};

/// How much every key counts for every query, in one head: softmax of `q k / sqrt(d)`.
///
/// `queries: [n, channels]`, `keys: [tokens, channels]`, the heads side by side in the channels ->
/// `[n, tokens]`, whose rows have sum 1.
pub fn probabilities(
    (queries, keys): (&[f32], &[f32]),
    channels: usize,
    (head, heads): (usize, usize),
) -> Vec<f32> {
    let width = channels / heads;
    let part = head * width..(head + 1) * width;
    let scale = 1.0 / (width as f32).sqrt();
    let mut out = Vec::new();
    for query in queries.chunks_exact(channels) {
        let query = &query[part.clone()];
        let score = |key: &[f32]| {
            let products = query.iter().zip(&key[part.clone()]).map(|(q, k)| q * k);
            products.sum::<f32>() * scale
        };
        let start = out.len();
        out.extend(keys.chunks_exact(channels).map(score));
        softmax(&mut out[start..]);
    }
    out
}

fn softmax(scores: &mut [f32]) {
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    scores.iter_mut().for_each(|score| *score = libm::expf(*score - largest));
    let sum: f32 = scores.iter().sum();
    scores.iter_mut().for_each(|score| *score /= sum);
}

/// Thirds of the way from noise to picture.
pub const TIMES: [&str; 3] = ["early", "midway", "late"];

/// Which maps are meant: `None` stands for the mean of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Which {
    /// Rows and columns of the feature map that looked.
    pub size: Option<(usize, usize)>,
    /// Which third of the way, 0 to 2.
    pub time: Option<usize>,
}

/// How much one token counted at every place.
#[derive(Clone, Debug, PartialEq)]
pub struct Map {
    /// Rows and columns.
    pub size: (usize, usize),
    /// `[rows, columns]`; those of all tokens have sum 1.
    pub values: Vec<f32>,
}

impl Map {
    /// The mean of its values: how much the token counts in all.
    pub fn mean(&self) -> f32 {
        self.values.iter().sum::<f32>() / self.values.len().max(1) as f32
    }

    /// The map at `size`, interpolated between the centres of its places.
    pub fn resized(&self, size: (usize, usize)) -> Self {
        let (rows, columns) = self.size;
        let values = (0..size.0 * size.1).map(|place| {
            let y = between(place / size.1, size.0, rows);
            let x = between(place % size.1, size.1, columns);
            let at = |row: usize, column: usize| self.values[row * columns + column];
            let line = |row: usize| at(row, x.0) * (1.0 - x.2) + at(row, x.1) * x.2;
            line(y.0) * (1.0 - y.2) + line(y.1) * y.2
        });
        Self { size, values: values.collect() }
    }
}

/// The two places that the middle of place `i` of `len` lies between when there are `of`, and how
/// near it is to the second.
fn between(i: usize, len: usize, of: usize) -> (usize, usize, f32) {
    let at = (i as f32 + 0.5) * of as f32 / len as f32 - 0.5;
    let at = at.clamp(0.0, (of - 1) as f32);
    let first = at as usize;
    (first, (first + 1).min(of - 1), at - first as f32)
}

/// The sums of maps that were heard at one size and time.
#[derive(Clone, Debug)]
struct Sum {
    /// `[places, tokens]`.
    values: Vec<f32>,
    /// How many maps of heads were added.
    count: usize,
}

/// The maps of all tokens, of all sizes and times: a listener of a painter.
#[derive(Clone, Debug)]
pub struct Attention {
    tokens: usize,
    /// Rows and columns of the latent.
    latent: (usize, usize),
    steps: usize,
    sums: BTreeMap<((usize, usize), usize), Sum>,
}

impl Attention {
    /// Nothing heard yet of a picture with a latent of that many rows and columns, a context of
    /// `tokens`, and that many steps.
    pub fn new(latent: (usize, usize), tokens: usize, steps: usize) -> Self {
        Self { tokens, latent, steps, sums: BTreeMap::new() }
    }

    /// Whether anything was heard.
    pub fn is_empty(&self) -> bool {
        self.sums.is_empty()
    }

    /// Tokens of the context.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The sizes of feature maps that looked, the smallest first.
    pub fn sizes(&self) -> Vec<(usize, usize)> {
        let mut sizes: Vec<_> = self.sums.keys().map(|(size, _)| *size).collect();
        sizes.dedup();
        sizes
    }

    /// The map of a token, at the largest size that is meant; sizes count alike, and so do heads,
    /// layers and steps of one size. Nothing where nothing was heard.
    pub fn map(&self, token: usize, which: Which) -> Option<Map> {
        let sizes: Vec<_> = self.sizes();
        let sizes: Vec<_> =
            sizes.into_iter().filter(|size| which.size.is_none_or(|w| w == *size)).collect();
        let maps: Vec<Map> =
            sizes.iter().filter_map(|size| self.of_size(token, *size, which.time)).collect();
        let largest = maps.last()?.size;
        let mut values = vec![0.0; largest.0 * largest.1];
        for map in &maps {
            let resized = map.resized(largest);
            for (sum, value) in values.iter_mut().zip(&resized.values) {
                *sum += value / maps.len() as f32;
            }
        }
        Some(Map { size: largest, values })
    }

    /// The mean of the maps of one size.
    fn of_size(&self, token: usize, size: (usize, usize), time: Option<usize>) -> Option<Map> {
        let sums =
            self.sums.iter().filter(|((s, t), _)| *s == size && time.is_none_or(|w| w == *t));
        let mut values = vec![0.0; size.0 * size.1];
        let mut count = 0;
        for (_, sum) in sums {
            count += sum.count;
            let of_token = sum.values.iter().skip(token).step_by(self.tokens);
            values.iter_mut().zip(of_token).for_each(|(value, heard)| *value += heard);
        }
        values.iter_mut().for_each(|value| *value /= count as f32);
        (count > 0).then_some(Map { size, values })
    }

    /// Rows and columns of a feature map of that many places: the latent's, halved a few times.
    fn size_of(&self, places: usize) -> Option<(usize, usize)> {
        let (rows, columns) = self.latent;
        let halved = |times: u32| (rows.div_ceil(1 << times), columns.div_ceil(1 << times));
        (0..8).map(halved).find(|(rows, columns)| rows * columns == places)
    }
}

impl LayerListener for Attention {
    fn wants(&self, _: Component, _: &str) -> bool {
        false
    }

    fn hear(&mut self, _: &crate::paint::LayerInput<'_>) {}

    fn wants_attention(&self, part: Component, layer: &str) -> bool {
        part == Component::Unet && layer.ends_with("attn2.to_q")
    }

    fn hear_attention(&mut self, input: &AttentionInput<'_>) {
        let channels = input.tap.shape.c;
        let Some(size) = self.size_of(input.queries.len() / channels) else { return };
        if input.keys.len() != self.tokens * channels {
            return; // It looks at the picture, not at words.
        }
        let time = (input.step * TIMES.len() / self.steps.max(1)).min(TIMES.len() - 1);
        let empty = || Sum { values: vec![0.0; size.0 * size.1 * self.tokens], count: 0 };
        let sum = self.sums.entry((size, time)).or_insert_with(empty);
        for head in 0..input.tap.heads {
            let compared = (input.queries, input.keys);
            let heard = probabilities(compared, channels, (head, input.tap.heads));
            sum.values.iter_mut().zip(heard).for_each(|(sum, value)| *sum += value);
            sum.count += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pochade_engine::{
        Engine, Filter, Graph, Mask, Plan, Rate, Session, Shape, Storage, Tap, Value,
    };
    use proptest::prelude::*;
    use std::sync::Arc;

    const HEADS: usize = 2;
    const CHANNELS: usize = 8;
    const PLACES: usize = 6;
    const TOKENS: usize = 5;

    /// A cross-attention in the engine: what was heard, the values, and what came out.
    fn engine_attention() -> (Vec<f32>, Vec<f32>, Vec<f32>, Vec<f32>) {
        let mut g = Graph::new();
        let x = g.input(Shape::tokens(1, PLACES, CHANNELS), Rate::Run);
        let context = g.input(Shape::tokens(1, TOKENS, 10), Rate::Setup);
        let layer = |g: &mut Graph, x: Value, name: &str, seed| {
            let shape = [CHANNELS, g.shape(x).c, 1, 1];
            g.linear(x, &Arc::new(Filter::random(shape, Storage::F32, false, seed).named(name)))
        };
        let q = layer(&mut g, x, "attn2.to_q", 1);
        let k = layer(&mut g, context, "attn2.to_k", 2);
        let v = layer(&mut g, context, "attn2.to_v", 3);
        let attended = g.attention(q, k, v, HEADS, Mask::None);
        [attended, v].into_iter().for_each(|value| g.output(value));
        let taps = g.tap_attention(&|layer| layer == "attn2.to_q");
        assert!(g.tap_attention(&|layer| layer == "attn2.to_k").is_empty());
        let heard: Vec<Tap> = g.tap(&|_| false);
        assert_eq!((taps.len(), taps[0].heads, heard.len()), (1, HEADS, 0));
        let mut engine = Engine::new(Some(1)).unwrap();
        let mut session = Session::new(&engine, Plan::new(&g).unwrap());
        let noise = |len: usize, salt: usize| -> Vec<f32> {
            (0..len).map(|i| ((i * 37 + salt * 11) % 23) as f32 / 3.0 - 4.0).collect()
        };
        session.setup(&mut engine, &[(context, &noise(TOKENS * 10, 1))]);
        session.run(&mut engine, &[(x, &noise(PLACES * CHANNELS, 2))]);
        let read = |value| session.output(value).to_vec();
        (read(taps[0].queries), read(taps[0].keys), read(v), read(attended))
    }

    #[test]
    fn the_probabilities_are_those_that_the_engine_attends_with() {
        let (queries, keys, values, attended) = engine_attention();
        let width = CHANNELS / HEADS;
        for head in 0..HEADS {
            let found = probabilities((&queries, &keys), CHANNELS, (head, HEADS));
            assert_eq!(found.len(), PLACES * TOKENS);
            let uneven = found.iter().any(|p| (p - 1.0 / TOKENS as f32).abs() > 0.1);
            assert!(uneven, "even attention would hide a mistake");
            for (place, row) in found.chunks_exact(TOKENS).enumerate() {
                for c in head * width..(head + 1) * width {
                    let sum: f32 =
                        row.iter().zip(0..).map(|(p, t)| p * values[t * CHANNELS + c]).sum();
                    let wanted = attended[place * CHANNELS + c];
                    assert!(
                        (sum - wanted).abs() < 1e-4,
                        "head {head} place {place}: {sum} {wanted}"
                    );
                }
            }
        }
    }

    #[test]
    fn every_token_gets_its_own_map_at_its_own_places() {
        // Two places; the first looks at token 2, the second at token 0, in both heads.
        let unit = |t: usize| (0..4).map(move |i| if i == t { 40.0 } else { 0.0 });
        let mut attention = Attention::new((1, 2), 3, 3);
        let sum = Sum { values: vec![0.0, 0.1, 0.9, 0.8, 0.2, 0.0], count: 1 };
        attention.sums.insert(((1, 2), 0), sum);
        let values = |token| attention.map(token, Which::default()).unwrap().values;
        assert_eq!(
            (values(0), values(1), values(2)),
            (vec![0.0, 0.8], vec![0.1, 0.2], vec![0.9, 0.0])
        );
        let keys: Vec<f32> = (0..3).flat_map(unit).collect();
        let queries: Vec<f32> = [2, 0].into_iter().flat_map(unit).collect();
        let found = probabilities((&queries, &keys), 4, (0, 1));
        assert!(found[2] > 0.99 && found[3] > 0.99, "{found:?}");
    }

    #[test]
    fn sizes_and_times_are_kept_apart_and_count_alike() {
        let mut attention = Attention::new((2, 2), 1, 3);
        let sum = |value: f32, places, count| Sum { values: vec![value; places], count };
        attention.sums.insert(((2, 2), 0), sum(4.0, 4, 4));
        attention.sums.insert(((2, 2), 2), sum(0.0, 4, 4));
        attention.sums.insert(((1, 1), 0), sum(0.1, 1, 1));
        assert_eq!(attention.sizes(), [(1, 1), (2, 2)]);
        let mean = |size, time| attention.map(0, Which { size, time }).map(|map| map.mean());
        assert_eq!(mean(Some((2, 2)), Some(0)), Some(1.0));
        assert_eq!(mean(Some((2, 2)), None), Some(0.5));
        assert_eq!(mean(None, None), Some((0.5 + 0.1) / 2.0));
        assert_eq!(mean(None, Some(1)), None);
    }

    proptest! {
        #[test]
        fn what_counts_in_all_is_one(
            q in prop::collection::vec(-9f32..9.0, 12), k in prop::collection::vec(-9f32..9.0, 16),
        ) {
            for head in 0..2 {
                for row in probabilities((&q, &k), 4, (head, 2)).chunks_exact(4) {
                    prop_assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
                }
            }
        }

        #[test]
        fn an_enlarged_map_keeps_its_mean_and_bounds(values in prop::collection::vec(0f32..1.0, 6)) {
            let map = Map { size: (2, 3), values: values.clone() };
            let large = map.resized((8, 12));
            prop_assert!((large.mean() - map.mean()).abs() < 1e-5);
            let most = values.iter().copied().fold(0.0, f32::max);
            prop_assert!(large.values.iter().all(|v| *v <= most + 1e-6));
            prop_assert_eq!(map.resized((2, 3)), map);
        }
    }
}
