//! The APIs that are served and their versions: what ApiVersions says is what is checked.

/// An API that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are Kafka's own")]
pub enum Api {
    Produce,
    Fetch,
    ListOffsets,
    Metadata,
    FindCoordinator,
    ApiVersions,
    CreateTopics,
    DeleteTopics,
    DeleteRecords,
    InitProducerId,
    OffsetForLeaderEpoch,
    DescribeConfigs,
    DescribeLogDirs,
    CreatePartitions,
    ElectLeaders,
    AlterPartitionReassignments,
    ListPartitionReassignments,
    DescribeCluster,
    DescribeTopicPartitions,
}

impl Api {
    /// All of them, by rising key.
    pub const ALL: [Api; 19] = [
        Api::Produce,
        Api::Fetch,
        Api::ListOffsets,
        Api::Metadata,
        Api::FindCoordinator,
        Api::ApiVersions,
        Api::CreateTopics,
        Api::DeleteTopics,
        Api::DeleteRecords,
        Api::InitProducerId,
        Api::OffsetForLeaderEpoch,
        Api::DescribeConfigs,
        Api::DescribeLogDirs,
        Api::CreatePartitions,
        Api::ElectLeaders,
        Api::AlterPartitionReassignments,
        Api::ListPartitionReassignments,
        Api::DescribeCluster,
        Api::DescribeTopicPartitions,
    ];

    /// The number on the wire.
    pub const fn key(self) -> i16 {
        match self {
            Api::Produce => 0,
            Api::Fetch => 1,
            Api::ListOffsets => 2,
            Api::Metadata => 3,
            Api::FindCoordinator => 10,
            Api::ApiVersions => 18,
            Api::CreateTopics => 19,
            Api::DeleteTopics => 20,
            Api::DeleteRecords => 21,
            Api::InitProducerId => 22,
            Api::OffsetForLeaderEpoch => 23,
            Api::DescribeConfigs => 32,
            Api::DescribeLogDirs => 35,
            Api::CreatePartitions => 37,
            Api::ElectLeaders => 43,
            Api::AlterPartitionReassignments => 45,
            Api::ListPartitionReassignments => 46,
            Api::DescribeCluster => 60,
            Api::DescribeTopicPartitions => 75,
        }
    }

    /// Kafka's name of it.
    pub const fn name(self) -> &'static str {
        match self {
            Api::Produce => "Produce",
            Api::Fetch => "Fetch",
            Api::ListOffsets => "ListOffsets",
            Api::Metadata => "Metadata",
            Api::FindCoordinator => "FindCoordinator",
            Api::ApiVersions => "ApiVersions",
            Api::CreateTopics => "CreateTopics",
            Api::DeleteTopics => "DeleteTopics",
            Api::DeleteRecords => "DeleteRecords",
            Api::InitProducerId => "InitProducerId",
            Api::OffsetForLeaderEpoch => "OffsetForLeaderEpoch",
            Api::DescribeConfigs => "DescribeConfigs",
            Api::DescribeLogDirs => "DescribeLogDirs",
            Api::CreatePartitions => "CreatePartitions",
            Api::ElectLeaders => "ElectLeaders",
            Api::AlterPartitionReassignments => "AlterPartitionReassignments",
            Api::ListPartitionReassignments => "ListPartitionReassignments",
            Api::DescribeCluster => "DescribeCluster",
            Api::DescribeTopicPartitions => "DescribeTopicPartitions",
        }
    }

    /// First and last version served, both inclusive.
    pub const fn versions(self) -> (i16, i16) {
        match self {
            Api::Produce => (3, 13),
            Api::Fetch => (4, 18),
            Api::ListOffsets => (1, 11),
            Api::Metadata => (0, 13),
            Api::FindCoordinator => (0, 6),
            Api::ApiVersions => (0, 4),
            Api::CreateTopics => (2, 7),
            Api::DeleteTopics => (1, 6),
            Api::DeleteRecords => (0, 2),
            Api::InitProducerId => (0, 5),
            Api::OffsetForLeaderEpoch => (2, 4),
            Api::DescribeConfigs => (1, 4),
            Api::DescribeLogDirs => (1, 4),
            Api::CreatePartitions => (0, 3),
            Api::ElectLeaders => (0, 2),
            Api::AlterPartitionReassignments => (0, 1),
            Api::ListPartitionReassignments => (0, 0),
            Api::DescribeCluster => (0, 2),
            Api::DescribeTopicPartitions => (0, 0),
        }
    }

    /// First version in ApiVersions: what is served, but 0 for Produce, without which older librdkafka silently turns
    /// compression off (KAFKA-18659).
    pub const fn first_advertised(self) -> i16 {
        match self {
            Api::Produce => 0,
            other => other.versions().0,
        }
    }

    /// The API of that number, if it is served.
    pub fn of(key: i16) -> Option<Api> {
        Api::ALL.into_iter().find(|api| api.key() == key)
    }

    pub(super) fn serves(self, version: i16) -> bool {
        let (first, last) = self.versions();
        first <= version && version <= last
    }

    /// The version under which the codec knows the same bytes.
    pub(super) fn codec_version(self, version: i16) -> i16 {
        match self {
            Api::ListOffsets => version.min(10),
            _ => version,
        }
    }
}
