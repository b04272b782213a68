//! Where pictures go: the name asked for, or one made from the prompt and the seed.

use std::io;
use std::path::{Path, PathBuf};

use crate::files::NewFile;
use crate::paint::write::{WriteError, create, replace};

/// The most pictures of one name.
const MOST_OF_A_NAME: u32 = 10_000;

/// Where pictures go.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// This file, replaced if it is there.
    File(PathBuf),
    /// Files beside this one, numbered from 1 and replaced if they are there.
    Numbered(PathBuf),
    /// A new file in this folder, named after its prompt and seed.
    Folder(PathBuf),
}

impl Output {
    /// Where `count` pictures go when `asked` was given. That it can be written to is found out
    /// here, before anything is painted.
    pub(super) fn new(asked: Option<&Path>, count: u64) -> anyhow::Result<Self> {
        let output = match asked {
            None => Self::Folder(PathBuf::from(".")),
            Some(path) if path.is_dir() => Self::Folder(path.to_owned()),
            Some(path) => {
                let png = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("png"));
                let shown = path.display();
                anyhow::ensure!(
                    png,
                    "cannot write '{shown}': pictures are PNG files; end its name in '.png'"
                );
                if count == 1 {
                    Self::File(path.to_owned())
                } else {
                    Self::Numbered(path.to_owned())
                }
            }
        };
        output.try_out()?;
        Ok(output)
    }

    /// Makes a file there, which vanishes again at once.
    fn try_out(&self) -> Result<(), WriteError> {
        let path = match self {
            Self::File(path) | Self::Numbered(path) => path.clone(),
            Self::Folder(folder) => folder.join("picture.png"),
        };
        NewFile::create(&path).map(drop).map_err(|source| WriteError { path, source })
    }

    /// Writes picture number `index` (from 0) and says where.
    pub(super) fn write(
        &self,
        index: u64,
        name: &str,
        bytes: &[u8],
    ) -> Result<PathBuf, WriteError> {
        match self {
            Self::File(path) => replace(path, bytes).map(|()| path.clone()),
            Self::Numbered(path) => {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                let path = path.with_file_name(format!("{stem}-{}.png", index + 1));
                replace(&path, bytes).map(|()| path)
            }
            Self::Folder(folder) => write_under_free_name(folder, name, bytes),
        }
    }
}

/// Takes `name.png`, or `name-2.png` and so on where that is taken.
fn write_under_free_name(folder: &Path, name: &str, bytes: &[u8]) -> Result<PathBuf, WriteError> {
    let folder = if folder == Path::new(".") { Path::new("") } else { folder };
    let mut number = 1;
    loop {
        let suffix = if number == 1 { String::new() } else { format!("-{number}") };
        let path = folder.join(format!("{name}{suffix}.png"));
        match create(&path, bytes) {
            Ok(()) => return Ok(path),
            Err(error)
                if error.source.kind() == io::ErrorKind::AlreadyExists
                    && number < MOST_OF_A_NAME =>
            {
                number += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// `name.png` in a folder, or `name-2.png` and so on where that is taken.
pub(super) fn free_name(folder: &Path, name: &str) -> PathBuf {
    let numbered = (2..=MOST_OF_A_NAME).map(|number| format!("{name}-{number}.png"));
    let mut paths = [format!("{name}.png")].into_iter().chain(numbered).map(|n| folder.join(n));
    paths.find(|path| !path.exists()).unwrap_or_else(|| folder.join(format!("{name}.png")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_free_name_is_one_that_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(free_name(folder.path(), "sun"), folder.path().join("sun.png"));
        fs::write(folder.path().join("sun.png"), "").unwrap();
        assert_eq!(free_name(folder.path(), "sun"), folder.path().join("sun-2.png"));
    }

    #[test]
    fn a_taken_name_is_counted_up() {
        let folder = tempfile::tempdir().unwrap();
        let output = Output::new(Some(folder.path()), 1).unwrap();
        let write = |bytes: &[u8]| output.write(0, "sun-7", bytes).unwrap();
        assert_eq!(write(b"first"), folder.path().join("sun-7.png"));
        assert_eq!(write(b"second"), folder.path().join("sun-7-2.png"));
        assert_eq!(write(b"third"), folder.path().join("sun-7-3.png"));
        assert_eq!(fs::read(folder.path().join("sun-7.png")).unwrap(), b"first");
    }

    #[test]
    fn an_asked_name_is_replaced_and_many_are_numbered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sun.png");
        let one = Output::new(Some(&path), 1).unwrap();
        assert_eq!(one.write(0, "x", b"old").unwrap(), path);
        assert_eq!(one.write(0, "x", b"new").unwrap(), path);
        assert_eq!(fs::read(&path).unwrap(), b"new");
        let many = Output::new(Some(&path), 2).unwrap();
        assert_eq!(many.write(1, "x", b"b").unwrap(), folder.path().join("sun-2.png"));
    }

    #[test]
    fn what_cannot_be_written_is_said_before_painting() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("no").join("sun.png");
        let error = Output::new(Some(&missing), 1).unwrap_err().to_string();
        assert!(error.contains("make the folder first"), "{error}");
        let error = Output::new(Some(&folder.path().join("sun.jpg")), 1).unwrap_err().to_string();
        assert!(error.ends_with("pictures are PNG files; end its name in '.png'"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
