//! AlterConfigs, IncrementalAlterConfigs and ListConfigResources in every version.

use super::*;
use crate::core::metadata::configs::Operation;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn altered(resource_type: i8, name: &str, error: ErrorCode) -> AlterResult {
    AlterResult { error, message: Some("why".to_owned()), resource_type, name: name.to_owned() }
}

#[test]
fn alter_configs_in_every_version() {
    use kafka_protocol::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};
    for version in versions(Api::AlterConfigs) {
        let config = |value: Option<&str>| {
            AlterableConfig::default().with_name(text("flush.ms")).with_value(value.map(text))
        };
        let resource = |kind, name: &str, value| {
            AlterConfigsResource::default()
                .with_resource_type(kind)
                .with_resource_name(text(name))
                .with_configs(vec![config(value)])
        };
        let resources = vec![
            resource(2, "twice", Some("1")),
            resource(2, TOPIC, Some("5")),
            resource(8, "1", Some("1")),
            resource(4, "2", None),
            resource(2, "twice", Some("1")),
        ];
        let body = AlterConfigsRequest::default().with_resources(resources).with_validate_only(true);
        let (header, request) = asks(version, &body);
        let Request::AlterConfigs { resources, validate_only: true } = request else { panic!("{request:?}") };
        let [AlterResource { resource_type: 2, name, replace: true, edits }] = &resources[..] else {
            panic!("{resources:?}")
        };
        assert_eq!(name, TOPIC);
        assert_eq!(edits[0].operation, Operation::Set("5".to_owned()));
        let answer = Response::AlterConfigs { resources: vec![altered(2, TOPIC, ErrorCode::InvalidConfig)] };
        let response = read::<AlterConfigsRequest>(version, encode_response(header, answer, &[]).unwrap());
        let told: Vec<_> =
            response.responses.iter().map(|one| (&*one.resource_name, one.error_code)).collect();
        assert_eq!(told, [("twice", 42), (TOPIC, 40), ("1", 42), ("2", 42), ("twice", 42)]);
    }
}

#[test]
fn incremental_alter_configs_in_every_version() {
    use kafka_protocol::messages::incremental_alter_configs_request::{
        AlterConfigsResource, AlterableConfig,
    };
    for version in versions(Api::IncrementalAlterConfigs) {
        let config = |operation, value: Option<&str>| {
            AlterableConfig::default()
                .with_name(text(&format!("key{operation}")))
                .with_config_operation(operation)
                .with_value(value.map(text))
        };
        let resource = |name: &str, configs| {
            AlterConfigsResource::default()
                .with_resource_type(4)
                .with_resource_name(text(name))
                .with_configs(configs)
        };
        let all = vec![config(0, Some("a")), config(1, None), config(2, Some("b")), config(3, Some("c"))];
        let resources = vec![
            resource("", all),
            resource("1", vec![config(7, Some("x"))]),
            resource("2", vec![config(0, None)]),
        ];
        let body = IncrementalAlterConfigsRequest::default().with_resources(resources);
        let (header, request) = asks(version, &body);
        let Request::AlterConfigs { resources, validate_only: false } = request else {
            panic!("{request:?}")
        };
        let operations: Vec<_> = resources[0].edits.iter().map(|edit| edit.operation.clone()).collect();
        let wanted = [
            Operation::Set("a".to_owned()),
            Operation::Delete,
            Operation::Append("b".to_owned()),
            Operation::Subtract("c".to_owned()),
        ];
        assert_eq!((resources.len(), resources[0].replace), (1, false));
        assert_eq!(operations, wanted);
        let answer = Response::AlterConfigs { resources: vec![altered(4, "", ErrorCode::None)] };
        let frame = encode_response(header, answer, &[]).unwrap();
        let response = read::<IncrementalAlterConfigsRequest>(version, frame);
        let told: Vec<_> =
            response.responses.iter().map(|one| (&*one.resource_name, one.error_code)).collect();
        assert_eq!(told, [("", 0), ("1", 42), ("2", 42)]);
    }
}

#[test]
fn config_resources_are_listed_by_kind() {
    for (version, kinds, wanted) in [
        (0, vec![], vec![]),
        (1, vec![], vec![(2, TOPIC), (4, "1"), (4, "2")]),
        (1, vec![2], vec![(2, TOPIC)]),
        (1, vec![4, 16], vec![(4, "1"), (4, "2")]),
        (1, vec![16], vec![]),
    ] {
        let body = ListConfigResourcesRequest::default().with_resource_types(kinds.clone());
        let (header, request) = asks(version, &body);
        let Request::Metadata { topics, .. } = request else { panic!("{request:?}") };
        let topic = TopicMetadata {
            error: ErrorCode::None,
            name: Some(TOPIC.to_owned()),
            topic_id: ID,
            internal: false,
            partitions: Vec::new(),
        };
        let topics = if matches!(topics, MetadataTopics::All) { vec![topic] } else { Vec::new() };
        let answer =
            Response::Metadata(MetadataResult { topics, brokers: brokers(), ..MetadataResult::default() });
        let frame = encode_response(header, answer, &[]).unwrap();
        let response = read::<ListConfigResourcesRequest>(version, frame);
        let found: Vec<_> =
            response.config_resources.iter().map(|one| (one.resource_type, &*one.resource_name)).collect();
        assert_eq!(found, wanted, "{kinds:?}");
    }
}
