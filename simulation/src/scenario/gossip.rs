//! Few nodes that behave as if they were many: news are passed on, and nodes compare what they know.

use super::Kind;

pub(super) const KIND: Kind = Kind {
    name: "gossip",
    about: "as mixed, with news passed on and compared as in a mesh of hundreds of nodes",
    hosts: &[3, 3, 5],
    joins: &[0, 0, 1, 2],
    classes: &[],
    bend: |scenario, random| {
        scenario.node.direct_nodes_max = *random.pick(&[0, 0, 2, 4]);
        scenario.traits.push(format!("direct news among {} nodes", scenario.node.direct_nodes_max));
    },
};
