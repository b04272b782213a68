//! The pictures that were painted: plain PNG files in a folder, with all there is to know inside them.
//!
//! Names begin with the time, so that a listing is a history. What the kiosk knows of the folder it
//! reads from the folder when it starts; files may come and go by hand. Favourites are those in the
//! folder `favourites` beneath, which are never removed to make room.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use image::RgbImage;
use jiff::Zoned;

use crate::paint::infotext::Infotext;
use crate::paint::write::{self, WriteError};
use crate::paint::{Painting, file_name, png};

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
pub type FreeSpace = Box<dyn Fn(&Path) -> io::Result<u64>>;

/// What the file system says.
///
/// # Errors
/// When the folder is not there.
pub fn free_space(folder: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(folder)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// A folder of pictures.
pub struct Gallery {
    folder: PathBuf,
    keep: Keep,
    free_space: FreeSpace,
    /// Oldest first, favourites aside.
    entries: Vec<Entry>,
}

impl fmt::Debug for Gallery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (folder, keep) = (&self.folder, &self.keep);
        f.debug_struct("Gallery")
            .field("folder", folder)
            .field("keep", keep)
            .finish_non_exhaustive()
    }
}

/// A picture that may be removed to make room.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    name: String,
    bytes: u64,
}

impl Gallery {
    /// Opens a folder, which is made where it is missing, and removes what a power cut left half
    /// written.
    ///
    /// # Errors
    /// When the folder cannot be read or made.
    pub fn open(folder: &Path, keep: Keep, free_space: FreeSpace) -> Result<Self, WriteError> {
        let entries = read(folder).map_err(|source| WriteError { path: folder.into(), source })?;
        Ok(Self { folder: folder.into(), keep, free_space, entries })
    }

    /// How many pictures there are, favourites aside.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The newest picture, if it can be read.
    pub fn newest(&self) -> Option<RgbImage> {
        let path = self.folder.join(&self.entries.last()?.name);
        Some(image::open(path).ok()?.to_rgb8())
    }

    /// Adds a picture that was finished at `now`, and makes room.
    ///
    /// # Errors
    /// When it cannot be written, though older ones were removed to make room for it.
    pub fn add(&mut self, painting: &Painting, now: &Zoned) -> Result<PathBuf, WriteError> {
        let request = &painting.request;
        let file = png::encode(&painting.image, &Infotext::of(request).to_string());
        let time = now.strftime("%Y%m%d-%H%M%S");
        let name = format!("{time}-{}.png", file_name(&request.prompt, request.seed));
        let path = self.folder.join(&name);
        let no_file = |error| WriteError { path: path.clone(), source: io::Error::other(error) };
        let file = file.map_err(no_file)?;
        self.make_room(file.len() as u64);
        while let Err(error) = write::replace(&path, &file) {
            // Others write to the disk too.
            if error.source.kind() != io::ErrorKind::StorageFull || !self.remove_oldest() {
                return Err(error);
            }
        }
        self.entries.retain(|entry| entry.name != name);
        self.entries.push(Entry { name, bytes: file.len() as u64 });
        Ok(path)
    }

    /// Removes the oldest pictures until one of so many bytes may be added.
    fn make_room(&mut self, bytes: u64) {
        loop {
            let sum: u64 = self.entries.iter().map(|entry| entry.bytes).sum();
            // A file system that does not answer is not taken for a full one.
            let free = (self.free_space)(&self.folder).unwrap_or(u64::MAX);
            let fits = self.entries.len() < self.keep.pictures
                && sum.saturating_add(bytes) <= self.keep.bytes
                && free >= self.keep.free.saturating_add(bytes);
            // The newest stays: a restart must have something to show.
            let only_disk =
                self.entries.len() == 1 && self.keep.pictures > 1 && sum <= self.keep.bytes;
            if fits || only_disk || !self.remove_oldest() {
                return;
            }
        }
    }

    /// `false` when there is none.
    fn remove_oldest(&mut self) -> bool {
        if self.entries.is_empty() {
            return false;
        }
        let entry = self.entries.remove(0);
        match fs::remove_file(self.folder.join(&entry.name)) {
            Ok(()) => log::info!("gallery: removed {} to make room", entry.name),
            // Gone already, or moved to the favourites.
            Err(error) => log::debug!("gallery: {}: {error}", entry.name),
        }
        true
    }
}

/// The pictures of a folder, oldest first.
fn read(folder: &Path) -> io::Result<Vec<Entry>> {
    fs::create_dir_all(folder.join(FAVOURITES))?;
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if is_left_over(&name) {
            fs::remove_file(entry.path()).ok();
        } else if let Some(name) = name.to_str().filter(|_| is_picture(&name)) {
            entries.push(Entry { name: name.to_owned(), bytes: entry.metadata()?.len() });
        }
    }
    entries.sort();
    Ok(entries)
}

fn is_picture(name: &OsStr) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png"))
}

/// Half a picture, which a power cut left.
fn is_left_over(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(b".") && name.ends_with(b".part")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paint::{Resolved, Size, Timings};

    fn painting(seed: u64) -> Painting {
        let image = RgbImage::from_pixel(8, 8, image::Rgb([seed as u8, 0, 0]));
        let request = Resolved {
            prompt: "a red sun".to_owned(),
            negative: String::new(),
            toward: None,
            seed,
            steps: 4,
            guidance: 3.0,
            size: Size { width: 8, height: 8 },
            sampler: crate::diffusion::SamplerKind::Ddim,
            model: "tiny".to_owned(),
            model_hash: None,
        };
        let (latent, warnings, timings) = (Vec::new(), Vec::new(), Timings::default());
        Painting { image, latent, request, warnings, timings }
    }

    fn at(minute: u32) -> Zoned {
        format!("2026-11-22T15:{minute:02}:00[UTC]").parse().unwrap()
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
        let mut gallery = Gallery::open(folder.path(), ROOMY, Box::new(free_space)).unwrap();
        assert!(gallery.is_empty() && gallery.newest().is_none());
        let path = gallery.add(&painting(7), &at(30)).unwrap();
        assert_eq!(path.file_name().unwrap(), "20261122-153000-a-red-sun-7.png");
        let file = fs::read(&path).unwrap();
        let text = Infotext::parse(&png::parameters(&file).unwrap().unwrap());
        assert_eq!(text.get("Seed"), Some("7"));
        assert_eq!(gallery.newest().unwrap(), painting(7).image);
    }

    #[test]
    fn the_folder_is_all_that_a_restart_needs() {
        let folder = tempfile::tempdir().unwrap();
        let mut gallery = Gallery::open(folder.path(), ROOMY, Box::new(free_space)).unwrap();
        for minute in 1..=3 {
            gallery.add(&painting(u64::from(minute)), &at(minute)).unwrap();
        }
        fs::write(folder.path().join(".x.png.12-3.part"), b"half").unwrap();
        fs::write(folder.path().join("notes.txt"), b"mine").unwrap();
        let keep = Keep { pictures: 2, ..ROOMY };
        let mut again = Gallery::open(folder.path(), keep, Box::new(free_space)).unwrap();
        assert_eq!((again.len(), again.newest()), (3, Some(painting(3).image)));
        again.add(&painting(4), &at(4)).unwrap();
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
        let one = png::encode(&painting(1).image, &Infotext::of(&painting(1).request).to_string());
        let keep = Keep { bytes: 2 * one.unwrap().len() as u64 + 50, ..ROOMY };
        let mut gallery = Gallery::open(folder.path(), keep, Box::new(free_space)).unwrap();
        let first = gallery.add(&painting(1), &at(1)).unwrap();
        let favourite = folder.path().join(FAVOURITES).join(first.file_name().unwrap());
        fs::rename(&first, &favourite).unwrap();
        for minute in 2..=5 {
            gallery.add(&painting(u64::from(minute)), &at(minute)).unwrap();
        }
        assert_eq!(gallery.len(), 2);
        assert!(favourite.exists());
    }

    #[test]
    fn a_disk_that_fills_up_costs_the_oldest_pictures() {
        let folder = tempfile::tempdir().unwrap();
        // Free is what four files leave of a small disk.
        let free: FreeSpace = Box::new(|folder| Ok(4 - (names(folder).len() as u64 - 1).min(4)));
        let keep = Keep { free: 0, ..ROOMY };
        let mut gallery = Gallery::open(folder.path(), keep, free).unwrap();
        for minute in 1..=3 {
            gallery.entries.push(Entry { name: format!("{minute}.png"), bytes: 1 });
            fs::write(folder.path().join(format!("{minute}.png")), b"x").unwrap();
        }
        gallery.make_room(2);
        assert_eq!(names(folder.path()), ["2.png", "3.png", "favourites"]);
        gallery.make_room(9);
        assert_eq!(names(folder.path()), ["3.png", "favourites"], "the newest stays");
    }
}
