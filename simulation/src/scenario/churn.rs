//! Nodes join, are drained, decommissioned and taken back, stay away until they are called dead, and return, all the time.

use super::Kind;
use crate::fault::Class;
use crate::queue::SECOND;

pub(super) const KIND: Kind = Kind {
    name: "churn",
    about: "nodes join, drain, leave, are called dead and come back; replicas and shards move; disks are lost, and return",
    hosts: &[3, 3, 4, 5],
    joins: &[1, 2],
    classes: &[
        Class::Crashes,
        Class::PowerCuts,
        Class::Stops,
        Class::Splits,
        Class::Damage,
        Class::OldCopies,
        Class::Ambushes,
    ],
    bend: |scenario, random| {
        scenario.operator = Some(random.within(2, 8) * SECOND);
        scenario.node.dead_after_ms = *random.pick(&[3_000, 6_000, 12_000]);
        scenario.node.balance_ms = 500;
        scenario.traits.push("busy operator".into());
        if random.percent(60) {
            scenario.mover = Some(random.within(1, 6) * SECOND / 2);
            scenario.traits.push("busy mover".into());
        }
    },
};
