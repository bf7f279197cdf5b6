//! DescribeClientQuotas and AlterClientQuotas in every version, and throttle times in every response that has one.

use super::*;
use crate::core::metadata::quotas::{Entity, Limit, Which};
use crate::kafka::tables::THROTTLED;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

#[test]
fn describe_client_quotas_in_every_version() {
    use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
    for version in versions(Api::DescribeClientQuotas) {
        let component = |kind: &str, match_type, name: Option<&str>| {
            ComponentData::default()
                .with_entity_type(text(kind))
                .with_match_type(match_type)
                .with_match(name.map(text))
        };
        let body =
            |components| DescribeClientQuotasRequest::default().with_components(components).with_strict(true);
        let both = vec![component("user", 0, Some("u")), component("client-id", 1, None)];
        let (header, request) = asks(version, &body(both));
        let Request::DescribeQuotas(filter) = request else { panic!("{request:?}") };
        let wanted = QuotaFilter {
            user: Some(QuotaMatch::Named("u".to_owned())),
            client_id: Some(QuotaMatch::Default),
            strict: true,
        };
        assert_eq!(filter, wanted);
        let entity = Entity { user: Some(Which::Named("u".to_owned())), client_id: Some(Which::Default) };
        let entries = vec![QuotaEntry { entity, limits: vec![(Limit::Produce, 5.5)] }];
        let frame = encode_response(header, Response::DescribeQuotas { entries }, &[]).unwrap();
        let response = read::<DescribeClientQuotasRequest>(version, frame);
        let entry = &response.entries.unwrap()[0];
        let entity: Vec<_> =
            entry.entity.iter().map(|part| (&*part.entity_type, part.entity_name.as_deref())).collect();
        assert_eq!(entity, [("user", Some("u")), ("client-id", None)]);
        assert_eq!((&*entry.values[0].key, entry.values[0].value), ("producer_byte_rate", 5.5));
        for wrong in [
            vec![component("ip", 2, None)],
            vec![component("user", 0, None)],
            vec![component("user", 3, None)],
            vec![component("user", 2, None), component("user", 1, None)],
        ] {
            let response = at_once(version, &body(wrong));
            assert_eq!((response.error_code, response.entries), (ErrorCode::InvalidRequest.code(), None));
        }
    }
}

#[test]
fn alter_client_quotas_in_every_version() {
    use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
    for version in versions(Api::AlterClientQuotas) {
        let entry = |kind: &str, name: Option<&str>| {
            let entity = EntityData::default().with_entity_type(text(kind)).with_entity_name(name.map(text));
            let set = OpData::default().with_key(text("consumer_byte_rate")).with_value(7.0);
            let gone = OpData::default().with_key(text("request_percentage")).with_remove(true);
            EntryData::default().with_entity(vec![entity]).with_ops(vec![set, gone])
        };
        let entries = vec![entry("ip", Some("10.0.0.1")), entry("client-id", None), entry("user", Some("u"))];
        let body = AlterClientQuotasRequest::default().with_entries(entries).with_validate_only(true);
        let (header, request) = asks(version, &body);
        let Request::AlterQuotas { entries, validate_only: true } = request else { panic!("{request:?}") };
        assert_eq!(entries[0].entity, Entity { user: None, client_id: Some(Which::Default) });
        assert_eq!(entries[1].entity, Entity { user: Some(Which::Named("u".to_owned())), client_id: None });
        let wanted = [("consumer_byte_rate".to_owned(), Some(7.0)), ("request_percentage".to_owned(), None)];
        assert_eq!(entries[0].changes, wanted);
        let result = |quota: &AlterQuota| AlterQuotaResult {
            error: ErrorCode::None,
            message: None,
            named: quota.named.clone(),
        };
        let answer = Response::AlterQuotas { entries: entries.iter().map(result).collect() };
        let frame = encode_response(header, answer, &[]).unwrap();
        let response = read::<AlterClientQuotasRequest>(version, frame);
        let told: Vec<_> = response
            .entries
            .iter()
            .map(|entry| {
                (&*entry.entity[0].entity_type, entry.entity[0].entity_name.as_deref(), entry.error_code)
            })
            .collect();
        assert_eq!(told, [("ip", Some("10.0.0.1"), 42), ("client-id", None, 0), ("user", Some("u"), 0)]);
    }
}

#[test]
fn throttle_times_are_told_where_there_is_room_for_them() {
    for version in versions(Api::Metadata) {
        let (mut header, _) = asks(version, &MetadataRequest::default());
        header.throttle_ms = 77;
        let frame = encode_response(header, Response::Metadata(MetadataResult::default()), &[]).unwrap();
        let told = read::<MetadataRequest>(version, frame).throttle_time_ms;
        assert_eq!(told, if version >= 3 { 77 } else { 0 });
    }
    for version in versions(Api::Produce) {
        let (mut header, request) = asks(version, &produce(version, 1, vec![Some(sound(1, 5).into())]));
        let Request::Produce { .. } = request else { panic!("{request:?}") };
        header.throttle_ms = 77;
        let partitions = vec![ProduceResult {
            topic: topic_of(version, 13),
            partition: 0,
            error: ErrorCode::None,
            base_offset: 1,
            log_append_time_ms: -1,
            log_start_offset: 0,
            leader: None,
            message: None,
        }];
        let frame = encode_response(header, Response::Produce { partitions }, &[]).unwrap();
        assert_eq!(read::<ProduceRequest>(version, frame).throttle_time_ms, 77);
    }
    for version in versions(Api::Fetch) {
        let (mut header, request) = asks(version, &fetch(version));
        let Request::Fetch { partitions, .. } = request else { panic!("{request:?}") };
        header.throttle_ms = 77;
        let results = partitions.iter().map(|part| fetched(part.topic.clone(), part.partition, Vec::new()));
        let frame = encode_response(header, Response::Fetch { partitions: results.collect() }, &[]).unwrap();
        assert_eq!(read::<FetchRequest>(version, frame).throttle_time_ms, 77);
    }
    assert!(THROTTLED.is_sorted_by(|a, b| a.0 < b.0));
    assert!(THROTTLED.iter().all(|(key, _)| *key != Api::Produce.key() && *key != Api::ApiVersions.key()));
}
