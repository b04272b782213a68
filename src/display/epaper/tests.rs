//! What is sent, against transcripts of Pimoroni's driver (`tests/fixtures/display`), and what
//! happens when a panel does not answer.

use super::panels::{AC073TC1A, E640, E673, EL133UF1, UC8159_600, UC8159_640};
use super::*;
use crate::display::recorder::{Busy, Pin, Recorder};

/// Codes of the pattern that the transcripts were made with.
fn pattern(panel: &Panel) -> Vec<u8> {
    let codes = Palette::blended(panel.inks, 0.5).codes;
    let at = |x: u32, y: u32| codes[(7 * x + 13 * y + x * y / 8) as usize % codes.len()];
    (0..panel.height)
        .flat_map(|y| (0..panel.width).map(move |x| (x, y)))
        .map(|(x, y)| at(x, y))
        .collect()
}

fn epaper(
    panel: &'static Panel,
    recorder: &Recorder,
    busy: Busy,
) -> EPaper<Recorder, Pin, Pin, Recorder> {
    let pins = Pins {
        reset: recorder.pin("reset"),
        data: recorder.pin("dc"),
        selects: ["cs", "cs1"][..panel.controllers()].iter().map(|n| recorder.pin(n)).collect(),
        busy: recorder.busy(busy),
    };
    let inking = Inking { saturation: 0.5, dithering: Dithering::FloydSteinberg };
    EPaper::new(panel, recorder.clone(), pins, recorder.clone(), inking)
}

fn transcript(panel: &'static Panel) -> String {
    let recorder = Recorder::default();
    epaper(panel, &recorder, Busy::Once).refresh(&pattern(panel)).unwrap();
    recorder.transcript()
}

macro_rules! same_as_the_reference {
    ($($test:ident: $panel:ident, $file:literal;)*) => {$(
        #[test]
        fn $test() {
            let reference = include_str!(concat!("../../../tests/fixtures/display/", $file));
            assert_eq!(transcript(&$panel), reference);
        }
    )*};
}

same_as_the_reference! {
    spectra_6_of_7_3_inches_is_sent_what_pimoroni_sends: E673, "e673.txt";
    spectra_6_of_4_inches_is_sent_what_pimoroni_sends: E640, "e640.txt";
    spectra_6_of_13_3_inches_is_sent_what_pimoroni_sends: EL133UF1, "el133uf1.txt";
    seven_colours_of_7_3_inches_are_sent_what_pimoroni_sends: AC073TC1A, "ac073tc1a.txt";
    seven_colours_of_5_7_inches_are_sent_what_pimoroni_sends: UC8159_600, "uc8159-600.txt";
    seven_colours_of_4_inches_are_sent_what_pimoroni_sends: UC8159_640, "uc8159-640.txt";
}

#[test]
fn no_write_is_longer_than_linux_takes() {
    let recorder = Recorder::default();
    epaper(&E673, &recorder, Busy::Once).refresh(&pattern(&E673)).unwrap();
    assert_eq!(recorder.longest_write(), CHUNK);
}

#[test]
fn a_panel_that_stays_busy_is_an_error() {
    let recorder = Recorder::default();
    let error = epaper(&E673, &recorder, Busy::Always).refresh(&pattern(&E673)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the Inky Impression 7.3\" (Spectra 6) is still busy after 10 s; check that it sits firmly \
         on its pins and that the power supply is strong enough"
    );
}

#[test]
fn a_panel_that_never_says_that_it_is_busy_gets_its_usual_time() {
    let recorder = Recorder::default();
    epaper(&E673, &recorder, Busy::Never).refresh(&pattern(&E673)).unwrap();
    let usual = 4 * 300 + 32_000;
    assert!((usual..usual + 200).contains(&recorder.slept()), "{} ms", recorder.slept());
}

#[test]
fn a_frame_is_dithered_and_another_size_is_refused() {
    let recorder = Recorder::default();
    let mut screen = epaper(&E673, &recorder, Busy::Once);
    screen.show(&RgbImage::from_pixel(800, 480, image::Rgb([255; 3]))).unwrap();
    let white = "192000 ".to_owned() + &crate::display::recorder::sha256(&[0x11; 192_000]);
    assert!(recorder.transcript().contains(&white));
    let error = screen.show(&RgbImage::new(480, 800)).unwrap_err().to_string();
    assert!(error.starts_with("a frame of 480x800 pixels"), "{error}");
}
