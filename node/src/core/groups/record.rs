//! The records of `__consumer_offsets`, in Kafka's own formats, so that its tools read them. Big endian.
//!
//! | record | key | value |
//! |---|---|---|
//! | offset | i16 = 1 (0 is read too), group, topic, i32 partition | i16 = 4, i64 offset, i32 leader epoch, metadata, i64 commit timestamp, tag 0: 16 bytes topic id |
//! | group | i16 = 2, group | i16 = 3, protocol type, i32 generation, protocol (nullable), leader (nullable), i64 since when the group is in its state, members |
//! | member, in a group | | member id, instance (nullable), client id, client host, i32 rebalance timeout, i32 session timeout, subscription, assignment |
//!
//! Strings are an i16 length and UTF-8, -1 for null; byte strings an i32 length; in the offset's version 4 (flexible) lengths are unsigned
//! varints of length + 1. Versions 0 to 3 of both values are read: group 0 has no rebalance timeout, below 2 no timestamp, below 3 no
//! instance; offset 1 ends with an expiry, 3 begins the leader epoch. A key without a value is a tombstone: the group or offset is gone.

use bytes::{BufMut, Bytes};

use crate::core::request::TopicId;

const OFFSET_KEY: i16 = 1;
const GROUP_KEY: i16 = 2;
const OFFSET_VALUE: i16 = 4;
const GROUP_VALUE: i16 = 3;

/// One record: a key, and a value or a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it is about.
    pub key: Bytes,
    /// `None` is a tombstone.
    pub value: Option<Bytes>,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The offset of a group in a partition; `None` when it is gone.
    Offset {
        /// Name of the group.
        group: String,
        /// Name of the topic.
        topic: String,
        /// Its partition.
        partition: i32,
        /// What was committed.
        offset: Option<StoredOffset>,
    },
    /// A group; `None` when it is gone.
    Group {
        /// Name of the group.
        group: String,
        /// What it is.
        stored: Option<StoredGroup>,
    },
}

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredOffset {
    /// The next record to read.
    pub offset: i64,
    /// Leader epoch of the last record read, -1 when the client did not say.
    pub leader_epoch: i32,
    /// The client's own words.
    pub metadata: String,
    /// When it was committed, in milliseconds since 1970.
    pub committed_ms: i64,
    /// Of which incarnation of the topic; zero when the record does not say.
    pub topic_id: TopicId,
}

/// A group in its last generation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct StoredGroup {
    pub protocol_type: String,
    pub generation: i32,
    pub protocol: Option<String>,
    pub leader: Option<String>,
    /// Since when it is in its state, -1 when the record does not say.
    pub changed_ms: i64,
    pub members: Vec<StoredMember>,
}

/// A member with its assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are Kafka's own")]
pub struct StoredMember {
    pub member: String,
    pub instance: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    pub subscription: Bytes,
    pub assignment: Bytes,
}

/// The record of an offset.
pub fn offset_record(group: &str, topic: &str, partition: i32, offset: Option<&StoredOffset>) -> Record {
    let mut key = Vec::with_capacity(16 + group.len() + topic.len());
    key.put_i16(OFFSET_KEY);
    put_text(&mut key, group);
    put_text(&mut key, topic);
    key.put_i32(partition);
    let value = offset.map(|offset| {
        let mut out = Vec::with_capacity(48 + offset.metadata.len());
        out.put_i16(OFFSET_VALUE);
        out.put_i64(offset.offset);
        out.put_i32(offset.leader_epoch);
        put_uvarint(&mut out, offset.metadata.len() + 1);
        out.put_slice(offset.metadata.as_bytes());
        out.put_i64(offset.committed_ms);
        if offset.topic_id == TopicId::default() {
            out.put_u8(0);
        } else {
            out.put_slice(&[1, 0, 16]);
            out.put_slice(&offset.topic_id.0);
        }
        Bytes::from(out)
    });
    Record { key: key.into(), value }
}

/// The record of a group.
pub fn group_record(group: &str, stored: Option<&StoredGroup>) -> Record {
    let mut key = Vec::with_capacity(4 + group.len());
    key.put_i16(GROUP_KEY);
    put_text(&mut key, group);
    Record { key: key.into(), value: stored.map(group_value) }
}

fn group_value(stored: &StoredGroup) -> Bytes {
    let mut out = Vec::with_capacity(64);
    out.put_i16(GROUP_VALUE);
    put_text(&mut out, &stored.protocol_type);
    out.put_i32(stored.generation);
    put_maybe(&mut out, stored.protocol.as_deref());
    put_maybe(&mut out, stored.leader.as_deref());
    out.put_i64(stored.changed_ms);
    out.put_i32(i32::try_from(stored.members.len()).unwrap_or(i32::MAX));
    for member in &stored.members {
        put_text(&mut out, &member.member);
        put_maybe(&mut out, member.instance.as_deref());
        put_text(&mut out, &member.client_id);
        put_text(&mut out, &member.client_host);
        out.put_i32(member.rebalance_timeout_ms);
        out.put_i32(member.session_timeout_ms);
        put_bytes(&mut out, &member.subscription);
        put_bytes(&mut out, &member.assignment);
    }
    out.into()
}

/// What a record says; `None` for one that this version does not know, or that is no sound one.
pub fn read(key: &[u8], value: Option<&[u8]>) -> Option<Fact> {
    let mut key = Reader(key);
    match key.i16()? {
        0 | OFFSET_KEY => {
            let (group, topic, partition) = (key.text()?, key.text()?, key.i32()?);
            let offset = match value {
                Some(value) => Some(read_offset(&mut Reader(value))?),
                None => None,
            };
            Some(Fact::Offset { group, topic, partition, offset })
        }
        GROUP_KEY => {
            let group = key.text()?;
            let stored = match value {
                Some(value) => Some(read_group(&mut Reader(value))?),
                None => None,
            };
            Some(Fact::Group { group, stored })
        }
        _ => None,
    }
}

fn read_offset(value: &mut Reader<'_>) -> Option<StoredOffset> {
    let version = value.i16().filter(|version| (0..=OFFSET_VALUE).contains(version))?;
    let offset = value.i64()?;
    let leader_epoch = if version >= 3 { value.i32()? } else { -1 };
    let metadata = if version >= 4 { value.compact_text()? } else { value.text()? };
    let committed_ms = value.i64()?;
    let mut topic_id = TopicId::default();
    if version >= 4 {
        for _ in 0..value.uvarint()? {
            let (tag, length) = (value.uvarint()?, value.uvarint()?);
            let bytes = value.take(length)?;
            if tag == 0 {
                topic_id = TopicId(bytes.try_into().ok()?);
            }
        }
    }
    Some(StoredOffset { offset, leader_epoch, metadata, committed_ms, topic_id })
}

fn read_group(value: &mut Reader<'_>) -> Option<StoredGroup> {
    let version = value.i16().filter(|version| (0..=GROUP_VALUE).contains(version))?;
    let (protocol_type, generation) = (value.text()?, value.i32()?);
    let (protocol, leader) = (value.maybe()?, value.maybe()?);
    let changed_ms = if version >= 2 { value.i64()? } else { -1 };
    let count = usize::try_from(value.i32()?).ok()?;
    let mut members = Vec::new();
    for _ in 0..count {
        let member = value.text()?;
        let instance = if version >= 3 { value.maybe()? } else { None };
        let (client_id, client_host) = (value.text()?, value.text()?);
        let own = if version >= 1 { Some(value.i32()?) } else { None };
        let session_timeout_ms = value.i32()?;
        let (subscription, assignment) = (value.bytes()?, value.bytes()?);
        members.push(StoredMember {
            member,
            instance,
            client_id,
            client_host,
            rebalance_timeout_ms: own.unwrap_or(session_timeout_ms),
            session_timeout_ms,
            subscription,
            assignment,
        });
    }
    Some(StoredGroup { protocol_type, generation, protocol, leader, changed_ms, members })
}

/// Texts come from requests whose formats cannot carry longer ones.
fn put_text(out: &mut Vec<u8>, text: &str) {
    out.put_i16(i16::try_from(text.len()).expect("a name is at most 32,767 bytes"));
    out.put_slice(text.as_bytes());
}

fn put_maybe(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => put_text(out, text),
        None => out.put_i16(-1),
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.put_i32(i32::try_from(bytes.len()).expect("below the bound of a group"));
    out.put_slice(bytes);
}

fn put_uvarint(out: &mut Vec<u8>, value: usize) {
    let mut rest = value;
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f).expect("seven bits") | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).expect("seven bits"));
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(bytes)?;
        self.0 = tail;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    fn uvarint(&mut self) -> Option<usize> {
        let mut value = 0_usize;
        for shift in (0..35).step_by(7) {
            let [byte] = self.array()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn utf8(&mut self, bytes: usize) -> Option<String> {
        String::from_utf8(self.take(bytes)?.to_vec()).ok()
    }

    fn text(&mut self) -> Option<String> {
        self.maybe()?
    }

    /// A text that may be null, which is not the same as one that is not there.
    #[expect(clippy::option_option, reason = "the outer one says whether the bytes are sound")]
    fn maybe(&mut self) -> Option<Option<String>> {
        match self.i16()? {
            -1 => Some(None),
            length => self.utf8(usize::try_from(length).ok()?).map(Some),
        }
    }

    fn compact_text(&mut self) -> Option<String> {
        let length = self.uvarint()?.checked_sub(1)?;
        self.utf8(length)
    }

    fn bytes(&mut self) -> Option<Bytes> {
        let length = usize::try_from(self.i32()?).ok()?;
        self.take(length).map(Bytes::copy_from_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset() -> StoredOffset {
        let metadata = "m".repeat(200);
        StoredOffset {
            offset: 77,
            leader_epoch: 3,
            metadata,
            committed_ms: 1_000,
            topic_id: TopicId([9; 16]),
        }
    }

    fn group() -> StoredGroup {
        let member = StoredMember {
            member: "m-1".into(),
            instance: Some("i".into()),
            client_id: "c".into(),
            client_host: "/1.2.3.4".into(),
            rebalance_timeout_ms: 300_000,
            session_timeout_ms: 45_000,
            subscription: Bytes::from_static(b"sub"),
            assignment: Bytes::from_static(b"parts"),
        };
        let other = StoredMember { member: "m-2".into(), instance: None, ..member.clone() };
        StoredGroup {
            protocol_type: "consumer".into(),
            generation: 5,
            protocol: Some("range".into()),
            leader: Some("m-1".into()),
            changed_ms: 12,
            members: vec![member, other],
        }
    }

    fn read_record(record: &Record) -> Option<Fact> {
        read(&record.key, record.value.as_deref())
    }

    #[test]
    fn records_say_what_was_written() {
        for stored in [Some(offset()), Some(StoredOffset { topic_id: TopicId::default(), ..offset() }), None]
        {
            let record = offset_record("g", "t", 4, stored.as_ref());
            let fact = Fact::Offset { group: "g".into(), topic: "t".into(), partition: 4, offset: stored };
            assert_eq!(read_record(&record), Some(fact));
        }
        for stored in [Some(group()), None] {
            let record = group_record("g", stored.as_ref());
            assert_eq!(read_record(&record), Some(Fact::Group { group: "g".into(), stored }));
        }
    }

    /// Bytes as Apache Kafka's formats define them, written out by hand.
    #[test]
    fn the_bytes_are_kafkas() {
        let record = offset_record("g", "to", 1, None);
        assert_eq!(record.key[..], [0, 1, 0, 1, b'g', 0, 2, b't', b'o', 0, 0, 0, 1]);
        let third =
            [&[0, 3][..], &7_i64.to_be_bytes(), &2_i32.to_be_bytes(), &[0, 1, b'x'], &9_i64.to_be_bytes()];
        let Some(Fact::Offset { offset: Some(read_back), .. }) = read(&record.key, Some(&third.concat()))
        else {
            panic!("version 3 is not read")
        };
        assert_eq!((read_back.offset, read_back.leader_epoch, read_back.metadata.as_str()), (7, 2, "x"));
        let first = [&[0, 1][..], &7_i64.to_be_bytes(), &[0, 0], &9_i64.to_be_bytes(), &99_i64.to_be_bytes()];
        let Some(Fact::Offset { offset: Some(read_back), .. }) = read(&record.key, Some(&first.concat()))
        else {
            panic!("version 1 is not read")
        };
        assert_eq!((read_back.leader_epoch, read_back.committed_ms), (-1, 9));
        let empty = [&[0, 2][..], &[0, 0], &3_i32.to_be_bytes(), &[0xff; 4], &5_i64.to_be_bytes(), &[0; 4]];
        let key = group_record("g", None).key;
        let Some(Fact::Group { stored: Some(read_back), .. }) = read(&key, Some(&empty.concat())) else {
            panic!("version 2 is not read")
        };
        assert_eq!((read_back.generation, read_back.changed_ms, read_back.members.len()), (3, 5, 0));
        assert_eq!(read(&[0, 9, 0, 0], None), None, "of a later version");
    }

    quickcheck::quickcheck! {
        fn hostile_records_are_no_panic(key: Vec<u8>, value: Vec<u8>, cut: usize) -> bool {
            let _ = read(&key, Some(&value));
            for record in [offset_record("g", "t", 0, Some(&offset())), group_record("g", Some(&group()))] {
                let whole = record.value.clone().unwrap();
                let cut = cut % whole.len();
                let mut spoiled = whole.to_vec();
                spoiled[cut..].copy_from_slice(&value.iter().chain(&whole[..]).copied().take(whole.len() - cut).collect::<Vec<_>>());
                let _ = read(&record.key, Some(&spoiled));
                if read(&record.key, Some(&whole[..cut])).is_some() {
                    return false;
                }
            }
            true
        }
    }
}
