//! `[web]`: where the page and the interfaces are served, and to whom.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

/// A shorter token could be guessed.
const SHORTEST_TOKEN: usize = 12;
/// The most pictures that one request may ask for.
const MOST_PICTURES: usize = 16;

/// What is served, and to whom. Changes are taken in at the next start.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case", expecting = "a table of settings")]
pub struct WebSettings {
    /// Where to listen.
    pub listen: Listen,
    /// What a client must know to be answered.
    pub token: Option<Token>,
    /// A file that holds the token, in its place.
    pub token_file: Option<PathBuf>,
    /// The most pictures that one request of another program's interface may ask for.
    pub pictures: usize,
    /// Whether such pictures go on the screen too.
    pub show: bool,
}

impl Default for WebSettings {
    fn default() -> Self {
        let listen = Listen(SocketAddr::from(([127, 0, 0, 1], 8080)));
        Self { listen, token: None, token_file: None, pictures: 4, show: true }
    }
}

impl WebSettings {
    /// The same, checked as far as it can be without the file system.
    ///
    /// # Errors
    /// A sentence, when strangers would be let in or a number is out of range.
    pub fn checked(self) -> Result<Self, String> {
        if self.token.is_some() && self.token_file.is_some() {
            return Err("[web] has a token and a token-file; leave one of them out".to_owned());
        }
        let open = self.token.is_none() && self.token_file.is_none();
        if open && !self.listen.0.ip().is_loopback() {
            return Err(format!(
                "[web] listen = \"{}\" can be reached by other machines; set a token (or \
                 token-file), or listen on 127.0.0.1",
                self.listen
            ));
        }
        if !(1..=MOST_PICTURES).contains(&self.pictures) {
            let pictures = self.pictures;
            return Err(format!("[web] pictures = {pictures} is not in 1 to {MOST_PICTURES}"));
        }
        Ok(self)
    }

    /// The token, from its file if it has one.
    ///
    /// # Errors
    /// A sentence, when the file cannot be read or holds no token.
    pub fn read_token(&self) -> Result<Option<Token>, String> {
        let Some(path) = &self.token_file else { return Ok(self.token.clone()) };
        let wrong = |problem: &dyn fmt::Display| {
            format!("[web] token-file '{}': {problem}", path.display())
        };
        let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
        Token::try_from(text.trim().to_owned()).map(Some).map_err(|problem| wrong(&problem))
    }
}

/// An address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Listen(pub SocketAddr);

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || {
            format!("'{text}' is no address to listen on; write it as 127.0.0.1:8080 or [::]:8080")
        };
        text.parse().map(Self).map_err(|_| wrong())
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A secret, which is not shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Token(String);

impl Token {
    /// The secret itself.
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Token {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let good = text.len() >= SHORTEST_TOKEN && text.bytes().all(|b| b.is_ascii_graphic());
        good.then_some(Self(text)).ok_or_else(|| {
            format!(
                "a token is {SHORTEST_TOKEN} letters, digits and signs at least, without spaces; \
                 'openssl rand -hex 16' makes one"
            )
        })
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(...)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<WebSettings, String> {
        let settings: WebSettings =
            toml::from_str(text).map_err(|e: toml::de::Error| e.message().to_owned())?;
        settings.checked()
    }

    #[test]
    fn without_settings_only_this_machine_is_served() {
        let settings = read("").unwrap();
        assert_eq!(settings.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(settings.read_token(), Ok(None));
    }

    #[test]
    fn other_machines_are_served_with_a_token_only() {
        for listen in ["0.0.0.0:80", "192.168.1.7:8080", "[::]:8080"] {
            let problem = read(&format!("listen = \"{listen}\"")).unwrap_err();
            assert!(problem.contains(listen) && problem.contains("set a token"), "{problem}");
            let token = format!("listen = \"{listen}\"\ntoken = \"correct-horse-battery\"");
            assert!(read(&token).is_ok(), "{listen}");
        }
        assert!(read("listen = \"[::1]:8080\"").is_ok());
    }

    #[test]
    fn what_is_wrong_is_said_with_the_remedy() {
        for (text, remedy) in [
            ("listen = \"8080\"", "127.0.0.1:8080"),
            ("token = \"short\"", "openssl rand -hex 16"),
            ("token = \"twelve spaces here\"", "without spaces"),
            ("pictures = 0", "1 to 16"),
            ("token = \"correct-horse\"\ntoken-file = \"x\"", "leave one of them out"),
            ("port = 80", "unknown field"),
        ] {
            let problem = read(text).unwrap_err();
            assert!(problem.contains(remedy), "{text}: {problem}");
        }
    }

    #[test]
    fn a_token_is_read_from_its_file_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let settings = WebSettings { token_file: Some(path.clone()), ..WebSettings::default() };
        assert!(settings.read_token().unwrap_err().contains("token-file"));
        std::fs::write(&path, "correct-horse-battery\n").unwrap();
        let token = settings.read_token().unwrap().unwrap();
        assert_eq!(token.secret(), "correct-horse-battery");
        assert!(!format!("{token:?}").contains("horse"));
    }
}
