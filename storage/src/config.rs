//! Sizes of a store.

/// Sizes of a store. The defaults suit a real disk; the simulator draws small ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// Nominal size of a segment in bytes. One commit may exceed it. At least 4 KiB, at most 1 GiB.
    pub segment_bytes: u32,
    /// Whether a segment's space is reserved when it is created.
    pub preallocate: bool,
    /// Appends are refused while fewer bytes than this are free.
    pub reserve_bytes: u64,
    /// Weight of the cache of recent entries in bytes; 0 switches it off. What a full cache evicts is not deterministic, so a
    /// simulation switches it off or never fills it.
    pub cache_bytes: u64,
    /// Weight of the cache of index runs in bytes.
    pub run_cache_bytes: usize,
    /// A sealed segment is copied forward when at most this part of it lives, in percent.
    pub reclaim_live_percent: u8,
    /// Most bytes that one reclaim job copies, at least one run.
    pub reclaim_job_bytes: u64,
    /// Goes into the CRC of each frame, so that no client can forge one inside a payload. Drawn by the shell.
    pub salt: u64,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            preallocate: true,
            reserve_bytes: 256 << 20,
            cache_bytes: 32 << 20,
            run_cache_bytes: 4 << 20,
            reclaim_live_percent: 75,
            reclaim_job_bytes: 4 << 20,
            salt: 0,
        }
    }
}
