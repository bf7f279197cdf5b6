//! Steps a node and performs what it wants done.

use mesh::raft::Message;
use node::core::message::{News, PeerMessage};
use node::core::metadata::lifecycle::Report;
use node::core::{Effect, Input, OLD_COPY, REFUSED};
use storage::fake::FakeDisk;

use super::{Event, Process, World, broken};
use crate::checks::Verdict;
use crate::coverage::Fact;
use crate::fault::Moment;
use crate::network::Fate;
use crate::queue::{MS, Micros};

/// Bytes that one step may send at most: windows and limits must bound it.
const STEP_BYTES_MAX: u64 = 96 << 20;

/// What an input is, for the digest.
fn code(input: &Input<FakeDisk>) -> u64 {
    match input {
        Input::Tick => 1,
        Input::Request { .. } => 2,
        Input::Cancel(_) => 3,
        Input::Message { .. } => 4,
        Input::Connected(_) => 5,
        Input::Disconnected(_) => 6,
        Input::Committed { .. } => 7,
        Input::Read { .. } => 8,
        Input::Reclaimed { .. } => 9,
        Input::Stop => 10,
    }
}

impl World {
    /// Gives a running node one input.
    pub(super) fn step(&mut self, host: usize, input: Input<FakeDisk>) -> Verdict {
        if self.hosts[host].process != Process::Running {
            return Ok(());
        }
        self.stats.steps += 1;
        self.trace.fold(&[self.now, host as u64, code(&input)]);
        if self.trace.is_read() {
            self.tell_input(host, &input);
        }
        self.cover_input(host, &input);
        let loaded = matches!(input, Input::Read { .. });
        let now = self.hosts[host].clocks(self.now);
        let Some(node) = self.hosts[host].node.as_mut() else { return Ok(()) };
        let (scrubbed, rebuilt) = (node.scrub_figures(), node.rebuild_figures());
        let effects = node.step(now, input);
        let scrub = (scrubbed, node.scrub_figures());
        let rebuilds = (rebuilt, node.rebuild_figures());
        if loaded && effects.iter().any(sends_entries) {
            self.coverage.see(self.now, &Fact::ServedFromDisk);
        }
        if scrub.0 != scrub.1 {
            self.coverage.see(self.now, &Fact::Scrubbed { before: scrub.0, after: scrub.1 });
        }
        if rebuilds.0 != rebuilds.1 {
            self.coverage.see(self.now, &Fact::Rebuilt { before: rebuilds.0, after: rebuilds.1 });
        }
        self.observe(host)?;
        self.perform(host, effects)?;
        self.schedule_tick(host);
        self.spring();
        Ok(())
    }

    fn cover_input(&mut self, host: usize, input: &Input<FakeDisk>) {
        match input {
            Input::Message { message, .. } => self.coverage.see(self.now, &Fact::Heard { host, message }),
            Input::Request { id, request, .. } => {
                self.coverage.see(self.now, &Fact::Asked { id: *id, request })
            }
            _ => {}
        }
    }

    fn tell_input(&mut self, host: usize, input: &Input<FakeDisk>) {
        let text = match input {
            Input::Message { from, message, .. } => format!("<- node {} {}", from.0, short(message)),
            Input::Request { id, request, .. } => {
                format!("<- request {} {}", id.0, clip(&format!("{request:?}")))
            }
            Input::Committed { worker, .. } => format!("commit of worker {worker} synced"),
            Input::Read { token, result } => {
                format!("read {token} done: {:?}", result.as_ref().map(|entries| entries.len()))
            }
            Input::Reclaimed { .. } => "reclaim done".into(),
            Input::Tick => return,
            Input::Cancel(id) => format!("cancel {}", id.0),
            Input::Connected(node) => format!("connected to node {}", node.0),
            Input::Disconnected(node) => format!("disconnected from node {}", node.0),
            Input::Stop => "stop".into(),
        };
        self.tell(Some(host), || text);
    }

    /// Performs effects front to back.
    pub(super) fn perform(&mut self, host: usize, effects: Vec<Effect<FakeDisk>>) -> Verdict {
        let mut step_bytes = 0;
        for effect in effects {
            match effect {
                Effect::Send { to, message, .. } => step_bytes += self.send(host, to, message)?,
                Effect::Respond { id, response, throttle_ms } => {
                    self.mute(id, throttle_ms);
                    self.respond(host, id, response)?;
                }
                Effect::Commit { worker, commit } => {
                    let newest_segment = self.hosts[host].drives[worker].newest_segment();
                    self.coverage.see(self.now, &Fact::CommitBegins { host, worker, newest_segment });
                    self.hosts[host].drives[worker].commit = Some(commit);
                    let typical = self.scenario.disk.write;
                    let (at, life) = (self.disk_time(host, typical), self.hosts[host].life);
                    self.queue.push(at, Event::DiskWrite { host, life, worker });
                }
                Effect::Read { token, job } => {
                    let (at, life) = (self.disk_time(host, self.scenario.disk.read), self.hosts[host].life);
                    self.queue.push(at, Event::ReadDone { host, life, token, job: Box::new(job) });
                }
                Effect::Reclaim { worker, job } => {
                    self.coverage.see(self.now, &Fact::ReclaimBegins { host });
                    let (at, life) =
                        (self.disk_time(host, self.scenario.disk.read * 8), self.hosts[host].life);
                    self.queue.push(at, Event::ReclaimDone { host, life, worker, job: Box::new(job) });
                }
                Effect::Publish(info) => {
                    self.trace.fold(&[20, host as u64, u64::from(info.term.0)]);
                    self.tell(Some(host), || format!("publishes {info:?}"));
                    self.hinted(info);
                }
                Effect::RegistryChanged => self.hosts[host].view_changed = true,
                Effect::Failed(reason) => return self.node_failed(host, &reason),
                Effect::Stopped => return self.node_stopped(host),
            }
        }
        if step_bytes > STEP_BYTES_MAX {
            return broken(
                "bytes in flight are bounded",
                format!("node {} sent {step_bytes} in a step", host + 1),
            );
        }
        Ok(())
    }

    fn send(
        &mut self,
        host: usize,
        to: mesh::raft::NodeId,
        message: PeerMessage,
    ) -> Result<u64, crate::checks::Violation> {
        let buffer = self.trace.buffer();
        let before = buffer.len();
        _ = bincode::serde::encode_into_std_write(&message, buffer, bincode::config::standard());
        let bytes = (buffer.len() - before) as u64;
        self.trace.flush();
        let deleted = matches!(&message, PeerMessage::Raft { key, .. } if self.is_deleted(*key));
        let void = deleted || self.is_of_the_past(host);
        for check in self.checks.iter_mut().filter(|_| !void) {
            check.message(&self.ledger, host, &message)?;
        }
        let split = self.network.is_split();
        self.coverage.see(self.now, &Fact::Sent { host, message: &message, split });
        if self.ambush.is_some() {
            self.moment_of(host, &message);
        }
        if self.trace.is_read() {
            let text = short(&message);
            self.tell(Some(host), || format!("-> node {} {text}", to.0));
        }
        let Some(peer) = self.host_of(to).filter(|peer| *peer != host) else { return Ok(bytes) };
        let life = self.hosts[host].node.as_ref().map(|node| node.life()).unwrap_or_default();
        let message = Box::new((life, as_received(message)));
        if self.intercept(host, peer, &message) {
            return Ok(bytes);
        }
        let process = self.hosts[peer].life;
        match self.network.send(self.now, host, peer, bytes) {
            Fate::Lost => {}
            Fate::Held => self.network.hold(host, peer, (process, bytes, message)),
            Fate::Arrives(at, again) => {
                let (from, to, process) = (host, peer, Some(process));
                if let Some(again) = again {
                    let message = message.clone();
                    self.queue.push(again, Event::Message { from, to, process, bytes: 0, message });
                }
                self.queue.push(at, Event::Message { from, to, process, bytes, message });
            }
        }
        Ok(bytes)
    }

    fn moment_of(&mut self, host: usize, message: &PeerMessage) {
        if let PeerMessage::Report { reports, .. } = message
            && reports.iter().any(|report| matches!(report, Report::Created { .. }))
        {
            self.at_moment(host, Moment::Created);
        }
        let PeerMessage::Raft { message, .. } = message else { return };
        match message {
            Message::VoteReply { granted: true, .. } => self.at_moment(host, Moment::Voted),
            Message::AppendReply { reject: None, .. } => self.at_moment(host, Moment::Acknowledged),
            Message::ResetReply { .. } => self.at_moment(host, Moment::Reset),
            _ => {}
        }
    }

    /// When something of typical length that is asked of a disk now will end.
    pub(super) fn disk_time(&mut self, host: usize, typical: Micros) -> Micros {
        let takes = self.chance.tailed(typical.max(2));
        self.now.max(self.hosts[host].stalled_until) + takes
    }

    pub(super) fn disk_write(&mut self, host: usize, life: u64, worker: usize) {
        if !self.is_life(host, life) {
            return;
        }
        if let Some(commit) = self.hosts[host].drives[worker].commit.as_mut() {
            commit.write();
        }
        let at = self.disk_time(host, self.scenario.disk.sync);
        self.queue.push(at, Event::DiskSync { host, life, worker });
    }

    pub(super) fn disk_sync(&mut self, host: usize, life: u64, worker: usize) -> Verdict {
        if !self.is_life(host, life) {
            return Ok(());
        }
        if self.hosts[host].stalled_until > self.now {
            let at = self.hosts[host].stalled_until;
            self.queue.push(at, Event::DiskSync { host, life, worker });
            return Ok(());
        }
        let drive = &mut self.hosts[host].drives[worker];
        let Some(mut commit) = drive.commit.take() else { return Ok(()) };
        commit.sync();
        // One without bytes is no round of the log.
        drive.commits += u64::from(commit.bytes() > 0);
        let newest_segment = drive.newest_segment();
        self.coverage.see(self.now, &Fact::CommitEnds { host, worker, newest_segment });
        self.step(host, Input::Committed { worker, commit })
    }

    /// Queues the tick that the node asks for.
    pub(super) fn schedule_tick(&mut self, host: usize) {
        let h = &mut self.hosts[host];
        let Some(deadline) = h.node.as_ref().and_then(|node| node.next_deadline()) else { return };
        let at = h.when(deadline).max(self.now + 1);
        if h.tick.is_none_or(|queued| at < queued) {
            h.tick = Some(at);
            let life = h.life;
            self.queue.push(at, Event::Tick { host, life, at });
        }
    }

    /// The node ends itself because its disk failed; whoever watches over it starts it again.
    fn node_failed(&mut self, host: usize, reason: &str) -> Verdict {
        self.tell(Some(host), || format!("ends itself: {reason}"));
        if reason.starts_with(OLD_COPY) {
            return self.old_copy_ended(host, reason);
        }
        if reason.starts_with(REFUSED) && self.outlived == Some(host) {
            return self.outlived_ended(host);
        }
        if self.hosts[host].excuse.is_none() {
            return broken(
                "a node ends only for a failed disk",
                format!("node {} ends itself: {reason}", host + 1),
            );
        }
        self.coverage.see(self.now, &Fact::Failed);
        let time = self.fault_chance.within(100, 2000) * MS;
        self.kill(host, false);
        self.start_later(host, time);
        Ok(())
    }
}

/// What travels is bytes: nothing that the sender holds is shared with the receiver.
fn as_received(message: PeerMessage) -> PeerMessage {
    match message {
        PeerMessage::ShardUpdate(update) => PeerMessage::ShardUpdate(update.bare()),
        PeerMessage::PassOn { news: News::Shard(update), to } => {
            PeerMessage::PassOn { news: News::Shard(update.bare()), to }
        }
        other => other,
    }
}

fn sends_entries(effect: &Effect<FakeDisk>) -> bool {
    let Effect::Send { message: PeerMessage::Raft { message, .. }, .. } = effect else { return false };
    matches!(message, Message::Append { entries, .. } if !entries.is_empty())
}

fn clip(text: &str) -> String {
    const MOST: usize = 220;
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

/// A message in few words.
fn short(message: &PeerMessage) -> String {
    match message {
        PeerMessage::Raft { key, from, to, message } => {
            let what = match message {
                Message::Append { term, prev, entries, commit } => {
                    let of = |entry: &mesh::raft::Entry| format!("{}@{}", entry.index.0, entry.term.0);
                    let (first, last) = (entries.first().map(of), entries.last().map(of));
                    format!(
                        "append t{} prev {}@{} {first:?}..{last:?} commit {}",
                        term.0, prev.0.0, prev.1.0, commit.0
                    )
                }
                other => clip(&format!("{other:?}")),
            };
            let name = match key.as_shard() {
                Some(shard) => format!("shard {}", shard.0),
                None => format!("{:02x}{:02x}/{}", key.topic.0[0], key.topic.0[1], key.partition),
            };
            format!("{name} {from}->{to} {what}")
        }
        other => clip(&format!("{other:?}")),
    }
}
