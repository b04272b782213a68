//! The kernel's framebuffer devices (`/dev/fb0`): old boards, and small screens that a kernel
//! driver shows there.
//!
//! Size and format are read from sysfs, frames are written to the device as to a file. Pixels are
//! little-endian: 32 bits as blue, green, red and one unused byte; 16 bits as five, six and five.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};

use super::{Pace, Screen, ScreenError, ScreenInfo, ScreenSize};

/// A framebuffer device.
#[derive(Debug)]
pub struct Framebuffer {
    file: File,
    path: PathBuf,
    size: ScreenSize,
    /// Bytes from row to row.
    stride: usize,
    /// Bytes per pixel: 2 or 4.
    depth: usize,
}

impl Framebuffer {
    /// The device at `path`, of which the folder `sysfs` (`/sys/class/graphics`) tells size and
    /// format.
    ///
    /// # Errors
    /// When one of them is not there or not ours, or the format is none that is known.
    pub fn open(path: &Path, sysfs: &Path) -> Result<Self, ScreenError> {
        let folder = sysfs.join(path.file_name().unwrap_or_default());
        let size = attribute(&folder, "virtual_size", |text| {
            let (width, height) = text.split_once(',')?;
            ScreenSize::new(width.parse().ok()?, height.parse().ok()?)
        })?;
        let depth = attribute(&folder, "bits_per_pixel", |text| match text {
            "16" => Some(2),
            "32" => Some(4),
            _ => None,
        })?;
        let row = size.width as usize * depth;
        let stride = attribute(&folder, "stride", |text| {
            // A row longer than twice what it needs is no row.
            text.parse().ok().filter(|stride| (row..=2 * row + 4096).contains(stride))
        })?;
        let file = OpenOptions::new().write(true).open(path);
        let file = file.map_err(|source| unusable(path, source))?;
        Ok(Self { file, path: path.to_owned(), size, stride, depth })
    }
}

/// What a file in sysfs says.
fn attribute<T>(
    folder: &Path,
    name: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, ScreenError> {
    let path = folder.join(name);
    let text = fs::read_to_string(&path).map_err(|source| unusable(&path, source))?;
    parse(text.trim()).ok_or_else(|| {
        let (path, text) = (path.display(), text.trim());
        ScreenError::Settings(format!(
            "'{path}' says '{text}', which is no framebuffer that can be drawn on; use the screen \
             'drm' instead"
        ))
    })
}

fn unusable(path: &Path, source: io::Error) -> ScreenError {
    ScreenError::Device {
        path: path.to_owned(),
        source,
        remedy: "name another device, or let this user into the group 'video'",
    }
}

impl Screen for Framebuffer {
    fn info(&self) -> ScreenInfo {
        let ScreenSize { width, height } = self.size;
        let name = format!("the framebuffer '{}'", self.path.display());
        ScreenInfo { width, height, pace: Pace::Live, name }
    }

    fn show(&mut self, frame: &RgbImage) -> Result<(), ScreenError> {
        self.info().check(frame)?;
        let mut bytes = vec![0; self.stride * self.size.height as usize];
        for (row, out) in frame.rows().zip(bytes.chunks_exact_mut(self.stride)) {
            for (pixel, out) in row.zip(out.chunks_exact_mut(self.depth)) {
                match out.len() {
                    2 => out.copy_from_slice(&rgb565(*pixel)),
                    _ => out.copy_from_slice(&xrgb8888(*pixel)),
                }
            }
        }
        self.file.write_all_at(&bytes, 0).map_err(|source| unusable(&self.path, source))
    }
}

fn rgb565(Rgb([r, g, b]): Rgb<u8>) -> [u8; 2] {
    let [r, g, b] = [r >> 3, g >> 2, b >> 3].map(u16::from);
    (r << 11 | g << 5 | b).to_le_bytes()
}

/// Blue, green, red, and a byte that is not looked at.
pub(super) fn xrgb8888(Rgb([r, g, b]): Rgb<u8>) -> [u8; 4] {
    [b, g, r, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A made-up device with its folder in sysfs.
    fn device(size: &str, bits: &str, stride: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let sysfs = folder.path().join("fb9");
        fs::create_dir(&sysfs).unwrap();
        for (name, text) in [("virtual_size", size), ("bits_per_pixel", bits), ("stride", stride)] {
            fs::write(sysfs.join(name), format!("{text}\n")).unwrap();
        }
        let path = folder.path().join("dev").join("fb9");
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::write(&path, [0xEE; 64]).unwrap();
        (folder, path)
    }

    fn shown(bits: &str, stride: &str) -> Vec<u8> {
        let (folder, path) = device("2,2", bits, stride);
        let mut screen = Framebuffer::open(&path, folder.path()).unwrap();
        let frame = RgbImage::from_fn(2, 2, |x, y| Rgb([255, 128 * x as u8, 8 * y as u8]));
        screen.show(&frame).unwrap();
        fs::read(&path).unwrap()
    }

    #[test]
    fn pixels_of_32_bits_start_with_blue_and_rows_end_in_their_stride() {
        let bytes = shown("32", "12");
        let (first, second) = ([0, 0, 255, 0, 0, 128, 255, 0], [8, 0, 255, 0, 8, 128, 255, 0]);
        assert_eq!((&bytes[..8], &bytes[12..20]), (&first[..], &second[..]));
        assert_eq!(bytes[24..], [0xEE; 40]);
    }

    #[test]
    fn pixels_of_16_bits_have_five_six_and_five() {
        assert_eq!(shown("16", "4")[..8], [0x00, 0xF8, 0x00, 0xFC, 0x01, 0xF8, 0x01, 0xFC]);
    }

    #[test]
    fn sysfs_is_not_believed_everything() {
        for (size, bits, stride) in [
            ("0,5", "32", "8"),
            ("99999,2", "32", "8"),
            ("2,2", "8", "2"),
            ("2,2", "32", "7"),
            ("2,2", "32", "99999"),
        ] {
            let (folder, path) = device(size, bits, stride);
            let error = Framebuffer::open(&path, folder.path()).unwrap_err().to_string();
            assert!(error.ends_with("use the screen 'drm' instead"), "{error}");
        }
    }

    #[test]
    fn a_device_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = Framebuffer::open(Path::new("/dev/fb7"), folder.path()).unwrap_err();
        assert!(error.to_string().contains("fb7/virtual_size"), "{error}");
    }
}
