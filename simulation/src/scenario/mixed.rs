//! Anything of everything: each class of faults by its own chance, sizes usual or tiny.

use super::Kind;

pub(super) const KIND: Kind = Kind {
    name: "mixed",
    about: "any of everything (the default)",
    hosts: &[1, 3, 3, 3, 3, 3, 3, 4, 5, 5],
    joins: &[0, 0, 0, 1, 1, 2],
    classes: &[],
    bend: |_, _| {},
};
