//! Hints: what the directory holds about a partition, a shard or a node. Pure.
//!
//! A hint says who leads and where that is, as of an epoch and term. It is signed by the node that published
//! it, expires, and is merged by the maximum of `(epoch, term)`, so that copies which arrive in any order end
//! the same. It is never truth: a wrong one costs a redirect.
//!
//! A signed hint on the wire, big-endian:
//!
//! | field | bytes |
//! |---|---|
//! | version, 1 | 1 |
//! | epoch, term | 8 + 4 |
//! | leader, -1 for none | 4 |
//! | expires, milliseconds since 1970 | 8 |
//! | replicas: count, node ids | 4 + 4 n |
//! | addresses: count, texts | 4 + (4 + length) n |
//! | signer, a peer id | 4 + length |
//! | signature over a label, the key and all of the above | 4 + length |

use crate::fields::{Reader, Writer};
use bytes::Bytes;
use libp2p::PeerId;
use libp2p::identity::{Keypair, PublicKey};
use std::cmp::Ordering;

const VERSION: u8 = 1;
const REPLICAS_MAX: usize = 64;
const ADDRESSES_MAX: usize = 16;
const ADDRESS_BYTES_MAX: usize = 300;
const PEER_ID_BYTES_MAX: usize = 64;
const SIGNATURE_BYTES_MAX: usize = 128;
const LABEL: &[u8] = b"rafka directory hint";
/// The multihash code of an identity hash: the peer id holds the public key itself.
const IDENTITY_HASH: u64 = 0;

/// Where the directory keeps a shard: BLAKE3 of `shard/3`.
#[must_use]
pub fn shard_key(shard: u32) -> [u8; 32] {
    key(&format!("shard/{shard}"))
}

/// Where the directory keeps a partition: BLAKE3 of `partition/<topic id in hexadecimal>/7`.
#[must_use]
pub fn partition_key(topic: &[u8; 16], partition: i32) -> [u8; 32] {
    let topic: String = topic.iter().map(|byte| format!("{byte:02x}")).collect();
    key(&format!("partition/{topic}/{partition}"))
}

/// Where the directory keeps a node: BLAKE3 of `node/2`.
#[must_use]
pub fn node_key(node: i32) -> [u8; 32] {
    key(&format!("node/{node}"))
}

/// Where the directory keeps a consumer group: BLAKE3 of `group/orders-app`. Its hint names who leads the partition that the
/// group's offsets are kept in.
#[must_use]
pub fn group_key(id: &str) -> [u8; 32] {
    key(&format!("group/{id}"))
}

/// The place of any name.
#[must_use]
pub fn key(name: &str) -> [u8; 32] {
    *blake3::hash(name.as_bytes()).as_bytes()
}

/// What is known about one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hint {
    /// The descriptor's epoch; orders hints before the term does.
    pub epoch: u64,
    /// The leader's term.
    pub term: u32,
    /// The leading node, or the node itself; -1 when unknown.
    pub leader: i32,
    /// When the hint is worth nothing any more, milliseconds since 1970.
    pub expires_ms: u64,
    /// Nodes with a replica, at most 64.
    pub replicas: Vec<i32>,
    /// `host:port` of the leader, at most 16 of 300 bytes.
    pub addresses: Vec<String>,
}

impl Hint {
    /// The order in which hints replace each other: epoch, term, and then everything else, so that equals are
    /// equal.
    #[must_use]
    pub fn precedence(&self, other: &Hint) -> Ordering {
        let rank = |hint: &Hint| (hint.epoch, hint.term, hint.expires_ms);
        rank(self)
            .cmp(&rank(other))
            .then_with(|| self.leader.cmp(&other.leader))
            .then_with(|| self.replicas.cmp(&other.replicas))
            .then_with(|| self.addresses.cmp(&other.addresses))
    }

    fn body(&self) -> Option<Vec<u8>> {
        let fits = self.replicas.len() <= REPLICAS_MAX
            && self.addresses.len() <= ADDRESSES_MAX
            && self.addresses.iter().all(|address| address.len() <= ADDRESS_BYTES_MAX);
        if !fits {
            return None;
        }
        let mut out = Writer::new();
        out.u8(VERSION).u64(self.epoch).u32(self.term).i32(self.leader).u64(self.expires_ms);
        out.count(self.replicas.len());
        for replica in &self.replicas {
            out.i32(*replica);
        }
        out.count(self.addresses.len());
        for address in &self.addresses {
            out.text(address);
        }
        Some(out.done())
    }

    /// The signed bytes to publish under `key`; `None` when a list is longer than it may be or the key pair
    /// cannot sign.
    #[must_use]
    pub fn sign(&self, key: &[u8; 32], by: &Keypair) -> Option<Bytes> {
        let mut out = self.body()?;
        let mut tail = Writer::new();
        out.extend(tail.bytes(&by.public().to_peer_id().to_bytes()).done());
        let signature = by.sign(&signed(key, &out)).ok()?;
        out.extend(tail.bytes(&signature).done());
        Some(out.into())
    }

    /// Reads signed bytes found under `key`, at `now_ms` since 1970. `None` for anything that is malformed,
    /// expired, signed for another key, signed wrongly, or signed by someone whom `is_known` does not vouch
    /// for. Never panics.
    #[must_use]
    pub fn verify(
        bytes: &[u8],
        key: &[u8; 32],
        now_ms: u64,
        is_known: impl Fn(&PeerId) -> bool,
    ) -> Option<Hint> {
        let mut fields = Reader::new(bytes);
        if fields.u8()? != VERSION {
            return None;
        }
        let (epoch, term, leader, expires_ms) = (fields.u64()?, fields.u32()?, fields.i32()?, fields.u64()?);
        let count = fields.count(REPLICAS_MAX)?;
        let replicas = (0..count).map(|_| fields.i32()).collect::<Option<Vec<_>>>()?;
        let count = fields.count(ADDRESSES_MAX)?;
        let addresses = (0..count).map(|_| fields.text(ADDRESS_BYTES_MAX)).collect::<Option<Vec<_>>>()?;
        let signer = PeerId::from_bytes(fields.bytes(PEER_ID_BYTES_MAX)?).ok()?;
        let signature = fields.bytes(SIGNATURE_BYTES_MAX)?;
        fields.end()?;
        if expires_ms <= now_ms || !is_known(&signer) {
            return None;
        }
        let covered = bytes.get(..bytes.len().checked_sub(4 + signature.len())?)?;
        let right = public_key(&signer)?.verify(&signed(key, covered), signature);
        right.then_some(Hint { epoch, term, leader, expires_ms, replicas, addresses })
    }
}

/// The newer of two hints.
#[must_use]
pub fn merge(a: Hint, b: Hint) -> Hint {
    if b.precedence(&a) == Ordering::Greater { b } else { a }
}

fn signed(key: &[u8; 32], body: &[u8]) -> Vec<u8> {
    [LABEL, key, body].concat()
}

/// Ed25519 peer ids hold their public key; no others are made by this program.
fn public_key(peer: &PeerId) -> Option<PublicKey> {
    let multihash: &libp2p::multihash::Multihash<64> = peer.as_ref();
    (multihash.code() == IDENTITY_HASH).then(|| PublicKey::try_decode_protobuf(multihash.digest()).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::{Arbitrary, Gen, quickcheck};

    impl Arbitrary for Hint {
        fn arbitrary(g: &mut Gen) -> Hint {
            let mut replicas = Vec::arbitrary(g);
            replicas.truncate(REPLICAS_MAX);
            Hint {
                epoch: u64::arbitrary(g) % 4,
                term: u32::arbitrary(g) % 4,
                leader: i32::arbitrary(g),
                expires_ms: 1 + u64::arbitrary(g) % 1000,
                replicas,
                addresses: (0..u8::arbitrary(g) % 4).map(|n| format!("host-{n}:9192")).collect(),
            }
        }
    }

    quickcheck! {
        fn a_signed_hint_reads_back(hint: Hint, key: u8) -> bool {
            let keys = Keypair::generate_ed25519();
            let key = [key; 32];
            let bytes = hint.sign(&key, &keys).unwrap();
            let read = |key, now_ms, known: bool| Hint::verify(&bytes, key, now_ms, |_| known);
            read(&key, 0, true).as_ref() == Some(&hint)
                && read(&key, hint.expires_ms, true).is_none()
                && read(&key, 0, false).is_none()
                && read(&[key[0].wrapping_add(1); 32], 0, true).is_none()
        }

        fn a_changed_byte_is_refused(hint: Hint, at: usize, flip: u8) -> bool {
            let mut bytes = hint.sign(&[1; 32], &Keypair::generate_ed25519()).unwrap().to_vec();
            let at = at % bytes.len();
            bytes[at] ^= flip.max(1);
            Hint::verify(&bytes, &[1; 32], 0, |_| true).is_none()
        }

        fn hostile_bytes_do_no_harm(bytes: Vec<u8>, cut: usize) -> bool {
            let hint = Hint { epoch: 1, term: 1, leader: 1, expires_ms: 9, replicas: vec![1], addresses: vec![] };
            let signed = hint.sign(&[1; 32], &Keypair::generate_ed25519()).unwrap();
            let cut = cut % signed.len();
            let versioned = [&[VERSION], &bytes[..]].concat();
            [&bytes[..], &versioned, &signed[..cut]].iter().all(|b| Hint::verify(b, &[1; 32], 0, |_| true).is_none())
        }

        fn merging_is_a_maximum(a: Hint, b: Hint, c: Hint) -> bool {
            let two = |a: &Hint, b: &Hint| merge(a.clone(), b.clone());
            two(&a, &b) == two(&b, &a)
                && two(&two(&a, &b), &c) == two(&a, &two(&b, &c))
                && two(&a, &a) == a
                && (two(&a, &b).epoch, two(&a, &b).term) == (a.epoch, a.term).max((b.epoch, b.term))
        }
    }

    #[test]
    fn keys_are_hashes_of_names() {
        assert_eq!(shard_key(3), key("shard/3"));
        assert_eq!(partition_key(&[0xab; 16], 7), key(&format!("partition/{}/7", "ab".repeat(16))));
        assert_ne!(node_key(1), node_key(2));
        assert_eq!(group_key("a/b"), key("group/a/b"));
    }

    #[test]
    fn too_many_addresses_are_not_signed() {
        let addresses = vec!["a:1".to_string(); ADDRESSES_MAX + 1];
        let hint = Hint { epoch: 1, term: 1, leader: 1, expires_ms: 1, replicas: vec![], addresses };
        assert!(hint.sign(&[0; 32], &Keypair::generate_ed25519()).is_none());
    }
}
