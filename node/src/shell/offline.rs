//! `rafka-node storage inspect|verify`: a look at a data directory that no node uses.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;
use storage::Disk;
use storage::disk::file::FileDisk;
use storage::inspect::{SegmentReport, inspect};

/// What can be done offline.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum Offline {
    /// Look at a data directory while its node is stopped; changes nothing
    #[command(subcommand)]
    Storage(Storage),
}

/// Looks at the segment log.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum Storage {
    /// Say what is in each segment file
    Inspect(Directory),
    /// Check every frame; exit code 1 when something is damaged
    Verify(Directory),
}

/// Where.
#[derive(Clone, Debug, Args)]
pub(super) struct Directory {
    /// The node's data directory
    #[arg(value_name = "DIR")]
    data_dir: PathBuf,
    /// One JSON object per segment
    #[arg(long)]
    json: bool,
}

/// Does it, prints to standard output, and says how the process ends.
pub(super) fn run(command: &Offline) -> ExitCode {
    let Offline::Storage(command) = command;
    let (Storage::Inspect(directory) | Storage::Verify(directory)) = command;
    let reports = match look(&directory.data_dir) {
        Ok(reports) => reports,
        Err(error) => {
            eprintln!("rafka-node: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let verify = matches!(command, Storage::Verify(_));
    for report in &reports {
        if directory.json {
            println!("{}", object(report));
        } else if !verify {
            println!("{}", line(report));
        }
        if !directory.json {
            report.problems.iter().for_each(|problem| println!("{}: {problem}", report.file));
        }
    }
    let problems: usize = reports.iter().map(|report| report.problems.len()).sum();
    let frames: u64 = reports.iter().map(|report| report.frames).sum();
    eprintln!("{} segments, {frames} frames, {problems} problems", reports.len());
    if verify && problems > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn look(path: &Path) -> anyhow::Result<Vec<SegmentReport>> {
    let shown = path.display();
    anyhow::ensure!(path.is_dir(), "{shown} is not a directory");
    let disk = FileDisk::new(path)?;
    let Some(_lock) = disk.lock()? else {
        anyhow::bail!("a rafka-node runs on {shown}: stop it first, or look at a copy");
    };
    Ok(inspect(&disk)?)
}

fn line(report: &SegmentReport) -> String {
    format!(
        "{}  {} B  boot {}  rounds {}-{}  sequences {}-{}  {} frames  {} entries  {} B of records{}{}{}",
        report.file,
        report.file_bytes,
        report.boot,
        report.rounds.0,
        report.rounds.1,
        report.sequences.0,
        report.sequences.1,
        report.frames,
        report.entries,
        report.payload_bytes,
        if report.snapshot { "" } else { "  no whole snapshot" },
        if report.footer { "  sealed" } else { "" },
        if report.torn_bytes > 0 {
            format!("  {} B torn at the end", report.torn_bytes)
        } else {
            String::new()
        },
    )
}

fn object(report: &SegmentReport) -> serde_json::Value {
    json!({
        "file": report.file,
        "file_bytes": report.file_bytes,
        "boot": report.boot,
        "rounds": [report.rounds.0, report.rounds.1],
        "sequences": [report.sequences.0, report.sequences.1],
        "frames": report.frames,
        "entries": report.entries,
        "payload_bytes": report.payload_bytes,
        "snapshot": report.snapshot,
        "footer": report.footer,
        "torn_bytes": report.torn_bytes,
        "problems": report.problems,
    })
}
