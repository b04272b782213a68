//! Writing a file so that it is there whole or not at all, whenever the power goes.
//!
//! The bytes go to a hidden file in the same folder and are flushed to the disk; then the name is
//! moved, which is one operation of the file system; then the folder is flushed.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::{fmt, process};

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

impl std::error::Error for WriteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Writes the file, in place of an old one if there is one.
///
/// # Errors
/// When the folder cannot be written to or the disk is full; an old file is then as it was.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    written(path, bytes, |temporary| fs::rename(temporary, path))
}

/// Writes the file unless there is one of that name.
///
/// # Errors
/// When there is one ([`io::ErrorKind::AlreadyExists`]), the folder cannot be written to or the
/// disk is full.
pub fn create(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    written(path, bytes, |temporary| move_to_free_name(temporary, path))
}

fn written(
    path: &Path,
    bytes: &[u8],
    place: impl FnOnce(&Path) -> io::Result<()>,
) -> Result<(), WriteError> {
    let temporary = temporary_beside(path);
    let result = write_through(&temporary, bytes)
        .and_then(|()| place(&temporary))
        .and_then(|()| flush_folder(path));
    if result.is_err() {
        // The file may not even have come into being; the first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    result.map_err(|source| WriteError { path: path.to_owned(), source })
}

/// A hidden name in the same folder, of this process.
fn temporary_beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.tmp", process::id()));
    path.with_file_name(name)
}

fn write_through(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A hard link fails where the name is taken, in one operation. Card and stick file systems have
/// no hard links; there another program could take the name between the question and the move.
fn move_to_free_name(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => fs::remove_file(from),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        Err(_) if to.try_exists()? => Err(io::ErrorKind::AlreadyExists.into()),
        Err(_) => fs::rename(from, to),
    }
}

#[cfg(unix)]
fn flush_folder(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

/// Other systems cannot open a folder, nor need to.
#[cfg(not(unix))]
fn flush_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        fs::write(folder.path().join("file"), b"").unwrap();
        assert!(create(&folder.path().join("file").join("a.png"), b"x").is_err());
        assert_eq!(names(folder.path()), ["file"]);
    }
}
