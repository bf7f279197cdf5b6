//! `rafka rebalance`: the replicas that move, and how far those are that are rebuilt.

use std::time::Duration;

use crate::error::CliError;
use crate::nodes::operator;
use crate::output::{self, Cell, Look, Table};
use crate::settings::Settings;
use clap::{Args, Subcommand};
use rafka::http::{self, Balance, Rebuild};
use serde_json::{Value, json};

/// The commands under `rafka rebalance`.
#[derive(Subcommand)]
pub(crate) enum RebalanceCommand {
    /// Show which replicas are on their way, how far they are, and how many moves wait
    Status(StatusArgs),
    /// Move no more replicas or preferred leaders for evenness; dead and decommissioned nodes are emptied all the same
    Pause,
    /// Go on
    Resume,
}

/// Arguments of `rafka rebalance status`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  rafka rebalance status --watch
  rafka rebalance status --json | jq '.rebuilding[] | {partition, node, left_bytes, left_ms}'

The first table names the partitions whose replicas change, the second the replicas that get what they lack: new ones, moved ones, and those that
were away for long. DONE and LEFT are bytes, LEFT IN is the time left at the rate of the last seconds. Each node sends no more than its
--rebuild-mib-s; partitions with the fewest whole replicas go first, and the others wait with a rate of 0.")]
pub(crate) struct StatusArgs {
    /// Say it again every second, until nothing is on its way and nothing waits
    #[arg(long, short)]
    watch: bool,
}

/// Between two looks of `--watch`.
const AGAIN: Duration = Duration::from_secs(1);

/// Runs one of the commands.
pub(crate) fn run(settings: &Settings, command: &RebalanceCommand) -> Result<(), CliError> {
    let mesh = settings.mesh();
    match command {
        RebalanceCommand::Pause => mesh.pause_balancing(true, &operator())?,
        RebalanceCommand::Resume => mesh.pause_balancing(false, &operator())?,
        RebalanceCommand::Status(StatusArgs { watch: true }) => {
            while !status(settings)? {
                crate::clock::pause(AGAIN);
            }
            return Ok(());
        }
        RebalanceCommand::Status(_) => {}
    }
    status(settings).map(|_done| ())
}

/// Asks and prints; whether nothing is left to do.
fn status(settings: &Settings) -> Result<bool, CliError> {
    let mesh = settings.mesh();
    let mut answer = http::get(&mesh, "/v1/balance")?;
    let balance: Balance = http::typed(&mesh, &answer)?;
    let rebuilds = mesh.rebuilds()?;
    let done = balance.moving.is_empty() && balance.waiting == 0 && rebuilds.is_empty();
    if settings.json {
        if let Value::Object(fields) = &mut answer {
            fields.insert("rebuilding".to_owned(), json!(rebuilds));
        }
        output::json(&answer)?;
    } else {
        print(settings, &balance, &rebuilds)?;
    }
    Ok(done)
}

fn print(settings: &Settings, balance: &Balance, rebuilds: &[Rebuild]) -> Result<(), CliError> {
    let mut table = Table::new(&["PARTITION", "REPLICAS", "COMING", "LEAVING"]);
    for one in &balance.moving {
        table.row(vec![
            one.partition.as_str().into(),
            output::ids(&one.replicas).into(),
            output::ids(&one.coming).into(),
            output::ids(&one.leaving).into(),
        ]);
    }
    if !balance.moving.is_empty() {
        table.print(settings.paint)?;
    }
    if !rebuilds.is_empty() {
        progress(rebuilds).print(settings.paint)?;
    }
    let paused = if balance.paused { "paused; " } else { "" };
    let left: u64 = rebuilds.iter().map(|one| one.left_bytes).sum();
    let rebuilt = match rebuilds.len() {
        0 => String::new(),
        count => format!(", {count} being rebuilt with {} to go", bytes(left)),
    };
    output::line(&format!(
        "{paused}{} partition(s) on their way{rebuilt}, {} move(s) waiting",
        balance.moving.len(),
        balance.waiting
    ))
}

fn progress(rebuilds: &[Rebuild]) -> Table {
    let mut table = Table::new(&["PARTITION", "TO", "FROM", "DONE", "LEFT", "PER SECOND", "LEFT IN"]);
    for one in rebuilds {
        let all = (one.done_bytes + one.left_bytes).max(1);
        table.row(vec![
            one.partition.as_str().into(),
            one.node.into(),
            one.from.into(),
            format!("{} ({} %)", bytes(one.done_bytes), one.done_bytes * 100 / all).into(),
            bytes(one.left_bytes).into(),
            one.bytes_per_second.map_or_else(|| "-".to_owned(), bytes).into(),
            one.left_ms.map_or_else(|| Cell::new(Look::Dim, "-"), |ms| span(ms).into()),
        ]);
    }
    table
}

#[expect(clippy::cast_precision_loss, reason = "for people: three digits are enough")]
pub(crate) fn bytes(count: u64) -> String {
    output::bytes(count as f64)
}

/// `9 s`, `4 min`, `2 h 10 min`.
fn span(ms: u64) -> String {
    match ms.div_ceil(1_000) {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7_199 => format!("{} min", seconds.div_ceil(60)),
        seconds => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::span;

    #[test]
    fn time_left_is_told_as_people_do() {
        let told = [0, 1, 90_000, 130_000, 7_800_000].map(span);
        assert_eq!(told, ["0 s", "1 s", "90 s", "3 min", "2 h 10 min"]);
    }
}
