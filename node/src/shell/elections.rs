//! Elections as they are seen from outside the core: roles and terms of the replicas that a step touched, compared with before.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use mesh::raft::{Role, Term};
use storage::LogId;

use super::ShellNode;
use super::metrics::Elections;

/// Role and term of each replica when it was looked at last.
#[derive(Debug, Default)]
pub(super) struct Roles(BTreeMap<LogId, (Option<Role>, Term)>);

impl Roles {
    /// Looks at what the last step touched.
    pub(super) fn observe(&mut self, node: &ShellNode, counters: &Elections) {
        for log in node.touched() {
            match node.replica_of(*log) {
                Some(replica) => self.change(*log, replica.role, replica.term, counters),
                None => self.gone(*log, counters),
            }
        }
    }

    fn change(&mut self, log: LogId, role: Option<Role>, term: Term, counters: &Elections) {
        let now = (role, term);
        // The first look at a replica is no change: it may have been loaded with its term.
        let before = self.0.insert(log, now).unwrap_or((Some(Role::Follower), term));
        if before == now {
            return;
        }
        let count = |counter: &AtomicU64, so: bool| _ = counter.fetch_add(u64::from(so), Relaxed);
        let was = |role| before.0 == Some(role);
        let is = |role| now.0 == Some(role);
        // A lone voter wins in the step in which it stands.
        let stands = |role: Option<Role>| matches!(role, Some(Role::Candidate | Role::Leader));
        let newly = before.1 < term || !stands(before.0);
        count(&counters.stood, stands(now.0) && newly);
        count(&counters.won, is(Role::Leader) && (!was(Role::Leader) || before.1 < term));
        count(&counters.lost, was(Role::Leader) && (!is(Role::Leader) || before.1 < term));
        count(&counters.terms, before.1 < term);
    }

    fn gone(&mut self, log: LogId, counters: &Elections) {
        if self.0.remove(&log).is_some_and(|(role, _)| role == Some(Role::Leader)) {
            counters.lost.fetch_add(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_election_is_counted_once() {
        let (mut roles, counters, log) = (Roles::default(), Elections::default(), LogId(1));
        let counted = || {
            [&counters.stood, &counters.won, &counters.lost, &counters.terms]
                .map(|counter| counter.load(Relaxed))
        };
        let mut change = |role, term| roles.change(log, Some(role), Term(term), &counters);
        change(Role::Follower, 3);
        change(Role::PreCandidate, 3);
        assert_eq!(counted(), [0, 0, 0, 0]);
        change(Role::Candidate, 4);
        change(Role::Leader, 4);
        change(Role::Leader, 4);
        assert_eq!(counted(), [1, 1, 0, 1]);
        change(Role::Follower, 5);
        change(Role::Leader, 6);
        assert_eq!(counted(), [2, 2, 1, 3]);
        roles.gone(log, &counters);
        roles.gone(log, &counters);
        assert_eq!(counted(), [2, 2, 2, 3]);
    }
}
