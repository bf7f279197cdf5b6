//! Hostile frames of every API and version: truncated, bit-flipped, inflated, and well-formed ones that must pass.

use std::process::Command;

use kafka_protocol::messages as m;
use kafka_protocol::protocol::Decodable;

use super::super::bounds::{self, Field, Kind, Schema};
use super::*;

/// Enough for a test binary and its threads, far below what an unbounded decode asks for.
const ADDRESS_SPACE_KIB: u32 = 1 << 20;
const UNBOUNDED: &str = "RAFKA_TEST_UNBOUNDED_DECODE";

/// A small deterministic source of bits (xorshift64*).
struct Bits(u64);

impl Bits {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let mixed = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(mixed).unwrap() % bound
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }
}

struct Writer<'a> {
    out: Vec<u8>,
    bits: &'a mut Bits,
    version: i16,
    flexible: bool,
}

impl Writer<'_> {
    fn length(&mut self, length: usize, narrow: bool) {
        let length = u16::try_from(length).unwrap();
        match (self.flexible, narrow) {
            (true, _) => {
                assert!(length < 127);
                self.out.push(u8::try_from(length).unwrap() + 1);
            }
            (false, true) => self.out.extend(length.to_be_bytes()),
            (false, false) => self.out.extend(u32::from(length).to_be_bytes()),
        }
    }

    fn value(&mut self, kind: &Kind) {
        match kind {
            Kind::Fixed(bytes) => (0..*bytes).for_each(|_| self.out.push(self.bits.byte())),
            Kind::Text | Kind::Blob => {
                let length = self.bits.below(12);
                self.length(length, matches!(kind, Kind::Text));
                self.out.extend(std::iter::repeat_n(b'x', length));
            }
            Kind::Array(element) => {
                let count = self.bits.below(4);
                self.length(count, false);
                (0..count).for_each(|_| self.value(element));
            }
            Kind::Struct(fields) => self.fields(fields),
            Kind::Maybe(fields) => {
                let there = self.bits.below(2) == 0;
                self.out.push(if there { 1 } else { 0xff });
                if there {
                    self.fields(fields);
                }
            }
        }
    }

    fn fields(&mut self, fields: &[Field]) {
        let version = self.version;
        fields.iter().filter(|f| f.tag.is_none() && f.in_version(version)).for_each(|f| self.value(&f.kind));
        if !self.flexible {
            return;
        }
        let known: Vec<&Field> = fields.iter().filter(|f| f.tag.is_some() && f.in_version(version)).collect();
        let known = if self.bits.below(2) == 0 { known } else { Vec::new() };
        let unknown = self.bits.below(2);
        self.out.push(u8::try_from(known.len() + unknown).unwrap());
        for field in known {
            let start = self.out.len();
            self.value(&field.kind);
            let content = self.out.split_off(start);
            self.out
                .extend([u8::try_from(field.tag.unwrap()).unwrap(), u8::try_from(content.len()).unwrap()]);
            self.out.extend(content);
        }
        (0..unknown).for_each(|_| self.out.extend([99, 3, 1, 2, 3]));
    }
}

/// A well-formed request of random content: its frame and where the body starts.
fn well_formed(api: Api, version: i16, bits: &mut Bits) -> (Vec<u8>, usize) {
    let schema = Schema::of(api.key()).unwrap();
    let flexible = schema.is_flexible(version);
    let mut out = Vec::new();
    out.extend(api.key().to_be_bytes());
    out.extend(version.to_be_bytes());
    out.extend([0, 0, 0, 7, 0, 2, b'i', b'd']);
    if flexible {
        out.push(0);
    }
    let body_at = out.len();
    let mut writer = Writer { out, bits, version, flexible };
    writer.fields(schema.fields);
    (writer.out, body_at)
}

fn every_version() -> impl Iterator<Item = (Api, i16)> {
    Api::ALL
        .into_iter()
        .flat_map(|api| (api.versions().0..=api.versions().1).map(move |version| (api, version)))
}

fn decode_bytes(frame: Vec<u8>) -> Decoded {
    decode_request(Bytes::from(frame), &Limits::default())
}

/// The codec's own reading of a body: how many bytes it leaves.
fn codec_leaves(api: Api, version: i16, body: &[u8]) -> Result<usize, String> {
    fn leaves<T: Decodable>(body: &[u8], version: i16) -> Result<usize, String> {
        let mut bytes = Bytes::copy_from_slice(body);
        T::decode(&mut bytes, version).map_err(|error| error.to_string())?;
        Ok(bytes.len())
    }
    let version = api.codec_version(version);
    match api {
        Api::Produce => leaves::<m::ProduceRequest>(body, version),
        Api::Fetch => leaves::<m::FetchRequest>(body, version),
        Api::ListOffsets => leaves::<m::ListOffsetsRequest>(body, version),
        Api::Metadata => leaves::<m::MetadataRequest>(body, version),
        Api::FindCoordinator => leaves::<m::FindCoordinatorRequest>(body, version),
        Api::OffsetCommit => leaves::<m::OffsetCommitRequest>(body, version),
        Api::OffsetFetch => leaves::<m::OffsetFetchRequest>(body, version),
        Api::JoinGroup => leaves::<m::JoinGroupRequest>(body, version),
        Api::Heartbeat => leaves::<m::HeartbeatRequest>(body, version),
        Api::LeaveGroup => leaves::<m::LeaveGroupRequest>(body, version),
        Api::SyncGroup => leaves::<m::SyncGroupRequest>(body, version),
        Api::DescribeGroups => leaves::<m::DescribeGroupsRequest>(body, version),
        Api::ListGroups => leaves::<m::ListGroupsRequest>(body, version),
        Api::DeleteGroups => leaves::<m::DeleteGroupsRequest>(body, version),
        Api::OffsetDelete => leaves::<m::OffsetDeleteRequest>(body, version),
        Api::ApiVersions => leaves::<m::ApiVersionsRequest>(body, version),
        Api::CreateTopics => leaves::<m::CreateTopicsRequest>(body, version),
        Api::DeleteTopics => leaves::<m::DeleteTopicsRequest>(body, version),
        Api::InitProducerId => leaves::<m::InitProducerIdRequest>(body, version),
        Api::OffsetForLeaderEpoch => leaves::<m::OffsetForLeaderEpochRequest>(body, version),
        Api::DescribeConfigs => leaves::<m::DescribeConfigsRequest>(body, version),
        Api::AlterConfigs => leaves::<m::AlterConfigsRequest>(body, version),
        Api::IncrementalAlterConfigs => leaves::<m::IncrementalAlterConfigsRequest>(body, version),
        Api::DescribeClientQuotas => leaves::<m::DescribeClientQuotasRequest>(body, version),
        Api::AlterClientQuotas => leaves::<m::AlterClientQuotasRequest>(body, version),
        Api::ListConfigResources => leaves::<m::ListConfigResourcesRequest>(body, version),
        Api::DeleteRecords => leaves::<m::DeleteRecordsRequest>(body, version),
        Api::DescribeLogDirs => leaves::<m::DescribeLogDirsRequest>(body, version),
        Api::CreatePartitions => leaves::<m::CreatePartitionsRequest>(body, version),
        Api::ElectLeaders => leaves::<m::ElectLeadersRequest>(body, version),
        Api::AlterPartitionReassignments => leaves::<m::AlterPartitionReassignmentsRequest>(body, version),
        Api::ListPartitionReassignments => leaves::<m::ListPartitionReassignmentsRequest>(body, version),
        Api::DescribeTopicPartitions => leaves::<m::DescribeTopicPartitionsRequest>(body, version),
        Api::DescribeCluster => leaves::<m::DescribeClusterRequest>(body, version),
    }
}

#[test]
fn tables_and_codec_read_the_same_bytes() {
    let mut bits = Bits(1);
    for (api, version) in every_version() {
        for _ in 0..50 {
            let (frame, at) = well_formed(api, version, &mut bits);
            let schema = Schema::of(api.key()).unwrap();
            assert_eq!(
                bounds::check(schema, version, &frame, at),
                Ok(frame.len()),
                "{api:?} {version}: {frame:?}"
            );
            assert_eq!(codec_leaves(api, version, &frame[at..]), Ok(0), "{api:?} {version}: {frame:?}");
        }
    }
}

#[test]
fn truncated_frames_are_refused() {
    let mut bits = Bits(2);
    for (api, version) in every_version() {
        let (frame, at) = well_formed(api, version, &mut bits);
        for end in 0..frame.len() {
            let decoded = decode_bytes(frame[..end].to_vec());
            assert!(
                matches!(decoded, Decoded::Close(_)),
                "{api:?} {version} cut at {end} of {frame:?} ({at})"
            );
        }
    }
}

/// Flips bits, inflates lengths and splices; whatever comes out must be decoded or refused. Run under a limit on the
/// address space by the next test.
#[test]
fn hostile_frames_never_panic() {
    let mut bits = Bits(3);
    let (mut refused, mut passed) = (0, 0);
    for (api, version) in every_version() {
        for _ in 0..100 {
            let (frame, at) = well_formed(api, version, &mut bits);
            for hostile in mutations(&frame, at, &mut bits) {
                match decode_bytes(hostile) {
                    Decoded::Close(_) => refused += 1,
                    _ => passed += 1,
                }
            }
        }
    }
    assert!(refused > 1_000 && passed > 1_000, "{refused} refused, {passed} passed: the corpus is one-sided");
}

fn mutations(frame: &[u8], at: usize, bits: &mut Bits) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for _ in 0..8 {
        let mut flipped = frame.to_vec();
        for _ in 0..=bits.below(3) {
            let place = bits.below(frame.len());
            flipped[place] ^= 1 << bits.below(8);
        }
        out.push(flipped);
    }
    for inflation in
        [[0x7f, 0xff, 0xff, 0xff, 0xff], [0xff, 0xff, 0xff, 0xff, 0x0f], [0x3f, 0xff, 0xff, 0xff, 0]]
    {
        let mut inflated = frame.to_vec();
        let place = at + bits.below(frame.len() - at + 1);
        inflated.truncate(place);
        inflated.extend(inflation);
        inflated.extend(&frame[place..]);
        out.push(inflated.clone());
        let over = place.min(inflated.len() - 5);
        inflated[over..over + 5].copy_from_slice(&inflation);
        out.push(inflated);
    }
    out
}

/// Runs one test of this binary in a process of limited address space.
fn limited(test: &str, environment: &[(&str, &str)]) -> std::process::Output {
    Command::new("sh")
        .args(["-c", &format!("ulimit -v {ADDRESS_SPACE_KIB} && exec \"$@\""), "sh"])
        .arg(std::env::current_exe().unwrap())
        .args([&format!("kafka::serve::tests::hostile::{test}"), "--exact", "--test-threads=1"])
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

#[test]
fn a_limited_process_survives_the_corpus_and_the_limit_bites() {
    let bounded = limited("hostile_frames_never_panic", &[]);
    let text = String::from_utf8_lossy(&bounded.stdout);
    assert!(bounded.status.success() && text.contains("1 passed"), "{text}");
    let unbounded = limited("the_codec_alone_aborts", &[(UNBOUNDED, "1")]);
    assert!(
        !unbounded.status.success(),
        "the codec alone no longer aborts: the field tables may not be needed"
    );
}

/// The control of the test above: without the walk, four bytes end the process.
#[test]
fn the_codec_alone_aborts() {
    let body = 0x7fff_ffff_u32.to_be_bytes();
    if std::env::var_os(UNBOUNDED).is_some() {
        let _never = codec_leaves(Api::Metadata, 1, &body);
    }
    let frame = [&[0, 3, 0, 1, 0, 0, 0, 7, 0xff, 0xff], body.as_slice()].concat();
    assert!(matches!(decode_bytes(frame), Decoded::Close(CloseReason::Bounds { .. })));
}

#[test]
fn arbitrary_bytes_never_panic() {
    fn any(key: usize, version: i16, rest: Vec<u8>) -> bool {
        let api = Api::ALL[key % Api::ALL.len()];
        let mut frame = api.key().to_be_bytes().to_vec();
        frame.extend((version.rem_euclid(20)).to_be_bytes());
        frame.extend(rest);
        let _any = decode_bytes(frame);
        true
    }
    quickcheck::QuickCheck::new().tests(5_000).quickcheck(any as fn(usize, i16, Vec<u8>) -> bool);
}
