//! Running a plan allocates nothing: the memory of a painting is known beforehand.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pochade_engine::{
    ConvSpec, DType, Engine, Filter, Graph, Mask, Norm, Plan, Rate, Session, Shape, TensorView,
};

/// Counts allocations of all threads.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const CHANNELS: usize = 48;

fn filter(kernel: usize) -> Arc<Filter> {
    let shape = [CHANNELS, CHANNELS, kernel, kernel];
    let bytes = vec![0_u8; 2 * shape.iter().product::<usize>()];
    let view = TensorView::new(DType::F16, &shape, &bytes).unwrap();
    Arc::new(Filter::conv(&view, None).unwrap())
}

fn norm() -> Arc<Norm> {
    let bytes = vec![0_u8; 4 * CHANNELS];
    let view = TensorView::new(DType::F32, &[CHANNELS], &bytes).unwrap();
    Arc::new(Norm::new(&view, &view).unwrap())
}

#[test]
fn running_a_plan_allocates_nothing() {
    let mut g = Graph::new();
    let x = g.input(Shape::image(2, 16, 16, CHANNELS), Rate::Run);
    let time = g.input(Shape::vector(2, CHANNELS), Rate::Schedule);
    let emb = g.linear(time, &filter(1));
    let h = g.group_norm(x, &norm(), 16, 1e-5);
    let h = g.silu(h);
    let h = g.conv(h, &filter(3), ConvSpec::same(3));
    let h = g.add_vector(h, emb);
    let h = g.add(h, x);
    let tokens = g.to_tokens(h);
    let tokens = g.layer_norm(tokens, &norm(), 1e-5);
    let q = g.linear(tokens, &filter(1));
    let y = g.attention(q, tokens, tokens, 3, Mask::None);
    let y = g.concat(y, tokens);
    let y = g.geglu(y);
    g.output(y);

    let mut engine = Engine::new(Some(3)).unwrap();
    let mut session = Session::new(&engine, Plan::new(&g).unwrap());
    let data = vec![0.5; 2 * 16 * 16 * CHANNELS];
    let times = vec![0.5; 5 * 2 * CHANNELS];
    session.setup(&mut engine, &[]);
    session.reserve_table(5);
    // A thread's beginning takes memory, and on a busy machine it may begin late.
    for _ in 0..20 {
        session.run_entry(&mut engine, 0, &[(x, &data)]);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for _ in 0..2 {
        session.tabulate(&mut engine, 0, &[(time, &times)]);
        (0..5).for_each(|entry| session.run_entry(&mut engine, entry, &[(x, &data)]));
    }
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - before, 0);
}
