//! `rafka rebalance`: the replicas that move.

use crate::error::CliError;
use crate::nodes::operator;
use crate::output::{self, Table};
use crate::settings::Settings;
use clap::Subcommand;
use rafka::http::{self, Balance};

/// The commands under `rafka rebalance`.
#[derive(Subcommand)]
pub(crate) enum RebalanceCommand {
    /// Show which replicas are on their way and how many moves wait
    Status,
    /// Move no more replicas for evenness; dead and decommissioned nodes are emptied all the same
    Pause,
    /// Go on
    Resume,
}

/// Runs one of the commands.
pub(crate) fn run(settings: &Settings, command: &RebalanceCommand) -> Result<(), CliError> {
    let mesh = settings.mesh();
    match command {
        RebalanceCommand::Pause => mesh.pause_balancing(true, &operator())?,
        RebalanceCommand::Resume => mesh.pause_balancing(false, &operator())?,
        RebalanceCommand::Status => {}
    }
    let answer = http::get(&mesh, "/v1/balance")?;
    if settings.json {
        return output::json(&answer);
    }
    status(settings, &http::typed(&mesh, &answer)?)
}

fn status(settings: &Settings, balance: &Balance) -> Result<(), CliError> {
    let mut table = Table::new(&["PARTITION", "REPLICAS", "LEAVING"]);
    for one in &balance.moving {
        table.row(vec![
            one.partition.as_str().into(),
            output::ids(&one.replicas).into(),
            output::ids(&one.leaving).into(),
        ]);
    }
    if !balance.moving.is_empty() {
        table.print(settings.paint)?;
    }
    let paused = if balance.paused { "paused; " } else { "" };
    output::line(&format!(
        "{paused}{} replica(s) on their way, {} move(s) waiting",
        balance.moving.len(),
        balance.waiting
    ))
}
