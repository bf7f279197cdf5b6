//! What a person may set of consumer groups, under Kafka's names.

/// Bounds and delays of all groups of a mesh; the same on every node. Times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// `offsets.topic.num.partitions`: of `__consumer_offsets`, when it is created.
    pub offsets_partitions: i32,
    /// `group.initial.rebalance.delay.ms`: how long the first member of a group waits for others.
    pub initial_rebalance_delay_ms: u32,
    /// `group.min.session.timeout.ms`.
    pub session_timeout_min_ms: u32,
    /// `group.max.session.timeout.ms`.
    pub session_timeout_max_ms: u32,
    /// `group.max.size`: members of one group.
    pub members_max: usize,
    /// `offset.metadata.max.bytes`: of the text that a client commits with an offset.
    pub metadata_bytes_max: usize,
    /// `offsets.retention.minutes`, in milliseconds: how long offsets outlive the last member of their group.
    pub retention_ms: i64,
    /// `offsets.retention.check.interval.ms`.
    pub retention_check_ms: u64,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            offsets_partitions: 50,
            initial_rebalance_delay_ms: 3_000,
            session_timeout_min_ms: 6_000,
            session_timeout_max_ms: 1_800_000,
            members_max: 10_000,
            metadata_bytes_max: 4_096,
            retention_ms: 7 * 24 * 60 * 60 * 1_000,
            retention_check_ms: 600_000,
        }
    }
}

/// Bytes of the subscriptions and assignments of one group together: what one record of it can hold, well below what a log entry may.
pub(crate) const GROUP_BYTES_MAX: usize = 8 << 20;

/// Longest name of a group, of a member and of an instance, in bytes: what Kafka's formats can carry.
pub(crate) const NAME_BYTES_MAX: usize = 32_767;
