//! HDMI, DSI, and every other screen that the kernel drives, by its mode setting (DRM/KMS).
//!
//! Two dumb buffers are drawn on in turn, and shown whole at the next refresh. The first card with
//! a connected screen is taken: their order changes from boot to boot, and some cards have no
//! outputs. All in Rust, by system calls: no libdrm, no X, no Wayland. A desktop must not run on
//! that screen.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use drm::Device;
use drm::buffer::{Buffer, DrmFourcc};
use drm::control::dumbbuffer::DumbBuffer;
use drm::control::{
    Device as ControlDevice, Event, Mode, ModeTypeFlags, PageFlipFlags, ResourceHandles, connector,
    crtc, framebuffer,
};
use image::RgbImage;

use super::framebuffer::xrgb8888;
use super::{MAX_SIDE, Pace, Screen, ScreenError, ScreenInfo, ScreenSize};

/// A graphics card's device.
#[derive(Debug)]
struct Card(File);

impl AsFd for Card {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Device for Card {}
impl ControlDevice for Card {}

/// A connected screen: where it is, and how it is driven.
#[derive(Debug)]
struct Output {
    connector: connector::Handle,
    crtc: crtc::Handle,
    mode: Mode,
    name: String,
}

/// A buffer to draw on, as the card knows it.
#[derive(Debug)]
struct Page {
    buffer: DumbBuffer,
    handle: framebuffer::Handle,
}

/// A screen of the kernel's.
#[derive(Debug)]
pub struct DrmScreen {
    card: Card,
    path: PathBuf,
    output: Output,
    /// The one that is seen, and the one that is drawn on next.
    pages: [Page; 2],
    /// Whether anything has been shown yet.
    lit: bool,
}

impl DrmScreen {
    /// The first connected screen of a card, or of all cards; in its own size, or in `size` if it
    /// can show that.
    ///
    /// # Errors
    /// When there is no connected screen, it has no such size, or the card is not ours to use.
    pub fn open(device: Option<&Path>, size: Option<ScreenSize>) -> Result<Self, ScreenError> {
        let paths = device.map_or_else(cards, |path| vec![path.to_owned()]);
        let mut unusable = None;
        for path in &paths {
            match Self::on_card(path, size) {
                Ok(Some(screen)) => return Ok(screen),
                Ok(None) => {}
                // Another card may do; of all that fail, the first is told of.
                Err(error) => unusable = unusable.or(Some(error)),
            }
        }
        Err(unusable.unwrap_or_else(|| {
            ScreenError::Settings(
                "no card under /dev/dri has a connected screen; plug one in and switch it on, or \
                 take the screen 'framebuffer'"
                    .to_owned(),
            )
        }))
    }

    fn on_card(path: &Path, size: Option<ScreenSize>) -> Result<Option<Self>, ScreenError> {
        let failed = |source| failure(path, source);
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(failed)?;
        let card = Card(file);
        // A card without outputs says that it does not know the question.
        let Ok(resources) = card.resource_handles() else { return Ok(None) };
        let Some(output) = output(&card, &resources, size)? else { return Ok(None) };
        let page = || page(&card, &output.mode).map_err(failed);
        let pages = [page()?, page()?];
        Ok(Some(Self { card, path: path.to_owned(), output, pages, lit: false }))
    }

    /// Shows what has been drawn on: at the next refresh, or by setting the mode where nothing was
    /// shown before or the driver cannot flip.
    fn turn(&mut self) -> io::Result<()> {
        self.pages.swap(0, 1);
        let handle = self.pages[0].handle;
        let flipped = self.lit
            && self.card.page_flip(self.output.crtc, handle, PageFlipFlags::EVENT, None).is_ok();
        if flipped {
            return self.flipped();
        }
        let Output { connector, crtc, mode, .. } = &self.output;
        self.card.set_crtc(*crtc, Some(handle), (0, 0), &[*connector], Some(*mode))?;
        self.lit = true;
        Ok(())
    }

    /// Waits until the card says that the page is seen.
    fn flipped(&self) -> io::Result<()> {
        loop {
            if self.card.receive_events()?.any(|event| matches!(event, Event::PageFlip(_))) {
                return Ok(());
            }
        }
    }
}

impl Screen for DrmScreen {
    fn info(&self) -> ScreenInfo {
        let (width, height) = self.output.mode.size();
        ScreenInfo {
            width: width.into(),
            height: height.into(),
            pace: Pace::Live,
            name: self.output.name.clone(),
        }
    }

    fn show(&mut self, frame: &RgbImage) -> Result<(), ScreenError> {
        self.info().check(frame)?;
        let page = &mut self.pages[1].buffer;
        let drawn = draw(&self.card, page, frame).and_then(|()| self.turn());
        drawn.map_err(|source| failure(&self.path, source))
    }
}

impl Drop for DrmScreen {
    fn drop(&mut self) {
        // Nothing can be done where the card has gone.
        for page in &self.pages {
            let _ = self.card.destroy_framebuffer(page.handle);
            let _ = self.card.destroy_dumb_buffer(page.buffer);
        }
    }
}

/// The cards' devices, in the order of their names.
fn cards() -> Vec<PathBuf> {
    let entries = fs::read_dir("/dev/dri").into_iter().flatten().flatten();
    let is_card = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with("card");
    let mut paths: Vec<_> = entries.filter(is_card).map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// The first connected screen.
fn output(
    card: &Card,
    resources: &ResourceHandles,
    size: Option<ScreenSize>,
) -> Result<Option<Output>, ScreenError> {
    let probed = resources.connectors().iter().flat_map(|handle| card.get_connector(*handle, true));
    let connected = probed.filter(|info| info.state() == connector::State::Connected);
    for info in connected {
        let Some(crtc) = driven_by(card, resources, &info) else { continue };
        let name = format!("{info}");
        let Some(mode) = mode(info.modes(), size) else {
            return Err(no_mode(&name, info.modes(), size));
        };
        return Ok(Some(Output { connector: info.handle(), crtc, mode, name }));
    }
    Ok(None)
}

/// What can drive that connector.
fn driven_by(
    card: &Card,
    resources: &ResourceHandles,
    info: &connector::Info,
) -> Option<crtc::Handle> {
    let encoders = info.encoders().iter().flat_map(|handle| card.get_encoder(*handle));
    let mut crtcs = encoders.flat_map(|encoder| resources.filter_crtcs(encoder.possible_crtcs()));
    crtcs.next()
}

/// The mode of that size, else the one that the screen prefers, else its first.
fn mode(modes: &[Mode], size: Option<ScreenSize>) -> Option<Mode> {
    let sound = |mode: &&Mode| {
        let (width, height) = mode.size();
        ScreenSize::new(width.into(), height.into())
            .is_some_and(|own| size.is_none_or(|asked| own == asked))
    };
    let preferred = |mode: &&Mode| mode.mode_type().contains(ModeTypeFlags::PREFERRED);
    let sound = || modes.iter().filter(sound);
    sound().find(preferred).or_else(|| sound().next()).copied()
}

fn no_mode(name: &str, modes: &[Mode], size: Option<ScreenSize>) -> ScreenError {
    let mut sizes: Vec<_> = modes.iter().map(|mode| mode.size()).collect();
    sizes.dedup();
    let sizes: Vec<_> = sizes.iter().map(|(width, height)| format!("{width}x{height}")).collect();
    let asked = size.map_or_else(
        || format!("a size of at most {MAX_SIDE} pixels a side"),
        |size| format!("the size {}x{}", size.width, size.height),
    );
    let sizes = sizes.join(", ");
    ScreenError::Settings(format!("the screen {name} has not {asked}; it has {sizes}"))
}

fn page(card: &Card, mode: &Mode) -> io::Result<Page> {
    let (width, height) = mode.size();
    let size = (width.into(), height.into());
    let buffer = card.create_dumb_buffer(size, DrmFourcc::Xrgb8888, 32)?;
    let handle = card.add_framebuffer(&buffer, 24, 32)?;
    Ok(Page { buffer, handle })
}

fn draw(card: &Card, page: &mut DumbBuffer, frame: &RgbImage) -> io::Result<()> {
    let pitch = page.pitch() as usize;
    let mut mapping = card.map_dumb_buffer(page)?;
    for (row, out) in frame.rows().zip(mapping.chunks_exact_mut(pitch)) {
        for (pixel, out) in row.zip(out.chunks_exact_mut(4)) {
            out.copy_from_slice(&xrgb8888(*pixel));
        }
    }
    Ok(())
}

fn failure(path: &Path, source: io::Error) -> ScreenError {
    let remedy = match source.kind() {
        io::ErrorKind::NotFound => "name a card under /dev/dri",
        _ => "stop the desktop that uses the screen, and let this user into the group 'video'",
    };
    ScreenError::Device { path: path.to_owned(), source, remedy }
}
