//! Whether the addresses that the user named belong together and answer.

use crate::doctor::facts::{Answer, Entry, Facts};
use crate::doctor::finding::Finding;
use std::collections::BTreeMap;

/// Several clusters first: then the rest of the diagnosis is about the first of them.
pub(super) fn find(facts: &Facts, out: &mut Vec<Finding>) {
    let mut clusters: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for entry in &facts.entries {
        if let Some(id) = cluster(entry) {
            clusters.entry(id).or_default().push(&entry.address);
        }
    }
    if clusters.len() > 1 {
        out.push(mixed(facts, &clusters));
    }
    if !facts.nodes.is_empty() {
        out.extend(facts.entries.iter().filter_map(|entry| silent(facts, entry)));
    }
}

/// By Kafka's word: the HTTP port beside it is a guess.
fn cluster(entry: &Entry) -> Option<&str> {
    let said = entry.kafka.as_ref()?.as_ref().ok()?;
    Some(said.cluster_id.as_str()).filter(|id| !id.is_empty())
}

fn mixed(facts: &Facts, clusters: &BTreeMap<&str, Vec<&str>>) -> Finding {
    let words: Vec<String> =
        clusters.iter().map(|(id, at)| format!("{} of cluster {id}", at.join(", "))).collect();
    let what = format!(
        "the addresses of --bootstrap belong to {} clusters: {}; looked at is {}",
        clusters.len(),
        words.join("; "),
        facts.cluster_id
    );
    let advice = "Name addresses of one mesh. If they should be one, they were founded apart: each node needs the same --seeds before its first \
                  start (an empty directory joins with --join).";
    Finding::critical("clusters_mixed", what, advice)
}

/// An address that does not answer; nodes of the mesh are told as nodes.
fn silent(facts: &Facts, entry: &Entry) -> Option<Finding> {
    let reason = entry.kafka.as_ref()?.as_ref().err()?;
    if facts.nodes.values().any(|node| node.kafka == entry.address) {
        return None;
    }
    if let Answer::Starting(why) = &entry.http {
        let what = format!("the node at {} runs and does not serve yet: {why}", entry.address);
        return Some(Finding::warning(
            "node_not_ready",
            what,
            "It goes on by itself once that is there; docs/troubleshooting.md has a section on it.",
        ));
    }
    Some(Finding::warning(
        "bootstrap_silent",
        format!(
            "{} of --bootstrap does not answer ({reason}), and no node of the mesh says that it is there",
            entry.address
        ),
        "Take it off the list, or start what should be there.",
    ))
}

#[cfg(test)]
mod tests {
    use crate::doctor::facts::{Answer, Entry, Facts, KafkaSaid, Silence};
    use crate::doctor::fixtures::{healthy, only};

    fn another(facts: &mut Facts, kafka: Result<KafkaSaid, String>) -> &mut Entry {
        let http = Answer::Silent(Silence::Refused);
        let (address, http_address) = ("other:9092".to_owned(), "other:9292".to_owned());
        facts.entries.push(Entry { address, kafka: Some(kafka), http, http_address });
        facts.entries.last_mut().unwrap()
    }

    #[test]
    fn two_clusters_in_one_list_are_told() {
        let mut facts = healthy(3);
        another(&mut facts, Ok(KafkaSaid { cluster_id: "c2".to_owned(), ..KafkaSaid::default() }));
        let found = only(&facts, "clusters_mixed");
        assert!(found.what.contains("host-1:9092 of cluster c1; other:9092 of cluster c2"), "{}", found.what);
    }

    #[test]
    fn an_address_that_does_not_answer_is_told_unless_it_is_a_node() {
        let mut facts = healthy(3);
        let entry = another(&mut facts, Err("Connection refused".to_owned()));
        entry.http = Answer::Starting("waiting for seeds a:1".to_owned());
        assert!(only(&facts, "node_not_ready").what.contains("other:9092"));
        facts.entries[1].http = Answer::Silent(Silence::Refused);
        assert!(
            only(&facts, "bootstrap_silent")
                .what
                .contains("other:9092 of --bootstrap does not answer (Connection refused)")
        );
        facts.entries[1].address = "host-3:9092".to_owned();
        assert_eq!(super::super::diagnose(&facts), []);
    }
}
