//! The memberships that the log holds: in force is the newest, committed or not (Raft dissertation 4.1).

use super::membership::Membership;
use super::types::{Index, ReplicaId, Term, WriteId};
use crate::mutant::{self, Mutant};

/// The membership at the log start and those of the entries above it.
#[derive(Debug)]
pub(super) struct Memberships {
    start: Membership,
    entries: Vec<(Index, Term, Membership)>,
    /// Truncated by a write that may not be durable yet. They stay in the hard state until it is, because a crash
    /// may bring the entries back.
    truncated: Vec<(WriteId, (Index, Term, Membership))>,
    /// The restored hard state names entries that the log does not hold. It is written anew before the log start can
    /// pass them, for then nothing would tell them from the true ones.
    unclean: bool,
    /// How often they changed.
    changes: u64,
}

impl Memberships {
    /// Of a restored hard state: `holds` tells whether the log holds that index with that term.
    pub(super) fn restore(
        start: Membership,
        entries: Vec<(Index, Term, Membership)>,
        log_start: Index,
        holds: impl Fn(Index, Term) -> bool,
    ) -> Memberships {
        let mut memberships =
            Memberships { start, entries: Vec::new(), truncated: Vec::new(), unclean: false, changes: 0 };
        for (index, term, membership) in entries {
            let newest = memberships.entries.last().is_none_or(|(last, _, _)| *last < index);
            if index <= log_start {
                memberships.start = membership;
            } else if newest && holds(index, term) {
                memberships.entries.push((index, term, membership));
            } else {
                memberships.unclean = true;
            }
        }
        memberships
    }

    /// The one in force.
    pub(super) fn active(&self) -> &Membership {
        self.entries.last().map_or(&self.start, |(_, _, membership)| membership)
    }

    /// The index of the entry of the one in force, 0 when it is at or below the log start.
    pub(super) fn active_index(&self) -> Index {
        self.entries.last().map_or(Index(0), |(index, _, _)| *index)
    }

    /// The newest one up to `index`.
    pub(super) fn at(&self, index: Index) -> &Membership {
        self.up_to(index).last().map_or(&self.start, |(_, _, membership)| membership)
    }

    fn up_to(&self, index: Index) -> &[(Index, Term, Membership)] {
        &self.entries[..self.entries.partition_point(|(at, _, _)| *at <= index)]
    }

    /// The committed one and every later one.
    pub(super) fn since_committed(&self, commit: Index) -> impl Iterator<Item = &Membership> {
        let later = &self.entries[self.up_to(commit).len()..];
        std::iter::once(self.at(commit)).chain(later.iter().map(|(_, _, membership)| membership))
    }

    /// Whether `id` was a member before the committed membership.
    pub(super) fn was_member(&self, id: ReplicaId, commit: Index) -> bool {
        self.start.contains(id) || self.up_to(commit).iter().any(|(_, _, membership)| membership.contains(id))
    }

    pub(super) fn push(&mut self, index: Index, term: Term, membership: Membership) {
        self.entries.push((index, term, membership));
        self.changes += 1;
    }

    /// How often the memberships changed that are held here, since the replica began.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// Takes back the memberships of entries from `from` on, which `write` truncates. Whether there were any.
    pub(super) fn roll_back(&mut self, from: Index, write: WriteId) -> bool {
        let kept = self.entries.partition_point(|(index, _, _)| *index < from);
        if mutant::active(Mutant::MembershipNotRolledBack) || kept == self.entries.len() {
            return false;
        }
        self.changes += 1;
        self.truncated.extend(self.entries.drain(kept..).map(|entry| (write, entry)));
        true
    }

    /// Forgets what a durable write truncated. Whether there was any, so that the hard state names too much.
    pub(super) fn synced(&mut self, write: WriteId) -> bool {
        let before = self.truncated.len();
        self.truncated.retain(|(at, _)| *at > write);
        self.truncated.len() < before
    }

    /// Whether the hard state must be written anew; asked once.
    pub(super) fn take_unclean(&mut self) -> bool {
        std::mem::take(&mut self.unclean)
    }

    /// Moves the start up to `index`. Whether the membership at the start changed.
    pub(super) fn trim(&mut self, index: Index) -> bool {
        let below = self.up_to(index).len();
        match self.entries.drain(..below).next_back() {
            Some((_, _, membership)) => {
                self.start = membership;
                true
            }
            None => false,
        }
    }

    /// Starts from elsewhere.
    pub(super) fn reset(&mut self, start: Membership, index: Index, keep_suffix: bool) {
        self.trim(index);
        self.changes += 1;
        self.start = start;
        if !keep_suffix {
            self.entries.clear();
        }
        self.truncated.clear();
    }

    pub(super) fn start(&self) -> &Membership {
        &self.start
    }

    /// What the hard state must name: every entry that the log may hold after a crash, oldest first.
    pub(super) fn to_persist(&self) -> Vec<(Index, Term, Membership)> {
        let truncated = self.truncated.iter().map(|(_, entry)| entry);
        let mut all: Vec<_> = self.entries.iter().chain(truncated).cloned().collect();
        all.sort_by_key(|(index, term, _)| (*index, *term));
        if mutant::active(Mutant::MembershipNotPersisted) {
            all.pop();
        }
        all
    }
}
