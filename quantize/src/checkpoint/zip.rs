//! The entries of a ZIP archive whose entries are stored as they are, as PyTorch writes it. Sizes
//! beyond 4 GiB are in ZIP64's fields.
//!
//! ```text
//! entry*:  "PK\3\4" .. name length, extra length at 26 and 28 | name | extra | bytes
//! folder:  "PK\1\2" .. method at 10, sizes at 20 and 24, lengths from 28, offset at 42 | name ..
//! end:     ["PK\6\6" 64-bit size and offset of the folder | "PK\6\7" where that is] "PK\5\6" ..
//! ```

use std::ops::Range;

/// The most entries that are listed; Stable Diffusion XL has 2 515 tensors.
const ENTRY_CAP: usize = 1 << 17;
/// Bytes of the end record, and of the longest comment behind it.
const END: usize = 22;
const COMMENT_CAP: usize = u16::MAX as usize;
/// A field whose value is in the ZIP64 record.
const ELSEWHERE: u64 = u32::MAX as u64;

/// One entry: its name and where its bytes lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub name: String,
    pub range: Range<usize>,
}

/// All entries of an archive.
pub(super) fn entries(bytes: &[u8]) -> Result<Vec<Entry>, String> {
    let short = || "the archive has no table of contents: it is cut short".to_owned();
    let folder = folder(bytes).and_then(|range| bytes.get(range)).ok_or_else(short)?;
    let (mut entries, mut at) = (Vec::new(), 0);
    while at < folder.len() && entries.len() < ENTRY_CAP {
        let row = Row::read(folder, at).ok_or("the archive's table of contents is damaged")?;
        entries.push(row.entry(bytes)?);
        at = row.end;
    }
    Ok(entries)
}

/// Where the table of contents lies.
fn folder(bytes: &[u8]) -> Option<Range<usize>> {
    let earliest = bytes.len().saturating_sub(END + COMMENT_CAP);
    let ends = bytes.get(earliest..)?.windows(4).rposition(|w| w == b"PK\x05\x06")?;
    let end = earliest + ends;
    bytes.get(end..end + END)?;
    let (mut len, mut start) = (number(bytes, end + 12, 4)?, number(bytes, end + 16, 4)?);
    if len == ELSEWHERE || start == ELSEWHERE {
        let locator = end.checked_sub(20).filter(|&at| bytes[at..].starts_with(b"PK\x06\x07"))?;
        let record = usize::try_from(number(bytes, locator + 8, 8)?).ok()?;
        bytes.get(record..)?.starts_with(b"PK\x06\x06").then_some(())?;
        len = number(bytes, record.checked_add(40)?, 8)?;
        start = number(bytes, record.checked_add(48)?, 8)?;
    }
    let start = usize::try_from(start).ok()?;
    Some(start..start.checked_add(usize::try_from(len).ok()?)?)
}

/// One row of the table of contents.
struct Row<'a> {
    name: &'a [u8],
    flags: u64,
    method: u64,
    packed: u64,
    size: u64,
    offset: u64,
    /// Where the next row begins.
    end: usize,
}

impl<'a> Row<'a> {
    fn read(folder: &'a [u8], at: usize) -> Option<Self> {
        folder.get(at..)?.starts_with(b"PK\x01\x02").then_some(())?;
        let field = |offset, len| number(folder, at + offset, len);
        let length = |offset| field(offset, 2).map(|n| n as usize);
        let name = at + 46..at + 46 + length(28)?;
        let extra = name.end..name.end + length(30)?;
        let end = extra.end + length(32)?;
        let mut row = Self {
            name: folder.get(name)?,
            flags: field(8, 2)?,
            method: field(10, 2)?,
            packed: field(20, 4)?,
            size: field(24, 4)?,
            offset: field(42, 4)?,
            end,
        };
        row.widen(folder.get(extra)?)?;
        Some(row)
    }

    /// Takes the fields that did not fit from ZIP64's extra one, where they stand in this order.
    fn widen(&mut self, extra: &[u8]) -> Option<()> {
        let mut at = 0;
        while at + 4 <= extra.len() {
            let (kind, len) = (number(extra, at, 2)?, number(extra, at + 2, 2)? as usize);
            let mut field = at + 4;
            if kind == 1 {
                for value in [&mut self.size, &mut self.packed, &mut self.offset] {
                    if *value == ELSEWHERE {
                        *value = number(extra, field, 8)?;
                        field += 8;
                    }
                }
            }
            at += 4 + len;
        }
        Some(())
    }

    fn entry(&self, bytes: &[u8]) -> Result<Entry, String> {
        let name = String::from_utf8_lossy(self.name).into_owned();
        if self.method != 0 || self.flags & 1 != 0 || self.packed != self.size {
            return Err(format!("'{name}' is compressed or encrypted, which PyTorch does not do"));
        }
        let range = self.range(bytes).filter(|range| range.end <= bytes.len());
        let short = || format!("'{name}' reaches past the end of the file: it is cut short");
        Ok(Entry { range: range.ok_or_else(short)?, name })
    }

    fn range(&self, bytes: &[u8]) -> Option<Range<usize>> {
        let header = usize::try_from(self.offset).ok()?;
        bytes.get(header..)?.starts_with(b"PK\x03\x04").then_some(())?;
        let lengths = number(bytes, header + 26, 2)? + number(bytes, header + 28, 2)?;
        let start = header.checked_add(30 + lengths as usize)?;
        Some(start..start.checked_add(usize::try_from(self.size).ok()?)?)
    }
}

/// A little-endian number of `len` bytes.
fn number(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(len)?)?;
    Some(field.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive of one entry whose sizes and places are all in ZIP64's fields.
    fn wide(name: &str, content: &[u8]) -> Vec<u8> {
        let elsewhere = [0xff; 4];
        let length = (name.len() as u16).to_le_bytes();
        let mut bytes = [&b"PK\x03\x04"[..], &[0; 22], &length, &[0; 2]].concat();
        bytes.extend(name.as_bytes());
        bytes.extend(content);
        let folder = bytes.len() as u64;
        let size = (content.len() as u64).to_le_bytes();
        let extra = [&[1, 0, 24, 0][..], &size, &size, &0u64.to_le_bytes()].concat();
        bytes.extend([&b"PK\x01\x02"[..], &[0; 16], &elsewhere, &elsewhere, &length].concat());
        bytes.extend([&(extra.len() as u16).to_le_bytes()[..], &[0; 10], &elsewhere].concat());
        bytes.extend([name.as_bytes(), &extra].concat());
        let end = bytes.len() as u64;
        let folder_size = (end - folder).to_le_bytes();
        bytes.extend([&b"PK\x06\x06"[..], &[0; 36], &folder_size, &folder.to_le_bytes()].concat());
        bytes.extend([&b"PK\x06\x07"[..], &[0; 4], &end.to_le_bytes(), &[0; 4]].concat());
        bytes.extend([&b"PK\x05\x06"[..], &[0; 8], &elsewhere, &elsewhere, &[0; 2]].concat());
        bytes
    }

    #[test]
    fn sizes_and_places_beyond_four_gibibytes_are_read_from_their_fields() {
        let bytes = wide("a/data.pkl", b"content");
        let entries = entries(&bytes).unwrap();
        assert_eq!(entries[0].name, "a/data.pkl");
        assert_eq!(&bytes[entries[0].range.clone()], b"content");
    }

    #[test]
    fn an_archive_whose_places_lie_outside_of_it_is_refused() {
        let bytes = wide("a", b"content");
        for at in 0..bytes.len() - 8 {
            let mut bytes = bytes.clone();
            bytes[at..at + 8].copy_from_slice(&(u64::MAX - 3).to_le_bytes());
            for entry in entries(&bytes).unwrap_or_default() {
                assert!(entry.range.end <= bytes.len());
            }
        }
    }
}
