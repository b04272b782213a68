//! Blocks and halves against ggml of 2023, compiled from C (`--features ggml-ref`): a reference
//! that shares no code with PyPI's `gguf`. Its blocks hold the step in f32 and Q4_0's values in
//! pairs of neighbours; the numbers are compared, not the bytes.
//!
//! It rounds halves of Q4_0 away from zero, `round(x) + 8`; ggml since then, and Pochade, round
//! them up, `trunc(x + 8.5)`. So the two differ where a value lies half-way between two negative
//! levels.
#![cfg(feature = "ggml-ref")]
#![allow(clippy::unwrap_used)] // A fixture that cannot be read is a failed test.

mod common;

use pochade::files::{blocks, safetensors};
use pochade_engine::{DType, TensorView};

use common::fixture;

const BLOCK: usize = 32;
/// One rounding of a step to f16.
const HALF_ULP: f32 = 1.0 / 2048.0;
/// A step in f16 this small is subnormal, and rounded more coarsely.
const LEAST_STEP: f32 = 6.2e-5;

/// A block as ggml had it: its step, and its integers in order.
struct Block {
    step: f32,
    levels: Vec<i32>,
}

fn values() -> Vec<f32> {
    let file = safetensors::open(&fixture("blocks.safetensors")).unwrap();
    file.view("values").unwrap().unwrap().to_f32()
}

/// A function of ggml that makes blocks: values, where to, how many, in rows of, histogram.
type Quantise =
    unsafe extern "C" fn(*const f32, *mut std::ffi::c_void, i32, i32, *mut i64) -> usize;

/// What ggml makes of `values`, in blocks of `size` bytes.
fn theirs(values: &[f32], quantise: Quantise, size: usize) -> Vec<u8> {
    let mut out = vec![0u8; values.len() / BLOCK * size];
    let mut histogram = [0i64; 16];
    let (from, to) = (values.as_ptr(), out.as_mut_ptr().cast());
    let count = i32::try_from(values.len()).unwrap();
    // SAFETY: `values` are whole blocks, `out` has `size` bytes for each of them, which is what the
    // function returns, and the histogram has a place for each of 16 levels.
    let written = unsafe { quantise(from, to, count, BLOCK as i32, histogram.as_mut_ptr()) };
    assert_eq!(written, out.len());
    out
}

fn q8_0(values: &[f32]) -> Vec<Block> {
    let bytes = theirs(values, ggml_sys::ggml_quantize_q8_0, 4 + BLOCK);
    let block = |b: &[u8]| Block {
        step: f32::from_le_bytes(b[..4].try_into().unwrap()),
        levels: b[4..].iter().map(|q| i32::from(q.cast_signed())).collect(),
    };
    bytes.chunks_exact(4 + BLOCK).map(block).collect()
}

fn q4_0(values: &[f32]) -> Vec<Block> {
    let bytes = theirs(values, ggml_sys::ggml_quantize_q4_0, 4 + BLOCK / 2);
    let block = |b: &[u8]| Block {
        step: f32::from_le_bytes(b[..4].try_into().unwrap()),
        levels: b[4..].iter().flat_map(|q| [q & 15, q >> 4]).map(|q| i32::from(q) - 8).collect(),
    };
    bytes.chunks_exact(4 + BLOCK / 2).map(block).collect()
}

/// The blocks of Pochade: steps in f16, and levels by dividing what they stand for.
fn ours(values: &[f32], dtype: DType) -> Vec<Block> {
    let mut bytes = Vec::new();
    assert!(blocks::append(&mut bytes, values, dtype));
    let shape = [values.len() / BLOCK, BLOCK];
    let view = TensorView::new(dtype, &shape, &bytes).unwrap();
    let numbers = view.to_f32();
    let block = |(numbers, bytes): (&[f32], &[u8])| {
        let step = half::f16::from_le_bytes([bytes[0], bytes[1]]).to_f32();
        let level = |v: &f32| if step == 0.0 { 0 } else { (v / step).round() as i32 };
        Block { step, levels: numbers.iter().map(level).collect() }
    };
    numbers.chunks_exact(BLOCK).zip(bytes.chunks_exact(dtype.bytes())).map(block).collect()
}

/// Steps agree as far as f16 goes; says whether the step is large enough for that.
fn check_step(ours: f32, theirs: f32) -> bool {
    if theirs.abs() < LEAST_STEP {
        assert!((ours - theirs).abs() <= f32::from(half::f16::MIN_POSITIVE_SUBNORMAL) / 2.0);
        return ours != 0.0;
    }
    assert!((ours - theirs).abs() <= HALF_ULP * theirs.abs(), "{ours} {theirs}");
    true
}

#[test]
fn blocks_of_int8_have_the_integers_of_ggml() {
    let values = values();
    for (a, b) in ours(&values, DType::Q8_0).iter().zip(q8_0(&values)) {
        if check_step(a.step, b.step) {
            assert_eq!(a.levels, b.levels);
        }
    }
}

#[test]
fn blocks_of_int4_have_the_integers_of_ggml_but_for_negative_halves() {
    let values = values();
    let (mut halves, mut compared) = (0, 0);
    let blocks = ours(&values, DType::Q4_0).into_iter().zip(q4_0(&values));
    for ((a, b), values) in blocks.zip(values.chunks_exact(BLOCK)) {
        if !check_step(a.step, b.step) {
            continue;
        }
        for ((a, theirs), value) in a.levels.iter().zip(&b.levels).zip(values) {
            compared += 1;
            let level = value / b.step;
            if a == theirs {
                continue;
            }
            let distance = ((level - level.floor()) - 0.5).abs();
            assert!(level < 0.0 && distance < 1e-5 && a - theirs == 1, "{level}: {a} {theirs}");
            halves += 1;
        }
    }
    assert!(halves > 0 && halves * 10 < compared, "{halves} of {compared}");
}

#[test]
fn every_half_is_the_number_that_ggml_says() {
    let halves: Vec<u16> = (0..=u16::MAX).collect();
    let mut found = vec![0.0f32; halves.len()];
    let parameters = ggml_sys::ggml_init_params {
        mem_size: 1024,
        mem_buffer: std::ptr::null_mut(),
        no_alloc: false,
    };
    // SAFETY: the first context fills the table that the conversion reads; both lists have as many
    // values as the call is told.
    unsafe {
        ggml_sys::ggml_free(ggml_sys::ggml_init(parameters));
        ggml_sys::ggml_fp16_to_fp32_row(halves.as_ptr(), found.as_mut_ptr(), halves.len());
    }
    for (bits, found) in halves.iter().zip(found) {
        let wanted = half::f16::from_bits(*bits).to_f32();
        assert!(wanted == found || wanted.is_nan() && found.is_nan(), "{bits:#06x}");
    }
}
