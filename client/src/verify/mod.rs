//! Whether all replicas of a topic hold the same: [`Mesh::verify`].
//!
//! Each node is asked over HTTP for digests of what its replicas have on disk (`/v1/digest`), while the topic is written. Compared is what is
//! committed when the comparison begins: from the latest log start to the high watermark, batch by batch with their offsets and terms.
//! Where digests differ the place is narrowed down to the first batch that does, and the majority of the replicas says what belongs there.
//! Nothing is changed anywhere.
//!
//! ```no_run
//! # fn main() -> Result<(), rafka::Error> {
//! let verification = rafka::Mesh::default().verify("greetings", &mut |_progress| {})?;
//! for partition in &verification.partitions {
//!     for replica in partition.replicas.iter().filter(|replica| replica.verdict.is_wrong()) {
//!         println!("partition {}, node {}: {}", partition.partition, replica.node, replica.verdict);
//!     }
//! }
//! # Ok(())
//! # }
//! ```

// `ask` speaks HTTP, `compare` decides what is asked next and what it means.
mod ask;
mod compare;

use crate::error::Error;
use crate::mesh::Mesh;
use std::fmt;

/// What came of comparing the replicas of a topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verification {
    /// The topic's name.
    pub topic: String,
    /// Each of its partitions, in order.
    pub partitions: Vec<VerifiedPartition>,
}

impl Verification {
    /// Whether some replica is not what the others are, or cannot be read.
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        self.verdicts().any(Verdict::is_wrong)
    }

    /// Whether all of each replica was compared.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.verdicts().any(Verdict::is_incomplete)
    }

    fn verdicts(&self) -> impl Iterator<Item = &Verdict> {
        self.partitions.iter().flat_map(|partition| &partition.replicas).map(|replica| &replica.verdict)
    }
}

/// One partition's replicas side by side.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifiedPartition {
    /// Its number, from 0.
    pub partition: i32,
    /// The first offset that was compared; none when there is nothing to compare.
    pub from_offset: Option<i64>,
    /// The offset after the last one.
    pub to_offset: Option<i64>,
    /// Records that are the same in all replicas that have them.
    pub records: u64,
    /// Bytes of them, in each replica.
    pub bytes: u64,
    /// By node.
    pub replicas: Vec<VerifiedReplica>,
}

/// One replica.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifiedReplica {
    /// The node that has it.
    pub node: i64,
    /// What it is.
    pub verdict: Verdict,
}

/// What a replica is beside the others.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It holds what the others hold.
    Same,
    /// It does as far as it is: it has not committed as much as another one.
    Behind {
        /// The first offset that it lacks; none when that is not known.
        offset: Option<i64>,
    },
    /// It holds something else than the majority, from here on at least; or there is no majority.
    Differs(Place),
    /// It cannot be read, from here on at least.
    Damaged(Place, String),
    /// It could not be asked, or not to the end.
    Unknown(String),
}

impl Verdict {
    /// Whether the replica is not what the others are, or cannot be read.
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        matches!(self, Verdict::Differs(_) | Verdict::Damaged(..))
    }

    /// Whether a part of it was not compared.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        matches!(self, Verdict::Behind { .. } | Verdict::Unknown(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Same => f.write_str("same"),
            Verdict::Behind { offset: Some(offset) } => write!(f, "same up to offset {offset}, then behind"),
            Verdict::Behind { offset: None } => f.write_str("behind"),
            Verdict::Differs(place) => write!(f, "differs first at {place}"),
            Verdict::Damaged(place, why) => write!(f, "damaged at {place}: {why}"),
            Verdict::Unknown(why) => write!(f, "not compared: {why}"),
        }
    }
}

/// One batch, or another entry of the log, which has no records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// Its Raft index.
    pub index: u64,
    /// Offsets of its records: the first, and the one after the last; none when nobody could say.
    pub offsets: Option<(i64, i64)>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offsets {
            Some((first, next)) if next > first => {
                write!(f, "offsets {first} to {} (index {})", next - 1, self.index)
            }
            Some((first, _)) => write!(f, "offset {first} (index {}, no record)", self.index),
            None => write!(f, "index {}", self.index),
        }
    }
}

/// How far a comparison has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// The partition that is compared.
    pub partition: i32,
    /// Partitions that are done.
    pub done: usize,
    /// Partitions in all.
    pub partitions: usize,
    /// Bytes compared so far, of each replica.
    pub bytes: u64,
}

impl Mesh {
    /// Compares all replicas of a topic, one partition after the other. The nodes are learned of from the one at
    /// [`Mesh::http_address`]. It reads everything from their disks: as slowly as that takes, behind what clients read.
    ///
    /// # Errors
    ///
    /// [`Error::TopicMissing`] when that node does not know the topic, otherwise as [`http::get`](crate::http::get) where it is asked; that another
    /// node cannot be asked is a [`Verdict`].
    pub fn verify(&self, topic: &str, progress: &mut dyn FnMut(Progress)) -> Result<Verification, Error> {
        let missing = |error| match error {
            Error::HttpRefused { status, .. } if status.starts_with("404") => {
                Error::TopicMissing { topic: topic.to_owned(), addresses: self.http_address().to_owned() }
            }
            other => other,
        };
        let mut partitions = self.partitions(topic).map_err(missing)?.partitions;
        partitions.sort_by_key(|partition| partition.partition);
        let known = self.nodes()?.nodes.into_iter();
        let nodes = ask::Nodes::new(self, known.map(|node| (node.node_id, node.http)).collect());
        let mut verification = Verification { topic: topic.to_owned(), partitions: Vec::new() };
        let mut bytes = 0;
        for (done, partition) in partitions.iter().enumerate() {
            let number = partition.partition;
            let mut said = |more: u64| {
                bytes += more;
                progress(Progress { partition: number, done, partitions: partitions.len(), bytes });
            };
            said(0);
            let mut compared =
                compare::compare(&nodes.replicas(topic, number), &partition.replicas, &mut said);
            compared.partition = number;
            verification.partitions.push(compared);
        }
        Ok(verification)
    }
}
