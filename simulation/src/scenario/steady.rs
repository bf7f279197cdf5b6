//! A usual mesh at a stated load: what the speed of the simulator is told with.

use node::core::NodeConfig;
use storage::StoreConfig;

use super::{ClockProfile, Kind, Scenario};
use crate::network::LinkProfile;
use crate::queue::{MS, SECOND};

pub(super) const KIND: Kind = Kind {
    name: "steady",
    about: "three nodes, usual sizes, at least 20 requests a second and a fault a minute: the simulator's speed",
    hosts: &[3],
    joins: &[0],
    classes: &[],
    bend: |scenario, _| slow_down(scenario),
};

fn slow_down(scenario: &mut Scenario) {
    let mut minute = None;
    scenario
        .faults
        .retain(|planned| minute.replace(planned.at / (60 * SECOND)) != Some(planned.at / (60 * SECOND)));
    scenario.network = LinkProfile::healthy();
    scenario.clocks.fill(ClockProfile::default());
    scenario.node.raft = NodeConfig::default().raft;
    // A start reads the newest segment whole: a few of 64 MiB would be all that is measured.
    let segment_bytes = 1 << 20;
    scenario.store = StoreConfig { salt: scenario.store.salt, segment_bytes, ..StoreConfig::default() };
    scenario.topic_churn = None;
    scenario.members.clear();
    scenario.odd = None;
    scenario.care = None;
    scenario.operator = None;
    scenario.mover = None;
    scenario.tuner = None;
    scenario.zones = false;
    scenario.directory = None;
    scenario.producers.truncate(2);
    scenario.producers.iter_mut().for_each(|producer| producer.interval = 160 * MS);
    scenario.consumers.truncate(1);
    scenario.consumers.iter_mut().for_each(|consumer| consumer.interval = 110 * MS);
}
