//! A mesh in which nothing is wrong, for rules to be tested against.

use super::facts::{
    Answer, Disk, Entry, Facts, KafkaSaid, Lacking, Limits, NodeFacts, NodeState, Said, Silence, State,
};
use super::finding::Finding;
use super::rules::{KINDS, diagnose};
use crate::http::{Node, Nodes};

/// Nodes 1 to `count`; all hear each other.
pub(super) fn healthy(count: i64) -> Facts {
    let ids = || 1..=count;
    let said = KafkaSaid {
        cluster_id: "c1".to_owned(),
        brokers: ids().map(|id| (id, format!("host-{id}:9092"))).collect(),
    };
    let nodes = ids().map(|id| {
        let node = NodeFacts {
            id,
            http: format!("host-{id}:9292"),
            mesh: format!("host-{id}:9192"),
            kafka: format!("host-{id}:9092"),
            answer: Answer::Full(Box::new(said_by(id, count))),
            kafka_said: Ok(said.clone()),
        };
        (id, node)
    });
    let entry = Entry {
        address: "host-1:9092".to_owned(),
        kafka: Some(Ok(said.clone())),
        http: Answer::Full(Box::new(said_by(1, count))),
        http_address: "host-1:9292".to_owned(),
    };
    Facts { cluster_id: "c1".to_owned(), entries: vec![entry], nodes: nodes.collect(), ..Facts::default() }
}

fn said_by(id: i64, count: i64) -> Said {
    let nodes = (1..=count).map(|node_id| Node {
        node_id,
        kafka: format!("host-{node_id}:9092"),
        up: true,
        hears: (1..=count).filter(|other| *other != node_id).collect(),
        clock_offset_ms: (node_id != id).then_some(2),
        arrivals_ms_ago: if node_id == id { Vec::new() } else { vec![3_600_000] },
        ..Node::default()
    });
    let node = NodeState { boot: 1, topics: 2, partitions: 28, replicas: 28, ..NodeState::default() };
    let disk = Disk { free_bytes: 50 << 30, reserve_bytes: 1 << 30, commit_slowest_ms: 9, ..Disk::default() };
    let limits = Limits {
        open_files: Some(80),
        open_files_max: Some(65_536),
        open_files_wanted: 11_024,
        connections: 20,
        connections_max: 10_000,
        request_bytes_max: 256 << 20,
        calls_max: 4_096,
        ..Limits::default()
    };
    let state = State { version: "1.2.3".to_owned(), uptime_ms: 3_600_000, node: Some(node), disk, limits };
    Said {
        nodes: Nodes { cluster_id: "c1".to_owned(), node_id: id, nodes: nodes.collect(), ..Nodes::default() },
        state: Some(state),
    }
}

impl Facts {
    pub(super) fn said(&mut self, id: i64) -> &mut Said {
        match &mut self.nodes.get_mut(&id).unwrap().answer {
            Answer::Full(said) => said,
            answer => panic!("node {id}: {answer:?}"),
        }
    }

    pub(super) fn state(&mut self, id: i64) -> &mut State {
        self.said(id).state.as_mut().unwrap()
    }

    pub(super) fn worker(&mut self, id: i64) -> &mut NodeState {
        self.state(id).node.as_mut().unwrap()
    }

    /// What one node says of another, or of itself.
    pub(super) fn word(&mut self, from: i64, of: i64) -> &mut Node {
        self.said(from).nodes.nodes.iter_mut().find(|node| node.node_id == of).unwrap()
    }

    /// `from` does not hear `to` any more.
    pub(super) fn deafen(&mut self, from: i64, to: i64) {
        let own = self.word(from, from);
        own.hears.retain(|id| *id != to);
    }

    /// A node that nobody hears and that does not answer, like this.
    pub(super) fn lose(&mut self, id: i64, silence: Silence) {
        let node = self.nodes.get_mut(&id).unwrap();
        node.answer = Answer::Silent(silence);
        node.kafka_said = Err("Connection refused".to_owned());
        let others: Vec<i64> = self.full().map(|(other, _)| other).collect();
        for other in others {
            self.deafen(other, id);
            let word = self.word(other, id);
            (word.up, word.left_ms_ago) = (false, Some(12_000));
        }
    }

    /// A node lists a partition as one that lacks something.
    pub(super) fn list(&mut self, id: i64, lacking: Lacking) {
        let worker = self.worker(id);
        worker.lacking += 1;
        worker.listed.push(lacking);
    }
}

/// A partition with replicas on nodes 1 to 3.
pub(super) fn lacking(partition: &str, leader: Option<i64>, in_sync: Option<&[i64]>) -> Lacking {
    Lacking {
        partition: partition.to_owned(),
        leader,
        replicas: vec![1, 2, 3],
        in_sync: in_sync.map(<[i64]>::to_vec),
        min_in_sync: (!partition.starts_with("__")).then_some(1),
        standing: Some("member".to_owned()),
        log_end: Some(1_000),
    }
}

/// The only finding above a note, of this kind.
#[track_caller]
pub(super) fn only(facts: &Facts, kind: &str) -> Finding {
    let found = diagnose(facts);
    assert!(found.iter().all(|finding| KINDS.iter().any(|(known, _)| *known == finding.kind)), "{found:?}");
    match found.as_slice() {
        [one] if one.kind == kind => one.clone(),
        _ => panic!("not {kind} alone: {found:#?}"),
    }
}

/// One of the findings.
#[track_caller]
pub(super) fn among(facts: &Facts, kind: &str) -> Finding {
    let found = diagnose(facts);
    found
        .iter()
        .find(|finding| finding.kind == kind)
        .unwrap_or_else(|| panic!("no {kind}: {found:#?}"))
        .clone()
}
