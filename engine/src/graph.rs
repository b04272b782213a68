//! The graph: what a network computes, for one set of shapes.
//!
//! Model code calls the builder methods in the order of the paper's figure and gets a [`Value`] for
//! every intermediate. Nothing is computed here. A call that does not fit (a channel count that
//! does not divide into the groups, say) marks the graph as broken and goes on, so that a network's
//! `forward` reads without `?` on every line; the mark becomes the error of [`crate::Plan::new`].

use std::fmt;
use std::sync::Arc;

use crate::layer::LayerSize;
use crate::ops::MAX_TAPS;
use crate::tensor::Shape;
use crate::weights::{Codebook, Filter, Norm};

/// An intermediate of a [`Graph`]. Only valid for the graph that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub(crate) u32);

impl Value {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// How often an input changes, from the slowest on. What depends on inputs of slower rates alone is
/// not computed again with those of a faster one. (A prompt's keys and values against the embedded
/// timesteps of a schedule, against a denoising step.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rate {
    /// Given once, to the session's `setup`.
    Setup,
    /// Given for all steps of a schedule at once, to the session's `tabulate`. What depends on
    /// these inputs and on those of setup is kept in a table, of which every run reads one entry.
    Schedule,
    /// Given to every `run`.
    Run,
}

impl Rate {
    pub(crate) const ALL: [Self; 3] = [Self::Setup, Self::Schedule, Self::Run];
}

/// Pointwise functions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pointwise {
    /// `max(x, 0)`.
    Relu,
    /// `x * sigmoid(x)`, the networks' "swish".
    Silu,
    /// `x * Phi(x)` with the exact error function.
    Gelu,
    /// `x * sigmoid(1.702 x)`, CLIP's approximation.
    QuickGelu,
    /// Hyperbolic tangent.
    Tanh,
    /// `x * scale + shift`.
    Affine {
        /// Factor.
        scale: f32,
        /// Summand.
        shift: f32,
    },
}

/// Zero padding of a convolution, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Columns to the left.
    pub left: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the right.
    pub right: usize,
}

impl Padding {
    /// The same padding on every side.
    pub const fn same(pad: usize) -> Self {
        Self { top: pad, left: pad, bottom: pad, right: pad }
    }
}

/// How a filter moves over its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvSpec {
    /// Step in both directions.
    pub stride: usize,
    /// Zero padding.
    pub padding: Padding,
    /// Whether the input is first doubled in both directions by repetition (nearest neighbour).
    pub upsample: bool,
}

impl ConvSpec {
    /// Stride 1, padding that keeps the size for odd kernels.
    pub const fn same(kernel: usize) -> Self {
        Self { stride: 1, padding: Padding::same(kernel / 2), upsample: false }
    }

    /// Stride 2 with the given padding.
    pub const fn down(padding: Padding) -> Self {
        Self { stride: 2, padding, upsample: false }
    }

    /// Nearest-neighbour doubling, then stride 1 with padding that keeps the size.
    pub const fn up(kernel: usize) -> Self {
        Self { stride: 1, padding: Padding::same(kernel / 2), upsample: true }
    }
}

/// Which keys a query may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// All of them.
    None,
    /// Those at or before its own position.
    Causal,
}

/// One operation. Inputs are listed in the order named here.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Input {
        rate: Rate,
    },
    /// `x`, what its prologue and its epilogue need; see [`Epilogue`].
    Conv {
        filter: Arc<Filter>,
        spec: ConvSpec,
        /// The planner's, as what a product's input passes through on its way to int8.
        prologue: Option<Prologue>,
        epilogue: Epilogue,
    },
    /// `x`, optionally followed by SiLU.
    GroupNorm {
        norm: Arc<Norm>,
        groups: usize,
        eps: f32,
        silu: bool,
    },
    /// What a group norm comes to: scale and shift of every picture's channels and the range of its
    /// values; the planner's. `x: [n, h, w, c] -> [n, 2 c + 16]`.
    GroupScales {
        norm: Arc<Norm>,
        groups: usize,
        eps: f32,
        silu: bool,
    },
    /// Scales that leave `x` as it is, and the range of each picture; the planner's. `x: [n, h, w, c]
    /// -> [n, 2 c + 16]`.
    RangeScales,
    LayerNorm {
        norm: Arc<Norm>,
        eps: f32,
    },
    /// `q, k, v`.
    Attention {
        heads: usize,
        mask: Mask,
    },
    /// `q`, packed for [`Op::IntAttention`]; the planner's, no graph has it.
    PackQueries,
    /// `k, v`, packed for [`Op::IntAttention`]; the planner's, no graph has it.
    PackKeys,
    /// Packed queries, packed keys and values; the planner's, no graph has it.
    IntAttention {
        heads: usize,
    },
    Pointwise(Pointwise),
    /// `x: [.., 2c] -> [.., c]`, first half times GELU of the second.
    Geglu,
    /// `a, b` of one shape.
    Add,
    /// `x: [n, h, w, c]`, `e: [n, c]`.
    AddVector,
    /// `x: [n, h, w, c]`, `e: [n, 2c]`: `x * (1 + e[..c]) + e[c..]`.
    ScaleShift,
    /// Along channels.
    Concat,
    /// Along positions (tokens).
    ConcatTokens,
    /// Mean over positions.
    MeanTokens,
    /// Nearest-neighbour doubling.
    Upsample,
    /// 2 x 2 average pooling.
    AvgPool,
    /// Each position's channels replaced by the nearest code.
    NearestCode {
        codebook: Arc<Codebook>,
    },
    /// To int8; the planner's, no graph has it.
    Quantise,
    /// The same values under another shape.
    View,
}

/// What a product does to its input first, a few lines at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Prologue {
    /// Scales and shifts it by a group norm's scales, which are the second input, then perhaps SiLU.
    Normalise { silu: bool },
    /// Rounds each row, if it is not int8 yet.
    Round,
}

/// What happens to a matrix product's accumulators before they are stored, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Epilogue {
    /// Add the input after those before: one value per batch and channel.
    pub vector: bool,
    /// A pointwise function.
    pub pointwise: Option<Pointwise>,
    /// The first half of the columns times GELU of the second. Integer products only.
    pub gated: bool,
    /// Add the last input, of the output's shape.
    pub residual: bool,
    /// A pointwise function of the sum.
    pub last: Option<Pointwise>,
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub op: Op,
    pub inputs: Vec<Value>,
    pub shape: Shape,
}

/// Why a graph cannot be planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphError(pub(crate) String);

impl fmt::Display for GraphError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for GraphError {}

/// The input of a layer, kept readable; see [`Graph::tap`].
#[derive(Clone, Debug)]
pub struct Tap {
    /// The layer's name.
    pub layer: Arc<str>,
    /// What it reads: `[n, h, w, channels]`.
    pub input: Value,
    /// The shape of that.
    pub shape: Shape,
    /// Kernel height and width.
    pub kernel: (usize, usize),
    /// How the kernel moves.
    pub spec: ConvSpec,
    /// Where two values were put side by side: how many channels the first has.
    pub joined_at: Option<usize>,
}

/// The queries and keys of an attention, kept readable; see [`Graph::tap_attention`].
#[derive(Clone, Debug)]
pub struct AttentionTap {
    /// The name of the layer that makes the queries.
    pub layer: Arc<str>,
    /// `[n, queries, channels]`; the heads lie side by side in the channels.
    pub queries: Value,
    /// `[n, keys, channels]`.
    pub keys: Value,
    /// The shape of the queries.
    pub shape: Shape,
    /// How many heads.
    pub heads: usize,
}

/// A network for one set of shapes, built node by node. See the module's header.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub(crate) name: &'static str,
    pub(crate) nodes: Vec<Node>,
    pub(crate) outputs: Vec<Value>,
    pub(crate) broken: Option<GraphError>,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty graph with a name for profiles and messages.
    pub fn named(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }

    /// The shape of a value.
    pub fn shape(&self, value: Value) -> Shape {
        self.nodes[value.index()].shape
    }

    /// Declares an input. Its data is given to the session's `setup`, `tabulate` or `run`, by `rate`.
    pub fn input(&mut self, shape: Shape, rate: Rate) -> Value {
        self.push(Op::Input { rate }, &[], shape)
    }

    /// Declares that `value` is read after a run. The planner keeps it to the end.
    pub fn output(&mut self, value: Value) {
        self.outputs.push(value);
    }

    /// Declares the inputs of the layers whose names are `wanted` as outputs. Nothing is fused across
    /// them any more, so that a network in floating point comes to the same up to rounding.
    pub fn tap(&mut self, wanted: &dyn Fn(&str) -> bool) -> Vec<Tap> {
        let tap = |node: &Node| match &node.op {
            Op::Conv { filter, spec, .. } => {
                let (layer, input) = (filter.name()?.clone(), node.inputs[0]);
                let (shape, kernel) = (self.shape(input), filter.kernel());
                let joined_at = self.joined(input).map(|[first, _]| self.shape(first).c);
                let tap = Tap { layer, input, shape, kernel, spec: *spec, joined_at };
                wanted(&tap.layer).then_some(tap)
            }
            _ => None,
        };
        let taps: Vec<Tap> = self.nodes.iter().filter_map(tap).collect();
        taps.iter().for_each(|tap| self.output(tap.input));
        taps
    }

    /// Declares the queries and keys of attentions as outputs, where the layer that makes the queries
    /// has a name that is `wanted`.
    pub fn tap_attention(&mut self, wanted: &dyn Fn(&str) -> bool) -> Vec<AttentionTap> {
        let tap = |node: &Node| match (&node.op, &node.inputs[..]) {
            (Op::Attention { heads, .. }, &[queries, keys, _]) => {
                let Op::Conv { filter, .. } = &self.nodes[queries.index()].op else { return None };
                let (layer, shape) = (filter.name()?.clone(), self.shape(queries));
                let tap = AttentionTap { layer, queries, keys, shape, heads: *heads };
                wanted(&tap.layer).then_some(tap)
            }
            _ => None,
        };
        let taps: Vec<AttentionTap> = self.nodes.iter().filter_map(tap).collect();
        for tap in &taps {
            self.output(tap.queries);
            self.output(tap.keys);
        }
        taps
    }

    /// The layers that have names, and how often each is computed.
    pub fn layers(&self) -> Vec<(Arc<str>, Rate, LayerSize)> {
        let mut rates: Vec<Rate> = Vec::with_capacity(self.nodes.len());
        let mut layers = Vec::new();
        for node in &self.nodes {
            let inputs = node.inputs.iter().map(|input| rates[input.index()]);
            let rate = match &node.op {
                Op::Input { rate } => *rate,
                _ => inputs.max().unwrap_or(Rate::Setup),
            };
            rates.push(rate);
            if let Op::Conv { filter, spec, .. } = &node.op
                && let Some(name) = filter.name()
            {
                layers.push((name.clone(), rate, LayerSize::of(filter, *spec, node.shape)));
            }
        }
        layers
    }

    /// Convolution with `filter`, bias included: `[n, h, w, c_in] -> [n, h', w', c_out]`.
    pub fn conv(&mut self, x: Value, filter: &Arc<Filter>, spec: ConvSpec) -> Value {
        let s = self.shape(x);
        self.check(s.c == filter.channels(), || {
            format!("a convolution of {} channels was given {}", filter.channels(), s.c)
        });
        let (kh, kw) = filter.kernel();
        self.check(kh * kw <= MAX_TAPS, || format!("a kernel of {kh} x {kw}"));
        let up = if spec.upsample { 2 } else { 1 };
        let p = spec.padding;
        let h = self.conv_extent(s.h * up + p.top + p.bottom, kh, spec.stride);
        let w = self.conv_extent(s.w * up + p.left + p.right, kw, spec.stride);
        let shape = Shape::image(s.n, h, w, filter.outputs());
        let epilogue = Epilogue::default();
        let op = Op::Conv { filter: filter.clone(), spec, prologue: None, epilogue };
        self.push(op, &[x], shape)
    }

    /// Every position's channels times a matrix, plus bias: `[.., k] -> [.., n]`.
    pub fn linear(&mut self, x: Value, filter: &Arc<Filter>) -> Value {
        self.check(filter.kernel() == (1, 1), || "a linear layer needs a matrix".to_owned());
        self.conv(x, filter, ConvSpec::same(1))
    }

    /// Group normalisation over positions and `c / groups` channels, then scale and shift.
    pub fn group_norm(&mut self, x: Value, norm: &Arc<Norm>, groups: usize, eps: f32) -> Value {
        let s = self.shape(x);
        self.check(s.c == norm.channels(), || {
            format!("a group norm of {} channels was given {}", norm.channels(), s.c)
        });
        self.check(groups > 0 && s.c.is_multiple_of(groups), || {
            format!("{} channels do not divide into {groups} norm groups", s.c)
        });
        self.push(Op::GroupNorm { norm: norm.clone(), groups, eps, silu: false }, &[x], s)
    }

    /// Layer normalisation over the channels of each position, then scale and shift.
    pub fn layer_norm(&mut self, x: Value, norm: &Arc<Norm>, eps: f32) -> Value {
        let s = self.shape(x);
        self.check(s.c == norm.channels(), || {
            format!("a layer norm of {} channels was given {}", norm.channels(), s.c)
        });
        self.push(Op::LayerNorm { norm: norm.clone(), eps }, &[x], s)
    }

    /// Softmax attention, scaled by `head_size^-1/2`.
    ///
    /// `q: [n, queries, c]`, `k: [n, keys, c]`, `v: [n, keys, c]` -> `[n, queries, c]`; the heads
    /// lie side by side in `c`.
    pub fn attention(&mut self, q: Value, k: Value, v: Value, heads: usize, mask: Mask) -> Value {
        let (sq, sk, sv) = (self.shape(q), self.shape(k), self.shape(v));
        self.check(sk == sv && sq.n == sk.n && sq.c == sk.c, || {
            format!("attention of queries {sq} over keys {sk} and values {sv}")
        });
        self.check(heads > 0 && sq.c.is_multiple_of(heads), || {
            format!("{} channels do not divide into {heads} attention heads", sq.c)
        });
        self.check(mask == Mask::None || sq.positions() == sk.positions(), || {
            "causal attention needs as many keys as queries".to_owned()
        });
        self.push(Op::Attention { heads, mask }, &[q, k, v], sq)
    }

    /// A pointwise function.
    pub fn pointwise(&mut self, x: Value, function: Pointwise) -> Value {
        let s = self.shape(x);
        self.push(Op::Pointwise(function), &[x], s)
    }

    /// `x * sigmoid(x)`.
    pub fn silu(&mut self, x: Value) -> Value {
        self.pointwise(x, Pointwise::Silu)
    }

    /// The gated unit of the transformer's feed-forward: `[.., 2c] -> [.., c]`, `x[..c] *
    /// gelu(x[c..])`.
    pub fn geglu(&mut self, x: Value) -> Value {
        let s = self.shape(x);
        self.check(s.c.is_multiple_of(2), || format!("GEGLU of {} channels", s.c));
        self.push(Op::Geglu, &[x], s.with_channels(s.c / 2))
    }

    /// Sum of two values of one shape.
    pub fn add(&mut self, a: Value, b: Value) -> Value {
        let (sa, sb) = (self.shape(a), self.shape(b));
        self.check(sa == sb, || format!("a sum of {sa} and {sb}"));
        self.push(Op::Add, &[a, b], sa)
    }

    /// Adds one vector per batch element to every position: `x: [n, h, w, c]`, `e: [n, c]`.
    pub fn add_vector(&mut self, x: Value, e: Value) -> Value {
        let (sx, se) = (self.shape(x), self.shape(e));
        self.check(se == Shape::vector(sx.n, sx.c), || format!("a vector {se} added to {sx}"));
        self.push(Op::AddVector, &[x, e], sx)
    }

    /// `x * (1 + e[..c]) + e[c..]` at every position: `x: [n, h, w, c]`, `e: [n, 2c]`.
    pub fn scale_shift(&mut self, x: Value, e: Value) -> Value {
        let (sx, se) = (self.shape(x), self.shape(e));
        self.check(se == Shape::vector(sx.n, 2 * sx.c), || format!("{se} scales and shifts {sx}"));
        self.push(Op::ScaleShift, &[x, e], sx)
    }

    /// Puts the channels of `b` behind those of `a`: `[n, h, w, ca + cb]`.
    pub fn concat(&mut self, a: Value, b: Value) -> Value {
        let (sa, sb) = (self.shape(a), self.shape(b));
        self.check((sa.n, sa.h, sa.w) == (sb.n, sb.h, sb.w), || {
            format!("channels of {sb} put behind those of {sa}")
        });
        self.push(Op::Concat, &[a, b], sa.with_channels(sa.c + sb.c))
    }

    /// What [`Graph::concat`] put side by side; `None` for any other value.
    pub fn joined(&self, value: Value) -> Option<[Value; 2]> {
        match &self.nodes[value.index()] {
            Node { op: Op::Concat, inputs, .. } => Some([inputs[0], inputs[1]]),
            _ => None,
        }
    }

    /// Puts the tokens of `b` behind those of `a`: `[n, ta + tb, c]`.
    pub fn concat_tokens(&mut self, a: Value, b: Value) -> Value {
        let (sa, sb) = (self.shape(a), self.shape(b));
        self.check((sa.n, sa.c) == (sb.n, sb.c), || format!("tokens {sb} put behind {sa}"));
        let shape = Shape::tokens(sa.n, sa.positions() + sb.positions(), sa.c);
        self.push(Op::ConcatTokens, &[a, b], shape)
    }

    /// Mean over all positions: `[n, h, w, c] -> [n, 1, 1, c]`.
    pub fn mean_tokens(&mut self, x: Value) -> Value {
        let s = self.shape(x);
        self.push(Op::MeanTokens, &[x], Shape::vector(s.n, s.c))
    }

    /// Nearest-neighbour doubling: `[n, h, w, c] -> [n, 2h, 2w, c]`.
    pub fn upsample(&mut self, x: Value) -> Value {
        let s = self.shape(x);
        self.push(Op::Upsample, &[x], Shape::image(s.n, 2 * s.h, 2 * s.w, s.c))
    }

    /// 2 x 2 average pooling: `[n, h, w, c] -> [n, h / 2, w / 2, c]`.
    pub fn avg_pool(&mut self, x: Value) -> Value {
        let s = self.shape(x);
        self.check(s.h.is_multiple_of(2) && s.w.is_multiple_of(2), || {
            format!("2 x 2 pooling of {s}")
        });
        self.push(Op::AvgPool, &[x], Shape::image(s.n, s.h / 2, s.w / 2, s.c))
    }

    /// Replaces each position's channels by the nearest code (the VQ layer).
    pub fn nearest_code(&mut self, x: Value, codebook: &Arc<Codebook>) -> Value {
        let s = self.shape(x);
        self.check(s.c == codebook.channels(), || {
            format!("codes of {} channels for {s}", codebook.channels())
        });
        self.push(Op::NearestCode { codebook: codebook.clone() }, &[x], s)
    }

    /// The same values in the same order under another shape.
    pub fn view(&mut self, x: Value, shape: Shape) -> Value {
        let s = self.shape(x);
        self.check(s.len() == shape.len(), || format!("{s} seen as {shape}"));
        self.push(Op::View, &[x], shape)
    }

    /// A feature map as tokens: `[n, h, w, c] -> [n, h * w, c]`. Moves nothing.
    pub fn to_tokens(&mut self, x: Value) -> Value {
        let s = self.shape(x);
        self.view(x, Shape::tokens(s.n, s.positions(), s.c))
    }

    fn push(&mut self, op: Op, inputs: &[Value], shape: Shape) -> Value {
        self.check(!shape.is_empty(), || format!("a value without elements, {shape}"));
        let value = Value(self.nodes.len() as u32);
        self.nodes.push(Node { op, inputs: inputs.to_vec(), shape });
        value
    }

    fn check(&mut self, holds: bool, message: impl FnOnce() -> String) {
        if !holds && self.broken.is_none() {
            self.broken = Some(GraphError(message()));
        }
    }

    fn conv_extent(&mut self, padded: usize, kernel: usize, stride: usize) -> usize {
        self.check(padded >= kernel && stride > 0, || {
            format!("a kernel of {kernel} on {padded} padded pixels")
        });
        padded.saturating_sub(kernel) / stride.max(1) + 1
    }
}
