//! A tuner: alters configs of topics that stay, and of all nodes, while they are in use; in the end every node that is asked knows
//! what was set last.

use node::core::error::ErrorCode;
use node::core::metadata::configs::{Edit, Operation};
use node::core::metadata::quotas::{Entity, Which};
use node::core::request::{AlterQuota, AlterResource, ConfigResource, Request, RequestId, Response};

use super::{Actor, Port};
use crate::checks::Violation;
use crate::queue::{MS, Micros, SECOND};
use crate::scenario::STABLE;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// How many answers in the end must say what was set last.
const CONFIRMATIONS: u32 = 4;
/// What a topic is set to; `None` takes it back.
const OF_TOPICS: [(&str, &[Option<&str>]); 5] = [
    ("retention.ms", &[Some("500"), Some("8000"), Some("-1"), None]),
    ("retention.bytes", &[Some("3000"), Some("30000"), None]),
    ("message.timestamp.type", &[Some("LogAppendTime"), Some("CreateTime"), None]),
    ("min.insync.replicas", &[Some("1"), Some("2"), None]),
    ("max.message.bytes", &[Some("2000000"), None]),
];
/// The same of all nodes.
const OF_NODES: [(&str, &[Option<&str>]); 2] = [
    ("log.retention.bytes", &[Some("4000"), Some("40000"), None]),
    ("log.message.timestamp.type", &[Some("LogAppendTime"), None]),
];

/// What is altered: of a topic, or of all nodes without one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    topic: Option<String>,
    key: &'static str,
    value: Option<&'static str>,
}

impl Change {
    fn request(&self) -> Request {
        let operation = self.value.map_or(Operation::Delete, |value| Operation::Set(value.to_owned()));
        let resource = AlterResource {
            resource_type: if self.topic.is_some() { TOPIC } else { BROKER },
            name: self.topic.clone().unwrap_or_default(),
            replace: false,
            edits: vec![Edit { key: self.key.to_owned(), operation }],
        };
        Request::AlterConfigs { resources: vec![resource], validate_only: false }
    }

    fn question(&self) -> Request {
        let keys = Some(vec![self.key.to_owned()]);
        let resource = match &self.topic {
            Some(name) => ConfigResource::Topic { name: name.clone(), keys },
            None => ConfigResource::Broker { name: String::new(), keys },
        };
        Request::DescribeConfigs { resources: vec![resource] }
    }

    fn last(topics: u64) -> [Change; 2] {
        let name = format!("{STABLE}-{}", topics % 2);
        [
            Change { topic: Some(name), key: "retention.ms", value: Some("-1") },
            Change { topic: None, key: "log.retention.bytes", value: Some("50000") },
        ]
    }
}

enum Step {
    /// A quota is set, or taken back.
    Limiting(Option<u64>),
    Altering(Change),
    Asking(Change),
}

/// The client.
pub(crate) struct Tuner {
    interval: Micros,
    next: Micros,
    call: Option<(RequestId, Step)>,
    finishing: bool,
    /// In the end: what is to be altered and confirmed, the first first.
    last: Vec<Change>,
    /// The first of them is altered.
    altered: bool,
    confirmed: u32,
    /// A quota may be set.
    limited: bool,
}

impl Tuner {
    /// Alters something about every `interval`.
    pub(crate) fn new(interval: Micros, start: Micros) -> Self {
        Self {
            interval,
            next: start,
            call: None,
            finishing: false,
            last: Change::last(start / MS).to_vec(),
            altered: false,
            confirmed: 0,
            limited: false,
        }
    }

    fn turn(&mut self, port: &mut Port<'_>) {
        if self.call.is_some() || port.now < self.next {
            return;
        }
        let pause = if self.finishing { SECOND / 2 } else { self.interval };
        let step = match self.last.first() {
            _ if self.finishing && self.limited => Step::Limiting(None),
            Some(last) if self.finishing && self.altered => Step::Asking(last.clone()),
            Some(last) if self.finishing => Step::Altering(last.clone()),
            None if self.finishing => return,
            _ if port.random.percent(20) => Step::Limiting(port.random.pick(&RATES).to_owned()),
            _ => Step::Altering(whim(port)),
        };
        self.next = port.now + port.random.within(pause / 2, pause * 3 / 2);
        let host = port.any_host();
        let request = match &step {
            Step::Limiting(rate) => {
                self.limited = true;
                limit(*rate)
            }
            Step::Altering(change) => change.request(),
            Step::Asking(change) => change.question(),
        };
        self.call = Some((port.ask(host, request, 12 * SECOND), step));
    }

    fn altered(&mut self, port: &mut Port<'_>, change: Change, error: ErrorCode) {
        match error {
            ErrorCode::None => self.altered = self.finishing && self.last.first() == Some(&change),
            // A node that just started does not know the topic, or the shard has no leader.
            ErrorCode::RequestTimedOut | ErrorCode::NotController | ErrorCode::UnknownTopicOrPartition => {}
            _ => {
                let what = format!("{change:?} is refused with {error:?}");
                port.complaint = Some(Violation { check: "configs can be altered", what });
            }
        }
    }

    fn described(&mut self, change: &Change, value: Option<&str>) {
        if value != change.value {
            return;
        }
        self.confirmed += 1;
        if self.confirmed >= CONFIRMATIONS {
            self.last.remove(0);
            (self.altered, self.confirmed) = (false, 0);
        }
    }
}

/// What all clients may write, and one of them reads, in bytes per second.
const RATES: [Option<u64>; 3] = [Some(1_500), Some(20_000), None];

fn limit(rate: Option<u64>) -> Request {
    let quota = |name: Option<&str>, key: &str| {
        let name = name.map(str::to_owned);
        let client_id = Some(name.clone().map_or(Which::Default, Which::Named));
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let value = rate.map(|rate| rate as f64);
        AlterQuota {
            named: vec![("client-id".to_owned(), name)],
            entity: Entity { user: None, client_id },
            changes: vec![(key.to_owned(), value)],
        }
    };
    let entries = vec![quota(None, "producer_byte_rate"), quota(Some("client-3"), "consumer_byte_rate")];
    Request::AlterQuotas { entries, validate_only: false }
}

fn whim(port: &mut Port<'_>) -> Change {
    if port.random.percent(30) {
        let (key, values) = *port.random.pick(&OF_NODES);
        return Change { topic: None, key, value: *port.random.pick(values) };
    }
    let (key, values) = *port.random.pick(&OF_TOPICS);
    let topic = Some(format!("{STABLE}-{}", port.random.below(2)));
    Change { topic, key, value: *port.random.pick(values) }
}

impl Actor for Tuner {
    fn wake(&mut self, port: &mut Port<'_>) {
        self.turn(port);
    }

    fn answered(&mut self, port: &mut Port<'_>, id: RequestId, response: Response) {
        if let Some((_, step)) = self.call.take_if(|(call, _)| *call == id) {
            match (step, response) {
                (Step::Altering(change), Response::AlterConfigs { resources }) => {
                    let error = resources.first().map_or(ErrorCode::RequestTimedOut, |one| one.error);
                    self.altered(port, change, error);
                }
                (Step::Limiting(rate), Response::AlterQuotas { entries }) => {
                    let done = entries.iter().all(|entry| entry.error == ErrorCode::None);
                    self.limited = rate.is_some() || !done;
                }
                (Step::Asking(change), Response::DescribeConfigs { resources }) => {
                    let entry = resources.first().and_then(|one| one.entries.first());
                    self.described(&change, entry.and_then(|entry| entry.value.as_deref()));
                }
                _ => {}
            }
        }
        self.turn(port);
    }

    fn broken(&mut self, port: &mut Port<'_>, id: RequestId) {
        self.call.take_if(|(call, _)| *call == id);
        self.turn(port);
    }

    fn due(&self) -> Option<Micros> {
        let wanted = !self.finishing || !self.last.is_empty() || self.limited;
        (self.call.is_none() && wanted).then_some(self.next)
    }

    fn finish(&mut self) {
        self.finishing = true;
    }

    fn unfinished(&self) -> Option<String> {
        let waits = self.call.as_ref().map(|_| "a config is being altered".to_owned());
        let last = || self.last.first().map(|change| format!("{change:?} is not known everywhere"));
        let limited = || self.limited.then(|| "a quota is still set".to_owned());
        waits.or_else(last).or_else(limited)
    }
}

#[cfg(test)]
mod tests {
    use super::super::doctored::port;
    use super::*;
    use crate::random::Random;

    #[test]
    fn what_was_set_last_is_confirmed_by_several_answers() {
        let (mut random, mut next) = (Random::new(1), 0);
        let mut port = port(&mut random, &mut next);
        let mut tuner = Tuner::new(MS, 0);
        tuner.finish();
        let [first, second] = Change::last(0);
        tuner.altered(&mut port, first.clone(), ErrorCode::None);
        assert!(tuner.altered);
        for _ in 0..CONFIRMATIONS {
            tuner.described(&first, None);
            tuner.described(&first, first.value);
        }
        assert_eq!((&tuner.last[..], tuner.altered), (&[second.clone()][..], false));
        tuner.altered(&mut port, second.clone(), ErrorCode::NotController);
        assert!(!tuner.altered && tuner.unfinished().is_some() && port.complaint.is_none());
        tuner.altered(&mut port, second, ErrorCode::InvalidConfig);
        assert!(port.complaint.is_some());
    }
}
