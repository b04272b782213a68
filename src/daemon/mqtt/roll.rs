//! Who belongs to the fleet, who has gone, and whose turn it is to take over what was left behind.
//!
//! A broker keeps the jobs of a member that has gone for its return, those that wait as well as the one
//! it was at. MQTT lets a broker give them to others when the session ends, but does not make it do so,
//! and the usual ones drop them. So the others do it: one of them resumes the session.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The fleet as it is known to a member of it.
#[derive(Debug)]
pub(super) struct Roll {
    own: String,
    patience: Duration,
    kiosks: BTreeMap<String, Kiosk>,
}

#[derive(Debug, Default)]
struct Kiosk {
    /// Whether it belongs to the fleet.
    member: bool,
    presence: Presence,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Presence {
    #[default]
    Unknown,
    There,
    /// Since that moment.
    Gone(Instant),
}

impl Roll {
    pub fn new(own: &str, patience: Duration) -> Self {
        Self { own: own.to_owned(), patience, kiosks: BTreeMap::new() }
    }

    /// A kiosk has joined the fleet, or what it left behind was taken over.
    pub fn hear_member(&mut self, name: &str, member: bool) {
        self.kiosks.entry(name.to_owned()).or_default().member = member;
    }

    /// Somebody is taking over what a kiosk left behind.
    pub fn hear_heir(&mut self, name: &str, now: Instant) {
        let kiosk = self.kiosks.entry(name.to_owned()).or_default();
        kiosk.member = true;
        if kiosk.presence != Presence::There {
            kiosk.presence = Presence::Gone(now);
        }
    }

    /// A kiosk is there or is not.
    pub fn hear_presence(&mut self, name: &str, there: bool, now: Instant) {
        let presence = &mut self.kiosks.entry(name.to_owned()).or_default().presence;
        *presence = match (there, *presence) {
            (true, _) => Presence::There,
            (false, Presence::Gone(since)) => Presence::Gone(since),
            (false, _) => Presence::Gone(now),
        };
    }

    /// Somebody whose jobs are to be taken over by this kiosk, now. Others have their turn later, in
    /// the order of their names, in case that this one fails. Whoever is named is not named again
    /// before it was waited as long once more.
    pub fn heir_of(&mut self, now: Instant) -> Option<String> {
        let there = |(name, kiosk): &(&String, &Kiosk)| {
            kiosk.member && kiosk.presence == Presence::There && **name < self.own
        };
        let turn = u32::try_from(self.kiosks.iter().filter(there).count()).unwrap_or(u32::MAX);
        let patience = self.patience.saturating_mul(turn.saturating_add(1));
        let gone = self.kiosks.iter_mut().find(|(name, kiosk)| {
            let Presence::Gone(since) = kiosk.presence else { return false };
            kiosk.member && **name != self.own && now.duration_since(since) >= patience
        });
        gone.map(|(name, kiosk)| {
            kiosk.presence = Presence::Gone(now);
            name.clone()
        })
    }

    /// Whether a kiosk is still gone.
    pub fn is_gone(&self, name: &str) -> bool {
        let kiosk = self.kiosks.get(name);
        kiosk.is_some_and(|kiosk| matches!(kiosk.presence, Presence::Gone(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// A fleet of `attic`, `cellar`, `hall`, seen from one of them.
    fn fleet(own: &str, now: Instant) -> Roll {
        let mut roll = Roll::new(own, MINUTE);
        for name in ["attic", "cellar", "hall"] {
            roll.hear_member(name, true);
            roll.hear_presence(name, true, now);
        }
        roll
    }

    #[test]
    fn one_takes_over_after_a_while_and_the_next_one_later() {
        let start = Instant::now();
        let (mut attic, mut hall) = (fleet("attic", start), fleet("hall", start));
        for roll in [&mut attic, &mut hall] {
            roll.hear_presence("cellar", false, start);
            roll.hear_presence("cellar", false, start + MINUTE / 2);
            assert_eq!(roll.heir_of(start + MINUTE / 2), None);
        }
        assert_eq!(hall.heir_of(start + MINUTE), None, "attic comes first");
        assert_eq!(attic.heir_of(start + MINUTE).as_deref(), Some("cellar"));
        assert_eq!(attic.heir_of(start + MINUTE), None, "it is at it");
        hall.hear_heir("cellar", start + MINUTE);
        assert_eq!(hall.heir_of(start + 2 * MINUTE), None, "attic is at it");
        assert_eq!(hall.heir_of(start + 3 * MINUTE).as_deref(), Some("cellar"), "attic failed");
        hall.hear_member("cellar", false);
        assert_eq!(hall.heir_of(start + 9 * MINUTE), None);
    }

    #[test]
    fn who_is_back_or_never_was_in_the_fleet_leaves_nothing() {
        let start = Instant::now();
        let mut hall = fleet("hall", start);
        hall.hear_presence("attic", false, start);
        hall.hear_presence("shed", false, start);
        hall.hear_presence("hall", false, start);
        assert!(hall.is_gone("attic"));
        hall.hear_presence("attic", true, start + MINUTE / 2);
        assert!(!hall.is_gone("attic"));
        assert_eq!(hall.heir_of(start + 9 * MINUTE), None);
    }
}
