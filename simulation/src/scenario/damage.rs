//! Promises are lost, one node at a time: rot, misdirected writes, emptied disks, old copies of data directories.

use super::Kind;
use crate::fault::Class;

pub(super) const KIND: Kind = Kind {
    name: "damage",
    about: "rot, misdirected writes, emptied disks and old copies of data directories, between crashes",
    hosts: &[3, 3, 4, 5],
    joins: &[0, 0, 1],
    classes: &[Class::Damage, Class::OldCopies, Class::Crashes, Class::PowerCuts],
    bend: |_, _| {},
};
