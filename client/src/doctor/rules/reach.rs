//! Who is there: nodes that are down, hang, wait, or cannot be asked.

use crate::doctor::facts::{Answer, Facts, NodeFacts, Silence};
use crate::doctor::finding::{Finding, nodes};

/// Nobody; else each node that does not answer in full, or does not serve.
pub(super) fn find(facts: &Facts, out: &mut Vec<Finding>) {
    if facts.nodes.is_empty() {
        return out.extend(nobody(facts));
    }
    for node in facts.nodes.values() {
        out.extend(of(facts, node));
    }
    for (id, state) in facts.workers() {
        // Shards without leader are told by name elsewhere.
        let reason = state.unready.as_ref().filter(|reason| !reason.starts_with("metadata shards without"));
        out.extend(reason.map(|reason| not_ready(facts, id, reason)));
    }
}

fn nobody(facts: &Facts) -> Option<Finding> {
    let reasons: Vec<String> = facts
        .entries
        .iter()
        .filter_map(|entry| match (&entry.kafka, &entry.http) {
            (_, Answer::Starting(why)) => Some(format!("{} starts: {why}", entry.http_address)),
            (Some(Err(why)), _) => Some(format!("{}: {why}", entry.address)),
            _ => None,
        })
        .collect();
    let what = format!("no node answers ({})", reasons.join("; "));
    let advice =
        "Name nodes that run with --bootstrap HOST:PORT[,..], or the HTTP port of one with --http HOST:PORT.";
    (!reasons.is_empty()).then(|| Finding::critical("nobody_answers", what, advice))
}

fn of(facts: &Facts, node: &NodeFacts) -> Option<Finding> {
    let (id, name, at) = (node.id, facts.name(node.id), &node.http);
    let hearers = facts.hearers(id);
    let finding = match &node.answer {
        Answer::Full(_) => return None,
        Answer::Starting(reason) => return Some(not_ready(facts, id, reason)),
        Answer::Stuck => Finding::critical(
            "node_stuck",
            format!(
                "{name} is stuck: its process answers, the thread that owns its replicas has not for 2 s"
            ),
            "Look at its CPU and its log; if it stays so, restart it (SIGKILL is safe) and report it.",
        ),
        Answer::Stranger(who) => Finding::warning(
            "http_stranger",
            format!("{name} cannot be looked at: {who}"),
            "Check --listen-http and --advertise-kafka of that node, and what forwards its ports.",
        ),
        Answer::Silent(silence) if !hearers.is_empty() || node.kafka_said.is_ok() => {
            unheard_here(facts, node, silence, &hearers)
        }
        Answer::Silent(Silence::Refused) => Finding::critical(
            "node_down",
            format!("{name} is down: nothing listens at {at}, and no other node hears it"),
            "Start it again. The end of its log says why it stopped; the exit codes are in docs/operations.md.",
        ),
        Answer::Silent(Silence::Hung) => Finding::critical(
            "node_hung",
            format!(
                "{name} hangs: it takes connections at {at} and says nothing, and no other node hears it"
            ),
            "Its process is stopped or starved: look at its state (ps, top), at its machine and disk; kill -CONT it, or \
             restart it (SIGKILL is safe).",
        ),
        Answer::Silent(Silence::NoWay(why)) => Finding::critical(
            "node_unreachable",
            format!("{name} is out of reach: {at} gives {why}, and no other node hears it"),
            "Look at its machine, and at the network and firewalls on the way.",
        ),
    };
    Some(finding.of([id]).since(facts.left_ms(id)))
}

/// The mesh has it, or clients do: only we learn nothing of it.
fn unheard_here(facts: &Facts, node: &NodeFacts, silence: &Silence, hearers: &[i64]) -> Finding {
    let how = match silence {
        Silence::Refused => "refuses connections".to_owned(),
        Silence::Hung => "takes connections and says nothing".to_owned(),
        Silence::NoWay(why) => format!("is out of reach ({why})"),
    };
    let lives = match hearers {
        [] => "clients reach it".to_owned(),
        hearers => format!("{} hear{} it", nodes(hearers), if hearers.len() == 1 { "s" } else { "" }),
    };
    Finding::warning(
        "http_unreachable",
        format!(
            "{} cannot be looked at: its HTTP port {} {how} from here, though {lives}",
            facts.name(node.id),
            node.http
        ),
        "Open that port to this machine, or run rafka doctor where it is open (--listen-http; --http names another node's).",
    )
}

fn not_ready(facts: &Facts, id: i64, reason: &str) -> Finding {
    Finding::warning(
        "node_not_ready",
        format!("{} runs and does not serve yet: {reason}", facts.name(id)),
        "It goes on by itself once that is there; docs/troubleshooting.md has a section on it.",
    )
    .of([id])
}

#[cfg(test)]
mod tests {
    use crate::doctor::facts::{Answer, Facts, Silence};
    use crate::doctor::finding::Severity;
    use crate::doctor::fixtures::{healthy, only};

    #[test]
    fn a_node_that_is_down_hung_or_out_of_reach_is_named() {
        for (silence, kind) in [
            (Silence::Refused, "node_down"),
            (Silence::Hung, "node_hung"),
            (Silence::NoWay("no route to host".to_owned()), "node_unreachable"),
        ] {
            let mut facts = healthy(3);
            facts.lose(3, silence);
            let found = only(&facts, kind);
            assert_eq!((found.nodes.as_slice(), found.since_ms), ([3].as_slice(), Some(12_000)));
            assert!(found.what.contains("node 3 (host-3:9092)") && found.severity == Severity::Critical);
        }
    }

    #[test]
    fn a_node_that_others_hear_is_not_called_down() {
        let mut facts = healthy(3);
        facts.nodes.get_mut(&2).unwrap().answer = Answer::Silent(Silence::Refused);
        assert!(only(&facts, "http_unreachable").what.contains("nodes 1 and 3 hear it"));
    }

    #[test]
    fn who_is_not_ready_says_why() {
        let mut facts = healthy(3);
        facts.worker(2).unready = Some("3 replicas are not loaded yet: a/1".to_owned());
        assert!(only(&facts, "node_not_ready").what.ends_with("a/1"));
        facts.worker(2).unready = Some("metadata shards without a known leader: 3".to_owned());
        assert_eq!(super::super::diagnose(&facts), []);
        let mut facts = healthy(2);
        facts.nodes.get_mut(&2).unwrap().answer = Answer::Starting("waiting for seeds a:1".to_owned());
        assert_eq!(only(&facts, "node_not_ready").nodes, [2]);
    }

    #[test]
    fn a_stuck_worker_and_a_stranger_are_told_apart() {
        let mut facts = healthy(3);
        facts.nodes.get_mut(&1).unwrap().answer = Answer::Stuck;
        assert_eq!(only(&facts, "node_stuck").nodes, [1]);
        facts.nodes.get_mut(&1).unwrap().answer = Answer::Stranger("node 9 of cluster x answers".to_owned());
        assert!(only(&facts, "http_stranger").what.contains("node 9"));
    }

    #[test]
    fn nobody_at_all_is_told_with_each_reason() {
        let mut facts = Facts { entries: healthy(1).entries, ..Facts::default() };
        facts.entries[0].kafka = Some(Err("Connection refused".to_owned()));
        facts.entries[0].http = Answer::Silent(Silence::Refused);
        assert!(only(&facts, "nobody_answers").what.contains("host-1:9092: Connection refused"));
        facts.entries[0].http = Answer::Starting("waiting for seeds b:1".to_owned());
        assert!(only(&facts, "nobody_answers").what.contains("waiting for seeds b:1"));
    }
}
