//! Findings for eyes, for pipes and for scripts.

use crate::error::CliError;
use crate::output::{self, Look};
use crate::settings::Settings;
use rafka::doctor::{Diagnosis, Finding, LookedAt, Severity};
use serde_json::{Value, json};

/// Prints, and says by the error how bad it is.
pub(super) fn print(settings: &Settings, seen: &Diagnosis) -> Result<(), CliError> {
    let (looked, found) = (&seen.looked_at, &seen.findings);
    if settings.json {
        let findings: Vec<Value> = found.iter().map(as_json).collect();
        output::json(&json!({
            "cluster_id": seen.cluster_id, "healthy": seen.is_healthy(), "looked_at": numbers(looked), "findings": findings,
        }))?;
    } else {
        for finding in found {
            output::line(&text(settings, finding))?;
        }
        if found.is_empty() {
            output::line(&format!("{}: {}", settings.paint.out(Look::Good, "nothing is wrong"), looked))?;
        } else {
            output::note(&looked.to_string());
        }
    }
    verdict(found)
}

fn numbers(looked: &LookedAt) -> Value {
    json!({
        "nodes": looked.nodes, "answered": looked.answered, "topics": looked.topics, "partitions": looked.partitions,
        "replicas": looked.replicas, "kafka_addresses": looked.addresses,
    })
}

fn as_json(finding: &Finding) -> Value {
    json!({
        "kind": finding.kind, "severity": finding.severity.word(), "what": finding.what, "do": finding.advice,
        "since_ms": finding.since_ms, "nodes": finding.nodes, "partitions": finding.partitions,
    })
}

fn look(severity: Severity) -> Look {
    match severity {
        Severity::Critical => Look::Bad,
        Severity::Warning => Look::Warning,
        Severity::Note => Look::Dim,
    }
}

/// A block on a terminal; severity, kind, what, since and advice between tabs in a pipe.
fn text(settings: &Settings, finding: &Finding) -> String {
    let since = finding.age();
    let severity = settings.paint.out(look(finding.severity), finding.severity.word());
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
    let nobody = found.iter().any(|finding| finding.kind == "nobody_answers");
    judged(critical, warnings, nobody)
}

/// The exit code is that of the worst.
fn judged(critical: usize, warnings: usize, nobody: bool) -> Result<(), CliError> {
    let words = format!("{critical} critical, {warnings} warning{}", if warnings == 1 { "" } else { "s" });
    match (critical, warnings) {
        _ if nobody => Err(CliError::Unreachable(words)),
        (0, 0) => Ok(()),
        (0, _) => Err(CliError::Warnings(words)),
        _ => Err(CliError::Critical(words)),
    }
}

#[cfg(test)]
mod tests {
    use super::judged;

    #[test]
    fn the_exit_code_is_that_of_the_worst() {
        let code = |critical, warnings, nobody| {
            judged(critical, warnings, nobody).map_or_else(|error| error.exit_code(), |()| 0)
        };
        assert_eq!(code(0, 0, false), 0);
        assert_eq!(code(0, 1, false), 6);
        assert_eq!(code(1, 1, false), 7);
        assert_eq!(code(1, 0, true), 3);
    }
}
