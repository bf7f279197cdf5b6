//! What nodes say to each other, counted.

use std::collections::BTreeMap;
use std::io;

use node::core::message::{News, PeerMessage};

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// Liveness between nodes.
    Heartbeat,
    /// Replica sets: votes, appends, their heartbeats.
    Raft,
    /// Topics, descriptors and nodes on their way to all, with the questions about them.
    Metadata,
    /// Who leads what.
    Leaders,
    /// Commands, reports and questions of replicas.
    Orders,
}

/// Messages and bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

/// All that was sent since the last reset.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    classes: BTreeMap<Class, Count>,
    /// Bytes by sender: the busiest shows what is not spread.
    by_sender: BTreeMap<usize, Count>,
    /// Leaders that were put into the directory.
    pub(super) published: u64,
}

impl Traffic {
    /// Counts a message and says how long it is.
    pub(super) fn count(&mut self, from: usize, message: &PeerMessage) -> u64 {
        let mut sink = Length(0);
        _ = bincode::serde::encode_into_std_write(message, &mut sink, bincode::config::standard());
        for count in
            [self.classes.entry(class_of(message)).or_default(), self.by_sender.entry(from).or_default()]
        {
            count.messages += 1;
            count.bytes += sink.0;
        }
        sink.0
    }

    /// One class.
    pub(super) fn of(&self, class: Class) -> Count {
        self.classes.get(&class).copied().unwrap_or_default()
    }

    /// What the sender of the most bytes sent.
    pub(super) fn busiest(&self) -> Count {
        self.by_sender.values().copied().max_by_key(|count| count.bytes).unwrap_or_default()
    }
}

struct Length(u64);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn class_of(message: &PeerMessage) -> Class {
    match message {
        PeerMessage::Heartbeat(_) | PeerMessage::Swim(_) | PeerMessage::Outlived(_) => Class::Heartbeat,
        PeerMessage::Raft { .. } | PeerMessage::HandOver { .. } => Class::Raft,
        PeerMessage::ShardPoll { .. }
        | PeerMessage::ShardUpdate(_)
        | PeerMessage::ShardAsk { .. }
        | PeerMessage::ShardCurrent { .. }
        | PeerMessage::Notes { .. }
        | PeerMessage::Known { .. }
        | PeerMessage::PassOn { news: News::Shard(_), .. } => Class::Metadata,
        PeerMessage::Leaders(_)
        | PeerMessage::LeaderBuckets { .. }
        | PeerMessage::LeadersOf { .. }
        | PeerMessage::PassOn { news: News::Leaders(_), .. } => Class::Leaders,
        PeerMessage::Forward { .. }
        | PeerMessage::Forwarded { .. }
        | PeerMessage::Report { .. }
        | PeerMessage::AskFate { .. }
        | PeerMessage::Fate { .. } => Class::Orders,
    }
}
