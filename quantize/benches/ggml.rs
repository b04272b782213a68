//! Linear layers of Stable Diffusion 1.5 on one thread: ggml of 2023 with its own blocks, beside the
//! engine's integers.
//!
//! `cargo bench -p pochade-quantize --features ggml-ref`. Times are the best of several runs. ggml is
//! compiled for the machine that builds it, as its crate does; it has no products of int8
//! convolutions, so linear layers are what can be compared.

#[path = "../../engine/benches/common/mod.rs"]
mod common;

use std::hint::black_box;

use pochade_engine::{
    DType, Encoding, Engine, Filter, Graph, Plan, Rate, Session, Shape, TensorView,
};

use common::best;

/// Tokens, channels in and out.
const LAYERS: [[usize; 3]; 5] =
    [[4096, 320, 320], [4096, 320, 1280], [4096, 1280, 320], [1024, 640, 640], [77, 768, 3072]];
/// Bytes of ggml's context beside its tensors.
const SLACK: usize = 64 << 20;

fn weights(outputs: usize, channels: usize) -> Vec<f32> {
    (0..outputs * channels).map(|i| (i % 17) as f32 * 0.01 - 0.08).collect()
}

/// Seconds of one product by the engine.
fn engine([tokens, channels, outputs]: [usize; 3], encoding: Encoding) -> f64 {
    let bytes: Vec<u8> =
        weights(outputs, channels).into_iter().flat_map(f32::to_le_bytes).collect();
    let shape = [outputs, channels];
    let view = TensorView::new(DType::F32, &shape, &bytes).expect("the bytes fit the shape");
    let filter = Filter::rounded(&view, None, encoding).expect("a filter").into();
    let mut graph = Graph::new();
    let shape = Shape::tokens(1, tokens, channels);
    let input = graph.input(shape, Rate::Run);
    let output = graph.linear(input, &filter);
    graph.output(output);
    let mut engine = Engine::new(Some(1)).expect("an instruction set");
    let mut session = Session::new(&engine, Plan::new(&graph).expect("a sound graph"));
    let data = vec![0.5; shape.len()];
    let seconds = best(|| session.run(&mut engine, &[(input, &data)]));
    black_box(session.output(output));
    seconds
}

/// Seconds of one product by ggml, with weights in blocks of `kind`.
fn ggml([tokens, channels, outputs]: [usize; 3], kind: ggml_sys::ggml_type) -> f64 {
    let values = weights(outputs, channels);
    let floats = values.len() + tokens * (channels + 2 * outputs);
    let parameters = ggml_sys::ggml_init_params {
        mem_size: 4 * floats + SLACK,
        mem_buffer: std::ptr::null_mut(),
        no_alloc: false,
    };
    let (wide, deep) = (channels as i64, outputs as i64);
    let mut histogram = [0i64; 16];
    // SAFETY: the context has room for all tensors, which is checked by ggml itself; tensors are used
    // before the context is freed, and every row is whole blocks of 32.
    unsafe {
        let context = ggml_sys::ggml_init(parameters);
        let a = ggml_sys::ggml_new_tensor_2d(context, kind, wide, deep);
        let quantise = match kind {
            ggml_sys::ggml_type_GGML_TYPE_Q8_0 => ggml_sys::ggml_quantize_q8_0,
            _ => ggml_sys::ggml_quantize_q4_0,
        };
        let blocks = ggml_sys::ggml_get_data(a);
        let count = values.len() as i32;
        quantise(values.as_ptr(), blocks, count, channels as i32, histogram.as_mut_ptr());
        let b = ggml_sys::ggml_new_tensor_2d(
            context,
            ggml_sys::ggml_type_GGML_TYPE_F32,
            wide,
            tokens as i64,
        );
        std::slice::from_raw_parts_mut(ggml_sys::ggml_get_data_f32(b), tokens * channels).fill(0.5);
        let product = ggml_sys::ggml_mul_mat(context, a, b);
        let mut graph = ggml_sys::ggml_build_forward(product);
        graph.n_threads = 1;
        let seconds = best(|| ggml_sys::ggml_graph_compute(context, &raw mut graph));
        black_box(*ggml_sys::ggml_get_data_f32(product));
        ggml_sys::ggml_free(context);
        seconds
    }
}

fn main() {
    println!("GMAC/s on one thread            ggml 2023           Pochade");
    println!("                              q8_0     q4_0     int8     int4");
    for layer in LAYERS {
        let [tokens, channels, outputs] = layer;
        let macs = (tokens * channels * outputs) as f64 / 1e9;
        let rates = [
            ggml(layer, ggml_sys::ggml_type_GGML_TYPE_Q8_0),
            ggml(layer, ggml_sys::ggml_type_GGML_TYPE_Q4_0),
            engine(layer, Encoding::Int8),
            engine(layer, Encoding::Int4),
        ]
        .map(|seconds| format!("{:8.1} ", macs / seconds));
        println!("{tokens:5} x {channels:4} -> {outputs:4}       {}", rates.concat());
    }
}
