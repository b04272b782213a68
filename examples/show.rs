//! Shows a picture on a screen, to try a panel: `cargo run --release --example show -- picture.png
//! '{"kind": "png", "device": "frame.png", "size": "800x480"}'`.
//!
//! The second argument is the screen's settings, as in the table `[screen]` of a configuration file
//! but in JSON; words after it become a caption, and one that starts with `http` a QR code. Without
//! a picture (`-`) a message is shown. Screens that are fast enough fade the picture in, and keep
//! it until Enter is pressed.

use std::time::Instant;

use image::RgbImage;
use pochade::display::{self, Layout, Pace, ScreenSettings};

/// Frames in which a picture appears, where the screen is fast enough.
const FADE: u32 = 16;

fn main() {
    if let Err(error) = run() {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(picture), Some(settings)) = (args.next(), args.next()) else {
        return Err("a picture's file (or -) and the screen's settings are needed".into());
    };
    let settings: ScreenSettings = serde_json::from_str(&settings)?;
    let mut screen = display::open(&settings)?;
    let info = screen.info();
    eprintln!("{info}");
    let mut frame = match picture.as_str() {
        "-" => display::message(info.width, info.height, "Pochade", "This screen works."),
        file => {
            let picture: RgbImage = image::open(file)?.to_rgb8();
            Layout::default().arrange(&picture, info.width, info.height)
        }
    };
    for words in args {
        if words.starts_with("http") {
            display::qr(&mut frame, &words);
        } else {
            display::caption(&mut frame, &words);
        }
    }
    let frames = match info.pace {
        Pace::Live => FADE,
        Pace::Slow => 1,
    };
    let black = RgbImage::new(info.width, info.height);
    let start = Instant::now();
    for step in 1..=frames {
        screen.show(&display::fade(&black, &frame, step as f32 / frames as f32))?;
    }
    eprintln!("shown in {:.2} s, in {frames} frames", start.elapsed().as_secs_f64());
    if info.pace == Pace::Live {
        eprintln!("Enter ends it.");
        std::io::stdin().read_line(&mut String::new())?;
    }
    Ok(())
}
