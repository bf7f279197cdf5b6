//! DescribeGroups 0-6, ListGroups 0-5, DeleteGroups 0-2.

use bytes::Bytes;
use kafka_protocol::messages::GroupId;
use kafka_protocol::messages::delete_groups_request::DeleteGroupsRequest;
use kafka_protocol::messages::delete_groups_response::{DeletableGroupResult, DeleteGroupsResponse};
use kafka_protocol::messages::describe_groups_request::DescribeGroupsRequest;
use kafka_protocol::messages::describe_groups_response::{
    DescribeGroupsResponse, DescribedGroup as Described, DescribedGroupMember,
};
use kafka_protocol::messages::list_groups_request::ListGroupsRequest;
use kafka_protocol::messages::list_groups_response::{ListGroupsResponse, ListedGroup as Listed};
use kafka_protocol::protocol::StrBytes;

use super::groups::ask;
use super::{Body, CloseReason, EncodeError, Header, Step, response, text};
use crate::core::error::ErrorCode;
use crate::core::groups::api::{DescribedGroup, DescribedMember, GroupRequest, ListedGroup};

/// The only type of groups that is served.
const CLASSIC: &str = "classic";

pub(super) fn decode_describe(body: Body<'_>) -> Result<Step, CloseReason> {
    let request: DescribeGroupsRequest = body.decode()?;
    let groups = request.groups.into_iter().map(|group| group.to_string()).collect();
    Ok(ask(GroupRequest::Describe { groups }))
}

pub(super) fn encode_describe(header: &Header, groups: Vec<DescribedGroup>) -> Result<Bytes, EncodeError> {
    let version = header.version;
    let groups = groups.into_iter().map(|group| {
        // Before version 6 a group that is not there is a dead one, and no error.
        let error = match group.error {
            ErrorCode::GroupIdNotFound if version < 6 => ErrorCode::None,
            error => error,
        };
        let message =
            (version >= 6 && error != ErrorCode::None).then(|| StrBytes::from_static_str(error.text()));
        Described::default()
            .with_error_code(error.code())
            .with_error_message(message)
            .with_group_id(GroupId(text(group.group)))
            .with_group_state(StrBytes::from_static_str(group.state))
            .with_protocol_type(text(group.protocol_type))
            .with_protocol_data(text(group.protocol))
            .with_members(group.members.into_iter().map(|member| described(member, version)).collect())
    });
    response(header, version, &DescribeGroupsResponse::default().with_groups(groups.collect()))
}

fn described(member: DescribedMember, version: i16) -> DescribedGroupMember {
    DescribedGroupMember::default()
        .with_member_id(text(member.member))
        .with_group_instance_id(member.instance.filter(|_| version >= 4).map(text))
        .with_client_id(text(member.client_id))
        .with_client_host(text(member.client_host))
        .with_member_metadata(member.metadata)
        .with_member_assignment(member.assignment)
}

pub(super) fn decode_list(body: Body<'_>) -> Result<Step, CloseReason> {
    let request: ListGroupsRequest = body.decode()?;
    let types = request.types_filter;
    if !types.is_empty() && !types.iter().any(|name| name.eq_ignore_ascii_case(CLASSIC)) {
        return Ok(Step::Frame(response(body.header, body.version(), &ListGroupsResponse::default())?));
    }
    let states = request.states_filter.into_iter().map(|state| state.to_string()).collect();
    Ok(ask(GroupRequest::List { states }))
}

pub(super) fn encode_list(
    header: &Header,
    error: ErrorCode,
    groups: Vec<ListedGroup>,
) -> Result<Bytes, EncodeError> {
    let version = header.version;
    let groups = groups.into_iter().map(|group| {
        let state = if version >= 4 { group.state } else { "" };
        let kind = if version >= 5 { CLASSIC } else { "" };
        Listed::default()
            .with_group_id(GroupId(text(group.group)))
            .with_protocol_type(text(group.protocol_type))
            .with_group_state(StrBytes::from_static_str(state))
            .with_group_type(StrBytes::from_static_str(kind))
    });
    let message = ListGroupsResponse::default().with_error_code(error.code()).with_groups(groups.collect());
    response(header, version, &message)
}

pub(super) fn decode_delete(body: Body<'_>) -> Result<Step, CloseReason> {
    let request: DeleteGroupsRequest = body.decode()?;
    let groups = request.groups_names.into_iter().map(|group| group.to_string()).collect();
    Ok(ask(GroupRequest::Delete { groups }))
}

pub(super) fn encode_delete(header: &Header, groups: Vec<(String, ErrorCode)>) -> Result<Bytes, EncodeError> {
    let results = groups.into_iter().map(|(group, error)| {
        DeletableGroupResult::default().with_group_id(GroupId(text(group))).with_error_code(error.code())
    });
    response(header, header.version, &DeleteGroupsResponse::default().with_results(results.collect()))
}
