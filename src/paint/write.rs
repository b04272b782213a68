//! Writing a finished picture: whole or not at all, and with an error that says what to do.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::files::NewFile;

/// Why a file could not be written.
#[derive(Debug)]
pub struct WriteError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, source) = (self.path.display(), &self.source);
        let remedy = match source.kind() {
            io::ErrorKind::AlreadyExists => "choose another name",
            io::ErrorKind::NotFound => "make the folder first",
            io::ErrorKind::StorageFull => "make room on the disk",
            _ => "choose a place you may write to",
        };
        write!(f, "cannot write '{path}': {source}; {remedy}")
    }
}

/// The message has the system's words in it, so there is no source to be told beside it.
impl std::error::Error for WriteError {}

/// Writes the file, in place of an old one if there is one.
///
/// # Errors
/// When the folder cannot be written to or the disk is full; an old file is then as it was.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    written(path, bytes, NewFile::commit)
}

/// Writes the file unless there is one of that name.
///
/// # Errors
/// When there is one ([`io::ErrorKind::AlreadyExists`]), the folder cannot be written to or the
/// disk is full.
pub fn create(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    written(path, bytes, NewFile::commit_new)
}

fn written(
    path: &Path,
    bytes: &[u8],
    commit: impl FnOnce(NewFile) -> io::Result<()>,
) -> Result<(), WriteError> {
    let write = || {
        let mut file = NewFile::create(path)?;
        file.write_all(bytes)?;
        commit(file)
    };
    write().map_err(|source| WriteError { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn names(folder: &Path) -> Vec<String> {
        let name =
            |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        fs::read_dir(folder).unwrap().map(name).collect()
    }

    #[test]
    fn a_file_is_replaced_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        replace(&path, b"old").unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["a.png"]);
    }

    #[test]
    fn a_file_that_is_there_is_not_created_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        create(&path, b"old").unwrap();
        let error = create(&path, b"new").unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["a.png"]);
    }

    #[test]
    fn a_place_that_cannot_be_written_to_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing").join("a.png");
        let error = replace(&path, b"x").unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot write '{}': ", path.display())), "{error}");
        assert!(error.ends_with("make the folder first"), "{error}");
        let told = format!("{:#}", anyhow::Error::from(replace(&path, b"x").unwrap_err()));
        assert_eq!(told, error);
        fs::write(folder.path().join("file"), b"").unwrap();
        assert!(create(&folder.path().join("file").join("a.png"), b"x").is_err());
        assert_eq!(names(folder.path()), ["file"]);
    }
}
