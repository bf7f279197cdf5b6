//! Frames between nodes: a byte that says what follows, then that.
//!
//! | byte | follows | stream |
//! |---|---|---|
//! | 1 | a [`Life`] and a [`PeerMessage`] in bincode | as the core says |
//! | 6 | a [`Life`] and a list of [`PeerMessage`]s in bincode: what one round had to say | control |
//! | 2 | a founding message | control |
//! | 3 | a request to join | rpc |
//! | 4 | the answer to it | rpc |
//! | 5 | the sender's clock, i64 milliseconds since 1970, and which node it is, i32 | control |

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bytes::Bytes;
use mesh::founding::{JoinAnswer, JoinRequest, Message};
use mesh::life::Life;
use mesh::raft::{self, NodeId};
use mesh::transport::{FRAME_BYTES_MAX, StreamClass};

use crate::core::message::{PeerMessage, Stream};

const NODE: u8 = 1;
const FOUNDING: u8 = 2;
const JOIN: u8 = 3;
const JOINED: u8 = 4;
const CLOCK: u8 = 5;
const ROUND: u8 = 6;

/// What a decoder may allocate for one frame, above its bytes.
const DECODE_BYTES_MAX: usize = FRAME_BYTES_MAX + (16 << 20);
/// Room for all of a message but its payloads.
const FIXED_BYTES: usize = 220;
/// Room for all of an entry but its payload.
const ENTRY_BYTES: usize = 64;

/// One frame, read.
#[derive(Debug)]
pub enum Frame {
    /// From node to node.
    Node(Life, Vec<PeerMessage>),
    /// About the founding.
    Founding(Message),
    /// A stranger wants in.
    Join(JoinRequest),
    /// What became of that.
    Joined(JoinAnswer),
    /// The sender's clock, milliseconds since 1970, and which node it says that it is.
    Clock(i64, Option<NodeId>),
}

/// A frame that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("a frame of {bytes} bytes cannot be read: {reason}")]
pub struct DecodeError {
    bytes: usize,
    reason: String,
}

fn config() -> Configuration<LittleEndian, Varint, Limit<DECODE_BYTES_MAX>> {
    bincode::config::standard().with_limit::<DECODE_BYTES_MAX>()
}

/// The transport's class of a stream.
pub fn class(stream: Stream) -> StreamClass {
    match stream {
        Stream::Control => StreamClass::Control,
        Stream::Rpc => StreamClass::Rpc,
        Stream::Replication => StreamClass::Replication,
    }
}

/// The stream of a transport's class.
pub fn stream(class: StreamClass) -> Stream {
    match class {
        StreamClass::Control => Stream::Control,
        StreamClass::Rpc => Stream::Rpc,
        StreamClass::Replication => Stream::Replication,
    }
}

/// A message of this process as a frame; `None` when it is longer than a frame may be.
pub fn encode(life: Life, message: &PeerMessage) -> Option<Bytes> {
    let mut out = Vec::with_capacity(FIXED_BYTES + payload_bytes(message));
    out.push(NODE);
    bincode::serde::encode_into_std_write((life, message), &mut out, config()).ok()?;
    (out.len() <= FRAME_BYTES_MAX).then(|| out.into())
}

/// Messages of this process as one frame; `None` when it is longer than a frame may be.
pub fn encode_round(life: Life, messages: &[PeerMessage]) -> Option<Bytes> {
    let mut out = vec![ROUND];
    bincode::serde::encode_into_std_write((life, messages), &mut out, config()).ok()?;
    (out.len() <= FRAME_BYTES_MAX).then(|| out.into())
}

/// So that an append is copied once, into a buffer that need not grow.
fn payload_bytes(message: &PeerMessage) -> usize {
    match message {
        PeerMessage::Raft { message: raft::Message::Append { entries, .. }, .. } => {
            entries.iter().map(|entry| entry.payload.len() + ENTRY_BYTES).sum()
        }
        PeerMessage::Raft { message: raft::Message::Reset { checkpoint, .. }, .. } => checkpoint.1.len(),
        PeerMessage::ShardUpdate(update) => update.encoded_len(),
        PeerMessage::Forward { command, .. } => command.len(),
        _ => 0,
    }
}

fn tagged(tag: u8, body: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(1 + body.len());
    out.push(tag);
    out.extend_from_slice(body);
    out.into()
}

/// A founding message as a frame.
pub fn founding(message: &Message) -> Bytes {
    tagged(FOUNDING, &message.encode())
}

/// A request to join as a frame.
pub fn join(request: &JoinRequest) -> Bytes {
    tagged(JOIN, &request.encode())
}

/// The answer to a request to join as a frame.
pub fn joined(answer: &JoinAnswer) -> Bytes {
    tagged(JOINED, &answer.encode())
}

/// This node's clock and number as a frame.
pub fn clock(wall_ms: i64, me: NodeId) -> Bytes {
    tagged(CLOCK, &[&wall_ms.to_le_bytes()[..], &me.0.to_le_bytes()].concat())
}

/// Reads a frame.
///
/// # Errors
/// Whatever the bytes are, an error and never a panic.
pub fn decode(frame: &[u8]) -> Result<Frame, DecodeError> {
    let bytes = frame.len();
    let failed = |reason: String| DecodeError { bytes, reason };
    let (tag, body) = frame.split_first().ok_or_else(|| failed("it is empty".into()))?;
    let unreadable = || failed(format!("kind {tag} with another version's or damaged content"));
    match *tag {
        NODE => whole(body).map(|(life, message)| Frame::Node(life, vec![message])).map_err(failed),
        ROUND => whole(body).map(|(life, messages)| Frame::Node(life, messages)).map_err(failed),
        FOUNDING => Message::decode(body).map(Frame::Founding).ok_or_else(unreadable),
        JOIN => JoinRequest::decode(body).map(Frame::Join).ok_or_else(unreadable),
        JOINED => JoinAnswer::decode(body).map(Frame::Joined).ok_or_else(unreadable),
        CLOCK => {
            let (ms, number) = body.split_first_chunk().ok_or_else(unreadable)?;
            let node = match number {
                [] => None,
                number => {
                    Some(NodeId(i32::from_le_bytes(number.try_into().map_err(|_length| unreadable())?)))
                }
            };
            Ok(Frame::Clock(i64::from_le_bytes(*ms), node))
        }
        other => Err(failed(format!("kind {other} is of a newer release"))),
    }
}

/// All of a body.
fn whole<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    let (said, read) =
        bincode::serde::decode_from_slice(body, config()).map_err(|error| error.to_string())?;
    if read == body.len() { Ok(said) } else { Err("there are bytes after its end".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::metadata::{PartitionKey, ShardId};
    use mesh::raft::{EntryKind, Index, ReplicaId, Term};
    use quickcheck::quickcheck;

    const LIFE: Life = Life { incarnation: raft::Incarnation(u64::MAX), boot: u64::MAX, session: u64::MAX };

    fn append(payload: usize) -> PeerMessage {
        let entry = raft::Entry {
            term: Term(3),
            index: Index(9),
            base_offset: 7,
            record_count: 2,
            kind: EntryKind::Records,
            timestamp_ms: -1,
            payload: vec![7; payload].into(),
        };
        let message = raft::Message::Append {
            term: Term(3),
            prev: (Index(8), Term(2)),
            entries: vec![entry.clone(), entry],
            commit: Index(8),
        };
        let key = PartitionKey::of_shard(ShardId(3));
        PeerMessage::Raft { key, from: ReplicaId::default(), to: ReplicaId::default(), message }
    }

    #[test]
    fn a_message_comes_back_and_an_append_fits_its_buffer() {
        let message = append(100_000);
        let frame = encode(LIFE, &message).expect("it fits");
        assert!(frame.len() <= FIXED_BYTES + payload_bytes(&message));
        assert!(matches!(decode(&frame), Ok(Frame::Node(LIFE, read)) if read == [message]));
    }

    #[test]
    fn what_a_round_said_comes_back_in_order() {
        let said = [append(3), PeerMessage::ShardPoll { shard: 3, version: 7 }, append(0)];
        let frame = encode_round(LIFE, &said).expect("it fits");
        assert!(matches!(decode(&frame), Ok(Frame::Node(LIFE, read)) if read == said));
        assert!((0..frame.len()).all(|cut| decode(&frame[..cut]).is_err()));
    }

    #[test]
    fn a_clock_comes_back() {
        let said = clock(-7, NodeId(3));
        assert!(matches!(decode(&said), Ok(Frame::Clock(-7, Some(NodeId(3))))));
        assert!(matches!(decode(&said[..9]), Ok(Frame::Clock(-7, None))), "of a release before");
        assert!(decode(&said[..8]).is_err() && decode(&said[..10]).is_err());
    }

    #[test]
    fn cut_and_longer_frames_are_refused() {
        let frame = encode(LIFE, &append(20)).expect("it fits");
        assert!((0..frame.len()).all(|cut| decode(&frame[..cut]).is_err()));
        assert!(decode(&[&frame[..], &[0]].concat()).is_err());
        let longest = PeerMessage::ShardUpdate(vec![0; FRAME_BYTES_MAX].into());
        assert!(encode(LIFE, &longest).is_none());
    }

    quickcheck! {
        fn hostile_bytes_do_no_harm(bytes: Vec<u8>, at: usize, flip: u8) -> bool {
            for tag in 0..8 {
                let _ = decode(&[&[tag], &bytes[..]].concat());
            }
            let mut frame = encode(LIFE, &append(20)).expect("it fits").to_vec();
            let at = at % frame.len();
            frame[at] ^= flip;
            let _ = decode(&frame);
            true
        }
    }
}
