//! Keys and values of attention in integers, as the products with queries read them.
//!
//! Each head of each picture lies by itself: keys as panels of sixteen keys over the head's channels;
//! values as panels of sixteen channels over the keys, in the order in which a block's weights are
//! written; what each key's sums start from; what one step of the keys of a block is worth, and one
//! step of each channel of the values.

use crate::kernels::int::BLOCK;
use crate::tensor::Shape;

/// Keys per block.
pub(crate) const KEYS: usize = 256;

/// Sizes of a buffer of packed keys and values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PackedKeys {
    pub heads: usize,
    /// Head size.
    pub d: usize,
    pub tokens: usize,
    /// Channels of a token, all heads.
    pub channels: usize,
}

impl PackedKeys {
    pub fn new(heads: usize, keys: Shape) -> Self {
        Self { heads, d: keys.c / heads, tokens: keys.positions(), channels: keys.c }
    }

    /// Head size in bytes, padded.
    pub fn depth(&self) -> usize {
        self.d.next_multiple_of(BLOCK)
    }

    pub fn padded_tokens(&self) -> usize {
        self.tokens.next_multiple_of(BLOCK)
    }

    /// Bytes of a head's keys, and of its values.
    pub fn bytes(&self) -> usize {
        self.padded_tokens() * self.depth()
    }

    /// Length of a head in f32.
    pub fn per_head(&self) -> usize {
        let bytes = 2 * self.bytes() / size_of::<f32>();
        bytes + self.padded_tokens() + self.key_steps() + self.depth()
    }

    /// Room for a step per block of keys.
    fn key_steps(&self) -> usize {
        self.tokens.div_ceil(KEYS).next_multiple_of(BLOCK)
    }

    /// Where the parts of a head end, in f32.
    fn ends(&self) -> [usize; 4] {
        let keys = self.bytes() / size_of::<f32>();
        let starts = 2 * keys + self.padded_tokens();
        [keys, 2 * keys, starts, starts + self.key_steps()]
    }

    /// The first value of a head in token `t` of its picture; heads count over pictures.
    pub fn at(&self, head: usize, t: usize) -> usize {
        (head / self.heads * self.tokens + t) * self.channels + head % self.heads * self.d
    }

    /// The parts of a head.
    pub fn split<'a>(&self, head: &'a [f32]) -> [&'a [f32]; 5] {
        let [a, b, c, d] = self.ends();
        [&head[..a], &head[a..b], &head[b..c], &head[c..d], &head[d..self.per_head()]]
    }

    /// The parts of a head, to be filled.
    pub fn split_mut<'a>(&self, head: &'a mut [f32]) -> [&'a mut [f32]; 5] {
        let [a, b, c, d] = self.ends();
        let (keys, rest) = head.split_at_mut(a);
        let (values, rest) = rest.split_at_mut(b - a);
        let (starts, rest) = rest.split_at_mut(c - b);
        let (key_steps, value_steps) = rest.split_at_mut(d - c);
        [keys, values, starts, key_steps, value_steps]
    }
}
