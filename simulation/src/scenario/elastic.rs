//! Nodes join, topics come and go, and the shards that would say so have no leader.

use super::Kind;
use crate::fault::Class;
use crate::queue::SECOND;

pub(super) const KIND: Kind = Kind {
    name: "elastic",
    about: "machines join, topics are made, deleted and made again, shards lose their leaders, hints lie",
    hosts: &[1, 3, 3],
    joins: &[1, 2],
    classes: &[Class::Leaderless, Class::Crashes, Class::Stops, Class::Splits, Class::OldCopies],
    bend: |scenario, random| {
        scenario.topic_churn = Some(random.within(3, 8) * SECOND);
        scenario.traits.push("busy administrator".into());
    },
};
