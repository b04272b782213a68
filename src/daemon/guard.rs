//! What may be painted on a screen that everybody sees.
//!
//! Prompts come from strangers where a kiosk takes orders. A list of words is refused; it is a coarse
//! sieve, and a model that was never taught such things, as the default one, is the better guard.

/// Refused unless the configuration says otherwise. A star stands for any ending.
const DENIED: &[&str] = &[
    "behead*",
    "blood*",
    "bomb*",
    "corpse*",
    "erotic*",
    "explosive*",
    "genital*",
    "gore",
    "gory",
    "gun",
    "guns",
    "hitler",
    "kill",
    "killed",
    "killer*",
    "killing",
    "murder*",
    "naked",
    "nazi*",
    "nude*",
    "nudity",
    "penis*",
    "porn*",
    "rape",
    "raped",
    "rapist*",
    "rifle*",
    "sex",
    "sexual*",
    "sexy",
    "suicid*",
    "swastika*",
    "terroris*",
    "tortur*",
    "vagina*",
    "weapon*",
];

/// Words that are refused, and those that are not though a star takes them in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    denied: Vec<String>,
    allowed: Vec<String>,
}

impl Guard {
    /// Refuses the `denied` words, or those that most will want refused, but no word of `allowed`.
    pub fn new(denied: Option<&[String]>, allowed: &[String]) -> Self {
        let lower = |words: &[String]| words.iter().map(|word| word.to_lowercase()).collect();
        let usual = || DENIED.iter().map(ToString::to_string).collect();
        Self { denied: denied.map_or_else(usual, lower), allowed: lower(allowed) }
    }

    /// The first word of a prompt that is refused.
    pub fn refused(&self, prompt: &str) -> Option<String> {
        let lower = prompt.to_lowercase();
        let mut words = lower.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty());
        let refused = |word: &&str| {
            self.denied.iter().any(|pattern| matches(pattern, word))
                && !self.allowed.iter().any(|pattern| matches(pattern, word))
        };
        words.find(refused).map(str::to_owned)
    }
}

fn matches(pattern: &str, word: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(stem) => word.starts_with(stem),
        None => word == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn words_are_refused_and_what_a_star_takes_in() {
        let guard = Guard::new(None, &[]);
        assert_eq!(guard.refused("a NUDE, reclining"), Some("nude".to_owned()));
        assert_eq!(guard.refused("a bombing"), Some("bombing".to_owned()));
        assert_eq!(guard.refused("a killdeer in rapeseed, Middlesex, with a sextant"), None);
    }

    #[test]
    fn lists_can_be_replaced_and_words_allowed() {
        let guard = Guard::new(None, &words(&["Bloodhound", "bombay"]));
        assert_eq!(guard.refused("a bloodhound in Bombay"), None);
        assert_eq!(guard.refused("a gun"), Some("gun".to_owned()));
        let own = Guard::new(Some(&words(&["Beach*"])), &[]);
        assert_eq!(own.refused("a gun on beaches"), Some("beaches".to_owned()));
        assert_eq!(Guard::new(Some(&[]), &[]).refused("a gun"), None);
    }
}
