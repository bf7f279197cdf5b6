//! A Kafka client of a few requests, which follows leaders and tries again what Kafka says may be tried again.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, Record,
    RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

use super::{Process, until};

const WAIT: Duration = Duration::from_secs(10);
/// What a client may try again: no leader yet, moved, not enough replicas for a moment.
const RETRIABLE: [i16; 9] = [3, 5, 6, 7, 19, 41, 78, 100, 74];

/// A client of one mesh.
pub(crate) struct Kafka {
    bootstrap: String,
    connections: BTreeMap<String, TcpStream>,
}

impl Kafka {
    pub(crate) fn connect(node: &Process) -> Kafka {
        Kafka::at(node.kafka_address())
    }

    pub(crate) fn at(bootstrap: String) -> Kafka {
        Kafka { bootstrap, connections: BTreeMap::new() }
    }

    /// The brokers that are told: node and `host:port`.
    pub(crate) fn brokers(&mut self) -> Vec<(i32, String)> {
        let metadata = self.metadata(None).expect("an answer");
        let brokers = metadata.brokers.iter();
        let mut all: Vec<_> = brokers.map(|one| (one.node_id.0, at(&one.host, one.port))).collect();
        all.sort_unstable();
        all
    }

    /// Leader and error of each partition.
    pub(crate) fn leaders(&mut self, topic: &str) -> Vec<(i32, i16)> {
        let metadata = self.metadata(Some(topic)).expect("an answer");
        let partitions = metadata.topics.first().map(|topic| topic.partitions.as_slice()).unwrap_or_default();
        partitions.iter().map(|one| (one.leader_id.0, one.error_code)).collect()
    }

    /// One request; nothing when the connection breaks.
    fn try_ask<T: Request>(&mut self, address: &str, version: i16, body: &T) -> Option<T::Response>
    where
        T::Response: HeaderVersion,
    {
        let mut frame = BytesMut::new();
        let header = RequestHeader::default()
            .with_request_api_key(T::KEY)
            .with_request_api_version(version)
            .with_correlation_id(7)
            .with_client_id(Some(StrBytes::from_static_str("test")));
        header.encode(&mut frame, T::header_version(version)).expect("it encodes");
        body.encode(&mut frame, version).expect("it encodes");
        let answer = self.exchange(address, &frame);
        if answer.is_none() {
            self.connections.remove(address);
        }
        let mut answer = answer?;
        ResponseHeader::decode(&mut answer, T::Response::header_version(version)).expect("a header");
        Some(T::Response::decode(&mut answer, version).expect("a response"))
    }

    fn exchange(&mut self, address: &str, frame: &[u8]) -> Option<Bytes> {
        if !self.connections.contains_key(address) {
            let stream = TcpStream::connect(address).ok()?;
            stream.set_read_timeout(Some(WAIT)).ok()?;
            self.connections.insert(address.to_owned(), stream);
        }
        let stream = self.connections.get_mut(address)?;
        let length = u32::try_from(frame.len()).expect("a small frame");
        stream.write_all(&length.to_be_bytes()).ok()?;
        stream.write_all(frame).ok()?;
        let mut length = [0; 4];
        stream.read_exact(&mut length).ok()?;
        let mut answer = vec![0; usize::try_from(u32::from_be_bytes(length)).expect("64 bits")];
        stream.read_exact(&mut answer).ok()?;
        Some(answer.into())
    }

    fn metadata(&mut self, topic: Option<&str>) -> Option<MetadataResponse> {
        let topics = topic.map(|topic| vec![MetadataRequestTopic::default().with_name(Some(name(topic)))]);
        let request = MetadataRequest::default()
            .with_topics(Some(topics.unwrap_or_default()))
            .with_allow_auto_topic_creation(false);
        let bootstrap = self.bootstrap.clone();
        self.try_ask(&bootstrap, 9, &request)
    }

    pub(crate) fn cluster_id(&mut self) -> String {
        let metadata = self.metadata(None).expect("an answer");
        metadata.cluster_id.expect("a cluster id").to_string()
    }

    /// The address of a partition's leader, once there is one that the others see.
    pub(crate) fn leader(&mut self, topic: &str, partition: i32) -> String {
        let mut leader = None;
        until(&format!("a leader of {topic}/{partition}"), || {
            leader = self.metadata(Some(topic)).and_then(|metadata| {
                let found =
                    metadata.topics.first()?.partitions.iter().find(|p| p.partition_index == partition)?;
                let broker = metadata.brokers.iter().find(|broker| broker.node_id == found.leader_id)?;
                Some(at(&broker.host, broker.port))
            });
            leader.is_some()
        });
        leader.expect("it was found")
    }

    pub(crate) fn create_topic(&mut self, topic: &str, partitions: i32, replicas: i16) {
        let topic = CreatableTopic::default()
            .with_name(name(topic))
            .with_num_partitions(partitions)
            .with_replication_factor(replicas);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
        let bootstrap = self.bootstrap.clone();
        until("the topic is created", || {
            let answer = self.try_ask(&bootstrap, 5, &request);
            let error = answer.and_then(|answer| Some(answer.topics.first()?.error_code));
            // 36: an earlier try did it.
            assert!(
                error.is_none_or(|error| [0, 36].contains(&error) || RETRIABLE.contains(&error)),
                "error {error:?}"
            );
            matches!(error, Some(0 | 36))
        });
    }

    pub(crate) fn delete_topic(&mut self, topic: &str) {
        let request =
            DeleteTopicsRequest::default().with_topic_names(vec![name(topic)]).with_timeout_ms(30_000);
        let bootstrap = self.bootstrap.clone();
        until("the topic is deleted", || {
            let answer = self.try_ask(&bootstrap, 5, &request);
            let error = answer.and_then(|answer| Some(answer.responses.first()?.error_code));
            matches!(error, Some(0))
        });
    }

    /// Writes one record with acks=all; its offset, or the error that cannot be tried again.
    pub(crate) fn produce(&mut self, topic: &str, partition: i32, value: &[u8]) -> Result<i64, i16> {
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch(value)));
        let topics = vec![TopicProduceData::default().with_name(name(topic)).with_partition_data(vec![data])];
        let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(10_000).with_topic_data(topics);
        let mut outcome = Err(-1);
        until(&format!("{topic}/{partition} takes a record"), || {
            let leader = self.leader(topic, partition);
            let Some(answer) = self.try_ask(&leader, 9, &request) else { return false };
            let part = &answer.responses[0].partition_responses[0];
            outcome = if part.error_code == 0 { Ok(part.base_offset) } else { Err(part.error_code) };
            !RETRIABLE.contains(&part.error_code)
        });
        outcome
    }

    /// The values of all records from an offset to the high watermark.
    pub(crate) fn fetch(&mut self, topic: &str, partition: i32, offset: i64) -> Vec<Vec<u8>> {
        let wanted = FetchPartition::default().with_partition(partition).with_fetch_offset(offset);
        let wanted =
            wanted.with_partition_max_bytes(1 << 20).with_current_leader_epoch(-1).with_log_start_offset(-1);
        let topics = vec![FetchTopic::default().with_topic(name(topic)).with_partitions(vec![wanted])];
        let request = FetchRequest::default()
            .with_max_wait_ms(0)
            .with_min_bytes(0)
            .with_max_bytes(1 << 20)
            .with_topics(topics);
        let mut values = Vec::new();
        until(&format!("{topic}/{partition} is read"), || {
            let leader = self.leader(topic, partition);
            let Some(answer) = self.try_ask(&leader, 11, &request) else { return false };
            let part = &answer.responses[0].partitions[0];
            assert!(
                part.error_code == 0 || RETRIABLE.contains(&part.error_code),
                "error {}",
                part.error_code
            );
            values = part.records.clone().map(records).unwrap_or_default();
            let last = offset + i64::try_from(values.len()).expect("few");
            part.error_code == 0 && part.high_watermark == last
        });
        values
    }
}

fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

fn batch(value: &[u8]) -> Bytes {
    let record = Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
        producer_id: NO_PRODUCER_ID,
        producer_epoch: NO_PRODUCER_EPOCH,
        timestamp_type: TimestampType::Creation,
        offset: 0,
        sequence: NO_SEQUENCE,
        timestamp: 1_700_000_000_000,
        key: None,
        value: Some(Bytes::copy_from_slice(value)),
        headers: Default::default(),
    };
    let mut out = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut out, [&record], &options).expect("it encodes");
    out.freeze()
}

fn records(mut bytes: Bytes) -> Vec<Vec<u8>> {
    let mut values = Vec::new();
    while bytes.has_remaining() {
        let batch = RecordBatchDecoder::decode(&mut bytes).expect("a whole batch");
        values.extend(batch.records.into_iter().map(|record| record.value.unwrap_or_default().to_vec()));
    }
    values
}

fn at(host: &StrBytes, port: i32) -> String {
    match host.contains(':') {
        true => format!("[{}]:{port}", host.as_str()),
        false => format!("{}:{port}", host.as_str()),
    }
}
