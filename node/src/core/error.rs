//! Kafka's error codes by name. The one place where codes are spelled as numbers.

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($name:ident = $code:literal, $text:literal;)*) => {
        /// Kafka's error code of a response, by its name in the protocol guide.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum ErrorCode {
            $(#[doc = $text] $name,)*
        }

        impl ErrorCode {
            /// The number on the wire.
            pub const fn code(self) -> i16 {
                match self { $(Self::$name => $code,)* }
            }

            /// What it means, for people.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

codes! {
    None = 0, "No error.";
    UnknownServerError = -1, "The node failed in a way it has no word for; its log says more.";
    OffsetOutOfRange = 1, "The offset is below the log start or above the high watermark.";
    CorruptMessage = 2, "The record batch failed its checks.";
    UnknownTopicOrPartition = 3, "No such topic or partition.";
    LeaderNotAvailable = 5, "The partition has no leader at the moment.";
    NotLeaderOrFollower = 6, "Another node leads this partition.";
    RequestTimedOut = 7, "The request was not done in its time; its outcome is unknown.";
    MessageTooLarge = 10, "The record batch is larger than max.message.bytes.";
    OffsetMetadataTooLarge = 12, "The text of a committed offset is larger than offset.metadata.max.bytes.";
    NetworkException = 13, "The node could not reach those it needs.";
    CoordinatorLoadInProgress = 14, "The coordinator is loading.";
    CoordinatorNotAvailable = 15, "This coordinator is not available.";
    NotCoordinator = 16, "Another node is the coordinator.";
    InvalidTopic = 17, "The topic name is not allowed.";
    NotEnoughReplicas = 19, "Fewer replicas are in sync than min.insync.replicas.";
    InvalidRequiredAcks = 21, "acks must be -1, 0 or 1.";
    IllegalGeneration = 22, "The generation is not the group's present one.";
    InconsistentGroupProtocol = 23, "The member's protocols are none that all members of its group have.";
    InvalidGroupId = 24, "The name of the group is not allowed.";
    UnknownMemberId = 25, "The group has no such member.";
    InvalidSessionTimeout = 26, "The session timeout is outside of group.min and group.max.session.timeout.ms.";
    RebalanceInProgress = 27, "The group shares its partitions anew: join again.";
    InvalidCommitOffsetSize = 28, "The offsets of one commit take more bytes than one append may.";
    UnsupportedVersion = 35, "This version of the request is not served.";
    TopicAlreadyExists = 36, "The topic exists.";
    InvalidPartitions = 37, "The number of partitions is not allowed.";
    InvalidReplicationFactor = 38, "The replication factor is below 1 or above the number of nodes.";
    InvalidReplicaAssignment = 39, "The replica assignment is not valid.";
    InvalidConfig = 40, "A config is unknown or its value not allowed.";
    NotController = 41, "The metadata shard of this topic has no leader at the moment; try again.";
    InvalidRequest = 42, "The request contradicts itself.";
    UnsupportedForMessageFormat = 43, "Only record batches of magic 2 are served.";
    PolicyViolation = 44, "A policy of this mesh forbids it.";
    OutOfOrderSequenceNumber = 45, "The producer's sequence has a gap.";
    DuplicateSequenceNumber = 46, "The batch is older than the last five of its producer.";
    InvalidProducerEpoch = 47, "The producer's epoch is old.";
    KafkaStorageError = 56, "The disk of this node failed.";
    UnknownProducerId = 59, "The producer's state is not known here.";
    ReassignmentInProgress = 60, "Replicas of the partition are on their way.";
    NonEmptyGroup = 68, "The group has members.";
    GroupIdNotFound = 69, "There is no such group.";
    FetchSessionIdNotFound = 70, "This node keeps no such fetch session: begin a new one.";
    InvalidFetchSessionEpoch = 71, "The request is not the next one of its fetch session.";
    ListenerNotFound = 72, "The leader has no listener of the name that the client came by.";
    FencedLeaderEpoch = 74, "The leader epoch of the request is old.";
    UnknownLeaderEpoch = 75, "The leader epoch of the request is newer than this node knows.";
    UnsupportedCompressionType = 76, "This version of the request cannot carry the compression of the batch.";
    OffsetNotAvailable = 78, "The new leader does not know its high watermark yet.";
    MemberIdRequired = 79, "Join again with the member id of this answer.";
    PreferredLeaderNotAvailable = 80, "The preferred leader is down or not in sync.";
    GroupMaxSizeReached = 81, "The group has as many members, or its subscriptions as many bytes, as it may have.";
    FencedInstanceId = 82, "Another member took the place of this static one.";
    EligibleLeadersNotAvailable = 83, "No replica that has all that was acknowledged is up.";
    ElectionNotNeeded = 84, "The partition is led as it should be.";
    NoReassignmentInProgress = 85, "No reassignment of the partition is in progress.";
    GroupSubscribedToTopic = 86, "The group is subscribed to the topic.";
    ThrottlingQuotaExceeded = 89, "Too many requests of this kind.";
    InvalidRecord = 87, "A record does not pass the broker's checks.";
    UnknownTopicId = 100, "No topic has this id.";
    BrokerIdNotRegistered = 102, "No node of this number is registered.";
    InconsistentTopicId = 103, "The topic id does not belong to this name.";
    FetchSessionTopicIdError = 106, "The fetch session began with topic names and goes on with ids, or the other way round.";
    UnsupportedEndpointType = 115, "There are no controllers to ask for.";
    InvalidTimestamp = 32, "A record's timestamp is too far from the leader's time.";
}
