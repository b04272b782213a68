//! Checkpoints as PyTorch pickles them (`.ckpt`, `.pt`, `.pth`, `.bin`), read without running them.
//!
//! A pickle is a program: it names functions and calls them. The reader here knows the few calls
//! that tensors are made of and refuses every other by name; none is ever made. What it finds is a
//! table of tensors in the mapped file, so that the rest is as with safetensors: nothing is read
//! before it is needed.
//!
//! Two layouts are read: the ZIP archive that `torch.save` writes since 1.6 (every storage an entry
//! of its own, stored without compression), and the five pickles and bare storages before that.

mod archive;
mod legacy;
mod pickle;
mod storage;
mod zip;

use std::path::Path;

use pochade::files::{FileBytes, FileError, TensorFile};

/// Opens the pickled checkpoint at `path`. Tensors that are not contiguous are copied; the others
/// stay on disk until they are looked at.
///
/// # Errors
/// When the file cannot be mapped, is cut short, contradicts itself, calls anything but what makes
/// tensors, or has no tensors.
pub fn open(path: &Path) -> Result<Vec<TensorFile>, FileError> {
    parse(&path.display().to_string(), FileBytes::map(path)?)
}

/// Reads a pickled checkpoint in `bytes`; `origin` names it in messages.
///
/// # Errors
/// As [`open`].
pub fn parse(origin: &str, bytes: FileBytes) -> Result<Vec<TensorFile>, FileError> {
    let wrong = |problem: String| FileError::Malformed { file: origin.to_owned(), problem };
    let found = match bytes.get(..2) {
        Some(b"PK") => archive::read(&bytes),
        Some([0x80, _]) => legacy::read(&bytes),
        _ => Err("is not a checkpoint that PyTorch wrote".to_owned()),
    };
    storage::tables(origin, bytes, found.map_err(wrong)?)
}
