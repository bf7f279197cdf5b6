//! `rafka`: the command line of a rafka mesh, and of any Kafka cluster.
//!
//! Reading order: [`settings`] (what every command shares, profiles), one module per command ([`topic`], [`config`], [`produce`],
//! [`consume`], [`nodes`], [`doctor`], [`verify`], [`lookup`], [`bench`],
//! [`paper`]), then what they stand on: the library of the same name, [`output`] and [`field`] (tables, colours, JSON), [`format`], [`stop`] (Ctrl-C), [`error`]
//! (exit codes).
//!
//! Invariants: records go to standard output and everything else to standard error; a broken pipe ends quietly; a
//! record is reported as acknowledged only after the broker's acknowledgement; no consumer group is ever joined.

mod bench;
#[path = "../../clock.rs"]
mod clock;
mod config;
mod consume;
mod doctor;
mod error;
mod field;
mod format;
mod lookup;
mod nodes;
mod output;
mod paper;
mod produce;
mod rebalance;
mod recover;
mod settings;
mod stop;
mod topic;
#[path = "../../units.rs"]
mod units;
mod verify;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use error::CliError;
use output::{ColorChoice, Look, Paint};
use settings::{Flags, Settings, profile};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "rafka", version, about = "Talk to a rafka mesh, or to any Kafka cluster", after_help = help(),
          styles = output::styles())]
struct Cli {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Create, list, describe and delete topics
    #[command(subcommand)]
    Topic(topic::TopicCommand),
    /// Show and alter the configs of topics and nodes
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Write lines of a file or of standard input to a topic, one record each
    Produce(produce::ProduceArgs),
    /// Read a topic's records, without a consumer group
    Consume(consume::ConsumeArgs),
    /// Show the mesh's nodes: who is up, what each leads, who hears whom; drain, decommission and remove them
    Nodes {
        #[command(subcommand)]
        command: Option<nodes::NodesCommand>,
    },
    /// Show which replicas move; pause and resume that
    #[command(subcommand)]
    Rebalance(rebalance::RebalanceCommand),
    /// Bring a partition or a metadata shard back whose majority is lost for good; nothing does that by itself
    #[command(subcommand)]
    Recover(recover::RecoverCommand),
    /// Look at the whole mesh and say what is wrong and what to do
    Doctor(doctor::DoctorArgs),
    /// Compare all replicas of a topic with each other, while it is written
    Verify(verify::VerifyArgs),
    /// Ask the mesh where a key lives and show each hop on the way
    Lookup(lookup::LookupArgs),
    /// Measure: how fast records are written and read, how long one is under way
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Show the profiles and what each sets
    Profiles,
    /// Print a script that completes commands and options in a shell
    Completions(paper::CompletionsArgs),
    /// Write the manual's pages
    Man(paper::ManArgs),
}

const HELP: &str = "\
A first round against a node on this machine:
  rafka topic create greetings --partitions 3
  echo 'hello, mesh' | rafka produce greetings
  rafka consume greetings
  rafka nodes
  rafka doctor

Any node will do as --bootstrap: it sends clients on to the leaders. Name several, so that one may be down:
  export RAFKA_BOOTSTRAP=10.0.0.1:9092,10.0.0.2:9092

Settings that are the same each time go into a profile, in ~/.config/rafka/config.toml; rafka profiles shows them:
  [profiles.staging]
  bootstrap = \"10.0.0.1:9092,10.0.0.2:9092\"
  http = \"10.0.0.1:9292\"
  properties.compression.type = \"zstd\"
A flag goes before a --profile, that before RAFKA_BOOTSTRAP and the like, that before RAFKA_PROFILE or default-profile.
";

fn help() -> String {
    format!("{HELP}\n{}", error::EXIT_CODES)
}

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let settings = match Settings::new(&cli.flags, &matches) {
        Ok(settings) => settings,
        Err(error) => return told(Paint::new(ColorChoice::Auto), Err(error)),
    };
    told(settings.paint, run(&settings, &cli.command))
}

fn run(settings: &Settings, command: &Command) -> Result<(), CliError> {
    match command {
        Command::Topic(command) => topic::run(settings, command),
        Command::Config(command) => config::run(settings, command),
        Command::Produce(args) => produce::run(settings, args),
        Command::Consume(args) => consume::run(settings, args),
        Command::Nodes { command: None } => nodes::run(settings),
        Command::Nodes { command: Some(command) } => nodes::decide(settings, command),
        Command::Rebalance(command) => rebalance::run(settings, command),
        Command::Recover(command) => recover::run(settings, command),
        Command::Doctor(args) => doctor::run(settings, args),
        Command::Verify(args) => verify::run(settings, args),
        Command::Lookup(args) => lookup::run(settings, args),
        Command::Bench(command) => bench::run(settings, command),
        Command::Profiles => profile::run(settings),
        Command::Completions(args) => paper::completions(Cli::command(), args),
        Command::Man(args) => paper::man(settings, Cli::command(), args),
    }
}

fn told(paint: Paint, result: Result<(), CliError>) -> ExitCode {
    match result {
        Ok(()) | Err(CliError::BrokenPipe) => ExitCode::SUCCESS,
        Err(error) => {
            output::note(&format!("{} {error}", paint.err(Look::Bad, "rafka:")));
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
