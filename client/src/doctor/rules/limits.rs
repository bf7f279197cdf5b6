//! Files, clients and memory against what a node may use of them.

use crate::doctor::facts::{Facts, Limits};
use crate::doctor::finding::{Finding, percent};

/// Each node that told its state.
pub(super) fn find(facts: &Facts, out: &mut Vec<Finding>) {
    for (id, state) in facts.states() {
        let (name, limits) = (facts.name(id), &state.limits);
        let found =
            [files(&name, limits), clients(&name, limits), memory(&name, limits), waiting(&name, limits)];
        out.extend(found.into_iter().flatten().map(|finding| finding.of([id])));
    }
}

/// More than four fifths: the same as the alert rules in deploy/.
fn near(part: u64, whole: u64) -> bool {
    part.saturating_mul(5) > whole.saturating_mul(4)
}

fn files(name: &str, limits: &Limits) -> Option<Finding> {
    let max = limits.open_files_max?;
    let open = limits.open_files.unwrap_or(0);
    let advice = "Raise LimitNOFILE= in its unit (ulimit -Hn in a shell), or lower --max-connections; either takes a restart.";
    if near(open, max) {
        let what = format!("{name} has {open} files open of {max} that it may ({})", percent(open, max));
        return Some(Finding::warning("open_files", what, advice));
    }
    (max < limits.open_files_wanted).then(|| {
        let what = format!(
            "{name} may open {max} files, and {} clients (--max-connections) take up to {}",
            limits.connections_max, limits.open_files_wanted
        );
        Finding::warning("open_files_low", what, advice)
    })
}

fn clients(name: &str, limits: &Limits) -> Option<Finding> {
    let (now, max) = (limits.connections, limits.connections_max);
    let what = format!("{name} has {now} clients of {max} that it may ({})", percent(now, max));
    let advice = "Raise --max-connections and the limit on open files, or find who connects so often (its log names addresses).";
    match (now >= max, near(now, max)) {
        (true, _) => {
            Some(Finding::critical("connections", format!("{what}: more are closed at once"), advice))
        }
        (false, true) => Some(Finding::warning("connections", what, advice)),
        (false, false) => None,
    }
}

fn memory(name: &str, limits: &Limits) -> Option<Finding> {
    let (now, max) = (limits.request_bytes, limits.request_bytes_max);
    near(now, max).then(|| {
        let what = format!(
            "requests hold {now} bytes on {name} of {max} that they may ({}): clients wait until there is room",
            percent(now, max)
        );
        Finding::warning("request_memory", what, "Find who sends so much, or raise --queued-max-bytes.")
    })
}

fn waiting(name: &str, limits: &Limits) -> Option<Finding> {
    let (now, max) = (limits.calls, limits.calls_max);
    near(now, max).then(|| {
        let what = format!("{now} requests wait for {name} of {max} that may ({})", percent(now, max));
        let advice = "More comes in than is worked off: look at its CPU and disk, and spread partitions and clients over more nodes.";
        Finding::warning("requests_wait", what, advice)
    })
}

#[cfg(test)]
mod tests {
    use crate::doctor::finding::Severity;
    use crate::doctor::fixtures::{healthy, only};

    #[test]
    fn files_are_told_when_nearly_used_up_or_too_few() {
        let mut facts = healthy(3);
        facts.state(1).limits.open_files = Some(60_000);
        assert!(only(&facts, "open_files").what.contains("60000 files open of 65536 that it may (91%)"));
        let limits = &mut facts.state(1).limits;
        (limits.open_files, limits.open_files_max) = (Some(80), Some(1_024));
        assert!(only(&facts, "open_files_low").what.contains("may open 1024 files, and 10000 clients"));
        facts.state(1).limits.open_files_max = None;
        assert_eq!(super::super::diagnose(&facts), []);
    }

    #[test]
    fn clients_are_told_near_their_limit_and_at_it() {
        let mut facts = healthy(3);
        facts.state(2).limits.connections = 8_001;
        assert_eq!(only(&facts, "connections").severity, Severity::Warning);
        facts.state(2).limits.connections = 10_000;
        assert_eq!(only(&facts, "connections").severity, Severity::Critical);
    }

    #[test]
    fn memory_and_waiting_requests_are_told() {
        let mut facts = healthy(3);
        facts.state(2).limits.request_bytes = 250 << 20;
        assert!(only(&facts, "request_memory").what.contains("97%"));
        facts.state(2).limits.request_bytes = 0;
        facts.state(2).limits.calls = 4_000;
        assert_eq!(only(&facts, "requests_wait").nodes, [2]);
    }
}
