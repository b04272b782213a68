//! Where every intermediate lies: offsets from life spans.
//!
//! Largest first, each value goes to the lowest offset where nothing that lives at the same time is
//! in the way.

/// Values are aligned to this many f32 (a cache line).
pub(crate) const ALIGN: usize = 16;

/// A value to be placed: its length in f32 and the first and last step at which it exists.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub len: usize,
    pub first: usize,
    pub last: usize,
}

impl Span {
    fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Offsets for `spans`, and the length of the arena that holds them.
pub(crate) fn place(spans: &[Span]) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(spans[i].len), i));
    let mut offsets = vec![0; spans.len()];
    // Placed values, by offset.
    let mut placed: Vec<usize> = Vec::with_capacity(spans.len());
    let mut arena = 0;
    for i in order {
        let offset = lowest_gap(spans, &offsets, &placed, i);
        offsets[i] = offset;
        let at = placed.partition_point(|&p| offsets[p] <= offset);
        placed.insert(at, i);
        arena = arena.max(offset + spans[i].len.next_multiple_of(ALIGN));
    }
    (offsets, arena)
}

fn lowest_gap(spans: &[Span], offsets: &[usize], placed: &[usize], i: usize) -> usize {
    let len = spans[i].len.next_multiple_of(ALIGN);
    let mut offset = 0;
    for &p in placed.iter().filter(|&&p| spans[p].overlaps(&spans[i])) {
        if offset + len <= offsets[p] {
            break;
        }
        offset = offset.max(offsets[p] + spans[p].len.next_multiple_of(ALIGN));
    }
    offset
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_that_do_not_meet_share_memory() {
        let spans = [(0, 1), (2, 3), (4, 5)].map(|(first, last)| Span { len: 64, first, last });
        assert_eq!(place(&spans).1, 64);
    }

    proptest! {
        #[test]
        fn values_that_meet_never_overlap(
            spans in prop::collection::vec((1_usize..200, 0_usize..30, 0_usize..10), 1..60)
        ) {
            let spans: Vec<Span> = spans
                .into_iter()
                .map(|(len, first, more)| Span { len, first, last: first + more })
                .collect();
            let (offsets, arena) = place(&spans);
            for (i, a) in spans.iter().enumerate() {
                prop_assert!(offsets[i] % ALIGN == 0 && offsets[i] + a.len <= arena);
                for j in (i + 1..spans.len()).filter(|j| a.overlaps(&spans[*j])) {
                    let before = |i: usize, j: usize| offsets[i] + spans[i].len <= offsets[j];
                    prop_assert!(before(i, j) || before(j, i));
                }
            }
        }
    }
}
