//! Quiescence: a replica set in which nothing is to do sends nothing and has no timer.
//!
//! ```text
//! leader    idle for `quiet_after_us` or since it began, all committed, every member that is not down has it all
//!             -> its heartbeats ask for quiet; asks again at each interval
//! follower  has all that the leader committed, synced and committed -> confirms, quiet: no election timer
//! leader    all members that are not down confirmed -> quiet: no heartbeats, no check of the quorum
//! ```
//!
//! From then on the owner answers for the two ends: it must hear of each node that holds a member whether it is live, and say
//! [`Input::PeerDown`] when it no longer is, [`Input::PeerUp`] when it is again, and [`Input::Wake`] when a live node admits that a
//! replica of it ceased without a word. What wakes:
//!
//! | who is quiet | wakes when |
//! |---|---|
//! | leader | anything is asked of it, a member's node goes down or comes back, a message other than a confirmation comes |
//! | follower | its leader's node goes down, its leader speaks, somebody campaigns, the owner says so |
//!
//! A follower that wakes tells its leader, which wakes too; if that is no leader any more, the election timer runs. So a follower is
//! never left quiet by a leader that is not there: that one's process is gone (`PeerDown`), or it follows or campaigns with a timer
//! of its own, or its node admitted it (`Wake`). Nothing here decides what is committed or who may lead.

use super::effects::Input;
use super::leader::Leader;
use super::message::Message;
use super::replica::{Core, Replica, State, Step};
use super::types::{Index, ReplicaId, Time};
use crate::mutant::{self, Mutant};

/// How far a leader is on the way to quiet.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// The last entry when it was looked at, and since when that stands.
    stands: Option<(Index, Time)>,
    /// The first heartbeat that asked for quiet, as long as nothing happened since.
    asked: Option<u64>,
    /// Everyone confirmed.
    quiet: bool,
}

impl Rest {
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// What nodes do is looked at where it is taken.
    fn ends_with(&self, input: &Input) -> bool {
        match input {
            Input::Tick
            | Input::Synced(_)
            | Input::Loaded
            | Input::SetLogStart(_)
            | Input::PeerUp(_)
            | Input::Grant { .. }
            | Input::PeerDown { .. } => false,
            Input::Message { message, .. } => {
                self.quiet && !matches!(message, Message::HeartbeatReply { quiet: true, .. })
            }
            _ => true,
        }
    }
}

impl Replica {
    /// Whether it has no timer for now, because nothing is to do and others vouch that the replica set is whole.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        match &self.state {
            State::Leader(leader) => leader.rest.quiet,
            State::Follower => self.core.quiet,
            _ => false,
        }
    }

    /// Before an input is looked at: whether it ends the quiet.
    pub(super) fn rouse(&mut self, input: &Input, step: &mut Step<'_>) {
        match &mut self.state {
            State::Leader(leader) if leader.rest.ends_with(input) => self.wake(step),
            State::Follower if wakes_follower(input) => self.wake(step),
            _ => {}
        }
    }

    pub(super) fn wake(&mut self, step: &mut Step<'_>) {
        let core = &mut self.core;
        match &mut self.state {
            State::Leader(leader) => leader.wake(core, step),
            State::Follower if core.quiet => {
                // Until now its node vouched for the leader.
                core.leader_heard = core.now;
                core.end_quiet();
                core.answer_heartbeat(step);
            }
            _ => {}
        }
    }
}

/// What its leader says ends the quiet where it is taken.
fn wakes_follower(input: &Input) -> bool {
    match input {
        Input::Wake => true,
        Input::Message { message, .. } => {
            matches!(message, Message::PreVote { .. } | Message::Vote { .. })
        }
        _ => false,
    }
}

impl Leader {
    /// Anything happened. What was quiet speaks up, so that the others are awake as well.
    pub(super) fn wake(&mut self, core: &Core, step: &mut Step<'_>) {
        self.rest.stands = None;
        self.rest.asked = None;
        for peer in self.peers.iter_mut().filter(|peer| peer.quiet) {
            peer.quiet = false;
            peer.caught_up(core.now);
            peer.heard_at = core.now;
            peer.recent = true;
        }
        if std::mem::take(&mut self.rest.quiet) {
            self.check_later(core);
            self.broadcast_heartbeat(core, step);
        }
    }

    /// Whether the heartbeat that is due asks for quiet. One that leaves for another reason does not: then something happens.
    pub(super) fn asks_for_quiet(&mut self, core: &Core) -> bool {
        let last = core.log.last();
        let since = match self.rest.stands {
            Some((at, since)) if at == last => since,
            _ => core.now,
        };
        self.rest.stands = Some((last, since));
        // Nobody asked anything of this leader yet: of thousands that are elected at once most have nothing to do, and their heartbeats
        // alone would take more than a node has.
        let unused = last == self.first_index;
        let idle = core.config.quiet_after_us.is_some_and(|after| unused || core.now.since(since) >= after);
        let done = core.commit == last
            && core.commit_known
            && core.promised() == last
            && !core.memberships.active().is_joint()
            && self.transfer.is_none()
            && self.reads.is_empty()
            && self.has_quorum(core, |peer| !peer.down)
            && self
                .peers
                .iter()
                .all(|peer| peer.down || peer.matched == last || mutant::active(Mutant::QuietBehind));
        let asks = idle && done;
        if !asks {
            self.rest.asked = None;
            self.peers.iter_mut().for_each(|peer| peer.quiet = false);
        } else if self.rest.asked.is_none() {
            self.rest.asked = Some(self.seq + 1);
        }
        asks
    }

    /// A member answered a heartbeat and said whether it is quiet. When all are, so is the leader.
    pub(super) fn told_quiet(&mut self, from: ReplicaId, seq: u64, quiet: bool) {
        if self.rest.asked.is_none_or(|asked| seq < asked) {
            return;
        }
        for peer in self.peers.iter_mut().filter(|peer| peer.id == from) {
            peer.quiet = quiet;
        }
        self.rest.quiet = self.peers.iter().all(|peer| peer.down || peer.quiet);
    }
}

impl Core {
    /// As a follower: whether the leader's wish for quiet is fulfilled. Its log is the leader's, all of it synced and committed.
    pub(super) fn may_be_quiet(&self, commit: Index, step: &Step<'_>) -> bool {
        if mutant::active(Mutant::QuietBehind) {
            return true;
        }
        !step.hard_state
            && self.log.last() == commit
            && self.matched == commit
            && self.commit == commit
            && self.promised() == commit
            && self.ack_owed.is_none()
            && !self.memberships.active().is_joint()
    }

    pub(super) fn end_quiet(&mut self) {
        if std::mem::take(&mut self.quiet) {
            self.rearm();
        }
    }
}
