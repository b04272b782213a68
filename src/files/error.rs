//! What can be wrong with a model file.

use std::fmt;
use std::io;

/// Why a model file could not be used. Every message names the file and what to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileError {
    /// The network asks for a tensor that the file does not have.
    MissingTensor {
        /// File or folder.
        file: String,
        /// Canonical name.
        tensor: String,
    },
    /// A tensor has another shape than its place in the network.
    WrongShape {
        /// File or folder.
        file: String,
        /// Canonical name.
        tensor: String,
        /// What the file has.
        found: String,
        /// What the network asks for.
        wanted: String,
    },
    /// A tensor is there, in an encoding that is not read here.
    Encoding {
        /// File or folder.
        file: String,
        /// Stored name.
        tensor: String,
        /// The encoding as the file calls it.
        encoding: String,
    },
    /// The operating system refused.
    Io {
        /// File or folder.
        file: String,
        /// What was tried: "read", "write", ...
        action: &'static str,
        /// The system's words.
        reason: String,
    },
    /// The file contradicts its own format: cut short, damaged, or lying about lengths.
    Malformed {
        /// File.
        file: String,
        /// What is wrong, and where.
        problem: String,
    },
    /// A config lacks a field, or gives it a value that cannot be used.
    Config {
        /// File.
        file: String,
        /// Field of the JSON object.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The model has no such part.
    MissingPart {
        /// File or folder.
        file: String,
        /// Part: `unet`, `vae`, `tokenizer`, ...
        part: String,
    },
    /// The path is not one of the forms a model can have.
    NotAModel {
        /// File or folder.
        file: String,
        /// What it is instead, and what is accepted.
        problem: String,
    },
    /// The caller stopped the writing of a file.
    Interrupted {
        /// File that was not written.
        file: String,
    },
}

impl FileError {
    pub(crate) fn io(file: impl fmt::Display, action: &'static str, error: &io::Error) -> Self {
        Self::Io { file: file.to_string(), action, reason: error.to_string() }
    }

    pub(crate) fn malformed(file: &str, problem: impl Into<String>) -> Self {
        Self::Malformed { file: file.to_owned(), problem: problem.into() }
    }

    pub(crate) fn config(file: &str, field: &str, problem: impl Into<String>) -> Self {
        Self::Config { file: file.to_owned(), field: field.to_owned(), problem: problem.into() }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingTensor { file, tensor } => {
                write!(f, "{file}: no tensor '{tensor}'; is this the model its config describes?")
            }
            Self::WrongShape { file, tensor, found, wanted } => {
                write!(f, "{file}: tensor '{tensor}' is {found} where the config asks for {wanted}")
            }
            Self::Encoding { file, tensor, encoding } => write!(
                f,
                "{file}: tensor '{tensor}' is stored as {encoding}, which is not read here; \
                 f32, f16, bf16, q8_0 and q4_0 are"
            ),
            Self::Io { file, action, reason } => write!(f, "{file}: cannot {action}: {reason}"),
            Self::Malformed { file, problem } => write!(f, "{file}: {problem}"),
            Self::Config { file, field, problem } => write!(f, "{file}: '{field}' {problem}"),
            Self::MissingPart { file, part } => {
                write!(f, "{file}: the model has no {part}; `pochade inspect` lists what it has")
            }
            Self::Interrupted { file } => write!(f, "{file}: interrupted, nothing was written"),
            Self::NotAModel { file, problem } => write!(f, "{file}: {problem}"),
        }
    }
}

impl std::error::Error for FileError {}
