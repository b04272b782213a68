//! Prompts that are different every time: alternatives with weights, lists of words, and words for
//! the moment.
//!
//! `{a|b|3::c}` is one of the three, the last three times as often; `__land__` is an entry of the
//! list `land`; alternatives and entries may hold more of both. `__time_of_day__`, `__season__`,
//! `__month__`, `__weekday__` and `__date__` are what they are now. The notation is that of the
//! wildcard extensions of AUTOMATIC1111's web UI.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Zoned;
use jiff::civil::Weekday;

/// Lists within lists within lists: deeper ones are taken for a circle.
const DEEPEST: usize = 16;
/// The longest prompt that is made, in bytes.
const LONGEST: usize = 4096;

/// What is wrong with a prompt or a list, in a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WordsError(String);

impl fmt::Display for WordsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WordsError {}

/// A prompt with choices in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(String),
    /// Alternatives and how often each is taken.
    OneOf(Vec<(f32, Template)>),
    Moment(Word),
    List(String),
}

/// A word for the moment.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Word {
    TimeOfDay,
    Season,
    Month,
    Weekday,
    Date,
}

impl Word {
    const ALL: [(&'static str, Self); 5] = [
        ("time_of_day", Self::TimeOfDay),
        ("season", Self::Season),
        ("month", Self::Month),
        ("weekday", Self::Weekday),
        ("date", Self::Date),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, word)| *word)
    }

    fn say(self, moment: &Moment) -> String {
        let now = &moment.now;
        match self {
            Self::TimeOfDay => time_of_day(now.hour()).to_owned(),
            Self::Season => season(now.month(), moment.southern).to_owned(),
            Self::Month => now.strftime("%B").to_string(),
            Self::Weekday => weekday(now.weekday()).to_owned(),
            Self::Date => now.strftime("%-d %B").to_string(),
        }
    }
}

/// When a prompt is made, and where.
#[derive(Clone, Debug)]
pub struct Moment {
    /// The time, where the kiosk is.
    pub now: Zoned,
    /// Whether that is south of the equator.
    pub southern: bool,
}

/// The words that the default model was taught.
fn time_of_day(hour: i8) -> &'static str {
    match hour {
        5..=7 => "at dawn",
        8..=16 => "by day",
        17..=18 => "at sunset",
        19..=20 => "at dusk",
        _ => "at night",
    }
}

fn season(month: i8, southern: bool) -> &'static str {
    let turned = if southern { 6 } else { 0 };
    match (month - 1 + turned) % 12 {
        11 | 0 | 1 => "winter",
        2..=4 => "spring",
        5..=7 => "summer",
        _ => "autumn",
    }
}

fn weekday(day: Weekday) -> &'static str {
    match day {
        Weekday::Monday => "Monday",
        Weekday::Tuesday => "Tuesday",
        Weekday::Wednesday => "Wednesday",
        Weekday::Thursday => "Thursday",
        Weekday::Friday => "Friday",
        Weekday::Saturday => "Saturday",
        Weekday::Sunday => "Sunday",
    }
}

impl Template {
    /// Reads a prompt.
    ///
    /// # Errors
    /// When a brace is left open, or a weight is no number.
    pub fn parse(text: &str) -> Result<Self, WordsError> {
        let mut reader = Reader { text, at: 0, depth: 0 };
        let template = reader.template()?;
        match reader.rest().chars().next() {
            None => Ok(template),
            Some(c) => Err(reader.wrong(&format!("has a '{c}' that closes nothing"))),
        }
    }

    /// The lists it names.
    fn lists<'a>(&'a self, found: &mut Vec<&'a str>) {
        for piece in &self.0 {
            match piece {
                Piece::List(name) => found.push(name),
                Piece::OneOf(ways) => ways.iter().for_each(|(_, way)| way.lists(found)),
                Piece::Text(_) | Piece::Moment(_) => {}
            }
        }
    }
}

/// Reads a template from left to right.
struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// Braces that are open.
    depth: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn wrong(&self, problem: &str) -> WordsError {
        WordsError(format!("the prompt '{}' {problem}", self.text))
    }

    /// Everything up to the end, or to what ends an alternative.
    fn template(&mut self) -> Result<Template, WordsError> {
        let mut pieces = Vec::new();
        while let Some(c) = self.rest().chars().next() {
            match c {
                '{' => pieces.push(self.one_of()?),
                '}' => break,
                '|' if self.depth > 0 => break,
                _ if self.rest().starts_with("__") => pieces.push(self.name()?),
                _ => {
                    let ends = |(at, c): &(usize, char)| {
                        "{}".contains(*c)
                            || (*c == '|' && self.depth > 0)
                            || self.rest()[*at..].starts_with("__")
                    };
                    let end = self.rest().char_indices().find(ends);
                    let end = end.map_or(self.rest().len(), |(at, _)| at);
                    pieces.push(Piece::Text(self.rest()[..end].to_owned()));
                    self.at += end;
                }
            }
        }
        Ok(Template(pieces))
    }

    fn one_of(&mut self) -> Result<Piece, WordsError> {
        let mut ways = Vec::new();
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.wrong("has too many braces in braces"));
        }
        loop {
            // The opening brace, or the bar.
            self.at += 1;
            let weight = self.weight()?;
            ways.push((weight, self.template()?));
            match self.rest().chars().next() {
                Some('|') => {}
                Some(_) => break,
                None => return Err(self.wrong("has a '{' that is never closed")),
            }
        }
        self.at += 1;
        self.depth -= 1;
        Ok(Piece::OneOf(ways))
    }

    /// `3::` before an alternative; 1 where there is none.
    fn weight(&mut self) -> Result<f32, WordsError> {
        let end = self.rest().find(['{', '}', '|']).unwrap_or(self.rest().len());
        let Some((number, _)) = self.rest()[..end].split_once("::") else { return Ok(1.0) };
        let weight = number.trim().parse().ok().filter(|w: &f32| w.is_finite() && *w > 0.0);
        let weight = weight.ok_or_else(|| {
            self.wrong(&format!(
                "weighs an alternative with '{number}', which is no number above 0"
            ))
        })?;
        self.at += number.len() + "::".len();
        Ok(weight)
    }

    fn name(&mut self) -> Result<Piece, WordsError> {
        let after = &self.rest()[2..];
        let name = after.split_once("__").map(|(name, _)| name).filter(|name| is_name(name));
        let Some(name) = name else {
            return Err(self.wrong("has a '__' that no name like __season__ follows"));
        };
        self.at += 2 + name.len() + 2;
        Ok(Word::named(name).map_or_else(|| Piece::List(name.to_owned()), Piece::Moment))
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-')
}

/// Lists of words.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Words(BTreeMap<String, Vec<Template>>);

impl Words {
    /// Reads lists.
    ///
    /// # Errors
    /// When one is empty, named like a word for the moment, or has an entry that cannot be read; when
    /// an entry names a list that is not there, or the list it is in.
    pub fn new(lists: &BTreeMap<String, Vec<String>>) -> Result<Self, WordsError> {
        let mut words = BTreeMap::new();
        for (name, entries) in lists {
            let list = |problem: &str| WordsError(format!("the list '{name}' {problem}"));
            if !is_name(name) || Word::named(name).is_some() {
                return Err(list(
                    "needs another name: letters, digits, - and _, no word for the time",
                ));
            }
            if entries.is_empty() {
                return Err(list("is empty"));
            }
            let entries = entries.iter().map(|entry| Template::parse(entry));
            let entries = entries.collect::<Result<_, _>>().map_err(|e| list(&format!(": {e}")))?;
            words.insert(name.clone(), entries);
        }
        let words = Self(words);
        words.0.values().flatten().try_for_each(|entry| words.check(entry))?;
        words.0.keys().try_for_each(|name| words.check_circle(name, name, DEEPEST))?;
        Ok(words)
    }

    /// Says which list a template names that is not there.
    ///
    /// # Errors
    /// When there is one.
    pub fn check(&self, template: &Template) -> Result<(), WordsError> {
        let mut names = Vec::new();
        template.lists(&mut names);
        match names.into_iter().find(|name| !self.0.contains_key(*name)) {
            None => Ok(()),
            Some(name) => {
                let moments = Word::ALL.iter().map(|(known, _)| *known);
                let known = self.0.keys().map(String::as_str).chain(moments);
                let known: Vec<&str> = known.collect();
                let known = known.join(", ");
                Err(WordsError(format!("there is no list '{name}'; there are: {known}")))
            }
        }
    }

    fn check_circle(&self, start: &str, at: &str, depth: usize) -> Result<(), WordsError> {
        let mut names = Vec::new();
        self.0.get(at).into_iter().flatten().for_each(|entry| entry.lists(&mut names));
        if depth == 0 || names.contains(&start) {
            return Err(WordsError(format!("the list '{start}' leads back to itself")));
        }
        names.iter().try_for_each(|name| self.check_circle(start, name, depth - 1))
    }

    /// Makes a prompt.
    pub fn fill(&self, template: &Template, moment: &Moment, random: &mut fastrand::Rng) -> String {
        let mut text = String::new();
        self.write(template, moment, random, &mut text);
        let mut words: Vec<&str> = text.split_whitespace().collect();
        for at in 1..words.len() {
            if words[at - 1] == "a" && words[at].starts_with(['a', 'e', 'i', 'o', 'u']) {
                words[at - 1] = "an";
            }
        }
        // What an empty alternative leaves before a comma.
        words.join(" ").replace(" ,", ",")
    }

    fn write(
        &self,
        template: &Template,
        moment: &Moment,
        random: &mut fastrand::Rng,
        text: &mut String,
    ) {
        for piece in &template.0 {
            if text.len() > LONGEST {
                return;
            }
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Moment(word) => text.push_str(&word.say(moment)),
                Piece::OneOf(ways) => self.write(weighted(ways, random), moment, random, text),
                Piece::List(name) => {
                    let entries = self.0.get(name).map(Vec::as_slice).unwrap_or_default();
                    if let Some(entry) = random.choice(entries) {
                        self.write(entry, moment, random, text);
                    }
                }
            }
        }
    }
}

/// One of several, by their weights.
fn weighted<'a>(ways: &'a [(f32, Template)], random: &mut fastrand::Rng) -> &'a Template {
    let sum: f32 = ways.iter().map(|(weight, _)| weight).sum();
    let mut left = random.f32() * sum;
    for (weight, way) in ways {
        left -= weight;
        if left < 0.0 {
            return way;
        }
    }
    &ways[ways.len() - 1].1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn moment(text: &str) -> Moment {
        Moment { now: text.parse().unwrap(), southern: false }
    }

    fn noon() -> Moment {
        moment("2026-11-22T12:00[UTC]")
    }

    fn lists(lists: &[(&str, &[&str])]) -> Result<Words, WordsError> {
        let list = |(name, entries): &(&str, &[&str])| {
            (name.to_string(), entries.iter().map(ToString::to_string).collect())
        };
        Words::new(&lists.iter().map(list).collect())
    }

    fn all(words: &Words, text: &str) -> BTreeSet<String> {
        let template = Template::parse(text).unwrap();
        words.check(&template).unwrap();
        let mut random = fastrand::Rng::with_seed(1);
        (0..500).map(|_| words.fill(&template, &noon(), &mut random)).collect()
    }

    #[test]
    fn alternatives_and_lists_nest() {
        let words =
            lists(&[("land", &["hills", "{blue|green} __high__"]), ("high", &["mountains"])]);
        let made = all(&words.unwrap(), "a {red|yellow} sun over __land__{|, {ink|flat}}");
        let expected = ["hills", "blue mountains", "green mountains"];
        assert_eq!(made.len(), 2 * expected.len() * 3, "{made:?}");
        assert!(made.contains("a red sun over blue mountains, ink"));
        assert!(made.contains("a yellow sun over hills"));
    }

    #[test]
    fn weights_are_kept() {
        let words = Words::default();
        let template = Template::parse("{9::often|seldom}").unwrap();
        let mut random = fastrand::Rng::with_seed(3);
        let often = (0..1000).filter(|_| words.fill(&template, &noon(), &mut random) == "often");
        let often = often.count();
        assert!((850..950).contains(&often), "{often}");
    }

    #[test]
    fn the_moment_has_words() {
        let words = Words::default();
        let say = |text: &str, moment: &Moment| {
            words.fill(&Template::parse(text).unwrap(), moment, &mut fastrand::Rng::with_seed(1))
        };
        let all = "__weekday__ __date__ in __month__, __season__, __time_of_day__";
        let evening = moment("2026-07-05T19:30[UTC]");
        assert_eq!(say(all, &evening), "Sunday 5 July in July, summer, at dusk");
        let south = Moment { southern: true, ..evening };
        assert_eq!(say("__season__", &south), "winter");
        assert_eq!(say("__season__", &moment("2026-12-01T00:00[UTC]")), "winter");
        assert_eq!(say("__time_of_day__", &moment("2026-12-01T04:59[UTC]")), "at night");
    }

    #[test]
    fn what_cannot_be_meant_is_said() {
        let errors = [
            Template::parse("a {red|blue sun").unwrap_err(),
            Template::parse("a red} sun").unwrap_err(),
            Template::parse("{x::a|b}").unwrap_err(),
            Template::parse("{-1::a|b}").unwrap_err(),
            Template::parse("over __").unwrap_err(),
            Template::parse(&"{".repeat(40)).unwrap_err(),
            lists(&[("a", &["__b__"]), ("b", &["x {y|__a__}"])]).unwrap_err(),
            lists(&[("a", &["__c__"])]).unwrap_err(),
            lists(&[("season", &["x"])]).unwrap_err(),
            lists(&[("a", &[])]).unwrap_err(),
        ];
        insta::assert_snapshot!(errors.map(|e| e.to_string()).join("\n"));
    }

    #[test]
    fn what_looks_odd_may_be_meant() {
        let words = Words::default();
        for (text, made) in [
            ("a | b", "a | b"),
            ("{}", ""),
            ("snake_case", "snake_case"),
            ("a{, b|, b}", "a, b"),
            ("time 12::30", "time 12::30"),
            ("a {orange} sun, a {red} one", "an orange sun, a red one"),
        ] {
            assert_eq!(all(&words, text), BTreeSet::from([made.to_owned()]), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_prompt_or_an_error(text in "[a-c{}|:_ 1é]{0,24}", seed: u64) {
            if let Ok(template) = Template::parse(&text) {
                let mut random = fastrand::Rng::with_seed(seed);
                let made = Words::default().fill(&template, &noon(), &mut random);
                prop_assert!(!made.contains(['{', '}']), "{}", made);
            }
        }
    }
}
