//! What SWIM says, as bytes. Fixed widths, little-endian but for the count, which `foca` writes itself.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | tag of the message, see [`tag`] |
//! | 1 | probe number, 0 where there is none |
//! | 24 | the sender |
//! | 2 | the sender's counter of refutations |
//! | 24 | the receiver |
//! | 24 | for tags 2 to 5: whom the probe is about |
//! | 2 | but for announcements and [`TurnUndead`](Message::TurnUndead): how many members follow, big-endian |
//! | 27 each | an identity, its counter of refutations (2), its state (1): 0 alive, 1 suspect, 2 down |
//!
//! An identity is node (4), incarnation (8), boot (8), renewal (4). Nothing is allocated by a length that the bytes claim.

use bytes::{Buf, BufMut};
use foca::{Codec, Header, Member, Message, State};
use thiserror::Error;

use super::SwimId;
use crate::raft::{Incarnation, NodeId};

/// The most bytes of one message: a thousand members at once.
pub(super) const PACKET_BYTES_MAX: usize = 32 << 10;

const ID_BYTES: usize = 24;
const MEMBER_BYTES: usize = ID_BYTES + 3;

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("no SWIM message: {0}")]
pub(super) struct Malformed(&'static str);

/// The codec that `foca` is given.
#[derive(Debug)]
pub(super) struct Wire;

/// A message that was read.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) header: Header<SwimId>,
    pub(super) updates: Vec<Member<SwimId>>,
}

impl Packet {
    /// Reads a whole message.
    pub(super) fn decode(mut bytes: &[u8]) -> Result<Packet, Malformed> {
        if bytes.len() > PACKET_BYTES_MAX {
            return Err(Malformed("too long"));
        }
        let header = Wire.decode_header(&mut bytes)?;
        let mut updates = Vec::new();
        if !bytes.is_empty() {
            let (count, mut rest) = bytes.split_first_chunk::<2>().ok_or(Malformed("half a count"))?;
            if usize::from(u16::from_be_bytes(*count)) * MEMBER_BYTES != rest.len() {
                return Err(Malformed("the count is wrong"));
            }
            while !rest.is_empty() {
                updates.push(Wire.decode_member(&mut rest)?);
            }
        }
        Ok(Packet { header, updates })
    }

    /// The bytes again, with the members that are left in it.
    pub(super) fn encode(&self) -> Result<Vec<u8>, Malformed> {
        let mut out = Vec::new();
        Wire.encode_header(&self.header, &mut out)?;
        if !matches!(self.header.message, Message::Announce | Message::TurnUndead) {
            out.put_u16(u16::try_from(self.updates.len()).map_err(|_| Malformed("too many members"))?);
            for member in &self.updates {
                Wire.encode_member(member, &mut out)?;
            }
        }
        Ok(out)
    }
}

/// The sender's counter in a message of this node's own.
pub(super) fn refuted_by_sender(bytes: &[u8]) -> u16 {
    let counter = bytes.get(2 + ID_BYTES..).and_then(|rest| rest.first_chunk());
    counter.map_or(0, |bytes| u16::from_le_bytes(*bytes))
}

/// Tag, probe number, and whom the probe is about.
fn tag(message: &Message<SwimId>) -> (u8, u8, Option<&SwimId>) {
    match message {
        Message::Ping(number) => (0, *number, None),
        Message::Ack(number) => (1, *number, None),
        Message::PingReq { target, probe_number } => (2, *probe_number, Some(target)),
        Message::IndirectPing { origin, probe_number } => (3, *probe_number, Some(origin)),
        Message::IndirectAck { target, probe_number } => (4, *probe_number, Some(target)),
        Message::ForwardedAck { origin, probe_number } => (5, *probe_number, Some(origin)),
        Message::Announce => (6, 0, None),
        Message::Feed => (7, 0, None),
        Message::Gossip => (8, 0, None),
        Message::Broadcast => (9, 0, None),
        Message::TurnUndead => (10, 0, None),
    }
}

fn put_id(id: &SwimId, out: &mut impl BufMut) {
    out.put_i32_le(id.node.0);
    out.put_u64_le(id.incarnation.0);
    out.put_u64_le(id.boot);
    out.put_u32_le(id.renewal);
}

fn get_id(bytes: &mut impl Buf) -> Result<SwimId, Malformed> {
    if bytes.remaining() < ID_BYTES {
        return Err(Malformed("half an identity"));
    }
    Ok(SwimId {
        node: NodeId(bytes.get_i32_le()),
        incarnation: Incarnation(bytes.get_u64_le()),
        boot: bytes.get_u64_le(),
        renewal: bytes.get_u32_le(),
    })
}

fn get<const N: usize>(bytes: &mut impl Buf) -> Result<[u8; N], Malformed> {
    if bytes.remaining() < N {
        return Err(Malformed("cut off"));
    }
    let mut out = [0; N];
    bytes.copy_to_slice(&mut out);
    Ok(out)
}

impl Codec<SwimId> for Wire {
    type Error = Malformed;

    fn encode_header(&mut self, header: &Header<SwimId>, mut out: impl BufMut) -> Result<(), Malformed> {
        let (tag, probe, about) = tag(&header.message);
        if out.remaining_mut() < 4 + 3 * ID_BYTES {
            return Err(Malformed("no room"));
        }
        out.put_u8(tag);
        out.put_u8(probe);
        put_id(&header.src, &mut out);
        out.put_u16_le(header.src_incarnation);
        put_id(&header.dst, &mut out);
        about.into_iter().for_each(|id| put_id(id, &mut out));
        Ok(())
    }

    fn decode_header(&mut self, mut bytes: impl Buf) -> Result<Header<SwimId>, Malformed> {
        let [tag, probe_number] = get(&mut bytes)?;
        let src = get_id(&mut bytes)?;
        let src_incarnation = u16::from_le_bytes(get(&mut bytes)?);
        let dst = get_id(&mut bytes)?;
        let message = match tag {
            0 => Message::Ping(probe_number),
            1 => Message::Ack(probe_number),
            2 => Message::PingReq { target: get_id(&mut bytes)?, probe_number },
            3 => Message::IndirectPing { origin: get_id(&mut bytes)?, probe_number },
            4 => Message::IndirectAck { target: get_id(&mut bytes)?, probe_number },
            5 => Message::ForwardedAck { origin: get_id(&mut bytes)?, probe_number },
            6 => Message::Announce,
            7 => Message::Feed,
            8 => Message::Gossip,
            10 => Message::TurnUndead,
            _ => return Err(Malformed("an unknown tag")),
        };
        Ok(Header { src, src_incarnation, dst, message })
    }

    fn encode_member(&mut self, member: &Member<SwimId>, mut out: impl BufMut) -> Result<(), Malformed> {
        if out.remaining_mut() < MEMBER_BYTES {
            return Err(Malformed("no room"));
        }
        put_id(member.id(), &mut out);
        out.put_u16_le(member.incarnation());
        out.put_u8(match member.state() {
            State::Alive => 0,
            State::Suspect => 1,
            State::Down => 2,
        });
        Ok(())
    }

    fn decode_member(&mut self, mut bytes: impl Buf) -> Result<Member<SwimId>, Malformed> {
        let id = get_id(&mut bytes)?;
        let refuted = u16::from_le_bytes(get(&mut bytes)?);
        let [state] = get(&mut bytes)?;
        let state = match state {
            0 => State::Alive,
            1 => State::Suspect,
            2 => State::Down,
            _ => return Err(Malformed("an unknown state")),
        };
        Ok(Member::new(id, refuted, state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(node: i32) -> SwimId {
        SwimId { node: NodeId(node), incarnation: Incarnation(7), boot: 3, renewal: 1 }
    }

    fn packet(message: Message<SwimId>, members: u16) -> Packet {
        let updates = (0..members).map(|node| Member::new(id(node.into()), node, State::Suspect)).collect();
        Packet { header: Header { src: id(1), src_incarnation: 9, dst: id(2), message }, updates }
    }

    #[test]
    fn what_is_written_is_read() {
        let about = |probe_number| (id(5), probe_number);
        let (target, probe_number) = about(8);
        for message in [
            Message::Ping(3),
            Message::Ack(4),
            Message::PingReq { target, probe_number },
            Message::IndirectPing { origin: target, probe_number },
            Message::IndirectAck { target, probe_number },
            Message::ForwardedAck { origin: target, probe_number },
            Message::Announce,
            Message::Feed,
            Message::Gossip,
            Message::TurnUndead,
        ] {
            let bare = matches!(message, Message::Announce | Message::TurnUndead);
            let sent = packet(message, if bare { 0 } else { 3 });
            let bytes = sent.encode().unwrap();
            let read = Packet::decode(&bytes).unwrap();
            assert_eq!((&read.header, &read.updates), (&sent.header, &sent.updates));
            for cut in 0..bytes.len() {
                let whole = !bare && cut == bytes.len() - 2 - 3 * MEMBER_BYTES;
                assert!(whole || bare || Packet::decode(&bytes[..cut]).is_err(), "{cut}");
            }
        }
    }

    #[test]
    fn a_thousand_members_fit_into_one_message() {
        let bytes = packet(Message::Feed, 1_000).encode().unwrap();
        assert!(bytes.len() <= PACKET_BYTES_MAX, "{}", bytes.len());
        assert_eq!(Packet::decode(&bytes).unwrap().updates.len(), 1_000);
    }

    #[test]
    fn a_count_that_lies_and_states_that_are_not_are_refused() {
        let mut bytes = packet(Message::Gossip, 2).encode().unwrap();
        bytes.pop();
        assert!(Packet::decode(&bytes).is_err());
        bytes.push(3);
        assert!(Packet::decode(&bytes).is_err());
        bytes[0] = 9;
        assert!(Packet::decode(&bytes).is_err(), "nobody sends broadcasts");
        assert!(Packet::decode(&vec![0; PACKET_BYTES_MAX + 1]).is_err());
    }
}
