//! Why a picture looks as it does: the noise's way to it, what every word looked at, and what
//! guidance did. One [`Explanation`] is shown as a sheet ([`sheet()`]) or as a page ([`page()`]).

mod attention;
mod canvas;
mod colours;
mod page;
mod sheet;
mod words;

use std::ops::ControlFlow;

use image::RgbImage;

pub use attention::{Attention, Map, TIMES, Which, probabilities};
pub use page::page;
pub use sheet::sheet;
pub use words::Token;

use crate::files::Component;
use crate::paint::{Paint, PaintError, Painter, Painting, Progress, Request, Resolved, Stage};

/// Steps that are shown, if there are so many.
const MOMENTS: usize = 8;

/// Scales of guidance that are compared.
pub const SCALES: [f32; 5] = [1.0, 2.0, 3.0, 5.0, 8.0];

/// All that is known of how one picture came about.
#[derive(Debug)]
pub struct Explanation {
    /// The picture.
    pub painting: Painting,
    /// Some of its steps, the first and the last among them.
    pub moments: Vec<Moment>,
    /// What the words did, in a model that looks at words.
    pub words: Option<Words>,
    /// The same seed at several guidances.
    pub guided: Vec<Guided>,
}

/// A step on the way, of the network that knows the words.
#[derive(Clone, Debug)]
pub struct Moment {
    /// Its number, from 1.
    pub step: usize,
    /// The timestep that the network was told.
    pub timestep: f32,
    /// What the network was given, decoded.
    pub noisy: RgbImage,
    /// What it took that for, decoded.
    pub clean: RgbImage,
}

/// What the words of a prompt looked at.
#[derive(Clone, Debug)]
pub struct Words {
    /// The tokens, in order.
    pub tokens: Vec<Token>,
    /// Their maps.
    pub attention: Attention,
}

impl Words {
    /// The map of a token; of the padding, that of all of it.
    pub fn map(&self, token: &Token, which: Which) -> Option<Map> {
        let maps = token.places.iter().filter_map(|place| self.attention.map(*place, which));
        maps.reduce(|mut sum, map| {
            sum.values.iter_mut().zip(&map.values).for_each(|(sum, value)| *sum += value);
            sum
        })
    }
}

/// The picture at another guidance.
#[derive(Clone, Debug)]
pub struct Guided {
    /// The scale; none where no word was given.
    pub scale: Option<f32>,
    /// The picture.
    pub image: RgbImage,
}

/// How far an explanation has come: pictures done, pictures in all, and the picture at work.
pub type Observer<'a> = dyn FnMut(usize, usize, Progress<'_>) -> ControlFlow<()> + 'a;

/// Paints the picture of `request`, and what explains it.
///
/// # Errors
/// As [`Paint::paint`].
pub fn explain(
    painter: &mut Painter,
    request: &Request,
    observer: &mut Observer<'_>,
) -> Result<Explanation, PaintError> {
    let request = Request { preview: false, toward: None, ..request.clone() };
    let pictures = 3 + SCALES.len();
    let (painting, looks) = watched(painter, &request, &mut |p| observer(0, pictures, p))?;
    let moments = moments(painter, &painting.request, looks)?;
    let words = words(painter, &request, &painting.request, &mut |p| observer(1, pictures, p))?;
    let mut guided = Vec::new();
    for (i, scale) in [None].into_iter().chain(SCALES.map(Some)).enumerate() {
        let image = if scale == Some(painting.request.guidance) {
            painting.image.clone()
        } else {
            let request = at_scale(&request, scale);
            painter.paint(&request, &mut |p| observer(2 + i, pictures, p))?.image
        };
        guided.push(Guided { scale, image });
    }
    Ok(Explanation { painting, moments, words, guided })
}

fn at_scale(request: &Request, scale: Option<f32>) -> Request {
    match scale {
        Some(_) => Request { guidance: scale, ..request.clone() },
        None => Request {
            prompt: String::new(),
            negative: String::new(),
            guidance: Some(1.0),
            ..request.clone()
        },
    }
}

/// A look of the network at a latent, kept: step, timestep, what it was given and what it saw.
type Kept = (usize, f32, [Vec<f32>; 2]);

/// Paints, and keeps some of the network's looks.
fn watched(
    painter: &mut Painter,
    request: &Request,
    observer: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<(Painting, Vec<Kept>), PaintError> {
    let mut looks = Vec::new();
    let painting = painter.paint(request, &mut |progress| {
        let shown = progress.stage == Stage::Denoise && is_shown(progress.step, progress.steps);
        if let Some(look) = progress.look.filter(|_| shown) {
            let latents = [look.noisy.to_vec(), look.clean.to_vec()];
            looks.push((progress.step, look.timestep, latents));
        }
        observer(progress)
    })?;
    Ok((painting, looks))
}

/// Whether step `step` of `steps`, from 1, is among those evenly chosen.
fn is_shown(step: usize, steps: usize) -> bool {
    let shown = MOMENTS.min(steps);
    let chosen = |i: usize| 1 + (i * (steps - 1) + (shown - 1) / 2) / (shown - 1).max(1);
    (0..shown).any(|i| chosen(i) == step)
}

fn moments(
    painter: &mut Painter,
    settings: &Resolved,
    looks: Vec<Kept>,
) -> Result<Vec<Moment>, PaintError> {
    let size = painter.base_size(settings.size);
    let mut moment = |(step, timestep, [noisy, clean]): Kept| {
        let noisy = painter.decode_latent(&noisy, size)?;
        let clean = painter.decode_latent(&clean, size)?;
        Ok(Moment { step, timestep, noisy, clean })
    };
    looks.into_iter().map(&mut moment).collect()
}

/// Paints once more, and hears what the words do.
fn words(
    painter: &mut Painter,
    request: &Request,
    settings: &Resolved,
    observer: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<Option<Words>, PaintError> {
    if !painter.files().has(Component::TextEncoder) {
        return Ok(None);
    }
    let positions = painter.text_positions()?;
    let tokens = words::tokens(painter.files(), &settings.prompt, positions)?;
    let latent = painter.latent_size(painter.base_size(settings.size));
    let mut attention = Attention::new(latent, positions, settings.steps);
    painter.paint_heard(request, &mut attention, observer)?;
    Ok((!attention.is_empty()).then_some(Words { tokens, attention }))
}

/// A share of all attention in words, with the digits that say something.
fn percent(share: f32) -> String {
    let percent = 100.0 * share;
    match percent {
        p if p >= 99.95 => "> 99.9 %".to_owned(),
        p if p >= 1.0 => format!("{p:.1} %"),
        p if p >= 0.01 => format!("{p:.2} %"),
        _ => "< 0.01 %".to_owned(),
    }
}

/// How the picture was painted, on one line.
fn settings_line(settings: &Resolved) -> String {
    format!(
        "{}, seed {}, {} steps of {}, guidance {}, {}",
        settings.model,
        settings.seed,
        settings.steps,
        settings.sampler,
        settings.guidance,
        settings.size
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::ModelFiles;
    use crate::paint::default_model;
    use pochade_engine::Engine;
    use std::path::Path;

    fn explained(files: ModelFiles, request: &Request) -> Explanation {
        let mut painter = Painter::new(files, Engine::new(None).unwrap()).unwrap();
        explain(&mut painter, request, &mut |_, _, _| ControlFlow::Continue(())).unwrap()
    }

    fn tiny() -> ModelFiles {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/files/tiny");
        ModelFiles::open(&folder).unwrap()
    }

    #[test]
    fn all_tokens_together_count_one_everywhere_and_no_two_look_alike() {
        let request = Request {
            prompt: "a red sun over blue mountains".to_owned(),
            seed: 2,
            steps: Some(3),
            ..Request::default()
        };
        let words = explained(default_model().unwrap(), &request).words.unwrap();
        let sizes = words.attention.sizes();
        assert_eq!(sizes, [(4, 4), (8, 8)], "where this model has its transformers");
        let sizes = sizes.into_iter().map(Some).chain([None]);
        for which in
            sizes.flat_map(|size| [None, Some(0), Some(2)].map(|time| Which { size, time }))
        {
            let maps: Vec<Map> = words.tokens.iter().filter_map(|t| words.map(t, which)).collect();
            for place in 0..maps[0].values.len() {
                let sum: f32 = maps.iter().map(|map| map.values[place]).sum();
                assert!((sum - 1.0).abs() < 1e-4, "{which:?} {place}: {sum}");
            }
        }
        // A map's form, whatever its share.
        let form = |token: usize| {
            let map = words.map(&words.tokens[token], Which::default()).unwrap();
            let sum: f32 = map.values.iter().sum();
            map.values.iter().map(|value| value / sum).collect::<Vec<_>>()
        };
        for (a, b) in (0..words.tokens.len()).flat_map(|a| (0..a).map(move |b| (a, b))) {
            assert!(form(a) != form(b), "tokens {a} and {b}");
        }
    }

    #[test]
    fn the_picture_is_the_one_that_paint_paints_and_every_part_is_there() {
        let request =
            Request { prompt: "a <red> sun".to_owned(), steps: Some(2), ..Request::default() };
        let found = explained(tiny(), &request);
        let mut painter = Painter::new(tiny(), Engine::new(None).unwrap()).unwrap();
        let plain = painter.paint(&request, &mut |_| ControlFlow::Continue(())).unwrap();
        assert!(found.painting.image == plain.image);
        let last = found.moments.last().unwrap();
        assert_eq!(found.moments.iter().map(|m| m.step).collect::<Vec<_>>(), [1, 2]);
        assert!(last.timestep < found.moments[0].timestep && last.noisy != last.clean);
        let scales: Vec<_> = found.guided.iter().map(|guided| guided.scale).collect();
        assert_eq!(scales, [None, Some(1.0), Some(2.0), Some(3.0), Some(5.0), Some(8.0)]);
        let at_one = Request { guidance: Some(1.0), ..request };
        let plain = painter.paint(&at_one, &mut |_| ControlFlow::Continue(())).unwrap();
        assert!(found.guided[1].image == plain.image && found.guided[0].image != plain.image);

        let page = page(&found).unwrap();
        assert!(page.contains("a &lt;red&gt; sun") && !page.contains("<red>"));
        assert!(!page.contains("http") && !page.contains("<script"), "it needs nothing else");
        let words = found.words.as_ref().unwrap();
        let maps = words.tokens.len() * (1 + sheet::small_maps(words).len());
        let pictures = 1 + 2 * found.moments.len() + found.guided.len() + maps;
        // Maps that were not heard are left out: two steps have no third in the middle.
        assert_eq!(page.matches("<img").count(), pictures - words.tokens.len());
        let sheet = sheet(&found);
        assert!(sheet.width() > 1000 && sheet.height() > 800);
    }

    #[test]
    fn explaining_can_be_stopped_at_every_picture() {
        let mut painter = Painter::new(tiny(), Engine::new(None).unwrap()).unwrap();
        let request = Request { steps: Some(1), ..Request::default() };
        for stop in 0..3 {
            let result = explain(&mut painter, &request, &mut |index, count, _| {
                assert!(index < count);
                if index == stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            assert_eq!(result.unwrap_err(), PaintError::Interrupted);
        }
    }

    #[test]
    fn shares_are_told_with_the_digits_that_say_something() {
        let told = [0.9999, 0.994, 0.0123, 0.0007, 0.00002].map(percent);
        assert_eq!(told, ["> 99.9 %", "99.4 %", "1.2 %", "0.07 %", "< 0.01 %"]);
    }

    #[test]
    fn the_first_and_the_last_of_evenly_chosen_steps_are_shown() {
        for steps in 1..=100 {
            let shown: Vec<usize> = (1..=steps).filter(|step| is_shown(*step, steps)).collect();
            assert_eq!(shown.len(), MOMENTS.min(steps), "{steps}");
            assert_eq!((shown[0], shown[shown.len() - 1]), (1, steps));
        }
    }
}
