//! Following a leader: appends, heartbeats, resets, and the acknowledgements that wait for a sync.

use bytes::Bytes;

use super::effects::{DropReason, Reset};
use super::entry::{Entry, EntryKind, LogStart};
use super::membership::Membership;
use super::message::{Message, Reject};
use super::replica::{Ack, Core, Replica, Step};
use super::types::{Index, Term};
use crate::mutant::{self, Mutant};

/// No index and no offset comes near this one; a message that says so cannot be right.
const POSITION_MAX: u64 = 1 << 62;

impl Replica {
    pub(super) fn on_append(
        &mut self,
        prev: (Index, Term),
        entries: Vec<Entry>,
        commit: Index,
        step: &mut Step<'_>,
    ) {
        let core = &mut self.core;
        if core.is_blank() {
            let reject = Some(Reject { prev: prev.0, hint: (Index(0), Term(0)), blank: true });
            return core
                .tell_leader(Message::AppendReply { term: core.term, matched: Index(0), reject }, step);
        }
        let taken = check_dense(prev, &entries, core.term)
            .and_then(|()| core.take_append(prev, entries, step))
            .unwrap_or_else(|reason| {
                step.drop_for(reason);
                false
            });
        if taken {
            core.leader_commit = core.leader_commit.max(commit);
            core.ack_owed.get_or_insert(Ack::Append);
            core.settle(step);
        }
    }

    pub(super) fn on_heartbeat(&mut self, seq: u64, commit: Index, quiet: Option<u64>, step: &mut Step<'_>) {
        let core = &mut self.core;
        core.leader_commit = core.leader_commit.max(commit);
        core.advance_follower_commit(step);
        // Nobody would wake a follower whose leader's node is down already.
        let wished = quiet.is_some() && seq >= core.leader_seq && core.distrusted.is_none();
        core.quiet = wished && core.may_be_quiet(commit, step);
        if seq <= core.leader_seq {
            return;
        }
        core.leader_seq = seq;
        core.answer_heartbeat(step);
    }

    pub(super) fn on_reset(
        &mut self,
        start: LogStart,
        membership: Membership,
        checkpoint: (Index, Bytes),
        step: &mut Step<'_>,
    ) {
        let core = &mut self.core;
        let right = membership.is_valid()
            && start.term <= core.term
            && start.index.0 < POSITION_MAX
            && u64::try_from(start.next_offset).is_ok_and(|offset| offset < POSITION_MAX)
            && (start.index..Index(POSITION_MAX)).contains(&checkpoint.0);
        if !right {
            return step.drop_for(DropReason::BadReset);
        }
        let ahead = start.index > core.commit && start.index > core.log.start().index;
        if ahead || (core.is_blank() && start.index >= core.log.start().index) {
            core.reset(start, membership, checkpoint, step);
        }
        core.ack_owed = Some(Ack::Reset);
        core.settle(step);
    }
}

/// Whether entries follow `prev` and each other in index, term and offset.
fn check_dense(prev: (Index, Term), entries: &[Entry], term: Term) -> Result<(), DropReason> {
    let (mut index, mut entry_term) = prev;
    let mut offset = entries.first().map_or(0, |entry| entry.base_offset);
    if index.0 >= POSITION_MAX || offset < 0 {
        return Err(DropReason::BadEntries);
    }
    for entry in entries {
        index = index.next();
        if entry.index != index || entry.term < entry_term || entry.term > term {
            return Err(DropReason::BadEntries);
        }
        entry_term = entry.term;
        if entry.base_offset != offset {
            return Err(DropReason::BadOffsets);
        }
        offset = entry.end_offset().ok_or(DropReason::BadOffsets)?;
        let silent = matches!(entry.kind, EntryKind::Noop | EntryKind::Membership);
        if silent && entry.record_count != 0 {
            return Err(DropReason::BadOffsets);
        }
    }
    if entry_term > term { Err(DropReason::BadEntries) } else { Ok(()) }
}

/// The membership that an entry holds, if it is of that kind.
pub(super) fn membership_of(entry: &Entry) -> Result<Option<Membership>, DropReason> {
    if entry.kind != EntryKind::Membership {
        return Ok(None);
    }
    let membership = Membership::decode(&entry.payload).filter(Membership::is_valid);
    membership.map(Some).ok_or(DropReason::BadMembership)
}

impl Core {
    /// A replica that was created without a membership and has heard of none.
    fn is_blank(&self) -> bool {
        self.memberships.start().voters.is_empty()
    }

    /// Takes a dense append. Whether it joined the log, else it was refused with a hint.
    fn take_append(
        &mut self,
        prev: (Index, Term),
        mut entries: Vec<Entry>,
        step: &mut Step<'_>,
    ) -> Result<bool, DropReason> {
        let start = self.log.start();
        let last = prev.0.0 + u64::try_from(entries.len()).map_err(|_| DropReason::BadEntries)?;
        let (prev, prev_term) = if prev.0 < start.index {
            // What is below the start is committed, so it matches; the rest must join there.
            if last <= start.index.0 {
                self.matched = self.matched.max(start.index);
                return Ok(true);
            }
            let above = entries.iter().position(|entry| entry.index > start.index).unwrap_or(entries.len());
            let below = entries.drain(..above).next_back().ok_or(DropReason::BadEntries)?;
            (below.index, below.term)
        } else {
            prev
        };
        if self.log.term_at(prev) != Some(prev_term) {
            return self.refuse(prev, prev_term, step);
        }
        let held =
            entries.iter().take_while(|entry| self.log.term_at(entry.index) == Some(entry.term)).count();
        entries.drain(..held);
        self.join(entries, Index(last), step)?;
        self.matched = self.matched.max(Index(last));
        Ok(true)
    }

    /// Appends what the log does not hold, after truncating what contradicts it.
    fn join(&mut self, entries: Vec<Entry>, last: Index, step: &mut Step<'_>) -> Result<(), DropReason> {
        let Some(first) = entries.first() else {
            if mutant::active(Mutant::StaleAppendTruncates) && last < self.log.last() {
                let from = last.max(self.commit).next();
                let next_offset = self.log.end_offset(from.prev(), step.log).ok_or(DropReason::BadOffsets)?;
                self.truncate(from, next_offset, step);
            }
            return Ok(());
        };
        let (from, base_offset) = (first.index, first.base_offset);
        if from <= self.commit {
            return Err(DropReason::ConflictBelowCommit);
        }
        if self.log.end_offset(from.prev(), step.log) != Some(base_offset) {
            return Err(DropReason::BadOffsets);
        }
        let memberships = entries.iter().map(membership_of).collect::<Result<Vec<_>, _>>()?;
        if from <= self.log.last() {
            self.truncate(from, base_offset, step);
        }
        for (entry, membership) in entries.into_iter().zip(memberships) {
            self.append(entry, membership, step);
        }
        Ok(())
    }

    fn refuse(&mut self, prev: Index, prev_term: Term, step: &mut Step<'_>) -> Result<bool, DropReason> {
        if prev <= self.commit {
            return Err(DropReason::ConflictBelowCommit);
        }
        let hint = self.log.last_at_most(prev, prev_term).max(self.commit);
        let hint = (hint, self.log.term_at(hint).unwrap_or_default());
        let reject = Some(Reject { prev, hint, blank: false });
        self.tell_leader(Message::AppendReply { term: self.term, matched: Index(0), reject }, step);
        Ok(false)
    }

    /// Starts from elsewhere. A suffix that joins the new start is kept.
    fn reset(
        &mut self,
        start: LogStart,
        membership: Membership,
        checkpoint: (Index, Bytes),
        step: &mut Step<'_>,
    ) {
        let keep_suffix = self.log.term_at(start.index) == Some(start.term)
            && self.log.end_offset(start.index, step.log) == Some(start.next_offset);
        self.memberships.reset(membership.clone(), start.index, keep_suffix);
        if keep_suffix {
            let below = self.log.bytes_between(self.commit, start.index);
            self.uncommitted_bytes -= below;
            self.log.trim(start);
        } else {
            self.uncommitted_bytes = 0;
            self.log.reset(start);
            self.durable.truncate(Index(0));
        }
        self.matched = self.matched.max(start.index);
        self.leader_commit = self.leader_commit.max(start.index);
        step.hard_state = true;
        step.reset = Some(Reset { start, membership, checkpoint, keep_suffix });
    }

    /// After a message of the leader: acknowledges and commits what is synced already.
    fn settle(&mut self, step: &mut Step<'_>) {
        if !step.hard_state && self.promised() >= self.matched {
            self.acknowledge(step);
        }
        self.advance_follower_commit(step);
    }

    /// Tells the leader what is synced of what it sent, and stays in its debt for the rest.
    pub(super) fn acknowledge(&mut self, step: &mut Step<'_>) {
        let Some(ack) = self.ack_owed else {
            return;
        };
        let matched = self.promised();
        if matched == Index(0) && self.matched > Index(0) {
            return;
        }
        if matched >= self.matched {
            self.ack_owed = None;
        }
        let term = self.term;
        let reply = match ack {
            Ack::Append => Message::AppendReply { term, matched, reject: None },
            Ack::Reset => Message::ResetReply { term, matched },
        };
        self.tell_leader(reply, step);
    }

    /// Answers the newest heartbeat, maybe again.
    pub(super) fn answer_heartbeat(&self, step: &mut Step<'_>) {
        // A term that was entered in this very step is not synced yet.
        let matched = if step.hard_state { Index(0) } else { self.promised() };
        let (term, seq, received, quiet) = (self.term, self.leader_seq, self.matched, self.quiet);
        self.tell_leader(Message::HeartbeatReply { term, seq, matched, received, quiet }, step);
    }

    fn tell_leader(&self, message: Message, step: &mut Step<'_>) {
        if let Some(leader) = self.leader {
            self.send(leader, message, step);
        }
    }

    /// A follower commits what its leader committed, as far as its own log is the leader's and synced.
    pub(super) fn advance_follower_commit(&mut self, step: &mut Step<'_>) {
        let index = self.leader_commit.min(self.matched).min(self.durable.index());
        self.commit_to(index, step);
        self.commit_known |= self.leader_commit > Index(0) && self.commit >= self.leader_commit;
        self.log.forget(self.commit);
    }
}
