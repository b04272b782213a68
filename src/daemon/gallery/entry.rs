//! What is known of a picture of the gallery: what its file says, read without its pixels.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use crate::paint::infotext::Infotext;
use crate::paint::png;

/// A picture of the gallery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its file's name.
    pub name: String,
    /// Bytes of the file.
    pub bytes: u64,
    /// Whether it is kept for good.
    pub favourite: bool,
    /// What should be seen; empty where the file does not say.
    pub prompt: String,
    /// Where the noise started.
    pub seed: Option<u64>,
    /// Pixels per row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// How it was painted, as A1111 writes it; empty where the file does not say.
    pub parameters: String,
}

impl Entry {
    /// Reads a file's head. What is no PNG file inside is a picture without words.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn read(path: &Path, favourite: bool) -> io::Result<Self> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default().to_owned();
        let head = png::head(BufReader::new(file)).unwrap_or_default();
        let text = Infotext::parse(&head.parameters);
        let seed = text.get("Seed").and_then(|seed| seed.parse().ok());
        Ok(Self {
            name,
            bytes,
            favourite,
            prompt: text.prompt,
            seed,
            width: head.width,
            height: head.height,
            parameters: head.parameters,
        })
    }
}
