//! The ZIP archive of `torch.save`: `NAME/data.pkl`, `NAME/byteorder`, `NAME/data/KEY`.

use super::pickle;
use super::storage::Found;
use super::zip;

/// The pickle's name behind the archive's own.
const PICKLE: &str = "data.pkl";

/// Reads the pickle, and finds the storages that it names.
pub(super) fn read(bytes: &[u8]) -> Result<Found, String> {
    let entries = zip::entries(bytes)?;
    let ends = |end: &str| entries.iter().find(|entry| entry.name.rsplit('/').next() == Some(end));
    let pickle = ends(PICKLE).ok_or_else(|| format!("the archive has no {PICKLE}"))?;
    if let Some(order) = ends("byteorder")
        && bytes.get(order.range.clone()) != Some(b"little")
    {
        return Err("was written on a big-endian machine".to_owned());
    }
    let (root, _) = pickle::read(bytes.get(pickle.range.clone()).unwrap_or_default())?;
    let folder = pickle.name.strip_suffix(PICKLE).unwrap_or_default();
    let key = |name: &str| name.strip_prefix(folder)?.strip_prefix("data/").map(str::to_owned);
    let storages = entries.iter().filter_map(|e| Some((key(&e.name)?, e.range.clone()))).collect();
    Ok(Found { tensors: root.tensors()?, storages })
}
