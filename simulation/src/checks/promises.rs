//! What a replica said to others stays true: it acknowledges only what its disk synced, votes once per term, and comes
//! back from a crash with everything that it acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use mesh::raft::{Index, Message, ReplicaId, Term};
use node::core::message::PeerMessage;
use node::core::metadata::lifecycle::Report;

use super::{Check, Group, Ledger, ReplicaFact, Verdict, violated};

const SYNCED: &str = "an acknowledgement is synced";
const ONCE: &str = "one vote per term";
const KEPT: &str = "promises survive a crash";

#[derive(Clone, Copy, Default)]
struct Promise {
    host: usize,
    /// Highest term that it voted in.
    term: Term,
    /// Acknowledged up to here, and not truncated since.
    matched: Index,
    /// Synced, as last seen.
    synced: Index,
}

/// What each triple promised.
#[derive(Default)]
pub(super) struct Promises {
    of: BTreeMap<(Group, ReplicaId), Promise>,
    votes: BTreeMap<(Group, ReplicaId, Term), ReplicaId>,
    /// Those that said that they are created, and on which host.
    created: BTreeMap<(Group, ReplicaId), usize>,
    /// Those that their node gave up. What it said of them earlier in the same step is seen later (seed 17960853950416).
    retired: BTreeSet<(Group, ReplicaId)>,
    /// Hosts whose directories were damaged. What they find of it later, at a start, ends the life of the directory and with it all that was
    /// created in it meanwhile (seed 9014).
    damaged: BTreeSet<usize>,
}

impl Check for Promises {
    fn replica(&mut self, ledger: &Ledger, fact: &ReplicaFact) -> Verdict {
        let promise = self.of.entry((fact.group, fact.id)).or_default();
        promise.host = fact.host;
        promise.synced = fact.synced;
        let same = fact.before.as_ref().is_some_and(|before| before.id == fact.id);
        if same {
            // Only a truncation that a newer leader ordered lowers what is synced.
            promise.matched = promise.matched.min(fact.synced);
            return Ok(());
        }
        let deleted = ledger.descriptors.of(ledger.key(fact.group)).is_none();
        if deleted || fact.last >= promise.matched && fact.term >= promise.term {
            return Ok(());
        }
        violated(
            KEPT,
            format!(
                "{}: replica {} had acknowledged up to entry {} and voted in term {}, but comes back with {} and term {}",
                ledger.name(fact.group),
                fact.id,
                promise.matched.0,
                promise.term.0,
                fact.last.0,
                fact.term.0
            ),
        )
    }

    fn gone(&mut self, fact: &ReplicaFact, crashed: bool) {
        // Deleted or marked as damaged by its node: nothing is expected of this triple any more.
        if !crashed {
            self.created.remove(&(fact.group, fact.id));
            self.retired.insert((fact.group, fact.id));
        }
        if !crashed && let Some(promise) = self.of.get_mut(&(fact.group, fact.id)) {
            (promise.term, promise.matched) = (Term(0), Index(0));
            // What it still says was synced in the step in which it went, and is not there to be compared any more.
            promise.synced = Index(u64::MAX);
        }
    }

    fn damaged(&mut self, host: usize) {
        for promise in self.of.values_mut().filter(|promise| promise.host == host) {
            (promise.term, promise.matched) = (Term(0), Index(0));
        }
        self.created.retain(|_, at| *at != host);
        self.damaged.insert(host);
    }

    fn message(&mut self, ledger: &Ledger, host: usize, message: &PeerMessage) -> Verdict {
        if let PeerMessage::Report { reports, .. } = message {
            return reports.iter().try_for_each(|report| self.report(ledger, host, report));
        }
        let PeerMessage::Raft { key, from, to, message } = message else { return Ok(()) };
        let Some(group) = ledger.find(*key) else { return Ok(()) };
        match message {
            Message::VoteReply { term, granted: true } => self.vote(ledger, group, *from, *to, *term),
            // Only a vote binds its sender to a term: what an acknowledgement says is in entries, which carry theirs.
            Message::HeartbeatReply { matched, .. }
            | Message::AppendReply { matched, reject: None, .. }
            | Message::ResetReply { matched, .. } => self.matched(ledger, group, *from, *matched),
            _ => Ok(()),
        }
    }
}

impl Promises {
    /// That a replica is created is a promise too: empty logs vote only until all of them, or most, said so.
    fn report(&mut self, ledger: &Ledger, host: usize, report: &Report) -> Verdict {
        let (Report::Created { key, replica } | Report::Lost { key, replica, .. }) = report else {
            return Ok(());
        };
        let Some(group) = ledger.find(*key) else { return Ok(()) };
        if matches!(report, Report::Created { .. }) {
            if !self.retired.contains(&(group, *replica)) {
                self.created.insert((group, *replica), host);
            }
            return Ok(());
        }
        let life_ended =
            matches!(report, Report::Lost { incarnation, .. } if *incarnation != replica.incarnation);
        if self.created.remove(&(group, *replica)).is_none()
            || ledger.descriptors.of(*key).is_none()
            || (life_ended && self.damaged.contains(&host))
        {
            return Ok(());
        }
        let name = ledger.name(group);
        violated(KEPT, format!("{name}: replica {replica} had been called created by its node, and is lost"))
    }

    fn vote(
        &mut self,
        ledger: &Ledger,
        group: Group,
        voter: ReplicaId,
        candidate: ReplicaId,
        term: Term,
    ) -> Verdict {
        let promise = self.of.entry((group, voter)).or_default();
        promise.term = promise.term.max(term);
        let first = *self.votes.entry((group, voter, term)).or_insert(candidate);
        if first == candidate {
            return Ok(());
        }
        let name = ledger.name(group);
        violated(
            ONCE,
            format!("{name}: replica {voter} voted in term {} for {first} and for {candidate}", term.0),
        )
    }

    fn matched(&mut self, ledger: &Ledger, group: Group, from: ReplicaId, matched: Index) -> Verdict {
        let promise = self.of.entry((group, from)).or_default();
        promise.matched = promise.matched.max(matched);
        if matched <= promise.synced {
            return Ok(());
        }
        let (name, synced) = (ledger.name(group), promise.synced.0);
        violated(
            SYNCED,
            format!("{name}: replica {from} acknowledges up to entry {} with {synced} synced", matched.0),
        )
    }
}

#[cfg(test)]
mod tests {
    use node::core::metadata::{PartitionKey, ShardId};

    use super::super::doctored::{fact, founding, id};
    use super::*;

    /// Of a partition that exists.
    fn ledger() -> (Ledger, Group) {
        let mut ledger = Ledger::new(&founding());
        let group = ledger.group(PartitionKey::of_shard(ShardId(3)));
        (ledger, group)
    }

    fn say(check: &mut Promises, ledger: &Ledger, to: i32, message: Message) -> Verdict {
        let key = PartitionKey::of_shard(ShardId(3));
        check.message(ledger, 1, &PeerMessage::Raft { key, from: id(1), to: id(to), message })
    }

    #[test]
    fn a_second_vote_is_found() {
        let (ledger, _) = ledger();
        let mut check = Promises::default();
        let vote = Message::VoteReply { term: Term(3), granted: true };
        assert!(say(&mut check, &ledger, 2, vote.clone()).is_ok());
        assert!(say(&mut check, &ledger, 2, vote.clone()).is_ok());
        assert!(say(&mut check, &ledger, 3, Message::VoteReply { term: Term(3), granted: false }).is_ok());
        assert_eq!(say(&mut check, &ledger, 3, vote).unwrap_err().check, ONCE);
    }

    #[test]
    fn an_acknowledgement_before_the_sync_is_found() {
        let (ledger, group) = ledger();
        let mut check = Promises::default();
        check.replica(&ledger, &fact(group, 1, 1, false, 0, 5)).unwrap();
        let reply = |matched| Message::AppendReply { term: Term(1), matched: Index(matched), reject: None };
        assert!(say(&mut check, &ledger, 2, reply(5)).is_ok());
        assert_eq!(say(&mut check, &ledger, 2, reply(6)).unwrap_err().check, SYNCED);
    }

    #[test]
    fn a_forgotten_acknowledgement_is_found_unless_damaged() {
        for damaged in [false, true] {
            let (ledger, group) = ledger();
            let mut check = Promises::default();
            check.replica(&ledger, &fact(group, 1, 1, false, 0, 5)).unwrap();
            let reply = Message::AppendReply { term: Term(1), matched: Index(5), reject: None };
            say(&mut check, &ledger, 2, reply).unwrap();
            if damaged {
                check.damaged(1);
            }
            assert_eq!(check.replica(&ledger, &fact(group, 1, 1, false, 0, 4)).is_ok(), damaged);
        }
    }
}
