//! A recipe: all that makes a file from a model, so that it can be made again, byte for byte.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use pochade::files::NewFile;
use pochade_engine::Encoding;
use serde::{Deserialize, Serialize};

use crate::calibrate::Calibration;

/// The version that is read and written.
const VERSION: u32 = 1;

/// A layer's encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Bits {
    Int4,
    Int8,
    F16,
}

impl Bits {
    /// The encoding of integers, `None` for f16.
    pub fn integers(self) -> Option<Encoding> {
        match self {
            Self::Int4 => Some(Encoding::Int4),
            Self::Int8 => Some(Encoding::Int8),
            Self::F16 => None,
        }
    }
}

/// A recipe as its file has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recipe {
    version: u32,
    pub calibration: Calibration,
    /// The norms that are smoothed, by `part/norm`.
    pub smoothed: BTreeSet<String>,
    /// By `part/layer`; each layer that may work in integers.
    pub layers: BTreeMap<String, Bits>,
}

impl Recipe {
    pub fn new(
        calibration: Calibration,
        smoothed: BTreeSet<String>,
        layers: BTreeMap<String, Bits>,
    ) -> Self {
        Self { version: VERSION, calibration, smoothed, layers }
    }

    /// Reads a recipe.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let name = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
        let recipe: Self = toml::from_str(&text)
            .map_err(|e| anyhow::anyhow!("{name} is not a recipe: {}", one_line(&e)))?;
        anyhow::ensure!(
            recipe.version == VERSION,
            "{name} is a recipe of version {}, and version {VERSION} is read here",
            recipe.version
        );
        recipe.calibration.check().with_context(|| format!("{name} cannot be followed"))?;
        Ok(recipe)
    }

    /// Writes it, whole or not at all.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = toml::to_string(self).context("a recipe is written as TOML")?;
        let write = || {
            let mut file = NewFile::create(path)?;
            file.write_all(text.as_bytes())?;
            file.commit()
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }
}

fn one_line(error: &toml::de::Error) -> String {
    error.message().replace('\n', " ")
}
