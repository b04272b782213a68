//! Speed of matrix products, convolutions and attention on one thread, beside the machine's own
//! multiply-add peak.
//!
//! `cargo bench -p pochade-engine`. Times are the best of several runs, so a busy machine costs
//! patience, not truth.

mod common;

use std::hint::black_box;
use std::sync::Arc;

use pochade_engine::{
    ConvSpec, DType, Encoding, Engine, Filter, Graph, Mask, Plan, Rate, Session, Shape, TensorView,
    Value,
};

use common::best;

fn filter(out: usize, channels: usize, kernel: usize, integer: bool) -> Arc<Filter> {
    let shape = [out, channels, kernel, kernel];
    let values = (0..shape.iter().product::<usize>()).map(|i| (i % 17) as f32 * 0.01 - 0.08);
    let bytes: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
    let view = TensorView::new(DType::F32, &shape, &bytes).expect("the bytes fit the shape");
    let filter = match integer {
        true => Filter::rounded(&view, None, Encoding::Int8),
        false => Filter::conv(&view, None),
    };
    Arc::new(filter.expect("a filter"))
}

/// GMAC/s of a graph made of one operation.
fn rate(engine: &mut Engine, shapes: &[Shape], op: impl Fn(&mut Graph, &[Value]) -> Value) -> f64 {
    let mut graph = Graph::new();
    let inputs: Vec<_> = shapes.iter().map(|s| graph.input(*s, Rate::Run)).collect();
    let out = op(&mut graph, &inputs);
    graph.output(out);
    let plan = Plan::new(&graph).expect("a sound graph");
    let macs = plan.macs() as f64;
    let mut session = Session::new(engine, plan);
    let data: Vec<_> = shapes.iter().map(|s| vec![0.5; s.len()]).collect();
    let feeds: Vec<_> = inputs.iter().zip(&data).map(|(v, d)| (*v, &d[..])).collect();
    let seconds = best(|| session.run(engine, &feeds));
    black_box(session.output(out));
    macs / seconds / 1e9
}

/// A product that lives in the caches: as near to the peak as the register tile comes.
fn peak(engine: &mut Engine, integer: bool) -> f64 {
    let w = filter(48, 2048, 1, integer);
    rate(engine, &[Shape::tokens(1, 48, 2048)], |g, v| g.linear(v[0], &w))
}

fn products(engine: &mut Engine, integer: bool) {
    let peak = peak(engine, integer);
    let kind = if integer { "int8" } else { "f32" };
    println!("{} kernels, one thread, {kind}; cached product {peak:.1} GMAC/s", engine.isa());
    let show = |name: &str, gmacs: f64| {
        println!("{name:<34} {gmacs:7.1} GMAC/s {:5.0} %", gmacs / peak * 100.0);
    };
    let linears = [
        (4096, 320, 320),
        (4096, 320, 1280),
        (4096, 1280, 320),
        (4096, 640, 640),
        (4096, 1280, 1280),
        (1024, 640, 640),
        (77, 768, 3072),
    ];
    for (m, k, n) in linears {
        let w = filter(n, k, 1, integer);
        let gmacs = rate(engine, &[Shape::tokens(1, m, k)], |g, v| g.linear(v[0], &w));
        show(&format!("linear {m} x {k} -> {n}"), gmacs);
    }
    let convs = [(64, 320, 320), (32, 640, 640), (16, 1280, 1280), (128, 48, 48), (16, 48, 48)];
    for (size, c, out) in convs {
        let w = filter(out, c, 3, integer);
        let gmacs = rate(engine, &[Shape::image(1, size, size, c)], |g, v| {
            g.conv(v[0], &w, ConvSpec::same(3))
        });
        show(&format!("conv 3x3 {c} -> {out} at {size}x{size}"), gmacs);
    }
}

fn attention(engine: &mut Engine) {
    for (tokens, keys, c, heads) in [(4096, 4096, 320, 8), (1024, 1024, 640, 8), (4096, 77, 320, 8)]
    {
        let shapes = [tokens, keys, keys].map(|t| Shape::tokens(1, t, c));
        let gmacs = rate(engine, &shapes, |g, v| g.attention(v[0], v[1], v[2], heads, Mask::None));
        println!("attention {tokens} over {keys}, {heads} x {:<5} {gmacs:7.1} GMAC/s", c / heads);
    }
}

fn main() {
    let mut engine = Engine::new(Some(1)).expect("an instruction set");
    for integer in [true, false] {
        products(&mut engine, integer);
    }
    attention(&mut engine);
}
