//! What happened, as one digest; as text only when somebody reads it.

use std::collections::{BTreeSet, VecDeque};

use crate::queue::Micros;

/// Whether and where text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    /// Nowhere: only the digest is kept.
    Silent,
    /// To standard output as it happens.
    Print,
    /// The last events of each node are kept for a failure report.
    Keep,
}

/// Events kept per node.
const KEPT: usize = 40;

/// The trace of a run.
pub(crate) struct Trace {
    hasher: blake3::Hasher,
    buffer: Vec<u8>,
    telling: Telling,
    /// Per node, and for the world last.
    recent: Vec<VecDeque<(Micros, String)>>,
}

impl Trace {
    /// An empty trace of `hosts` nodes.
    pub(crate) fn new(hosts: usize, telling: Telling) -> Self {
        let recent = (0..=hosts).map(|_| VecDeque::new()).collect();
        Self { hasher: blake3::Hasher::new(), buffer: Vec::with_capacity(1 << 16), telling, recent }
    }

    /// Adds numbers to the digest.
    pub(crate) fn fold(&mut self, fields: &[u64]) {
        for field in fields {
            self.buffer.extend_from_slice(&field.to_le_bytes());
        }
        self.flush();
    }

    /// The buffer of the digest: append to it, then call [`flush`](Self::flush).
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Hashes the buffer when it is large.
    pub(crate) fn flush(&mut self) {
        if self.buffer.len() > 1 << 15 {
            self.hasher.update(&self.buffer);
            self.buffer.clear();
        }
    }

    /// The digest of everything so far.
    pub(crate) fn digest(&mut self) -> String {
        self.hasher.update(&self.buffer);
        self.buffer.clear();
        self.hasher.finalize().to_hex()[..32].to_owned()
    }

    /// Whether anybody reads text.
    pub(crate) fn is_read(&self) -> bool {
        self.telling != Telling::Silent
    }

    /// Says something about a host, or about the world.
    pub(crate) fn tell(&mut self, now: Micros, host: Option<usize>, text: impl FnOnce() -> String) {
        match self.telling {
            Telling::Silent => {}
            Telling::Print => {
                let who = host.map_or("world".to_owned(), |host| format!("node {}", host + 1));
                // A closed pipe is the reader's choice.
                let line = format!("{:>11.6}s {who} {}\n", now as f64 / 1e6, text());
                _ = std::io::Write::write_all(&mut std::io::stdout().lock(), line.as_bytes());
            }
            Telling::Keep => {
                let last = self.recent.len() - 1;
                let kept = &mut self.recent[host.unwrap_or(last)];
                if kept.len() == KEPT {
                    kept.pop_front();
                }
                kept.push_back((now, text()));
            }
        }
    }

    /// The last events of these hosts and of the world, oldest first.
    pub(crate) fn recent(&self, hosts: &BTreeSet<usize>) -> Vec<String> {
        let mut all: Vec<(Micros, usize, &String)> = Vec::new();
        let world = self.recent.len() - 1;
        let told = |who: &usize| *who == world || hosts.contains(who);
        for (who, kept) in self.recent.iter().enumerate().filter(|(who, _)| told(who)) {
            all.extend(kept.iter().map(|(at, text)| (*at, who, text)));
        }
        all.sort_by_key(|(at, _, _)| *at);
        let line = |(at, who, text): (Micros, usize, &String)| {
            let who = if who == world { "world".to_owned() } else { format!("node {}", who + 1) };
            format!("{:>11.6}s {who} {text}", at as f64 / 1e6)
        };
        all.into_iter().map(line).collect()
    }
}
