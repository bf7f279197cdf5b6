//! Begins faults and ends them.

use node::core::Input;
use node::core::metadata::{PartitionKey, SHARDS, ShardId};

use super::host::{Drive, Host};
use super::{Event, Phase, Process, Undo, World, broken};
use crate::checks::Verdict;
use crate::coverage::{Fact, WorkerCounts};
use crate::fault::{Blow, Fault, Moment, Target};
use crate::network::LinkProfile;
use crate::queue::{MS, Micros};

/// The excuse of a damaged host.
pub(super) const DAMAGE: &str = "damage";

/// A crash that waits for its moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ambush {
    moment: Moment,
    blow: Blow,
    times: u32,
    time: Micros,
    sprung: Option<usize>,
}

impl World {
    pub(super) fn begin(&mut self, n: usize) -> Verdict {
        if self.phase != Phase::Faults || self.left_out.faults.contains(&n) {
            return Ok(());
        }
        let fault = self.fault(n);
        self.stats.faults += 1;
        self.trace.fold(&[60, n as u64]);
        self.tell(None, || format!("FAULT {fault:?}"));
        match fault {
            Fault::Kill { target, time } => {
                let host = self.resolve(target);
                self.kill_for(host, false, time);
            }
            Fault::PowerCut { target, time } => {
                let host = self.resolve(target);
                self.kill_for(host, true, time);
            }
            Fault::KillThenCut { target, time } => {
                let host = self.resolve(target);
                self.kill_for(host, false, time / 4 + 1);
                let again = self.now + time / 4 + self.fault_chance.below(300 * MS);
                self.queue.push(again, Event::Undo(Undo::Cut(host, time)));
            }
            Fault::KillAll { time } => {
                (0..self.hosts.len()).for_each(|host| self.kill_for(host, false, time));
            }
            Fault::CutAll { time } => {
                (0..self.hosts.len()).for_each(|host| self.kill_for(host, true, time));
            }
            Fault::Ambush { moment, blow, times, time } => {
                self.ambush = Some(Ambush { moment, blow, times, time, sprung: None });
            }
            Fault::Pause { target, time } => self.pause(target, time),
            Fault::Stop { target, time } => {
                let host = self.resolve(target);
                self.start_later(host, time + 4_000 * MS);
                self.tell(Some(host), || "is asked to stop".into());
                return self.step(host, Input::Stop);
            }
            Fault::Split { side, time } => self.split(side, time),
            Fault::Isolate { target, clients, time } => {
                let host = self.resolve(target);
                self.split(1 << host, time);
                if clients {
                    self.hosts[host].clients_cut += 1;
                    self.queue.push(self.now + time, Event::Undo(Undo::LetClients(host)));
                }
            }
            Fault::OneWay { target, deaf, time } => {
                let host = self.resolve(target);
                let links =
                    self.others(host).map(|other| if deaf { (other, host) } else { (host, other) }).collect();
                self.cut_links(links, time);
            }
            Fault::Clog { target, time } => {
                let host = self.resolve(target);
                let links: Vec<_> = self.others(host).map(|other| (host, other)).collect();
                for (from, to) in &links {
                    self.network.clog(*from, *to);
                }
                self.queue.push(self.now + time, Event::Undo(Undo::Release(links)));
            }
            Fault::Storm { time } => {
                // Storms overlap: each is that much worse than the scenario, not than the one before.
                let mut profile = self.scenario.network;
                profile.delay *= 4;
                (profile.loss_ppm, profile.duplicate_ppm, profile.reorder_ppm) = (200_000, 50_000, 300_000);
                self.network.behave(profile);
                self.queue.push(self.now + time, Event::Undo(Undo::Calm));
            }
            Fault::Stall { target, time } => {
                let host = self.resolve(target);
                self.hosts[host].stalled_until = self.now + time;
            }
            Fault::FailedSync { target } => {
                let host = self.resolve(target);
                self.hosts[host].excuse = Some("a failed sync");
                let worker = match self.hosts[host].drives.len() {
                    1 => 0,
                    several => self.fault_chance.position(several),
                };
                self.hosts[host].drives[worker].disk.fail_syncs(1);
            }
            Fault::Full { target, time } => {
                let host = self.resolve(target);
                self.hosts[host].excuse = Some("a full disk");
                self.hosts[host].fill(true);
                self.queue.push(self.now + time, Event::Undo(Undo::Room(host)));
            }
            Fault::Leaderless { draw, isolate, time } => self.take_leader(draw, isolate, time),
            Fault::ClockJump { target, ms } => {
                let host = self.resolve(target);
                self.hosts[host].jump(ms);
            }
            Fault::Rot { target, .. }
            | Fault::Misdirect { target }
            | Fault::Wipe { target, .. }
            | Fault::RestoreOld { target } => {
                return self.damage(n, fault, target);
            }
        }
        Ok(())
    }

    /// A host is at a moment at which somebody may lie in wait.
    pub(super) fn at_moment(&mut self, host: usize, moment: Moment) {
        if let Some(ambush) =
            self.ambush.as_mut().filter(|ambush| ambush.moment == moment && self.phase == Phase::Faults)
        {
            ambush.sprung.get_or_insert(host);
        }
    }

    /// After a step: whoever walked into an ambush goes down.
    pub(super) fn spring(&mut self) {
        if let Some(ambush) = self.ambush
            && let Some(host) = ambush.sprung
        {
            let times = ambush.times - 1;
            self.ambush = (times > 0).then_some(Ambush { times, sprung: None, ..ambush });
            match ambush.blow {
                Blow::Kill => self.kill_for(host, false, ambush.time),
                Blow::PowerCut => self.kill_for(host, true, ambush.time),
                Blow::Isolate => self.split(1 << host, ambush.time),
            }
        }
    }

    fn resolve(&self, target: Target) -> usize {
        match target {
            Target::Host(host) => host,
            Target::Leader(draw) => {
                let user: Vec<_> = self.ledger.groups().filter(|(key, _)| key.as_shard().is_none()).collect();
                let all: Vec<_> = if user.is_empty() { self.ledger.groups().collect() } else { user };
                let key =
                    usize::try_from(draw >> 1).ok().and_then(|draw| all.get(draw.checked_rem(all.len())?));
                let leader = key.and_then(|(key, _)| self.leader_of(*key)).map(|fact| fact.host);
                leader.unwrap_or_else(|| usize::try_from(draw % self.hosts.len() as u64).unwrap_or(0))
            }
        }
    }

    fn others(&self, host: usize) -> impl Iterator<Item = usize> + use<> {
        (0..self.hosts.len()).filter(move |other| *other != host)
    }

    fn kill_for(&mut self, host: usize, power: bool, time: Micros) {
        if self.hosts[host].doomed.is_some() {
            return;
        }
        self.kill(host, power);
        let spread = self.fault_chance.below(time / 2 + 1);
        self.start_later(host, time / 2 + spread);
    }

    pub(super) fn start_later(&mut self, host: usize, time: Micros) {
        self.queue.push(self.now + time, Event::Undo(Undo::Start(host)));
    }

    /// The process ends at once; with `power` so does the machine. A machine without a process can lose power too.
    pub(super) fn kill(&mut self, host: usize, power: bool) {
        let was = self.hosts[host].process;
        if was == Process::Down && !power {
            return;
        }
        self.tell(Some(host), || if power { "loses power".into() } else { "dies".into() });
        let newest_segments = self.hosts[host].drives.iter().map(Drive::newest_segment).collect();
        self.coverage.see(self.now, &Fact::Down { host, power, newest_segments });
        let keeps_view = self.fault_chance.percent(70);
        self.hosts[host].end(keeps_view);
        let draw = self.fault_chance.next();
        let h = &mut self.hosts[host];
        for (worker, drive) in h.drives.iter_mut().enumerate() {
            let draw = draw.wrapping_add(worker as u64);
            drive.disk = if power { drive.disk.power_cut_seeded(draw) } else { drive.disk.kill() };
        }
        if power {
            h.boot(self.now, &mut self.fault_chance);
        }
        self.forget_replicas(host);
        // What others heard of boots is in their memory only, and each start of a copy raises its boot number: when anyone
        // dies now, whoever runs the mesh sees the mistake before the protocol does.
        if let Some(restored) = self.restored.take() {
            self.empty(restored);
        }
        if was == Process::Down {
            return;
        }
        let notice = !power || self.fault_chance.percent(50);
        self.drop_requests(host, notice);
        for peer in self.others(host) {
            self.disconnect(peer, host, power);
        }
    }

    fn disconnect(&mut self, host: usize, peer: usize, late: bool) {
        if self.hosts[host].process == Process::Down || self.chance.percent(self.scenario.silent_disconnects)
        {
            return;
        }
        let wait = if late { self.chance.within(500, 8000) * MS } else { self.chance.within(200, 20_000) };
        let life = self.hosts[host].life;
        self.queue.push(self.now + wait, Event::Disconnected { host, life, peer });
    }

    fn connect(&mut self, a: usize, b: usize) {
        let down = |host: usize| self.hosts[host].process == Process::Down;
        if a == b || down(a) || down(b) || self.network.is_cut(a, b) || self.network.is_cut(b, a) {
            return;
        }
        for (host, peer) in [(a, b), (b, a)] {
            let at = self.now + self.chance.within(500, 30_000);
            let life = self.hosts[host].life;
            self.queue.push(at, Event::Connected { host, life, peer });
        }
    }

    fn start(&mut self, host: usize) -> Verdict {
        let h = &self.hosts[host];
        if h.process != Process::Down || !h.is_node() || h.applies {
            return Ok(());
        }
        if self.scenario.forgetful_index {
            self.hosts[host].drives.iter_mut().for_each(|drive| drive.index.forget());
        }
        if let Some(directory) = self.scenario.directory
            && self.hint_chance.percent(directory.old_views)
        {
            self.hosts[host].recall_oldest_view();
        }
        if self.scenario.workers > 1 && self.worker_chance.percent(40) {
            let most = self.scenario.workers;
            self.hosts[host].workers = self.worker_chance.position(most) + 1;
        }
        let workers_before = self.hosts[host].drives.len();
        let seed = self.fault_chance.next();
        let (node, store) = (&self.scenario.node, &self.scenario.store);
        let opened = self.hosts[host].open(self.now, node, store, &self.founding, seed);
        let effects = match opened {
            Ok(effects) => effects,
            Err(reason) => {
                self.tell(Some(host), || format!("does not open: {reason}"));
                let Some(_) = self.hosts[host].excuse else {
                    return broken(
                        "a node opens what it wrote",
                        format!("node {} does not open: {reason}", host + 1),
                    );
                };
                for drive in &mut self.hosts[host].drives {
                    drive.disk = drive.disk.kill();
                }
                if self.restored == Some(host) {
                    // Each attempt raises its boot number: see `kill`.
                    self.empty(host);
                } else {
                    self.start_later(host, 1_000 * MS);
                }
                return Ok(());
            }
        };
        if self.hosts[host].is_suspect() {
            // Rot ended the life of the copy; what goes on is a new one.
            self.restored = self.restored.filter(|restored| *restored != host);
        }
        self.trace.fold(&[61, host as u64]);
        self.tell(Some(host), || "starts".into());
        let Host { recovered, drives, workers, .. } = &self.hosts[host];
        let workers = WorkerCounts { before: workers_before, now: drives.len(), wanted: *workers };
        self.coverage.see(self.now, &Fact::Up { host, recovered, workers });
        self.observe(host)?;
        self.perform(host, effects)?;
        self.schedule_tick(host);
        for peer in self.others(host) {
            self.connect(host, peer);
        }
        Ok(())
    }

    fn pause(&mut self, target: Target, time: Micros) {
        let host = self.resolve(target);
        let h = &mut self.hosts[host];
        h.process = match h.process {
            Process::Down => return,
            Process::Running => Process::Paused(1),
            Process::Paused(held) => Process::Paused(held + 1),
        };
        let life = h.life;
        self.coverage.see(self.now, &Fact::Paused { host });
        self.queue.push(self.now + time, Event::Undo(Undo::Resume { host, life }));
    }

    fn resume(&mut self, host: usize) {
        let h = &mut self.hosts[host];
        h.process = match h.process {
            Process::Paused(held) if held > 1 => Process::Paused(held - 1),
            Process::Paused(_) => Process::Running,
            other => other,
        };
        if h.process == Process::Running {
            self.coverage.see(self.now, &Fact::Resumed { host });
            let mut at = self.now;
            for event in std::mem::take(&mut h.deferred) {
                at += 1;
                if let Event::Request(id) = event {
                    h.backlog.0.insert(id);
                }
                self.queue.push(at, event);
            }
            h.backlog.1 = at;
        }
    }

    /// Takes the majority from a metadata shard: mostly from one that holds topics which come and go.
    fn take_leader(&mut self, draw: u64, isolate: bool, time: Micros) {
        let brief: Vec<ShardId> = self.scenario.brief_topics().map(ShardId::of_name).collect();
        let nth = usize::try_from(draw >> 8).unwrap_or(0);
        let any = u8::try_from((draw >> 4) % u64::from(SHARDS)).map_or(ShardId(0), ShardId);
        let shard = match brief.len() {
            0 => any,
            _ if draw.is_multiple_of(4) => any,
            len => brief[nth % len],
        };
        let key = PartitionKey::of_shard(shard);
        let replicas = self.ledger.descriptors.of(key).map(|descriptor| descriptor.replicas.clone());
        let mut voters: Vec<usize> =
            replicas.into_iter().flatten().filter_map(|id| self.host_of(id.node)).collect();
        if voters.is_empty() {
            return;
        }
        let turn = nth % voters.len();
        voters.rotate_left(turn);
        self.tell(None, || format!("shard {} has no majority", shard.0));
        self.hasty_until = self.now + time;
        if isolate {
            let pairs = voters.iter().flat_map(|from| voters.iter().map(move |to| (*from, *to)));
            return self.cut_links(pairs.filter(|(from, to)| from != to).collect(), time);
        }
        let most = voters.len() / 2 + 1;
        for host in voters.into_iter().take(most) {
            if self.hosts[host].doomed.is_none() {
                self.kill(host, false);
                self.start_later(host, time);
            }
        }
    }

    fn split(&mut self, side: u64, time: Micros) {
        let of = |host: usize| side >> (host % 64) & 1;
        let all = 0..self.hosts.len();
        let pairs = all.clone().flat_map(|from| all.clone().map(move |to| (from, to)));
        let links = pairs.filter(|(from, to)| of(*from) != of(*to)).collect();
        self.cut_links(links, time);
    }

    fn cut_links(&mut self, links: Vec<(usize, usize)>, time: Micros) {
        for (from, to) in &links {
            self.network.cut(*from, *to);
            // A connection over a dead link closes when its keep-alive notices.
            self.disconnect(*to, *from, true);
        }
        self.queue.push(self.now + time, Event::Undo(Undo::Mend(links)));
    }

    /// Damage takes one node at a time, while everything else is well, until everything is well again.
    fn damage(&mut self, n: usize, fault: Fault, target: Target) -> Verdict {
        let host = self.resolve(target);
        let elsewhere = self.rotten.is_some_and(|rotten| rotten != host);
        let early = !self.hosts[host].is_node();
        if self.damaged.is_some()
            || self.outlived.is_some()
            || elsewhere
            || early
            || self.not_whole(None).is_some()
        {
            self.tell(None, || "damage waits until everything is well".into());
            self.stats.faults -= 1;
            self.queue.push(self.now + 3_000 * MS, Event::Begin(n));
            return Ok(());
        }
        self.tell(Some(host), || format!("is damaged: {fault:?}"));
        match fault {
            Fault::Rot { live, .. } => {
                if !self.hosts[host].rot(&mut self.fault_chance) {
                    return Ok(());
                }
                self.mark_damaged(host);
                self.rotten = Some(host);
                if live {
                    return Ok(());
                }
                self.kill(host, false);
                self.start_later(host, 300 * MS);
            }
            Fault::Misdirect { .. } => {
                self.mark_damaged(host);
                self.rotten = Some(host);
                let by = self.fault_chance.within(1, 16) * 512;
                let h = &mut self.hosts[host];
                let worker = h.busiest();
                h.drives[worker].disk.misdirect_next_write(by.cast_signed());
                h.doomed = Some((worker, h.drives[worker].commits + 3));
                let life = h.life;
                self.queue.push(self.now + 200 * MS, Event::Undo(Undo::CheckDoom { host, life }));
            }
            Fault::Wipe { time, .. } => {
                self.mark_damaged(host);
                self.rotten = None;
                self.kill(host, true);
                let kept = self.fault_chance.percent(70);
                self.wipe(host, kept, time);
            }
            Fault::RestoreOld { .. } if self.hosts[host].aside.is_some() => self.restore_outlived(host),
            Fault::RestoreOld { .. } => self.restore_old(n, host),
            _ => {}
        }
        Ok(())
    }

    /// Puts an old copy of a data directory back, once there is one and every other node heard of a later boot.
    fn restore_old(&mut self, n: usize, host: usize) {
        let copied = self.hosts[host].copy.is_some();
        if copied && !self.heard_by_all(host) {
            self.stats.faults -= 1;
            self.queue.push(self.now + 1_000 * MS, Event::Begin(n));
            return;
        }
        self.kill(host, false);
        self.start_later(host, 20 * MS);
        if copied {
            self.hosts[host].restore_copy();
            self.mark_damaged(host);
            self.restored = Some(host);
        } else {
            self.hosts[host].save_copy(self.fault_chance.percent(50));
            self.queue.push(self.now + self.fault_chance.within(3_000, 20_000) * MS, Event::Begin(n));
        }
    }

    /// Whether every other node runs and knows the process of this host as the newest of its directory.
    fn heard_by_all(&self, host: usize) -> bool {
        let Some(node) = self.hosts[host].node.as_ref() else { return false };
        let (id, life) = (node.identity(), node.life());
        let heard = |node: &node::core::Node<_>| node.heard_life(id.node, id.incarnation) == Some(life);
        let others = self.hosts.iter().filter(|other| other.at != host && other.is_node());
        others.into_iter().all(|other| other.node.as_deref().is_some_and(heard))
    }

    /// A node learned that it runs on an old copy. Whoever runs it does as it says: empties the directory.
    pub(super) fn old_copy_ended(&mut self, host: usize, reason: &str) -> Verdict {
        // Rot may hide a later boot as well.
        if self.restored != Some(host) && !self.may_be_rotten(host) {
            let what = format!("node {} ends itself: {reason}", host + 1);
            return broken("only an old copy is told that it is one", what);
        }
        self.empty(host);
        Ok(())
    }

    fn empty(&mut self, host: usize) {
        self.restored = self.restored.filter(|restored| *restored != host);
        self.kill(host, true);
        self.mark_damaged(host);
        self.wipe(host, false, 500 * MS);
    }

    /// The host has an empty directory, which asks for its number; `time` is for a bug that lets it keep that.
    fn wipe(&mut self, host: usize, kept: bool, time: Micros) {
        self.hosts[host].wipe(kept, &mut self.fault_chance);
        match self.hosts[host].applies {
            true => self.apply(host),
            false => self.start_later(host, time),
        }
    }

    /// A disk that was taken for lost is there again, and the directory on it is started in place of the one that has its number now.
    fn restore_outlived(&mut self, host: usize) {
        self.kill(host, false);
        self.hosts[host].swap_aside();
        self.outlived = Some(host);
        self.start_later(host, 20 * MS);
    }

    /// Whether a process runs on a directory that has no say any more.
    pub(super) fn is_of_the_past(&self, host: usize) -> bool {
        self.restored == Some(host) || self.outlived == Some(host)
    }

    /// Whether a node takes for a node what comes from another process, as its shell would: see `Worker::node_of`. One that claims a number
    /// is believed unless it is known to have had it before: who has it is not connected, for each host has one process.
    pub(super) fn is_heard(&self, from: usize, to: usize) -> bool {
        let Some(node) = self.hosts[to].node.as_deref() else { return true };
        let h = &self.hosts[from];
        !node.view().node(h.id()).is_some_and(|info| info.is_outlived_peer(&h.peer_id()))
    }

    /// A node refuses the connection of another process.
    pub(super) fn refused_by(&mut self, from: usize, to: usize) -> Verdict {
        if self.outlived != Some(from) {
            return Ok(());
        }
        self.tell(Some(from), || format!("is refused by node {}", to + 1));
        self.outlived_ended(from)
    }

    /// A process on a directory that another one followed was told so. Its directory has all that it had, and the present one goes on.
    pub(super) fn outlived_ended(&mut self, host: usize) -> Verdict {
        self.coverage.see(self.now, &Fact::Outlived);
        let h = &self.hosts[host];
        let found: usize = h.recovered.iter().map(|recovered| recovered.logs.len()).sum();
        if h.node.as_deref().is_some_and(|node| node.workers().logs().count() < found) {
            return broken(
                "an outlived directory keeps what it has",
                format!("node {} had {found} logs", host + 1),
            );
        }
        self.kill(host, false);
        self.outlived = None;
        self.hosts[host].swap_aside();
        self.hosts[host].aside = None;
        self.start_later(host, 300 * MS);
        Ok(())
    }

    /// Whether stored bytes of a host may rightly be unreadable.
    pub(super) fn may_be_rotten(&self, host: usize) -> bool {
        self.damaged == Some(host) || self.rotten == Some(host)
    }

    fn mark_damaged(&mut self, host: usize) {
        self.damaged = Some(host);
        self.hosts[host].excuse.get_or_insert(DAMAGE);
        for check in &mut self.checks {
            check.damaged(host);
        }
    }

    pub(super) fn undo(&mut self, undo: Undo) -> Verdict {
        match undo {
            Undo::Start(host) => return self.start(host),
            Undo::Resume { host, life } => {
                if self.is_life(host, life) {
                    self.resume(host);
                }
            }
            Undo::Mend(links) => {
                for (from, to) in links {
                    if self.network.mend(from, to) {
                        self.connect(from, to);
                    }
                }
            }
            Undo::Release(links) => {
                for (from, to) in links {
                    self.release(from, to);
                }
            }
            Undo::Calm => {
                let profile =
                    if self.phase == Phase::Faults { self.scenario.network } else { LinkProfile::healthy() };
                self.network.behave(profile);
            }
            Undo::Room(host) => self.hosts[host].fill(false),
            Undo::LetClients(host) => {
                let h = &mut self.hosts[host];
                h.clients_cut = h.clients_cut.saturating_sub(1);
            }
            Undo::Cut(host, time) => {
                if self.phase == Phase::Faults {
                    self.kill_for(host, true, time);
                }
            }
            Undo::CheckDoom { host, life } => self.check_doom(host, life),
        }
        Ok(())
    }

    fn check_doom(&mut self, host: usize, life: u64) {
        let doomed = self.hosts[host].doomed.filter(|_| self.is_life(host, life));
        let Some((worker, commits)) = doomed else { return };
        // The start after it ends a life: damage like any other, so everything else is well by then.
        if self.hosts[host].drives[worker].commits < commits || self.not_whole(None).is_some() {
            self.queue.push(self.now + 200 * MS, Event::Undo(Undo::CheckDoom { host, life }));
            return;
        }
        self.hosts[host].doomed = None;
        self.kill(host, false);
        self.start_later(host, 300 * MS);
    }

    fn release(&mut self, from: usize, to: usize) {
        let mut at = self.now;
        for (process, bytes, message) in self.network.release(from, to) {
            let process = Some(process);
            at += 1;
            self.queue.push(at, Event::Message { from, to, process, bytes, message });
        }
    }

    /// The node handed everything over and ended in order.
    pub(super) fn node_stopped(&mut self, host: usize) -> Verdict {
        self.tell(Some(host), || "stopped in order".into());
        self.coverage.see(self.now, &Fact::Stopped);
        self.kill(host, false);
        self.start_later(host, 200 * MS);
        Ok(())
    }

    /// All faults stop, for good.
    pub(super) fn heal(&mut self) -> Verdict {
        self.phase = Phase::Settling { since: self.now };
        self.trace.fold(&[62]);
        self.tell(None, || "all faults stop".into());
        self.network.behave(LinkProfile::healthy());
        for from in 0..self.hosts.len() {
            for to in 0..self.hosts.len() {
                while !self.network.mend(from, to) {}
                while self.network.is_clogged(from, to) {
                    self.release(from, to);
                }
            }
        }
        for host in 0..self.hosts.len() {
            let h = &mut self.hosts[host];
            h.clients_cut = 0;
            h.stalled_until = self.now;
            h.fill(false);
            h.drives.iter().for_each(|drive| drive.disk.fail_syncs(0));
            while matches!(self.hosts[host].process, Process::Paused(_)) {
                self.resume(host);
            }
            self.start(host)?;
        }
        for a in 0..self.hosts.len() {
            for b in 0..a {
                self.connect(a, b);
            }
        }
        Ok(())
    }
}
