//! Processes die and machines lose power at the moments that hurt, on disks that are slow, full or refuse to sync.

use super::Kind;
use crate::fault::Class;

pub(super) const KIND: Kind = Kind {
    name: "outages",
    about: "kills, power cuts and ambushes on disks that stall, fill up and fail to sync; small segments",
    hosts: &[1, 3, 3, 5],
    joins: &[0],
    classes: &[
        Class::Crashes,
        Class::PowerCuts,
        Class::Ambushes,
        Class::Stalls,
        Class::FailedSyncs,
        Class::FullDisks,
    ],
    bend: |scenario, random| scenario.store.segment_bytes = *random.pick(&[16 << 10, 32 << 10]),
};
