//! A diffusers folder: `model_index.json`, and for each part a folder with its config and its
//! weights.
//!
//! ```text
//! model_index.json
//! unet/config.json   unet/diffusion_pytorch_model.safetensors   (or .fp16.safetensors, or shards)
//! vae/..             text_encoder/config.json  text_encoder/model.safetensors
//! tokenizer/vocab.json  tokenizer/merges.txt  ..               scheduler/scheduler_config.json
//! upscaler/config.json   upscaler/diffusion_pytorch_model.safetensors
//! ```
//! The upscaler is there where its folder is: the index, which diffusers reads, does not name it.
//! What a JSON file names is only ever a plain file of the same folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::bytes::read_small;
use super::{Component, FileBytes, FileError, TensorFile, safetensors};
use crate::text::{Tokenizer, TokenizerError};

const INDEX: &str = "model_index.json";
/// Where the autoencoder's config is when its halves are apart, as graphs are.
const DECODER: &str = "vae_decoder";
/// The largest config, vocabulary or shard index that is read.
const JSON_CAP: u64 = 64 << 20;
const TOKENIZER_FILES: [&str; 5] = [
    "vocab.json",
    "merges.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
];
/// What weights are called: by diffusers, by transformers, by OpenCLIP.
const STEMS: [&str; 4] =
    ["diffusion_pytorch_model", "model", "open_clip_model", "open_clip_pytorch_model"];
/// Variants that are the same weights in another encoding, the preferred one first.
const VARIANTS: [&str; 4] = ["", ".fp16", ".bf16", ".fp32"];

/// A model in diffusers' layout.
#[derive(Clone, Debug)]
pub(super) struct DiffusersFolder {
    origin: String,
    folder: PathBuf,
    index: Value,
}

impl DiffusersFolder {
    pub(super) fn open(folder: &Path) -> Result<Self, FileError> {
        let origin = folder.display().to_string();
        if !folder.join(INDEX).is_file() {
            let problem = format!(
                "the folder has no {INDEX}; a model is a diffusers folder with one, or a .gguf file"
            );
            return Err(FileError::NotAModel { file: origin, problem });
        }
        let mut opened = Self::bare(folder);
        opened.index = opened.json(INDEX)?;
        Ok(opened)
    }

    /// A folder without an index, for its tokenizers alone.
    pub(super) fn bare(folder: &Path) -> Self {
        let origin = folder.display().to_string();
        Self { origin, folder: folder.to_owned(), index: Value::Null }
    }

    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// The class of the pipeline, as the index states it.
    pub(super) fn pipeline(&self) -> Option<&str> {
        self.index.get("_class_name").and_then(Value::as_str)
    }

    /// The configs of all parts that the model has, with their file names for messages.
    pub(super) fn configs(&self) -> Result<BTreeMap<Component, (String, Value)>, FileError> {
        let mut configs = BTreeMap::new();
        for component in Component::ALL {
            if let Some(folder) = self.folder_of(component) {
                let path = config_path(component, folder);
                configs.insert(component, (self.name_of(&path), self.json(&path)?));
            }
        }
        Ok(configs)
    }

    /// The files with the weights of a part: one, or all shards.
    pub(super) fn weights(&self, component: Component) -> Result<Vec<TensorFile>, FileError> {
        let parse = |path: &String| safetensors::parse(&self.name_of(path), self.bytes(path)?);
        match self.weight_files(component)? {
            WeightFiles::One(path) => Ok(vec![parse(&path)?]),
            WeightFiles::Sharded { index, shards, .. } => {
                let files = shards.values().map(parse).collect::<Result<Vec<_>, _>>()?;
                self.check_shards(&index, &shards, &files)?;
                Ok(files)
            }
        }
    }

    /// Whether `folder` has a tokenizer.
    pub(super) fn has_tokenizer(&self, folder: &str) -> bool {
        let has = |file: &str| self.exists(&inside(folder, file));
        has("vocab.json") && has("merges.txt") || has("tokenizer.json")
    }

    /// The tokenizer in `folder`.
    pub(super) fn tokenizer(&self, folder: &str) -> Result<Tokenizer, FileError> {
        let has = |file: &str| self.exists(&inside(folder, file));
        let read = |file: &str| self.small(&inside(folder, file));
        let mut config = None;
        for file in ["special_tokens_map.json", "tokenizer_config.json"] {
            if config.is_none() && has(file) {
                let found = self.json(&inside(folder, file))?;
                config = Some(found).filter(|c| c.get("eos_token").is_some());
            }
        }
        let name = |e: TokenizerError| {
            FileError::malformed(&self.name_of(&inside(folder, e.file)), e.problem)
        };
        if has("vocab.json") && has("merges.txt") {
            let merges = String::from_utf8(read("merges.txt")?).map_err(|_| {
                let file = self.name_of(&inside(folder, "merges.txt"));
                FileError::malformed(&file, "is not UTF-8")
            })?;
            return Tokenizer::from_vocab(&read("vocab.json")?, &merges, config.as_ref())
                .map_err(name);
        }
        if has("tokenizer.json") {
            return Tokenizer::from_json(&read("tokenizer.json")?, config.as_ref()).map_err(name);
        }
        Err(FileError::MissingPart { file: self.origin.clone(), part: folder.to_owned() })
    }

    /// The SHA-256 of what `sha256sum` prints for the model's files in the order of their names.
    pub(super) fn sha256(&self) -> Result<[u8; 32], FileError> {
        let mut whole = Sha256::new();
        for path in self.all_files()? {
            whole.update(super::hex(&self.bytes(&path)?.sha256()));
            whole.update(format!("  {path}\n"));
        }
        Ok(whole.finalize().into())
    }

    /// Every file that a painting depends on.
    fn all_files(&self) -> Result<BTreeSet<String>, FileError> {
        let mut files = BTreeSet::from([INDEX.to_owned()]);
        for component in Component::ALL {
            let Some(folder) = self.folder_of(component) else { continue };
            files.insert(config_path(component, folder));
            if component != Component::Scheduler {
                match self.weight_files(component)? {
                    WeightFiles::One(path) => files.extend([path]),
                    WeightFiles::Sharded { path, shards, .. } => {
                        files.extend(shards.into_values().chain([path]));
                    }
                }
            }
            let tokenizer = component.tokenizer();
            let paths = tokenizer
                .iter()
                .flat_map(|folder| TOKENIZER_FILES.map(|file| format!("{folder}/{file}")));
            files.extend(paths.filter(|path| self.exists(path)));
        }
        Ok(files)
    }

    /// The folder of a part, `None` where the index does not name it or names nothing for it, or
    /// where there is no upscaler.
    fn folder_of(&self, component: Component) -> Option<&'static str> {
        let names: &[&str] = match component {
            Component::Autoencoder => &["vae", "vqvae", DECODER],
            ref other => &[other.name()],
        };
        if component == Component::Upscaler {
            let there = self.exists(&config_path(component, component.name()));
            return there.then_some(component.name());
        }
        let named = |name: &&&str| {
            self.index.get(**name).and_then(|entry| entry.get(1)).is_some_and(Value::is_string)
        };
        let apart = component == Component::Autoencoder
            && !self.exists("vae/config.json")
            && self.exists(&config_path(component, DECODER));
        names.iter().find(named).map(|name| match *name {
            "vqvae" => "vqvae",
            _ if apart => DECODER,
            _ => component.name(),
        })
    }

    fn weight_files(&self, component: Component) -> Result<WeightFiles, FileError> {
        let missing = || FileError::MissingPart {
            file: self.origin.clone(),
            part: format!("{component} weights in safetensors form"),
        };
        let folder = self.folder_of(component).ok_or_else(missing)?;
        for stem in STEMS {
            for variant in VARIANTS {
                let one = format!("{folder}/{stem}{variant}.safetensors");
                if self.exists(&one) {
                    return Ok(WeightFiles::One(one));
                }
                let index = format!("{folder}/{stem}.safetensors.index{variant}.json");
                if self.exists(&index) {
                    return self.sharded(folder, index);
                }
            }
        }
        Err(missing())
    }

    fn sharded(&self, folder: &str, path: String) -> Result<WeightFiles, FileError> {
        let index = self.json(&path)?;
        let file = self.name_of(&path);
        let Some(map) = index.get("weight_map").and_then(Value::as_object) else {
            return Err(FileError::config(&file, "weight_map", "must be an object"));
        };
        let mut shards = BTreeMap::new();
        for shard in map.values() {
            let Some(name) = shard.as_str().filter(|name| is_plain_file_name(name)) else {
                let problem = format!("names {shard}, which is not a file of the same folder");
                return Err(FileError::config(&file, "weight_map", problem));
            };
            shards.insert(name.to_owned(), format!("{folder}/{name}"));
        }
        Ok(WeightFiles::Sharded { path, index, shards })
    }

    /// Every tensor must be in the shard that the index names for it.
    fn check_shards(
        &self,
        index: &Value,
        shards: &BTreeMap<String, String>,
        files: &[TensorFile],
    ) -> Result<(), FileError> {
        let by_name: BTreeMap<&str, &TensorFile> =
            shards.keys().map(String::as_str).zip(files).collect();
        let entries = index.get("weight_map").and_then(Value::as_object).into_iter().flatten();
        for (tensor, shard) in entries {
            let file = shard.as_str().and_then(|shard| by_name.get(shard));
            if let Some(file) = file.filter(|file| file.find(tensor).is_none()) {
                let problem = format!("has no tensor '{tensor}', which the index says it has");
                return Err(FileError::malformed(file.origin(), problem));
            }
        }
        Ok(())
    }

    fn name_of(&self, path: &str) -> String {
        format!("{}/{path}", self.origin)
    }

    fn exists(&self, path: &str) -> bool {
        self.folder.join(path).is_file()
    }

    fn bytes(&self, path: &str) -> Result<FileBytes, FileError> {
        FileBytes::map(&self.folder.join(path))
    }

    fn small(&self, path: &str) -> Result<Vec<u8>, FileError> {
        read_small(&self.folder.join(path), JSON_CAP)
    }

    fn json(&self, path: &str) -> Result<Value, FileError> {
        let value: Value = serde_json::from_slice(&self.small(path)?)
            .map_err(|e| FileError::malformed(&self.name_of(path), format!("not JSON: {e}")))?;
        if value.is_object() {
            return Ok(value);
        }
        Err(FileError::malformed(&self.name_of(path), "must be a JSON object"))
    }
}

/// Paths relative to the model.
enum WeightFiles {
    One(String),
    /// The index, and the shards' paths by the names the index has for them.
    Sharded {
        path: String,
        index: Value,
        shards: BTreeMap<String, String>,
    },
}

/// The path of a file of `folder`, where `.` is the model's own.
fn inside(folder: &str, file: &str) -> String {
    if folder == "." { file.to_owned() } else { format!("{folder}/{file}") }
}

fn config_path(component: Component, folder: &str) -> String {
    let file = if component == Component::Scheduler { "scheduler_config" } else { "config" };
    format!("{folder}/{file}.json")
}

/// Whether `name` can only mean a file of the folder it is used in.
fn is_plain_file_name(name: &str) -> bool {
    name.ends_with(".safetensors") && !name.contains(['/', '\\', ':', '\0']) && !name.contains("..")
}
