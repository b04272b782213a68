//! File names for pictures.

/// The longest name made from a prompt, in characters.
const LONGEST: usize = 48;

/// A file name made of the prompt's first words and the seed.
pub fn file_name(prompt: &str, seed: u64) -> String {
    let lower = prompt.to_lowercase();
    let words = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let mut name = String::new();
    for word in words {
        let room = LONGEST.saturating_sub(name.chars().count());
        if word.chars().count() > room && !name.is_empty() {
            break;
        }
        name.extend(word.chars().take(room));
        name.push('-');
    }
    if name.is_empty() {
        name.push_str("painting-");
    }
    format!("{name}{seed}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_is_made_of_words_and_seed() {
        assert_eq!(
            file_name("A red sun, over (blue) mountains!", 7),
            "a-red-sun-over-blue-mountains-7"
        );
        assert_eq!(file_name("../../etc/passwd", 7), "etc-passwd-7");
        assert_eq!(file_name("北斎の波", 7), "北斎の波-7");
        assert_eq!(file_name("...", 7), "painting-7");
        assert_eq!(file_name(&"word ".repeat(100), 7).len(), 9 * 5 + 1);
        assert_eq!(file_name(&"w".repeat(100), 7).len(), LONGEST + 2);
    }

    proptest! {
        #[test]
        fn any_prompt_makes_a_name_without_folders(prompt in "\\PC{0,300}", seed in any::<u64>()) {
            let name = file_name(&prompt, seed);
            prop_assert!(!name.contains(['/', '\\', '.', '\0']) && !name.starts_with('-'));
            prop_assert!(name.len() < 230);
        }
    }
}
