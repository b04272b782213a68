//! Queries, keys and values of attention in integers, as its products read them.
//!
//! Queries: of every head of every picture, what one step of each query is worth, then rows of int8.
//! Keys and values: of every head, the mean that its keys lost, then blocks of keys. A block has panels
//! of sixteen keys over the head's channels; panels of sixteen channels over the keys, in the order in
//! which a block's weights are written; what each key's sums start from; what one step of the keys is
//! worth, and one step of each channel of the values.

use crate::kernels::int::BLOCK;
use crate::tensor::Shape;
use crate::weights::LANES;

/// Keys per block: whole groups of three panels, and of 64 weights.
pub(crate) const KEYS: usize = 192;

/// Sizes of a buffer of queries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PackedQueries {
    pub heads: usize,
    /// Head size.
    pub d: usize,
    pub positions: usize,
}

impl PackedQueries {
    pub fn new(heads: usize, shape: Shape) -> Self {
        Self { heads, d: shape.c / heads, positions: shape.positions() }
    }

    /// Bytes from one query to the next.
    pub fn depth(&self) -> usize {
        self.d.next_multiple_of(BLOCK)
    }

    /// Room for a head's steps.
    pub fn steps(&self) -> usize {
        self.positions.next_multiple_of(LANES)
    }

    /// Length of a head in f32.
    pub fn per_head(&self) -> usize {
        self.steps() + self.positions * self.depth() / size_of::<f32>()
    }
}

/// Sizes of a buffer of keys and values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PackedKeys {
    pub heads: usize,
    /// Head size.
    pub d: usize,
    pub tokens: usize,
}

/// One block of keys and their values.
#[derive(Debug)]
pub(crate) struct KeyBlock<T> {
    /// Bytes of the keys.
    pub keys: T,
    /// Bytes of the values.
    pub values: T,
    /// An integer per key.
    pub starts: T,
    /// The step of the keys, the first of as many as there are lanes.
    pub step: T,
    pub value_steps: T,
}

impl PackedKeys {
    pub fn new(heads: usize, keys: Shape) -> Self {
        Self { heads, d: keys.c / heads, tokens: keys.positions() }
    }

    /// Head size in bytes, padded.
    pub fn depth(&self) -> usize {
        self.d.next_multiple_of(BLOCK)
    }

    pub fn blocks(&self) -> usize {
        self.tokens.div_ceil(KEYS)
    }

    /// The tokens of a block.
    pub fn tokens_of(&self, block: usize) -> std::ops::Range<usize> {
        block * KEYS..((block + 1) * KEYS).min(self.tokens)
    }

    /// Keys of a block, padded to whole panels.
    pub fn columns(&self, block: usize) -> usize {
        self.tokens_of(block).len().next_multiple_of(LANES)
    }

    fn block_len(&self, columns: usize) -> usize {
        2 * columns * self.depth() / size_of::<f32>() + columns + LANES + self.depth()
    }

    /// Length of a head in f32.
    pub fn per_head(&self) -> usize {
        let last = self.blocks() - 1;
        self.depth() + last * self.block_len(KEYS) + self.block_len(self.columns(last))
    }

    /// Where the mean of a head's keys lies; heads count over pictures.
    pub fn mean(&self, head: usize) -> std::ops::Range<usize> {
        let first = head * self.per_head();
        first..first + self.depth()
    }

    /// Where a block of a head lies.
    pub fn block(&self, head: usize, block: usize) -> std::ops::Range<usize> {
        let first = self.mean(head).end + block * self.block_len(KEYS);
        first..first + self.block_len(self.columns(block))
    }

    /// Lengths of the first parts of a block, in f32.
    fn lengths(&self, block: usize) -> [usize; 3] {
        let columns = self.columns(block);
        [columns * self.depth() / size_of::<f32>(), columns, LANES]
    }

    /// The parts of a block.
    pub fn split<'a>(&self, block: usize, data: &'a [f32]) -> KeyBlock<&'a [f32]> {
        let [bytes, starts, step] = self.lengths(block);
        let (keys, rest) = data.split_at(bytes);
        let (values, rest) = rest.split_at(bytes);
        let (starts, rest) = rest.split_at(starts);
        let (step, value_steps) = rest.split_at(step);
        KeyBlock { keys, values, starts, step, value_steps }
    }

    /// The parts of a block, to be filled.
    pub fn split_mut<'a>(&self, block: usize, data: &'a mut [f32]) -> KeyBlock<&'a mut [f32]> {
        let [bytes, starts, step] = self.lengths(block);
        let (keys, rest) = data.split_at_mut(bytes);
        let (values, rest) = rest.split_at_mut(bytes);
        let (starts, rest) = rest.split_at_mut(starts);
        let (step, value_steps) = rest.split_at_mut(step);
        KeyBlock { keys, values, starts, step, value_steps }
    }
}
