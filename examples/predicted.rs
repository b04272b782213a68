//! The cost model of [`pochade::boards`] beside this machine: `cargo run --release --example
//! predicted`. Measures peaks, runs networks of random weights on one thread and prints what the
//! model makes of the same steps with those peaks in place of a board's.

use std::ops::ControlFlow;
use std::time::Duration;

use pochade::bench::{self, Arch, Machine, Part, Settings};
use pochade::boards::Board;
use pochade::files::FilterEncoding;
use pochade_engine::Rate;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (int8, int4, f16) = (FilterEncoding::Int8, FilterEncoding::Int4, FilterEncoding::F16);
    for (arch, part, weights, batch) in [
        (Arch::Default, Part::Unet, int8, 2),
        (Arch::Default, Part::Decoder, int8, 1),
        (Arch::Small, Part::Unet, int8, 2),
        (Arch::Small, Part::Unet, int4, 2),
        (Arch::Small, Part::Unet, f16, 2),
        (Arch::Sd15, Part::Unet, int8, 1),
        (Arch::KlF8, Part::Decoder, int8, 1),
        (Arch::Taesd, Part::Decoder, int8, 1),
    ] {
        let settings = Settings {
            arch,
            parts: vec![part],
            size: arch.native_size(),
            weights,
            threads: Some(1),
            batch,
            patience: Duration::from_secs(3),
            layers: false,
            profile: true,
        };
        let report = bench::run(&settings, &mut |_| ControlFlow::Continue(()))?;
        let Some(outcome) = report.results.first() else { continue };
        let board = this(&report.machine);
        let steps = outcome.profile.iter().flat_map(|profile| &profile.steps);
        let predicted: f64 = steps
            .filter(|step| step.step.rate == Rate::Run)
            .map(|step| board.step_seconds(&step.step))
            .sum();
        println!(
            "{:24} {weights:?} x{batch}: measured {:.4} s (median {:.4}), \
             predicted {predicted:.4} s, \
             {:.2} of it",
            outcome.name,
            outcome.seconds,
            outcome.median_seconds,
            predicted / outcome.seconds
        );
    }
    Ok(())
}

/// One thread of this machine as a board.
fn this(machine: &Machine) -> Board {
    Board {
        cores: 1,
        ghz: 1.0,
        int8: machine.int8_gmac_per_s,
        int4: machine.int8_gmac_per_s,
        float: machine.f32_gmac_per_s,
        memory_gb_per_s: machine.read_gb_per_s,
        ..Board::ALL[0]
    }
}
