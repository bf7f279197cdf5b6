//! Looks at what a step changed and gives the checkers their facts.
//!
//! A message for one replica changes that replica; any other input may change several, and then each is compared with
//! what it was by a few numbers.

use std::sync::Arc;

use mesh::raft::{Index, Membership, Role, Term};
use node::core::metadata::PartitionKey;
use node::core::{Node, ReplicaView};
use storage::fake::FakeDisk;
use storage::{Read, ReadFrom};

use super::{World, broken};
use crate::checks::{ReplicaFact, Verdict};
use crate::coverage::Fact;
use crate::fault::Moment;

/// Bytes read at once when newly committed entries are looked at.
const LOOK_BYTES: usize = 1 << 20;

impl World {
    /// Shows the checkers what changed on a host; only the replica of `only` when it is given.
    pub(super) fn observe(&mut self, host: usize, only: Option<PartitionKey>) -> Verdict {
        let Some(node) = self.hosts[host].node.take() else { return Ok(()) };
        let seen = match self.restored == Some(host) {
            true => self.look_at_copy(host, &node),
            false => self.look(host, &node, only),
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
                "nobody follows an old copy",
                format!("node {} leads {:?} in term {}", host + 1, view.key, view.term.0),
            ),
            None => Ok(()),
        }
    }

    fn look(&mut self, host: usize, node: &Node<FakeDisk>, only: Option<PartitionKey>) -> Verdict {
        match only {
            Some(key) => match node.replica(key) {
                Some(view) => self.look_at(host, node, &view),
                None => Ok(()),
            },
            None => {
                // Shards first: a node may act in the same step on what its own shard just committed.
                let is_shard = |view: &ReplicaView<'_>| view.key.as_shard().is_some();
                let (shards, users) = (node.replicas().filter(is_shard), node.replicas());
                let mut there = 0;
                for view in shards.chain(users.filter(|view| !is_shard(view))) {
                    self.look_at(host, node, &view)?;
                    there += usize::from(view.role.is_some());
                }
                if there < self.hosts[host].shown.len() {
                    return self.forget_gone(host, node);
                }
                Ok(())
            }
        }
    }

    fn forget_gone(&mut self, host: usize, node: &Node<FakeDisk>) -> Verdict {
        let shown = std::mem::take(&mut self.hosts[host].shown);
        for (key, fact) in shown {
            if node.replica(key).is_some_and(|view| view.role.is_some()) {
                self.hosts[host].shown.insert(key, fact);
                continue;
            }
            self.tell(Some(host), || format!("no longer has replica {} of {key:?}", fact.id));
            self.coverage.see(self.now, &Fact::Gone { key, host });
            let deleted = node.replica(key).is_none();
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
        let Some(state) = node.store().log(view.log) else { return Ok(()) };
        let leads = role == Role::Leader;
        let synced = Index(state.synced_index);
        let before = self.hosts[host].shown.get(&view.key);
        let last_term = state.term_starts.last().map(|(term, first, _)| (Term(*term), Index(*first)));
        if let Some(b) = before
            && b.id == view.id
            && b.term == view.term
            && b.leads == leads
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
        let fact = ReplicaFact {
            host,
            group: self.ledger.group(view.key),
            id: view.id,
            term: view.term,
            leads,
            commit: view.commit,
            last: view.last,
            start: view.start,
            synced,
            terms,
            membership,
            before,
        };
        self.show(node, view, fact)
    }

    fn show(&mut self, node: &Node<FakeDisk>, view: &ReplicaView<'_>, mut fact: ReplicaFact) -> Verdict {
        self.trace.fold(&[
            30,
            u64::from(fact.group.0),
            u64::from(fact.term.0),
            u64::from(fact.leads),
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
    /// again, empty and under its old triple; it serves nobody and goes when the node learns better. Nothing holds for it.
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
    let entries = match node.store().read(view.log, ReadFrom::Index(from), LOOK_BYTES) {
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
