//! Several groups whose members come and go while coordinators crash, are cut off and move.

use super::{Kind, pieces};
use crate::fault::Class;

pub(super) const KIND: Kind = Kind {
    name: "groups",
    about: "consumer groups whose members crash, are slow, leave and come back while coordinators move",
    hosts: &[1, 3, 3, 3, 4],
    joins: &[0, 0, 1],
    classes: &[Class::Crashes, Class::PowerCuts, Class::Stops, Class::Splits, Class::Ambushes],
    bend: |scenario, random| {
        scenario.members = pieces::members(random);
        pieces::groups(random, &mut scenario.node);
        scenario.producers.truncate(2);
        scenario.consumers.truncate(1);
        scenario.traits.push(format!("{} members of groups", scenario.members.len()));
    },
};
