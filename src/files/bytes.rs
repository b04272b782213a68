//! The bytes of a model file: mapped from disk, or baked into the binary.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;

use pochade_engine::{MappedBytes, MappedFile};
use sha2::{Digest, Sha256};

use super::FileError;

/// Bytes that are hashed before their memory is given back.
const HASHED_AT_ONCE: usize = 4 << 20;

/// Bytes that outlive every tensor view into them. Cloning shares them.
#[derive(Clone)]
pub enum FileBytes {
    /// Part of the binary.
    Static(&'static [u8]),
    /// A file on disk.
    Mapped(Arc<MappedFile>),
    /// In memory: what a test or a fuzzer made up.
    Owned(Arc<[u8]>),
}

impl FileBytes {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// When it cannot be opened or mapped.
    pub fn map(path: &Path) -> Result<Self, FileError> {
        MappedFile::open(path)
            .map(|file| Self::Mapped(Arc::new(file)))
            .map_err(|e| FileError::io(path.display(), "read", &e))
    }

    /// `range`, where the bytes are a mapped file's.
    pub fn mapped(&self, range: Range<usize>) -> Option<MappedBytes> {
        match self {
            Self::Mapped(file) => MappedBytes::new(file.clone(), range),
            Self::Static(_) | Self::Owned(_) => None,
        }
    }

    /// The SHA-256 of all bytes. Their memory is given back piece by piece, so that hashing a file
    /// takes none.
    pub(super) fn sha256(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for start in (0..self.len()).step_by(HASHED_AT_ONCE) {
            let range = start..(start + HASHED_AT_ONCE).min(self.len());
            hash.update(&self[range.clone()]);
            self.release(range);
        }
        hash.finalize().into()
    }

    /// Gives the memory of `range` back to the system where that is possible. The bytes stay
    /// readable.
    pub fn release(&self, range: Range<usize>) {
        if let Self::Mapped(file) = self {
            file.release(range);
        }
    }
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Static(bytes) => bytes,
            Self::Mapped(file) => file.bytes(),
            Self::Owned(bytes) => bytes,
        }
    }
}

impl fmt::Debug for FileBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Static(_) => "static",
            Self::Mapped(_) => "mapped",
            Self::Owned(_) => "owned",
        };
        write!(f, "FileBytes({kind}, {} bytes)", self.len())
    }
}

/// Reads a small text file whole, refusing one of more than `cap` bytes before any of it is kept.
pub(super) fn read_small(path: &Path, cap: u64) -> Result<Vec<u8>, FileError> {
    let failed = |e| FileError::io(path.display(), "read", &e);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(cap + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > cap {
        let problem = format!("larger than the {cap} bytes that such a file can have");
        return Err(FileError::malformed(&path.display().to_string(), problem));
    }
    Ok(bytes)
}
