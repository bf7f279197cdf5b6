//! What is wrong, since when, and what to do.

use std::fmt;

/// How bad; the worst is the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something does not work, or is about to be lost.
    Critical,
    /// It works, and should not stay so.
    Warning,
    /// Good to know.
    Note,
}

impl Severity {
    /// In one word: `critical`, `warning` or `note`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Severity::Critical => "critical",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// For programs; one of [`KINDS`](super::KINDS).
    pub kind: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// A sentence with names and numbers.
    pub what: String,
    /// What to do: a sentence, or a command.
    pub advice: String,
    /// Since when, in milliseconds before the look; none when that is not known.
    pub since_ms: Option<u64>,
    /// The nodes that it is about, by Kafka's broker id.
    pub nodes: Vec<i64>,
    /// The partitions that it is about: `TOPIC/NUMBER`, or `shard/NUMBER`.
    pub partitions: Vec<String>,
}

impl Finding {
    /// Something does not work.
    pub(crate) fn critical(kind: &'static str, what: String, advice: impl Into<String>) -> Finding {
        Finding::new(Severity::Critical, kind, what, advice.into())
    }

    /// It works, and should not stay so.
    pub(crate) fn warning(kind: &'static str, what: String, advice: impl Into<String>) -> Finding {
        Finding::new(Severity::Warning, kind, what, advice.into())
    }

    /// Good to know.
    pub(crate) fn note(kind: &'static str, what: String, advice: impl Into<String>) -> Finding {
        Finding::new(Severity::Note, kind, what, advice.into())
    }

    fn new(severity: Severity, kind: &'static str, what: String, advice: String) -> Finding {
        Finding { kind, severity, what, advice, since_ms: None, nodes: Vec::new(), partitions: Vec::new() }
    }

    /// Whom it is about.
    pub(crate) fn of(mut self, nodes: impl IntoIterator<Item = i64>) -> Finding {
        self.nodes = nodes.into_iter().collect();
        self
    }

    /// Which partitions it is about.
    pub(crate) fn at(mut self, partitions: impl IntoIterator<Item = String>) -> Finding {
        self.partitions = partitions.into_iter().collect();
        self
    }

    /// Since when, in milliseconds before now.
    pub(crate) fn since(mut self, ms: Option<u64>) -> Finding {
        self.since_ms = ms;
        self
    }

    /// Whether two looks saw the same thing; numbers in it, and some of many partitions, may have changed.
    #[must_use]
    pub fn is_same(&self, other: &Finding) -> bool {
        let shared = || self.partitions.iter().any(|partition| other.partitions.contains(partition));
        let about = self.partitions.is_empty() && other.partitions.is_empty() || shared();
        self.kind == other.kind && self.nodes == other.nodes && about
    }

    /// Since when, as people say it: `12.5 s`, `7 min`.
    #[must_use]
    pub fn age(&self) -> Option<String> {
        self.since_ms.map(time)
    }
}

/// `1, 2 and 3`.
pub(crate) fn list<T: ToString>(all: &[T]) -> String {
    let words: Vec<String> = all.iter().map(T::to_string).collect();
    match words.split_last() {
        None => "none".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, before)) => format!("{} and {last}", before.join(", ")),
    }
}

/// `node 1`, `nodes 1, 2 and 3`.
pub(crate) fn nodes(ids: &[i64]) -> String {
    format!("node{} {}", if ids.len() == 1 { "" } else { "s" }, list(ids))
}

/// `1 partition`, `3 partitions`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Names as people order them, metadata shards last: a topic's name says more.
pub(crate) fn ordered(mut names: Vec<String>) -> Vec<String> {
    let key = |name: &String| {
        let (topic, number) = name.rsplit_once('/').unwrap_or((name, ""));
        (topic == "shard", topic.to_owned(), number.parse::<u64>().unwrap_or(0))
    };
    names.sort_by_key(key);
    names
}

/// The first names, and how many more there are.
pub(crate) fn named(names: &[String]) -> String {
    const SHOWN: usize = 6;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// A length of time as people say it: `340 ms`, `12.5 s`, `7 min`, `3.2 h`.
pub(crate) fn time(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{}.{} h", ms / 3_600_000, ms % 3_600_000 / 360_000),
    }
}

/// `97%`.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    format!("{}%", part.saturating_mul(100).checked_div(whole).unwrap_or(100))
}

#[cfg(test)]
mod tests {
    use super::{Finding, count, list, named, nodes, ordered, percent, time};

    #[test]
    fn two_looks_see_the_same_when_it_is_about_the_same() {
        let found = |what: &str, nodes: &[i64], partitions: &[&str]| {
            let finding = Finding::warning("replica_behind", what.to_owned(), "");
            finding.of(nodes.iter().copied()).at(partitions.iter().map(|name| (*name).to_owned()))
        };
        assert!(found("5 behind", &[3], &["a/1", "a/2"]).is_same(&found("4 behind", &[3], &["a/2"])));
        assert!(!found("", &[3], &["a/1"]).is_same(&found("", &[3], &["a/2"])));
        assert!(!found("", &[3], &[]).is_same(&found("", &[2], &[])));
        assert!(found("x", &[3], &[]).is_same(&found("y", &[3], &[])));
    }

    #[test]
    fn lists_and_numbers_read_well() {
        assert_eq!(
            (list::<i64>(&[]), list(&[1]), list(&[1, 2, 3])),
            ("none".into(), "1".into(), "1, 2 and 3".into())
        );
        assert_eq!((nodes(&[4]), nodes(&[1, 2])), ("node 4".into(), "nodes 1 and 2".into()));
        assert_eq!((count(1, "partition"), count(0, "topic")), ("1 partition".into(), "0 topics".into()));
        let many: Vec<String> = (0..9).map(|number| format!("t/{number}")).collect();
        assert_eq!(named(&many), "t/0, t/1, t/2, t/3, t/4, t/5 and 3 more");
        let names = ["shard/2", "b/10", "b/9", "a/1", "shard/10"].map(str::to_owned).to_vec();
        assert_eq!(ordered(names), ["a/1", "b/9", "b/10", "shard/2", "shard/10"]);
        assert_eq!([340, 12_540, 420_000, 11_600_000].map(time), ["340 ms", "12.5 s", "7 min", "3.2 h"]);
        assert_eq!((percent(97, 100), percent(1, 0)), ("97%".into(), "100%".into()));
    }
}
