//! Seeds that nobody can foretell.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A seed that fits the 32 bits that count.
pub fn random_seed() -> u64 {
    // Every state of the standard library's hash tables is seeded by the system at random.
    RandomState::new().build_hasher().finish() >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_new_every_time_and_small_enough_to_type() {
        let seeds: std::collections::BTreeSet<u64> = (0..100).map(|_| random_seed()).collect();
        assert!(seeds.len() > 95 && seeds.iter().all(|seed| *seed <= u64::from(u32::MAX)));
    }
}
