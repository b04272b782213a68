//! What the reader is asked: captions, each with a seed and what its picture should show.

use super::EvalError;

/// What stands for an attribute that cannot be told from the picture.
const UNREADABLE: &str = "-";

/// An attribute and its classes, in the order of the reader's logits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// Those of its classes.
    pub classes: Vec<String>,
}

/// A caption to paint and to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The picture's seed.
    pub seed: u64,
    /// The words.
    pub caption: String,
    /// For every attribute the class that should be read, if it can be.
    pub wanted: Vec<Option<usize>>,
}

/// The attributes: a line each, its name and its classes, between tabs.
pub(super) fn attributes(text: &str) -> Vec<Attribute> {
    let attribute = |line: &str| {
        let mut names = line.split('\t').map(str::to_owned);
        Some(Attribute { name: names.next()?, classes: names.collect() })
    };
    text.lines().filter_map(attribute).collect()
}

/// The questions: below a line of headings a line each, its seed, the classes, and the caption,
/// between tabs.
pub(super) fn questions(text: &str, of: &[Attribute]) -> Result<Vec<Question>, EvalError> {
    let question = |line: &str| {
        let mut cells = line.split('\t');
        let seed = cells.next()?.parse().ok()?;
        let wanted = of.iter().map(|attribute| match cells.next()? {
            UNREADABLE => Some(None),
            name => Some(Some(attribute.classes.iter().position(|class| class == name)?)),
        });
        let wanted = wanted.collect::<Option<Vec<_>>>()?;
        Some(Question { seed, wanted, caption: cells.next()?.to_owned() })
    };
    let lines = text.lines().enumerate().skip(1);
    lines.map(|(i, line)| question(line).ok_or(EvalError::Question(i + 1))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_found_by_their_names() {
        let of = attributes("kind\tsea\thill\ntime\tday\tnone\n");
        let found = questions("seed\tkind\ttime\tcaption\n7\thill\t-\ta hill\n", &of).unwrap();
        let wanted = vec![Some(1), None];
        assert_eq!(found, [Question { seed: 7, caption: "a hill".to_owned(), wanted }]);
    }

    #[test]
    fn a_line_that_makes_no_sense_is_named() {
        let of = attributes("kind\tsea\n");
        for line in ["x\tsea\ta sea", "7\tmoon\ta moon", "7\tsea", ""] {
            let error = questions(&format!("head\n7\tsea\ta sea\n{line}\n"), &of).unwrap_err();
            assert_eq!(error, EvalError::Question(3), "{line}");
        }
    }
}
