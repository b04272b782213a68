//! What a checkpoint lacks, and where it lies instead.

use std::path::{Path, PathBuf};

use super::diffusers::DiffusersFolder;
use super::{FileError, Predicts};

/// What belongs to a model without being in its files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// A diffusers folder with the configs (and tokenizers) of a checkpoint.
    pub configs: Option<PathBuf>,
    /// A folder with `vocab.json` and `merges.txt`, or with `tokenizer.json`, or one that has such
    /// folders called `tokenizer` and `tokenizer_2`.
    pub tokenizer: Option<PathBuf>,
    /// What the network predicts, where the files do not say or are wrong.
    pub predicts: Option<Predicts>,
}

impl Beside {
    /// The same, with the tokenizers that lie around the file at `path` where none are named.
    pub fn or_around(&self, path: &Path) -> Self {
        let mut beside = self.clone();
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let around = folder.join("tokenizer");
        if beside.tokenizer.is_none() && beside.configs.is_none() && around.is_dir() {
            beside.tokenizer = Some(folder.to_owned());
        }
        beside
    }

    /// The folder that the tokenizers are in, `None` where none is named.
    pub(super) fn tokenizers(&self) -> Result<Option<DiffusersFolder>, FileError> {
        let Some(path) = self.tokenizer.as_ref().or(self.configs.as_ref()) else {
            return Ok(None);
        };
        let folder = DiffusersFolder::bare(path);
        if ["tokenizer", "."].iter().any(|place| folder.has_tokenizer(place)) {
            return Ok(Some(folder));
        }
        if self.tokenizer.is_none() {
            return Ok(None);
        }
        let problem = "has no tokenizer: vocab.json and merges.txt, or tokenizer.json, or a folder \
                       'tokenizer' with these";
        Err(FileError::malformed(&path.display().to_string(), problem))
    }
}
