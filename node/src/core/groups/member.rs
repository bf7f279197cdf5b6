//! One member of a classic group.

use bytes::Bytes;
use mesh::raft::Time;

use super::api::{DescribedMember, JoinGroup};
use super::record::StoredMember;
use crate::core::after_ms;
use crate::core::partition::Waiter;

/// A member, and who waits on its behalf.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) id: String,
    pub(super) instance: Option<String>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) rebalance_timeout_ms: u32,
    pub(super) session_timeout_ms: u32,
    /// In its order of preference, each with its metadata.
    pub(super) protocols: Vec<(String, Bytes)>,
    pub(super) assignment: Bytes,
    /// Its JoinGroup that is not answered yet.
    pub(super) joining: Option<Waiter>,
    /// Its SyncGroup that is not answered yet.
    pub(super) syncing: Option<Waiter>,
    /// It asked for its share of the present generation.
    pub(super) synced: bool,
    /// It is out when nothing is heard of it until then.
    pub(super) session_ends: Time,
}

/// Milliseconds of a request; what is below 0 counts as 0.
pub(super) fn ms(value: i32) -> u32 {
    u32::try_from(value).unwrap_or(0)
}

impl Member {
    pub(super) fn new(id: String, join: &JoinGroup, now: Time) -> Self {
        let mut member = Self {
            id,
            instance: join.instance.clone(),
            client_id: join.client_id.clone(),
            client_host: join.client_host.clone(),
            rebalance_timeout_ms: 0,
            session_timeout_ms: 0,
            protocols: Vec::new(),
            assignment: Bytes::new(),
            joining: None,
            syncing: None,
            synced: false,
            session_ends: now,
        };
        member.update(join);
        member.heard(now);
        member
    }

    /// Of a stored group: it has until its session ends to say that it is still there.
    pub(super) fn restored(stored: StoredMember, protocol: Option<&String>, now: Time) -> Self {
        let mut member = Self {
            id: stored.member,
            instance: stored.instance,
            client_id: stored.client_id,
            client_host: stored.client_host,
            rebalance_timeout_ms: ms(stored.rebalance_timeout_ms),
            session_timeout_ms: ms(stored.session_timeout_ms),
            protocols: protocol.map(|name| (name.clone(), stored.subscription)).into_iter().collect(),
            assignment: stored.assignment,
            joining: None,
            syncing: None,
            synced: true,
            session_ends: now,
        };
        member.heard(now);
        member
    }

    /// Takes what a JoinGroup says of it. Version 0 has no rebalance timeout: the Kafka layer puts the session timeout there.
    pub(super) fn update(&mut self, join: &JoinGroup) {
        self.rebalance_timeout_ms = ms(join.rebalance_timeout_ms);
        self.session_timeout_ms = ms(join.session_timeout_ms);
        self.protocols.clone_from(&join.protocols);
        self.client_id.clone_from(&join.client_id);
        self.client_host.clone_from(&join.client_host);
    }

    pub(super) fn heard(&mut self, now: Time) {
        self.session_ends = after_ms(now, u64::from(self.session_timeout_ms));
    }

    /// Whether it may still be there: while the coordinator owes it an answer it has nothing to say.
    pub(super) fn is_alive(&self, now: Time) -> bool {
        self.joining.is_some() || self.syncing.is_some() || self.session_ends > now
    }

    /// What it said with a protocol; empty when it does not have it.
    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols
            .iter()
            .find(|(name, _)| name == protocol)
            .map(|(_, bytes)| bytes.clone())
            .unwrap_or_default()
    }

    /// Bytes that it takes in its group's record at most.
    pub(super) fn bytes(&self) -> usize {
        let names = self.id.len() + self.client_id.len() + self.client_host.len();
        let instance = self.instance.as_ref().map_or(0, String::len);
        protocol_bytes(&self.protocols) + self.assignment.len() + names + instance
    }

    pub(super) fn stored(&self, protocol: &str) -> StoredMember {
        let signed = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
        StoredMember {
            member: self.id.clone(),
            instance: self.instance.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            rebalance_timeout_ms: signed(self.rebalance_timeout_ms),
            session_timeout_ms: signed(self.session_timeout_ms),
            subscription: self.metadata(protocol),
            assignment: self.assignment.clone(),
        }
    }

    pub(super) fn described(&self, protocol: &str, assigned: bool) -> DescribedMember {
        DescribedMember {
            member: self.id.clone(),
            instance: self.instance.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            metadata: self.metadata(protocol),
            assignment: if assigned { self.assignment.clone() } else { Bytes::new() },
        }
    }
}

/// Bytes of what a member brings, names included.
pub(super) fn protocol_bytes(protocols: &[(String, Bytes)]) -> usize {
    protocols.iter().map(|(name, metadata)| name.len() + metadata.len()).sum()
}
