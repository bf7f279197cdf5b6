//! The APIs that are served and their versions: what ApiVersions says is what is checked.

/// An API that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are Kafka's own")]
pub enum Api {
    Produce,
    Fetch,
    ListOffsets,
    Metadata,
    OffsetCommit,
    OffsetFetch,
    FindCoordinator,
    JoinGroup,
    Heartbeat,
    LeaveGroup,
    SyncGroup,
    DescribeGroups,
    ListGroups,
    ApiVersions,
    CreateTopics,
    DeleteTopics,
    DeleteRecords,
    InitProducerId,
    OffsetForLeaderEpoch,
    DescribeConfigs,
    AlterConfigs,
    DescribeLogDirs,
    CreatePartitions,
    DeleteGroups,
    ElectLeaders,
    IncrementalAlterConfigs,
    AlterPartitionReassignments,
    ListPartitionReassignments,
    OffsetDelete,
    DescribeClientQuotas,
    AlterClientQuotas,
    DescribeCluster,
    ListConfigResources,
    DescribeTopicPartitions,
}

impl Api {
    /// All of them, by rising key.
    pub const ALL: [Api; 34] = [
        Api::Produce,
        Api::Fetch,
        Api::ListOffsets,
        Api::Metadata,
        Api::OffsetCommit,
        Api::OffsetFetch,
        Api::FindCoordinator,
        Api::JoinGroup,
        Api::Heartbeat,
        Api::LeaveGroup,
        Api::SyncGroup,
        Api::DescribeGroups,
        Api::ListGroups,
        Api::ApiVersions,
        Api::CreateTopics,
        Api::DeleteTopics,
        Api::DeleteRecords,
        Api::InitProducerId,
        Api::OffsetForLeaderEpoch,
        Api::DescribeConfigs,
        Api::AlterConfigs,
        Api::DescribeLogDirs,
        Api::CreatePartitions,
        Api::DeleteGroups,
        Api::ElectLeaders,
        Api::IncrementalAlterConfigs,
        Api::AlterPartitionReassignments,
        Api::ListPartitionReassignments,
        Api::OffsetDelete,
        Api::DescribeClientQuotas,
        Api::AlterClientQuotas,
        Api::DescribeCluster,
        Api::ListConfigResources,
        Api::DescribeTopicPartitions,
    ];

    /// The number on the wire.
    pub const fn key(self) -> i16 {
        match self {
            Api::Produce => 0,
            Api::Fetch => 1,
            Api::ListOffsets => 2,
            Api::Metadata => 3,
            Api::OffsetCommit => 8,
            Api::OffsetFetch => 9,
            Api::FindCoordinator => 10,
            Api::JoinGroup => 11,
            Api::Heartbeat => 12,
            Api::LeaveGroup => 13,
            Api::SyncGroup => 14,
            Api::DescribeGroups => 15,
            Api::ListGroups => 16,
            Api::ApiVersions => 18,
            Api::CreateTopics => 19,
            Api::DeleteTopics => 20,
            Api::DeleteRecords => 21,
            Api::InitProducerId => 22,
            Api::OffsetForLeaderEpoch => 23,
            Api::DescribeConfigs => 32,
            Api::AlterConfigs => 33,
            Api::DescribeLogDirs => 35,
            Api::CreatePartitions => 37,
            Api::DeleteGroups => 42,
            Api::ElectLeaders => 43,
            Api::IncrementalAlterConfigs => 44,
            Api::AlterPartitionReassignments => 45,
            Api::ListPartitionReassignments => 46,
            Api::OffsetDelete => 47,
            Api::DescribeClientQuotas => 48,
            Api::AlterClientQuotas => 49,
            Api::DescribeCluster => 60,
            Api::ListConfigResources => 74,
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
            Api::OffsetCommit => "OffsetCommit",
            Api::OffsetFetch => "OffsetFetch",
            Api::FindCoordinator => "FindCoordinator",
            Api::JoinGroup => "JoinGroup",
            Api::Heartbeat => "Heartbeat",
            Api::LeaveGroup => "LeaveGroup",
            Api::SyncGroup => "SyncGroup",
            Api::DescribeGroups => "DescribeGroups",
            Api::ListGroups => "ListGroups",
            Api::ApiVersions => "ApiVersions",
            Api::CreateTopics => "CreateTopics",
            Api::DeleteTopics => "DeleteTopics",
            Api::DeleteRecords => "DeleteRecords",
            Api::InitProducerId => "InitProducerId",
            Api::OffsetForLeaderEpoch => "OffsetForLeaderEpoch",
            Api::DescribeConfigs => "DescribeConfigs",
            Api::AlterConfigs => "AlterConfigs",
            Api::DescribeLogDirs => "DescribeLogDirs",
            Api::CreatePartitions => "CreatePartitions",
            Api::DeleteGroups => "DeleteGroups",
            Api::ElectLeaders => "ElectLeaders",
            Api::IncrementalAlterConfigs => "IncrementalAlterConfigs",
            Api::AlterPartitionReassignments => "AlterPartitionReassignments",
            Api::ListPartitionReassignments => "ListPartitionReassignments",
            Api::OffsetDelete => "OffsetDelete",
            Api::DescribeClientQuotas => "DescribeClientQuotas",
            Api::AlterClientQuotas => "AlterClientQuotas",
            Api::DescribeCluster => "DescribeCluster",
            Api::ListConfigResources => "ListConfigResources",
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
            Api::OffsetCommit => (2, 9),
            Api::OffsetFetch => (1, 9),
            Api::FindCoordinator => (0, 6),
            Api::JoinGroup => (0, 9),
            Api::Heartbeat => (0, 4),
            Api::LeaveGroup => (0, 5),
            Api::SyncGroup => (0, 5),
            Api::DescribeGroups => (0, 6),
            Api::ListGroups => (0, 5),
            Api::ApiVersions => (0, 4),
            Api::CreateTopics => (2, 7),
            Api::DeleteTopics => (1, 6),
            Api::DeleteRecords => (0, 2),
            Api::InitProducerId => (0, 5),
            Api::OffsetForLeaderEpoch => (2, 4),
            Api::DescribeConfigs => (1, 4),
            Api::AlterConfigs => (0, 2),
            Api::DescribeLogDirs => (1, 4),
            Api::CreatePartitions => (0, 3),
            Api::DeleteGroups => (0, 2),
            Api::ElectLeaders => (0, 2),
            Api::IncrementalAlterConfigs => (0, 1),
            Api::AlterPartitionReassignments => (0, 1),
            Api::ListPartitionReassignments => (0, 0),
            Api::OffsetDelete => (0, 0),
            Api::DescribeClientQuotas => (0, 1),
            Api::AlterClientQuotas => (0, 1),
            Api::DescribeCluster => (0, 2),
            Api::ListConfigResources => (0, 1),
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
