//! One graph on every instruction set of the machine and with several thread counts.

use pochade_engine::{DType, Engine, Graph, Isa, Plan, PlanOptions, Rate, Session, Value};

use crate::naive::Tensor;

/// Runs a graph of the given inputs on every instruction set and with 1 to 4 threads; all must give
/// the same bits.
pub fn run_everywhere(
    inputs: &[&Tensor],
    build: impl Fn(&mut Graph, &[Value]) -> Value,
) -> Vec<f32> {
    run_on(&[1, 2, 3, 4], inputs, build)
}

/// [`run_everywhere`] with some numbers of threads.
pub fn run_on(
    threads: &[usize],
    inputs: &[&Tensor],
    build: impl Fn(&mut Graph, &[Value]) -> Value,
) -> Vec<f32> {
    run_with(threads, &PlanOptions::default(), inputs, build)
}

/// [`run_on`] with other choices than the default's.
pub fn run_with(
    threads: &[usize],
    options: &PlanOptions,
    inputs: &[&Tensor],
    build: impl Fn(&mut Graph, &[Value]) -> Value,
) -> Vec<f32> {
    let mut graph = Graph::new();
    let values: Vec<_> = inputs.iter().map(|t| graph.input(t.shape, Rate::Run)).collect();
    let out = build(&mut graph, &values);
    graph.output(out);
    let feeds: Vec<_> = values.iter().zip(inputs).map(|(v, t)| (*v, &t.data[..])).collect();
    let mut first: Option<(Isa, usize, Vec<f32>)> = None;
    for isa in Isa::available() {
        for &threads in threads {
            let mut engine = Engine::with_isa(isa, Some(threads)).unwrap();
            let plan = Plan::with(&graph, options).unwrap();
            let mut session = Session::new(&engine, plan);
            session.setup(&mut engine, &[]);
            session.run(&mut engine, &feeds);
            let result = session.output(out).to_vec();
            match &first {
                None => first = Some((isa, threads, result)),
                Some((one, count, bits)) => assert!(
                    bits.iter().zip(&result).all(|(a, b)| a.to_bits() == b.to_bits()),
                    "{isa} on {threads} threads differs from {one} on {count}"
                ),
            }
        }
    }
    first.unwrap().2
}

/// Runs a graph of one input on the best instruction set.
pub fn run_once(x: &Tensor, build: impl FnOnce(&mut Graph, Value) -> Value) -> Vec<f32> {
    run_once_with(&PlanOptions::default(), x, build)
}

/// [`run_once`] with other choices than the default's.
pub fn run_once_with(
    options: &PlanOptions,
    x: &Tensor,
    build: impl FnOnce(&mut Graph, Value) -> Value,
) -> Vec<f32> {
    let mut graph = Graph::new();
    let input = graph.input(x.shape, Rate::Run);
    let out = build(&mut graph, input);
    graph.output(out);
    let mut engine = Engine::new(Some(1)).unwrap();
    let mut session = Session::new(&engine, Plan::with(&graph, options).unwrap());
    session.setup(&mut engine, &[]);
    session.run(&mut engine, &[(input, &x.data)]);
    session.output(out).to_vec()
}

/// Largest difference over largest magnitude.
pub fn assert_close(what: &str, got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    let largest = want.iter().fold(1e-30_f64, |m, w| m.max(w.abs()));
    let worst = got.iter().zip(want).fold(0.0_f64, |m, (g, w)| m.max((f64::from(*g) - w).abs()));
    assert!(worst / largest <= tolerance, "{what}: relative error {:.2e}", worst / largest);
}

/// Values as a file holds them.
pub fn bytes(values: &[f32], dtype: DType) -> Vec<u8> {
    match dtype {
        DType::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::F16 => values.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect(),
        DType::BF16 => values.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect(),
        DType::I8 | DType::Q8_0 | DType::Q4_0 => panic!("no test rounds to {dtype}"),
    }
}
