//! Byte-pair merging: of all neighbouring pairs, the one learnt first is joined first, the leftmost
//! of equals.
//!
//! The symbols are a linked list and the candidate pairs a heap, so that a word of n bytes takes n
//! log n steps; a prompt is not trusted to consist of short words.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// A pair of tokens, its rank, and what it becomes.
#[derive(Clone, Copy, Debug)]
struct Merge {
    rank: u32,
    joined: u32,
}

/// The byte alphabet and the learnt pairs, by id.
#[derive(Clone, Debug)]
pub(super) struct Merges {
    /// Id of each byte inside a word, and at the end of one.
    bytes: [[Option<u32>; 256]; 2],
    pairs: HashMap<(u32, u32), Merge>,
    order: Vec<(u32, u32)>,
}

/// A symbol of the word being merged; `previous` and `next` are `NONE` at the ends.
struct Symbol {
    id: u32,
    previous: usize,
    next: usize,
    /// Joined into its left neighbour.
    gone: bool,
}

const NONE: usize = usize::MAX;

impl Merges {
    /// Builds the alphabet from `id_of`, without any pair.
    pub(super) fn new(id_of: impl Fn(&str) -> Option<u32>) -> Self {
        let mut bytes = [[None; 256]; 2];
        for byte in 0..=255u8 {
            let letter = spelled(byte);
            bytes[0][usize::from(byte)] = id_of(&letter.to_string());
            bytes[1][usize::from(byte)] = id_of(&format!("{letter}</w>"));
        }
        Self { bytes, pairs: HashMap::new(), order: Vec::new() }
    }

    /// Adds the next learnt pair. A pair that is already there keeps its rank.
    pub(super) fn push(&mut self, first: u32, second: u32, joined: u32) {
        let rank = self.order.len() as u32;
        self.pairs.entry((first, second)).or_insert(Merge { rank, joined });
        self.order.push((first, second));
    }

    /// The pairs, the first learnt first.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (u32, u32)> {
        self.order.iter().copied()
    }

    /// The ids of one word. A byte that the vocabulary lacks becomes `unknown`.
    pub(super) fn apply(&self, word: &[u8], unknown: u32) -> Vec<u32> {
        let mut symbols = self.spell(word, unknown);
        let mut candidates = BinaryHeap::new();
        for left in 0..symbols.len() {
            candidates.extend(self.candidate(&symbols, left));
        }
        while let Some(Reverse((rank, left))) = candidates.pop() {
            let Some(merge) = self.merge_at(&symbols, left).filter(|m| m.rank == rank) else {
                continue; // One of the two was joined with another symbol meanwhile.
            };
            join(&mut symbols, left, merge.joined);
            candidates.extend(self.candidate(&symbols, left));
            let previous = symbols[left].previous;
            if previous != NONE {
                candidates.extend(self.candidate(&symbols, previous));
            }
        }
        symbols.iter().filter(|s| !s.gone).map(|s| s.id).collect()
    }

    fn spell(&self, word: &[u8], unknown: u32) -> Vec<Symbol> {
        let last = word.len().wrapping_sub(1);
        let symbol = |(i, byte): (usize, &u8)| {
            let id = self.bytes[usize::from(i == last)][usize::from(*byte)].unwrap_or(unknown);
            let next = if i == last { NONE } else { i + 1 };
            Symbol { id, previous: i.checked_sub(1).unwrap_or(NONE), next, gone: false }
        };
        word.iter().enumerate().map(symbol).collect()
    }

    fn merge_at(&self, symbols: &[Symbol], left: usize) -> Option<Merge> {
        let symbol = symbols.get(left).filter(|s| !s.gone)?;
        let right = symbols.get(symbol.next)?;
        self.pairs.get(&(symbol.id, right.id)).copied()
    }

    fn candidate(&self, symbols: &[Symbol], left: usize) -> Option<Reverse<(u32, usize)>> {
        self.merge_at(symbols, left).map(|merge| Reverse((merge.rank, left)))
    }
}

/// Joins the symbol at `left` with the one behind it.
fn join(symbols: &mut [Symbol], left: usize, joined: u32) {
    let right = symbols[left].next;
    let next = symbols[right].next;
    symbols[right].gone = true;
    symbols[left].id = joined;
    symbols[left].next = next;
    if next != NONE {
        symbols[next].previous = left;
    }
}

/// The printable character that stands for `byte`: itself where it is printable in Latin-1, else
/// one from U+0100 on.
fn spelled(byte: u8) -> char {
    let printable = |b: &u8| matches!(b, 33..=126 | 161..=172 | 174..=255);
    if printable(&byte) {
        return char::from(byte);
    }
    let index = (0..byte).filter(|b| !printable(b)).count() as u32;
    char::from_u32(256 + index).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition: look for the pair of lowest rank, join its first place, start over.
    fn apply_naively(merges: &Merges, word: &[u8], unknown: u32) -> Vec<u32> {
        let mut ids: Vec<u32> = merges.spell(word, unknown).iter().map(|s| s.id).collect();
        loop {
            let ranked = ids.windows(2).enumerate().filter_map(|(i, pair)| {
                merges.pairs.get(&(pair[0], pair[1])).map(|m| (m.rank, i, m.joined))
            });
            let Some((_, at, joined)) = ranked.min() else { return ids };
            ids.splice(at..at + 2, [joined]);
        }
    }

    proptest::proptest! {
        #[test]
        fn the_heap_merges_like_the_definition(
            word in proptest::collection::vec(0u8..4, 0..40),
            learnt in proptest::collection::vec((0u32..12, 0u32..12), 0..16),
        ) {
            let mut merges = Merges::new(|_| None);
            for byte in 0..4 {
                merges.bytes[0][byte] = Some(byte as u32);
                merges.bytes[1][byte] = Some(byte as u32 + 4);
            }
            for (i, (first, second)) in learnt.into_iter().enumerate() {
                merges.push(first, second, 8 + i as u32 % 6);
            }
            let naive = apply_naively(&merges, &word, 99);
            proptest::prop_assert_eq!(merges.apply(&word, 99), naive);
        }
    }

    #[test]
    fn every_byte_has_its_own_character() {
        let letters: std::collections::HashSet<char> = (0..=255).map(spelled).collect();
        assert_eq!(letters.len(), 256);
        assert_eq!((spelled(b' '), spelled(b'a'), spelled(0)), ('\u{120}', 'a', '\u{100}'));
    }
}
