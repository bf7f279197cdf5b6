//! What became of the records that were sent, counted by librdkafka's thread and read by ours.

use super::histogram::Histogram;
use crate::clock;
use crate::settings::Settings;
use rafka::kafka::{self, Listener};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::ProducerContext;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A producer's context. Times are microseconds since `epoch`.
pub(super) struct Tally {
    listener: Listener,
    epoch: Instant,
    counts: Mutex<Counts>,
}

/// Acknowledged records of the measured time.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) latency: Histogram,
    /// Since it was taken last.
    pub(super) recent: Histogram,
    pub(super) errors: BTreeMap<String, u64>,
    /// The measured time is over: only errors count.
    pub(super) closed: bool,
    /// What is still under way was given up by the user: nothing counts any more.
    pub(super) given_up: bool,
}

impl Tally {
    pub(super) fn new(settings: &Settings, epoch: Instant) -> Tally {
        Tally { listener: Listener::new(&settings.mesh()), epoch, counts: Mutex::default() }
    }

    pub(super) fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Microseconds since the epoch.
    pub(super) fn now(&self) -> u64 {
        micros(self.epoch)
    }

    /// Forgets what was counted so far: it was the warm-up. Errors stay.
    pub(super) fn restart(&self) {
        let mut counts = self.counts();
        *counts = Counts { errors: std::mem::take(&mut counts.errors), ..Counts::default() };
    }

    /// A record that was not even taken.
    pub(super) fn refused(&self, error: &KafkaError) {
        *self.counts().errors.entry(kafka::reason(error)).or_default() += 1;
    }
}

/// Microseconds since an instant.
pub(super) fn micros(since: Instant) -> u64 {
    u64::try_from(clock::now().saturating_duration_since(since).as_micros()).unwrap_or(u64::MAX)
}

impl ClientContext for Tally {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.listener.log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.listener.error(error, reason);
    }
}

impl ProducerContext for Tally {
    /// When the record was due.
    type DeliveryOpaque = usize;

    fn delivery(&self, delivery: &DeliveryResult<'_>, due: usize) {
        let now = self.now();
        let mut counts = self.counts();
        match delivery {
            _ if counts.given_up => {}
            Ok(_) if counts.closed => {}
            Ok(message) => {
                let bytes = message.key().map_or(0, <[u8]>::len) + message.payload().map_or(0, <[u8]>::len);
                let latency = now.saturating_sub(due as u64);
                counts.records += 1;
                counts.bytes += bytes as u64;
                counts.latency.record(latency);
                counts.recent.record(latency);
            }
            Err((error, _)) => *counts.errors.entry(kafka::reason(error)).or_default() += 1,
        }
    }
}
