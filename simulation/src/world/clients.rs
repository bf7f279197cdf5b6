//! Connections between clients and nodes. One client and one node share one connection: it keeps order, and when it breaks
//! the outcome of everything on it is unknown.

use std::collections::BTreeSet;

use bytes::Bytes;
use mesh::raft::{Incarnation, NodeId, Role};
use node::core::Input;
use node::core::error::ErrorCode;
use node::core::groups::api::GroupRequest;
use node::core::metadata::{PartitionKey, Registration};
use node::core::request::{Acks, Request, RequestId, Response, TopicId, TopicRef};

use super::host::{Host, machine_of, registration};
use super::{Event, Process, World, broken};
use crate::batch::{self, BatchId};
use crate::checks::{Acknowledged, Bounds, Fetched, Verdict};
use crate::client::{
    Actor, Admin, Caretaker, Consumer, Joiner, Member, Mover, Oddball, Operator, Outgoing, Port, Producer,
    Tuner, host_of,
};
use crate::coverage::Fact;
use crate::queue::{MS, Micros};
use crate::random::Random;
use crate::scenario::{STABLE, Scenario};

/// Numbers of machines that take the place of others are above those, by this much each time.
const MACHINES: usize = 100;

/// One client of the workload.
pub(super) struct Client {
    pub(super) actor: Box<dyn Actor>,
    random: Random,
    wake_at: Option<Micros>,
}

impl Client {
    pub(super) fn new(actor: Box<dyn Actor>, random: Random) -> Self {
        Self { actor, random, wake_at: None }
    }

    /// The workload of a scenario.
    pub(super) fn of(scenario: &Scenario, seed: u64) -> Vec<Self> {
        let start = 2_000 * MS;
        let mut actors: Vec<Box<dyn Actor>> =
            vec![Box::new(Admin::new(scenario.topics.clone(), scenario.topic_churn, start))];
        for profile in &scenario.producers {
            actors.push(Box::new(Producer::new(profile.clone(), start)));
        }
        for profile in &scenario.consumers {
            let rack = if scenario.zones { format!("zone-{}", actors.len() % 2) } else { String::new() };
            actors.push(Box::new(Consumer::new(profile.clone(), rack, start)));
        }
        for profile in &scenario.members {
            actors.push(Box::new(Member::new(profile.clone(), start)));
        }
        if let Some(interval) = scenario.odd {
            actors.push(Box::new(Oddball::new(interval, start + 1_000 * MS)));
        }
        for (machine, at) in (scenario.hosts..).zip(&scenario.joins) {
            let incarnation = Incarnation(Random::of(seed, &format!("machine {machine}")).within(1, 1 << 40));
            let registration = registration((machine, 0), None, incarnation, scenario.zones);
            actors.push(Box::new(Joiner::new(registration, *at)));
        }
        if let Some(care) = scenario.care {
            actors.push(Box::new(Caretaker::new(care, start + 1_000 * MS)));
        }
        if let Some(interval) = scenario.operator {
            actors.push(Box::new(Operator::new(interval, start + 4_000 * MS)));
        }
        if let Some(interval) = scenario.tuner {
            actors.push(Box::new(Tuner::new(interval, start + 4_000 * MS)));
        }
        if let Some(interval) = scenario.mover {
            actors.push(Box::new(Mover::new(scenario.topics.clone(), interval, start + 4_000 * MS)));
        }
        let random = |n: usize| Random::of(seed, &format!("client {n}"));
        actors.into_iter().enumerate().map(|(n, actor)| Self::new(actor, random(n))).collect()
    }
}

/// What a request asked, as far as its answer is judged.
enum Asked {
    Produce {
        acks: Acks,
        batches: Vec<(BatchId, u32)>,
    },
    Fetch {
        offsets: Vec<i64>,
    },
    List {
        parts: Vec<(i64, bool)>,
    },
    Delete,
    Group(Box<GroupRequest>),
    /// A machine wants in; what it will be told.
    Join {
        registration: Registration,
        admitted: Option<(NodeId, Bytes)>,
    },
    Other,
}

impl Asked {
    fn of(request: &Request) -> Self {
        match request {
            Request::Produce { acks, partitions, .. } => {
                let seen = |bytes: &bytes::Bytes| batch::read(bytes).expect("the workload's own").id;
                let batches =
                    partitions.iter().map(|p| (seen(&p.batch.bytes), p.batch.record_count)).collect();
                Self::Produce { acks: *acks, batches }
            }
            Request::Fetch { partitions, .. } => {
                Self::Fetch { offsets: partitions.iter().map(|p| p.offset).collect() }
            }
            Request::ListOffsets { partitions } => {
                // A name may mean another topic by the time of the answer, unless the topic is never deleted.
                let sure = |topic: &TopicRef| match topic {
                    TopicRef::Id(_) => true,
                    TopicRef::Name(name) => name.starts_with(STABLE),
                };
                Self::List { parts: partitions.iter().map(|p| (p.timestamp, sure(&p.topic))).collect() }
            }
            Request::DeleteRecords { .. } => Self::Delete,
            Request::Group(request) => Self::Group(Box::new(request.clone())),
            Request::RegisterNode { registration, .. } => {
                Self::Join { registration: registration.clone(), admitted: None }
            }
            _ => Self::Other,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Going,
    AtNode,
    Returning,
}

/// A request that is not settled.
pub(super) struct Pending {
    /// `None` once the client gave up.
    client: Option<usize>,
    pub(super) host: usize,
    life: u64,
    asked: Asked,
    request: Option<Request>,
    state: State,
}

impl World {
    /// Gives a client a turn.
    fn turn(&mut self, client: usize, act: impl FnOnce(&mut dyn Actor, &mut Port<'_>)) -> Verdict {
        let hosts = self.hosts.iter().rposition(Host::is_node).map_or(1, |last| last + 1);
        let slot = &mut self.clients[client];
        let mut port = Port {
            now: self.now,
            wall_ms: 1_700_000_000_000 + (self.now / 1000).cast_signed(),
            hosts,
            hasty: self.now < self.hasty_until,
            random: &mut slot.random,
            next_request: &mut self.next_request,
            out: Vec::new(),
            sent: Vec::new(),
            complaint: None,
        };
        act(slot.actor.as_mut(), &mut port);
        let Port { out, sent, complaint, .. } = port;
        for batch in &sent {
            for check in &mut self.checks {
                check.sent(batch);
            }
        }
        for outgoing in out {
            self.request_leaves(client, outgoing);
        }
        self.wake_when_due(client);
        complaint.map_or(Ok(()), Err)
    }

    pub(super) fn wake_when_due(&mut self, client: usize) {
        let slot = &mut self.clients[client];
        let Some(due) = slot.actor.due() else { return };
        // A client never spins: what it cannot do at once it tries again a little later.
        let at = due.max(self.now + MS);
        if slot.wake_at.is_none_or(|queued| at < queued) {
            slot.wake_at = Some(at);
            self.queue.push(at, Event::Wake { client, at });
        }
    }

    pub(super) fn wake(&mut self, client: usize, at: Micros) -> Verdict {
        if self.clients[client].wake_at != Some(at) {
            return Ok(());
        }
        self.clients[client].wake_at = None;
        self.turn(client, |actor, port| actor.wake(port))
    }

    fn request_leaves(&mut self, client: usize, outgoing: Outgoing) {
        let Outgoing { id, host, request, timeout } = outgoing;
        self.stats.operations += 1;
        self.trace.fold(&[40, client as u64, id.0, host as u64]);
        self.tell(None, || format!("client {client} asks node {}: request {}", host + 1, id.0));
        let asked = Asked::of(&request);
        let life = self.hosts[host].life;
        let pending =
            Pending { client: Some(client), host, life, asked, request: Some(request), state: State::Going };
        self.pending.insert(id, pending);
        let delay = self.chance.tailed(self.scenario.network.delay.max(50));
        let hosts = self.hosts.len();
        let there = &mut self.connections[client * hosts + host].0;
        *there = (*there + 1).max(self.now + delay);
        self.queue.push(*there, Event::Request(id));
        self.queue.push(self.now + timeout, Event::Timeout(id));
    }

    pub(super) fn request_arrives(&mut self, id: RequestId) -> Verdict {
        let Some(pending) = self.pending.get_mut(&id) else { return Ok(()) };
        let host = pending.host;
        if pending.client.is_none() || self.hosts[host].clients_cut > 0 {
            // On a broken connection, or on one that swallows everything until the client gives up.
            if pending.client.is_none() {
                self.pending.remove(&id);
            }
            return Ok(());
        }
        if self.hosts[host].process == Process::Down {
            self.break_connection(id);
            return Ok(());
        }
        pending.state = State::AtNode;
        pending.life = self.hosts[host].life;
        let Some(request) = pending.request.take() else { return Ok(()) };
        if let Request::Group(request) = &request {
            self.checks.iter_mut().for_each(|check| check.group_asked(id, request));
        }
        let client = self.client_of(id);
        self.step(host, Input::Request { id, client, request })
    }

    /// Who a client says that it is.
    fn client_of(&self, id: RequestId) -> node::core::Client {
        let number = self.pending.get(&id).and_then(|pending| pending.client).unwrap_or(0);
        node::core::Client { client_id: format!("client-{number}").into(), ..Default::default() }
    }

    /// Nothing more is read from a client's connection for so long (KIP-219).
    pub(super) fn mute(&mut self, id: RequestId, throttle_ms: u32) {
        let Some((Some(client), host)) = self.pending.get(&id).map(|p| (p.client, p.host)) else { return };
        if throttle_ms > 0 {
            self.trace.fold(&[42, id.0, throttle_ms.into()]);
            self.coverage.see(self.now, &Fact::Throttled);
            let hosts = self.hosts.len();
            let there = &mut self.connections[client * hosts + host].0;
            *there = (*there).max(self.now + Micros::from(throttle_ms) * MS);
            self.muted.insert((client, host));
        }
    }

    /// Breaks the connection that a request is on, with everything on it.
    fn break_connection(&mut self, id: RequestId) {
        let Some((Some(client), host)) = self.pending.get(&id).map(|p| (p.client, p.host)) else { return };
        // The next one is not muted.
        if self.muted.remove(&(client, host)) {
            let hosts = self.hosts.len();
            self.connections[client * hosts + host].0 = self.now;
        }
        let on_it = self.pending.iter().filter(|(_, p)| p.client == Some(client) && p.host == host);
        let ids: Vec<RequestId> = on_it.map(|(id, _)| *id).collect();
        for id in ids {
            let Some(pending) = self.pending.get_mut(&id) else { continue };
            pending.client = None;
            if pending.state == State::AtNode && self.chance.percent(85) {
                let life = pending.life;
                let at = self.now + self.chance.within(100, 5000);
                self.queue.push(at, Event::Cancel { host, life, id });
            }
            if pending.state == State::Returning {
                self.pending.remove(&id);
            }
            let at = self.now + self.chance.within(100, 3000);
            self.queue.push(at, Event::Broken { client, id });
        }
    }

    pub(super) fn timed_out(&mut self, id: RequestId) {
        if self.pending.get(&id).is_some_and(|pending| pending.client.is_some()) {
            self.trace.fold(&[41, id.0]);
            self.tell(None, || format!("request {} timed out", id.0));
            self.break_connection(id);
        }
    }

    pub(super) fn connection_broke(&mut self, client: usize, id: RequestId) -> Verdict {
        self.turn(client, |actor, port| actor.broken(port, id))
    }

    pub(super) fn response_arrives(&mut self, id: RequestId, response: Response) -> Verdict {
        let Some(pending) = self.pending.remove(&id) else { return Ok(()) };
        let Some(client) = pending.client else { return Ok(()) };
        if let Asked::Join { registration, admitted: Some((node, registry)) } = pending.asked {
            self.admitted(&registration, node, registry)?;
        }
        self.turn(client, |actor, port| actor.answered(port, id, response))
    }

    /// A machine hears that it is a node now: it opens as that.
    fn admitted(&mut self, registration: &Registration, node: NodeId, registry: Bytes) -> Verdict {
        const NAME: &str = "a node has one number";
        let (Some(machine), Some(host)) = (machine_of(registration), self.host_of(node)) else {
            return broken(NAME, format!("{} is admitted as node {}", registration.mesh, node.0));
        };
        let (applies, life) = (self.hosts[host].applies, self.hosts[host].incarnation);
        match self.hosts[host].machine {
            // It was emptied, and emptied again before it was answered.
            Some(_) if applies && life != registration.incarnation => Ok(()),
            Some(_) if applies => {
                self.tell(Some(host), || format!("has its number again: {}", registration.mesh));
                self.coverage.see(self.now, &Fact::TookOver);
                self.hosts[host].admit(machine, registration.incarnation, registry);
                self.start_later(host, MS);
                Ok(())
            }
            Some(known) if known == machine => Ok(()),
            Some(_) => broken(NAME, format!("{} is admitted as node {} too", registration.mesh, node.0)),
            None => {
                self.tell(Some(host), || format!("is admitted: {}", registration.mesh));
                self.hosts[host].admit(machine, registration.incarnation, registry);
                self.start_later(host, MS);
                Ok(())
            }
        }
    }

    /// An empty directory asks for the number of the one that was there before, again and again.
    pub(super) fn apply(&mut self, host: usize) {
        let another = self.fault_chance.percent(25);
        let h = &mut self.hosts[host];
        // Another machine, under another address, has to say whose number it wants.
        let node = another.then(|| h.id());
        if another {
            let machine = h.machine.unwrap_or(h.at);
            h.machine = Some(machine + MACHINES);
        }
        let joiner: Box<dyn Actor> = Box::new(Joiner::new(h.registration(node), self.now + 500 * MS));
        let client = match h.joiner {
            Some(client) => {
                self.clients[client].actor = joiner;
                client
            }
            None => {
                let client = self.clients.len();
                h.joiner = Some(client);
                let random = Random::of(self.seed, &format!("joiner {host}"));
                self.clients.push(Client::new(joiner, random));
                self.connections.resize((client + 1) * self.hosts.len(), (0, 0));
                client
            }
        };
        self.wake_when_due(client);
    }

    /// A process is gone: what it had not answered it never will.
    pub(super) fn drop_requests(&mut self, host: usize, clients_notice: bool) {
        let at_node = |p: &Pending| p.host == host && p.state == State::AtNode;
        let ids: Vec<RequestId> =
            self.pending.iter().filter(|(_, p)| at_node(p)).map(|(id, _)| *id).collect();
        for id in ids {
            if clients_notice {
                self.break_connection(id);
            }
            // Otherwise the client's own timeout ends it.
            if self.pending.get(&id).is_some_and(|pending| pending.client.is_none()) {
                self.pending.remove(&id);
            }
        }
    }

    /// A request that some client still waits for.
    pub(super) fn waiting_request(&self) -> Option<RequestId> {
        self.pending.iter().find(|(_, pending)| pending.client.is_some()).map(|(id, _)| *id)
    }

    /// A node answers: judge the answer, then let it travel.
    pub(super) fn respond(&mut self, host: usize, id: RequestId, response: Response) -> Verdict {
        let Some(mut pending) = self.pending.remove(&id) else {
            return broken(
                "a request is answered once",
                format!("node {} answers request {} again", host + 1, id.0),
            );
        };
        if pending.state != State::AtNode || pending.host != host || pending.life != self.hosts[host].life {
            let (at, state) = (pending.host + 1, pending.state);
            let what = format!("node {} answers request {}, which is {state:?} at node {at}", host + 1, id.0);
            return broken("a request is answered once", what);
        }
        if self.trace.is_read() {
            let text = format!("answers request {}: {}", id.0, told(&response));
            self.tell(Some(host), || text);
        }
        self.coverage.see(self.now, &Fact::Answered { id, response: &response });
        if let (Asked::Group(request), Response::Group(answer)) = (&pending.asked, &response) {
            for check in &mut self.checks {
                check.group_answered(id, request, answer)?;
            }
        }
        self.judge(host, &pending.asked, &response)?;
        if let (Asked::Join { admitted, .. }, Response::RegisterNode { error: ErrorCode::None, node, .. }) =
            (&mut pending.asked, &response)
        {
            // Whoever admits it tells it what it knows of the mesh.
            let registry = self.hosts[host].node.as_ref().map(|node| node.view().encode().into());
            *admitted = registry.map(|registry| (NodeId(*node), registry));
        }
        let Some(client) = pending.client else { return Ok(()) };
        pending.state = State::Returning;
        self.pending.insert(id, pending);
        if self.hosts[host].clients_cut > 0 {
            return Ok(());
        }
        let delay = self.chance.tailed(self.scenario.network.delay.max(50));
        let hosts = self.hosts.len();
        let back = &mut self.connections[client * hosts + host].1;
        *back = (*back + 1).max(self.now + delay);
        self.queue.push(*back, Event::Respond { id, response: Box::new(response) });
        Ok(())
    }

    fn judge(&mut self, host: usize, asked: &Asked, response: &Response) -> Verdict {
        match (asked, response) {
            (Asked::Produce { acks, batches }, Response::Produce { partitions }) => {
                for ((batch, count), result) in batches.iter().zip(partitions) {
                    self.trace.fold(&[
                        50,
                        result.error.code().cast_unsigned().into(),
                        result.base_offset.cast_unsigned(),
                    ]);
                    if result.error != ErrorCode::None {
                        continue;
                    }
                    self.stats.acknowledged += u64::from(*count);
                    self.cover_acknowledged(host, *batch);
                    let partition = result.partition;
                    let key =
                        self.topic_of(host, &result.topic).map(|topic| PartitionKey { topic, partition });
                    // A host may commit, acknowledge and delete in one step: then it no longer knows the topic it answers for.
                    let exists = |key| !self.is_deleted(key);
                    if !key.map_or_else(|| self.ledger.descriptors.knows(&result.topic), exists) {
                        continue;
                    }
                    let term = key.and_then(|key| Some(self.view(host, key)?.term)).unwrap_or_default();
                    let (batch, acks, base_offset) = (*batch, *acks, result.base_offset);
                    let fact = Acknowledged { host, term, batch, acks, base_offset };
                    for check in &mut self.checks {
                        check.acknowledged(&self.ledger, &fact)?;
                    }
                }
                Ok(())
            }
            (Asked::Fetch { offsets }, Response::Fetch { partitions }) => {
                for (offset, result) in offsets.iter().zip(partitions) {
                    self.trace.fold(&[
                        51,
                        result.error.code().cast_unsigned().into(),
                        result.high_watermark.cast_unsigned(),
                        result.batches.len() as u64,
                    ]);
                    let key = PartitionKey { topic: result.topic_id, partition: result.partition };
                    if self.is_deleted(key) {
                        continue;
                    }
                    if result.error == ErrorCode::OffsetOutOfRange {
                        self.refused(host, key, *offset)?;
                    }
                    if result.error != ErrorCode::None {
                        continue;
                    }
                    let group = self.ledger.group(key);
                    for check in &mut self.checks {
                        let fact = Fetched { host, group, offset: *offset, batches: &result.batches };
                        check.fetched(&self.ledger, &fact)?;
                    }
                    if self.view(host, key).is_some_and(|view| view.role == Some(Role::Leader)) {
                        let (high, start) = (result.high_watermark, result.log_start_offset);
                        self.bounds(host, key, Some(high), Some(start))?;
                    } else if result.high_watermark > self.ledger.end_offset(group) {
                        let what = format!(
                            "node {} says {} of {}",
                            host + 1,
                            result.high_watermark,
                            self.ledger.name(group)
                        );
                        return broken("a follower tells of committed records only", what);
                    }
                }
                Ok(())
            }
            (Asked::List { parts }, Response::ListOffsets { partitions }) => {
                for ((timestamp, sure), result) in parts.iter().zip(partitions) {
                    self.trace.fold(&[
                        52,
                        result.error.code().cast_unsigned().into(),
                        result.offset.cast_unsigned(),
                    ]);
                    let topic = self.topic_of(host, &result.topic);
                    let (Some(topic), ErrorCode::None, true) = (topic, result.error, sure) else { continue };
                    let key = PartitionKey { topic, partition: result.partition };
                    if self.is_deleted(key) {
                        continue;
                    }
                    let high = (*timestamp == -1).then_some(result.offset);
                    let start = (*timestamp == -2).then_some(result.offset);
                    self.bounds(host, key, high, start)?;
                }
                Ok(())
            }
            (Asked::Delete, Response::DeleteRecords { partitions }) => {
                for result in partitions {
                    let low = result.low_watermark;
                    self.trace.fold(&[54, result.error.code().cast_unsigned().into(), low.cast_unsigned()]);
                    let topic = self.topic_of(host, &result.topic);
                    let (Some(topic), ErrorCode::None) = (topic, result.error) else { continue };
                    let key = PartitionKey { topic, partition: result.partition };
                    if !self.is_deleted(key) {
                        self.bounds(host, key, None, Some(low))?;
                    }
                }
                Ok(())
            }
            _ => {
                self.trace.fold(&[53]);
                Ok(())
            }
        }
    }

    /// Which topic a node takes a client's word for.
    fn topic_of(&self, host: usize, topic: &TopicRef) -> Option<TopicId> {
        Some(self.hosts[host].node.as_ref()?.view().topic_ref(topic)?.id)
    }

    fn cover_acknowledged(&mut self, host: usize, batch: BatchId) {
        let Some(place) = self.ledger.places(batch).last().copied() else { return };
        let leads = self.view(host, self.ledger.key(place.group)).map(|view| view.term);
        let written = self.ledger.entry(place.group, place.index).map(|entry| entry.term);
        if let (Some(written), Some(leads)) = (written, leads) {
            self.coverage.see(self.now, &Fact::Acknowledged { written, leads });
        }
    }

    fn bounds(&mut self, host: usize, key: PartitionKey, high: Option<i64>, start: Option<i64>) -> Verdict {
        let known = |value: Option<i64>| value.filter(|value| *value >= 0);
        let Some(term) = self.view(host, key).map(|view| view.term) else { return Ok(()) };
        let group = self.ledger.group(key);
        let (high_watermark, log_start) = (known(high), known(start));
        self.judge_bounds(&Bounds { host, group, term, high_watermark, log_start, refused: None })
    }

    fn refused(&mut self, host: usize, key: PartitionKey, offset: i64) -> Verdict {
        let Some(view) = self.view(host, key) else { return Ok(()) };
        let (term, started) = (view.term, offset >= view.log_start);
        let group = self.ledger.group(key);
        let refused = started.then_some(offset);
        self.judge_bounds(&Bounds { host, group, term, high_watermark: None, log_start: None, refused })
    }

    fn view(&self, host: usize, key: PartitionKey) -> Option<node::core::ReplicaView<'_>> {
        self.hosts[host].node.as_ref()?.replica(key)
    }

    fn judge_bounds(&mut self, fact: &Bounds) -> Verdict {
        for check in &mut self.checks {
            check.bounds(&self.ledger, fact)?;
        }
        Ok(())
    }
}

/// An answer in few words.
fn told(response: &Response) -> String {
    match response {
        Response::Produce { partitions } => {
            let one = |p: &node::core::request::ProduceResult| {
                format!("{:?} at {} {}", p.error, p.base_offset, p.message.as_deref().unwrap_or(""))
            };
            partitions.iter().map(one).collect::<Vec<_>>().join(", ")
        }
        Response::Fetch { partitions } => {
            let one = |p: &node::core::request::FetchResult| {
                let bases: Vec<i64> = p.batches.iter().map(|batch| batch.base_offset).collect();
                format!(
                    "{:?} start {} high {} batches {bases:?}",
                    p.error, p.log_start_offset, p.high_watermark
                )
            };
            partitions.iter().map(one).collect::<Vec<_>>().join(", ")
        }
        Response::Metadata(result) => {
            let topics: BTreeSet<_> =
                result.topics.iter().filter_map(|topic| topic.name.as_deref()).collect();
            let leaders: Vec<_> = result
                .topics
                .iter()
                .flat_map(|topic| {
                    topic.partitions.iter().map(|p| host_of(p.leader).map_or(0, |host| host + 1))
                })
                .collect();
            format!("topics {topics:?} led by {leaders:?}")
        }
        other => format!("{other:?}"),
    }
}
