//! Findings for eyes, for pipes and for scripts.

use super::facts::Facts;
use super::finding::{Finding, Severity, count, time};
use crate::error::CliError;
use crate::output::{self, Look};
use crate::settings::Settings;
use serde_json::{Value, json};

/// What was looked at, in numbers.
#[derive(Debug, Default, PartialEq, Eq)]
struct Looked {
    nodes: usize,
    answered: usize,
    topics: u64,
    partitions: u64,
    replicas: u64,
    addresses: usize,
}

impl Looked {
    fn at(facts: &Facts) -> Looked {
        Looked {
            nodes: facts.nodes.len(),
            answered: facts.full().count(),
            topics: facts.workers().map(|(_, node)| node.topics).max().unwrap_or(0),
            partitions: facts.workers().map(|(_, node)| node.partitions).max().unwrap_or(0),
            replicas: facts.workers().map(|(_, node)| node.replicas).sum(),
            addresses: facts.nodes.values().filter(|node| node.kafka_said.is_ok()).count(),
        }
    }

    fn words(&self) -> String {
        format!(
            "{} of {} answered, with {} of {} partitions (metadata shards among them) of {}; Kafka answered at {}",
            self.answered,
            count(self.nodes, "node"),
            count(usize::try_from(self.replicas).unwrap_or(usize::MAX), "replica"),
            self.partitions,
            count(usize::try_from(self.topics).unwrap_or(usize::MAX), "topic"),
            count(self.addresses, "advertised address").replace("addresss", "addresses"),
        )
    }

    fn json(&self) -> Value {
        json!({
            "nodes": self.nodes, "answered": self.answered, "topics": self.topics, "partitions": self.partitions,
            "replicas": self.replicas, "kafka_addresses": self.addresses,
        })
    }
}

/// Prints, and says by the error how bad it is.
pub(super) fn print(settings: &Settings, facts: &Facts, found: &[Finding]) -> Result<(), CliError> {
    let looked = Looked::at(facts);
    if settings.json {
        let findings: Vec<Value> = found.iter().map(Finding::json).collect();
        let healthy = found.iter().all(|finding| finding.severity == Severity::Note);
        output::json(&json!({
            "cluster_id": facts.cluster_id, "healthy": healthy, "looked_at": looked.json(), "findings": findings,
        }))?;
    } else {
        for finding in found {
            output::line(&text(settings, finding))?;
        }
        if found.is_empty() {
            output::line(&format!(
                "{}: {}",
                settings.paint.out(Look::Good, "nothing is wrong"),
                looked.words()
            ))?;
        } else {
            output::note(&looked.words());
        }
    }
    verdict(found)
}

/// A block on a terminal; severity, kind, what, since and advice between tabs in a pipe.
fn text(settings: &Settings, finding: &Finding) -> String {
    let since = finding.since_ms.map(time);
    let severity = settings.paint.out(finding.severity.look(), finding.severity.word());
    if !settings.paint.aligned {
        let since = since.unwrap_or_else(|| "-".to_owned());
        return [&severity, finding.kind, &finding.what, &since, &finding.advice].join("\t");
    }
    let since = since.map(|since| format!(" (for {since})")).unwrap_or_default();
    let kind = settings.paint.out(Look::Dim, finding.kind);
    let room = " ".repeat(8_usize.saturating_sub(finding.severity.word().len()));
    format!("{severity}{room}  {}{since}  {kind}\n          do: {}", finding.what, finding.advice)
}

fn verdict(found: &[Finding]) -> Result<(), CliError> {
    let number = |severity: Severity| found.iter().filter(|finding| finding.severity == severity).count();
    let (critical, warnings) = (number(Severity::Critical), number(Severity::Warning));
    let words = format!("{critical} critical, {}", count(warnings, "warning"));
    if found.iter().any(|finding| finding.kind == "nobody_answers") {
        return Err(CliError::Unreachable(words));
    }
    match (critical, warnings) {
        (0, 0) => Ok(()),
        (0, _) => Err(CliError::Warnings(words)),
        _ => Err(CliError::Critical(words)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Looked, verdict};
    use crate::doctor::finding::Finding;
    use crate::doctor::fixtures::healthy;

    #[test]
    fn the_exit_code_is_that_of_the_worst() {
        let note = || Finding::note("versions", String::new(), "");
        let warning = || Finding::warning("disk_slow", String::new(), "");
        let critical = || Finding::critical("split", String::new(), "");
        let code = |found: &[Finding]| verdict(found).map_or_else(|error| error.exit_code(), |()| 0);
        assert_eq!(code(&[note()]), 0);
        assert_eq!(code(&[warning(), note()]), 6);
        assert_eq!(code(&[critical(), warning()]), 7);
        assert_eq!(code(&[Finding::critical("nobody_answers", String::new(), "")]), 3);
    }

    #[test]
    fn what_was_looked_at_is_told_in_numbers() {
        let looked = Looked::at(&healthy(3));
        assert_eq!(
            looked.words(),
            "3 of 3 nodes answered, with 84 replicas of 28 partitions (metadata shards among them) of 2 topics; Kafka answered at \
             3 advertised addresses"
        );
    }
}
