//! Single layers, in the shapes that Stable Diffusion's networks have: which kind is how fast.
//!
//! A layer that needs int8 activations gets them from the step that makes them in a network too; the
//! time shown is that of the layer's own step.

use std::sync::Arc;
use std::time::Duration;

use pochade_engine::{
    ConvSpec, Engine, Filter, Graph, Mask, Norm, Padding, Plan, Rate, Session, Shape, StepProfile,
    Value,
};

use super::network::noise;
use super::timing::{best_and_median, repeat};
use super::{BenchError, Event, Observer, Outcome, Report, Settings, tell};
use crate::files::{RandomWeights, Weights};

/// How long one layer is repeated.
const PATIENCE: Duration = Duration::from_millis(300);

/// A layer and what it works on.
struct Case {
    name: String,
    /// What the kind of its step begins with.
    kind: &'static str,
    graph: Graph,
    inputs: Vec<Value>,
}

/// Times every layer.
pub(super) fn run(
    settings: &Settings,
    engine: &mut Engine,
    report: &mut Report,
    observer: &mut Observer<'_>,
) -> Result<(), BenchError> {
    let source = RandomWeights::new(settings.weights);
    let make = Maker { weights: Weights::random(&source), batch: settings.batch };
    for build in CASES {
        let case = build(&make)?;
        let Some(mut outcome) = time(case, engine)? else { continue };
        outcome.percent_of_peak = report.machine.percent(outcome.peak, outcome.gmac_per_s);
        tell(observer, Event::Outcome(&outcome))?;
        report.results.push(outcome);
    }
    engine.stop_profile();
    Ok(())
}

/// Builds one case.
type Build = fn(&Maker<'_>) -> Result<Case, BenchError>;

/// Side and channels of a feature map.
type Extent = (usize, usize);

const CASES: [Build; 20] = [
    |m| m.linear(4096, 320, 320),
    |m| m.linear(4096, 320, 2560),
    |m| m.linear(4096, 1280, 320),
    |m| m.linear(1024, 640, 640),
    |m| m.linear(1024, 640, 5120),
    |m| m.linear(256, 1280, 1280),
    |m| m.linear(77, 768, 3072),
    |m| m.conv((64, 320), 320, Way::Same(3)),
    |m| m.conv((32, 640), 640, Way::Same(3)),
    |m| m.conv((16, 1280), 1280, Way::Same(3)),
    |m| m.conv((256, 64), 64, Way::Same(3)),
    |m| m.conv((64, 640), 320, Way::Same(1)),
    |m| m.conv((64, 320), 320, Way::Down),
    |m| m.conv((32, 640), 640, Way::Up),
    |m| m.attention((4096, 4096), 320, 8),
    |m| m.attention((1024, 1024), 640, 8),
    |m| m.attention((4096, 77), 320, 8),
    |m| m.group_norm((64, 320)),
    |m| m.layer_norm(4096, 320),
    |m| m.quantise(4096, 1280),
];

/// How a convolution moves.
#[derive(Clone, Copy)]
enum Way {
    /// At stride 1, with a kernel of this size.
    Same(usize),
    /// At stride 2.
    Down,
    /// Over the doubled feature map.
    Up,
}

struct Maker<'a> {
    weights: Weights<'a>,
    batch: usize,
}

impl Maker<'_> {
    fn filter(
        &self,
        outputs: usize,
        channels: usize,
        kernel: usize,
    ) -> Result<Arc<Filter>, BenchError> {
        Ok(self.weights.at("layer").conv(outputs, channels, kernel)?)
    }

    fn norm(&self, channels: usize) -> Result<Arc<Norm>, BenchError> {
        Ok(self.weights.at("norm").norm(channels)?)
    }

    fn tokens(&self, graph: &mut Graph, tokens: usize, channels: usize) -> Value {
        graph.input(Shape::tokens(self.batch, tokens, channels), Rate::Run)
    }

    fn image(&self, graph: &mut Graph, (side, channels): Extent) -> Value {
        graph.input(Shape::image(self.batch, side, side, channels), Rate::Run)
    }

    fn linear(&self, tokens: usize, channels: usize, outputs: usize) -> Result<Case, BenchError> {
        let mut graph = Graph::new();
        let x = self.tokens(&mut graph, tokens, channels);
        let y = graph.linear(x, &self.filter(outputs, channels, 1)?);
        let name = format!("linear {tokens} x {channels} -> {outputs}");
        Ok(finish(name, "linear", graph, (vec![x], y)))
    }

    fn conv(&self, extent: Extent, outputs: usize, way: Way) -> Result<Case, BenchError> {
        let (side, channels) = extent;
        let (kernel, spec, moves) = match way {
            Way::Same(kernel) => (kernel, ConvSpec::same(kernel), ""),
            Way::Down => (3, ConvSpec::down(Padding::same(1)), " /2"),
            Way::Up => (3, ConvSpec::up(3), " x2"),
        };
        let mut graph = Graph::new();
        let x = self.image(&mut graph, extent);
        let y = graph.conv(x, &self.filter(outputs, channels, kernel)?, spec);
        let name =
            format!("conv {kernel}x{kernel}{moves} {channels} -> {outputs} at {side}x{side}");
        Ok(finish(name, "conv", graph, (vec![x], y)))
    }

    fn attention(
        &self,
        (queries, keys): (usize, usize),
        channels: usize,
        heads: usize,
    ) -> Result<Case, BenchError> {
        let mut graph = Graph::new();
        let inputs = [queries, keys, keys].map(|t| self.tokens(&mut graph, t, channels));
        let [q, k, v] = inputs;
        let y = graph.attention(q, k, v, heads, Mask::None);
        let name = format!("attention {queries} over {keys}, {heads} x {}", channels / heads);
        Ok(finish(name, "attention", graph, (inputs.to_vec(), y)))
    }

    /// With SiLU, read by a convolution.
    fn group_norm(&self, extent: Extent) -> Result<Case, BenchError> {
        let (side, channels) = extent;
        let mut graph = Graph::new();
        let x = self.image(&mut graph, extent);
        let h = graph.group_norm(x, &self.norm(channels)?, 32, 1e-5);
        let h = graph.silu(h);
        let y = graph.conv(h, &self.filter(16, channels, 3)?, ConvSpec::same(3));
        let name = format!("group norm, SiLU {channels} at {side}x{side}");
        Ok(finish(name, "group norm", graph, (vec![x], y)))
    }

    /// Read by a linear layer.
    fn layer_norm(&self, tokens: usize, channels: usize) -> Result<Case, BenchError> {
        let mut graph = Graph::new();
        let x = self.tokens(&mut graph, tokens, channels);
        let h = graph.layer_norm(x, &self.norm(channels)?, 1e-5);
        let y = graph.linear(h, &self.filter(16, channels, 1)?);
        let name = format!("layer norm {tokens} x {channels}");
        Ok(finish(name, "layer norm", graph, (vec![x], y)))
    }

    /// In front of a linear layer; there is no such step where weights are in floating point.
    fn quantise(&self, tokens: usize, channels: usize) -> Result<Case, BenchError> {
        let case = self.linear(tokens, channels, 16)?;
        Ok(Case { name: format!("quantise {tokens} x {channels}"), kind: "quantise", ..case })
    }
}

fn finish(
    name: String,
    kind: &'static str,
    mut graph: Graph,
    (inputs, output): (Vec<Value>, Value),
) -> Case {
    graph.output(output);
    Case { name, kind, graph, inputs }
}

/// Times the case's own step; nothing where the plan has no such step.
fn time(case: Case, engine: &mut Engine) -> Result<Option<Outcome>, BenchError> {
    let Case { name, kind, graph, inputs } = case;
    let data: Vec<Vec<f32>> = inputs.iter().map(|input| noise(&graph, *input)).collect();
    let feeds: Vec<_> = inputs.iter().zip(&data).map(|(v, d)| (*v, &d[..])).collect();
    let plan = Plan::new(&graph)?;
    let Some(at) = plan.steps().iter().position(|step| step.kind.starts_with(kind)) else {
        return Ok(None);
    };
    engine.start_profile();
    let arena_bytes = plan.activation_bytes(engine.threads());
    let mut session = Session::new(engine, plan);
    session.run(engine, &feeds);
    let mut steps = Vec::new();
    repeat(PATIENCE, || {
        engine.start_profile();
        session.run(engine, &feeds);
        steps.extend(engine.profile().pop().and_then(|p| p.steps.into_iter().nth(at)));
    });
    Ok(outcome(name, &steps, arena_bytes))
}

/// `steps` is the same step, run by run.
fn outcome(name: String, steps: &[StepProfile], arena_bytes: usize) -> Option<Outcome> {
    let StepProfile { step, .. } = steps.first()?;
    let gmac = step.macs as f64 / 1e9;
    let (seconds, median_seconds) =
        best_and_median(steps.iter().map(|s| s.time.as_secs_f64()).collect());
    Some(Outcome {
        name,
        seconds,
        median_seconds,
        runs: steps.len(),
        gmac,
        gmac_per_s: gmac / seconds,
        peak: if step.kind.contains("int") { "int8" } else { "f32" },
        arena_bytes,
        weight_bytes: step.weight_bytes,
        ..Outcome::default()
    })
}
