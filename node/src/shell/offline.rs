//! `rafka-node storage inspect|verify`: a look at a data directory that no node uses. Changes nothing.

use std::fmt::{self, Display};
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use storage::disk::file::FileDisk;
use storage::inspect::{LogReport, SegmentReport, inspect_telling, survey};
use storage::{Disk, OpenError};

use super::{data_dir, reference};
use crate::core::metadata::{METADATA_TOPIC_NAME, PartitionKey, View};
use crate::core::{FOUNDED, log_meta};

/// What can be done offline.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum Offline {
    /// Look at a data directory while its node is stopped; changes nothing
    #[command(subcommand)]
    Storage(Storage),
    /// Print every flag, every key of topics and of nodes as a page (docs/configuration.md)
    Reference,
}

/// Looks at the segment log.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum Storage {
    /// Say which segments and logs there are: ranges of indexes and offsets, terms
    Inspect(Directory),
    /// Check every frame and every small file; exit code 1 when something is damaged
    Verify(Directory),
}

/// Where.
#[derive(Clone, Debug, Args)]
pub(super) struct Directory {
    /// The node's data directory
    #[arg(value_name = "DIR")]
    data_dir: PathBuf,
    /// One JSON object with everything
    #[arg(long)]
    json: bool,
}

/// Everything that was found.
#[derive(Default)]
struct Found {
    segments: Vec<SegmentReport>,
    logs: Vec<LogReport>,
    view: Option<View>,
    /// Of the directory as a whole, then of single logs.
    problems: Vec<String>,
}

/// Does it, prints to standard output, and says how the process ends.
///
/// `program` is the whole command line.
pub(super) fn run(command: &Offline, program: &clap::Command) -> ExitCode {
    let command = match command {
        Offline::Storage(command) => command,
        Offline::Reference => {
            return say(&reference::page(program), ExitCode::SUCCESS);
        }
    };
    let (Storage::Inspect(directory) | Storage::Verify(directory)) = command;
    let verify = matches!(command, Storage::Verify(_));
    let found = match look(&directory.data_dir) {
        Ok(found) => found,
        Err(error) => {
            eprintln!("rafka-node: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let damaged = found.damaged().count();
    let told = match (directory.json, verify) {
        (true, _) => format!("{:#}\n", found.object()),
        (false, true) => found.damaged().map(|problem| problem + "\n").collect(),
        (false, false) => found.to_string(),
    };
    let frames: u64 = found.segments.iter().map(|report| report.frames).sum();
    let (segments, logs) = (found.segments.len(), found.logs.len());
    eprintln!("{segments} segments, {logs} logs, {frames} frames, {damaged} problems");
    say(&told, if verify && damaged > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Prints. Whoever reads may have had enough: that is no failure.
fn say(text: &str, code: ExitCode) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            eprintln!("rafka-node: cannot write to standard output: {error}");
            ExitCode::FAILURE
        }
        _ => code,
    }
}

fn look(path: &Path) -> anyhow::Result<Found> {
    let shown = path.display();
    anyhow::ensure!(path.is_dir(), "{shown} is not a directory");
    anyhow::ensure!(data_dir::is_one(path), "{shown} is no data directory: nothing of a node is in it");
    let mut found = Found { view: data_dir::view_of(path), ..Found::default() };
    found.problems = data_dir::problems(path);
    for worker in 0..data_dir::workers(path).unwrap_or(1) {
        let own = data_dir::worker_path(path, worker);
        let name = own.strip_prefix(path).unwrap_or(&own).to_owned();
        if own.is_dir() {
            found.add(&own, &name)?;
        } else {
            found.problems.push(format!("{} is missing: the log of a worker is gone", name.display()));
        }
    }
    Ok(found)
}

/// For whoever waits at a terminal.
fn progress(done: usize, all: usize) {
    if std::io::stderr().is_terminal() {
        eprint!("\rsegment {} of {all} ", done + 1);
        if done + 1 == all {
            eprintln!();
        }
    }
}

impl Found {
    /// The segment log of a worker, whose directory has this name in the data directory.
    fn add(&mut self, own: &Path, name: &Path) -> anyhow::Result<()> {
        let disk = FileDisk::new(own)?;
        let _lock = match disk.lock() {
            Ok(None) => {
                anyhow::bail!("a rafka-node runs on {}: stop it first, or look at a copy", own.display())
            }
            // No node can run there.
            Err(error) if error.kind() == std::io::ErrorKind::ReadOnlyFilesystem => None,
            other => other?,
        };
        for mut report in inspect_telling(&disk, progress)? {
            report.file = name.join(report.file).display().to_string();
            self.segments.push(report);
        }
        match survey(&disk) {
            Ok(survey) => {
                self.problems.extend(survey.problems);
                self.logs.extend(survey.logs);
            }
            Err(OpenError::Io(error)) => return Err(error.into()),
            Err(refused) => self.problems.push(refused.to_string()),
        }
        Ok(())
    }

    fn damaged(&self) -> impl Iterator<Item = String> {
        let of_segments = self
            .segments
            .iter()
            .flat_map(|report| report.problems.iter().map(|problem| format!("{}: {problem}", report.file)));
        let of_logs = self.logs.iter().filter_map(|log| {
            let name = self.name(log);
            let (index, offset) = log.missing_from?;
            Some(format!(
                "{name} (log {}): entries from index {index}, offset {offset} on are missing",
                log.log.0
            ))
        });
        self.problems.iter().cloned().chain(of_segments).chain(of_logs)
    }

    /// `topic/partition`, with the topic's id where its name is not known.
    fn name(&self, log: &LogReport) -> String {
        let Some((key, _)) = log_meta::decode(&log.meta) else { return "unreadable name".to_owned() };
        if key == FOUNDED {
            return "the mark of the founding".to_owned();
        }
        let topic = match key.as_shard() {
            Some(_) => METADATA_TOPIC_NAME.to_owned(),
            None => self.topic(key),
        };
        format!("{topic}/{}", key.partition)
    }

    fn topic(&self, key: PartitionKey) -> String {
        let known = self.view.as_ref().and_then(|view| Some(view.topic(key.topic)?.name.clone()));
        known.unwrap_or_else(|| uuid::Uuid::from_bytes(key.topic.0).to_string())
    }

    fn object(&self) -> Value {
        json!({
            "segments": self.segments.iter().map(segment_object).collect::<Vec<_>>(),
            "logs": self.logs.iter().map(|log| log_object(&self.name(log), log)).collect::<Vec<_>>(),
            "problems": self.damaged().collect::<Vec<_>>(),
        })
    }
}

impl Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for report in &self.segments {
            writeln!(f, "{}", segment_line(report))?;
        }
        for log in &self.logs {
            writeln!(f, "{}", log_line(&self.name(log), log))?;
            for range in &log.ranges {
                writeln!(
                    f,
                    "    {:016x}.segment  indexes {}-{}  offsets {}-{}  {} B",
                    range.segment,
                    range.first_index,
                    range.last_index,
                    range.first_offset,
                    range.next_offset,
                    range.bytes
                )?;
            }
        }
        self.damaged().try_for_each(|problem| writeln!(f, "damaged: {problem}"))
    }
}

fn segment_line(report: &SegmentReport) -> String {
    let torn = match report.torn_bytes {
        0 => String::new(),
        torn => format!("  {torn} B torn at the end"),
    };
    format!(
        "{}  {} B  boot {}  rounds {}-{}  sequences {}-{}  {} frames  {} entries  {} B of records{}{}{torn}",
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
    )
}

fn log_line(name: &str, log: &LogReport) -> String {
    let terms: Vec<String> =
        log.terms.iter().map(|(term, index, offset)| format!("{term} from {index}/{offset}")).collect();
    format!(
        "{name}  log {}  epoch {}{}  start {}/{}  end {}/{}  terms {}",
        log.log.0,
        log.epoch,
        if log.suspect { "  suspect" } else { "" },
        log.start.index,
        log.start.next_offset,
        log.last_index,
        log.next_offset,
        if terms.is_empty() { "-".to_owned() } else { terms.join(", ") },
    )
}

fn segment_object(report: &SegmentReport) -> Value {
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

fn log_object(name: &str, log: &LogReport) -> Value {
    let replica = log_meta::decode(&log.meta).map(|(_, id)| id);
    let terms: Vec<Value> = log
        .terms
        .iter()
        .map(|(term, index, offset)| json!({ "term": term, "first_index": index, "first_offset": offset }))
        .collect();
    let ranges: Vec<Value> = log
        .ranges
        .iter()
        .map(|range| {
            json!({
                "segment": format!("{:016x}.segment", range.segment),
                "indexes": [range.first_index, range.last_index],
                "offsets": [range.first_offset, range.next_offset],
                "bytes": range.bytes,
            })
        })
        .collect();
    json!({
        "partition": name,
        "log": log.log.0,
        "node_id": replica.map(|id| id.node.0),
        "replica_epoch": log.epoch,
        "suspect": log.suspect,
        "start": { "index": log.start.index, "term": log.start.term, "next_offset": log.start.next_offset },
        "last_index": log.last_index,
        "next_offset": log.next_offset,
        "checkpoint_index": log.checkpoint,
        "terms": terms,
        "ranges": ranges,
        "missing_from": log.missing_from.map(|(index, offset)| json!({ "index": index, "offset": offset })),
    })
}
