//! Asks everybody, all at the same time, and puts the answers side by side.

use super::ask::{self, Expected};
use super::facts::{Answer, Entry, Facts, KafkaSaid, NodeFacts};
use crate::clock;
use crate::mesh::{Mesh, http_beside};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Nobody is waited for longer than that: a node that takes longer is the finding.
const PATIENCE: Duration = Duration::from_secs(4);
/// Questions at the same time.
const THREADS_MAX: usize = 32;
/// Of topics with replicas that lag, so many are looked at closer.
const LAGGING_MAX: usize = 64;

/// One look at the mesh.
pub(super) fn look(mesh: &Mesh) -> Facts {
    let mesh = mesh.hurried(PATIENCE);
    let mut entries = entries(&mesh);
    if mesh.guesses_http() {
        entries.retain(|entry| entry.kafka.is_some() || has_one_of(entry, mesh.addresses()));
    }
    let mut facts = Facts { cluster_id: cluster(&entries), entries, ..Facts::default() };
    let known = registered(&facts);
    let brokers = brokers(&facts);
    let expected = facts.cluster_id.clone();
    let before = before(&facts.entries);
    let asked = at_once(known, move |(id, http, own, kafka): (i64, String, String, String)| {
        let kafka = brokers.get(&id).cloned().unwrap_or(kafka);
        let who = Expected { cluster_id: expected.clone(), node_id: id };
        let silent = before.silent.get(&http).cloned();
        let (answer, kafka_said) = match (silent, before.kafka.get(&kafka).cloned()) {
            (Some(answer), Some(said)) => (answer, said),
            (Some(answer), None) => (answer, ask::kafka(&mesh, &kafka)),
            (None, Some(said)) => (ask::http(&http, mesh.wait(), Some(&who)), said),
            (None, None) => both(&mesh, &http, &kafka, Some(who)),
        };
        NodeFacts { id, http, mesh: own, kafka, answer, kafka_said }
    });
    facts.nodes = asked.into_iter().map(|node| (node.id, node)).collect();
    facts.log_ends = log_ends(&facts);
    facts
}

/// What is known of an address already: asking again would only wait again.
struct Before {
    kafka: BTreeMap<String, Result<KafkaSaid, String>>,
    silent: BTreeMap<String, Answer>,
}

fn before(entries: &[Entry]) -> Before {
    let kafka = entries.iter().filter_map(|entry| Some((entry.address.clone(), entry.kafka.clone()?)));
    let silent = entries.iter().filter(|entry| matches!(entry.http, Answer::Silent(_)));
    let silent = silent.map(|entry| (entry.http_address.clone(), entry.http.clone()));
    Before { kafka: kafka.collect(), silent: silent.collect() }
}

/// The two ports of one node.
fn both(mesh: &Mesh, http: &str, kafka: &str, who: Option<Expected>) -> (Answer, Result<KafkaSaid, String>) {
    let (address, wait) = (http.to_owned(), mesh.wait());
    let asking = clock::spawn(move || ask::http(&address, wait, who.as_ref()));
    let kafka = ask::kafka(mesh, kafka);
    let answer = asking.join().unwrap_or_else(|_| Answer::Stranger(format!("{http} could not be asked")));
    (answer, kafka)
}

/// The addresses that the user named, and the HTTP ports that belong to them if nobody chose otherwise.
fn entries(mesh: &Mesh) -> Vec<Entry> {
    let named: Vec<Option<String>> =
        mesh.addresses().split(',').map(|address| Some(address.to_owned())).chain([None]).collect();
    let mesh = mesh.clone();
    at_once(named, move |kafka| match kafka {
        Some(address) => {
            let http_address = http_beside(&address);
            let (http, kafka) = both(&mesh, &http_address, &address, None);
            Entry { address, kafka: Some(kafka), http, http_address }
        }
        None => {
            let (address, http_address) = (mesh.http_address().to_owned(), mesh.http_address().to_owned());
            let http = ask::http(&address, mesh.wait(), None);
            Entry { address, kafka: None, http, http_address }
        }
    })
}

/// Whether the node there has one of these Kafka addresses in its registry. If not it is of another mesh, which must not be
/// called healthy in place of the one that was named.
fn has_one_of(entry: &Entry, bootstrap: &str) -> bool {
    let Answer::Full(said) = &entry.http else { return false };
    said.nodes.nodes.iter().any(|node| bootstrap.split(',').any(|address| address == node.kafka))
}

/// The cluster of the first address that says one; Kafka's word goes before that of an HTTP port, which may be another mesh's.
fn cluster(entries: &[Entry]) -> String {
    let kafka = entries.iter().filter_map(|entry| entry.kafka.as_ref()?.as_ref().ok());
    let kafka = kafka.map(|said| said.cluster_id.clone()).find(|id| !id.is_empty());
    let http = || {
        entries.iter().find_map(|entry| match &entry.http {
            Answer::Full(said) => Some(said.nodes.cluster_id.clone()),
            _ => None,
        })
    };
    kafka.or_else(http).unwrap_or_default()
}

/// Every node that those who answered have in their registry: id, HTTP, mesh and Kafka address.
fn registered(facts: &Facts) -> Vec<(i64, String, String, String)> {
    let mut known = BTreeMap::new();
    for entry in &facts.entries {
        let Answer::Full(said) = &entry.http else { continue };
        if said.nodes.cluster_id != facts.cluster_id {
            continue;
        }
        for node in &said.nodes.nodes {
            known
                .entry(node.node_id)
                .or_insert_with(|| (node.node_id, node.http.clone(), node.mesh.clone(), node.kafka.clone()));
        }
    }
    // Kafka's metadata have no HTTP addresses; where nobody chose otherwise they can be told.
    for (id, kafka) in brokers(facts) {
        known.entry(id).or_insert_with(|| (id, http_beside(&kafka), String::new(), kafka.clone()));
    }
    known.into_values().collect()
}

/// Where the first of the cluster's nodes that answered sends clients.
fn brokers(facts: &Facts) -> BTreeMap<i64, String> {
    let said = facts.entries.iter().filter_map(|entry| entry.kafka.as_ref()?.as_ref().ok());
    said.filter(|said| said.cluster_id == facts.cluster_id).fold(BTreeMap::new(), |mut all, said| {
        for (id, address) in &said.brokers {
            all.entry(*id).or_insert_with(|| address.clone());
        }
        all
    })
}

/// How far the replicas are that their leaders do not count as in sync, by their own nodes' word.
fn log_ends(facts: &Facts) -> BTreeMap<(String, i64), i64> {
    let mut wanted: BTreeSet<(i64, String)> = BTreeSet::new();
    for partition in facts.workers().flat_map(|(_, node)| &node.listed) {
        let Some((topic, _)) = partition.partition.rsplit_once('/') else { continue };
        if partition.shard().is_none() {
            wanted.extend(partition.missing().into_iter().map(|node| (node, topic.to_owned())));
        }
    }
    let asked = wanted.into_iter().filter_map(|(id, topic)| {
        let node = facts.nodes.get(&id).filter(|node| node.said().is_some())?;
        Some((id, node.http.clone(), topic))
    });
    let answers = at_once(asked.take(LAGGING_MAX).collect(), |(id, http, topic): (i64, String, String)| {
        (id, ask::log_ends(&http, &topic, PATIENCE))
    });
    let ends =
        answers.into_iter().flat_map(|(id, ends)| ends.into_iter().map(move |(name, end)| ((name, id), end)));
    ends.collect()
}

/// Works on all of them, many at the same time; the answers are in order.
fn at_once<Q: Clone + Send + Sync + 'static, A: Send + 'static>(
    questions: Vec<Q>,
    work: impl Fn(Q) -> A + Send + Sync + 'static,
) -> Vec<A> {
    let threads = questions.len().min(THREADS_MAX);
    let shared = Arc::new((questions, work, AtomicUsize::new(0)));
    let workers: Vec<_> = (0..threads)
        .map(|_| {
            let shared = Arc::clone(&shared);
            clock::spawn(move || {
                let (questions, work, next) = &*shared;
                let mut answers = Vec::new();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(question) = questions.get(at) else { return answers };
                    answers.push((at, work(question.clone())));
                }
            })
        })
        .collect();
    let answers = workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default());
    answers.collect::<BTreeMap<usize, A>>().into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::{at_once, has_one_of};
    use crate::doctor::fixtures::healthy;

    #[test]
    fn another_mesh_at_the_default_http_address_is_not_taken_for_the_one_that_was_named() {
        let entry = &healthy(3).entries[0];
        assert!(has_one_of(entry, "other:9092,host-2:9092"));
        assert!(!has_one_of(entry, "other:9092"));
    }

    #[test]
    fn answers_are_in_the_order_of_the_questions() {
        let questions: Vec<usize> = (0..200).collect();
        assert_eq!(at_once(questions.clone(), |number| number), questions);
        assert!(at_once(Vec::<usize>::new(), |number| number).is_empty());
    }
}
