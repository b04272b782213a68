//! How well a model paints what it is asked for, without any borrowed network: an attribute reader
//! tells what its pictures show, and how far they are from fresh renders as a whole.

mod frechet;
mod questions;
mod reader;

use std::fmt;
use std::ops::ControlFlow;

use anyhow::Context;
use pochade_engine::TensorView;

pub use frechet::Moments;
pub use questions::{Attribute, Question};
pub use reader::{Reader, Reading};

use crate::files::{FileBytes, FileError, safetensors};
use crate::paint::{Paint, Progress, Request, Resolved};

/// Why a model could not be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvalError {
    /// The reader's network: what tract says.
    Reader(String),
    /// The reference's file.
    Reference(FileError),
    /// A line of the captions makes no sense.
    Question(usize),
}

impl EvalError {
    fn reader(error: impl fmt::Display) -> Self {
        Self::Reader(format!("{error:#}"))
    }
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reader(why) => write!(f, "models/eval/reader.onnx cannot be run: {why}"),
            Self::Reference(error) => error.fmt(f),
            Self::Question(line) => write!(f, "models/eval/captions.tsv: line {line} is damaged"),
        }
    }
}

impl std::error::Error for EvalError {}

/// The reader with its questions and the reference.
#[derive(Debug)]
pub struct Judge {
    reader: Reader,
    attributes: Vec<Attribute>,
    questions: Vec<Question>,
    reference: Moments,
}

/// How well a model did.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// How many pictures were painted.
    pub pictures: usize,
    /// Of every attribute: its name, how often it was read as asked, and how often it was asked.
    pub attributes: Vec<(String, usize, usize)>,
    /// The distance of the pictures' features to those of fresh renders.
    pub frechet: f64,
}

impl Evaluation {
    /// The share of all attributes that was read as asked.
    pub fn accuracy(&self) -> f64 {
        let sum = |of: fn(&(String, usize, usize)) -> usize| -> usize {
            self.attributes.iter().map(of).sum()
        };
        sum(|(_, right, _)| *right) as f64 / sum(|(.., asked)| *asked).max(1) as f64
    }
}

impl Judge {
    /// The judge that is part of this program.
    ///
    /// # Errors
    /// When one of its files is damaged.
    pub fn new() -> Result<Self, EvalError> {
        let attributes = questions::attributes(include_str!("../../models/eval/classes.tsv"));
        let captions = include_str!("../../models/eval/captions.tsv");
        Ok(Self {
            reader: Reader::new(include_bytes!("../../models/eval/reader.onnx"))?,
            questions: questions::questions(captions, &attributes)?,
            attributes,
            reference: reference()?,
        })
    }

    /// The reader.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// What it is asked.
    pub fn questions(&self) -> &[Question] {
        &self.questions
    }

    /// Paints the first `count` captions as `how` says, and reads them: how well it went, and the first
    /// picture's settings. `observer` is told the number
    /// of the picture, from 0, and how far it has come.
    ///
    /// # Errors
    /// Whatever keeps a picture from being painted or read.
    pub fn judge<P: Paint>(
        &self,
        painter: &mut P,
        (how, count): (&Request, usize),
        observer: &mut dyn FnMut(usize, Progress<'_>) -> ControlFlow<()>,
    ) -> anyhow::Result<(Evaluation, Resolved)> {
        let (mut features, mut settings) = (Vec::new(), None);
        // The captions are painted by the network that knows words, which is what is judged.
        let size = how.size.or(painter.sizes().map(|sizes| sizes.base));
        let mut attributes: Vec<(String, usize, usize)> =
            self.attributes.iter().map(|attribute| (attribute.name.clone(), 0, 0)).collect();
        for (index, question) in self.questions.iter().take(count).enumerate() {
            let (prompt, seed) = (question.caption.clone(), question.seed);
            let request = Request { prompt, seed, size, ..how.clone() };
            let painting = painter.paint(&request, &mut |p| observer(index, p))?;
            let reading = self.reader.read(&painting.image)?;
            let read = self.read_classes(&reading);
            for ((wanted, read), (_, right, asked)) in
                question.wanted.iter().zip(read).zip(&mut attributes)
            {
                *asked += usize::from(wanted.is_some());
                *right += usize::from(*wanted == Some(read));
            }
            features.push(reading.features);
            settings.get_or_insert(painting.request);
        }
        let frechet = Moments::of(&features).distance(&self.reference);
        let evaluation = Evaluation { pictures: features.len(), attributes, frechet };
        Ok((evaluation, settings.context("there are no captions to paint")?))
    }

    /// The likeliest class of every attribute.
    fn read_classes(&self, reading: &Reading) -> Vec<usize> {
        let mut rest = &reading.logits[..];
        let mut read = Vec::new();
        for attribute in &self.attributes {
            let (logits, behind) = rest.split_at(attribute.classes.len().min(rest.len()));
            let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
            read.push(best.unwrap_or(0));
            rest = behind;
        }
        read
    }
}

/// What the features of fresh renders look like.
fn reference() -> Result<Moments, EvalError> {
    let bytes: &'static [u8] = include_bytes!("../../models/eval/reference.safetensors");
    let origin = "models/eval/reference.safetensors";
    let file =
        safetensors::parse(origin, FileBytes::Static(bytes)).map_err(EvalError::Reference)?;
    let values = |name: &str| {
        let view = file.view(name).map_err(EvalError::Reference)?;
        let missing = || FileError::malformed(origin, format!("has no tensor '{name}'"));
        Ok(wide(&view.ok_or_else(missing).map_err(EvalError::Reference)?))
    };
    Ok(Moments { mean: values("mean")?, covariance: values("covariance")? })
}

fn wide(view: &TensorView<'_>) -> Vec<f64> {
    let mut values = vec![0.0; view.len()];
    view.read_f32(0, &mut values);
    values.into_iter().map(f64::from).collect()
}
