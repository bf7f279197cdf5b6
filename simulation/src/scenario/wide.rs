//! More nodes than any replica set has members: many share no partition, and know of each other through SWIM alone.

use super::Kind;
use crate::fault::Class;
use crate::queue::SECOND;

pub(super) const KIND: Kind = Kind {
    name: "wide",
    about: "seven to nine nodes and replica sets of three: splits in one and both directions, crashes, pauses, joins, stuck disks",
    hosts: &[7, 8, 9],
    joins: &[0, 1],
    classes: &[
        Class::Crashes,
        Class::PowerCuts,
        Class::Stops,
        Class::Splits,
        Class::OneWays,
        Class::Pauses,
        Class::Storms,
        Class::Stalls,
    ],
    bend: |scenario, random| {
        scenario.topics.truncate(2);
        scenario.node.dead_after_ms = *random.pick(&[6_000, 12_000, 300_000]);
        scenario.topic_churn = None;
        scenario.operator = random.percent(50).then(|| random.within(4, 12) * SECOND);
    },
};
