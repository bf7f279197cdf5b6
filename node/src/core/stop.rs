//! The graceful stop: leadership goes to those who are in sync, what is staged gets synced, then the node says so.

use mesh::raft::Input;
use storage::{Disk, LogId};

use super::node::{Node, Timer};
use super::{Effect, after_ms};

impl<D: Disk> Node<D> {
    pub(crate) fn stop(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        let deadline = after_ms(self.now.mono, self.config.stop_ms);
        self.stopping = Some(deadline);
        self.set_timer(deadline, Timer::Stop);
        self.hand_over();
        let unsaved: Vec<LogId> =
            self.partitions.values().filter(|p| p.applied > p.checkpointed).map(|p| p.log).collect();
        unsaved.into_iter().for_each(|log| self.checkpoint(log));
    }

    /// Asks one successor of each partition led here. Asked again until it worked: the first may be slow.
    pub(crate) fn hand_over(&mut self) {
        for log in self.led_logs() {
            if let Some(successor) = self.another_leader(log, |_| true) {
                self.drive(log, Input::Transfer(successor));
            }
        }
    }

    pub(crate) fn stop_due(&mut self) {
        self.stopped = true;
    }

    /// After each step: whether the stop is done.
    pub(crate) fn stop_progress(&mut self) {
        let Some(deadline) = self.stopping else { return };
        // Without anyone who could take over there is nothing to wait for.
        let leading = || self.led_logs().into_iter().any(|log| self.another_leader(log, |_| true).is_some());
        if self.now.mono < deadline && leading() {
            return;
        }
        if !self.workers.committing() && !self.said_stopped {
            self.said_stopped = true;
            self.stopped = true;
            self.out.push(Effect::Stopped);
        }
    }
}
