//! The operations: how each is split over threads and what scratch memory it needs.

mod attention;
mod bands;
mod code;
mod doubled;
mod few_outputs;
mod int_attention;
mod int_bands;
mod int_matmul;
mod int_product;
mod int_winograd;
mod matmul;
mod norm;
mod output;
mod pack;
mod quantise;
mod rows;
mod scales;
mod shape;
mod sliding;
mod source;
mod winograd_form;

pub(crate) use doubled::is_doubled;
pub(crate) use few_outputs::has_few_outputs;
pub(crate) use matmul::MAX_TAPS;
pub(crate) use norm::reads_lines_of;
pub(crate) use scales::scales_shape;
pub(crate) use winograd_form::{has_form as has_winograd_form, window as winograd_window};

use std::sync::Mutex;

use winograd_form::Form;

use crate::activations::{self, Format, Rows};
use crate::aligned::Aligned;
use crate::fuse::Fused;
use crate::graph::Op;
use crate::kernels::Kernels;
use crate::kernels::rest::Rest;
use crate::kernels::rows::Place;
use crate::mapped::MappedBytes;
use crate::plan::{Slot, Step};
use crate::pool::Pool;
use crate::session::{self, Homes};
use crate::tensor::Shape;
use crate::weights::Panels;

/// Most inputs of one operation: `x`, a norm's scales, a vector and a residual.
pub(crate) const MAX_INPUTS: usize = 4;

/// What runs the operations.
pub(crate) struct Context<'a> {
    pub kernels: &'static Kernels,
    pub pool: &'a mut Pool,
    /// One per thread.
    pub scratch: &'a [Mutex<Aligned<f32>>],
}

/// An input's values and shape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operand<'a> {
    /// The values, or the buffer that [`activations::rest`] reads. Empty where it is the output's, or
    /// where a maker makes them.
    pub data: &'a [f32],
    /// Where the values begin, also if the output does so too.
    pub start: SharedMut,
    pub shape: Shape,
    pub format: Format,
    pub maker: Option<Maker<'a>>,
}

/// How a step computes one of its inputs itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Maker<'a> {
    step: &'a Step,
    homes: Homes,
    out: Slot,
}

// SAFETY: it is left to those that use its inputs that no two tasks touch the same values.
unsafe impl Send for Maker<'_> {}
// SAFETY: as above.
unsafe impl Sync for Maker<'_> {}

impl<'a> Maker<'a> {
    /// A maker whose own inputs lie in `homes`, for a step that writes to `out`.
    ///
    /// # Safety
    /// The homes hold them as long as the maker is there.
    pub unsafe fn new(step: &'a Step, homes: Homes, out: Slot) -> Self {
        Self { step, homes, out }
    }

    fn op(&self) -> &'a Op {
        &self.step.op
    }

    fn inputs(&self) -> [Operand<'a>; MAX_INPUTS] {
        // SAFETY: the contract of `new`.
        unsafe { session::inputs(self.homes, self.step, self.out) }
    }
}

impl Operand<'_> {
    /// No input.
    pub const EMPTY: Operand<'static> = Operand {
        data: &[],
        start: SharedMut(std::ptr::null_mut()),
        shape: Shape::vector(0, 0),
        format: Format::F32,
        maker: None,
    };
}

impl<'a> Operand<'a> {
    /// Where the values begin.
    fn place(&self) -> Place {
        SharedPlace::new(self.start.0, self.format).place()
    }

    /// How many lines come together.
    fn granule(&self) -> usize {
        let form = |maker: Maker<'_>| Form::of(maker.op(), self.shape, self.format);
        self.maker.map_or(1, |maker| int_bands::granule(form(maker)))
    }

    /// The rows at rest.
    fn rest(&self, k: &Kernels) -> Rest<'a> {
        activations::rest(self.data, self.shape, self.format, k.int.offset)
    }

    /// Row `row` in f32, by way of `space` where it is not.
    fn row<'b>(&self, k: &Kernels, row: usize, space: &'b mut [f32]) -> &'b [f32]
    where
        'a: 'b,
    {
        let width = self.shape.c;
        if self.format == Format::F32 {
            return &self.data[row * width..][..width];
        }
        k.read(&self.rest(k), row, 0, &mut space[..width]);
        &space[..width]
    }
}

/// How int8 values of a shape lie in their buffer; `None` for others.
fn int8_rows(shape: Shape, format: Format) -> Option<Rows> {
    match format {
        Format::F32 | Format::F16 | Format::PackedQueries { .. } | Format::PackedKeys { .. } => {
            None
        }
        Format::Int8 => Some(Rows { shape }),
    }
}

/// Everything that one operation touches.
#[derive(Debug)]
pub(crate) struct Operands<'a> {
    pub inputs: [Operand<'a>; MAX_INPUTS],
    pub count: usize,
    pub out: &'a mut [f32],
    pub shape: Shape,
    pub format: Format,
    /// Shared by all threads; its length is what [`scratch`] said.
    pub scratch: &'a mut [f32],
}

/// Computes one operation.
pub(crate) fn execute(op: &Op, o: Operands<'_>, c: &mut Context<'_>) {
    let [a, b, ..] = o.inputs;
    match op {
        Op::Input { .. } | Op::View => {}
        Op::Conv { filter, spec, prologue, epilogue } => {
            let call = matmul::Call { filter, spec, prologue, epilogue };
            match &filter.panels {
                Panels::Int(_) => int_product::conv(Form::of(op, o.shape, o.format), &call, o, c),
                Panels::F32(_) | Panels::F16(_) => matmul::conv(&call, o, c),
            }
        }
        Op::Quantise => quantise::quantise(o, c),
        Op::GroupNorm { norm, groups, eps, silu } => {
            norm::group_norm(&norm::Groups { norm, groups: *groups, eps: *eps, silu: *silu }, o, c);
        }
        Op::GroupScales { norm, groups, eps, silu } => {
            let g = norm::Groups { norm, groups: *groups, eps: *eps, silu: *silu };
            norm::scales_alone(&g, o, c);
        }
        Op::RangeScales => scales::of_range(o, c),
        Op::LayerNorm { norm, eps } => norm::layer_norm(norm, *eps, o, c),
        Op::Attention { heads, mask } => attention::attention(*heads, *mask, o, c),
        Op::PackQueries => pack::pack_queries(o, c),
        Op::PackKeys => pack::pack_keys(o, c),
        Op::IntAttention { heads } => int_attention::attention(*heads, o, c),
        Op::Pointwise(function) => rows::pointwise(*function, a, o.out, c),
        Op::Geglu => rows::geglu(a, o.out, c),
        Op::Add => rows::add(a, b, o.out, c),
        Op::AddVector => rows::add_vector(a, b, o.out, c),
        Op::ScaleShift => rows::scale_shift(a, b, o.out, c),
        Op::MeanTokens => rows::mean_tokens(a, o.out, c),
        Op::Concat => shape::concat(o, c),
        Op::ConcatTokens => shape::concat_tokens(a, b, o.out),
        Op::Upsample => shape::upsample(a, o.out, c),
        Op::AvgPool => shape::avg_pool(a, o.out, c),
        Op::NearestCode { codebook } => code::nearest(codebook, a, o.out, c),
    }
}

/// Shared scratch memory of a step, in f32.
pub(crate) fn scratch(step: &Fused) -> usize {
    match &step.op {
        Op::GroupNorm { .. } => norm::scratch(step.shape),
        Op::GroupScales { .. } => norm::scales_scratch(step),
        Op::Conv { filter, spec, prologue, epilogue } => match (filter.is_integer(), prologue) {
            (true, None) => {
                Form::of(&step.op, step.shape, step.format).map_or(0, int_winograd::scratch)
            }
            (true, Some(_)) => int_bands::scratch(step, filter, *spec),
            (false, _) => {
                let call = matmul::Call { filter, spec, prologue, epilogue };
                matmul::scratch(&call, [step.inputs[0].shape, step.shape])
            }
        },
        Op::RangeScales => scales::scratch(step.inputs[0].shape),
        Op::Attention { heads, .. } => attention::scratch(*heads, step.inputs[1].shape),
        _ => 0,
    }
}

/// Scratch memory of each thread, in f32.
pub(crate) fn thread_scratch(step: &Fused) -> usize {
    let makers = step.makers.iter().map(|(_, maker)| thread_scratch(maker));
    own_thread_scratch(step).max(makers.max().unwrap_or(0))
}

fn own_thread_scratch(step: &Fused) -> usize {
    match &step.op {
        Op::Conv { filter, spec, prologue, epilogue } => match &filter.panels {
            Panels::Int(panels) => Form::of(&step.op, step.shape, step.format).map_or_else(
                || int_matmul::thread_scratch(panels, step.shape, step.format),
                int_winograd::thread_scratch,
            ),
            Panels::F32(_) | Panels::F16(_) => {
                matmul::thread_scratch(&matmul::Call { filter, spec, prologue, epilogue })
            }
        },
        Op::LayerNorm { .. } | Op::GroupNorm { .. } => norm::thread_scratch(step.shape),
        Op::Quantise | Op::Concat => step.shape.c,
        Op::IntAttention { heads } => int_attention::thread_scratch(*heads, step.shape),
        Op::Attention { heads, .. } => attention::thread_scratch(*heads, step.shape),
        Op::PackQueries | Op::PackKeys => pack::thread_scratch(step),
        _ => 0,
    }
}

/// Bytes of weights that an operation reads.
pub(crate) fn weight_bytes(op: &Op) -> usize {
    match op {
        Op::Conv { filter, .. } => filter.bytes(),
        Op::GroupNorm { norm, .. } | Op::GroupScales { norm, .. } | Op::LayerNorm { norm, .. } => {
            8 * norm.channels()
        }
        Op::NearestCode { codebook } => 4 * codebook.codes.len(),
        _ => 0,
    }
}

/// Calls `f` for the weights of a step and its makers that stay in their file.
pub(crate) fn each_mapped(step: &Step, f: fn(&MappedBytes)) {
    if let Op::Conv { filter, .. } = &step.op {
        filter.mapped().into_iter().for_each(f);
    }
    step.makers.iter().for_each(|(_, maker)| each_mapped(maker, f));
}

/// Whether a step or a maker of it has weights that stay in their file.
pub(crate) fn has_mapped(step: &Step) -> bool {
    let own = matches!(&step.op, Op::Conv { filter, .. } if filter.mapped().is_some());
    own || step.makers.iter().any(|(_, maker)| has_mapped(maker))
}

/// Bytes of weights of an operation that can stay in their file.
pub(crate) fn streamable(op: &Op) -> usize {
    match op {
        Op::Conv { filter, .. } => match &filter.panels {
            Panels::Int(panels) => panels.value_bytes(),
            Panels::F32(_) | Panels::F16(_) => 0,
        },
        _ => 0,
    }
}

/// Multiply-accumulate operations of a matrix product, convolution or attention, with those of its
/// makers.
pub(crate) fn macs(step: &Step) -> u64 {
    let rows = step.out.shape.rows() as u64;
    let makers: u64 = step.makers.iter().map(|(_, maker)| macs(maker)).sum();
    makers
        + match &step.op {
            Op::Conv { filter, .. } => rows * (filter.outputs() * filter.depth()) as u64,
            Op::Attention { .. } | Op::IntAttention { .. } => {
                2 * rows * (step.inputs[1].shape.positions() * step.out.shape.c) as u64
            }
            _ => 0,
        }
}

/// Values per task of work that is bound by memory: small enough to balance, large enough to be
/// worth a task.
const CHUNK: usize = 1 << 14;

fn rows_per_task(width: usize) -> usize {
    (CHUNK / width).max(1)
}

/// Calls `f(first_row, rows)` for pieces of `out`, a whole number of rows of `width` each, on all
/// threads.
fn for_rows(
    c: &mut Context<'_>,
    out: &mut [f32],
    width: usize,
    f: impl Fn(usize, &mut [f32]) + Sync,
) {
    let rows = rows_per_task(width);
    for_chunks(c.pool, out, rows * width, |_, task, piece| f(task * rows, piece));
}

/// Calls `f(worker, index, piece)` for consecutive pieces of `out` of `chunk` values, the last
/// perhaps shorter.
fn for_chunks(
    pool: &mut Pool,
    out: &mut [f32],
    chunk: usize,
    f: impl Fn(usize, usize, &mut [f32]) + Sync,
) {
    let (len, shared) = (out.len(), SharedMut(out.as_mut_ptr()));
    pool.run(len.div_ceil(chunk), &|worker, task| {
        let first = task * chunk;
        // SAFETY: every task gets a piece of its own, all inside `out`.
        let piece = unsafe { shared.slice(first, chunk.min(len - first)) };
        f(worker, task, piece);
    });
}

/// A buffer that tasks write to in parallel, each to a part of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SharedMut(pub *mut f32);

// SAFETY: `slice` and `pointer` leave it to their callers that no two tasks touch the same values.
unsafe impl Send for SharedMut {}
// SAFETY: as above.
unsafe impl Sync for SharedMut {}

impl SharedMut {
    /// # Safety
    /// The range lies inside the buffer, and no other task uses any of it.
    #[allow(clippy::mut_from_ref, reason = "the caller vouches that slices are disjoint")]
    unsafe fn slice<'a>(&self, first: usize, len: usize) -> &'a mut [f32] {
        // SAFETY: the caller's contract.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(first), len) }
    }

    /// A pointer to the value at `at`.
    ///
    /// # Safety
    /// As [`SharedMut::slice`] for all that is written through it.
    unsafe fn pointer(&self, at: usize) -> *mut f32 {
        // SAFETY: the caller's contract.
        unsafe { self.0.add(at) }
    }
}

/// As [`SharedMut`], of f32 or f16.
#[derive(Clone, Copy)]
struct SharedPlace {
    start: *mut f32,
    format: Format,
}

// SAFETY: it is left to those that use a place that no two tasks touch the same values.
unsafe impl Send for SharedPlace {}
// SAFETY: as above.
unsafe impl Sync for SharedPlace {}

impl SharedPlace {
    fn new(start: *mut f32, format: Format) -> Self {
        Self { start, format }
    }

    fn place(&self) -> Place {
        match self.format {
            Format::F16 => Place::F16(self.start.cast()),
            _ => Place::F32(self.start),
        }
    }
}

/// As [`SharedMut`], of bytes.
#[derive(Clone, Copy)]
struct SharedBytes(*mut u8);

// SAFETY: `slice` leaves it to its callers that no two tasks touch the same bytes.
unsafe impl Send for SharedBytes {}
// SAFETY: as above.
unsafe impl Sync for SharedBytes {}

impl SharedBytes {
    /// # Safety
    /// The range lies inside the buffer, and no other task uses any of it.
    #[allow(clippy::mut_from_ref, reason = "the caller vouches that slices are disjoint")]
    unsafe fn slice<'a>(&self, first: usize, len: usize) -> &'a mut [u8] {
        // SAFETY: the caller's contract.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(first), len) }
    }
}

fn as_bytes(x: &mut [f32]) -> &mut [u8] {
    // SAFETY: any bytes are a u8; the length is that of the same memory.
    unsafe { std::slice::from_raw_parts_mut(x.as_mut_ptr().cast(), size_of_val(x)) }
}

fn bytes_of(x: &[f32]) -> &[u8] {
    // SAFETY: any bytes are a u8; the length is that of the same memory.
    unsafe { std::slice::from_raw_parts(x.as_ptr().cast(), size_of_val(x)) }
}

fn bytes_as_i8(x: &mut [u8]) -> &mut [i8] {
    // SAFETY: same size and alignment, and any byte is an i8.
    unsafe { std::slice::from_raw_parts_mut(x.as_mut_ptr().cast(), x.len()) }
}

fn as_i32(x: &mut [f32]) -> &mut [i32] {
    // SAFETY: same size and alignment, and any bytes are an i32.
    unsafe { std::slice::from_raw_parts_mut(x.as_mut_ptr().cast(), x.len()) }
}

fn i32_of(x: &[f32]) -> &[i32] {
    // SAFETY: same size and alignment, and any bytes are an i32.
    unsafe { std::slice::from_raw_parts(x.as_ptr().cast(), x.len()) }
}

fn as_u32(x: &mut [f32]) -> &mut [u32] {
    // SAFETY: same size and alignment, and any bytes are a u32.
    unsafe { std::slice::from_raw_parts_mut(x.as_mut_ptr().cast(), x.len()) }
}
