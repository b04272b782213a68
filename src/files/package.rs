//! A model as a painter opens it: parts, their configs, their weights by canonical names, and the
//! tokenizers.
//!
//! It is a diffusers folder, the same folder baked into the binary, one GGUF file, or a checkpoint
//! of bare tensors. Weights are opened part by part and closed when dropped, so that text encoder,
//! UNet and decoder can take turns in memory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use pochade_engine::DType;
use serde_json::Value;

use super::diffusers::DiffusersFolder;
use super::gguf::{Gguf, Value as Entry};
use super::loaded::Found;
use super::names::{self, Cut, NameMap};
use super::{
    Beside, Checkpoint, Component, ComponentWeights, Config, Encoding, FileBytes, FileError,
    NewTensor, TensorFile, safetensors,
};
use crate::text::Tokenizer;

/// The files of a model.
#[derive(Debug)]
pub struct ModelFiles {
    store: Store,
    /// By part: the file a config came from, for messages, and the config.
    configs: BTreeMap<Component, (String, Value)>,
    /// By part: what stands in the place of the files' tensors.
    replaced: BTreeMap<Component, Vec<Arc<NewTensor>>>,
    /// Where the tokenizers are, if not with the rest.
    tokenizers: Option<DiffusersFolder>,
}

#[derive(Debug)]
enum Store {
    Folder(DiffusersFolder),
    Gguf(Box<Gguf>),
    /// The class of its pipeline, and its tensors.
    Checkpoint(Option<String>, Checkpoint),
    /// A folder of configs and tokenizers, and tables of weights under diffusers' names.
    Given(DiffusersFolder, BTreeMap<Component, Vec<TensorFile>>),
}

impl ModelFiles {
    fn new(store: Store, configs: BTreeMap<Component, (String, Value)>) -> Self {
        Self { store, configs, replaced: BTreeMap::new(), tokenizers: None }
    }

    /// Opens a diffusers folder, a GGUF file or a safetensors checkpoint. Configs are read at once,
    /// weights when asked for.
    ///
    /// # Errors
    /// When the path is none of these, or a file contradicts itself.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        Self::open_with(path, &Beside::default())
    }

    /// The same, with what is not in the files themselves. Tokenizers are also looked for beside a
    /// checkpoint.
    ///
    /// # Errors
    /// As [`ModelFiles::open`], and when what lies beside cannot be read or is not asked for.
    pub fn open_with(path: &Path, beside: &Beside) -> Result<Self, FileError> {
        let kind =
            std::fs::metadata(path).map_err(|e| FileError::io(path.display(), "read", &e))?;
        if kind.is_dir() {
            return Self::from_folder(DiffusersFolder::open(path)?)?.beside(beside);
        }
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        let tensors = match extension.as_str() {
            "gguf" => {
                let gguf = Gguf::open(path)?;
                if is_packed(&gguf) {
                    return Self::from_gguf(gguf)?.beside(beside);
                }
                check_layout(&gguf)?;
                gguf.tensors().clone()
            }
            "safetensors" => safetensors::open(path)?,
            _ => return Err(not_a_model(path, &extension)),
        };
        let origin = path.display().to_string();
        Self::from_checkpoint(Checkpoint::new(&origin, vec![tensors])?, &beside.or_around(path))
    }

    /// Takes a checkpoint, whose configs are inferred unless they lie beside it.
    ///
    /// # Errors
    /// When a part is missing or is of an architecture that no config is inferred for, or what lies
    /// beside cannot be read.
    pub fn from_checkpoint(checkpoint: Checkpoint, beside: &Beside) -> Result<Self, FileError> {
        let (pipeline, configs) = match &beside.configs {
            Some(folder) => {
                let folder = DiffusersFolder::open(folder)?;
                (folder.pipeline().map(str::to_owned), folder.configs()?)
            }
            None => (None, checkpoint.configs(beside.predicts)?),
        };
        let store = Store::Checkpoint(pipeline, checkpoint);
        Self::new(store, configs).beside(beside)
    }

    /// A diffusers folder whose weights are in other files than its own, under the names that
    /// diffusers and transformers have for them.
    ///
    /// # Errors
    /// When the folder has no index, or a config is missing or contradicts itself.
    pub fn with_weights(
        folder: &Path,
        weights: BTreeMap<Component, Vec<TensorFile>>,
    ) -> Result<Self, FileError> {
        let folder = DiffusersFolder::open(folder)?;
        let configs = folder.configs()?;
        Ok(Self::new(Store::Given(folder, weights), configs))
    }

    /// The same model with what lies beside it.
    fn beside(mut self, beside: &Beside) -> Result<Self, FileError> {
        if beside.configs.is_some() && !matches!(self.store, Store::Checkpoint(..)) {
            let problem = "has configs of its own".to_owned();
            return Err(FileError::NotAModel { file: self.origin().to_owned(), problem });
        }
        if let Some(predicts) = beside.predicts
            && let Some((_, config)) = self.configs.get_mut(&Component::Scheduler)
        {
            config["prediction_type"] = predicts.word().into();
        }
        self.tokenizers = beside.tokenizers()?;
        Ok(self)
    }

    /// Opens a GGUF file that is part of the binary; `origin` names it in messages.
    ///
    /// # Errors
    /// When it contradicts itself.
    pub fn embedded(origin: &str, bytes: &'static [u8]) -> Result<Self, FileError> {
        Self::from_gguf(Gguf::parse(origin, FileBytes::Static(bytes))?)
    }

    /// Takes a GGUF file that is open already. One without configs is taken as a checkpoint.
    ///
    /// # Errors
    /// When its configs are not JSON, or its weights are laid out in a way that is not known here.
    pub fn from_gguf(gguf: Gguf) -> Result<Self, FileError> {
        check_layout(&gguf)?;
        let mut configs = BTreeMap::new();
        let origin = gguf.tensors().origin();
        for component in Component::ALL {
            let key = config_key(component);
            if let Some(value) = gguf.get(&key) {
                let parsed = value.as_str().and_then(|text| serde_json::from_str(text).ok());
                let config: Value = parsed.filter(Value::is_object).ok_or_else(|| {
                    FileError::malformed(origin, format!("metadata '{key}' is not a JSON object"))
                })?;
                configs.insert(component, (format!("{origin}: {key}"), config));
            }
        }
        if configs.is_empty() {
            let checkpoint = Checkpoint::new(origin, vec![gguf.tensors().clone()])?;
            return Self::from_checkpoint(checkpoint, &Beside::default());
        }
        Ok(Self::new(Store::Gguf(Box::new(gguf)), configs))
    }

    fn from_folder(folder: DiffusersFolder) -> Result<Self, FileError> {
        let configs = folder.configs()?;
        Ok(Self::new(Store::Folder(folder), configs))
    }

    /// The file or folder, for messages.
    pub fn origin(&self) -> &str {
        match &self.store {
            Store::Folder(folder) | Store::Given(folder, _) => folder.origin(),
            Store::Gguf(gguf) => gguf.tensors().origin(),
            Store::Checkpoint(_, checkpoint) => checkpoint.origin(),
        }
    }

    /// The class of the diffusers pipeline the model was made for, where it is known.
    pub fn pipeline(&self) -> Option<&str> {
        match &self.store {
            Store::Folder(folder) | Store::Given(folder, _) => folder.pipeline(),
            Store::Gguf(gguf) => gguf.get(PIPELINE_KEY).and_then(Entry::as_str),
            Store::Checkpoint(pipeline, _) => pipeline.as_deref(),
        }
    }

    /// The parts the model has, in the order they work.
    pub fn components(&self) -> impl Iterator<Item = Component> {
        self.configs.keys().copied()
    }

    /// Whether the model has the part.
    pub fn has(&self, component: Component) -> bool {
        self.configs.contains_key(&component)
    }

    /// The config of a part, as diffusers or transformers wrote it.
    ///
    /// # Errors
    /// When the model has no such part.
    pub fn config(&self, component: Component) -> Result<&Value, FileError> {
        self.named_config(component).map(|(_, config)| config)
    }

    /// The same with the errors of a reader that knows the file's name.
    ///
    /// # Errors
    /// When the model has no such part.
    pub fn fields(&self, component: Component) -> Result<Config<'_>, FileError> {
        self.named_config(component).map(|(file, config)| Config::new(file, config))
    }

    /// The weights of a part. Nothing is read yet but headers; dropping them gives their memory
    /// back.
    ///
    /// # Errors
    /// When the model has no such part, or its files contradict themselves.
    pub fn weights(&self, component: Component) -> Result<ComponentWeights, FileError> {
        let fields = self.fields(component)?;
        let mut weights = match &self.store {
            Store::Folder(folder) => mapped(component, fields, folder.weights(component)?),
            Store::Gguf(gguf) => canonical(component, fields, gguf),
            Store::Checkpoint(_, checkpoint) => checkpoint.weights(component, fields),
            Store::Given(_, weights) => {
                let missing = || self.missing(&format!("{component} weights"));
                mapped(component, fields, weights.get(&component).ok_or_else(missing)?.clone())
            }
        }?;
        weights.replace(self.replaced.get(&component).map_or(&[], Vec::as_slice));
        Ok(weights)
    }

    /// From now on, weights of the part have these tensors in the place of the files' own, or beside
    /// them; none takes all back.
    pub fn replace(&mut self, component: Component, tensors: Vec<NewTensor>) {
        self.replaced.insert(component, tensors.into_iter().map(Arc::new).collect());
    }

    /// The tokenizer of a text encoder.
    ///
    /// # Errors
    /// When the model has none, or its vocabulary contradicts itself.
    pub fn tokenizer(&self, component: Component) -> Result<Tokenizer, FileError> {
        let missing = || self.missing(&format!("tokenizer for {component}"));
        let name = component.tokenizer().ok_or_else(missing)?;
        match (&self.tokenizers, &self.store) {
            (Some(folder), _) => self.tokenizer_beside(folder, component, name),
            (None, Store::Folder(folder) | Store::Given(folder, _)) => folder.tokenizer(name),
            (None, Store::Gguf(gguf)) => {
                gguf_tokenizer(gguf, name).unwrap_or_else(|| Err(missing()))
            }
            (None, Store::Checkpoint(..)) => Err(missing()),
        }
    }

    /// The tokenizer `name` in `folder`, or the one tokenizer there is, padding as the text encoder
    /// was trained.
    fn tokenizer_beside(
        &self,
        folder: &DiffusersFolder,
        component: Component,
        name: &str,
    ) -> Result<Tokenizer, FileError> {
        let places = [name, "tokenizer", "."];
        let place = places.into_iter().find(|place| folder.has_tokenizer(place));
        let tokenizer = folder.tokenizer(place.unwrap_or(name))?;
        // Only an inferred config says this of a tokenizer; others describe their own.
        let inferred = matches!(self.store, Store::Checkpoint(None, _));
        let pad = self.config(component)?.get("pad_token_id").and_then(Value::as_u64);
        Ok(match pad {
            Some(0) if inferred && place != Some("tokenizer_2") => tokenizer.padded_with(0),
            _ => tokenizer,
        })
    }

    /// The SHA-256 of the model in hexadecimal: that of the GGUF file, or of what `sha256sum`
    /// prints for the files of the folder in the order of their names. Reads everything.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn sha256(&self) -> Result<String, FileError> {
        match &self.store {
            Store::Folder(folder) => folder.sha256().map(|digest| super::hex(&digest)),
            Store::Gguf(gguf) => Ok(super::hex(&gguf.tensors().bytes().sha256())),
            Store::Checkpoint(_, checkpoint) => Ok(sha256_of(checkpoint.files())),
            Store::Given(_, weights) => Ok(sha256_of(weights.values().flatten())),
        }
    }

    /// The first ten digits of [`ModelFiles::sha256`], the "Model hash" of picture metadata.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn short_hash(&self) -> Result<String, FileError> {
        self.sha256().map(|digest| digest[..10].to_owned())
    }

    fn named_config(&self, component: Component) -> Result<&(String, Value), FileError> {
        self.configs.get(&component).ok_or_else(|| self.missing(component.name()))
    }

    fn missing(&self, part: &str) -> FileError {
        FileError::MissingPart { file: self.origin().to_owned(), part: part.to_owned() }
    }
}

/// The SHA-256 of one file, or of the lines that name those of several.
fn sha256_of<'a>(files: impl IntoIterator<Item = &'a TensorFile>) -> String {
    let hashes = files.into_iter().map(|file| super::hex(&file.bytes().sha256()));
    let hashes: Vec<String> = hashes.collect();
    match &hashes[..] {
        [one] => one.clone(),
        several => super::hex(&FileBytes::Owned(several.join("\n").into_bytes().into()).sha256()),
    }
}

/// Metadata of the pipeline's class.
pub(super) const PIPELINE_KEY: &str = "pochade.pipeline";

/// Metadata of the version of the integer weights' layout.
pub(super) const LAYOUT_KEY: &str = "pochade.layout";
/// The layout that is read and written: panels of 16 outputs, as the engine's kernels read them.
pub(super) const LAYOUT: u32 = 1;

/// Metadata of the encoding of a part's weights, for people: what counts is each tensor's type.
pub(super) fn encoding_key(component: Component) -> String {
    format!("pochade.{component}.encoding")
}

/// Integer weights mean nothing to who does not know their layout.
fn check_layout(gguf: &Gguf) -> Result<(), FileError> {
    let tensors = gguf.tensors();
    let integers = || tensors.tensors().iter().find(|t| t.encoding == Encoding::Plain(DType::I8));
    let problem = match gguf.get(LAYOUT_KEY) {
        Some(version) if version.as_u64() == Some(LAYOUT.into()) => return Ok(()),
        Some(version) => format!(
            "its weights are in layout {version}, and layout {LAYOUT} is read here; convert the \
             model again with the pochade-quantize of this version"
        ),
        None => match integers() {
            None => return Ok(()),
            Some(tensor) => {
                format!("'{}' is in integers, but no '{LAYOUT_KEY}' says how", tensor.name)
            }
        },
    };
    Err(FileError::malformed(tensors.origin(), problem))
}

/// Whether the file says what it is: it has configs.
fn is_packed(gguf: &Gguf) -> bool {
    Component::ALL.iter().any(|component| gguf.get(&config_key(*component)).is_some())
}

/// Metadata of a part's config.
pub(super) fn config_key(component: Component) -> String {
    format!("pochade.{component}.config")
}

fn not_a_model(path: &Path, extension: &str) -> FileError {
    let what = match extension {
        "ckpt" | "pt" | "pth" | "bin" => {
            "a pickled checkpoint is read by pochade-quantize alone, which makes it a .gguf file"
        }
        _ => "this is not a model",
    };
    let problem = format!(
        "{what}; a model is a diffusers folder with model_index.json, a .gguf file, or a \
         .safetensors checkpoint"
    );
    FileError::NotAModel { file: path.display().to_string(), problem }
}

/// The canonical tensors of files that use diffusers' and transformers' names, in the order of
/// execution.
fn mapped(
    component: Component,
    fields: Config<'_>,
    files: Vec<TensorFile>,
) -> Result<ComponentWeights, FileError> {
    let map = names::map_of(component, fields)?;
    let (mut found, mut unused) = (Vec::new(), Vec::new());
    for (file, tensors) in files.iter().enumerate() {
        for (tensor, stored) in tensors.tensors().iter().enumerate() {
            let names = canonical_names(component, &map, &stored.name);
            if names.is_empty() {
                unused.push(stored.name.clone());
            }
            let place = |(name, cut)| Found { name, cut, file, tensor, hash: None };
            found.extend(names.into_iter().map(place));
        }
    }
    found.sort_by_cached_key(|found| (map.rank(&found.name), found.name.clone()));
    let origin = files.first().map_or_else(String::new, |file| file.origin().to_owned());
    ComponentWeights::new(origin, files, found, unused)
}

fn canonical_names(component: Component, map: &NameMap, stored: &str) -> Vec<(String, Cut)> {
    if let Some(name) = map.canonical(stored) {
        return vec![(name, Cut::Whole)];
    }
    match component {
        Component::TextEncoder | Component::TextEncoder2 => names::open_clip(stored),
        _ => Vec::new(),
    }
}

/// The tensors of one part of a GGUF file, whose names are canonical behind the part's prefix.
fn canonical(
    component: Component,
    fields: Config<'_>,
    gguf: &Gguf,
) -> Result<ComponentWeights, FileError> {
    let file = gguf.tensors().clone();
    let mut found = Vec::new();
    for (tensor, stored) in file.tensors().iter().enumerate() {
        let Some(name) = stored.name.strip_prefix(component.prefix()) else { continue };
        let head = fields.count("attention_head_dim").unwrap_or(0);
        let names = match names::fused_qkv(name, head) {
            Some(parts) if component == Component::Unet => parts.to_vec(),
            _ => vec![(name.to_owned(), Cut::Whole)],
        };
        let place = |(name, cut)| Found { name, cut, file: 0, tensor, hash: gguf.hash(tensor) };
        found.extend(names.into_iter().map(place));
    }
    ComponentWeights::new(file.origin().to_owned(), vec![file], found, Vec::new())
}

/// The tokenizer `name` of a GGUF file; the second one shares the first one's vocabulary where it
/// has none.
fn gguf_tokenizer(gguf: &Gguf, name: &str) -> Option<Result<Tokenizer, FileError>> {
    let strings = |part: &str| {
        let own = gguf.get(&format!("pochade.{name}.{part}"));
        let list = own.or_else(|| gguf.get(&format!("pochade.tokenizer.{part}")))?.as_array()?;
        list.iter().map(Entry::as_str).collect::<Option<Vec<_>>>()
    };
    let config = gguf.get(&format!("pochade.{name}.config"))?.as_str()?;
    let config: Value = serde_json::from_str(config).ok()?;
    let tokens = strings("tokens")?.into_iter().map(str::to_owned).collect();
    let tokenizer = Tokenizer::from_lists(tokens, &strings("merges")?, Some(&config));
    let origin = gguf.tensors().origin();
    Some(tokenizer.map_err(|e| FileError::malformed(origin, format!("{name} {e}"))))
}
