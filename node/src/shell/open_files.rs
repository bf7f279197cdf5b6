//! The limit on open files: raised as far as the system lets this process, and checked against what the node may need.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Segments, sled, threads, the mesh's connections with a few hundred nodes, and monitoring.
const BESIDE_CLIENTS: u64 = 1_024;

/// Raises the soft limit to the hard one. Returns the limit in force; `None` when there is none.
pub(super) fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current == limit.maximum {
        return limit.current;
    }
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit on open files could not be raised");
            limit.current
        }
    }
}

/// Files that a node may open at most.
pub(super) fn needed(connections_max: u64) -> u64 {
    connections_max.saturating_add(BESIDE_CLIENTS)
}

/// What to say of a limit that is too low for so many clients.
pub(super) fn complaint(limit: Option<u64>, connections_max: usize) -> Option<String> {
    let needed = needed(u64::try_from(connections_max).unwrap_or(u64::MAX));
    let limit = limit.filter(|limit| *limit < needed)?;
    Some(format!(
        "this process may open {limit} files, and {connections_max} clients (--max-connections) take up to {needed}: raise the limit \
         (LimitNOFILE= in the unit, ulimit -Hn in a shell), or lower --max-connections"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_limit_is_complained_of() {
        assert_eq!(complaint(None, 1_000_000), None);
        assert_eq!(complaint(Some(11_024), 10_000), None);
        let said = complaint(Some(11_023), 10_000).expect("too low");
        assert!(said.contains("11023") && said.contains("LimitNOFILE="), "{said}");
    }
}
