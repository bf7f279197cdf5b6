//! Fetch 4-18. The response is written by hand, for the codec would want all batches of a partition in one piece first:
//! here each goes from the cache into the frame in one copy, which is patched on the spot.
//!
//! Fetch sessions (KIP-227) are declined: the session id is always 0, and every request names all of its partitions; a client that
//! comes with a session of another server is told that there is none and begins anew.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::FetchResponse;
use kafka_protocol::messages::fetch_request::FetchRequest;

use super::{
    Body, CloseReason, Echo, EncodeError, Header, NO_TOPIC, Sorter, Step, begin, by_topic, endpoints, finish,
    response,
};
use crate::core::error::ErrorCode;
use crate::core::request::{
    Broker, FetchPartition, FetchResult, LeaderHint, Request, Response, StoredBatch, TopicId, TopicRef,
};
use crate::kafka::batch;
use crate::kafka::sessions::{Opening, Ticket};

/// First version with compact lengths and tagged fields.
const FLEXIBLE: i16 = 12;
/// Bytes that a partition takes in the response besides its records, at most.
const PARTITION_BYTES: usize = 96;

pub(super) fn decode(body: Body<'_>) -> Result<Step, CloseReason> {
    let request: FetchRequest = body.decode()?;
    let version = body.version();
    // Only replicas of ours follow, and not through this port.
    let replica = if version >= 15 { request.replica_state.replica_id } else { request.replica_id };
    let refuse_all = replica.0 >= 0;
    let mut sorter = Sorter::new();
    for asked in request.topics {
        let topic = sorter.topic(&asked.topic, asked.topic_id, version >= 13, asked.partitions.len())?;
        for part in asked.partitions {
            let error = match () {
                () if refuse_all => ErrorCode::InvalidRequest,
                () if topic == NO_TOPIC => ErrorCode::UnknownTopicId,
                () => ErrorCode::None,
            };
            let topic = topic.clone();
            sorter.push(match error {
                ErrorCode::None => Ok(FetchPartition {
                    topic,
                    partition: part.partition,
                    offset: part.fetch_offset,
                    leader_epoch: part.current_leader_epoch,
                    last_epoch: part.last_fetched_epoch,
                    max_bytes: u32::try_from(part.partition_max_bytes).unwrap_or(0),
                }),
                error => Err(refusal(topic, part.partition, error)),
            });
        }
    }
    let mut forgotten = Vec::new();
    for topic in request.forgotten_topics_data {
        let count = topic.partitions.len();
        let known = sorter.topic(&topic.topic, topic.topic_id, version >= 13, count)?;
        forgotten.extend(topic.partitions.into_iter().map(|partition| (known.clone(), partition)));
    }
    let (id, epoch) = (request.session_id, request.session_epoch);
    let opening = Opening { id, epoch, by_id: version >= 13, forgotten };
    let (asked, ticket) = match body.open_session(opening, std::mem::take(&mut sorter.ask)) {
        Ok(opened) => opened,
        Err(error) => return Ok(Step::Frame(session_error(body.header, error, 0)?)),
    };
    sorter.ask = asked;
    if epoch > 0 {
        // All partitions of the session are asked about, not only those that the request names.
        sorter.refused.asked = None;
    }
    let (refused, read_committed) = (sorter.refused, request.isolation_level == 1);
    let echo = Echo::Fetch { refused, read_committed, ticket };
    Ok(match sorter.ask.is_empty() {
        true => Step::Answer(Response::Fetch { partitions: Vec::new() }, echo),
        false => {
            let max_bytes = u32::try_from(request.max_bytes).unwrap_or(0).min(body.limits.fetch_bytes_max);
            let max_wait_ms = u32::try_from(request.max_wait_ms).unwrap_or(0);
            let min_bytes = u32::try_from(request.min_bytes).unwrap_or(0);
            let (partitions, rack) = (sorter.ask, request.rack_id.to_string());
            Step::Ask(Request::Fetch { max_wait_ms, min_bytes, max_bytes, partitions, rack }, echo)
        }
    })
}

/// A response that is nothing but an error of the session.
fn session_error(header: &Header, error: ErrorCode, session: i32) -> Result<Bytes, EncodeError> {
    let message = FetchResponse::default().with_error_code(error.code()).with_session_id(session);
    response(header, header.version, &message)
}

fn refusal(topic: TopicRef, partition: i32, error: ErrorCode) -> FetchResult {
    FetchResult {
        topic,
        topic_id: TopicId::default(),
        partition,
        error,
        high_watermark: -1,
        log_start_offset: -1,
        batches: Vec::new(),
        diverging: None,
        preferred_read_replica: None,
        leader: None,
    }
}

pub(super) fn encode(
    header: &Header,
    mut results: Vec<FetchResult>,
    read_committed: bool,
    ticket: Ticket,
    brokers: &[Broker],
) -> Result<Bytes, EncodeError> {
    let version = header.version;
    let session = match ticket.pass(&mut results) {
        Ok(session) => session,
        Err(error) => return session_error(header, error, 0),
    };
    let nodes = match version {
        16.. => endpoints(results.iter().filter_map(|result| result.leader), brokers),
        _ => Vec::new(),
    };
    let topics = by_topic(results, |result| &result.topic);
    let mut writer = Writer { version, out: begin(header, version, size(&topics, &nodes)) };
    writer.out.put_u32(header.throttle_ms);
    if version >= 7 {
        writer.out.put_i16(ErrorCode::None.code());
        writer.out.put_i32(session);
    }
    writer.count(topics.len())?;
    for (topic, results) in topics {
        writer.topic(&topic, results[0].topic_id)?;
        writer.count(results.len())?;
        for result in results {
            writer.partition(result, read_committed)?;
        }
        writer.no_tagged_fields();
    }
    writer.endpoints(&nodes)?;
    finish(writer.out)
}

/// Bytes of the response, at least; a little more than needed.
fn size(topics: &[(TopicRef, Vec<FetchResult>)], nodes: &[&Broker]) -> usize {
    let records = topics.iter().flat_map(|(_, results)| results).flat_map(|result| &result.batches);
    let parts: usize = topics.iter().map(|(_, results)| results.len()).sum();
    records.map(|batch| batch.bytes.len()).sum::<usize>()
        + parts * PARTITION_BYTES
        + topics.len() * 300
        + nodes.len() * 300
}

struct Writer {
    version: i16,
    out: BytesMut,
}

impl Writer {
    fn is_flexible(&self) -> bool {
        self.version >= FLEXIBLE
    }

    fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.put_u8(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.out.put_u8(value.to_le_bytes()[0]);
    }

    /// The length of an array or of bytes.
    fn count(&mut self, count: usize) -> Result<(), EncodeError> {
        let count = i32::try_from(count).map_err(|_too_large| EncodeError::TooLarge)?;
        if self.is_flexible() {
            self.varint(count.unsigned_abs() + 1);
        } else {
            self.out.put_i32(count);
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), EncodeError> {
        if self.is_flexible() {
            self.count(text.len())?;
        } else {
            self.out.put_i16(i16::try_from(text.len()).map_err(|_too_large| EncodeError::TooLarge)?);
        }
        self.out.put_slice(text.as_bytes());
        Ok(())
    }

    fn no_tagged_fields(&mut self) {
        if self.is_flexible() {
            self.out.put_u8(0);
        }
    }

    fn topic(&mut self, topic: &TopicRef, id: TopicId) -> Result<(), EncodeError> {
        match topic {
            TopicRef::Name(name) if self.version < 13 => self.text(name)?,
            TopicRef::Name(_) => self.out.put_slice(&id.0),
            TopicRef::Id(id) if self.version >= 13 => self.out.put_slice(&id.0),
            TopicRef::Id(_) => return Err(EncodeError::Mismatch { api: super::Api::Fetch }),
        }
        Ok(())
    }

    fn partition(&mut self, result: FetchResult, read_committed: bool) -> Result<(), EncodeError> {
        self.out.put_i32(result.partition);
        self.out.put_i16(result.error.code());
        self.out.put_i64(result.high_watermark);
        // The last stable offset: without transactions everything below the high watermark is stable.
        self.out.put_i64(result.high_watermark);
        if self.version >= 5 {
            self.out.put_i64(result.log_start_offset);
        }
        self.no_aborted_transactions(read_committed);
        if self.version >= 11 {
            self.out.put_i32(result.preferred_read_replica.unwrap_or(-1));
        }
        self.records(&result.batches)?;
        if self.is_flexible() {
            self.partition_tags(result.diverging, result.leader);
        }
        Ok(())
    }

    /// Null unless the client asked for committed records only, then empty.
    fn no_aborted_transactions(&mut self, read_committed: bool) {
        match (self.is_flexible(), read_committed) {
            (true, committed) => self.out.put_u8(u8::from(committed)),
            (false, true) => self.out.put_i32(0),
            (false, false) => self.out.put_i32(-1),
        }
    }

    fn records(&mut self, batches: &[StoredBatch]) -> Result<(), EncodeError> {
        self.count(batches.iter().map(|batch| batch.bytes.len()).sum())?;
        for stored in batches {
            let from = self.out.len();
            self.out.put_slice(&stored.bytes);
            batch::patch(&mut self.out[from..], stored.base_offset, stored.leader_epoch);
        }
        Ok(())
    }

    fn partition_tags(&mut self, diverging: Option<(i32, i64)>, leader: Option<LeaderHint>) {
        self.out.put_u8(u8::from(diverging.is_some()) + u8::from(leader.is_some()));
        if let Some((epoch, end_offset)) = diverging {
            self.out.put_slice(&[0, 13]);
            self.out.put_i32(epoch);
            self.out.put_i64(end_offset);
            self.out.put_u8(0);
        }
        if let Some(leader) = leader {
            self.out.put_slice(&[1, 9]);
            self.out.put_i32(leader.node);
            self.out.put_i32(leader.leader_epoch);
            self.out.put_u8(0);
        }
    }

    /// The tagged fields of the whole response: where the leaders named above are reached.
    fn endpoints(&mut self, nodes: &[&Broker]) -> Result<(), EncodeError> {
        if nodes.is_empty() {
            self.no_tagged_fields();
            return Ok(());
        }
        let mut field = Writer { version: self.version, out: BytesMut::new() };
        field.count(nodes.len())?;
        for node in nodes {
            field.out.put_i32(node.node);
            field.text(&node.host)?;
            field.out.put_i32(i32::from(node.port));
            match &node.rack {
                Some(rack) => field.text(rack)?,
                None => field.out.put_u8(0),
            }
            field.out.put_u8(0);
        }
        self.out.put_slice(&[1, 0]);
        self.varint(u32::try_from(field.out.len()).map_err(|_too_large| EncodeError::TooLarge)?);
        self.out.put_slice(&field.out);
        Ok(())
    }
}
