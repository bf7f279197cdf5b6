//! The replicas of a partition over HTTP, all at the same time.

use super::compare::{Ask, Piece, Range};
use crate::clock;
use crate::error::Error;
use crate::http;
use crate::mesh::Mesh;
use serde::Deserialize;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

/// A replica may be that much behind when it hears of commits by heartbeats, and a node that is busy is asked again after it.
const MOMENT: Duration = Duration::from_millis(150);
/// How often a node is asked that is busy or does not answer.
const TRIES: u32 = 4;
/// A piece is read from a disk, behind what clients read: longer than a node takes at most.
const PIECE_WAIT: Duration = Duration::from_secs(20);

/// Answer of `/v1/digest`.
#[derive(Deserialize, Default, Debug)]
#[serde(default)]
struct Said {
    node_id: i64,
    standing: Option<String>,
    role: Option<String>,
    first_index: u64,
    end_index: u64,
    piece: Option<SaidPiece>,
}

#[derive(Deserialize, Default, Debug)]
#[serde(default)]
struct SaidPiece {
    to: u64,
    offset: Option<i64>,
    next_offset: Option<i64>,
    records: u64,
    bytes: u64,
    digest: String,
    damaged: Option<Damaged>,
}

#[derive(Deserialize, Default, Debug)]
#[serde(default)]
struct Damaged {
    index: u64,
    why: String,
}

/// The nodes of a mesh, each with its own HTTP port.
pub(super) struct Nodes {
    meshes: BTreeMap<i64, Mesh>,
    /// Those where nobody answered, and why: they are waited for once and not for each partition.
    silent: RefCell<BTreeMap<i64, String>>,
}

impl Nodes {
    /// Nodes at these addresses.
    pub(super) fn new(mesh: &Mesh, addresses: BTreeMap<i64, String>) -> Nodes {
        let at = |(id, address): (i64, String)| (id, mesh.clone().http(address));
        Nodes { meshes: addresses.into_iter().map(at).collect(), silent: RefCell::default() }
    }

    /// The replicas of a partition.
    pub(super) fn replicas(&self, topic: &str, partition: i32) -> Replicas<'_> {
        let path = format!("/v1/digest?topic={}&partition={partition}", http::encode(topic));
        Replicas { path, nodes: self }
    }
}

/// Of one partition.
pub(super) struct Replicas<'a> {
    path: String,
    nodes: &'a Nodes,
}

impl Replicas<'_> {
    fn ask<T>(
        &self,
        nodes: &[i64],
        path: &str,
        wait: Duration,
        read: impl Fn(Said) -> Result<T, String>,
    ) -> Vec<Result<T, String>> {
        let asking = nodes.iter().map(|id| {
            let (id, path) = (*id, path.to_owned());
            if let Some(why) = self.nodes.silent.borrow().get(&id) {
                return Err(Trouble::Other(why.clone()));
            }
            let node = self.nodes.meshes.get(&id).cloned().map(|node| {
                let wait = node.wait().max(wait);
                node.timeout(wait)
            });
            let node =
                node.ok_or_else(|| Trouble::Other("nobody knows where its HTTP port is".to_owned()))?;
            Ok(clock::spawn(move || told(&node, id, &path)))
        });
        let asking: Vec<_> = asking.collect();
        let lost = |_panic| Err(Trouble::Other("it could not be asked".to_owned()));
        let answers = asking.into_iter().map(|one| one.and_then(|one| one.join().unwrap_or_else(lost)));
        let answers = nodes.iter().zip(answers).map(|(id, answer)| match answer {
            Ok(said) => read(said),
            Err(Trouble::Other(why)) => Err(why),
            Err(Trouble::Silent(why)) => {
                self.nodes.silent.borrow_mut().insert(*id, why.clone());
                Err(why)
            }
        });
        answers.collect()
    }
}

impl Ask for Replicas<'_> {
    fn ranges(&self, nodes: &[i64]) -> Vec<Result<Range, String>> {
        self.ask(nodes, &self.path, Duration::ZERO, range)
    }

    fn pieces(&self, nodes: &[i64], from: u64, to: u64, bytes: u64) -> Vec<Result<Piece, String>> {
        let path = format!("{}&from={from}&to={to}&bytes={bytes}", self.path);
        self.ask(nodes, &path, PIECE_WAIT, |said| Ok(piece(said)))
    }

    fn wait(&self) {
        let until = clock::now() + MOMENT;
        while clock::now() < until {
            clock::pause(until.saturating_duration_since(clock::now()));
        }
    }
}

/// Why a node said nothing of a replica.
#[derive(Debug)]
enum Trouble {
    /// Nobody is there.
    Silent(String),
    /// Something else.
    Other(String),
}

/// Asks a node, and again when that may help.
fn told(node: &Mesh, id: i64, path: &str) -> Result<Said, Trouble> {
    let mut tries = 0;
    loop {
        tries += 1;
        let error = match http::get(node, path).and_then(|answer| http::typed::<Said>(node, &answer)) {
            Ok(said) if said.node_id == id => return Ok(said),
            Ok(said) => {
                let (other, address) = (said.node_id, node.http_address());
                return Err(Trouble::Silent(format!("node {other} answers at http://{address}")));
            }
            Err(error) => error,
        };
        let busy = matches!(&error, Error::HttpRefused { status, .. } if status.starts_with("503"));
        if !busy || tries == TRIES {
            return Err(trouble(error));
        }
        clock::pause(MOMENT);
    }
}

fn trouble(error: Error) -> Trouble {
    match error {
        Error::HttpUnreachable { address, reason } => {
            Trouble::Silent(format!("nobody answers at http://{address} ({reason})"))
        }
        Error::HttpRefused { status, said, .. } => Trouble::Other(format!("{status}: {said}")),
        other => Trouble::Other(other.to_string().lines().next().unwrap_or_default().to_owned()),
    }
}

fn range(said: Said) -> Result<Range, String> {
    match (said.role, said.standing) {
        (Some(_), _) => Ok(Range { first: said.first_index, end: said.end_index }),
        (None, Some(standing)) => Err(format!("its replica is {standing} and takes no part")),
        (None, None) => Err("it has no replica".to_owned()),
    }
}

fn piece(said: Said) -> Piece {
    match said.piece {
        None => Piece::Moved,
        Some(SaidPiece { damaged: Some(Damaged { index, why }), .. }) => Piece::Damaged { index, why },
        Some(SaidPiece { to, offset, next_offset, records, bytes, digest, .. }) => {
            Piece::Whole { to, offsets: offset.zip(next_offset), records, bytes, digest }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Said {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn answers_are_read() {
        let replica = said(
            r#"{"node_id":2,"standing":"member","role":"leader","first_index":3,"end_index":9,"piece":null}"#,
        );
        assert_eq!(range(replica), Ok(Range { first: 3, end: 9 }));
        assert!(range(said(r#"{"node_id":2,"standing":"suspect"}"#)).unwrap_err().contains("suspect"));
        assert_eq!(range(said(r#"{"node_id":2}"#)), Err("it has no replica".to_owned()));
        assert_eq!(piece(said(r#"{"node_id":2,"piece":null}"#)), Piece::Moved);
        let damaged = said(r#"{"piece":{"to":4,"damaged":{"index":4,"why":"rot"}}}"#);
        assert_eq!(piece(damaged), Piece::Damaged { index: 4, why: "rot".to_owned() });
        let whole =
            said(r#"{"piece":{"to":4,"offset":10,"next_offset":12,"records":2,"bytes":9,"digest":"ab"}}"#);
        let (to, offsets, records, bytes, digest) = (4, Some((10, 12)), 2, 9, "ab".to_owned());
        assert_eq!(piece(whole), Piece::Whole { to, offsets, records, bytes, digest });
    }
}
