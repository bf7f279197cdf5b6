//! Releases side by side.

use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, nodes};
use std::collections::BTreeMap;

/// A note: during an update it is as it should be.
pub(super) fn find(facts: &Facts, out: &mut Vec<Finding>) {
    let mut by_version: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for (id, said) in facts.full() {
        let version = said.state.as_ref().map_or("an older release", |state| state.version.as_str());
        by_version.entry(version).or_default().push(id);
    }
    if by_version.len() > 1 {
        let words: Vec<String> =
            by_version.iter().map(|(version, ids)| format!("{version} on {}", nodes(ids))).collect();
        let what = format!("nodes run {} releases: {}", by_version.len(), words.join("; "));
        let advice = "During an update that is as it should be; otherwise update the rest, one after the other (docs/operations.md).";
        out.push(Finding::note("versions", what, advice).of(by_version.into_values().flatten()));
    }
}

#[cfg(test)]
mod tests {
    use crate::doctor::finding::Severity;
    use crate::doctor::fixtures::{healthy, only};

    #[test]
    fn different_releases_are_noted() {
        let mut facts = healthy(3);
        facts.state(2).version = "1.3.0".to_owned();
        facts.said(3).state = None;
        let found = only(&facts, "versions");
        assert_eq!(found.severity, Severity::Note);
        assert!(
            found.what.contains("1.2.3 on node 1; 1.3.0 on node 2; an older release on node 3"),
            "{}",
            found.what
        );
    }
}
