//! LeaveGroup, and members that are gone without a word.

use super::api::Leaving;
use super::coordinator::Step;
use super::group::Group;
use crate::core::error::ErrorCode;

impl Group {
    /// Takes members out, each judged for itself.
    pub(super) fn leave(&mut self, step: &mut Step<'_>, members: Vec<Leaving>) -> Vec<(Leaving, ErrorCode)> {
        let mut left = Vec::with_capacity(members.len());
        for leaving in members {
            let error = match self.leaving_id(&leaving) {
                Ok(id) if self.pending.remove(&id).is_some() => ErrorCode::None,
                Ok(id) => {
                    self.remove(step, &id);
                    ErrorCode::None
                }
                Err(error) => error,
            };
            left.push((leaving, error));
        }
        if left.iter().any(|(_, error)| *error == ErrorCode::None) {
            self.shrunk(step);
        }
        left
    }

    /// An operator may name a static member by its instance alone.
    fn leaving_id(&self, leaving: &Leaving) -> Result<String, ErrorCode> {
        let id = match &leaving.instance {
            Some(instance) if leaving.member.is_empty() => {
                self.statics.get(instance).cloned().ok_or(ErrorCode::UnknownMemberId)?
            }
            instance => {
                self.check_instance(&leaving.member, instance.as_deref())?;
                leaving.member.clone()
            }
        };
        let known = self.members.contains_key(&id) || self.pending.contains_key(&id);
        if known { Ok(id) } else { Err(ErrorCode::UnknownMemberId) }
    }

    /// What is due by now: members that were not heard, ids that nobody used, rebalances that waited long enough.
    pub(super) fn due(&mut self, step: &mut Step<'_>) {
        let before = (self.members.len(), self.pending.len());
        self.pending.retain(|_, until| *until > step.now);
        let silent: Vec<String> =
            self.members.values().filter(|m| !m.is_alive(step.now)).map(|m| m.id.clone()).collect();
        silent.iter().for_each(|id| self.remove(step, id));
        if self.sync_ends.is_some_and(|ends| ends <= step.now) {
            self.sync_ends = None;
            let late: Vec<String> =
                self.members.values().filter(|m| !m.synced).map(|m| m.id.clone()).collect();
            late.iter().for_each(|id| self.remove(step, id));
        }
        if before != (self.members.len(), self.pending.len()) {
            self.shrunk(step);
        }
        if self.gathering.is_some_and(|gathering| gathering.ends() <= step.now) {
            self.gathered(step);
        }
    }
}
