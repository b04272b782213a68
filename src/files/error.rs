//! What can be wrong with a model file.

use std::fmt;

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
        }
    }
}

impl std::error::Error for FileError {}
