//! `rafka doctor`: asks every node, puts their answers side by side, and says what is wrong and what to do.
//!
//! [`collect`] asks ([`ask`] is one question), [`facts`] is what came of it, [`rules`] are pure functions from that to
//! [`finding`]s, [`report`] prints them. Nothing is changed anywhere.

mod ask;
mod collect;
mod facts;
mod finding;
#[cfg(test)]
mod fixtures;
mod report;
mod rules;

use crate::clock;
use crate::error::CliError;
use crate::output::Waiting;
use crate::settings::Settings;
use clap::Args;
use finding::{Finding, Severity};
use std::time::Duration;

/// Between two looks: longer than an election or a dropped heartbeat takes.
const AGAIN: Duration = Duration::from_millis(1_500);

/// Arguments of `rafka doctor`.
#[derive(Args, Debug)]
#[command(after_help = HELP, after_long_help = long_help())]
pub(crate) struct DoctorArgs {
    /// Tell what one look shows, without a second one that it must stand
    #[arg(long)]
    once: bool,
}

const HELP: &str = "\
Every node that can be learned of is asked over HTTP and Kafka, all at the same time; nobody is waited for longer than four
seconds. HTTP ports are learned from the node at --http and from the nodes of --bootstrap, whose HTTP port is taken to be 200
above their Kafka port (9092 and 9292). What is wrong is looked at twice, 1.5 s apart, so that a leader that just moves is
not told. Nothing is changed anywhere.

  rafka doctor
  rafka doctor --bootstrap 10.0.0.1:9092,10.0.0.2:9092
  rafka doctor --json | jq -r '.findings[] | [.severity, .kind, .what, .do] | @tsv'

Exit codes: 0 nothing is wrong (notes do not count), 6 warnings, 7 something critical, 3 nobody answers.
rafka doctor --help lists what can be found.";

fn long_help() -> String {
    let kinds = rules::KINDS.iter().map(|(kind, means)| format!("  {kind:<22}  {means}\n"));
    format!(
        "{}\n\nFindings (\"kind\" in JSON):\n{}",
        HELP.trim_end_matches("\nrafka doctor --help lists what can be found."),
        kinds.collect::<String>()
    )
}

/// Looks and tells.
pub(crate) fn run(settings: &Settings, args: &DoctorArgs) -> Result<(), CliError> {
    let waiting = Waiting::new(settings, "asking the nodes".to_owned());
    let mut facts = collect::look(settings);
    let mut found = rules::diagnose(&facts);
    let worth = |found: &[Finding]| found.iter().any(|finding| finding.severity != Severity::Note);
    if !args.once && !facts.nodes.is_empty() && worth(&found) {
        waiting.say("looking again".to_owned());
        let until = clock::now() + AGAIN;
        while clock::now() < until {
            clock::pause(until.saturating_duration_since(clock::now()));
        }
        facts = collect::look(settings);
        let first = std::mem::replace(&mut found, rules::diagnose(&facts));
        found.retain(|finding| first.iter().any(|before| before.is_same(finding)));
    }
    drop(waiting);
    report::print(settings, &facts, &found)
}
