//! `rafka bench`: how fast the mesh at hand writes and reads, and how long a record is under way.
//!
//! The load comes from librdkafka, as it does from most clients, so these figures are what a program would see, its own
//! cost included. Latency is measured from the time at which a record was due, not from the time at which a busy sender got
//! to it, so that a stall counts for each record that it held up.

mod consume;
mod histogram;
mod latency;
mod live;
mod payload;
mod produce;
mod report;
mod tally;

use crate::error::CliError;
use crate::settings::Settings;
use clap::Subcommand;
use rafka::kafka;

/// The commands under `rafka bench`.
#[derive(Subcommand)]
pub(crate) enum BenchCommand {
    /// Write records as fast as they are taken, or at a given rate
    Produce(produce::ProduceArgs),
    /// Read a topic as fast as it comes
    Consume(consume::ConsumeArgs),
    /// Send few records and see how long each takes to be acknowledged and to arrive at a consumer
    Latency(latency::LatencyArgs),
}

/// Runs one of the commands.
pub(crate) fn run(settings: &Settings, command: &BenchCommand) -> Result<(), CliError> {
    match command {
        BenchCommand::Produce(args) => produce::run(settings, args),
        BenchCommand::Consume(args) => consume::run(settings, args),
        BenchCommand::Latency(args) => latency::run(settings, args),
    }
}

/// The number of partitions of a topic that must exist.
fn partitions(settings: &Settings, topic: &str) -> Result<i32, CliError> {
    let mesh = settings.mesh();
    let observer = kafka::observer(&mesh)?;
    let metadata = kafka::existing_topic(&mesh, &observer, topic)?;
    let count = metadata.topics().first().map_or(0, |found| found.partitions().len());
    Ok(i32::try_from(count).unwrap_or(i32::MAX))
}
