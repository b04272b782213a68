//! The shapes of one part's tensors by canonical names: what its config is inferred from.

use std::collections::BTreeMap;

use super::super::FileError;
use super::super::names::Cut;

/// Names and shapes of a part.
#[derive(Debug)]
pub(super) struct Shapes<'a> {
    origin: &'a str,
    shapes: BTreeMap<String, Vec<usize>>,
    /// Whether q, k and v of the attentions are one matrix, as OpenCLIP stores them.
    pub fused: bool,
}

impl<'a> Shapes<'a> {
    pub fn new(origin: &'a str) -> Self {
        Self { origin, shapes: BTreeMap::new(), fused: false }
    }

    /// Adds what `cut` makes of a stored tensor. Only transposing changes a shape that is asked
    /// for.
    pub fn add(&mut self, name: String, cut: Cut, shape: &[usize]) {
        let mut shape = shape.to_vec();
        if cut == Cut::Transposed {
            shape.reverse();
        }
        self.fused |= matches!(cut, Cut::Third(_));
        self.shapes.insert(name, shape);
    }

    pub fn is_empty(&self) -> bool {
        self.shapes.is_empty()
    }

    pub fn get(&self, name: &str) -> Option<&[usize]> {
        self.shapes.get(name).map(Vec::as_slice)
    }

    /// Whether any tensor's name begins with `start`.
    pub fn any(&self, start: &str) -> bool {
        let first = self.shapes.range(start.to_owned()..).next();
        first.is_some_and(|(name, _)| name.starts_with(start))
    }

    /// How many of `start0.`, `start1.`, .. there are before the first that is not.
    pub fn count(&self, start: &str) -> usize {
        (0..).take_while(|n| self.any(&format!("{start}{n}."))).count()
    }

    /// The extent of a tensor along `axis`.
    pub fn extent(&self, name: &str, axis: usize) -> Result<usize, FileError> {
        let missing =
            || FileError::MissingTensor { file: self.origin.to_owned(), tensor: name.to_owned() };
        let shape = self.get(name).ok_or_else(missing)?;
        let extent = shape.get(axis).copied().filter(|&n| n > 0);
        extent.ok_or_else(|| self.refuse(&format!("tensor '{name}' is {shape:?}")))
    }

    /// The tensors are of a model whose config cannot be inferred; `what` says why.
    pub fn refuse(&self, what: &str) -> FileError {
        let problem = format!(
            "{what}, which no config is inferred for; convert with the configs of the model's \
             diffusers folder (pochade-quantize --config FOLDER)"
        );
        FileError::NotAModel { file: self.origin.to_owned(), problem }
    }
}
