//! `rafka`: the command line of a rafka mesh, and of any Kafka cluster.
//!
//! Reading order: [`settings`] (what every command shares), one module per command ([`topic`], [`produce`],
//! [`consume`], [`nodes`], [`lookup`]), then what they stand on: [`kafka`] (librdkafka, tuned), [`http`] (a node's
//! own port), [`output`] and [`field`] (tables, JSON), [`format`], [`stop`] (Ctrl-C), [`error`] (exit codes).
//!
//! Invariants: records go to standard output and everything else to standard error; a broken pipe ends quietly; a
//! record is reported as acknowledged only after the broker's acknowledgement; no consumer group is ever joined.

mod clock;
mod consume;
mod error;
mod field;
mod format;
mod http;
mod kafka;
mod lookup;
mod nodes;
mod output;
mod produce;
mod settings;
mod stop;
mod topic;

use clap::{Parser, Subcommand};
use error::CliError;
use settings::Settings;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "rafka", version, about = "Talk to a rafka mesh, or to any Kafka cluster", after_help = HELP)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Create, list, describe and delete topics
    #[command(subcommand)]
    Topic(topic::TopicCommand),
    /// Write lines of a file or of standard input to a topic, one record each
    Produce(produce::ProduceArgs),
    /// Read a topic's records, without a consumer group
    Consume(consume::ConsumeArgs),
    /// Show the mesh's nodes: who is up, what each leads, who hears whom
    Nodes,
    /// Ask the mesh where a key lives and show each hop on the way
    Lookup(lookup::LookupArgs),
}

const HELP: &str = "\
A first round against a node on this machine:
  rafka topic create greetings --partitions 3
  echo 'hello, mesh' | rafka produce greetings
  rafka consume greetings
  rafka nodes

Any node will do as --bootstrap: it sends clients on to the leaders. Name several, so that one may be down:
  export RAFKA_BOOTSTRAP=10.0.0.1:9092,10.0.0.2:9092

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 nobody reachable.";

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::Topic(command) => topic::run(&cli.settings, command),
        Command::Produce(args) => produce::run(&cli.settings, args),
        Command::Consume(args) => consume::run(&cli.settings, args),
        Command::Nodes => nodes::run(&cli.settings),
        Command::Lookup(args) => lookup::run(&cli.settings, args),
    };
    match result {
        Ok(()) | Err(CliError::BrokenPipe) => ExitCode::SUCCESS,
        Err(error) => {
            output::note(&format!("rafka: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
