//! Fields of a component's `config.json`, read with the errors a person can act on.

use serde_json::Value;

use super::FileError;

/// The most levels, blocks or layers that any config may ask for. Real models stay below 64; a
/// hostile config must not make loops of 10^18 rounds.
const COUNT_CAP: usize = 256;

/// A component's config with the name of the file it came from.
#[derive(Clone, Copy, Debug)]
pub struct Config<'a> {
    file: &'a str,
    value: &'a Value,
}

impl<'a> Config<'a> {
    /// Reads fields of `value`; `file` names it in errors.
    pub fn new(file: &'a str, value: &'a Value) -> Self {
        Self { file, value }
    }

    /// The field, `None` where it is absent or `null`.
    pub fn get(&self, field: &str) -> Option<&'a Value> {
        self.value.get(field).filter(|v| !v.is_null())
    }

    /// Whether the field is there and `null`.
    pub fn is_null(&self, field: &str) -> bool {
        self.value.get(field).is_some_and(Value::is_null)
    }

    /// A field that is a text, `None` where it is absent.
    pub fn text(&self, field: &str) -> Option<&'a str> {
        self.get(field).and_then(Value::as_str)
    }

    /// A field that is true or false, `default` where it is absent.
    pub fn flag(&self, field: &str, default: bool) -> bool {
        self.get(field).and_then(Value::as_bool).unwrap_or(default)
    }

    /// A list of texts, such as block types.
    ///
    /// # Errors
    /// When it is absent or anything else.
    pub fn texts(&self, field: &str) -> Result<Vec<&'a str>, FileError> {
        let texts = self.get(field).and_then(Value::as_array).and_then(|list| {
            let texts: Option<Vec<_>> = list.iter().map(Value::as_str).collect();
            texts.filter(|texts| texts.len() <= COUNT_CAP)
        });
        texts.ok_or_else(|| self.wrong(field, "must be a list of names"))
    }

    /// A count: layers, heads, blocks.
    ///
    /// # Errors
    /// When it is absent, not a whole number, or larger than any model's.
    pub fn count(&self, field: &str) -> Result<usize, FileError> {
        self.get(field)
            .and_then(count_of)
            .ok_or_else(|| self.wrong(field, &format!("must be a whole number up to {COUNT_CAP}")))
    }

    /// A count for each of `levels` levels: a list of that length, or one number for all, or
    /// `default` where absent.
    ///
    /// # Errors
    /// When it is neither.
    pub fn per_level(
        &self,
        field: &str,
        levels: usize,
        default: usize,
    ) -> Result<Vec<usize>, FileError> {
        let counts = match self.get(field) {
            None => Some(vec![default; levels]),
            Some(Value::Array(list)) => list.iter().map(count_of).collect(),
            Some(one) => count_of(one).map(|n| vec![n; levels]),
        };
        counts
            .filter(|counts| counts.len() == levels)
            .ok_or_else(|| self.wrong(field, &format!("must be one number or {levels} of them")))
    }

    /// The error for a field that cannot be used.
    pub fn wrong(&self, field: &str, problem: &str) -> FileError {
        FileError::config(self.file, field, problem)
    }
}

/// A whole number that can be a count.
pub(super) fn count_of(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|&n| n <= COUNT_CAP)
}
