//! The network does what it likes: splits, one-way splits, clogs and storms, with tiny windows and hasty elections.

use super::Kind;
use crate::fault::Class;

pub(super) const KIND: Kind = Kind {
    name: "splits",
    about: "splits in one and both directions, clogs, storms, pauses and clock jumps; 1-entry appends",
    hosts: &[3, 3, 5],
    joins: &[0, 0, 1],
    classes: &[
        Class::Splits,
        Class::OneWays,
        Class::Clogs,
        Class::Storms,
        Class::Pauses,
        Class::ClockJumps,
        Class::Ambushes,
    ],
    bend: |scenario, _| scenario.node.raft.append_bytes_max = 1,
};
