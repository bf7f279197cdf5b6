//! Scripted transcripts: commands in, effects out, compared line by line with the files in `transcripts/`.
//!
//! A file is a list of blocks: commands, a line of four dashes, what happened, an empty line. `UPDATE=1` writes what happens
//! into the files. Lines with `#` in front are comments. Replicas are named `node` or `node.epoch`. Times are
//! milliseconds, and timers fire only on `tick` and `campaign`. Commands:
//!
//! - `group 1 2 3` makes replicas that share a founding membership; `learner 4` one that knows nothing; `config KEY N`
//!   sets a bound for replicas made later.
//! - `tick 1 at MS`, `campaign 1`, `propose 1 BYTES..`, `offsets 1 COUNT` proposes one batch of so many records.
//! - `sync 1..` lets the disks finish; `deliver` lets messages arrive, one by one, until none is left, and `deliver 1>2 ..`
//!   only those of these ways, `drop 1>2 ..` loses them (`*` for anyone); `settle` delivers and syncs until nothing moves.
//! - `crash 1` loses what is not synced and starts again.
//! - `down 1 NODE`, `up 1 NODE`, `transfer 1 2`, `stepdown 1`, `wake 1`, `read 1 CONTEXT`, `trim 1 INDEX`.
//! - `add 1 4`, `remove 1 4`, `joint 1 2 3 4`: membership changes proposed at 1; `grant 1 4 BYTES`: one append of 1 to 4, which is rebuilt.
//! - `send 1>2 vote|append|.. ` forges a message, see `forge`.
//! - `show 1..` tells the state, `quiet` and `loud` switch the report of messages off and on.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod raft_model;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use bytes::Bytes;
use mesh::raft::{
    Config, Effects, Entry, EntryKind, Envelope, HardState, Incarnation, Index, Input, LogStart, Membership,
    MembershipChange, Message, NodeId, Proposal, Rebuild, Replica, ReplicaEpoch, ReplicaId, Term, Time,
    WriteBatch, WriteId,
};
use raft_model::{Disk, Image};

struct Site {
    replica: Replica,
    disk: Disk,
    newest: WriteId,
}

#[derive(Default)]
struct World {
    sites: BTreeMap<ReplicaId, Site>,
    mail: Vec<Envelope>,
    config: Config,
    now: u64,
    quiet: bool,
    out: String,
}

fn id(name: &str) -> ReplicaId {
    let (node, epoch) = name.split_once('.').unwrap_or((name, "0"));
    ReplicaId {
        node: NodeId(node.parse().expect("a node")),
        incarnation: Incarnation(1),
        epoch: ReplicaEpoch(epoch.parse().expect("an epoch")),
    }
}

fn name(id: ReplicaId) -> String {
    match id.epoch.0 {
        0 => id.node.0.to_string(),
        epoch => format!("{}.{epoch}", id.node.0),
    }
}

fn names(ids: &BTreeSet<ReplicaId>) -> String {
    ids.iter().map(|id| name(*id)).collect::<Vec<_>>().join(" ")
}

fn number(word: &str) -> u64 {
    word.parse().expect("a number")
}

fn small(word: &str) -> u32 {
    word.parse().expect("a small number")
}

fn tell_membership(membership: &Membership) -> String {
    let mut text = format!("voters {}", names(&membership.voters));
    if membership.is_joint() {
        text += &format!(", outgoing {}", names(&membership.outgoing));
    }
    if !membership.learners.is_empty() {
        text += &format!(", learners {}", names(&membership.learners));
    }
    text
}

fn tell_entry(entry: &Entry) -> String {
    let kind = match entry.kind {
        EntryKind::Noop => "noop".to_owned(),
        EntryKind::Membership => {
            format!(
                "[{}]",
                Membership::decode(&entry.payload).map_or("?".to_owned(), |m| tell_membership(&m))
            )
        }
        EntryKind::Records => format!("{} bytes", entry.payload.len()),
        other => format!("{other:?}"),
    };
    let span = if entry.record_count > 0 {
        format!(" @{}+{}", entry.base_offset, entry.record_count)
    } else {
        String::new()
    };
    format!("{}/{}{span} {kind}", entry.index.0, entry.term.0)
}

fn tell_entries(entries: &[Entry]) -> String {
    entries.iter().map(tell_entry).collect::<Vec<_>>().join(", ")
}

fn tell_message(message: &Message) -> String {
    let at = |(index, term): &(Index, Term)| format!("{}/{}", index.0, term.0);
    match message {
        Message::PreVote { term, last, .. } => format!("PreVote term {} last {}", term.0, at(last)),
        Message::PreVoteReply { term, granted } => format!("PreVoteReply term {} {}", term.0, yes(*granted)),
        Message::Vote { term, last, transfer, .. } => {
            format!("Vote term {} last {}{}", term.0, at(last), if *transfer { " transfer" } else { "" })
        }
        Message::VoteReply { term, granted } => format!("VoteReply term {} {}", term.0, yes(*granted)),
        Message::Append { term, prev, entries, commit } => {
            format!(
                "Append term {} prev {} commit {} [{}]",
                term.0,
                at(prev),
                commit.0,
                tell_entries(entries)
            )
        }
        Message::AppendReply { term, matched, reject: None } => {
            format!("AppendReply term {} matched {}", term.0, matched.0)
        }
        Message::AppendReply { term, reject: Some(reject), .. } => {
            let blank = if reject.blank { " blank" } else { "" };
            format!("AppendReply term {} refused {} hint {}{blank}", term.0, reject.prev.0, at(&reject.hint))
        }
        Message::Heartbeat { term, seq, commit, quiet } => {
            let quiet = if quiet.is_some() { " quiet" } else { "" };
            format!("Heartbeat term {} seq {seq} commit {}{quiet}", term.0, commit.0)
        }
        Message::HeartbeatReply { term, seq, matched, received, quiet } => {
            let quiet = if *quiet { " quiet" } else { "" };
            format!(
                "HeartbeatReply term {} seq {seq} matched {} received {}{quiet}",
                term.0, matched.0, received.0
            )
        }
        Message::Reset { term, start, membership, .. } => {
            let start = format!("{}/{} offset {}", start.index.0, start.term.0, start.next_offset);
            format!("Reset term {} start {start} [{}]", term.0, tell_membership(membership))
        }
        Message::ResetReply { term, matched } => format!("ResetReply term {} matched {}", term.0, matched.0),
        Message::TimeoutNow { term } => format!("TimeoutNow term {}", term.0),
    }
}

fn yes(granted: bool) -> &'static str {
    if granted { "yes" } else { "no" }
}

fn tell_write(batch: &WriteBatch) -> String {
    let mut parts = Vec::new();
    if let Some(reset) = &batch.reset {
        let keep = if reset.keep_suffix { ", suffix kept" } else { "" };
        parts.push(format!("reset to {}/{}{keep}", reset.start.index.0, reset.start.term.0));
    }
    if let Some(state) = &batch.hard_state {
        let vote = state.vote.map_or("nobody".to_owned(), name);
        parts.push(format!("term {} vote {vote} memberships {}", state.term.0, state.memberships.len()));
    }
    if let Some(from) = batch.truncate_from {
        parts.push(format!("truncate from {}", from.0));
    }
    if !batch.append.is_empty() {
        parts.push(format!("append [{}]", tell_entries(&batch.append)));
    }
    format!("write {}: {}", batch.id.0, parts.join("; "))
}

impl World {
    fn say(&mut self, line: &str) {
        writeln!(self.out, "{line}").expect("a string takes lines");
    }

    fn make(&mut self, id: ReplicaId, image: Image) {
        let disk = Disk::new(image);
        let seed = u64::from(id.node.0.unsigned_abs());
        let replica = Replica::new(id, self.config, disk.durable.restored(), Time(self.now), seed);
        self.sites.insert(id, Site { replica, disk, newest: WriteId(0) });
    }

    fn step(&mut self, id: ReplicaId, input: Input) {
        let site = self.sites.get_mut(&id).expect("a replica of that name");
        let effects = site.replica.step(Time(self.now), input, &site.disk);
        if let Some(batch) = &effects.write {
            site.disk.write(batch);
            site.newest = batch.id;
        }
        self.tell(id, &effects);
        self.mail.extend(effects.send);
    }

    fn tell(&mut self, id: ReplicaId, effects: &Effects) {
        let me = name(id);
        if let Some(batch) = effects.write.as_ref().filter(|_| !self.quiet) {
            self.say(&format!("{me} {}", tell_write(batch)));
        }
        for envelope in effects.send.iter().filter(|_| !self.quiet) {
            self.out += &format!("{me}>{} {}\n", name(envelope.to), tell_message(&envelope.message));
        }
        if let Some(commit) = effects.commit {
            let watermark = self.sites[&id].replica.high_watermark();
            let watermark = watermark.map_or("unknown".to_owned(), |offset| offset.to_string());
            self.say(&format!("{me} commits {} high watermark {watermark}", commit.0));
        }
        if let Some(role) = effects.role {
            let leader = role.leader.map_or("nobody".to_owned(), name);
            self.say(&format!("{me} is {:?} in term {}, leader {leader}", role.role, role.term.0));
        }
        for word in &effects.rebuilds {
            match word {
                Rebuild::Asks { to } => self.say(&format!("{me} asks to rebuild {}", name(*to))),
                Rebuild::Sent { to, bytes } => {
                    self.say(&format!("{me} rebuilds {} with {bytes} bytes", name(*to)));
                }
            }
        }
        for (context, answer) in &effects.reads {
            let answer = answer.map_or("fails".to_owned(), |index| format!("at {}", index.0));
            self.say(&format!("{me} read {context} {answer}"));
        }
        if let Some(error) = &effects.rejected {
            self.say(&format!("{me} rejects: {error}"));
        }
        if let Some(reason) = effects.dropped {
            self.say(&format!("{me} drops: {reason:?}"));
        }
    }

    fn sync(&mut self, id: ReplicaId) -> bool {
        let site = self.sites.get_mut(&id).expect("a replica of that name");
        if site.disk.pending() == 0 {
            return false;
        }
        let newest = site.newest;
        site.disk.sync(newest);
        self.step(id, Input::Synced(newest));
        true
    }

    fn deliver(&mut self, ways: &[&str]) -> bool {
        let mut moved = false;
        for _ in 0..1000 {
            let Some(at) = self.mail.iter().position(|envelope| goes(ways, envelope)) else { break };
            let Envelope { from, to, message } = self.mail.remove(at);
            moved = true;
            if self.sites.contains_key(&to) {
                self.step(to, Input::Message { from, to, message });
            }
        }
        moved
    }

    fn settle(&mut self) {
        for _ in 0..1000 {
            let ids: Vec<ReplicaId> = self.sites.keys().copied().collect();
            let delivered = self.deliver(&[]);
            let synced = ids.into_iter().filter(|id| self.sync(*id)).count();
            if !delivered && synced == 0 {
                return;
            }
        }
    }

    fn crash(&mut self, id: ReplicaId) {
        let mut site = self.sites.remove(&id).expect("a replica of that name");
        site.disk.crash(0);
        self.make(id, site.disk.durable);
    }

    fn show(&mut self, id: ReplicaId) {
        let site = &self.sites[&id];
        let replica = &site.replica;
        let log: Vec<String> = site.disk.staged.entries.values().map(tell_entry).collect();
        let mut text = format!(
            "{} {:?}{} term {} last {} synced {} commit {} start {}\n  {}\n",
            name(id),
            replica.role(),
            if replica.is_quiet() { " quiet" } else { "" },
            replica.term().0,
            replica.last_index().0,
            replica.synced_index().0,
            replica.commit_index().0,
            replica.start().index.0,
            tell_membership(replica.membership())
        );
        if log.len() <= 12 {
            text += &format!("  log: {}\n", log.join(", "));
        }
        for peer in replica.progress() {
            let id = name(peer.id);
            text += &format!("  {id} {:?} matched {} next {}\n", peer.state, peer.matched.0, peer.next.0);
        }
        self.out += &text;
    }

    fn run(&mut self, command: &str) {
        let words: Vec<&str> = command.split_whitespace().collect();
        match words[..] {
            ["group", ref ids @ ..] => {
                let membership = Membership::of(ids.iter().map(|word| id(word)));
                let state = HardState { start_membership: membership.clone(), ..HardState::default() };
                for id in membership.voters {
                    self.make(id, Image { hard_state: state.encode(), ..Image::default() });
                }
            }
            ["learner", who] => self.make(id(who), Image::default()),
            ["config", key, value] => self.configure(key, number(value)),
            ["tick", who, "at", ms] => {
                self.now = number(ms) * 1000;
                self.step(id(who), Input::Tick);
            }
            ["campaign", who] => self.step(id(who), Input::Campaign),
            ["propose", who, ref sizes @ ..] => {
                let batch = |size: &&str| Proposal {
                    kind: EntryKind::Records,
                    record_count: 1,
                    timestamp_ms: -1,
                    payload: vec![7; usize::try_from(number(size)).expect("a size")].into(),
                };
                self.step(id(who), Input::Propose(sizes.iter().map(batch).collect()));
            }
            ["sync", ref ids @ ..] => ids.iter().for_each(|who| {
                self.sync(id(who));
            }),
            ["deliver", ref ways @ ..] => {
                self.deliver(ways);
            }
            ["drop", ref ways @ ..] => self.mail.retain(|envelope| !goes(ways, envelope)),
            ["settle"] => self.settle(),
            ["crash", who] => self.crash(id(who)),
            ["show", ref ids @ ..] => ids.iter().for_each(|who| self.show(id(who))),
            ["quiet"] => self.quiet = true,
            ["loud"] => self.quiet = false,
            _ => self.run_input(&words),
        }
    }

    fn run_input(&mut self, words: &[&str]) {
        let (who, input) = match *words {
            ["down", who, node] => (who, Input::PeerDown { node: id(node).node, wait_us: 0 }),
            ["up", who, node] => (who, Input::PeerUp(id(node).node)),
            ["transfer", who, to] => (who, Input::Transfer(id(to))),
            ["stepdown", who] => (who, Input::StepDown),
            ["wake", who] => (who, Input::Wake),
            ["read", who, context] => (who, Input::Read(number(context))),
            ["grant", who, to, bytes] => {
                let bytes = usize::try_from(number(bytes)).expect("a size");
                (who, Input::Grant { to: id(to), bytes })
            }
            ["trim", who, index] => (who, Input::SetLogStart(self.trim(id(who), Index(number(index))))),
            ["add", who, learner] => (who, Input::Change(MembershipChange::AddLearner(id(learner)))),
            ["remove", who, learner] => (who, Input::Change(MembershipChange::RemoveLearner(id(learner)))),
            ["joint", who, ref voters @ ..] => {
                let voters = voters.iter().map(|word| id(word)).collect();
                (who, Input::Change(MembershipChange::Joint { voters, as_of: 0 }))
            }
            ["send", way, ref what @ ..] => {
                let (from, to) = way.split_once('>').expect("from>to");
                (to, Input::Message { from: id(from), to: id(to), message: forge(what) })
            }
            _ => panic!("unknown command {words:?}"),
        };
        self.step(id(who), input);
    }

    fn trim(&mut self, who: ReplicaId, index: Index) -> LogStart {
        let site = self.sites.get_mut(&who).expect("a replica of that name");
        let term = site.disk.staged.term_at(index).expect("a held index");
        let next_offset = mesh::raft::Log::end_offset(&site.disk, index).expect("a held index");
        let start = LogStart { index, term, next_offset };
        site.disk.trim(start, (index, Bytes::new()));
        start
    }

    fn configure(&mut self, key: &str, value: u64) {
        let bytes = usize::try_from(value).expect("a size");
        match key {
            "append_bytes_max" => self.config.append_bytes_max = bytes,
            "inflight_bytes_max" => self.config.inflight_bytes_max = bytes,
            "inflight_appends_max" => self.config.inflight_appends_max = bytes,
            "quiet_after_ms" => self.config.quiet_after_us = Some(value * 1000),
            "window_bytes_max" => self.config.window_bytes_max = bytes,
            "paced" => self.config.paced = value > 0,
            "uncommitted_bytes_max" => self.config.uncommitted_bytes_max = bytes,
            _ => panic!("unknown bound {key}"),
        }
    }
}

/// Whether a message goes one of these ways; all ways when none is named.
fn goes(ways: &[&str], envelope: &Envelope) -> bool {
    let (from, to) = (name(envelope.from), name(envelope.to));
    let matches = |way: &&str| {
        let (a, b) = way.split_once('>').expect("from>to");
        (a == "*" || a == from) && (b == "*" || b == to)
    };
    ways.is_empty() || ways.iter().any(matches)
}

/// A message out of words: `vote TERM INDEX/TERM`, `append TERM INDEX/TERM COMMIT ENTRY..` with entries
/// `INDEX/TERM@OFFSET`, `ack TERM MATCHED`, `heartbeat TERM SEQ COMMIT`.
fn forge(words: &[&str]) -> Message {
    let at = |word: &str| {
        let (index, term) = word.split_once('/').expect("index/term");
        (Index(number(index)), Term(small(term)))
    };
    let entry = |word: &&str| {
        let (position, offset) = word.split_once('@').expect("index/term@offset");
        let (index, term) = at(position);
        let base_offset = offset.parse().expect("an offset");
        let payload = Bytes::from_static(b"forged");
        Entry {
            term,
            index,
            base_offset,
            record_count: 1,
            kind: EntryKind::Records,
            timestamp_ms: -1,
            payload,
        }
    };
    match *words {
        ["vote", term, last] => Message::Vote {
            term: Term(small(term)),
            last: at(last),
            receiver_is_voter: true,
            transfer: false,
        },
        ["append", term, prev, commit, ref entries @ ..] => Message::Append {
            term: Term(small(term)),
            prev: at(prev),
            entries: entries.iter().map(entry).collect(),
            commit: Index(number(commit)),
        },
        ["ack", term, matched] => {
            Message::AppendReply { term: Term(small(term)), matched: Index(number(matched)), reject: None }
        }
        ["heartbeat", term, seq, commit] => {
            let (term, seq, commit) = (Term(small(term)), number(seq), Index(number(commit)));
            Message::Heartbeat { term, seq, commit, quiet: None }
        }
        _ => panic!("unknown message {words:?}"),
    }
}

/// What the commands of a file bring about, in the file's own form.
fn play(script: &str) -> String {
    let mut world = World::default();
    let mut text = String::new();
    for block in script.split("\n\n").filter(|block| !block.trim().is_empty()) {
        for line in block.trim().lines().take_while(|line| *line != "----") {
            text += &format!("{line}\n");
            if !line.starts_with('#') {
                world.run(line);
            }
        }
        text += &format!("----\n{}\n", std::mem::take(&mut world.out));
    }
    text
}

#[cfg(feature = "mutants")]
#[test]
fn deliberate_bugs_change_a_transcript() {
    use mesh::mutant::{Mutant, set};
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts");
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    // A doubled answer is in no transcript.
    for mutant in Mutant::ALL.into_iter().filter(|mutant| *mutant != Mutant::DuplicateAckCountedTwice) {
        let differs = |file: &&std::path::PathBuf| {
            let written = std::fs::read_to_string(file).unwrap();
            set(Some(mutant));
            let played = std::panic::catch_unwind(|| play(&written));
            set(None);
            played.ok() != Some(written)
        };
        let found: Vec<_> = files.iter().filter(differs).filter_map(|file| file.file_stem()).collect();
        println!("{mutant:?}: {found:?}");
        assert!(!found.is_empty(), "{mutant:?} changes nothing");
    }
}

#[test]
fn transcripts_are_as_written() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 13, "transcripts are missing");
    for file in files {
        let written = std::fs::read_to_string(&file).unwrap();
        let played = play(&written);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&file, played).unwrap();
            continue;
        }
        for (line, (is, was)) in played.lines().zip(written.lines()).enumerate() {
            assert_eq!(is, was, "{} line {}", file.display(), line + 1);
        }
        assert_eq!(played, written, "{}", file.display());
    }
}
