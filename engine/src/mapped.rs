//! A file seen as memory: weights are read from the page cache, without a copy and without a read
//! buffer.
//!
//! The mapping is private and read-only. Pages that were read can be given back with
//! [`MappedFile::release`]; they are read again from the file when next touched, so giving back is
//! always safe, only slower.

use std::fs::File;
use std::io;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;

use memmap2::{Mmap, UncheckedAdvice};

/// A whole file, mapped read-only.
///
/// The file must not be cut short while it is mapped: touching bytes that are gone ends the
/// process, as with every mapped file. Programs that replace a model write a new file and rename
/// it, which leaves the old one whole.
#[derive(Debug)]
pub struct MappedFile {
    map: Mmap,
}

impl MappedFile {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// When it cannot be opened, is not a regular file, or the system refuses to map it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        // SAFETY: the mapping is private and only ever lent out as `&[u8]`. That no other process
        // shortens or rewrites the file meanwhile is the condition this type states in its
        // documentation.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self { map })
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Tells the system that `range` will be read soon, so that it reads ahead. A hint: failure is
    /// not an error.
    pub fn will_need(&self, range: Range<usize>) {
        if let Some((start, len)) = self.clip(range) {
            self.map.advise_range(memmap2::Advice::WillNeed, start, len).ok();
        }
    }

    /// Tells the system that `range` is not needed for now, so that its pages need no memory. A
    /// hint. Pages nearby go with it: whoever reads a page gets its neighbours mapped too.
    pub fn release(&self, range: Range<usize>) {
        const NEIGHBOURS: usize = 64 << 10;
        let range = range.start.saturating_sub(NEIGHBOURS)..range.end.saturating_add(NEIGHBOURS);
        if let Some((start, len)) = self.clip(range) {
            // SAFETY: the mapping is backed by a file and never written to, so the pages that this
            // drops are read again with the same content; no data is lost.
            unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, len) }.ok();
        }
    }

    /// The part of `range` that lies in the file, as start and length; `None` where nothing does.
    fn clip(&self, range: Range<usize>) -> Option<(usize, usize)> {
        let end = range.end.min(self.map.len());
        (range.start < end).then(|| (range.start, end - range.start))
    }
}

/// Some bytes of a mapped file, which stays mapped while they are used. Dropping them gives their
/// memory back.
#[derive(Clone, Debug)]
pub struct MappedBytes {
    file: Arc<MappedFile>,
    range: Range<usize>,
}

impl MappedBytes {
    /// The bytes `range` of `file`; `None` where it has not that many.
    pub fn new(file: Arc<MappedFile>, range: Range<usize>) -> Option<Self> {
        file.bytes().get(range.clone())?;
        Some(Self { file, range })
    }

    /// Tells the system that they will be read soon.
    pub fn will_need(&self) {
        self.file.will_need(self.range.clone());
    }

    /// Gives their memory back. They are read from the file again when next looked at.
    pub fn release(&self) {
        self.file.release(self.range.clone());
    }
}

impl Drop for MappedBytes {
    fn drop(&mut self) {
        self.release();
    }
}

impl Deref for MappedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.file.bytes().get(self.range.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn with_file(name: &str, content: &[u8], check: impl FnOnce(&Path)) {
        let path =
            std::env::temp_dir().join(format!("pochade-mapped-{}-{name}", std::process::id()));
        File::create(&path).and_then(|mut f| f.write_all(content)).unwrap();
        check(&path);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn released_pages_read_the_same_again() {
        let content: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
        with_file("again", &content, |path| {
            let mapped = MappedFile::open(path).unwrap();
            assert_eq!(mapped.bytes(), content);
            mapped.will_need(0..usize::MAX);
            mapped.release(5_000..70_000);
            mapped.release(99_999..200_000);
            assert_eq!(mapped.bytes(), content);
        });
    }

    #[test]
    fn an_empty_file_maps_to_no_bytes() {
        with_file("empty", b"", |path| {
            let mapped = MappedFile::open(path).unwrap();
            assert!(mapped.bytes().is_empty());
            mapped.release(0..10);
        });
    }

    #[test]
    fn a_folder_is_not_a_file() {
        assert!(MappedFile::open(&std::env::temp_dir()).is_err());
    }
}
