//! Holding clients to their quotas (KIP-13, KIP-124, KIP-219).
//!
//! Each quota that is in use has a bucket of tokens: bytes, or microseconds of the node's thread. It fills at the quota's rate up to
//! what a second brings, every request takes out what it costs, and while more is taken out than there was, answers say for how long the
//! client shall be silent (the throttle time). The shell does not read from it for that long. So over any time a client gets no
//! more than the rate times that time, a second's worth, and its last request.
//!
//! What a request costs is known when it comes (produce), when it is answered (fetch), or afterwards (time). A fetch of a client that must be
//! silent is answered at once and empty.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh::raft::Time;
use storage::Disk;

use super::error::ErrorCode;
use super::metadata::quotas::{Entity, Limit, Quotas, Rate, Sharers, Which};
use super::metadata::{Command, ShardId};
use super::node::Node;
use super::request::{AlterQuota, QuotaEntry, QuotaFilter, QuotaMatch, Request, RequestId, Response};

/// What a bucket holds at most: what so many microseconds bring.
const BURST_US: f64 = 1_000_000.0;
/// The longest throttle time, in milliseconds: a client waits for an answer longer than that.
const THROTTLE_MS_MAX: u32 = 25_000;
/// Buckets that are kept; beyond that those that are full go first.
const BUCKETS_MAX: usize = 20_000;
/// Principals of users begin so.
const USER: &str = "User:";

/// Who asks, as far as the node cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// In Kafka's notation, as `User:ANONYMOUS`.
    pub principal: Arc<str>,
    /// `client.id`, empty when the client does not say.
    pub client_id: Arc<str>,
}

impl Default for Client {
    fn default() -> Self {
        Self { principal: Arc::from("User:ANONYMOUS"), client_id: Arc::from("") }
    }
}

impl Client {
    fn user(&self) -> &str {
        self.principal.strip_prefix(USER).unwrap_or(&self.principal)
    }
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Tokens per microsecond.
    rate: f64,
    /// Below 0 while more was taken out than there was.
    level: f64,
    at: Time,
}

impl Bucket {
    fn new(rate: f64, now: Time) -> Self {
        Self { rate, level: rate * BURST_US, at: now }
    }

    /// Fills it up to now, at this rate from now on.
    fn fill(&mut self, rate: f64, now: Time) {
        let passed = now.0.saturating_sub(self.at.0);
        // Far below 2^53: exact enough for any uptime.
        #[expect(clippy::cast_precision_loss, reason = "microseconds between two requests")]
        let passed = passed as f64;
        self.level = (self.level + self.rate * passed).min(rate * BURST_US);
        self.rate = rate;
        self.at = now;
    }

    /// Until it is not below 0 any more, in milliseconds, rounded up.
    fn wait_ms(&self) -> u32 {
        let ms = (-self.level / self.rate / 1_000.0).ceil();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to the range before"
        )]
        let ms = ms.clamp(0.0, f64::from(THROTTLE_MS_MAX)) as u32;
        ms
    }

    fn is_full(&self, now: Time) -> bool {
        let mut filled = *self;
        filled.fill(self.rate, now);
        filled.level >= self.rate * BURST_US
    }
}

/// What quotas have done since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaFigures {
    /// Answers that told a client to be silent, by limit in the order of [`Limit::ALL`].
    pub throttled: [u64; 3],
    /// For how long in all, in milliseconds.
    pub throttled_ms: [u64; 3],
}

/// The buckets of one node.
#[derive(Default)]
pub(crate) struct Throttles {
    buckets: BTreeMap<(Limit, Sharers), Bucket>,
    /// Whom an answer is for, where that is subject to a quota.
    asked: BTreeMap<RequestId, Client>,
    figures: QuotaFigures,
}

impl Throttles {
    fn bucket(&mut self, quotas: &Quotas, limit: Limit, client: &Client, now: Time) -> Option<&mut Bucket> {
        let (rate, sharers) = quotas.find(limit, client.user(), &client.client_id)?;
        let rate = per_us(limit, rate);
        let key = (limit, sharers);
        if self.buckets.len() >= BUCKETS_MAX && !self.buckets.contains_key(&key) {
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
            if self.buckets.len() >= BUCKETS_MAX {
                self.buckets.pop_first();
            }
        }
        let bucket = self.buckets.entry(key).or_insert_with(|| Bucket::new(rate, now));
        bucket.fill(rate, now);
        Some(bucket)
    }

    fn take(&mut self, quotas: &Quotas, limit: Limit, client: &Client, cost: f64, now: Time) {
        if let Some(bucket) = self.bucket(quotas, limit, client, now) {
            bucket.level -= cost;
        }
    }

    fn wait_ms(&mut self, quotas: &Quotas, limit: Limit, client: &Client, now: Time) -> u32 {
        self.bucket(quotas, limit, client, now).map_or(0, |bucket| bucket.wait_ms())
    }

    fn count(&mut self, limit: Limit, ms: u32) {
        let at = Limit::ALL.iter().position(|one| *one == limit).unwrap_or(0);
        self.figures.throttled[at] += u64::from(ms > 0);
        self.figures.throttled_ms[at] += u64::from(ms);
    }
}

/// Tokens per microsecond.
fn per_us(limit: Limit, rate: Rate) -> f64 {
    match limit {
        Limit::Produce | Limit::Fetch => rate.get() / 1_000_000.0,
        Limit::Request => rate.get() / 100.0,
    }
}

fn cost(bytes: usize) -> f64 {
    f64::from(u32::try_from(bytes).unwrap_or(u32::MAX))
}

impl<D: Disk> Node<D> {
    /// Takes a request's cost out of its client's buckets. Of a client that must be silent a fetch comes back answered.
    pub(crate) fn charge(&mut self, id: RequestId, client: Client, request: Request) -> Option<Request> {
        let quotas = self.view.quotas();
        if !quotas.limits_any(client.user(), &client.client_id) {
            return Some(request);
        }
        let now = self.now.mono;
        let request = match request {
            Request::Produce { acks, timeout_ms, partitions } => {
                let bytes = partitions.iter().map(|part| part.batch.bytes.len()).sum();
                self.throttles.take(quotas, Limit::Produce, &client, cost(bytes), now);
                Request::Produce { acks, timeout_ms, partitions }
            }
            Request::Fetch { max_wait_ms, min_bytes, max_bytes, partitions, rack } => {
                let most = quotas.find(Limit::Fetch, client.user(), &client.client_id);
                let most = most.map_or(max_bytes, |(rate, _)| whole(rate));
                if self.throttles.wait_ms(quotas, Limit::Fetch, &client, now) > 0 {
                    self.throttles.asked.insert(id, client);
                    let partitions = partitions.iter().map(super::fetch::empty).collect();
                    self.respond(id, Response::Fetch { partitions });
                    return None;
                }
                let max_bytes = max_bytes.min(most);
                let min_bytes = min_bytes.min(max_bytes);
                Request::Fetch { max_wait_ms, min_bytes, max_bytes, partitions, rack }
            }
            other => other,
        };
        self.throttles.asked.insert(id, client);
        Some(request)
    }

    /// How long the client of an answer shall be silent, in milliseconds.
    pub(crate) fn throttle(&mut self, id: RequestId, response: &Response) -> u32 {
        let Some(client) = self.throttles.asked.remove(&id) else { return 0 };
        let (quotas, now) = (self.view.quotas(), self.now.mono);
        let own = match response {
            Response::Produce { .. } => Some(Limit::Produce),
            Response::Fetch { partitions } => {
                let batches = partitions.iter().flat_map(|part| &part.batches);
                let bytes = batches.map(|batch| batch.bytes.len()).sum();
                self.throttles.take(quotas, Limit::Fetch, &client, cost(bytes), now);
                Some(Limit::Fetch)
            }
            _ => None,
        };
        let mut longest = 0;
        for limit in own.into_iter().chain([Limit::Request]) {
            let ms = self.throttles.wait_ms(quotas, limit, &client, now);
            self.throttles.count(limit, ms);
            longest = longest.max(ms);
        }
        longest
    }

    /// Nobody waits for that answer any more.
    pub(crate) fn forget_client(&mut self, id: RequestId) {
        self.throttles.asked.remove(&id);
    }

    /// Whether the time that this client's requests take has to be told by [`spent`](Self::spent).
    pub fn measures(&self, client: &Client) -> bool {
        self.view.quotas().find(Limit::Request, client.user(), &client.client_id).is_some()
    }

    /// A request of this client took that long.
    pub fn spent(&mut self, client: &Client, us: u64) {
        let cost = f64::from(u32::try_from(us).unwrap_or(u32::MAX));
        self.throttles.take(self.view.quotas(), Limit::Request, client, cost, self.now.mono);
    }

    /// What quotas have done so far.
    pub fn quota_figures(&self) -> QuotaFigures {
        self.throttles.figures
    }

    /// The quotas that this node knows of.
    pub fn quotas(&self) -> &Quotas {
        self.view.quotas()
    }

    pub(crate) fn describe_quotas(&self, filter: &QuotaFilter) -> Vec<QuotaEntry> {
        let fits = |(entity, _): &(&Entity, _)| filter.fits(entity);
        let entry = |(entity, limits): (&Entity, &super::metadata::quotas::Limits)| QuotaEntry {
            entity: entity.clone(),
            limits: limits.iter().map(|(limit, rate)| (*limit, rate.get())).collect(),
        };
        self.view.quotas().iter().filter(fits).map(entry).collect()
    }

    /// The command of one entry, or why there is none.
    pub(crate) fn plan_quota(quota: &AlterQuota) -> Result<(ShardId, Command), (ErrorCode, String)> {
        let invalid = |message: String| Err((ErrorCode::InvalidRequest, message));
        if !quota.entity.is_valid() {
            return invalid(
                "a quota is for a user, a client id or both, with names of at most 1024 bytes".into(),
            );
        }
        let mut changes = Vec::with_capacity(quota.changes.len());
        for (key, value) in &quota.changes {
            let Some(limit) = Limit::ALL.into_iter().find(|limit| limit.key() == key) else {
                let known = Limit::ALL.map(Limit::key).join(", ");
                return invalid(format!("Invalid configuration key {key}; there are {known}"));
            };
            let rate = match value {
                None => None,
                Some(value) => Some(Rate::new(*value).ok_or_else(|| {
                    (ErrorCode::InvalidRequest, format!("Quota {key} must be greater than 0, not {value}"))
                })?),
            };
            if changes.iter().any(|(other, _)| *other == limit) {
                return invalid(format!("Duplicate quota key {key}"));
            }
            changes.push((limit, rate));
        }
        let entity = quota.entity.clone();
        Ok((ShardId(0), Command::AlterQuota { entity, changes }))
    }
}

/// A second's worth of a rate in bytes, 1 at least.
fn whole(rate: Rate) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to the range before"
    )]
    let bytes = rate.get().clamp(1.0, f64::from(u32::MAX)) as u32;
    bytes
}

impl QuotaFilter {
    fn fits(&self, entity: &Entity) -> bool {
        let fits = |part: &Option<QuotaMatch>, which: &Option<Which>| match (part, which) {
            (None, None) => true,
            (None, Some(_)) => !self.strict,
            (Some(QuotaMatch::Any), which) => which.is_some(),
            (Some(QuotaMatch::Default), which) => *which == Some(Which::Default),
            (Some(QuotaMatch::Named(name)), which) => {
                matches!(which, Some(Which::Named(known)) if known == name)
            }
        };
        fits(&self.user, &entity.user) && fits(&self.client_id, &entity.client_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_says_how_long_to_wait() {
        let mut bucket = Bucket::new(1.0, Time(0));
        bucket.level -= 1_000_000.0;
        assert_eq!(bucket.wait_ms(), 0, "the first second is there at once");
        bucket.level -= 500_001.0;
        assert_eq!(bucket.wait_ms(), 501);
        bucket.fill(1.0, Time(400_000));
        assert_eq!(bucket.wait_ms(), 101);
        bucket.fill(2.0, Time(500_000));
        assert_eq!(bucket.wait_ms(), 1, "the old rate counts until now");
        bucket.fill(2.0, Time(u64::MAX));
        assert!(bucket.is_full(Time(u64::MAX)));
        bucket.level = -1e18;
        assert_eq!(bucket.wait_ms(), THROTTLE_MS_MAX);
    }

    quickcheck::quickcheck! {
        /// Whoever waits as it is told gets the rate, a second's worth, and its last request.
        fn over_any_time_a_client_gets_no_more_than_its_rate(requests: Vec<(u16, u16)>, rate: u16) -> bool {
            let rate = f64::from(rate.max(5_000)) / 1_000_000.0;
            let mut bucket = Bucket::new(rate, Time(0));
            let (mut now, mut taken) = (0_u64, 0.0);
            requests.into_iter().all(|(pause_ms, bytes)| {
                now += u64::from(pause_ms % 300) * 1_000 + u64::from(bucket.wait_ms()) * 1_000;
                bucket.fill(rate, Time(now));
                bucket.level -= f64::from(bytes);
                taken += f64::from(bytes);
                taken <= rate * (now as f64 + BURST_US) + f64::from(bytes) + 1.0
            })
        }
    }
}
