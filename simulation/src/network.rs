//! The links between nodes, each in one direction: delay, loss, reordering, duplicates, cuts and clogs.

use std::collections::VecDeque;

use crate::queue::{MS, Micros};
use crate::random::Random;

/// How links behave, drawn per seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkProfile {
    /// Typical one-way delay.
    pub(crate) delay: Micros,
    /// Messages lost per million.
    pub(crate) loss_ppm: u32,
    /// Messages delivered twice per million.
    pub(crate) duplicate_ppm: u32,
    /// Messages that may be overtaken per million; the others keep their order.
    pub(crate) reorder_ppm: u32,
}

impl LinkProfile {
    /// A healthy network.
    pub(crate) const fn healthy() -> Self {
        Self { delay: MS / 2, loss_ppm: 0, duplicate_ppm: 0, reorder_ppm: 0 }
    }
}

/// Most bytes on the way over one link; a transport drops what is beyond.
const IN_FLIGHT_BYTES_MAX: u64 = 64 << 20;

/// What becomes of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing.
    Lost,
    /// It waits for the clog to go.
    Held,
    /// It arrives then, and a second time when there is another.
    Arrives(Micros, Option<Micros>),
}

struct Link<M> {
    cuts: u32,
    clogs: u32,
    latest: Micros,
    held: VecDeque<M>,
    in_flight_bytes: u64,
}

impl<M> Default for Link<M> {
    fn default() -> Self {
        Self { cuts: 0, clogs: 0, latest: 0, held: VecDeque::new(), in_flight_bytes: 0 }
    }
}

/// All links among `hosts` nodes. `M` is what a clogged link keeps.
pub(crate) struct Network<M> {
    hosts: usize,
    links: Vec<Link<M>>,
    profile: LinkProfile,
    random: Random,
    /// Links with at least one cut.
    cut: usize,
}

impl<M> Network<M> {
    /// Healthy links with this profile.
    pub(crate) fn new(hosts: usize, profile: LinkProfile, random: Random) -> Self {
        let links = (0..hosts * hosts).map(|_| Link::default()).collect();
        Self { hosts, links, profile, random, cut: 0 }
    }

    fn link(&mut self, from: usize, to: usize) -> &mut Link<M> {
        &mut self.links[from * self.hosts + to]
    }

    /// Whether messages are dropped on this link.
    pub(crate) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.links[from * self.hosts + to].cuts > 0
    }

    /// Decides what becomes of a message of `bytes` that is sent now.
    pub(crate) fn send(&mut self, now: Micros, from: usize, to: usize, bytes: u64) -> Fate {
        let profile = self.profile;
        let lost = self.random.ppm(profile.loss_ppm);
        let reordered = self.random.ppm(profile.reorder_ppm);
        let delay = self.random.tailed(profile.delay) + bytes / 128;
        let twice = self.random.ppm(profile.duplicate_ppm).then(|| self.random.tailed(profile.delay * 8));
        let link = self.link(from, to);
        if link.cuts > 0 || lost || link.in_flight_bytes > IN_FLIGHT_BYTES_MAX {
            return Fate::Lost;
        }
        link.in_flight_bytes += bytes;
        if link.clogs > 0 {
            return Fate::Held;
        }
        let at = if reordered { now + delay * 4 } else { (now + delay).max(link.latest + 1) };
        if !reordered {
            link.latest = at;
        }
        Fate::Arrives(at, twice.map(|later| at + later))
    }

    /// Keeps a message until the clog goes.
    pub(crate) fn hold(&mut self, from: usize, to: usize, message: M) {
        self.link(from, to).held.push_back(message);
    }

    /// A message is no longer on the way.
    pub(crate) fn done(&mut self, from: usize, to: usize, bytes: u64) {
        let link = self.link(from, to);
        link.in_flight_bytes = link.in_flight_bytes.saturating_sub(bytes);
    }

    /// Cuts a link; cuts are counted.
    pub(crate) fn cut(&mut self, from: usize, to: usize) {
        let link = self.link(from, to);
        link.cuts += 1;
        let first = link.cuts == 1;
        self.cut += usize::from(first);
    }

    /// Undoes one cut; true when the link works again.
    pub(crate) fn mend(&mut self, from: usize, to: usize) -> bool {
        let link = self.link(from, to);
        let was = link.cuts;
        link.cuts = was.saturating_sub(1);
        let works = link.cuts == 0;
        self.cut -= usize::from(was == 1);
        works
    }

    /// Whether any link is cut.
    pub(crate) fn is_split(&self) -> bool {
        self.cut > 0
    }

    /// Clogs a link; clogs are counted.
    pub(crate) fn clog(&mut self, from: usize, to: usize) {
        self.link(from, to).clogs += 1;
    }

    /// Whether messages are held on this link.
    pub(crate) fn is_clogged(&self, from: usize, to: usize) -> bool {
        self.links[from * self.hosts + to].clogs > 0
    }

    /// Undoes one clog; what was held comes out when it was the last.
    pub(crate) fn release(&mut self, from: usize, to: usize) -> VecDeque<M> {
        let link = self.link(from, to);
        link.clogs = link.clogs.saturating_sub(1);
        if link.clogs == 0 { std::mem::take(&mut link.held) } else { VecDeque::new() }
    }

    /// From now on links behave like this.
    pub(crate) fn behave(&mut self, profile: LinkProfile) {
        self.profile = profile;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(profile: LinkProfile) -> Network<u32> {
        Network::new(2, profile, Random::new(4))
    }

    #[test]
    fn a_healthy_link_keeps_order() {
        let mut network = network(LinkProfile::healthy());
        let mut latest = 0;
        for now in 0..1000 {
            let Fate::Arrives(at, None) = network.send(now * 10, 0, 1, 100) else { panic!("lost") };
            assert!(at > latest);
            latest = at;
        }
    }

    #[test]
    fn cuts_nest_and_are_one_way() {
        let mut network = network(LinkProfile::healthy());
        network.cut(0, 1);
        network.cut(0, 1);
        assert_eq!(network.send(0, 0, 1, 1), Fate::Lost);
        assert_ne!(network.send(0, 1, 0, 1), Fate::Lost);
        assert!(!network.mend(0, 1));
        assert!(network.mend(0, 1));
        assert_ne!(network.send(0, 0, 1, 1), Fate::Lost);
    }

    #[test]
    fn a_clog_holds_and_releases() {
        let mut network = network(LinkProfile::healthy());
        network.clog(0, 1);
        assert_eq!(network.send(0, 0, 1, 1), Fate::Held);
        network.hold(0, 1, 77);
        assert_eq!(network.release(0, 1), VecDeque::from([77]));
    }

    #[test]
    fn a_bad_link_loses_doubles_and_reorders() {
        let profile =
            LinkProfile { delay: 100, loss_ppm: 100_000, duplicate_ppm: 100_000, reorder_ppm: 100_000 };
        let mut network = network(profile);
        let (mut lost, mut doubled, mut overtaken, mut latest) = (0, 0, 0, 0);
        for now in 0..1000 {
            match network.send(now * 50, 0, 1, 10) {
                Fate::Lost => lost += 1,
                Fate::Held => panic!("not clogged"),
                Fate::Arrives(at, second) => {
                    doubled += u32::from(second.is_some());
                    overtaken += u32::from(at < latest);
                    latest = latest.max(at);
                }
            }
        }
        assert!(lost > 50 && doubled > 50 && overtaken > 20, "{lost} {doubled} {overtaken}");
    }
}
