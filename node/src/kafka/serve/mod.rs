//! Frames to requests and responses to frames: pure conversion, no socket and no clock.
//!
//! [`decode_request`] checks a frame's bounds, decodes it and refuses on the spot what needs no node; [`encode_response`]
//! puts refusals and answers together again in the client's order. A refusal of one partition never holds up the others.
//!

mod api;
mod cluster;
mod configs;
mod fetch;
mod group_admin;
mod group_offsets;
mod groups;
mod growth;
mod guide;
mod offsets;
mod parts;
mod produce;
mod quotas;
mod reassign;
mod records;
mod replicas;
mod topics;

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use tokio::time::Instant;
use uuid::Uuid;

pub use api::Api;
pub use guide::guide;
use parts::{NAME_BYTES_MAX, NO_TOPIC, Refused, Sorter, by_topic};

use super::bounds::{self, BoundsError, Schema};
use super::limits::Limits;
use super::sessions::{Opening, Sessions, Ticket};
use super::tables::THROTTLED;
use crate::core::error::ErrorCode;
use crate::core::groups::api::GroupResponse;
use crate::core::request::{
    AlterQuotaResult, AlterResult, Batch, Broker, ConfigResult, CreateTopicResult, DeleteRecordsResult,
    DeleteTopicResult, EpochResult, FetchPartition, FetchResult, GrowResult, LeaderHint, ListOffsetsResult,
    ProduceResult, Request, Response, TopicMetadata, TopicRef,
};

/// What is kept of a request until its response is written.
#[derive(Debug)]
pub struct Header {
    /// What was asked.
    pub api: Api,
    /// In which version; the response has the same.
    pub version: i16,
    /// The client's number for it, returned as it is.
    pub correlation_id: i32,
    /// What the client calls itself, empty when it does not say.
    pub client_id: String,
    /// For how many milliseconds the client is told to be silent.
    pub throttle_ms: u32,
    echo: Echo,
}

/// What the response needs from the request: which parts were refused already, and what was asked for.
#[derive(Debug)]
enum Echo {
    Nothing,
    Produce { refused: Refused<ProduceResult>, silent: bool },
    Fetch { refused: Refused<FetchResult>, read_committed: bool, ticket: Ticket },
    ListOffsets(Refused<ListOffsetsResult>),
    Epochs(Refused<EpochResult>),
    Metadata(Refused<TopicMetadata>),
    CreateTopics(Refused<CreateTopicResult>),
    DeleteTopics(Refused<DeleteTopicResult>),
    Configs { refused: Refused<ConfigResult>, wants: configs::Wants },
    AlterConfigs(Refused<AlterResult>),
    AlterQuotas(Refused<AlterQuotaResult>),
    ConfigResources(configs::Listed),
    CreatePartitions(Refused<GrowResult>),
    DeleteRecords(Refused<DeleteRecordsResult>),
    TopicPartitions(growth::Page),
}

/// A frame, decoded.
#[derive(Debug)]
pub enum Decoded {
    /// For the node; its response goes to [`encode_response`] with this header.
    Request {
        /// For the response.
        header: Header,
        /// For the node.
        request: Request,
    },
    /// Answered without the node.
    Immediate {
        /// Of the request.
        header: Header,
        /// The response's frame, length included.
        frame: Bytes,
    },
    /// Not answerable: the connection is closed, and the reason is logged.
    Close(CloseReason),
}

/// Why a connection is closed by its own request.
#[derive(Debug, thiserror::Error)]
pub enum CloseReason {
    /// Too short for a header, or a header that is none.
    #[error("the frame is no Kafka request: its header is cut short or malformed")]
    Header,
    /// Not served.
    #[error("API key {key} is not served")]
    UnknownApi {
        /// As sent.
        key: i16,
    },
    /// Not served.
    #[error("version {version} of {} is not served", api.name())]
    Version {
        /// Which API.
        api: Api,
        /// As sent.
        version: i16,
    },
    /// It claims more than it holds.
    #[error("{} {version}: {error}", api.name())]
    Bounds {
        /// Which API.
        api: Api,
        /// Its version.
        version: i16,
        /// What and where.
        error: BoundsError,
    },
    /// Well bounded, but not what its schema says.
    #[error("{} {version} is malformed: {text}", api.name())]
    Malformed {
        /// Which API.
        api: Api,
        /// Its version.
        version: i16,
        /// What the codec says.
        text: String,
    },
    /// Topic names out of all proportion.
    #[error(
        "the topic names of the request, each counted once for each partition, exceed {NAME_BYTES_MAX} bytes"
    )]
    Names,
    /// With acks=0 there is no response to carry an error.
    #[error("a produce request with acks=0 failed, and nothing else could tell the client")]
    SilentProduce,
    /// The answer to a request that needs no node could not be written.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// Why a response is not written. A fault of this node; the connection is closed.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The response is of another API, or has more or fewer parts than the request.
    #[error("the node's answer to {} does not fit the question", api.name())]
    Mismatch {
        /// What was asked.
        api: Api,
    },
    /// The codec refuses a value, such as a text that is too long for this version.
    #[error("{} {version} cannot carry the answer: {text}", api.name())]
    Codec {
        /// What was asked.
        api: Api,
        /// In which version.
        version: i16,
        /// What the codec says.
        text: String,
    },
    /// Larger than a frame can be.
    #[error("the response is larger than 2 GiB")]
    TooLarge,
}

/// What a request turned into: for the node, or answered at once.
enum Step {
    Ask(Request, Echo),
    Answer(Response, Echo),
    /// An answer outside the node's vocabulary, already encoded.
    Frame(Bytes),
}

/// Decodes one request frame, without its length prefix. Record batches are slices of `frame`, not copies. A client gets no fetch
/// session this way.
pub fn decode_request(frame: Bytes, limits: &Limits) -> Decoded {
    decode(frame, limits, None).unwrap_or_else(Decoded::Close)
}

/// The same with fetch sessions.
pub fn decode_with_sessions(
    frame: Bytes,
    limits: &Limits,
    sessions: &Arc<Sessions>,
    now: Instant,
) -> Decoded {
    decode(frame, limits, Some((sessions, now))).unwrap_or_else(Decoded::Close)
}

fn decode(
    frame: Bytes,
    limits: &Limits,
    sessions: Option<(&Arc<Sessions>, Instant)>,
) -> Result<Decoded, CloseReason> {
    let (mut header, body_at) = match parse_header(&frame)? {
        Parsed::Header(header, body_at) => (header, body_at),
        Parsed::UnknownApiVersions(header) => {
            let frame = cluster::unknown_api_versions(&header)?;
            return Ok(Decoded::Immediate { header, frame });
        }
    };
    let body = Body { header: &header, bytes: frame.slice(body_at..), limits, sessions };
    let step = match header.api {
        Api::Produce => produce::decode(body)?,
        Api::Fetch => fetch::decode(body)?,
        Api::ListOffsets => offsets::decode_list(body)?,
        Api::OffsetForLeaderEpoch => offsets::decode_epochs(body)?,
        Api::Metadata => topics::decode_metadata(body)?,
        Api::CreateTopics => topics::decode_create(body)?,
        Api::DeleteTopics => topics::decode_delete(body)?,
        Api::DeleteRecords => records::decode(body)?,
        Api::DescribeLogDirs => replicas::decode_log_dirs(body)?,
        Api::CreatePartitions => growth::decode(body)?,
        Api::ElectLeaders => replicas::decode_elect(body)?,
        Api::AlterPartitionReassignments => reassign::decode_alter(body)?,
        Api::ListPartitionReassignments => reassign::decode_list(body)?,
        Api::DescribeTopicPartitions => growth::decode_describe(body)?,
        Api::InitProducerId => cluster::decode_init_producer_id(body)?,
        Api::DescribeConfigs => configs::decode_describe(body)?,
        Api::AlterConfigs => configs::decode_alter(body)?,
        Api::IncrementalAlterConfigs => configs::decode_incremental(body)?,
        Api::ListConfigResources => configs::decode_list(body)?,
        Api::DescribeClientQuotas => quotas::decode_describe(body)?,
        Api::AlterClientQuotas => quotas::decode_alter(body)?,
        Api::DescribeCluster => cluster::decode_describe_cluster(body)?,
        Api::FindCoordinator => groups::find_coordinator(body)?,
        Api::OffsetCommit => group_offsets::decode_commit(body)?,
        Api::OffsetFetch => group_offsets::decode_fetch(body)?,
        Api::OffsetDelete => group_offsets::decode_delete(body)?,
        Api::JoinGroup => groups::decode_join(body)?,
        Api::Heartbeat => groups::decode_heartbeat(body)?,
        Api::LeaveGroup => groups::decode_leave(body)?,
        Api::SyncGroup => groups::decode_sync(body)?,
        Api::DescribeGroups => group_admin::decode_describe(body)?,
        Api::ListGroups => group_admin::decode_list(body)?,
        Api::DeleteGroups => group_admin::decode_delete(body)?,
        Api::ApiVersions => cluster::api_versions(body)?,
    };
    Ok(match step {
        Step::Ask(request, echo) => {
            header.echo = echo;
            Decoded::Request { header, request }
        }
        Step::Answer(_, Echo::Produce { silent: true, refused }) if refused.any() => {
            return Err(CloseReason::SilentProduce);
        }
        Step::Answer(response, echo) => {
            header.echo = echo;
            let frame = encode(&mut header, response, &[])?;
            Decoded::Immediate { header, frame }
        }
        Step::Frame(frame) => Decoded::Immediate { header, frame },
    })
}

enum Parsed {
    Header(Header, usize),
    /// ApiVersions in a version from the future: its header cannot be read further, but it is answered.
    UnknownApiVersions(Header),
}

fn parse_header(frame: &[u8]) -> Result<Parsed, CloseReason> {
    let (fixed, _) = frame.split_first_chunk::<8>().ok_or(CloseReason::Header)?;
    let key = i16::from_be_bytes([fixed[0], fixed[1]]);
    let version = i16::from_be_bytes([fixed[2], fixed[3]]);
    let correlation_id = i32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
    let api = Api::of(key).ok_or(CloseReason::UnknownApi { key })?;
    let schema = Schema::of(key).ok_or(CloseReason::UnknownApi { key })?;
    let mut header = Header {
        api,
        version,
        correlation_id,
        client_id: String::new(),
        throttle_ms: 0,
        echo: Echo::Nothing,
    };
    if !api.serves(version) {
        return match api {
            Api::ApiVersions => Ok(Parsed::UnknownApiVersions(header)),
            _ => Err(CloseReason::Version { api, version }),
        };
    }
    let length = frame.get(8..10).ok_or(CloseReason::Header)?;
    let mut at = 10;
    // The client id keeps its old encoding in flexible headers too; -1 is null.
    if let Ok(length) = usize::try_from(i16::from_be_bytes([length[0], length[1]])) {
        let client_id = frame.get(at..at + length).ok_or(CloseReason::Header)?;
        header.client_id = String::from_utf8_lossy(client_id).into_owned();
        at += length;
    }
    let out_of_bounds = |error| CloseReason::Bounds { api, version, error };
    if schema.is_flexible(version) {
        at = bounds::check_header_tags(frame, at).map_err(out_of_bounds)?;
    }
    bounds::check(schema, version, frame, at).map_err(out_of_bounds)?;
    Ok(Parsed::Header(header, at))
}

/// A request's body within its bounds.
struct Body<'a> {
    header: &'a Header,
    bytes: Bytes,
    limits: &'a Limits,
    sessions: Option<(&'a Arc<Sessions>, Instant)>,
}

impl Body<'_> {
    /// What a fetch asks for through its session.
    fn open_session(
        &self,
        opening: Opening,
        parts: Vec<FetchPartition>,
    ) -> Result<(Vec<FetchPartition>, Ticket), ErrorCode> {
        match self.sessions {
            Some((sessions, now)) => sessions.open(opening, parts, now),
            // No client was given a session, so one that has it has it from elsewhere and must begin anew.
            None if opening.epoch > 0 => Err(ErrorCode::FetchSessionIdNotFound),
            None => Ok((parts, Ticket::default())),
        }
    }

    fn version(&self) -> i16 {
        self.header.version
    }

    fn decode<T: Decodable>(&self) -> Result<T, CloseReason> {
        let Header { api, version, .. } = *self.header;
        let mut bytes = self.bytes.clone();
        T::decode(&mut bytes, api.codec_version(version)).map_err(|error| CloseReason::Malformed {
            api,
            version,
            text: error.to_string(),
        })
    }
}

impl Header {
    /// Whether the request wants no response at all (Produce with acks=0).
    pub fn is_silent(&self) -> bool {
        matches!(self.echo, Echo::Produce { silent: true, .. })
    }

    /// Looks into the batches of a produce request with `pass`, and refuses those that do not. Other requests are as they were.
    pub fn prepare(
        &mut self,
        request: Request,
        pass: impl FnMut(&TopicRef, Batch) -> Result<Batch, (ErrorCode, String)>,
    ) -> Request {
        match (request, &mut self.echo) {
            (Request::Produce { acks, timeout_ms, partitions }, Echo::Produce { refused, .. }) => {
                let partitions = produce::prepare(refused, partitions, pass);
                Request::Produce { acks, timeout_ms, partitions }
            }
            (request, _) => request,
        }
    }

    /// Whether a silent request failed, in which case the connection is closed. Only for requests that are silent.
    pub fn silent_failure(&self, response: &Response) -> bool {
        let refused = matches!(&self.echo, Echo::Produce { refused, .. } if refused.any());
        let failed = match response {
            Response::Produce { partitions } => partitions.iter().any(|result| result.error.code() != 0),
            _ => true,
        };
        refused || failed
    }
}

/// The frame, length prefix included, of the node's `response`. `brokers` gives the addresses of leaders that the response
/// hints at (KIP-951).
///
/// # Errors
/// [`EncodeError`] when the node's answer cannot be said to this client; the connection is of no more use.
pub fn encode_response(
    mut header: Header,
    response: Response,
    brokers: &[Broker],
) -> Result<Bytes, EncodeError> {
    encode(&mut header, response, brokers)
}

fn encode(header: &mut Header, response: Response, brokers: &[Broker]) -> Result<Bytes, EncodeError> {
    let echo = std::mem::replace(&mut header.echo, Echo::Nothing);
    match (header.api, response, echo) {
        (Api::Produce, Response::Produce { partitions }, Echo::Produce { refused, .. }) => {
            produce::encode(header, refused.merge(header.api, partitions)?, brokers)
        }
        (Api::Fetch, Response::Fetch { partitions }, Echo::Fetch { refused, read_committed, ticket }) => {
            let results = refused.merge(header.api, partitions)?;
            fetch::encode(header, results, read_committed, ticket, brokers)
        }
        (Api::ListOffsets, Response::ListOffsets { partitions }, Echo::ListOffsets(refused)) => {
            offsets::encode_list(header, refused.merge(header.api, partitions)?)
        }
        (Api::OffsetForLeaderEpoch, Response::OffsetForLeaderEpoch { partitions }, Echo::Epochs(refused)) => {
            offsets::encode_epochs(header, refused.merge(header.api, partitions)?)
        }
        (Api::Metadata, Response::Metadata(mut result), Echo::Metadata(refused)) => {
            result.topics = refused.merge(header.api, result.topics)?;
            topics::encode_metadata(header, result)
        }
        (Api::DescribeCluster, Response::Metadata(result), _) => {
            cluster::encode_describe_cluster(header, result)
        }
        (Api::CreateTopics, Response::CreateTopics { topics }, Echo::CreateTopics(refused)) => {
            topics::encode_create(header, refused.merge(header.api, topics)?)
        }
        (Api::DeleteTopics, Response::DeleteTopics { topics }, Echo::DeleteTopics(refused)) => {
            topics::encode_delete(header, refused.merge(header.api, topics)?)
        }
        (Api::DescribeConfigs, Response::DescribeConfigs { resources }, Echo::Configs { refused, wants }) => {
            configs::encode_describe(header, refused.merge(header.api, resources)?, wants)
        }
        (
            Api::AlterConfigs | Api::IncrementalAlterConfigs,
            Response::AlterConfigs { resources },
            Echo::AlterConfigs(refused),
        ) => configs::encode_alter(header, refused.merge(header.api, resources)?),
        (Api::DescribeClientQuotas, Response::DescribeQuotas { entries }, _) => {
            quotas::encode_describe(header, entries)
        }
        (Api::AlterClientQuotas, Response::AlterQuotas { entries }, Echo::AlterQuotas(refused)) => {
            quotas::encode_alter(header, refused.merge(header.api, entries)?)
        }
        (Api::ListConfigResources, Response::Metadata(result), Echo::ConfigResources(listed)) => {
            configs::encode_list(header, result, listed)
        }
        (Api::CreatePartitions, Response::CreatePartitions { topics }, Echo::CreatePartitions(refused)) => {
            growth::encode(header, refused.merge(header.api, topics)?)
        }
        (Api::DescribeTopicPartitions, Response::Metadata(result), Echo::TopicPartitions(page)) => {
            growth::encode_describe(header, result, &page)
        }
        (Api::DeleteRecords, Response::DeleteRecords { partitions }, Echo::DeleteRecords(refused)) => {
            records::encode(header, refused.merge(header.api, partitions)?)
        }
        (Api::DescribeLogDirs, Response::DescribeLogDirs(dir), _) => replicas::encode_log_dirs(header, dir),
        (Api::ElectLeaders, Response::ElectLeaders { partitions }, _) => {
            replicas::encode_elect(header, partitions)
        }
        (Api::AlterPartitionReassignments, Response::AlterReassignments { partitions }, _) => {
            reassign::encode_alter(header, partitions)
        }
        (Api::ListPartitionReassignments, Response::ListReassignments { error, partitions }, _) => {
            reassign::encode_list(header, error, partitions)
        }
        (Api::InitProducerId, Response::InitProducerId { error, producer_id, producer_epoch }, _) => {
            cluster::encode_init_producer_id(header, error, producer_id, producer_epoch)
        }
        (_, Response::Group(answer), _) => encode_group(header, answer, brokers),
        (api, ..) => Err(EncodeError::Mismatch { api }),
    }
}

fn encode_group(header: &Header, answer: GroupResponse, brokers: &[Broker]) -> Result<Bytes, EncodeError> {
    match (header.api, answer) {
        (Api::FindCoordinator, GroupResponse::FindCoordinator { coordinators }) => {
            groups::encode_coordinators(header, coordinators, brokers)
        }
        (Api::JoinGroup, GroupResponse::Join(joined)) => groups::encode_join(header, joined),
        (Api::SyncGroup, GroupResponse::Sync(synced)) => groups::encode_sync(header, synced),
        (Api::Heartbeat, GroupResponse::Heartbeat(error)) => groups::encode_heartbeat(header, error),
        (Api::LeaveGroup, GroupResponse::Leave { error, members }) => {
            groups::encode_leave(header, error, members)
        }
        (Api::OffsetCommit, GroupResponse::CommitOffsets { partitions }) => {
            group_offsets::encode_commit(header, partitions)
        }
        (Api::OffsetFetch, GroupResponse::FetchOffsets { groups }) => {
            group_offsets::encode_fetch(header, groups)
        }
        (Api::OffsetDelete, GroupResponse::DeleteOffsets { error, partitions }) => {
            group_offsets::encode_delete(header, error, partitions)
        }
        (Api::DescribeGroups, GroupResponse::Describe { groups }) => {
            group_admin::encode_describe(header, groups)
        }
        (Api::ListGroups, GroupResponse::List { error, groups }) => {
            group_admin::encode_list(header, error, groups)
        }
        (Api::DeleteGroups, GroupResponse::Delete { groups }) => group_admin::encode_delete(header, groups),
        (api, _) => Err(EncodeError::Mismatch { api }),
    }
}

/// A topic as name and id, the one that it was not asked by being empty.
fn name_and_id(topic: TopicRef) -> (TopicName, Uuid) {
    match topic {
        TopicRef::Name(name) => (TopicName(text(name)), Uuid::nil()),
        TopicRef::Id(id) => (TopicName::default(), Uuid::from_bytes(id.0)),
    }
}

fn text(text: String) -> StrBytes {
    StrBytes::from_string(text)
}

/// The brokers that `hints` name, each once.
fn endpoints(hints: impl Iterator<Item = LeaderHint>, brokers: &[Broker]) -> Vec<&Broker> {
    let mut nodes: Vec<i32> = hints.map(|hint| hint.node).collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes.iter().filter_map(|node| brokers.iter().find(|broker| broker.node == *node)).collect()
}

/// Length and header of a response; [`finish`] fills the length in.
fn begin(header: &Header, version: i16, body_bytes: usize) -> BytesMut {
    let mut out = BytesMut::with_capacity(body_bytes.saturating_add(16));
    out.put_i32(0);
    out.put_i32(header.correlation_id);
    let flexible = Schema::of(header.api.key()).is_some_and(|schema| schema.is_flexible(version));
    // A client that does not know this node's versions yet must be able to read the answer.
    if flexible && header.api != Api::ApiVersions {
        out.put_u8(0);
    }
    out
}

fn finish(mut out: BytesMut) -> Result<Bytes, EncodeError> {
    let length = i32::try_from(out.len() - 4).map_err(|_too_large| EncodeError::TooLarge)?;
    out[..4].copy_from_slice(&length.to_be_bytes());
    Ok(out.freeze())
}

/// Writes the throttle time where the body of a response begins with it.
fn throttle(header: &Header, version: i16, body: &mut [u8]) {
    let first = THROTTLED.iter().find(|(key, _)| *key == header.api.key()).map(|(_, first)| *first);
    if let (Some(first), Some(place)) = (first, body.first_chunk_mut::<4>())
        && header.throttle_ms > 0
        && version >= first
    {
        *place = header.throttle_ms.to_be_bytes();
    }
}

/// A whole frame of a response that the codec writes.
fn response<T: Encodable>(header: &Header, version: i16, message: &T) -> Result<Bytes, EncodeError> {
    let version = header.api.codec_version(version);
    let failed = |error: &dyn std::fmt::Display| EncodeError::Codec {
        api: header.api,
        version,
        text: error.to_string(),
    };
    let size = message.compute_size(version).map_err(|error| failed(&error))?;
    let mut out = begin(header, version, size);
    let at = out.len();
    message.encode(&mut out, version).map_err(|error| failed(&error))?;
    throttle(header, version, &mut out[at..]);
    finish(out)
}

#[cfg(test)]
mod tests;
