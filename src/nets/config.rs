//! Reading a network's config without trust: every field is checked before a network is built from
//! it.

use std::fmt;

use serde_json::{Map, Value};

/// Widest layer any config may ask for.
pub(crate) const MAX_CHANNELS: usize = 1 << 16;
/// Most layers in a row any config may ask for.
pub(crate) const MAX_LAYERS: usize = 1 << 8;
/// Most resolutions any config may ask for.
pub(crate) const MAX_LEVELS: usize = 8;
/// Most rows (tokens, codes, classes) of any table.
pub(crate) const MAX_ROWS: usize = 1 << 24;

/// A config that no network here can be built from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// The config is not a JSON object.
    NotAnObject {
        /// The class the config should describe.
        class: &'static str,
    },
    /// A field has a value that is not supported.
    Unsupported {
        /// The class that the config describes.
        class: &'static str,
        /// The field.
        field: String,
        /// What the config says.
        value: String,
        /// What it may say.
        supported: String,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnObject { class } => {
                write!(f, "the config of {class} is not a JSON object")
            }
            Self::Unsupported { class, field, value, supported } => {
                write!(f, "{class} config: '{field}' is {value}; supported: {supported}")
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// The fields of one JSON config. A field that is absent or null takes the class's default.
pub(crate) struct Fields<'a> {
    class: &'static str,
    object: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    pub fn new(class: &'static str, json: &'a Value) -> Result<Self, ConfigError> {
        json.as_object()
            .map(|object| Self { class, object })
            .ok_or(ConfigError::NotAnObject { class })
    }

    /// Refuses a config of another class, where it names one.
    pub fn expect_class(&self) -> Result<(), ConfigError> {
        self.only("_class_name", Value::from(self.class))
    }

    /// The field's value, unless absent or null.
    pub fn get(&self, field: &str) -> Option<&'a Value> {
        self.object.get(field).filter(|value| !value.is_null())
    }

    /// The field's value, null included.
    pub fn get_or_null(&self, field: &str) -> Option<&'a Value> {
        self.object.get(field)
    }

    /// The error for a field's value.
    pub fn unsupported(&self, field: &str, supported: impl Into<String>) -> ConfigError {
        let value = self.object.get(field).map_or("absent".to_owned(), shorten);
        let supported = supported.into();
        ConfigError::Unsupported { class: self.class, field: field.to_owned(), value, supported }
    }

    /// A whole number from 1 to `max`, if there is one.
    pub fn optional_count(&self, field: &str, max: usize) -> Result<Option<usize>, ConfigError> {
        self.get(field).map(|value| self.as_count(field, value, 1, max)).transpose()
    }

    /// A whole number from 1 to `max`.
    pub fn count(&self, field: &str, default: usize, max: usize) -> Result<usize, ConfigError> {
        Ok(self.optional_count(field, max)?.unwrap_or(default))
    }

    /// A list of 1 to 256 whole numbers from `min` to `max`.
    pub fn counts(
        &self,
        field: &str,
        default: &[usize],
        (min, max): (usize, usize),
    ) -> Result<Vec<usize>, ConfigError> {
        let Some(value) = self.get(field) else { return Ok(default.to_vec()) };
        let list = value.as_array().filter(|list| (1..=MAX_LAYERS).contains(&list.len()));
        let list = list.ok_or_else(|| self.unsupported(field, "a list of whole numbers"))?;
        list.iter().map(|value| self.as_count(field, value, min, max)).collect()
    }

    /// One whole number for each of `levels`, given as a list or as one number for all.
    pub fn per_level(
        &self,
        field: &str,
        levels: usize,
        default: usize,
        max: usize,
    ) -> Result<Vec<usize>, ConfigError> {
        if !matches!(self.get(field), Some(Value::Array(_))) {
            return Ok(vec![self.count(field, default, max)?; levels]);
        }
        let list = self.counts(field, &[], (1, max))?;
        if list.len() == levels {
            return Ok(list);
        }
        Err(self.unsupported(field, format!("a number, or a list of {levels}")))
    }

    /// True or false.
    pub fn flag(&self, field: &str, default: bool) -> Result<bool, ConfigError> {
        let Some(value) = self.get(field) else { return Ok(default) };
        value.as_bool().ok_or_else(|| self.unsupported(field, "true or false"))
    }

    /// A finite number.
    pub fn number(&self, field: &str, default: f32) -> Result<f32, ConfigError> {
        let Some(value) = self.get(field) else { return Ok(default) };
        let number = value.as_f64().map(|number| number as f32).filter(|number| number.is_finite());
        number.ok_or_else(|| self.unsupported(field, "a finite number"))
    }

    /// A number above zero.
    pub fn positive(&self, field: &str, default: f32) -> Result<f32, ConfigError> {
        let number = self.number(field, default)?;
        if number > 0.0 { Ok(number) } else { Err(self.unsupported(field, "a number above zero")) }
    }

    /// A word.
    pub fn word(&self, field: &str, default: &'a str) -> Result<&'a str, ConfigError> {
        let Some(value) = self.get(field) else { return Ok(default) };
        value.as_str().ok_or_else(|| self.unsupported(field, "a word"))
    }

    /// A list of words.
    pub fn words(&self, field: &str, default: &[&'a str]) -> Result<Vec<&'a str>, ConfigError> {
        let Some(value) = self.get(field) else { return Ok(default.to_vec()) };
        let list: Option<Vec<&str>> =
            value.as_array().and_then(|list| list.iter().map(Value::as_str).collect());
        list.ok_or_else(|| self.unsupported(field, "a list of words"))
    }

    /// Refuses every value but null and the one given.
    pub fn only(&self, field: &str, value: Value) -> Result<(), ConfigError> {
        match self.get(field) {
            None => Ok(()),
            Some(found) if same(found, &value) => Ok(()),
            Some(_) => Err(self.unsupported(field, value.to_string())),
        }
    }

    /// A word that must be one of `words`.
    pub fn one_of(
        &self,
        field: &str,
        default: &'a str,
        words: &[&str],
    ) -> Result<&'a str, ConfigError> {
        let word = self.word(field, default)?;
        if words.contains(&word) {
            Ok(word)
        } else {
            Err(self.unsupported(field, words.join(", ")))
        }
    }

    /// Refuses `channels` that do not divide into `groups`.
    pub fn divides(
        &self,
        field: &str,
        groups: usize,
        channels: &[usize],
    ) -> Result<(), ConfigError> {
        match channels.iter().find(|&&c| groups == 0 || !c.is_multiple_of(groups)) {
            None => Ok(()),
            Some(c) => Err(self.unsupported(field, format!("a divisor of {c} channels"))),
        }
    }

    fn as_count(
        &self,
        field: &str,
        value: &Value,
        min: usize,
        max: usize,
    ) -> Result<usize, ConfigError> {
        let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
        count
            .filter(|count| (min..=max).contains(count))
            .ok_or_else(|| self.unsupported(field, format!("whole numbers from {min} to {max}")))
    }
}

/// Whether two JSON values say the same, `1` and `1.0` included.
fn same(a: &Value, b: &Value) -> bool {
    a == b || (a.is_number() && a.as_f64() == b.as_f64())
}

/// A value as the message shows it.
fn shorten(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 60 {
        return text;
    }
    text.chars().take(57).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn count_of(value: Value) -> Result<usize, ConfigError> {
        let json = json!({ "width": value });
        Fields::new("Net", &json)?.count("width", 7, 100)
    }

    #[test]
    fn a_count_outside_its_range_names_the_field_and_the_range() {
        for bad in [json!(0), json!(-3), json!(1e9), json!(1.5), json!("8"), json!([8])] {
            let message = count_of(bad.clone()).unwrap_err().to_string();
            let want =
                format!("Net config: 'width' is {bad}; supported: whole numbers from 1 to 100");
            assert_eq!(message, want);
        }
        assert_eq!(count_of(json!(null)), Ok(7));
        assert_eq!(count_of(json!(100)), Ok(100));
    }

    #[test]
    fn a_long_value_is_shortened_in_the_message() {
        let json = json!({ "width": "x".repeat(10_000) });
        let error = Fields::new("Net", &json).unwrap().count("width", 1, 2).unwrap_err();
        assert!(error.to_string().len() < 150);
    }

    #[test]
    fn one_number_stands_for_all_levels_and_a_list_must_fit() {
        let json = json!({ "one": 3, "two": [1, 2], "bad": [1, 2, 3] });
        let fields = Fields::new("Net", &json).unwrap();
        assert_eq!(fields.per_level("one", 2, 9, 9), Ok(vec![3, 3]));
        assert_eq!(fields.per_level("two", 2, 9, 9), Ok(vec![1, 2]));
        assert_eq!(fields.per_level("none", 2, 9, 9), Ok(vec![9, 9]));
        assert!(fields.per_level("bad", 2, 9, 9).is_err());
    }

    #[test]
    fn a_config_that_is_no_object_is_refused() {
        let error = Fields::new("Net", &json!([1])).err();
        assert_eq!(error, Some(ConfigError::NotAnObject { class: "Net" }));
    }
}
