//! Logs that were found damaged, and replicas that are made anew.

use crate::doctor::facts::{Facts, NodeState};
use crate::doctor::finding::{Finding, count, named, time};

/// Damage first; a replica that is rebuilt for another reason is a note.
pub(super) fn find(facts: &Facts, out: &mut Vec<Finding>) {
    for (id, state) in facts.states() {
        let rebuilt = state.node.as_ref().map(rebuilt).unwrap_or_default();
        let name = facts.name(id);
        let still = match rebuilt.as_slice() {
            [] => "all its replicas are whole again".to_owned(),
            names => format!(
                "{} of it take{} no part until rebuilt from others: {}",
                count(names.len(), "replica"),
                if names.len() == 1 { "s" } else { "" },
                named(names)
            ),
        };
        if state.disk.damaged_at_start {
            let what = format!(
                "{name} found its log damaged below what it had synced when it started {} ago; {still}",
                time(state.uptime_ms)
            );
            let advice = "Look at its disk (dmesg, smartctl -a); with the node stopped, rafka-node storage verify DIR names the damaged \
                          segments. A restart that finds none ends this warning.";
            let finding = Finding::warning("damage_found", what, advice).since(Some(state.uptime_ms));
            out.push(finding.of([id]).at(rebuilt));
        } else if !rebuilt.is_empty() {
            let what = format!("on {name} {still}");
            out.push(Finding::note("replica_rebuilt", what, "It goes on by itself.").of([id]).at(rebuilt));
        }
    }
}

fn rebuilt(node: &NodeState) -> Vec<String> {
    let spoiled = node.listed.iter().filter(|one| {
        one.standing.as_deref().is_some_and(|standing| standing == "suspect" || standing == "learner")
    });
    spoiled
        .map(|one| one.shard().map_or_else(|| one.partition.clone(), |shard| format!("shard/{shard}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::doctor::facts::Lacking;
    use crate::doctor::finding::Severity;
    use crate::doctor::fixtures::{healthy, lacking, only};

    fn spoiled(standing: &str) -> Lacking {
        Lacking { standing: Some(standing.to_owned()), ..lacking("orders/4", Some(1), None) }
    }

    #[test]
    fn damage_is_told_while_replicas_are_rebuilt_and_after() {
        let mut facts = healthy(3);
        facts.state(2).disk.damaged_at_start = true;
        facts.state(2).uptime_ms = 40_000;
        facts.list(2, spoiled("suspect"));
        let found = only(&facts, "damage_found");
        assert_eq!(
            (found.nodes.as_slice(), found.partitions.as_slice()),
            ([2].as_slice(), ["orders/4".to_owned()].as_slice())
        );
        assert!(found.what.contains("1 replica of it takes no part"), "{}", found.what);
        facts.worker(2).listed.clear();
        facts.worker(2).lacking = 0;
        assert!(only(&facts, "damage_found").what.contains("40.0 s ago; all its replicas are whole again"));
    }

    #[test]
    fn a_replica_that_is_new_is_a_note() {
        let mut facts = healthy(3);
        facts.list(3, spoiled("learner"));
        assert_eq!(only(&facts, "replica_rebuilt").severity, Severity::Note);
    }
}
