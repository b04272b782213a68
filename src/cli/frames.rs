//! Where the frames of a walk go: files in a folder, or one animated file.

use std::fs;
use std::path::{Path, PathBuf};

use super::output::free_name;
use crate::files::NewFile;
use crate::paint::write::WriteError;
use crate::paint::{Walk, file_name};

/// Where the frames of a walk go.
#[derive(Debug)]
pub(super) enum Target {
    /// Into this folder, each as soon as it is painted.
    Folder(PathBuf),
    /// Into this file, which is there once all are painted.
    File(PathBuf),
}

impl Target {
    /// Where the frames of `walk` go when `asked` was given; that they can be written there is found
    /// out here, before anything is painted.
    pub fn new(asked: Option<&Path>, walk: &Walk) -> anyhow::Result<Self> {
        let target = match asked {
            None => {
                let first = walk.request(0);
                let name = format!("{}-walk", file_name(&first.prompt, first.seed));
                Self::File(free_name(Path::new(""), &name))
            }
            Some(path) if is_picture(path) => Self::File(path.to_owned()),
            Some(path) => Self::Folder(folder(path)?),
        };
        let file = match &target {
            Self::Folder(folder) => folder.join("frame.png"),
            Self::File(path) => path.clone(),
        };
        NewFile::create(&file).map_err(|source| WriteError { path: file, source })?;
        Ok(target)
    }

    /// Frame number `index` (from 0) in a folder.
    pub fn frame(folder: &Path, index: usize) -> PathBuf {
        folder.join(format!("frame-{:04}.png", index + 1))
    }
}

fn is_picture(path: &Path) -> bool {
    let is = |e: &str| path.extension().is_some_and(|found| found.eq_ignore_ascii_case(e));
    (is("png") || is("apng")) && !path.is_dir()
}

/// The folder, made if it is not there. Names that look like those of other files are refused, and so
/// are folders with the frames of another walk, whose last ones might be left among new ones.
fn folder(path: &Path) -> anyhow::Result<PathBuf> {
    let shown = path.display();
    if !path.is_dir() {
        anyhow::ensure!(
            path.extension().is_none() && !path.exists(),
            "cannot write '{shown}': a walk goes to an animated PNG file or to a folder; end its \
             name in '.png', or leave the ending out"
        );
        fs::create_dir(path).map_err(|source| WriteError { path: path.to_owned(), source })?;
    }
    anyhow::ensure!(
        !Target::frame(path, 0).exists(),
        "cannot write to '{shown}': the frames of another walk are there; name another folder, or \
         remove them"
    );
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paint::{Request, Stop};

    fn walk() -> Walk {
        let stop = |seed| Stop { prompt: "A red sea".to_owned(), seed };
        Walk::new(vec![stop(7), stop(8)], 2, false, Request::default()).unwrap()
    }

    fn target(output: &Path) -> Result<Target, String> {
        let place = output.parent().unwrap().to_str().unwrap();
        Target::new(Some(output), &walk())
            .map_err(|error| format!("{error:#}").replace(place, "PLACE"))
    }

    #[test]
    fn a_name_says_whether_it_is_a_file_or_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.png", "a.APNG"] {
            assert!(matches!(target(&folder.path().join(name)), Ok(Target::File(_))), "{name}");
        }
        assert!(matches!(target(&folder.path().join("walk")), Ok(Target::Folder(_))));
        assert!(folder.path().join("walk").is_dir());
        fs::create_dir(folder.path().join("v1.png")).unwrap();
        assert!(matches!(target(&folder.path().join("v1.png")), Ok(Target::Folder(_))));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "trying leaves nothing");
    }

    #[test]
    fn what_cannot_be_written_is_said_before_painting() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        fs::create_dir(folder.path().join("full")).unwrap();
        fs::write(folder.path().join("full/frame-0001.png"), "").unwrap();
        let refused = |name: &str| target(&folder.path().join(name)).unwrap_err();
        insta::assert_snapshot!(["a.gif", "file", "full"].map(refused).join("\n"));
        let error = target(&folder.path().join("no/where")).unwrap_err();
        assert!(error.ends_with("make the folder first"), "{error}");
    }
}
