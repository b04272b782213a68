//! What is computed once per schedule: runs over the entries of a table against runs that compute
//! everything.

use std::sync::Arc;

use pochade_engine::{
    ConvSpec, Encoding, Engine, Filter, Graph, Plan, Rate, Session, Shape, Storage, Value,
};

use crate::naive::random;
use crate::norm;

/// A network that is told a text and the time, as a UNet is.
struct Network {
    graph: Graph,
    text: Value,
    time: Value,
    x: Value,
    out: Value,
    /// The embedded time, of which runs read a part that setup does not change.
    bare: Value,
}

const TEXT: Shape = Shape::vector(2, 40);
const TIME: Shape = Shape::vector(2, 24);
const PICTURE: Shape = Shape::image(2, 6, 5, 64);

fn network(rate: Rate) -> Network {
    let linear = |out, channels, seed| {
        Arc::new(Filter::random([out, channels, 1, 1], Storage::F16, true, seed))
    };
    let conv = Filter::random([64, 64, 3, 3], Storage::Int(Encoding::Int8), true, 9);
    let (conv, norm) = (Arc::new(conv), norm(64, 8).0);
    let mut g = Graph::new();
    let x = g.input(PICTURE, Rate::Run);
    let time = g.input(TIME, rate);
    let text = g.input(TEXT, Rate::Setup);
    let h = g.linear(time, &linear(48, 24, 1));
    let h = g.silu(h);
    let bare = g.linear(h, &linear(48, 48, 2));
    let told = g.linear(text, &linear(48, 40, 3));
    let emb = g.add(bare, told);
    let emb = g.silu(emb);
    let shift = g.linear(emb, &linear(64, 48, 4));
    let both = g.linear(emb, &linear(128, 48, 5));
    let h = g.conv(x, &conv, ConvSpec::same(3));
    let h = g.add_vector(h, shift);
    let h = g.group_norm(h, &norm, 8, 1e-5);
    let h = g.scale_shift(h, both);
    let h = g.silu(h);
    let h = g.conv(h, &conv, ConvSpec::same(3));
    let out = g.add(h, x);
    g.output(out);
    g.output(bare);
    Network { graph: g, text, time, x, out, bare }
}

/// What a run is told: which text, which time.
const ORDER: [(usize, usize); 7] = [(0, 0), (1, 0), (0, 2), (1, 1), (0, 1), (1, 0), (0, 0)];
const TIMES: usize = 3;

fn values(shape: Shape, seed: usize) -> Vec<f32> {
    random(shape.len(), seed as u64)
}

/// Answers in [`ORDER`] where every run computes everything.
fn computed(engine: &mut Engine) -> Vec<[Vec<f32>; 2]> {
    let n = network(Rate::Run);
    let mut session = Session::new(engine, Plan::new(&n.graph).unwrap());
    let answer = |(at, (text, time)): (usize, &(usize, usize))| {
        session.setup(engine, &[(n.text, &values(TEXT, 50 + text))]);
        session.run(engine, &[(n.x, &values(PICTURE, at)), (n.time, &values(TIME, 60 + time))]);
        [n.out, n.bare].map(|v| session.output(v).to_vec())
    };
    ORDER.iter().enumerate().map(answer).collect()
}

/// The same from a table with the entries of both texts.
fn tabulated(engine: &mut Engine) -> Vec<[Vec<f32>; 2]> {
    let n = network(Rate::Schedule);
    let mut session = Session::new(engine, Plan::new(&n.graph).unwrap());
    session.reserve_table(2 * TIMES);
    let times: Vec<f32> = (0..TIMES).flat_map(|time| values(TIME, 60 + time)).collect();
    for text in 0..2 {
        session.setup(engine, &[(n.text, &values(TEXT, 50 + text))]);
        session.tabulate(engine, text * TIMES, &[(n.time, &times)]);
    }
    let answer = |(at, (text, time)): (usize, &(usize, usize))| {
        session.run_entry(engine, text * TIMES + time, &[(n.x, &values(PICTURE, at))]);
        [n.out, n.bare].map(|v| session.output(v).to_vec())
    };
    ORDER.iter().enumerate().map(answer).collect()
}

#[test]
fn runs_over_a_table_equal_runs_that_compute_everything() {
    for threads in [1, 3] {
        let mut engine = Engine::new(Some(threads)).unwrap();
        let (all, once) = (computed(&mut engine), tabulated(&mut engine));
        assert_ne!(all[0][0], all[2][0]);
        assert!(all == once, "on {threads} threads");
    }
}

#[test]
fn what_depends_on_time_and_text_is_left_to_neither_setup_nor_run() {
    let plan = Plan::new(&network(Rate::Schedule).graph).unwrap();
    let count = |rate| plan.steps().iter().filter(|s| s.rate == rate && s.macs > 0).count();
    assert_eq!([Rate::Setup, Rate::Schedule, Rate::Run].map(count), [1, 4, 2]);
    // What runs read, what is read from outside, and the last product's input: the rest shares
    // its room with them.
    assert_eq!(plan.table_bytes(3), 3 * 2 * (64 + 128 + 48 + 48) * 4);
    assert_eq!(Plan::new(&network(Rate::Run).graph).unwrap().table_bytes(3), 0);
}

#[test]
#[should_panic(expected = "entry 1 of a table of 1")]
fn an_entry_that_is_not_there_is_a_mistake_of_the_caller() {
    let (n, mut engine) = (network(Rate::Schedule), Engine::new(Some(1)).unwrap());
    let mut session = Session::new(&engine, Plan::new(&n.graph).unwrap());
    session.reserve_table(1);
    session.setup(&mut engine, &[(n.text, &values(TEXT, 0))]);
    session.run_entry(&mut engine, 1, &[(n.x, &values(PICTURE, 0))]);
}
