//! One replica: its state, its step, and what it tells about itself.

use super::config::Config;
use super::durable::Durable;
use super::effects::{DropReason, Effects, Input, Log, NotLeader, Reset, Role, RoleChange, WriteBatch};
use super::entry::{Entry, LogStart};
use super::hard_state::HardState;
use super::leader::Leader;
use super::log_view::LogView;
use super::membership::Membership;
use super::memberships::Memberships;
use super::message::{Envelope, Message};
use super::progress::PeerProgress;
use super::rng::Rng;
use super::types::{Index, NodeId, ReplicaId, Term, Time, WriteId};
use crate::mutant::{self, Mutant};

/// What a replica's disk holds when it starts.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// The newest hard state; default in a log that never had one.
    pub hard_state: HardState,
    /// Where the log starts.
    pub start: LogStart,
    /// The last entry, the start's index when there is none.
    pub last_index: Index,
    /// The offset after the last entry.
    pub next_offset: i64,
    /// Each term's first index, sorted; those below the start may be left out.
    pub term_starts: Vec<(Term, Index)>,
    /// Whether some of it is still on its way to the disk. Then [`WriteId::RESTORED`] stands for that, and nothing of it is
    /// promised before [`Input::Synced`] says that it arrived.
    pub unsynced: bool,
}

/// One replica of one replica set.
#[derive(Debug)]
pub struct Replica {
    pub(super) core: Core,
    pub(super) state: State,
}

/// What every replica has, in any role.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) id: ReplicaId,
    pub(super) config: Config,
    pub(super) rng: Rng,
    pub(super) now: Time,
    pub(super) term: Term,
    pub(super) vote: Option<ReplicaId>,
    pub(super) leader: Option<ReplicaId>,
    pub(super) log: LogView,
    pub(super) memberships: Memberships,
    pub(super) durable: Durable,
    pub(super) commit: Index,
    commit_offset: i64,
    pub(super) commit_known: bool,
    pub(super) uncommitted_bytes: usize,
    /// Up to here the log is the leader's of this term.
    pub(super) matched: Index,
    pub(super) leader_commit: Index,
    pub(super) leader_seq: u64,
    pub(super) leader_heard: Time,
    pub(super) ack_owed: Option<Ack>,
    pub(super) vote_owed: bool,
    pub(super) deadline: Time,
    /// Follows without a timer, see [`quiet`](super::quiet).
    pub(super) quiet: bool,
    /// The leader's node that was said to be down, and its term, until the node is said to be up. What it says may still come, if only nothing reaches
    /// it any more: then it would hold its followers to itself until it notices.
    pub(super) distrusted: Option<(NodeId, Term)>,
}

/// The kind of answer that the leader waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ack {
    Append,
    Reset,
}

#[derive(Debug)]
pub(super) enum State {
    Follower,
    /// `asked`: how often before.
    PreCandidate {
        votes: Vec<ReplicaId>,
        asked: u32,
    },
    Candidate {
        votes: Vec<ReplicaId>,
        asked: bool,
        transfer: bool,
    },
    Leader(Box<Leader>),
}

/// One step under way: what the owner answers and what it is asked.
pub(super) struct Step<'a> {
    pub(super) log: &'a dyn Log,
    pub(super) effects: Effects,
    pub(super) hard_state: bool,
    pub(super) truncate_from: Option<Index>,
    pub(super) append: Vec<Entry>,
    pub(super) reset: Option<Reset>,
}

impl Step<'_> {
    pub(super) fn drop_for(&mut self, reason: DropReason) {
        self.effects.dropped = Some(reason);
    }

    fn writes(&self) -> bool {
        self.hard_state || self.truncate_from.is_some() || !self.append.is_empty() || self.reset.is_some()
    }
}

impl Replica {
    /// The replica of what its disk held. Two with the same seed and inputs do the same.
    ///
    /// # Panics
    /// When the log ends before it starts.
    #[must_use]
    pub fn new(id: ReplicaId, config: Config, restored: Restored, now: Time, seed: u64) -> Replica {
        let Restored { hard_state, start, last_index, next_offset, term_starts, unsynced } = restored;
        let log = LogView::restore(start, last_index, next_offset, &term_starts);
        let holds = |index, term| log.term_at(index) == Some(term);
        let memberships =
            Memberships::restore(hard_state.start_membership, hard_state.memberships, start.index, holds);
        let term = hard_state.term.max(log.last_term());
        let mut core = Core {
            id,
            config,
            rng: Rng(seed),
            now,
            term,
            vote: hard_state.vote.filter(|_| term == hard_state.term),
            leader: None,
            memberships,
            durable: Durable::restore(start.index, last_index, unsynced),
            log,
            commit: start.index,
            commit_offset: start.next_offset,
            commit_known: false,
            uncommitted_bytes: 0,
            matched: start.index,
            leader_commit: Index(0),
            leader_seq: 0,
            leader_heard: now,
            ack_owed: None,
            vote_owed: false,
            deadline: now,
            quiet: false,
            distrusted: None,
        };
        if core.memberships.active().all_voters().any(|voter| voter != id) {
            core.rearm();
        }
        Replica { core, state: State::Follower }
    }

    /// Takes one input at `now`, which never goes back.
    pub fn step(&mut self, now: Time, input: Input, log: &dyn Log) -> Effects {
        let before = self.role_change();
        self.core.now = self.core.now.max(now);
        let mut step = Step {
            log,
            effects: Effects::default(),
            hard_state: self.core.memberships.take_unclean(),
            truncate_from: None,
            append: Vec::new(),
            reset: None,
        };
        self.dispatch(input, &mut step);
        let mut effects = self.core.finish(step);
        let after = self.role_change();
        effects.role = (after != before).then_some(after);
        effects
    }

    fn dispatch(&mut self, input: Input, step: &mut Step<'_>) {
        self.rouse(&input, step);
        match input {
            Input::Tick => self.on_tick(step),
            Input::Message { from, to, message } => self.on_message(from, to, message, step),
            Input::Propose(proposals) => self.on_propose(proposals, step),
            Input::Change(change) => self.on_change(change, step),
            Input::Synced(id) => self.on_synced(id, step),
            Input::Loaded => self.on_loaded(step),
            Input::PeerDown { node, wait_us } => self.on_peer_down(node, wait_us, step),
            Input::PeerUp(node) => self.on_peer_up(node, step),
            Input::SetLogStart(start) => self.on_log_start(start, step),
            Input::Transfer(target) => self.on_transfer(target, step),
            Input::StepDown => self.on_step_down(step),
            Input::Campaign => self.on_campaign(step),
            Input::Read(context) => self.on_read(context, step),
            Input::Grant { to, bytes } => self.on_grant(to, bytes, step),
            // What is quiet was roused above.
            Input::Wake => {}
        }
    }

    fn on_tick(&mut self, step: &mut Step<'_>) {
        match self.state {
            State::Leader(_) => self.on_leader_tick(step),
            _ if self.core.quiet => {}
            _ if self.core.now >= self.core.deadline => self.on_election_deadline(step),
            _ => {}
        }
    }

    fn on_message(&mut self, from: ReplicaId, to: ReplicaId, message: Message, step: &mut Step<'_>) {
        let from = self.core.sender(from);
        let for_me = to == self.core.id || mutant::active(Mutant::TripleIgnored);
        if !for_me || from == self.core.id {
            return step.drop_for(DropReason::WrongAddressee);
        }
        let term = message.term();
        if term > Term::MAX {
            return step.drop_for(DropReason::TermOutOfRange);
        }
        match message {
            Message::PreVote { last, receiver_is_voter, .. } => {
                self.on_pre_vote(from, term, last, receiver_is_voter, step);
            }
            Message::Vote { last, receiver_is_voter, transfer, .. } => {
                self.on_vote(from, (term, transfer), last, receiver_is_voter, step);
            }
            Message::Append { prev, entries, commit, .. } => {
                if self.follow(from, term, step) {
                    self.on_append(prev, entries, commit, step);
                }
            }
            Message::Heartbeat { seq, commit, quiet, .. } => {
                if self.follow(from, term, step) {
                    self.on_heartbeat(seq, commit, quiet, step);
                }
            }
            Message::Reset { start, membership, checkpoint, .. } => {
                if self.follow(from, term, step) {
                    self.on_reset(start, membership, checkpoint, step);
                }
            }
            Message::TimeoutNow { .. } => {
                if self.follow(from, term, step) {
                    self.on_timeout_now(step);
                }
            }
            reply => self.on_reply(from, reply, step),
        }
    }

    fn on_reply(&mut self, from: ReplicaId, reply: Message, step: &mut Step<'_>) {
        if !self.core.memberships.active().contains(from) {
            return step.drop_for(DropReason::NotMember);
        }
        let term = reply.term();
        if let Message::PreVoteReply { granted: true, .. } = reply {
            return self.on_pre_vote_granted(from, term, step);
        }
        if term > self.core.term {
            return self.become_follower(term, None, step);
        }
        if term < self.core.term {
            return;
        }
        match reply {
            Message::VoteReply { granted: true, .. } => self.on_vote_granted(from, step),
            Message::AppendReply { reject: Some(reject), .. } => self.on_reject(from, reject, step),
            Message::AppendReply { matched, .. } | Message::ResetReply { matched, .. } => {
                self.on_acknowledged(from, matched, step);
            }
            Message::HeartbeatReply { seq, matched, received, quiet, .. } => {
                self.on_heartbeat_reply(from, seq, (matched, received), step);
                if let State::Leader(leader) = &mut self.state {
                    leader.told_quiet(from, seq, quiet);
                }
            }
            _ => {}
        }
    }

    fn on_synced(&mut self, id: WriteId, step: &mut Step<'_>) {
        if !self.core.durable.sync(id) {
            return step.drop_for(DropReason::BadSync);
        }
        step.hard_state |= self.core.memberships.synced(id);
        match self.state {
            State::Leader(_) => self.advance_commit(step),
            State::Candidate { .. } => self.ask_for_votes(step),
            State::Follower | State::PreCandidate { .. } => self.core.give_promises(step),
        }
        if !matches!(self.state, State::Leader(_)) {
            self.core.advance_follower_commit(step);
        }
    }

    /// Whether it was told that this node, on which its leader is, is down, and nothing else since.
    #[must_use]
    pub fn distrusts(&self, node: NodeId) -> bool {
        self.core.distrusted.is_some_and(|(distrusted, _)| distrusted == node)
    }

    fn on_peer_down(&mut self, node: NodeId, wait_us: u64, step: &mut Step<'_>) {
        if let State::Leader(leader) = &mut self.state {
            leader.peer_down(node, &self.core, step);
            if !leader.reaches_quorum(&self.core) {
                self.become_follower(self.core.term, None, step);
            }
            return;
        }
        if self.core.leader.is_some_and(|leader| leader.node == node) {
            if self.core.quiet && mutant::active(Mutant::QuietThroughLoss) {
                return;
            }
            self.core.end_quiet();
            self.core.distrusted = Some((node, self.core.term));
            let jitter = self.core.rng.between(0, self.core.config.peer_down_jitter_us);
            self.core.leader = None;
            self.core.deadline = self.core.deadline.min(self.core.now.after(wait_us.saturating_add(jitter)));
        }
    }

    fn on_log_start(&mut self, start: LogStart, step: &mut Step<'_>) {
        let core = &mut self.core;
        let held = core.log.term_at(start.index) == Some(start.term);
        if start.index > core.commit || !held {
            return step.drop_for(DropReason::BadLogStart);
        }
        core.log.trim(start);
        step.hard_state |= core.memberships.trim(start.index);
    }

    fn on_step_down(&mut self, step: &mut Step<'_>) {
        if matches!(self.state, State::Leader(_)) {
            self.become_follower(self.core.term, None, step);
        }
    }

    /// Follows in `term`, giving up whatever else this replica was.
    pub(super) fn become_follower(&mut self, term: Term, leader: Option<ReplicaId>, step: &mut Step<'_>) {
        if let State::Leader(former) = &mut self.state {
            former.fail_reads(leader, step);
        }
        let core = &mut self.core;
        core.end_quiet();
        if term > core.term {
            core.enter_term(term, None, step);
        }
        if !matches!(self.state, State::Follower) {
            core.rearm();
            self.state = State::Follower;
        }
        self.core.leader = leader;
    }

    /// When the next [`Input::Tick`] is due, `None` when nothing waits for time to pass.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        match &self.state {
            State::Leader(leader) => leader.next_deadline(),
            _ => (self.core.may_campaign() && !self.core.quiet).then_some(self.core.deadline),
        }
    }

    fn role_change(&self) -> RoleChange {
        RoleChange { role: self.role(), term: self.core.term, leader: self.core.leader }
    }

    /// The identity it was made with.
    #[must_use]
    pub fn id(&self) -> ReplicaId {
        self.core.id
    }

    /// The current term.
    #[must_use]
    pub fn term(&self) -> Term {
        self.core.term
    }

    /// The current role.
    #[must_use]
    pub fn role(&self) -> Role {
        match self.state {
            State::Follower => Role::Follower,
            State::PreCandidate { .. } => Role::PreCandidate,
            State::Candidate { .. } => Role::Candidate,
            State::Leader(_) => Role::Leader,
        }
    }

    /// The leader of the current term, if known.
    #[must_use]
    pub fn leader(&self) -> Option<ReplicaId> {
        self.core.leader
    }

    /// Entries up to here, inclusive, are committed as far as this replica knows.
    #[must_use]
    pub fn commit_index(&self) -> Index {
        self.core.commit
    }

    /// The last entry, durable or not.
    #[must_use]
    pub fn last_index(&self) -> Index {
        self.core.log.last()
    }

    /// The term of the last entry.
    #[must_use]
    pub fn last_term(&self) -> Term {
        self.core.log.last_term()
    }

    /// The term of the entry at `index`, or of the log start; `None` outside.
    #[must_use]
    pub fn term_at(&self, index: Index) -> Option<Term> {
        self.core.log.term_at(index)
    }

    /// The offset after the last entry.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.core.log.next_offset()
    }

    /// Entries up to here, inclusive, are durable on this replica.
    #[must_use]
    pub fn synced_index(&self) -> Index {
        self.core.durable.index()
    }

    /// Where the log starts.
    #[must_use]
    pub fn start(&self) -> LogStart {
        self.core.log.start()
    }

    /// The membership in force, committed or not.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        self.core.memberships.active()
    }

    /// How often its memberships changed since it began: whoever keeps what follows from them looks again.
    #[must_use]
    pub fn membership_changes(&self) -> u64 {
        self.core.memberships.changes()
    }

    /// The newest committed membership.
    #[must_use]
    pub fn committed_membership(&self) -> &Membership {
        self.core.memberships.at(self.core.commit)
    }

    /// Whether this replica votes in the membership in force.
    #[must_use]
    pub fn is_voter(&self) -> bool {
        self.membership().is_voter(self.core.id)
    }

    /// The offset after the last committed record. `None` for a leader until an entry of its own term is committed,
    /// and for a follower until it has caught up with a commit index that a leader told it.
    #[must_use]
    pub fn high_watermark(&self) -> Option<i64> {
        self.core.commit_known.then_some(self.core.commit_offset)
    }

    /// On a leader: the voters that are live and were caught up lately, itself included. Else empty.
    #[must_use]
    pub fn in_sync(&self) -> Vec<ReplicaId> {
        match &self.state {
            State::Leader(leader) => leader.in_sync(&self.core),
            _ => Vec::new(),
        }
    }

    /// On a leader: what it knows of each other member. Else empty.
    #[must_use]
    pub fn progress(&self) -> Vec<PeerProgress> {
        match &self.state {
            State::Leader(leader) => leader.progress(&self.core),
            _ => Vec::new(),
        }
    }

    /// Whether a leader takes entries of so many bytes now; else it has as much that is not committed as it may.
    #[must_use]
    pub fn has_room_for(&self, bytes: usize) -> bool {
        let uncommitted = self.core.uncommitted_bytes;
        uncommitted == 0 || uncommitted.saturating_add(bytes) <= self.core.config.uncommitted_bytes_max
    }

    /// Bytes of entries appended since the start of this process that are not committed.
    #[must_use]
    pub fn uncommitted_bytes(&self) -> usize {
        self.core.uncommitted_bytes
    }

    /// The error for whoever takes this replica for the leader.
    pub(super) fn not_leader(&self) -> NotLeader {
        NotLeader { leader: self.core.leader.filter(|leader| *leader != self.core.id) }
    }
}

impl Core {
    pub(super) fn send(&self, to: ReplicaId, message: Message, step: &mut Step<'_>) {
        step.effects.send.push(Envelope { from: self.id, to, message });
    }

    /// Who speaks. A triple that is not the one that a member has is a stranger; the deliberate bug takes it for the member on its node.
    fn sender(&self, from: ReplicaId) -> ReplicaId {
        if !mutant::active(Mutant::TripleIgnored) {
            return from;
        }
        let member = self.memberships.active().all_voters().find(|id| id.node == from.node);
        member.filter(|_| from.node != self.id.node).unwrap_or(from)
    }

    /// A new random election deadline.
    pub(super) fn rearm(&mut self) {
        let timeout = self.rng.between(self.config.election_min_us, self.config.election_max_us);
        self.deadline = self.now.after(timeout);
    }

    /// Enters a higher term, with a vote or without. What was owed in the old one is owed no more.
    pub(super) fn enter_term(&mut self, term: Term, vote: Option<ReplicaId>, step: &mut Step<'_>) {
        assert!(term > self.term, "a term is entered once");
        self.term = term;
        self.vote = vote;
        self.leader = None;
        self.matched = self.commit;
        self.leader_commit = Index(0);
        self.leader_seq = 0;
        self.ack_owed = None;
        self.vote_owed = false;
        step.hard_state = true;
    }

    /// Appends one checked entry, with its membership if it is one.
    pub(super) fn append(&mut self, entry: Entry, membership: Option<Membership>, step: &mut Step<'_>) {
        if let Some(membership) = membership {
            self.memberships.push(entry.index, entry.term, membership);
            step.hard_state = true;
        }
        self.uncommitted_bytes = self.uncommitted_bytes.saturating_add(entry.weight());
        self.log.append(entry.clone());
        step.append.push(entry);
    }

    /// Removes `from`, which is not committed, and everything above.
    pub(super) fn truncate(&mut self, from: Index, next_offset: i64, step: &mut Step<'_>) {
        assert!(from > self.commit, "a committed entry is truncated");
        self.uncommitted_bytes -= self.log.bytes_between(from.prev(), self.log.last());
        self.log.truncate(from, next_offset);
        self.durable.truncate(from);
        self.memberships.roll_back(from, self.durable.next_write());
        self.matched = self.matched.min(from.prev());
        step.truncate_from = Some(from);
    }

    /// Raises the commit index to `index`, if that is higher.
    pub(super) fn commit_to(&mut self, index: Index, step: &mut Step<'_>) {
        if index <= self.commit {
            return;
        }
        self.uncommitted_bytes -= self.log.bytes_between(self.commit, index);
        self.commit_offset = self.log.end_offset(index, step.log).unwrap_or(self.commit_offset);
        self.commit = index;
        step.effects.commit = Some(index);
    }

    /// Up to here this replica promises to keep what it has.
    pub(super) fn promised(&self) -> Index {
        if mutant::active(Mutant::AckBeforeSync) {
            return self.matched;
        }
        if self.durable.has_hard_state() { self.matched.min(self.durable.index()) } else { Index(0) }
    }

    fn finish(&mut self, step: Step<'_>) -> Effects {
        let writes = step.writes();
        let Step { mut effects, hard_state, truncate_from, append, reset, .. } = step;
        if writes {
            let id = self.durable.write(self.log.last(), hard_state);
            let hard_state = hard_state.then(|| self.hard_state());
            effects.write = Some(WriteBatch { id, hard_state, truncate_from, append, reset });
        }
        effects
    }

    fn hard_state(&self) -> HardState {
        HardState {
            term: self.term,
            vote: self.vote.filter(|_| !mutant::active(Mutant::VoteNotPersisted)),
            start_membership: self.memberships.start().clone(),
            memberships: self.memberships.to_persist(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_follower_is_small() {
        // With one B-tree node for its voters (about 300 bytes) a follower stays below one KiB.
        assert!(size_of::<Replica>() <= 720, "{}", size_of::<Replica>());
    }
}
