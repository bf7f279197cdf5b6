//! Quotas at the node: who is told to be silent, for how long, and what it gets.

use node::core::error::ErrorCode;
use node::core::metadata::quotas::{Entity, Which};
use node::core::request::*;

use crate::steps::{Mesh, batch, produce, produced};

/// About when these nodes run.
const TIME: i64 = 1_700_000_000_000;

impl Mesh {
    fn limit(&mut self, node: i32, client_id: Option<&str>, key: &str, value: Option<f64>) -> ErrorCode {
        let name = client_id.map(str::to_owned);
        let which = name.clone().map_or(Which::Default, Which::Named);
        let entry = AlterQuota {
            named: vec![("client-id".into(), name)],
            entity: Entity { user: None, client_id: Some(which) },
            changes: vec![(key.into(), value)],
        };
        let request = Request::AlterQuotas { entries: vec![entry], validate_only: false };
        let Response::AlterQuotas { entries } = self.ask(node, request) else { panic!("another answer") };
        entries[0].error
    }

    /// Writes as fast as it may for so long, and returns the bytes.
    fn bytes_written(&mut self, name: &str, ms: u64) -> usize {
        let leader = self.leader(name, 0);
        let (began, mut bytes) = (self.elapsed_ms(), 0);
        while self.elapsed_ms() < began + ms {
            let one = batch(0, &[TIME; 200]);
            bytes += one.bytes.len();
            let answered = self.ask(leader, produce(name, one));
            assert_eq!(produced(answered).0, ErrorCode::None);
            self.run(u64::from(self.throttle_ms()));
        }
        bytes
    }

    /// The same of reading one batch after the other.
    fn bytes_read(&mut self, name: &str, ms: u64) -> usize {
        let (began, mut bytes, mut offset) = (self.elapsed_ms(), 0, 0);
        while self.elapsed_ms() < began + ms {
            let result = self.fetch(name, offset, -1);
            assert_eq!(result.error, ErrorCode::None);
            bytes += result.batches.iter().map(|batch| batch.bytes.len()).sum::<usize>();
            offset = if result.batches.is_empty() { offset } else { 0 };
            self.run(u64::from(self.throttle_ms()).max(5));
        }
        bytes
    }
}

#[test]
fn a_quota_holds_for_writing_and_for_reading_and_can_be_taken_back() {
    let mut mesh = Mesh::new(3);
    mesh.create("t", 1);
    for offset in 0..40 {
        assert_eq!(mesh.produce("t", batch(0, &[TIME; 20])), offset * 20);
    }
    let leader = mesh.leader("t", 0);
    let other = leader % 3 + 1;
    let (rate, seconds) = (10_000, 20);
    for key in ["producer_byte_rate", "consumer_byte_rate"] {
        assert_eq!(mesh.limit(other, None, key, Some(f64::from(rate))), ErrorCode::None);
    }
    mesh.run(100);
    for bytes in [mesh.bytes_written("t", seconds * 1_000), mesh.bytes_read("t", seconds * 1_000)] {
        let per_second = bytes as u64 / seconds;
        assert!((9_000..=11_000).contains(&per_second), "{per_second} bytes/s");
    }
    let figures = mesh.node(leader).quota_figures();
    assert!(figures.throttled[0] > 0 && figures.throttled[1] > 0, "{figures:?}");
    for key in ["producer_byte_rate", "consumer_byte_rate"] {
        assert_eq!(mesh.limit(other, None, key, None), ErrorCode::None);
    }
    mesh.run(100);
    mesh.ask(leader, produce("t", batch(0, &[TIME; 100])));
    assert_eq!(mesh.throttle_ms(), 0);
}

#[test]
fn quotas_survive_restarts_and_are_described_by_what_is_asked() {
    let mut mesh = Mesh::new(3);
    assert_eq!(mesh.limit(1, Some("a"), "producer_byte_rate", Some(5.0)), ErrorCode::None);
    assert_eq!(mesh.limit(2, None, "request_percentage", Some(50.0)), ErrorCode::None);
    assert_eq!(mesh.limit(2, None, "no_such", Some(50.0)), ErrorCode::InvalidRequest);
    assert_eq!(mesh.limit(2, None, "producer_byte_rate", Some(0.0)), ErrorCode::InvalidRequest);
    for node in 1..=3 {
        mesh.kill(node);
        mesh.start(node);
        mesh.run(3_000);
    }
    let mut described = |client_id, strict| {
        let filter = QuotaFilter { client_id, user: None, strict };
        let Response::DescribeQuotas { entries } = mesh.ask(3, Request::DescribeQuotas(filter)) else {
            panic!("another answer")
        };
        entries.len()
    };
    assert_eq!(described(Some(QuotaMatch::Any), true), 2);
    assert_eq!(described(Some(QuotaMatch::Default), true), 1);
    assert_eq!(described(Some(QuotaMatch::Named("a".into())), false), 1);
    assert_eq!(described(Some(QuotaMatch::Named("b".into())), false), 0);
    assert_eq!((described(None, true), described(None, false)), (0, 2));
}
