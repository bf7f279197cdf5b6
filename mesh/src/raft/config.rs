//! Times and bounds.

/// Times in microseconds and bounds in bytes of one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Between two heartbeats of a leader.
    pub heartbeat_us: u64,
    /// The shortest election timeout; also how long a heard leader is protected from candidates, and how
    /// often a leader checks that a quorum hears it.
    pub election_min_us: u64,
    /// The longest election timeout, exclusive.
    pub election_max_us: u64,
    /// The longest wait, exclusive, from the hint that the leader's node is down to the pre-vote.
    pub peer_down_jitter_us: u64,
    /// How long nothing may have been appended before a leader asks for quiet, see [`quiet`](super::quiet); `None` for never. Only
    /// for owners that say which nodes are down.
    pub quiet_after_us: Option<u64>,
    /// How long ago a voter may have been caught up and still count as in sync.
    pub in_sync_lag_us: u64,
    /// The entries of one append, unless one alone is larger.
    pub append_bytes_max: usize,
    /// Entries on the way to one follower, unless one alone is larger.
    pub inflight_bytes_max: usize,
    /// Appends on the way to one follower.
    pub inflight_appends_max: usize,
    /// Committed entries kept in memory for live followers that have not acknowledged them.
    pub window_bytes_max: usize,
    /// Proposed entries that are not committed, unless one proposal alone is larger.
    pub uncommitted_bytes_max: usize,
    /// Whether what rebuilds a replica waits for the owner's [`Input::Grant`](super::Input::Grant), see
    /// [`Effects::rebuilds`](super::Effects::rebuilds).
    pub paced: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            heartbeat_us: 200_000,
            election_min_us: 1_000_000,
            election_max_us: 2_000_000,
            peer_down_jitter_us: 150_000,
            quiet_after_us: None,
            in_sync_lag_us: 10_000_000,
            append_bytes_max: 256 << 10,
            inflight_bytes_max: 2 << 20,
            inflight_appends_max: 256,
            window_bytes_max: 1 << 20,
            uncommitted_bytes_max: 16 << 20,
            paced: false,
        }
    }
}
