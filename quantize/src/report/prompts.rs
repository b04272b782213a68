//! The prompts that a report paints: from a file, else the model's own, else a small list.

use std::path::Path;

use anyhow::{Context, ensure};
use pochade::files::{Component, ModelFiles};

/// Scenes that most models of pictures know.
const BUILT_IN: [&str; 8] = [
    "a red sun over blue mountains at dusk",
    "a white moon over purple mountains at night",
    "green mountains with a lake at dawn, watercolor",
    "a lighthouse on a cliff by day",
    "a small house under a tree, ink wash",
    "a sailing boat on a calm sea at dawn",
    "a bowl of fruit on a table, watercolor",
    "a black cat under a yellow moon at night",
];

/// Most prompts that are read from a file.
const MOST: usize = 4096;

/// The prompts of a file, one to a line.
pub(super) fn from_file(path: &Path) -> anyhow::Result<Vec<String>> {
    let name = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let prompts: Vec<String> = lines.take(MOST).map(str::to_owned).collect();
    ensure!(!prompts.is_empty(), "{name} has no prompts; write one to a line");
    Ok(prompts)
}

/// Those that the model names in its scheduler's config, `"_pochade": {"prompts": [...]}`, or the
/// built-in ones.
pub(super) fn of_model(model: &ModelFiles) -> Vec<String> {
    let scheduler = model.config(Component::Scheduler).ok();
    let listed = scheduler.and_then(|config| config["_pochade"]["prompts"].as_array());
    let words = listed.into_iter().flatten().filter_map(|prompt| prompt.as_str());
    let own: Vec<String> = words.take(MOST).map(str::to_owned).collect();
    if own.is_empty() { BUILT_IN.map(str::to_owned).to_vec() } else { own }
}
