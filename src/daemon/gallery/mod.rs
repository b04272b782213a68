//! The pictures that were painted: plain PNG files in a folder, with all there is to know inside them.
//!
//! Names begin with the time, so that a listing is a history. What the kiosk knows of the folder it
//! reads from the folder when it starts; files may come and go by hand. Favourites are those in the
//! folder `favourites` beneath, which are never removed to make room.

mod entry;

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use image::RgbImage;
use jiff::Zoned;

pub use self::entry::Entry;
use crate::paint::write::{self, WriteError};
use crate::paint::{Resolved, file_name};

/// The folder of what is kept for good.
const FAVOURITES: &str = "favourites";

/// How much is kept. The oldest pictures go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Pictures, favourites aside.
    pub pictures: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that stay free on the disk.
    pub free: u64,
}

/// Says how many bytes are free where a folder is.
pub type FreeSpace = Box<dyn Fn(&Path) -> io::Result<u64> + Send>;

/// What the file system says.
///
/// # Errors
/// When the folder is not there.
pub fn free_space(folder: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(folder)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// A folder of pictures, which may be handed out by cloning it.
#[derive(Clone, Debug)]
pub struct Gallery {
    shelves: Arc<Mutex<Shelves>>,
}

struct Shelves {
    folder: PathBuf,
    keep: Keep,
    free_space: FreeSpace,
    /// Oldest first.
    entries: Vec<Entry>,
}

impl fmt::Debug for Shelves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (folder, keep) = (&self.folder, &self.keep);
        f.debug_struct("Shelves")
            .field("folder", folder)
            .field("keep", keep)
            .finish_non_exhaustive()
    }
}

impl Gallery {
    /// Opens a folder, which is made where it is missing, and removes what a power cut left half
    /// written.
    ///
    /// # Errors
    /// When the folder cannot be read or made.
    pub fn open(folder: &Path, keep: Keep, free_space: FreeSpace) -> Result<Self, WriteError> {
        let shelves = Shelves::open(folder, keep, free_space)?;
        Ok(Self { shelves: Arc::new(Mutex::new(shelves)) })
    }

    /// Moves to another folder, or keeps another number of pictures, for all who have it.
    ///
    /// # Errors
    /// When the folder cannot be read or made; then nothing is changed.
    pub fn reopen(
        &self,
        folder: &Path,
        keep: Keep,
        free_space: FreeSpace,
    ) -> Result<(), WriteError> {
        let shelves = Shelves::open(folder, keep, free_space)?;
        *self.lock() = shelves;
        Ok(())
    }

    /// How many pictures there are, favourites aside.
    pub fn len(&self) -> usize {
        self.lock().passing().count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All pictures, the newest first.
    pub fn list(&self) -> Vec<Entry> {
        self.lock().entries.iter().rev().cloned().collect()
    }

    /// What is known of one.
    pub fn entry(&self, name: &str) -> Option<Entry> {
        self.lock().entries.iter().find(|entry| entry.name == name).cloned()
    }

    /// Where its file is. Only names of the gallery's own pictures are found.
    pub fn file(&self, name: &str) -> Option<PathBuf> {
        let shelves = self.lock();
        let entry = shelves.entries.iter().find(|entry| entry.name == name)?;
        Some(shelves.path(entry))
    }

    /// Bytes that are free on its disk, where the system says.
    pub fn free(&self) -> Option<u64> {
        let shelves = self.lock();
        (shelves.free_space)(&shelves.folder).ok()
    }

    /// The newest picture, if it can be read, and its name.
    pub fn newest(&self) -> Option<(String, RgbImage)> {
        let entry = self.list().into_iter().find(|entry| !entry.favourite)?;
        let image = image::open(self.file(&entry.name)?).ok()?;
        Some((entry.name, image.to_rgb8()))
    }

    /// Adds the file of a picture that was finished at `now`, makes room, and says its name.
    ///
    /// # Errors
    /// When it cannot be written, though older ones were removed to make room for it.
    pub fn add(&self, file: &[u8], request: &Resolved, now: &Zoned) -> Result<String, WriteError> {
        self.lock().add(file, request, now)
    }

    /// Keeps a picture for good, or no longer; `false` when there is no such picture.
    ///
    /// # Errors
    /// When its file cannot be moved.
    pub fn favour(&self, name: &str, favourite: bool) -> io::Result<bool> {
        let mut shelves = self.lock();
        let Some(place) = shelves.place(name) else { return Ok(false) };
        let was = shelves.entries[place].clone();
        let is = Entry { favourite, ..was.clone() };
        if was.favourite != favourite {
            fs::rename(shelves.path(&was), shelves.path(&is))?;
            shelves.entries[place] = is;
        }
        Ok(true)
    }

    /// Removes a picture; `false` when there is no such picture.
    ///
    /// # Errors
    /// When its file cannot be removed.
    pub fn remove(&self, name: &str) -> io::Result<bool> {
        let mut shelves = self.lock();
        let Some(place) = shelves.place(name) else { return Ok(false) };
        match fs::remove_file(shelves.path(&shelves.entries[place])) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => shelves.entries.remove(place),
        };
        Ok(true)
    }

    fn lock(&self) -> MutexGuard<'_, Shelves> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelves {
    fn open(folder: &Path, keep: Keep, free_space: FreeSpace) -> Result<Self, WriteError> {
        let entries = read(folder).map_err(|source| WriteError { path: folder.into(), source })?;
        Ok(Self { folder: folder.into(), keep, free_space, entries })
    }

    fn path(&self, entry: &Entry) -> PathBuf {
        let shelf = if entry.favourite { FAVOURITES } else { "" };
        self.folder.join(shelf).join(&entry.name)
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.entries.iter().position(|entry| entry.name == name)
    }

    /// What may be removed to make room.
    fn passing(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| !entry.favourite)
    }

    fn add(&mut self, file: &[u8], request: &Resolved, now: &Zoned) -> Result<String, WriteError> {
        let time = now.strftime("%Y%m%d-%H%M%S");
        let name = format!("{time}-{}.png", file_name(&request.prompt, request.seed));
        let path = self.folder.join(&name);
        self.make_room(file.len() as u64);
        while let Err(error) = write::replace(&path, file) {
            // Others write to the disk too.
            if error.source.kind() != io::ErrorKind::StorageFull || !self.remove_oldest() {
                return Err(error);
            }
        }
        let entry = Entry::read(&path, false).map_err(|source| WriteError { path, source })?;
        self.entries.retain(|entry| entry.name != name);
        self.entries.push(entry);
        Ok(name)
    }

    /// Removes the oldest pictures until one of so many bytes may be added.
    fn make_room(&mut self, bytes: u64) {
        loop {
            let count = self.passing().count();
            let sum: u64 = self.passing().map(|entry| entry.bytes).sum();
            // A file system that does not answer is not taken for a full one.
            let free = (self.free_space)(&self.folder).unwrap_or(u64::MAX);
            let fits = count < self.keep.pictures
                && sum.saturating_add(bytes) <= self.keep.bytes
                && free >= self.keep.free.saturating_add(bytes);
            // The newest stays: a restart must have something to show.
            let only_disk = count == 1 && self.keep.pictures > 1 && sum <= self.keep.bytes;
            if fits || only_disk || !self.remove_oldest() {
                return;
            }
        }
    }

    /// `false` when there is none.
    fn remove_oldest(&mut self) -> bool {
        let Some(oldest) = self.entries.iter().position(|entry| !entry.favourite) else {
            return false;
        };
        let entry = self.entries.remove(oldest);
        match fs::remove_file(self.path(&entry)) {
            Ok(()) => log::info!("gallery: removed {} to make room", entry.name),
            // Gone already, or moved to the favourites.
            Err(error) => log::debug!("gallery: {}: {error}", entry.name),
        }
        true
    }
}

/// The pictures of a folder and its favourites, oldest first.
fn read(folder: &Path) -> io::Result<Vec<Entry>> {
    let favourites = folder.join(FAVOURITES);
    fs::create_dir_all(&favourites)?;
    let mut entries = shelf(folder, false)?;
    entries.extend(shelf(&favourites, true)?);
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

fn shelf(folder: &Path, favourite: bool) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for file in fs::read_dir(folder)? {
        let file = file?;
        if is_left_over(&file.file_name()) {
            fs::remove_file(file.path()).ok();
        } else if is_picture(&file.file_name()) {
            entries.push(Entry::read(&file.path(), favourite)?);
        }
    }
    Ok(entries)
}

fn is_picture(name: &OsStr) -> bool {
    let extension = Path::new(name).extension();
    name.to_str().is_some() && extension.is_some_and(|e| e.eq_ignore_ascii_case("png"))
}

/// Half a picture, which a power cut left.
fn is_left_over(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(b".") && name.ends_with(b".part")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paint::infotext::Infotext;
    use crate::paint::{Size, png};

    fn picture(seed: u64) -> RgbImage {
        RgbImage::from_pixel(8, 8, image::Rgb([seed as u8, 0, 0]))
    }

    fn painted(seed: u64) -> (Vec<u8>, Resolved) {
        let request = Resolved {
            prompt: "a red sun".to_owned(),
            negative: String::new(),
            toward: None,
            strength: None,
            seed,
            steps: 4,
            guidance: 3.0,
            size: Size { width: 8, height: 8 },
            sampler: crate::diffusion::SamplerKind::Ddim,
            model: "tiny".to_owned(),
            model_hash: None,
        };
        (png::encode(&picture(seed), &Infotext::of(&request).to_string()).unwrap(), request)
    }

    /// Adds the picture of a seed that is a minute of the hour.
    fn add(gallery: &Gallery, seed: u64) -> String {
        let now: Zoned = format!("2026-11-22T15:{seed:02}:00[UTC]").parse().unwrap();
        let (file, request) = painted(seed);
        gallery.add(&file, &request, &now).unwrap()
    }

    fn open(folder: &Path, keep: Keep) -> Gallery {
        Gallery::open(folder, keep, Box::new(free_space)).unwrap()
    }

    const ROOMY: Keep = Keep { pictures: 100, bytes: 1 << 30, free: 0 };

    fn names(folder: &Path) -> Vec<String> {
        let name = |e: io::Result<fs::DirEntry>| e.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn a_picture_is_a_file_with_its_story_inside() {
        let folder = tempfile::tempdir().unwrap();
        let gallery = open(folder.path(), ROOMY);
        assert!(gallery.is_empty() && gallery.newest().is_none());
        let name = add(&gallery, 7);
        assert_eq!(name, "20261122-150700-a-red-sun-7.png");
        let file = fs::read(gallery.file(&name).unwrap()).unwrap();
        assert_eq!(file, painted(7).0);
        let text = Infotext::parse(&png::parameters(&file).unwrap().unwrap());
        assert_eq!(text.get("Seed"), Some("7"));
        assert_eq!(gallery.newest().unwrap(), (name, picture(7)));
    }

    #[test]
    fn the_folder_is_all_that_a_restart_needs() {
        let folder = tempfile::tempdir().unwrap();
        let gallery = open(folder.path(), ROOMY);
        (1..=3).for_each(|seed| drop(add(&gallery, seed)));
        fs::write(folder.path().join(".x.png.12-3.part"), b"half").unwrap();
        fs::write(folder.path().join("notes.txt"), b"mine").unwrap();
        fs::write(folder.path().join("0.png"), b"no picture").unwrap();
        let again = open(folder.path(), Keep { pictures: 2, ..ROOMY });
        assert_eq!(again.list()[..3], gallery.list()[..]);
        let strange = &again.list()[3];
        assert_eq!((strange.name.as_str(), strange.bytes, strange.seed), ("0.png", 10, None));
        add(&again, 4);
        assert_eq!(
            names(folder.path()),
            [
                "20261122-150300-a-red-sun-3.png",
                "20261122-150400-a-red-sun-4.png",
                "favourites",
                "notes.txt"
            ]
        );
    }

    #[test]
    fn favourites_stay_and_bytes_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let keep = Keep { bytes: 2 * painted(1).0.len() as u64 + 50, ..ROOMY };
        let gallery = open(folder.path(), keep);
        let first = add(&gallery, 1);
        assert!(gallery.favour(&first, true).unwrap() && gallery.favour(&first, true).unwrap());
        assert!(!gallery.favour("../x.png", true).unwrap() && gallery.file("../x.png").is_none());
        (2..=5).for_each(|seed| drop(add(&gallery, seed)));
        assert_eq!((gallery.len(), gallery.list().len()), (2, 3));
        let kept = gallery.file(&first).unwrap();
        assert!(kept.exists() && kept.parent().unwrap().ends_with(FAVOURITES));
        // Found again, and given up again.
        let again = open(folder.path(), keep);
        assert_eq!(again.list(), gallery.list());
        assert!(again.favour(&first, false).unwrap());
        assert!(!kept.exists() && again.len() == 3);
    }

    #[test]
    fn a_picture_can_be_removed_by_hand_and_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let gallery = open(folder.path(), ROOMY);
        let [one, two] = [1, 2].map(|seed| add(&gallery, seed));
        fs::remove_file(gallery.file(&two).unwrap()).unwrap();
        assert!(gallery.remove(&one).unwrap() && gallery.remove(&two).unwrap());
        assert!(!gallery.remove(&one).unwrap() && gallery.is_empty());
        assert_eq!(names(folder.path()), ["favourites"]);
    }

    #[test]
    fn a_disk_that_fills_up_costs_the_oldest_pictures() {
        let folder = tempfile::tempdir().unwrap();
        for minute in 1..=3 {
            fs::write(folder.path().join(format!("{minute}.png")), b"x").unwrap();
        }
        // Free is what four files leave of a small disk.
        let free: FreeSpace = Box::new(|folder| Ok(4 - (names(folder).len() as u64 - 1).min(4)));
        let gallery = Gallery::open(folder.path(), ROOMY, free).unwrap();
        gallery.lock().make_room(2);
        assert_eq!(names(folder.path()), ["2.png", "3.png", "favourites"]);
        gallery.lock().make_room(9);
        assert_eq!(names(folder.path()), ["3.png", "favourites"], "the newest stays");
    }
}
