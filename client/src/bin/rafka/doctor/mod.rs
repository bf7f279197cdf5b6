//! `rafka doctor`: looks at the whole mesh, and says what is wrong and what to do.
//!
//! [`rafka::doctor`] looks and judges; [`report`] prints.

mod report;

use crate::error::CliError;
use crate::output::Waiting;
use crate::settings::Settings;
use clap::Args;
use rafka::doctor;

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
    let kinds = doctor::KINDS.iter().map(|(kind, means)| format!("  {kind:<22}  {means}\n"));
    format!(
        "{}\n\nFindings (\"kind\" in JSON):\n{}",
        HELP.trim_end_matches("\nrafka doctor --help lists what can be found."),
        kinds.collect::<String>()
    )
}

/// Looks and tells.
pub(crate) fn run(settings: &Settings, args: &DoctorArgs) -> Result<(), CliError> {
    let waiting = Waiting::new(settings, "asking the nodes".to_owned());
    let mesh = settings.mesh();
    let mut seen = doctor::look(&mesh);
    if !args.once && seen.may_pass() {
        waiting.say("looking again".to_owned());
        seen = seen.confirm(&mesh);
    }
    drop(waiting);
    report::print(settings, &seen)
}
