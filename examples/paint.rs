//! Painting from a program: `cargo run --release --example paint -- MODEL "a red sun over blue
//! mountains" OUT.png`.

use std::ops::ControlFlow;
use std::path::Path;

use pochade::paint::{Paint, Painter, Request};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(model), Some(prompt), Some(out)) = (args.next(), args.next(), args.next()) else {
        return Err("MODEL, a prompt and a file name are needed".into());
    };
    let mut painter = Painter::open(Some(Path::new(&model)), None)?;
    let request = Request { prompt, seed: 1, ..Request::default() };
    let painting = painter.paint(&request, &mut |progress| {
        eprintln!("{:?}: step {} of {}", progress.stage, progress.step, progress.steps);
        ControlFlow::Continue(())
    })?;
    painting.image.save(&out)?;
    println!("{out}: {:?}", painting.timings);
    Ok(())
}
