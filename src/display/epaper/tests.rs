//! What is sent, against transcripts of the makers' drivers (`tests/fixtures/display`), and what
//! happens when a panel does not answer.
//!
//! Waveshare's driver leaves the select pin to the kernel, and so do we: it is in no transcript of
//! its panels. The kernel selects the panel anew for every write, which is nearly every byte there
//! and all data of a command here, up to 4096 bytes; the transcripts tell only which bytes follow
//! each other without another pin changing.

use super::panels::{AC073TC1A, E640, E673, EL133UF1, UC8159_600, UC8159_640};
use super::waveshare::*;
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
    let selects = if panel.rest.is_empty() { panel.controllers() } else { 0 };
    let pins = Pins {
        reset: recorder.pin("reset"),
        data: recorder.pin("dc"),
        selects: ["cs", "cs1"][..selects].iter().map(|name| recorder.pin(name)).collect(),
        busy: recorder.busy(busy),
        power: Some(recorder.pin("power")),
    };
    let inking = Inking { saturation: 0.5, dithering: Dithering::FloydSteinberg };
    EPaper::new(panel, recorder.clone(), pins, recorder.clone(), inking)
}

fn transcript(panel: &'static Panel) -> String {
    let recorder = Recorder::default();
    epaper(panel, &recorder, Busy::Changes).refresh(&pattern(panel)).unwrap();
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
    spectra_6_of_7_3_inches_are_sent_what_waveshare_sends:
        EPD_7IN3E, "waveshare-7in3e.txt";
    seven_colours_of_7_3_inches_are_sent_what_waveshare_sends:
        EPD_7IN3F, "waveshare-7in3f.txt";
    four_inks_of_7_3_inches_are_sent_what_waveshare_sends:
        EPD_7IN3G, "waveshare-7in3g.txt";
    seven_colours_of_5_65_inches_are_sent_what_waveshare_sends:
        EPD_5IN65F, "waveshare-5in65f.txt";
    seven_colours_of_4_01_inches_are_sent_what_waveshare_sends:
        EPD_4IN01F, "waveshare-4in01f.txt";
    four_inks_of_4_37_inches_are_sent_what_waveshare_sends:
        EPD_4IN37G, "waveshare-4in37g.txt";
    two_inks_of_7_5_inches_are_sent_what_waveshare_sends:
        EPD_7IN5_V2, "waveshare-7in5-v2.txt";
    three_inks_of_7_5_inches_are_sent_what_waveshare_sends:
        EPD_7IN5B_V2, "waveshare-7in5b-v2.txt";
    two_inks_of_5_83_inches_are_sent_what_waveshare_sends:
        EPD_5IN83_V2, "waveshare-5in83-v2.txt";
    three_inks_of_5_83_inches_are_sent_what_waveshare_sends:
        EPD_5IN83B_V2, "waveshare-5in83b-v2.txt";
    two_inks_of_4_26_inches_are_sent_what_waveshare_sends:
        EPD_4IN26, "waveshare-4in26.txt";
    two_inks_of_4_2_inches_are_sent_what_waveshare_sends:
        EPD_4IN2_V2, "waveshare-4in2-v2.txt";
}

#[test]
fn no_write_is_longer_than_linux_takes() {
    let recorder = Recorder::default();
    epaper(&E673, &recorder, Busy::Changes).refresh(&pattern(&E673)).unwrap();
    assert_eq!(recorder.longest_write(), CHUNK);
}

#[test]
fn a_panel_that_stays_busy_is_an_error() {
    let recorder = Recorder::default();
    let error = epaper(&E673, &recorder, Busy::Low).refresh(&pattern(&E673)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the Inky Impression 7.3\" (Spectra 6) is still busy after 10 s; check that it sits firmly \
         on its pins and that the power supply is strong enough"
    );
}

#[test]
fn a_panel_that_never_says_that_it_is_busy_gets_its_usual_time() {
    let recorder = Recorder::default();
    epaper(&E673, &recorder, Busy::High).refresh(&pattern(&E673)).unwrap();
    let usual = 4 * 300 + 32_000;
    assert!((usual..usual + 200).contains(&recorder.slept()), "{} ms", recorder.slept());
}

#[test]
fn a_frame_is_dithered_and_another_size_is_refused() {
    let recorder = Recorder::default();
    let mut screen = epaper(&E673, &recorder, Busy::Changes);
    screen.show(&RgbImage::from_pixel(800, 480, image::Rgb([255; 3]))).unwrap();
    let white = "192000 ".to_owned() + &crate::display::recorder::sha256(&[0x11; 192_000]);
    assert!(recorder.transcript().contains(&white));
    let error = screen.show(&RgbImage::new(480, 800)).unwrap_err().to_string();
    assert!(error.starts_with("a frame of 480x800 pixels"), "{error}");
}

/// What is written down after the last wait for a panel that is stuck.
fn after_the_last_wait(panel: &'static Panel, busy: Busy) -> (ScreenError, String) {
    let recorder = Recorder::default();
    let error = epaper(panel, &recorder, busy).refresh(&pattern(panel)).unwrap_err();
    let transcript = recorder.transcript();
    let (_, end) = transcript.rsplit_once("busy").unwrap();
    (error, end.lines().skip(1).collect::<Vec<_>>().join(", "))
}

#[test]
fn a_panel_that_is_stuck_is_sent_to_sleep_and_switched_off() {
    let (error, end) = after_the_last_wait(&EPD_7IN5_V2, Busy::Low);
    assert!(error.to_string().starts_with("the Waveshare 7.5\" V2 is still busy after 10 s"));
    assert_eq!(end, "sleep 20, write 07, dc 1, write a5, sleep 2000, reset 0, dc 0, power 0");
    let (error, end) = after_the_last_wait(&EPD_4IN2_V2, Busy::High);
    assert!(error.to_string().starts_with("the Waveshare 4.2\" V2 is still busy after 10 s"));
    let end = end.split_once("dc 0, ").unwrap().1;
    assert_eq!(end, "write 10, dc 1, write 01, sleep 2000, reset 0, dc 0, power 0");
}

#[test]
fn every_frame_begins_with_power_and_a_reset_and_ends_without_power() {
    let recorder = Recorder::default();
    let mut screen = epaper(&EPD_4IN2_V2, &recorder, Busy::Changes);
    for _ in 0..2 {
        screen.refresh(&pattern(&EPD_4IN2_V2)).unwrap();
    }
    let transcript = recorder.transcript();
    let frames: Vec<&str> = transcript.split_inclusive("power 0\n").collect();
    assert_eq!(frames.len(), 2);
    assert!(frames.iter().all(|frame| frame.starts_with("power 1\nreset 1\n")), "{transcript}");
}

#[test]
fn a_hat_without_a_power_pin_is_sent_the_same() {
    let recorder = Recorder::default();
    let mut screen = epaper(&EPD_4IN2_V2, &recorder, Busy::Changes);
    screen.wires.pins.power = None;
    screen.refresh(&pattern(&EPD_4IN2_V2)).unwrap();
    let with = transcript(&EPD_4IN2_V2).replace("power 1\n", "").replace("power 0\n", "");
    assert_eq!(recorder.transcript(), with);
}

#[test]
fn a_frame_has_all_its_pixels_however_they_are_packed() {
    let panel = Panel { width: 8, height: 2, ..EPD_4IN2_V2 };
    let codes = [0, 1, 2, 3, 0, 0, 1, 1, 3, 3, 3, 3, 2, 2, 2, 2];
    let frame = Frame::new(&codes, &panel);
    for (packing, bytes) in [
        (Packing::All, &[0x01, 0x23, 0x00, 0x11, 0x33, 0x33, 0x22, 0x22][..]),
        (Packing::Right, &[0x00, 0x11, 0x22, 0x22]),
        (Packing::Pairs, &[0b0001_1011, 0b0000_0101, 0xFF, 0xAA]),
        (Packing::Inks(0b0001), &[0b1000_1100, 0]),
        (Packing::Inks(0b1100), &[0b0011_0000, 0xFF]),
    ] {
        assert_eq!(frame.packed(packing), bytes, "{packing:?}");
    }
}
