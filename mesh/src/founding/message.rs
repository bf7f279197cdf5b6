//! What seeds tell each other, and what a joining node asks. Each message is a version byte, a tag byte and
//! fields, big-endian; decoding never panics.

use super::record::{Addresses, FoundingRecord, PEER_BYTES_MAX, SEEDS_MAX, Seed, SeedSet, TEXT_BYTES_MAX};
use crate::fields::{Reader, Writer};
use bytes::Bytes;

const VERSION: u8 = 1;
const TAG_STATE: u8 = 1;
const TAG_REQUEST: u8 = 2;
const TAG_ACCEPTED: u8 = 3;
const TAG_REFUSED: u8 = 4;
const TAG_REDIRECT: u8 = 5;
const TAG_WAIT: u8 = 6;
/// A join request that says whose number it wants; tag 2 is one without such wishes.
const TAG_REPLACE: u8 = 7;
const REASON_BYTES_MAX: usize = 4 << 10;
const REGISTRY_BYTES_MAX: usize = 8 << 20;

/// How far a node is, as far as it has synced it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Not a seed: waits for a cluster to join.
    Watching,
    /// Still learning who the seeds are.
    Gathering,
    /// Has recorded, synced, that it accepts this set.
    Agreed(SeedSet),
    /// Knows, synced, that every seed accepted.
    Founded(FoundingRecord),
}

/// A node's whole state in the founding. Sent on the control stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who sends it; its peer id must be the connection's.
    pub seed: Seed,
    /// Its `--seeds`, sorted.
    pub seeds: Vec<String>,
    /// How far it is.
    pub stage: Stage,
}

fn begin(tag: u8) -> Writer {
    let mut out = Writer::new();
    out.u8(VERSION).u8(tag);
    out
}

fn open(bytes: &[u8]) -> Option<(u8, Reader<'_>)> {
    let mut fields = Reader::new(bytes);
    let version = fields.u8()?;
    let tag = fields.u8()?;
    (version == VERSION).then_some((tag, fields))
}

impl Message {
    /// The bytes to send.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = begin(TAG_STATE);
        self.seed.encode(&mut out);
        out.count(self.seeds.len());
        for address in &self.seeds {
            out.text(address);
        }
        match &self.stage {
            Stage::Watching => out.u8(0),
            Stage::Gathering => out.u8(1),
            Stage::Agreed(set) => {
                set.encode(out.u8(2));
                &mut out
            }
            Stage::Founded(record) => {
                record.encode(out.u8(3));
                &mut out
            }
        };
        out.done().into()
    }

    /// Reads what [`Message::encode`] wrote; `None` for anything else.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Message> {
        let (TAG_STATE, mut fields) = open(bytes)? else { return None };
        let seed = Seed::decode(&mut fields)?;
        let count = fields.count(SEEDS_MAX)?;
        let seeds = (0..count).map(|_| fields.text(TEXT_BYTES_MAX)).collect::<Option<Vec<_>>>()?;
        let stage = match fields.u8()? {
            0 => Stage::Watching,
            1 => Stage::Gathering,
            2 => Stage::Agreed(SeedSet::decode(&mut fields)?),
            3 => Stage::Founded(FoundingRecord::decode(&mut fields)?),
            _ => return None,
        };
        fields.end()?;
        Some(Message { seed, seeds, stage })
    }
}

/// A node without a cluster asks any member to be admitted. Sent on the rpc stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRequest {
    /// libp2p's peer id, as bytes; must be the connection's.
    pub peer_id: Vec<u8>,
    /// The life of its data directory.
    pub incarnation: u64,
    /// Where it is reached.
    pub addresses: Addresses,
    /// Its failure domain; may be empty.
    pub zone: String,
    /// The number that it shall take over, if an operator said one.
    pub replaces: Option<Replaced>,
}

/// Whose number a joining node shall take over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// The number.
    pub node_id: i32,
    /// Although that leaves partitions without a majority of their replicas.
    pub gives_up: bool,
}

impl JoinRequest {
    /// The bytes to send.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = begin(if self.replaces.is_some() { TAG_REPLACE } else { TAG_REQUEST });
        if let Some(Replaced { node_id, gives_up }) = self.replaces {
            out.i32(node_id).u8(u8::from(gives_up));
        }
        out.bytes(&self.peer_id).u64(self.incarnation);
        self.addresses.encode(&mut out);
        out.text(&self.zone).done().into()
    }

    /// Reads what [`JoinRequest::encode`] wrote; `None` for anything else.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<JoinRequest> {
        let (tag, mut fields) = open(bytes)?;
        let replaces = match tag {
            TAG_REQUEST => None,
            TAG_REPLACE => {
                let (node_id, gives_up) = (fields.i32()?, fields.u8()?);
                Some(Replaced { node_id, gives_up: [false, true].get(usize::from(gives_up)).copied()? })
            }
            _ => return None,
        };
        let peer_id = fields.bytes(PEER_BYTES_MAX)?.to_vec();
        let incarnation = fields.u64()?;
        let addresses = Addresses::decode(&mut fields)?;
        let zone = fields.text(TEXT_BYTES_MAX)?;
        fields.end()?;
        Some(JoinRequest { peer_id, incarnation, addresses, zone, replaces })
    }
}

/// What a member answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinAnswer {
    /// The node is committed in the registry.
    Accepted {
        /// Its id.
        node_id: i32,
        /// What the cluster began with; its `cluster_id` is the cluster's.
        record: FoundingRecord,
        /// The node registry as the members keep it, in the node crate's own format.
        registry: Bytes,
    },
    /// It will not be admitted, and asking again changes nothing.
    Refused {
        /// For a person.
        reason: String,
    },
    /// Not now; ask again.
    Wait {
        /// For a person.
        reason: String,
    },
    /// Ask there: the mesh address of the node that leads shard 0.
    Redirect {
        /// `host:port`.
        address: String,
    },
}

impl JoinAnswer {
    /// The bytes to send. A reason or registry above its bound (4 KiB, 8 MiB) cannot be read by the other
    /// side.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = match self {
            JoinAnswer::Accepted { node_id, record, registry } => {
                let mut out = begin(TAG_ACCEPTED);
                out.i32(*node_id);
                record.encode(&mut out);
                out.bytes(registry);
                out
            }
            JoinAnswer::Refused { reason } => {
                let mut out = begin(TAG_REFUSED);
                out.text(reason);
                out
            }
            JoinAnswer::Wait { reason } => {
                let mut out = begin(TAG_WAIT);
                out.text(reason);
                out
            }
            JoinAnswer::Redirect { address } => {
                let mut out = begin(TAG_REDIRECT);
                out.text(address);
                out
            }
        };
        out.done().into()
    }

    /// Reads what [`JoinAnswer::encode`] wrote; `None` for anything else.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<JoinAnswer> {
        let (tag, mut fields) = open(bytes)?;
        let answer = match tag {
            TAG_ACCEPTED => JoinAnswer::Accepted {
                node_id: fields.i32()?,
                record: FoundingRecord::decode(&mut fields)?,
                registry: Bytes::copy_from_slice(fields.bytes(REGISTRY_BYTES_MAX)?),
            },
            TAG_REFUSED => JoinAnswer::Refused { reason: fields.text(REASON_BYTES_MAX)? },
            TAG_WAIT => JoinAnswer::Wait { reason: fields.text(REASON_BYTES_MAX)? },
            TAG_REDIRECT => JoinAnswer::Redirect { address: fields.text(TEXT_BYTES_MAX)? },
            _ => return None,
        };
        fields.end()?;
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    fn seed(n: u8) -> Seed {
        let addresses = Addresses { mesh: format!("m{n}"), kafka: format!("k{n}"), http: format!("h{n}") };
        Seed { peer_id: vec![n; 38], incarnation: 7, addresses, zone: "z".into() }
    }

    fn set() -> SeedSet {
        SeedSet::new(vec![seed(1), seed(2)]).unwrap()
    }

    fn samples() -> Vec<Bytes> {
        let record = FoundingRecord::of(set(), 16);
        let stages =
            [Stage::Watching, Stage::Gathering, Stage::Agreed(set()), Stage::Founded(record.clone())];
        let mut samples: Vec<Bytes> = stages
            .into_iter()
            .map(|stage| {
                let message = Message { seed: seed(3), seeds: vec!["a".into(), "b".into()], stage };
                assert_eq!(Message::decode(&message.encode()), Some(message.clone()));
                message.encode()
            })
            .collect();
        let Seed { peer_id, incarnation, addresses, zone } = seed(4);
        let request = JoinRequest { peer_id, incarnation, addresses, zone, replaces: None };
        for replaces in [None, Some(Replaced { node_id: 3, gives_up: true })] {
            let request = JoinRequest { replaces, ..request.clone() };
            assert_eq!(JoinRequest::decode(&request.encode()), Some(request.clone()));
            samples.push(request.encode());
        }
        let registry = Bytes::from_static(b"registry");
        for answer in [
            JoinAnswer::Accepted { node_id: 4, record, registry },
            JoinAnswer::Refused { reason: "no".into() },
            JoinAnswer::Wait { reason: "not yet".into() },
            JoinAnswer::Redirect { address: "a:1".into() },
        ] {
            assert_eq!(JoinAnswer::decode(&answer.encode()), Some(answer.clone()));
            samples.push(answer.encode());
        }
        samples
    }

    fn is_read(bytes: &[u8]) -> bool {
        Message::decode(bytes).is_some()
            || JoinRequest::decode(bytes).is_some()
            || JoinAnswer::decode(bytes).is_some()
    }

    #[test]
    fn messages_read_back_and_cut_ones_do_not() {
        for sample in samples() {
            assert!(is_read(&sample));
            assert!((0..sample.len()).all(|cut| !is_read(&sample[..cut])));
        }
    }

    quickcheck! {
        fn hostile_bytes_do_no_harm(bytes: Vec<u8>, at: usize, tag: u8) -> bool {
            let tagged = [&[VERSION, tag % 8], &bytes[..]].concat();
            let _ = is_read(&tagged);
            for sample in samples() {
                let mut changed = sample.to_vec();
                let at = at % changed.len();
                changed[at] ^= tag;
                let _ = is_read(&changed);
            }
            true
        }
    }
}
