//! `rafka verify`: whether all replicas of a topic hold the same.

use crate::error::CliError;
use crate::output::{self, Cell, Look, Table, Waiting};
use crate::settings::Settings;
use clap::Args;
use rafka::verify::{Place, Verdict, Verification, VerifiedPartition};
use serde_json::{Value, json};

/// Arguments of `rafka verify`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct VerifyArgs {
    /// The topic's name
    topic: String,
}

const HELP: &str = "\
Each node is asked over HTTP for digests of what its replicas have on disk, while the topic is written: from the latest log start to what is
committed when the comparison begins. What differs is narrowed down to the first batch, and a replica that is not as the majority is named.
Nodes read behind what clients read. Nothing is changed: a damaged replica is rebuilt once its node's scrubber or a client comes by it.

  rafka verify orders
  rafka verify orders --json | jq '.partitions[].replicas[] | select(.verdict != \"same\")'

Exit codes: 0 all are the same, 8 some differ or are damaged, 5 none does, and some could not be asked or are behind.";

/// Compares and tells.
pub(crate) fn run(settings: &Settings, args: &VerifyArgs) -> Result<(), CliError> {
    let waiting = Waiting::new(settings, format!("comparing the replicas of {}", args.topic));
    let verification = settings.mesh().verify(&args.topic, &mut |progress| {
        waiting.say(format!(
            "comparing the replicas of {}: partition {}, {} of {} done, {} of each",
            args.topic,
            progress.partition,
            progress.done,
            progress.partitions,
            output::bytes(told(progress.bytes))
        ));
    })?;
    drop(waiting);
    if settings.json {
        output::json(&json!({
            "topic": verification.topic,
            "partitions": verification.partitions.iter().map(partition).collect::<Vec<_>>(),
        }))?;
    } else {
        print(settings, &verification)?;
    }
    judged(&verification)
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn told(bytes: u64) -> f64 {
    bytes as f64
}

fn print(settings: &Settings, verification: &Verification) -> Result<(), CliError> {
    let mut table = Table::new(&["PARTITION", "NODES", "FROM", "TO", "RECORDS", "BYTES", "VERDICT"]);
    for one in &verification.partitions {
        let nodes: Vec<i64> = one.replicas.iter().map(|replica| replica.node).collect();
        table.row(vec![
            one.partition.into(),
            output::ids(&nodes).into(),
            output::or_dash(one.from_offset).into(),
            output::or_dash(one.to_offset).into(),
            one.records.into(),
            one.bytes.into(),
            verdict(one),
        ]);
    }
    table.print(settings.paint)
}

/// Every replica that is not as it should be, in words.
fn verdict(partition: &VerifiedPartition) -> Cell {
    let others = partition.replicas.iter().filter(|replica| replica.verdict != Verdict::Same);
    let words: Vec<String> =
        others.map(|replica| format!("node {}: {}", replica.node, replica.verdict)).collect();
    let wrong = partition.replicas.iter().any(|replica| replica.verdict.is_wrong());
    match (wrong, words.is_empty()) {
        (true, _) => Cell::new(Look::Bad, words.join("; ")),
        (false, false) => Cell::new(Look::Warning, words.join("; ")),
        (false, true) => Cell::new(Look::Good, "same"),
    }
}

fn partition(one: &VerifiedPartition) -> Value {
    let replicas = one.replicas.iter().map(|replica| {
        let (name, place, why): (_, Option<&Place>, Option<&str>) = match &replica.verdict {
            Verdict::Same => ("same", None, None),
            Verdict::Behind { .. } => ("behind", None, None),
            Verdict::Differs(place) => ("differs", Some(place), None),
            Verdict::Damaged(place, why) => ("damaged", Some(place), Some(why.as_str())),
            Verdict::Unknown(why) => ("unknown", None, Some(why.as_str())),
            _ => ("other", None, None),
        };
        let (offset, next_offset) = match &replica.verdict {
            Verdict::Behind { offset } => (*offset, None),
            _ => place.and_then(|place| place.offsets).unzip(),
        };
        json!({
            "node_id": replica.node, "verdict": name, "index": place.map(|place| place.index),
            "offset": offset, "next_offset": next_offset, "why": why,
        })
    });
    json!({
        "partition": one.partition,
        "from_offset": one.from_offset,
        "to_offset": one.to_offset,
        "records": one.records,
        "bytes": one.bytes,
        "replicas": replicas.collect::<Vec<_>>(),
    })
}

fn judged(verification: &Verification) -> Result<(), CliError> {
    let of = |chosen: fn(&Verdict) -> bool| {
        let replicas = verification.partitions.iter().flat_map(|partition| &partition.replicas);
        replicas.filter(|replica| chosen(&replica.verdict)).count()
    };
    let (wrong, open) = (of(Verdict::is_wrong), of(Verdict::is_incomplete));
    match (wrong, open) {
        (0, 0) => Ok(()),
        (0, _) => Err(CliError::Unknown(format!(
            "{open} replica(s) of \"{}\" were not compared to the end.\nrafka doctor says what keeps them.",
            verification.topic
        ))),
        _ => Err(CliError::Differs(format!(
            "{wrong} replica(s) of \"{}\" are not what they should be.\nA damaged one is rebuilt when its node comes by it \
             (--scrub-mib-s); one that differs and is not damaged: rafka nodes decommission makes its replicas anew elsewhere.",
            verification.topic
        ))),
    }
}
