//! What `torch.save` wrote before 1.6: five pickles (a magic number, a version, the machine, the
//! object, the storages' keys), then for every key a count and the values.

use std::collections::HashMap;

use super::pickle;
use super::storage::Found;

/// The magic number as its pickle holds it: little-endian, behind protocol and length.
const MAGIC: [u8; 14] =
    [0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// Pickles before the object: magic number, version, machine.
const BEFORE: usize = 3;

/// Reads the pickles, and finds the storages behind them.
pub(super) fn read(bytes: &[u8]) -> Result<Found, String> {
    if !bytes.starts_with(&MAGIC) {
        return Err("is a pickle, but not of PyTorch's making".to_owned());
    }
    let mut at = 0;
    let mut next = || {
        let (root, len) = pickle::read(&bytes[at..])?;
        at += len;
        Ok::<_, String>(root)
    };
    for _ in 0..BEFORE {
        next()?;
    }
    let tensors = next()?.tensors()?;
    let keys = next()?.texts();
    let sizes: HashMap<&str, usize> =
        tensors.iter().map(|t| (t.storage.key.as_str(), t.storage.kind.bytes())).collect();
    let mut storages = HashMap::new();
    for key in keys {
        let short = || format!("storage '{key}' reaches past the end of the file: it is cut short");
        let count = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>).ok_or_else(short)?;
        let Some(size) = sizes.get(key.as_str()) else {
            return Err(format!("storage '{key}' belongs to no tensor, so its length is unknown"));
        };
        let start = at + 8;
        let len =
            usize::try_from(u64::from_le_bytes(*count)).ok().and_then(|n| n.checked_mul(*size));
        let end = len.and_then(|len| start.checked_add(len)).filter(|&end| end <= bytes.len());
        at = end.ok_or_else(short)?;
        storages.insert(key, start..at);
    }
    Ok(Found { tensors, storages })
}
