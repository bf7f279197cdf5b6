//! Leading: proposals, appends on their way, commits, heartbeats, the check that a quorum still hears, and transfer.

use super::effects::{DropReason, LogRead, ProposeError, Rebuild};
use super::entry::{Entry, EntryKind, Proposal};
use super::message::{Message, Reject};
use super::progress::{PeerProgress, PeerState, Progress};
use super::quiet::Rest;
use super::reads::Reads;
use super::replica::{Core, Replica, State, Step};
use super::types::{Index, NodeId, ReplicaId, Time};
use crate::mutant::{self, Mutant};

/// A heartbeat's interval has so many beats, and each leader keeps to one of them.
const BEATS: u64 = 8;

/// What only a leader has.
#[derive(Debug)]
pub(super) struct Leader {
    pub(super) peers: Vec<Progress>,
    /// The no-op of this term: nothing is known to be committed before it is.
    pub(super) first_index: Index,
    /// The newest heartbeat.
    pub(super) seq: u64,
    pub(super) reads: Reads,
    pub(super) transfer: Option<(ReplicaId, Time)>,
    pub(super) rest: Rest,
    heartbeat_at: Time,
    check_at: Time,
}

impl Replica {
    pub(super) fn become_leader(&mut self, step: &mut Step<'_>) {
        let core = &mut self.core;
        let first_index = core.log.last().next();
        core.leader = Some(core.id);
        core.commit_known = false;
        self.state = State::Leader(Box::new(Leader {
            peers: Vec::new(),
            first_index,
            seq: 0,
            reads: Reads::default(),
            transfer: None,
            rest: Rest::default(),
            heartbeat_at: core.next_beat(),
            check_at: core.now.after(core.config.election_max_us),
        }));
        self.regroup();
        let noop = Proposal {
            kind: EntryKind::Noop,
            record_count: 0,
            timestamp_ms: -1,
            payload: bytes::Bytes::new(),
        };
        self.core.append_own(noop, step);
        self.replicate_to_all(step);
    }

    /// Keeps progress of exactly the other members in force.
    pub(super) fn regroup(&mut self) {
        let State::Leader(leader) = &mut self.state else {
            return;
        };
        let core = &self.core;
        let membership = core.memberships.active();
        leader.peers.retain(|peer| membership.contains(peer.id));
        for id in membership.members().filter(|id| *id != core.id) {
            if leader.peers.iter().all(|peer| peer.id != id) {
                leader.peers.push(Progress::new(id, core.log.last().next(), core.now));
            }
        }
    }

    pub(super) fn on_propose(&mut self, proposals: Vec<Proposal>, step: &mut Step<'_>) {
        match self.check_proposals(&proposals) {
            Ok(()) => {
                for proposal in proposals {
                    self.core.append_own(proposal, step);
                }
                self.replicate_to_all(step);
            }
            Err(error) => step.effects.rejected = Some(error),
        }
    }

    fn check_proposals(&self, proposals: &[Proposal]) -> Result<(), ProposeError> {
        let core = &self.core;
        let leads = matches!(&self.state, State::Leader(leader) if leader.transfer.is_none());
        if !leads {
            return Err(ProposeError::NotLeader { leader: self.not_leader().leader });
        }
        let own = |proposal: &Proposal| matches!(proposal.kind, EntryKind::Noop | EntryKind::Membership);
        let records: i64 = proposals.iter().map(|proposal| i64::from(proposal.record_count)).sum();
        if proposals.iter().any(own) || core.log.next_offset().checked_add(records).is_none() {
            return Err(ProposeError::InvalidProposal);
        }
        let bytes: usize = proposals.iter().map(|proposal| proposal.payload.len()).sum();
        if self.has_room_for(bytes) { Ok(()) } else { Err(ProposeError::Overloaded) }
    }

    pub(super) fn replicate_to_all(&mut self, step: &mut Step<'_>) {
        let State::Leader(leader) = &mut self.state else {
            return;
        };
        leader.find_rebuilt(&self.core);
        for peer in &mut leader.peers {
            self.core.replicate(peer, step);
        }
    }

    pub(super) fn on_grant(&mut self, to: ReplicaId, bytes: usize, step: &mut Step<'_>) {
        let Some((leader, at)) = leader_and_peer(&mut self.state, to) else {
            return;
        };
        let peer = &mut leader.peers[at];
        (peer.asked, peer.grant) = (false, Some(bytes));
        leader.find_rebuilt(&self.core);
        self.core.replicate(&mut leader.peers[at], step);
    }

    pub(super) fn on_loaded(&mut self, step: &mut Step<'_>) {
        if let State::Leader(leader) = &mut self.state {
            leader.peers.iter_mut().for_each(|peer| peer.loading = false);
            self.replicate_to_all(step);
        }
    }

    pub(super) fn on_acknowledged(&mut self, from: ReplicaId, matched: Index, step: &mut Step<'_>) {
        let core = &self.core;
        let Some((leader, at)) = leader_and_peer(&mut self.state, from) else {
            return;
        };
        if matched > core.log.last() {
            return step.drop_for(DropReason::BadAck);
        }
        let peer = &mut leader.peers[at];
        let again = peer.matched == matched;
        peer.heard(core.now);
        peer.acknowledge(matched);
        if matched >= core.commit {
            peer.caught_up(core.now);
        }
        if again && mutant::active(Mutant::AppendAckCountedTwice) {
            self.count_again(matched, step);
        }
        self.advance_commit(step);
        self.serve(from, step);
    }

    /// The deliberate bug: commits as if one more voter had acknowledged.
    fn count_again(&mut self, matched: Index, step: &mut Step<'_>) {
        let State::Leader(leader) = &mut self.state else { return };
        let Some(at) = leader.peers.iter().position(|peer| peer.matched < matched) else { return };
        let truly = std::mem::replace(&mut leader.peers[at].matched, matched);
        self.advance_commit(step);
        if let State::Leader(leader) = &mut self.state
            && let Some(peer) = leader.peers.get_mut(at)
        {
            peer.matched = truly;
        }
    }

    /// Sends a follower what it lacks: entries, else the commit index, else the leadership.
    fn serve(&mut self, to: ReplicaId, step: &mut Step<'_>) {
        let core = &mut self.core;
        let Some((leader, at)) = leader_and_peer(&mut self.state, to) else {
            return;
        };
        let (seq, target) = (leader.seq, leader.transfer.map(|(target, _)| target));
        leader.find_rebuilt(core);
        let peer = &mut leader.peers[at];
        core.replicate(peer, step);
        if peer.is_idle() && peer.commit_sent < core.commit {
            core.heartbeat(peer, seq, false, step);
        }
        if target == Some(to) && peer.matched == core.log.last() {
            core.send(to, Message::TimeoutNow { term: core.term }, step);
        }
        leader.forget(core);
    }

    pub(super) fn on_reject(&mut self, from: ReplicaId, reject: Reject, step: &mut Step<'_>) {
        let core = &self.core;
        let Some((leader, at)) = leader_and_peer(&mut self.state, from) else {
            return;
        };
        let peer = &mut leader.peers[at];
        peer.heard(core.now);
        if peer.awaits(reject.prev) && reject.blank {
            core.send_reset(peer, step);
        } else if peer.awaits(reject.prev) {
            let (hint, hint_term) = reject.hint;
            let agreed = core.log.last_at_most(hint.min(reject.prev), hint_term);
            // Below the start there is nothing to compare: a hint from there asks for a reset.
            let agreed = if hint < core.log.start().index { hint } else { agreed };
            peer.probe(agreed.next().min(reject.prev));
        }
        self.serve(from, step);
    }

    pub(super) fn on_heartbeat_reply(
        &mut self,
        from: ReplicaId,
        seq: u64,
        (matched, received): (Index, Index),
        step: &mut Step<'_>,
    ) {
        let core = &self.core;
        let Some((leader, at)) = leader_and_peer(&mut self.state, from) else {
            return;
        };
        if seq > leader.seq {
            return step.drop_for(DropReason::BadAck);
        }
        let peer = &mut leader.peers[at];
        peer.acked_seq = peer.acked_seq.max(seq);
        if peer.is_lost(received) {
            peer.probe(received.min(peer.next.prev()).next());
        } else if received < peer.matched && peer.is_idle() {
            // It restarted and does not know yet that its log is ours.
            core.ask_about(peer, step);
        }
        leader.answer_reads(core, step);
        self.on_acknowledged(from, matched, step);
    }

    /// Commits what a quorum has synced, if the last of it is of this term (Raft 5.4.2), and does what follows from it.
    pub(super) fn advance_commit(&mut self, step: &mut Step<'_>) {
        let core = &mut self.core;
        let State::Leader(leader) = &mut self.state else {
            return;
        };
        let own = core.promised();
        let reached = |id| if id == core.id { own } else { leader.matched(id) };
        let index = core.memberships.active().quorum_index(reached);
        let counts = core.log.term_at(index) == Some(core.term) || mutant::active(Mutant::CommitOldTerm);
        if index <= core.commit || !counts {
            return;
        }
        core.commit_to(index, step);
        core.commit_known |= core.commit >= leader.first_index;
        leader.tell_commit(core, step);
        leader.forget(core);
        leader.answer_reads(core, step);
        self.settle_membership(step);
    }

    pub(super) fn on_leader_tick(&mut self, step: &mut Step<'_>) {
        let core = &mut self.core;
        let State::Leader(leader) = &mut self.state else {
            return;
        };
        if leader.transfer.is_some_and(|(_, until)| core.now >= until) {
            leader.transfer = None;
        }
        if leader.rest.is_quiet() {
            return;
        }
        if core.now >= leader.check_at {
            leader.check_at = core.now.after(core.config.election_min_us);
            if !leader.has_quorum(core, |peer| peer.recent) {
                return self.become_follower(self.core.term, None, step);
            }
            leader.peers.iter_mut().for_each(|peer| peer.recent = false);
        }
        if core.now >= leader.heartbeat_at {
            let quiet = leader.asks_for_quiet(core);
            leader.send_heartbeats(core, quiet, step);
        }
    }

    pub(super) fn on_peer_up(&mut self, node: NodeId, step: &mut Step<'_>) {
        self.core.distrusted = self.core.distrusted.filter(|(distrusted, _)| *distrusted != node);
        if let State::Leader(leader) = &mut self.state {
            let mut came = false;
            leader.find_rebuilt(&self.core);
            for peer in leader.peers.iter_mut().filter(|peer| peer.id.node == node && peer.down) {
                peer.down = false;
                self.core.replicate(peer, step);
                came = true;
            }
            if came && !mutant::active(Mutant::LaggardLeftBehind) {
                leader.wake(&self.core, step);
            }
        }
    }

    pub(super) fn on_transfer(&mut self, target: ReplicaId, step: &mut Step<'_>) {
        let core = &self.core;
        let leader_now = self.not_leader().leader;
        let State::Leader(leader) = &mut self.state else {
            step.effects.rejected = Some(ProposeError::NotLeader { leader: leader_now });
            return;
        };
        if target == core.id || !core.memberships.active().voters.contains(&target) {
            step.effects.rejected = Some(ProposeError::InvalidTransfer);
            return;
        }
        leader.transfer = Some((target, core.now.after(core.config.election_min_us)));
        self.serve(target, step);
    }
}

fn leader_and_peer(state: &mut State, id: ReplicaId) -> Option<(&mut Leader, usize)> {
    let State::Leader(leader) = state else {
        return None;
    };
    let at = leader.peers.iter().position(|peer| peer.id == id)?;
    Some((leader, at))
}

impl Leader {
    pub(super) fn next_deadline(&self) -> Option<Time> {
        let timers = self.heartbeat_at.min(self.check_at);
        let transfer = self.transfer.map(|(_, until)| until);
        let timers = (!self.peers.is_empty() && !self.rest.is_quiet()).then_some(timers);
        timers.into_iter().chain(transfer).min()
    }

    fn matched(&self, id: ReplicaId) -> Index {
        self.peers.iter().find(|peer| peer.id == id).map_or(Index(0), |peer| peer.matched)
    }

    /// Whether a quorum is made of this replica, if it votes, and the peers that fulfil `yes`.
    pub(super) fn has_quorum(&self, core: &Core, yes: impl Fn(&Progress) -> bool) -> bool {
        core.memberships.active().has_quorum(|set| {
            let others = self.peers.iter().filter(|peer| set.contains(&peer.id) && yes(peer)).count();
            others + usize::from(set.contains(&core.id))
        })
    }

    /// Whose appends wait for grants. A voter that a majority needs is served at once, however far behind it is.
    fn find_rebuilt(&mut self, core: &Core) {
        if !core.config.paced {
            return;
        }
        let near = |peer: &Progress| core.now.since(peer.near_at) <= core.config.in_sync_lag_us;
        let whole = |peer: &Progress| near(peer) && !peer.down && peer.caught_up_at.is_some();
        let membership = core.memberships.active();
        for at in 0..self.peers.len() {
            let peer = &self.peers[at];
            let learns = !membership.is_voter(peer.id);
            let rebuilt = learns || (!near(peer) && self.has_quorum(core, whole));
            self.peers[at].rebuilt = rebuilt;
        }
    }

    pub(super) fn peer_down(&mut self, node: NodeId, core: &Core, step: &mut Step<'_>) {
        let mut went = false;
        for peer in self.peers.iter_mut().filter(|peer| peer.id.node == node) {
            went |= !peer.down;
            peer.down = true;
            peer.probe(peer.matched.next());
        }
        if went {
            self.wake(core, step);
        }
    }

    /// Whether a quorum is left of those whose nodes are not down. One that answered within the shortest timeout counts too: a closed
    /// connection alone is no reason to give up the lead, and a node that fell silent was so for longer than that.
    pub(super) fn reaches_quorum(&self, core: &Core) -> bool {
        let fresh = |peer: &Progress| core.now.since(peer.heard_at) < core.config.election_min_us;
        self.has_quorum(core, |peer| !peer.down || fresh(peer))
    }

    pub(super) fn broadcast_heartbeat(&mut self, core: &Core, step: &mut Step<'_>) {
        self.send_heartbeats(core, false, step);
    }

    fn send_heartbeats(&mut self, core: &Core, quiet: bool, step: &mut Step<'_>) {
        self.heartbeat_at = core.next_beat();
        self.seq += 1;
        for peer in &mut self.peers {
            // Whoever hands out grants may have lost sight of it (churn seed 100106).
            peer.asked = false;
            core.heartbeat(peer, self.seq, quiet, step);
        }
    }

    pub(super) fn check_later(&mut self, core: &Core) {
        self.check_at = core.now.after(core.config.election_max_us);
    }

    /// Followers that get no append soon hear of the commit index at once.
    fn tell_commit(&mut self, core: &Core, step: &mut Step<'_>) {
        for peer in self.peers.iter_mut().filter(|peer| peer.is_idle()) {
            core.heartbeat(peer, self.seq, false, step);
        }
    }

    /// Forgets entries in memory that no live follower will ask for.
    fn forget(&self, core: &mut Core) {
        let first = core.log.window_first();
        let near = |peer: &&Progress| peer.is_live(core.now, &core.config) && peer.next >= first;
        let needed = self.peers.iter().filter(near).map(|peer| peer.matched).min();
        core.log.forget(needed.unwrap_or(core.commit).min(core.commit));
        core.log.forget_above(core.config.window_bytes_max, core.commit);
    }

    pub(super) fn in_sync(&self, core: &Core) -> Vec<ReplicaId> {
        let fresh = |at: Time| core.now.since(at) <= core.config.in_sync_lag_us;
        let caught_up = |peer: &&Progress| {
            peer.is_live(core.now, &core.config) && (peer.quiet || peer.caught_up_at.is_some_and(fresh))
        };
        let own = std::iter::once(core.id);
        let others = self.peers.iter().filter(caught_up).map(|peer| peer.id);
        let membership = core.memberships.active();
        own.chain(others).filter(|id| membership.is_voter(*id)).collect()
    }

    pub(super) fn progress(&self, core: &Core) -> Vec<PeerProgress> {
        let membership = core.memberships.active();
        let tell = |peer: &Progress| PeerProgress {
            id: peer.id,
            matched: peer.matched,
            next: peer.next,
            state: peer.state,
            live: peer.is_live(core.now, &core.config),
            voter: membership.is_voter(peer.id),
            rebuilt: peer.rebuilt,
        };
        self.peers.iter().map(tell).collect()
    }
}

impl Core {
    /// When the next heartbeat is due: a beat that all leaders of a node share, so that what they say to another node goes together.
    fn next_beat(&self) -> Time {
        let beat = (self.config.heartbeat_us / BEATS).max(1);
        Time(self.now.after(self.config.heartbeat_us).0 / beat * beat)
    }

    /// Appends an entry of this leader, who has thereby all that its term's log holds.
    pub(super) fn append_own(&mut self, proposal: Proposal, step: &mut Step<'_>) {
        let Proposal { kind, record_count, timestamp_ms, payload } = proposal;
        let (term, index, base_offset) = (self.term, self.log.last().next(), self.log.next_offset());
        let entry = Entry { term, index, base_offset, record_count, kind, timestamp_ms, payload };
        let membership = super::follower::membership_of(&entry).expect("own memberships are valid");
        self.append(entry, membership, step);
        self.matched = index;
    }

    /// Sends as many appends as may be on the way, or the log start when the follower is behind it.
    fn replicate(&self, peer: &mut Progress, step: &mut Step<'_>) {
        while let Some(bytes_max) = peer.budget(&self.config) {
            let prev = peer.next.prev();
            let Some(prev_term) = self.log.term_at(prev) else {
                return self.send_reset(peer, step);
            };
            let unknown = peer.state == PeerState::Probe;
            if prev == self.log.last() && !unknown {
                return;
            }
            let Some(entries) = self.read(peer, bytes_max, step) else {
                return;
            };
            let bytes = entries.iter().map(Entry::weight).sum();
            let last = entries.last().map_or(prev, |entry| entry.index);
            let message =
                Message::Append { term: self.term, prev: (prev, prev_term), entries, commit: self.commit };
            self.send(peer.id, message, step);
            peer.commit_sent = self.commit;
            peer.sent(prev, last, bytes);
        }
    }

    /// Entries from the follower's next on, out of memory or from the owner; empty at the end of the log.
    fn read(&self, peer: &mut Progress, bytes_max: usize, step: &mut Step<'_>) -> Option<Vec<Entry>> {
        if peer.next > self.log.last() {
            return Some(Vec::new());
        }
        if let Some(entries) = self.log.recent(peer.next, bytes_max) {
            return Some(entries);
        }
        let read = match (peer.rebuilt, peer.grant) {
            (false, _) => step.log.entries(peer.next, bytes_max),
            (true, Some(granted)) => step.log.entries_for_rebuild(peer.next, bytes_max.min(granted)),
            (true, None) => {
                if !std::mem::replace(&mut peer.asked, true) {
                    step.effects.rebuilds.push(Rebuild::Asks { to: peer.id });
                }
                return None;
            }
        };
        match read {
            LogRead::Ready(entries) => {
                assert!(
                    entries.first().is_some_and(|entry| entry.index == peer.next),
                    "the log read elsewhere"
                );
                if peer.rebuilt {
                    let bytes = entries.iter().map(Entry::weight).sum();
                    peer.grant = None;
                    step.effects.rebuilds.push(Rebuild::Sent { to: peer.id, bytes });
                }
                Some(entries)
            }
            LogRead::Loading | LogRead::Gone => {
                // Gone above our own start: the owner trimmed and is about to say so.
                peer.loading = true;
                None
            }
        }
    }

    /// An empty append, which makes a follower compare the end of what was sent.
    fn ask_about(&self, peer: &Progress, step: &mut Step<'_>) {
        let prev = peer.next.prev();
        if let Some(prev_term) = self.log.term_at(prev) {
            let (term, commit) = (self.term, self.commit);
            self.send(
                peer.id,
                Message::Append { term, prev: (prev, prev_term), entries: Vec::new(), commit },
                step,
            );
        }
    }

    fn send_reset(&self, peer: &mut Progress, step: &mut Step<'_>) {
        let start = self.log.start();
        let membership = self.memberships.start().clone();
        let checkpoint = step.log.checkpoint();
        self.send(peer.id, Message::Reset { term: self.term, start, membership, checkpoint }, step);
        peer.reset(start.index);
    }

    pub(super) fn heartbeat(&self, peer: &mut Progress, seq: u64, quiet: bool, step: &mut Step<'_>) {
        peer.commit_sent = self.commit;
        let (term, commit, quiet) = (self.term, self.commit, quiet.then_some(0));
        self.send(peer.id, Message::Heartbeat { term, seq, commit, quiet }, step);
    }
}
