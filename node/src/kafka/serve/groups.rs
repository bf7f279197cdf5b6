//! FindCoordinator 0-6, JoinGroup 0-9, Heartbeat 0-4, LeaveGroup 0-5, SyncGroup 0-5.

use bytes::Bytes;
use kafka_protocol::messages::BrokerId;
use kafka_protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use kafka_protocol::messages::find_coordinator_response::{Coordinator, FindCoordinatorResponse};
use kafka_protocol::messages::heartbeat_request::HeartbeatRequest;
use kafka_protocol::messages::heartbeat_response::HeartbeatResponse;
use kafka_protocol::messages::join_group_request::JoinGroupRequest;
use kafka_protocol::messages::join_group_response::{JoinGroupResponse, JoinGroupResponseMember};
use kafka_protocol::messages::leave_group_request::LeaveGroupRequest;
use kafka_protocol::messages::leave_group_response::{LeaveGroupResponse, MemberResponse};
use kafka_protocol::messages::sync_group_request::SyncGroupRequest;
use kafka_protocol::messages::sync_group_response::SyncGroupResponse;
use kafka_protocol::protocol::StrBytes;

use super::{Body, CloseReason, Echo, EncodeError, Header, Step, response, text};
use crate::core::error::ErrorCode;
use crate::core::groups::api::{
    Coordinating, GroupRequest, JoinGroup, Joined, JoinedMember, Leaving, MemberOf, SyncGroup, Synced,
};
use crate::core::request::{Broker, Request};

const KEY_GROUP: i8 = 0;
const KEY_TRANSACTION: i8 = 1;
const NO_TRANSACTIONS: &str = "transactions are not served yet: produce without a transactional.id";
const NO_SUCH_KEY: &str = "only groups have coordinators here (key type 0)";
const NO_LEADER: &str =
    "the partition of __consumer_offsets that holds this group has no leader at the moment; try again";

/// A text of a request as the node keeps it.
pub(super) fn owned(text: Option<StrBytes>) -> Option<String> {
    text.map(|text| text.to_string())
}

pub(super) fn ask(request: GroupRequest) -> Step {
    Step::Ask(Request::Group(request), Echo::Nothing)
}

pub(super) fn find_coordinator(body: Body<'_>) -> Result<Step, CloseReason> {
    let request: FindCoordinatorRequest = body.decode()?;
    let keys = if body.version() >= 4 { request.coordinator_keys } else { vec![request.key] };
    let keys: Vec<String> = keys.into_iter().map(|key| key.to_string()).collect();
    let (error, reason) = match request.key_type {
        KEY_GROUP => return Ok(ask(GroupRequest::FindCoordinator { groups: keys })),
        KEY_TRANSACTION => (ErrorCode::CoordinatorNotAvailable, NO_TRANSACTIONS),
        _ => (ErrorCode::InvalidRequest, NO_SUCH_KEY),
    };
    let refused = |group| Coordinating { group, error, node: -1 };
    let coordinators = keys.into_iter().map(refused).collect();
    Ok(Step::Frame(write_coordinators(body.header, coordinators, reason, &[])?))
}

pub(super) fn encode_coordinators(
    header: &Header,
    coordinators: Vec<Coordinating>,
    brokers: &[Broker],
) -> Result<Bytes, EncodeError> {
    write_coordinators(header, coordinators, NO_LEADER, brokers)
}

fn write_coordinators(
    header: &Header,
    coordinators: Vec<Coordinating>,
    reason: &'static str,
    brokers: &[Broker],
) -> Result<Bytes, EncodeError> {
    let version = header.version;
    let found = coordinators.into_iter().map(|coordinating| {
        let Coordinating { group, error, node } = coordinating;
        let at = brokers.iter().find(|broker| broker.node == node);
        let error = match (error, at) {
            (ErrorCode::None, None) => ErrorCode::CoordinatorNotAvailable,
            (error, _) => error,
        };
        let message = (error != ErrorCode::None).then(|| StrBytes::from_static_str(reason));
        Coordinator::default()
            .with_key(text(group))
            .with_error_code(error.code())
            .with_error_message(message)
            .with_node_id(BrokerId(at.map_or(-1, |broker| broker.node)))
            .with_host(text(at.map_or_else(String::new, |broker| broker.host.clone())))
            .with_port(at.map_or(-1, |broker| i32::from(broker.port)))
    });
    let mut found: Vec<Coordinator> = found.collect();
    let message = match version {
        4.. => FindCoordinatorResponse::default().with_coordinators(found),
        _ => {
            let only = found.pop().unwrap_or_default();
            FindCoordinatorResponse::default()
                .with_error_code(only.error_code)
                .with_error_message(only.error_message.filter(|_| version >= 1))
                .with_node_id(only.node_id)
                .with_host(only.host)
                .with_port(only.port)
        }
    };
    response(header, version, &message)
}

pub(super) fn decode_join(body: Body<'_>) -> Result<Step, CloseReason> {
    let request: JoinGroupRequest = body.decode()?;
    let version = body.version();
    let protocols = request.protocols.into_iter();
    // Version 0 has one timeout for both.
    let rebalance_timeout_ms =
        if version >= 1 { request.rebalance_timeout_ms } else { request.session_timeout_ms };
    Ok(ask(GroupRequest::Join(JoinGroup {
        group: request.group_id.to_string(),
        member: request.member_id.to_string(),
        instance: owned(request.group_instance_id),
        client_id: body.header.client_id.clone(),
        client_host: String::new(),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms,
        protocol_type: request.protocol_type.to_string(),
        protocols: protocols
            .map(|protocol| (protocol.name.to_string(), detached(&protocol.metadata)))
            .collect(),
        knows_member_ids: version >= 4,
        skips_assignment: version >= 9,
    })))
}

/// What outlives its request must not keep the whole frame in memory.
fn detached(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

pub(super) fn encode_join(header: &Header, joined: Joined) -> Result<Bytes, EncodeError> {
    let version = header.version;
    let member = |member: JoinedMember| {
        JoinGroupResponseMember::default()
            .with_member_id(text(member.member))
            .with_group_instance_id(member.instance.filter(|_| version >= 5).map(text))
            .with_metadata(member.metadata)
    };
    // Before version 7 there is a protocol also where there is none.
    let protocol = match joined.protocol {
        None if version < 7 => Some(String::new()),
        protocol => protocol,
    };
    let message = JoinGroupResponse::default()
        .with_error_code(joined.error.code())
        .with_generation_id(joined.generation)
        .with_protocol_type(joined.protocol_type.filter(|_| version >= 7).map(text))
        .with_protocol_name(protocol.map(text))
        .with_leader(text(joined.leader))
        .with_skip_assignment(joined.skip_assignment && version >= 9)
        .with_member_id(text(joined.member))
        .with_members(joined.members.into_iter().map(member).collect());
    response(header, version, &message)
}

pub(super) fn decode_sync(body: Body<'_>) -> Result<Step, CloseReason> {
    let request: SyncGroupRequest = body.decode()?;
    let assignments = request.assignments.into_iter();
    Ok(ask(GroupRequest::Sync(SyncGroup {
        of: MemberOf {
            group: request.group_id.to_string(),
            generation: request.generation_id,
            member: request.member_id.to_string(),
            instance: owned(request.group_instance_id),
        },
        protocol_type: owned(request.protocol_type),
        protocol: owned(request.protocol_name),
        assignments: assignments
            .map(|part| (part.member_id.to_string(), detached(&part.assignment)))
            .collect(),
    })))
}

pub(super) fn encode_sync(header: &Header, synced: Synced) -> Result<Bytes, EncodeError> {
    let version = header.version;
    let message = SyncGroupResponse::default()
        .with_error_code(synced.error.code())
        .with_protocol_type(synced.protocol_type.filter(|_| version >= 5).map(text))
        .with_protocol_name(synced.protocol.filter(|_| version >= 5).map(text))
        .with_assignment(synced.assignment);
    response(header, version, &message)
}

pub(super) fn decode_heartbeat(body: Body<'_>) -> Result<Step, CloseReason> {
    let request: HeartbeatRequest = body.decode()?;
    Ok(ask(GroupRequest::Heartbeat(MemberOf {
        group: request.group_id.to_string(),
        generation: request.generation_id,
        member: request.member_id.to_string(),
        instance: owned(request.group_instance_id),
    })))
}

pub(super) fn encode_heartbeat(header: &Header, error: ErrorCode) -> Result<Bytes, EncodeError> {
    response(header, header.version, &HeartbeatResponse::default().with_error_code(error.code()))
}

pub(super) fn decode_leave(body: Body<'_>) -> Result<Step, CloseReason> {
    let request: LeaveGroupRequest = body.decode()?;
    let members = match body.version() {
        3.. => {
            let members = request.members.into_iter();
            let leaving = members.map(|member| Leaving {
                member: member.member_id.to_string(),
                instance: owned(member.group_instance_id),
            });
            leaving.collect()
        }
        _ => vec![Leaving { member: request.member_id.to_string(), instance: None }],
    };
    Ok(ask(GroupRequest::Leave { group: request.group_id.to_string(), members }))
}

pub(super) fn encode_leave(
    header: &Header,
    error: ErrorCode,
    members: Vec<(Leaving, ErrorCode)>,
) -> Result<Bytes, EncodeError> {
    let message = match header.version {
        3.. => {
            let member = |(leaving, error): (Leaving, ErrorCode)| {
                MemberResponse::default()
                    .with_member_id(text(leaving.member))
                    .with_group_instance_id(leaving.instance.map(text))
                    .with_error_code(error.code())
            };
            LeaveGroupResponse::default()
                .with_error_code(error.code())
                .with_members(members.into_iter().map(member).collect())
        }
        _ => {
            let only = members.first().map_or(error, |(_, error)| *error);
            LeaveGroupResponse::default().with_error_code(only.code())
        }
    };
    response(header, header.version, &message)
}
