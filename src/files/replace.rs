//! Writing a file so that it is either there whole or not there at all.
//!
//! The content goes to a temporary file beside the target, is forced to the disk, and is then
//! renamed over it. When the power goes at any moment, the target is the old file or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// A file being written. Dropped without [`NewFile::commit`], it leaves nothing behind.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    temporary: PathBuf,
    target: PathBuf,
    committed: bool,
}

impl NewFile {
    /// Starts writing what will become `target`.
    ///
    /// # Errors
    /// When no file can be made in its folder, or `target` names no file.
    pub fn create(target: &Path) -> io::Result<Self> {
        let temporary = temporary_beside(target)?;
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&temporary)?;
        Ok(Self { file, temporary, target: target.to_owned(), committed: false })
    }

    /// Forces the content to the disk and puts it in the target's place.
    ///
    /// # Errors
    /// When the disk is full or the rename is refused; the target is then what it was before.
    pub fn commit(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.temporary, &self.target)?;
        self.committed = true;
        sync_folder(&self.target)
    }

    /// Forces the content to the disk and gives it the target's name, if no file has it.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] when one has; else as [`NewFile::commit`].
    pub fn commit_new(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        move_to_free_name(&self.temporary, &self.target)?;
        self.committed = true;
        sync_folder(&self.target)
    }
}

/// A hard link fails where the name is taken, in one operation. The file systems of memory cards
/// have no hard links: there another program could take the name between question and move.
fn move_to_free_name(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => fs::remove_file(from),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        Err(_) if to.try_exists()? => Err(io::ErrorKind::AlreadyExists.into()),
        Err(_) => fs::rename(from, to),
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for NewFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.committed {
            // Nothing is left to do about a temporary file that cannot be removed.
            fs::remove_file(&self.temporary).ok();
        }
    }
}

/// A name in the target's folder that no other writer uses, hidden from listings.
fn temporary_beside(target: &Path) -> io::Result<PathBuf> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = target
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!(".{}.{}-{number}.part", name.to_string_lossy(), process::id());
    Ok(target.with_file_name(name))
}

/// Makes the rename itself durable. Some file systems cannot sync a folder; the content is safe
/// without it.
fn sync_folder(target: &Path) -> io::Result<()> {
    let folder = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if let Ok(folder) = File::open(folder) {
        folder.sync_all().ok();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_in(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_committed_file_replaces_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("picture");
        fs::write(&target, b"old").unwrap();
        let mut new = NewFile::create(&target).unwrap();
        new.write_all(b"new").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"old");
        new.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(names_in(folder.path()), ["picture"]);
    }

    #[test]
    fn a_name_that_is_taken_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("picture");
        let write = |bytes: &[u8]| {
            let mut new = NewFile::create(&target).unwrap();
            new.write_all(bytes).unwrap();
            new.commit_new()
        };
        write(b"old").unwrap();
        assert_eq!(write(b"new").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&target).unwrap(), b"old");
        assert_eq!(names_in(folder.path()), ["picture"]);
    }

    #[test]
    fn an_abandoned_file_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut new = NewFile::create(&folder.path().join("picture")).unwrap();
        new.write_all(b"half of it").unwrap();
        drop(new);
        assert!(names_in(folder.path()).is_empty());
    }
}
