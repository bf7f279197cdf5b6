//! Campaigns and votes, with pre-vote, leader leases and transfer.

use std::collections::BTreeSet;

use super::effects::DropReason;
use super::message::Message;
use super::replica::{Core, Replica, State, Step};
use super::types::{Index, ReplicaId, Term};
use crate::mutant::{self, Mutant};

/// How often the wait between two pre-votes doubles.
const RETRIES_DOUBLED: u32 = 2;

/// This part of the shortest election timeout is left to who was promised a vote.
const MOMENT: u64 = 8;

impl Replica {
    pub(super) fn on_election_deadline(&mut self, step: &mut Step<'_>) {
        let waits_for_disk = matches!(self.state, State::Candidate { asked: false, .. });
        if waits_for_disk {
            return self.core.rearm();
        }
        self.pre_campaign(step);
    }

    pub(super) fn on_campaign(&mut self, step: &mut Step<'_>) {
        if matches!(self.state, State::Follower) {
            self.pre_campaign(step);
        }
    }

    fn pre_campaign(&mut self, step: &mut Step<'_>) {
        let core = &mut self.core;
        core.quiet = false;
        core.rearm();
        let Some(term) = core.term.next().filter(|_| core.may_campaign()) else {
            return;
        };
        let asked = match self.state {
            State::PreCandidate { asked, .. } => asked + 1,
            _ => 0,
        };
        // A refused pre-vote costs nothing, so it is asked again sooner than a vote; but not as often when nobody answers, for
        // thousands may ask at once.
        let shortest = core.config.election_min_us / 4 * (1 << asked.min(RETRIES_DOUBLED));
        core.deadline = core.now.after(core.rng.between(shortest, 2 * shortest));
        core.leader = None;
        self.state = State::PreCandidate { votes: Vec::new(), asked };
        self.core.ask(step, |last, receiver_is_voter| Message::PreVote { term, last, receiver_is_voter });
        self.count_vote(self.core.id, step);
    }

    fn campaign(&mut self, transfer: bool, step: &mut Step<'_>) {
        let Some(term) = self.core.term.next() else {
            return;
        };
        self.core.quiet = false;
        let core = &mut self.core;
        core.enter_term(term, Some(core.id), step);
        // Candidates that met in this term must not meet in the next, however narrow the timeouts are (seed 134 of the random test).
        let (shortest, longest) = (core.config.election_min_us, core.config.election_max_us);
        let timeout = core.rng.between(shortest, longest.max(shortest + shortest / 2));
        core.deadline = core.now.after(timeout);
        self.state = State::Candidate { votes: Vec::new(), asked: false, transfer };
    }

    /// Asks once the own vote and everything before it is synced: a candidate that forgot its term or the tail that it
    /// boasted of could win one term twice.
    pub(super) fn ask_for_votes(&mut self, step: &mut Step<'_>) {
        let State::Candidate { asked, transfer, .. } = &mut self.state else {
            return;
        };
        if *asked || !self.core.durable.has_hard_state() {
            return;
        }
        *asked = true;
        let (term, transfer) = (self.core.term, *transfer);
        self.core.ask(step, |last, receiver_is_voter| Message::Vote {
            term,
            last,
            receiver_is_voter,
            transfer,
        });
        self.count_vote(self.core.id, step);
    }

    fn count_vote(&mut self, from: ReplicaId, step: &mut Step<'_>) {
        let (State::PreCandidate { votes, .. } | State::Candidate { votes, .. }) = &mut self.state else {
            return;
        };
        if !votes.contains(&from) || mutant::active(Mutant::DuplicateAckCountedTwice) {
            votes.push(from);
        }
        let membership = self.core.memberships.active();
        let counts = |set: &BTreeSet<ReplicaId>, voter: &ReplicaId| {
            set.contains(voter)
                || (mutant::active(Mutant::LearnerVotes) && membership.learners.contains(voter))
        };
        if !membership.has_quorum(|set| votes.iter().filter(|voter| counts(set, voter)).count()) {
            return;
        }
        match self.state {
            State::PreCandidate { .. } => self.campaign(false, step),
            _ => self.become_leader(step),
        }
    }

    pub(super) fn on_pre_vote_granted(&mut self, from: ReplicaId, term: Term, step: &mut Step<'_>) {
        if matches!(self.state, State::PreCandidate { .. }) && Some(term) == self.core.term.next() {
            self.count_vote(from, step);
        }
    }

    pub(super) fn on_vote_granted(&mut self, from: ReplicaId, step: &mut Step<'_>) {
        if matches!(self.state, State::Candidate { asked: true, .. }) {
            self.count_vote(from, step);
        }
    }

    /// Whether a candidate must be left unheard because a leader is, or was a moment ago. Who leads does not campaign.
    fn in_lease(&self, candidate: ReplicaId) -> bool {
        let core = &self.core;
        if core.leader == Some(candidate) {
            return false;
        }
        let fresh = core.now.since(core.leader_heard) < core.config.election_min_us;
        matches!(self.state, State::Leader(_)) || (core.leader.is_some() && fresh)
    }

    pub(super) fn on_pre_vote(
        &mut self,
        from: ReplicaId,
        term: Term,
        last: (Index, Term),
        receiver_is_voter: bool,
        step: &mut Step<'_>,
    ) {
        if self.in_lease(from) || !self.core.may_vote(receiver_is_voter) {
            return;
        }
        let granted = term > self.core.term && self.core.is_up_to_date(last) && !self.goes_first(from, last);
        if granted && matches!(self.state, State::Follower) {
            // It has a moment to make use of that, before this one campaigns too and both split the votes of a term.
            let moment = self.core.config.election_min_us / MOMENT;
            self.core.deadline = self.core.deadline.max(self.core.now.after(moment));
        }
        let term = if granted { term } else { self.core.term };
        self.core.send(from, Message::PreVoteReply { term, granted }, step);
    }

    /// Of two that ask for pre-votes at once, with equal logs, the one on the node with the lower number goes first: with the pre-vote of
    /// the other each would stand in the same term. Not when it is asked again: who goes first may be unable to win.
    fn goes_first(&self, other: ReplicaId, last: (Index, Term)) -> bool {
        let equal = last == (self.core.log.last(), self.core.log.last_term());
        matches!(self.state, State::PreCandidate { asked: 0, .. }) && equal && self.core.id < other
    }

    pub(super) fn on_vote(
        &mut self,
        from: ReplicaId,
        (term, transfer): (Term, bool),
        last: (Index, Term),
        receiver_is_voter: bool,
        step: &mut Step<'_>,
    ) {
        if term >= self.core.term
            && ((!transfer && self.in_lease(from)) || !self.core.may_vote(receiver_is_voter))
        {
            return;
        }
        if term > self.core.term {
            self.become_follower(term, None, step);
        }
        let core = &mut self.core;
        let free = core.vote.map_or(core.leader.is_none(), |vote| vote == from);
        if term < core.term || !free || !core.is_up_to_date(last) {
            let refusal = Message::VoteReply { term: core.term, granted: false };
            return core.send(from, refusal, step);
        }
        if matches!(self.state, State::PreCandidate { .. }) {
            self.state = State::Follower;
        }
        if core.vote.is_none() {
            core.vote = Some(from);
            step.hard_state = true;
            core.rearm();
        }
        core.vote_owed = true;
        if !step.hard_state {
            core.give_promises(step);
        }
    }

    pub(super) fn on_timeout_now(&mut self, step: &mut Step<'_>) {
        if self.core.may_campaign() {
            self.campaign(true, step);
        }
    }

    /// Takes `from` for the leader of `term`. Whether its message is to be looked at.
    pub(super) fn follow(&mut self, from: ReplicaId, term: Term, step: &mut Step<'_>) -> bool {
        if term < self.core.term {
            // The old leader may be cut off from every other way to learn that its term is over.
            let stale = Message::AppendReply { term: self.core.term, matched: Index(0), reject: None };
            self.core.send(from, stale, step);
            return false;
        }
        let known = self.core.leader.filter(|_| term == self.core.term);
        if known.is_some_and(|leader| leader != from) {
            step.drop_for(DropReason::SecondLeader);
            return false;
        }
        if self.core.distrusted == Some((from.node, term)) {
            // What it sends is as good as ever; but it is no reason to wait for it, or to give up a campaign against it.
            return matches!(self.state, State::Follower);
        }
        self.core.distrusted = None;
        if known.is_none() || !matches!(self.state, State::Follower) {
            self.become_follower(term, Some(from), step);
        }
        self.core.leader_heard = self.core.now;
        self.core.quiet = false;
        self.core.rearm();
        true
    }
}

impl Core {
    fn ask(&self, step: &mut Step<'_>, request: impl Fn((Index, Term), bool) -> Message) {
        let last = (self.log.last(), self.log.last_term());
        let membership = self.memberships.active();
        let learners = membership.learners.iter().filter(|_| mutant::active(Mutant::LearnerVotes)).copied();
        for voter in membership.all_voters().chain(learners).filter(|voter| *voter != self.id) {
            self.send(voter, request(last, true), step);
        }
    }

    /// A replica campaigns while any membership from the committed one on counts it: its own removal may not be
    /// committed yet, and it may be the only one that can commit it (Raft dissertation 4.2.2).
    pub(super) fn may_campaign(&self) -> bool {
        self.memberships.since_committed(self.commit).any(|membership| membership.is_voter(self.id))
    }

    /// A voter votes, a removed replica does not; a learner, or one that has not heard of itself yet, votes if the
    /// candidate counts it.
    fn may_vote(&self, receiver_is_voter: bool) -> bool {
        if self.may_campaign() {
            return true;
        }
        let named =
            self.memberships.since_committed(self.commit).any(|membership| membership.contains(self.id));
        receiver_is_voter && (named || !self.memberships.was_member(self.id, self.commit))
    }

    fn is_up_to_date(&self, (index, term): (Index, Term)) -> bool {
        let own = (self.log.last_term(), self.log.last());
        (term, index) >= own || mutant::active(Mutant::VoteForStaleLog)
    }

    /// Sends what waited for a sync, as far as it came.
    pub(super) fn give_promises(&mut self, step: &mut Step<'_>) {
        if self.vote_owed && self.durable.has_hard_state() {
            self.vote_owed = false;
            if let Some(candidate) = self.vote {
                self.send(candidate, Message::VoteReply { term: self.term, granted: true }, step);
            }
        }
        self.acknowledge(step);
    }
}
