//! What consumer groups come through.

use std::collections::{BTreeMap, BTreeSet};

use node::core::error::ErrorCode;
use node::core::groups::api::{GroupRequest, GroupResponse};
use node::core::request::{Request, RequestId, Response};

use super::{Fact, Scene, Situation, Tally, Watch};

const SHARED: Situation = Situation("a group of several members shared its partitions");
const LOADING: Situation = Situation("a coordinator that is loading refuses");
const MOVED: Situation = Situation("a node that does not coordinate a group any more refuses");
const OLD: Situation = Situation("a member of an older generation is refused");
const GONE: Situation = Situation("a member that was silent for too long is refused");
const FENCED: Situation = Situation("a static member is fenced by the one that took its place");
const KEPT: Situation = Situation("a static member came back without a rebalance");
const FOLLOWED: Situation = Situation("a generation shared by a coordinator that came later");
const COMMITTED: Situation = Situation("an offset committed");

/// Watches answers.
#[derive(Default)]
pub(super) struct Groups {
    asked: BTreeMap<RequestId, GroupRequest>,
    /// Groups whose members were told to look for another coordinator since they last shared.
    moved: BTreeSet<String>,
}

impl Groups {
    fn answered(&mut self, request: &GroupRequest, response: &GroupResponse, tally: &mut Tally) {
        for error in response.errors() {
            match error {
                ErrorCode::CoordinatorLoadInProgress => tally.count(LOADING),
                ErrorCode::NotCoordinator => tally.count(MOVED),
                ErrorCode::IllegalGeneration => tally.count(OLD),
                ErrorCode::UnknownMemberId => tally.count(GONE),
                ErrorCode::FencedInstanceId => tally.count(FENCED),
                _ => {}
            }
        }
        match (request, response) {
            (GroupRequest::Join(join), GroupResponse::Join(joined)) => {
                tally.count_if(joined.members.len() > 1, SHARED);
                let back = join.member.is_empty() && joined.error == ErrorCode::None && joined.generation > 0;
                tally.count_if(back && joined.skip_assignment, KEPT);
                if joined.error == ErrorCode::NotCoordinator {
                    self.moved.insert(join.group.clone());
                }
            }
            (GroupRequest::Heartbeat(of), GroupResponse::Heartbeat(ErrorCode::NotCoordinator)) => {
                self.moved.insert(of.group.clone());
            }
            (GroupRequest::Sync(sync), GroupResponse::Sync(synced)) => {
                let shared = synced.error == ErrorCode::None;
                tally.count_if(shared && self.moved.remove(&sync.of.group), FOLLOWED);
            }
            (GroupRequest::CommitOffsets(_), GroupResponse::CommitOffsets { partitions }) => {
                tally.count_if(partitions.iter().any(|part| part.error == ErrorCode::None), COMMITTED);
            }
            _ => {}
        }
    }
}

impl Watch for Groups {
    fn situations(&self) -> &'static [Situation] {
        &[SHARED, LOADING, MOVED, OLD, GONE, FENCED, KEPT, FOLLOWED, COMMITTED]
    }

    fn see(&mut self, _scene: &Scene, fact: &Fact<'_>, tally: &mut Tally) {
        match fact {
            Fact::Asked { id, request: Request::Group(request) } => {
                self.asked.insert(*id, request.clone());
            }
            Fact::Answered { id, response: Response::Group(response) } => {
                if let Some(request) = self.asked.remove(id) {
                    self.answered(&request, response, tally);
                }
            }
            _ => {}
        }
    }
}
