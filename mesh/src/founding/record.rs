//! What a founding set is, and the founding record on disk.
//!
//! The record, big-endian. It is kept in a file of its own, is replaced whole, and never outgrows a few
//! kilobytes:
//!
//! | field | bytes |
//! |---|---|
//! | magic `rafkafnd` | 8 |
//! | format version, 1 | 2 |
//! | stage: 1 agreed, 2 founded | 1 |
//! | recorded by, a peer id | 4 + length |
//! | metadata shards | 2 |
//! | count of seeds | 4 |
//! | each seed: mesh address, peer id (4 + length each), incarnation (8), kafka address, http address, zone (4 + length each) | |
//! | CRC of a kind: the first bytes of BLAKE3 over all of the above | 8 |
//!
//! Node ids, voters and the cluster's id are not stored: they follow from the seeds.

use super::FoundingError;
use crate::fields::{Reader, Writer};

/// Metadata shards of a new cluster; fixed from then on.
pub const METADATA_SHARDS: u16 = 16;
/// Voters of a metadata shard, when the founding set has as many.
const SHARD_VOTERS: usize = 3;
/// Seeds of a founding set.
pub(super) const SEEDS_MAX: usize = 64;
pub(super) const TEXT_BYTES_MAX: usize = 300;
pub(super) const PEER_BYTES_MAX: usize = 64;
const MAGIC: &[u8; 8] = b"rafkafnd";
const VERSION: u16 = 1;
const CHECK_BYTES: usize = 8;

/// Where a node is reached, each as `host:port`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Addresses {
    /// By other nodes.
    pub mesh: String,
    /// By Kafka clients.
    pub kafka: String,
    /// By people and monitoring.
    pub http: String,
}

impl Addresses {
    pub(super) fn encode(&self, out: &mut Writer) {
        out.text(&self.mesh).text(&self.kafka).text(&self.http);
    }

    pub(super) fn decode(fields: &mut Reader<'_>) -> Option<Addresses> {
        let mut text = || fields.text(TEXT_BYTES_MAX);
        Some(Addresses { mesh: text()?, kafka: text()?, http: text()? })
    }
}

/// One seed as it describes itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seed {
    /// libp2p's peer id, as bytes.
    pub peer_id: Vec<u8>,
    /// The life of its data directory.
    pub incarnation: u64,
    /// Where it is reached. The mesh address is the one in `--seeds`.
    pub addresses: Addresses,
    /// Its failure domain; may be empty.
    pub zone: String,
}

impl Seed {
    /// What the set is a set of. Other addresses and the zone may change while the seeds are still gathering.
    pub(super) fn identity(&self) -> (&str, &[u8], u64) {
        (&self.addresses.mesh, &self.peer_id, self.incarnation)
    }

    pub(super) fn encode(&self, out: &mut Writer) {
        out.bytes(&self.peer_id).u64(self.incarnation);
        self.addresses.encode(out);
        out.text(&self.zone);
    }

    pub(super) fn decode(fields: &mut Reader<'_>) -> Option<Seed> {
        let peer_id = fields.bytes(PEER_BYTES_MAX)?.to_vec();
        let incarnation = fields.u64()?;
        let addresses = Addresses::decode(fields)?;
        Some(Seed { peer_id, incarnation, addresses, zone: fields.text(TEXT_BYTES_MAX)? })
    }
}

/// A complete founding set: its seeds by rank of peer id, all different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedSet(Vec<Seed>);

impl SeedSet {
    /// Sorts the seeds by peer id.
    ///
    /// # Errors
    ///
    /// When there are none or too many, or two have the same identity.
    pub fn new(mut seeds: Vec<Seed>) -> Result<SeedSet, FoundingError> {
        if seeds.is_empty() || seeds.len() > SEEDS_MAX {
            return Err(FoundingError::TooManySeeds { max: SEEDS_MAX });
        }
        seeds.sort();
        match seeds.windows(2).find(|pair| pair[0].peer_id == pair[1].peer_id) {
            Some(pair) => Err(FoundingError::SameIdentity {
                first: pair[0].addresses.mesh.clone(),
                second: pair[1].addresses.mesh.clone(),
            }),
            None => Ok(SeedSet(seeds)),
        }
    }

    /// The seeds by rank of peer id.
    #[must_use]
    pub fn seeds(&self) -> &[Seed] {
        &self.0
    }

    /// BLAKE3 over addresses, peer ids and incarnations: the id of the cluster that this set founds.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut out = Writer::new();
        out.raw(b"rafka founding set").count(self.0.len());
        for seed in &self.0 {
            let (address, peer_id, incarnation) = seed.identity();
            out.text(address).bytes(peer_id).u64(incarnation);
        }
        *blake3::hash(&out.done()).as_bytes()
    }

    pub(super) fn at(&self, address: &str) -> Option<&Seed> {
        self.0.iter().find(|seed| seed.addresses.mesh == address)
    }

    pub(super) fn holds(&self, seed: &Seed) -> bool {
        self.at(&seed.addresses.mesh).is_some_and(|known| known.identity() == seed.identity())
    }

    pub(super) fn encode(&self, out: &mut Writer) {
        out.count(self.0.len());
        for seed in &self.0 {
            seed.encode(out);
        }
    }

    pub(super) fn decode(fields: &mut Reader<'_>) -> Option<SeedSet> {
        let count = fields.count(SEEDS_MAX)?;
        let seeds = (0..count).map(|_| Seed::decode(fields)).collect::<Option<Vec<_>>>()?;
        SeedSet::new(seeds).ok()
    }
}

/// A node of the founded cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Kafka's broker id: 1 and up, by rank of peer id.
    pub node_id: i32,
    /// libp2p's peer id, as bytes.
    pub peer_id: Vec<u8>,
    /// The life of its data directory.
    pub incarnation: u64,
    /// Where it was reached when the cluster was founded.
    pub addresses: Addresses,
    /// Its failure domain then; may be empty.
    pub zone: String,
}

/// What a cluster begins with. Every founder holds the same cluster id, nodes, shards and voters; addresses
/// other than the mesh's and zones are as the holder last heard them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundingRecord {
    /// BLAKE3 of the founding set.
    pub cluster_id: [u8; 32],
    /// By node id.
    pub nodes: Vec<Node>,
    /// Metadata shards.
    pub shards: u16,
    set: SeedSet,
}

impl FoundingRecord {
    pub(super) fn of(set: SeedSet, shards: u16) -> FoundingRecord {
        let nodes = (1..).zip(set.seeds()).map(|(node_id, seed)| Node {
            node_id,
            peer_id: seed.peer_id.clone(),
            incarnation: seed.incarnation,
            addresses: seed.addresses.clone(),
            zone: seed.zone.clone(),
        });
        FoundingRecord { cluster_id: set.digest(), nodes: nodes.collect(), shards, set }
    }

    /// Node ids of a metadata shard's first voters, the preferred leader first: three of them, or all when
    /// there are fewer, spread evenly over the founders.
    #[must_use]
    pub fn voters(&self, shard: u16) -> Vec<i32> {
        let start = usize::from(shard) % self.nodes.len().max(1);
        let round = self.nodes.iter().cycle().skip(start).take(SHARD_VOTERS.min(self.nodes.len()));
        round.map(|node| node.node_id).collect()
    }

    /// The node with this peer id.
    #[must_use]
    pub fn node_of(&self, peer_id: &[u8]) -> Option<&Node> {
        self.nodes.iter().find(|node| node.peer_id == peer_id)
    }

    pub(super) fn set(&self) -> &SeedSet {
        &self.set
    }

    pub(super) fn encode(&self, out: &mut Writer) {
        out.u16(self.shards);
        self.set.encode(out);
    }

    pub(super) fn decode(fields: &mut Reader<'_>) -> Option<FoundingRecord> {
        let shards = fields.u16().filter(|shards| *shards > 0)?;
        Some(FoundingRecord::of(SeedSet::decode(fields)?, shards))
    }
}

/// What the data directory holds about founding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The peer id of the node that recorded it.
    pub by: Vec<u8>,
    /// False: this node accepts the set. True: every seed does, and the cluster exists.
    pub founded: bool,
    /// The set and what follows from it.
    pub record: FoundingRecord,
}

impl Recorded {
    /// The bytes for the disk.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.raw(MAGIC).u16(VERSION).u8(if self.founded { 2 } else { 1 }).bytes(&self.by);
        self.record.encode(&mut out);
        let mut bytes = out.done();
        let check = blake3::hash(&bytes);
        bytes.extend_from_slice(&check.as_bytes()[..CHECK_BYTES]);
        bytes
    }

    /// Reads what [`Recorded::encode`] wrote; never panics.
    ///
    /// # Errors
    ///
    /// [`FoundingError::Damaged`] for anything else.
    pub fn decode(bytes: &[u8]) -> Result<Recorded, FoundingError> {
        Recorded::read(bytes).ok_or(FoundingError::Damaged)
    }

    fn read(bytes: &[u8]) -> Option<Recorded> {
        let (body, check) = bytes.split_at_checked(bytes.len().checked_sub(CHECK_BYTES)?)?;
        if blake3::hash(body).as_bytes()[..CHECK_BYTES] != *check {
            return None;
        }
        let mut fields = Reader::new(body);
        if (fields.array::<8>()?, fields.u16()?) != (*MAGIC, VERSION) {
            return None;
        }
        let founded = match fields.u8()? {
            1 => false,
            2 => true,
            _ => return None,
        };
        let by = fields.bytes(PEER_BYTES_MAX)?.to_vec();
        let record = FoundingRecord::decode(&mut fields)?;
        fields.end()?;
        Some(Recorded { by, founded, record })
    }
}

/// The first bytes of an id in hexadecimal, for messages.
pub(super) fn short(id: &[u8]) -> String {
    id.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// The last bytes of a peer id in hexadecimal: the first ones are the same in all.
pub(super) fn peer_text(peer_id: &[u8]) -> String {
    short(&peer_id[peer_id.len().saturating_sub(6)..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    fn record(count: u8) -> Recorded {
        let seed = |n: u8| Seed {
            peer_id: vec![n; 38],
            incarnation: u64::from(n) + 100,
            addresses: Addresses {
                mesh: format!("m{n}:1"),
                kafka: format!("k{n}:2"),
                http: format!("h{n}:3"),
            },
            zone: "z".into(),
        };
        let set = SeedSet::new((0..count).rev().map(seed).collect()).unwrap();
        Recorded { by: vec![0; 38], founded: false, record: FoundingRecord::of(set, METADATA_SHARDS) }
    }

    #[test]
    fn a_record_reads_back_and_any_change_is_seen() {
        let recorded = record(3);
        let bytes = recorded.encode();
        assert_eq!(Recorded::decode(&bytes), Ok(recorded));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(Recorded::decode(&changed), Err(FoundingError::Damaged));
            assert_eq!(Recorded::decode(&bytes[..at]), Err(FoundingError::Damaged));
        }
    }

    #[test]
    fn ids_and_voters_follow_from_the_set() {
        let record = record(5).record;
        let ids: Vec<i32> = record.nodes.iter().map(|node| node.node_id).collect();
        assert_eq!(ids, [1, 2, 3, 4, 5]);
        assert!(record.nodes.is_sorted_by(|a, b| a.peer_id < b.peer_id));
        assert_eq!(record.voters(0), [1, 2, 3]);
        assert_eq!(record.voters(4), [5, 1, 2]);
        assert_eq!(self::record(1).record.voters(9), [1]);
        assert_eq!(self::record(2).record.voters(3), [2, 1]);
    }

    quickcheck! {
        fn hostile_bytes_do_no_harm(bytes: Vec<u8>) -> bool {
            let mut checked = [&MAGIC[..], &[0, 1, 2], &bytes].concat();
            let check = blake3::hash(&checked);
            checked.extend_from_slice(&check.as_bytes()[..CHECK_BYTES]);
            let _ = Recorded::decode(&checked);
            Recorded::decode(&bytes).is_err()
        }
    }
}
