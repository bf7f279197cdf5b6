//! Looks at what a step changed and gives the checkers their facts.
//!
//! The node says which replicas a step came by; each is compared with what it was by a few numbers.

use std::sync::Arc;

use mesh::raft::{EntryKind, Index, Membership, NodeId, Role, Term};
use node::core::metadata::{Command, NodeState, PartitionKey, ShardId};
use node::core::{Node, ReplicaView};
use storage::fake::FakeDisk;
use storage::{LogId, Read, ReadFrom};

use super::{World, broken};
use crate::checks::{Known, ReplicaFact, Verdict};
use crate::coverage::{Fact, Heard};
use crate::fault::Moment;
use crate::queue::SECOND;

/// Bytes read at once when newly committed entries are looked at.
const LOOK_BYTES: usize = 1 << 20;

impl World {
    /// Shows the checkers what a step changed on a host.
    pub(super) fn observe(&mut self, host: usize) -> Verdict {
        let Some(node) = self.hosts[host].node.take() else { return Ok(()) };
        let seen = match self.is_of_the_past(host) {
            true => self.look_at_copy(host, &node),
            false => self.look(host, &node),
        };
        self.hosts[host].node = Some(node);
        seen
    }

    /// What an old copy of a data directory holds is no fact about its replicas, whose promises are lost; nobody may take part in
    /// what it does.
    fn look_at_copy(&self, host: usize, node: &Node<FakeDisk>) -> Verdict {
        let alone = |view: &ReplicaView<'_>| view.membership.is_none_or(|members| members.voters.len() < 2);
        match node.replicas().find(|view| view.role == Some(Role::Leader) && !alone(view)) {
            Some(view) => broken(
                "nobody follows a directory of the past",
                format!("node {} leads {:?} in term {}", host + 1, view.key, view.term.0),
            ),
            None => Ok(()),
        }
    }

    fn look(&mut self, host: usize, node: &Node<FakeDisk>) -> Verdict {
        // Shards first, and first of all the one that places the others: a node may act in the same step on what its own
        // shard just committed.
        let rank = |key: PartitionKey| key.as_shard().map_or(2, |shard| u8::from(shard != ShardId(0)));
        for turn in 0..=2 {
            for view in node.touched().iter().filter_map(|log| node.replica_of(*log)) {
                if rank(view.key) == turn {
                    self.look_at(host, node, &view)?;
                }
            }
        }
        self.look_at_hearing(host, node)?;
        let is_gone = |log: &LogId| node.replica_of(*log).is_none_or(|view| view.role.is_none());
        if node.touched().iter().any(is_gone) {
            return self.forget_gone(host, node);
        }
        Ok(())
    }

    /// Whom the node watches, and what SWIM told it.
    fn look_at_hearing(&mut self, host: usize, node: &Node<FakeDisk>) -> Verdict {
        let figures = node.swim().figures();
        let before = std::mem::replace(&mut self.hosts[host].hearing.figures, figures);
        if (figures.refuted, figures.renewed) != (before.refuted, before.renewed) {
            self.coverage.see(self.now, &Fact::Refuted { before, after: figures });
        }
        let changes = node.hearing_changes();
        if std::mem::replace(&mut self.hosts[host].hearing.as_of, changes) == changes {
            return Ok(());
        }
        let me = node.identity().node;
        for id in node.view().nodes().map(|info| info.node).filter(|id| *id != me) {
            let now = Heard { watched: node.watches(id), live: node.swim().is_live(id) };
            let before = self.hosts[host].hearing.heard.insert(id, now).unwrap_or_default();
            if now != before
                && let Some(of) = self.host_of(id)
            {
                self.coverage.see(self.now, &Fact::Hearing { of, before, now });
            }
            if let Some(now) = node.swim().active(id) {
                let key = (now.node, now.incarnation);
                let before = self.hosts[host].hearing.known.insert(key, now);
                for check in self.checks.iter_mut().filter(|_| before != Some(now)) {
                    check.known(&Known { host, before, now })?;
                }
            }
        }
        Ok(())
    }

    /// Whether nodes told of everything that changed: the checkers see nothing else.
    pub(super) fn nothing_is_missed(&self) -> Verdict {
        for host in self.hosts.iter().filter(|host| !self.is_of_the_past(host.at)) {
            for view in host.node.iter().flat_map(|node| node.replicas()).filter(|view| view.role.is_some()) {
                let shown = host.shown.get(&view.key);
                let same = shown.is_some_and(|fact| {
                    let leads = view.role == Some(Role::Leader);
                    (fact.id, fact.term, fact.leads, fact.commit, fact.last, fact.start)
                        == (view.id, view.term, leads, view.commit, view.last, view.start)
                });
                if !same && !self.is_deleted(view.key) {
                    let (node, id, key) = (host.at + 1, view.id, view.key);
                    return broken(
                        "a node tells which replicas a step touched",
                        format!("node {node} was silent about {id} of {key:?}, shown as {shown:?}"),
                    );
                }
            }
        }
        Ok(())
    }

    fn forget_gone(&mut self, host: usize, node: &Node<FakeDisk>) -> Verdict {
        let shown = std::mem::take(&mut self.hosts[host].shown);
        for (key, fact) in shown {
            if node.replica(key).is_some_and(|view| view.role.is_some()) {
                self.hosts[host].shown.insert(key, fact);
                continue;
            }
            self.tell(Some(host), || format!("no longer has replica {} of {key:?}", fact.id));
            let deleted = node.replica(key).is_none();
            self.coverage.see(self.now, &Fact::Gone { key, host });
            for check in &mut self.checks {
                check.gone(&fact, false);
                if deleted {
                    check.deleted(&self.ledger, &fact)?;
                }
            }
        }
        Ok(())
    }

    fn look_at(&mut self, host: usize, node: &Node<FakeDisk>, view: &ReplicaView<'_>) -> Verdict {
        let (Some(role), Some(membership)) = (view.role, view.membership) else { return Ok(()) };
        let Some(state) = node.workers().log(view.log) else { return Ok(()) };
        let leads = role == Role::Leader;
        let synced = Index(state.synced_index);
        let before = self.hosts[host].shown.get(&view.key);
        let last_term = state.term_starts.last().map(|(term, first, _)| (Term(*term), Index(*first)));
        if let Some(b) = before
            && b.id == view.id
            && b.standing == view.standing
            && b.term == view.term
            && b.leads == leads
            && b.quiet == view.quiet
            && b.commit == view.commit
            && b.last == view.last
            && b.synced == synced
            && b.start == view.start
            && b.terms.last().copied() == last_term
        {
            return Ok(());
        }
        let before = before.cloned();
        let terms = state.term_starts.iter().map(|(term, first, _)| (Term(*term), Index(*first)));
        let terms = match &before {
            Some(b)
                if b.terms.len() == state.term_starts.len() && terms.clone().eq(b.terms.iter().copied()) =>
            {
                Arc::clone(&b.terms)
            }
            _ => terms.collect(),
        };
        let membership: Arc<Membership> = match &before {
            Some(b) if *b.membership == *membership => Arc::clone(&b.membership),
            _ => Arc::new(membership.clone()),
        };
        let registered =
            |id: &NodeId| node.view().node(*id).is_none_or(|info| info.state != NodeState::Removed);
        let unwatched = membership
            .members()
            .map(|id| id.node)
            .find(|id| *id != node.identity().node && registered(id) && !node.watches(*id));
        let fact = ReplicaFact {
            host,
            group: self.ledger.group(view.key),
            id: view.id,
            standing: view.standing,
            term: view.term,
            leads,
            quiet: view.quiet,
            commit: view.commit,
            last: view.last,
            start: view.start,
            synced,
            terms,
            membership,
            unwatched,
            before,
        };
        self.show(node, view, fact)
    }

    fn show(&mut self, node: &Node<FakeDisk>, view: &ReplicaView<'_>, mut fact: ReplicaFact) -> Verdict {
        self.trace.fold(&[
            30,
            u64::from(fact.group.0),
            u64::from(fact.term.0),
            u64::from(fact.leads) | u64::from(fact.quiet) << 1,
            fact.commit.0,
            fact.last.0,
            fact.synced.0,
        ]);
        self.coverage.see(self.now, &Fact::Replica { key: view.key, fact: &fact });
        if fact.became_leader() {
            self.stats.elections += 1;
            let (name, id, term) = (self.ledger.name(fact.group), fact.id, fact.term.0);
            self.tell(Some(fact.host), || format!("{id} leads {name} in term {term}"));
            self.at_moment(fact.host, Moment::Leads);
        }
        let changed = |before: &Arc<ReplicaFact>| before.membership != fact.membership;
        if fact.leads && fact.before.as_ref().is_some_and(changed) {
            self.at_moment(fact.host, Moment::Membership);
        }
        let same = fact.before.as_ref().filter(|before| before.id == fact.id);
        let seen_before = same.map_or(fact.start.index, |before| before.commit.max(fact.start.index));
        let mut verdict =
            if fact.commit > seen_before { self.committed(node, view, &fact, seen_before) } else { Ok(()) };
        for check in &mut self.checks {
            verdict = check.replica(&self.ledger, &fact).and(verdict);
        }
        if !self.is_deleted(view.key) {
            verdict?;
        }
        fact.before = None;
        self.hosts[fact.host].shown.insert(view.key, Arc::new(fact));
        Ok(())
    }

    /// Whether the shard committed that this partition is gone. A node that knows only an old copy of the metadata may found it
    /// again, empty and under its old triple, until it learns better. Together with one that never heard of the deletion it may even
    /// serve (seed 17952791793766). Nothing holds for what was deleted.
    pub(super) fn is_deleted(&self, key: PartitionKey) -> bool {
        self.ledger.descriptors.of(key).is_none()
    }

    fn committed(
        &mut self,
        node: &Node<FakeDisk>,
        view: &ReplicaView<'_>,
        fact: &ReplicaFact,
        seen: Index,
    ) -> Verdict {
        self.ledger.shown(fact);
        let mut next = seen.0 + 1;
        while next <= fact.commit.0 {
            let entries = match read(node, view, next) {
                Ok(entries) => entries,
                // Damage of one replica is no damage of the group: another one that holds the entry shows it.
                Err(_) if self.may_be_rotten(fact.host) => match self.read_elsewhere(fact, Index(next)) {
                    Some(entries) => entries,
                    None => return Ok(()),
                },
                Err(error) => return self.unreadable(fact, next, &error),
            };
            for entry in entries.iter().filter(|entry| entry.index >= next && entry.index <= fact.commit.0) {
                let Some(first) = self.ledger.show(fact, entry)? else { continue };
                self.coverage.see(self.now, &Fact::Committed { key: view.key, entry });
                self.called_dead(view.key, entry)?;
                for check in &mut self.checks {
                    check.first(&self.ledger, &first)?;
                }
                self.ledger.file(&first);
            }
            next = entries.last().map_or(next, |last| last.index) + 1;
        }
        Ok(())
    }

    fn unreadable(&self, fact: &ReplicaFact, index: u64, error: &str) -> Verdict {
        let (name, who) = (self.ledger.name(fact.group), fact.name());
        broken(
            "committed entries are readable",
            format!("{name}: {who} cannot read committed entry {index}: {error}"),
        )
    }

    fn read_elsewhere(&self, fact: &ReplicaFact, index: Index) -> Option<Vec<storage::Entry>> {
        let others = self.hosts.iter().filter(|host| host.at != fact.host);
        let nodes = others.filter_map(|host| host.node.as_ref());
        nodes.filter_map(|node| self.same_entries(node, fact, index)).next()
    }

    /// What a node holds from `index` on, as far as it is the log of `fact`.
    fn same_entries(
        &self,
        node: &Node<FakeDisk>,
        fact: &ReplicaFact,
        index: Index,
    ) -> Option<Vec<storage::Entry>> {
        let view = node.replica(self.ledger.key(fact.group))?;
        let mut entries = read(node, &view, index.0).ok()?;
        let same = |entry: &storage::Entry| fact.term_at(Index(entry.index)) == Some(Term(entry.term));
        entries.truncate(entries.iter().take_while(|entry| same(entry)).count());
        (!entries.is_empty()).then_some(entries)
    }

    /// In a mesh of five at most, whoever is called dead is the only one that was away then: the next one is called so after a grace time
    /// of its own.
    fn called_dead(&mut self, key: PartitionKey, entry: &storage::Entry) -> Verdict {
        if key.as_shard() != Some(ShardId(0)) || entry.kind != EntryKind::Command.to_u8() {
            return Ok(());
        }
        let Ok(Command::SetNodeState { node, state: NodeState::Dead, .. }) = Command::decode(&entry.payload)
        else {
            return Ok(());
        };
        let few = self.hosts.iter().filter(|host| host.is_node()).count() < 6;
        let dead = self.ledger.descriptors.state_of(node) == Some(NodeState::Dead);
        match self.last_dead.replace((node, self.now)).filter(|(last, _)| *last != node) {
            Some((other, at)) if few && dead && self.now < at + SECOND => {
                let what = format!("node {} is called dead right after node {}", node.0, other.0);
                broken("nobody is called dead while many are away", what)
            }
            _ => Ok(()),
        }
    }

    /// The process of a host is gone, and its replicas with it.
    pub(super) fn forget_replicas(&mut self, host: usize) {
        for fact in std::mem::take(&mut self.hosts[host].shown).into_values() {
            for check in &mut self.checks {
                check.gone(&fact, true);
            }
        }
    }

    /// The running leader of a group with the highest term.
    pub(super) fn leader_of(&self, key: PartitionKey) -> Option<&ReplicaFact> {
        let shown = self.hosts.iter().filter_map(|host| host.shown.get(&key));
        shown.filter(|fact| fact.leads).max_by_key(|fact| fact.term).map(Arc::as_ref)
    }
}

/// Reads stored entries as the node would.
fn read(node: &Node<FakeDisk>, view: &ReplicaView<'_>, from: u64) -> Result<Vec<storage::Entry>, String> {
    let entries = match node.workers().of(view.log).read(view.log, ReadFrom::Index(from), LOOK_BYTES) {
        Ok(Read::Ready(entries)) => Ok(entries),
        Ok(Read::Disk(job)) => job.run(),
        Err(error) => Err(error),
    };
    match entries {
        Ok(entries) if entries.is_empty() => Err("nothing was returned".into()),
        Ok(entries) => Ok(entries),
        Err(error) => Err(error.to_string()),
    }
}
