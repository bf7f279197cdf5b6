//! The founders of a mesh as cores: what each test of them begins with.

use bytes::Bytes;
use mesh::raft::{Incarnation, NodeId};
use node::core::metadata::{Founder, Founding, Registration, View};
use node::core::{Effect, Identity, Node, NodeConfig, Now, ScrubConfig, Setup};
use storage::fake::FakeDisk;
use storage::index::memory::MemoryIndex;
use storage::{Store, StoreConfig};

pub(crate) type TestNode = Node<FakeDisk>;

/// Of every data directory.
pub(crate) const LIFE: Incarnation = Incarnation(9);

/// How often what is stored is read back.
const SCRUB_MS: u64 = 5_000;

fn peer_id(node: i32) -> Vec<u8> {
    vec![u8::try_from(node).expect("small")]
}

fn address(node: i32, port: u16) -> String {
    format!("host-{node}:{port}")
}

/// A mesh of nodes 1 to `count`.
pub(crate) fn founding(count: i32) -> Founding {
    let founder = |node: i32| Founder {
        node: NodeId(node),
        incarnation: LIFE,
        peer_id: peer_id(node),
        mesh: address(node, 9192),
        zone: format!("zone-{node}"),
    };
    Founding { cluster_id: "test".into(), founders: (1..=count).map(founder).collect() }
}

/// Starts a process of `node` on its disk.
pub(crate) fn open(
    node: i32,
    disk: &FakeDisk,
    founding: Founding,
    view: Option<Bytes>,
    seed: u64,
    now: Now,
) -> (TestNode, Vec<Effect<FakeDisk>>) {
    let index = Box::new(MemoryIndex::new());
    let (store, recovered) = Store::open(disk.clone(), StoreConfig::default(), index).expect("opens");
    let registration = Registration {
        node: Some(NodeId(node)),
        incarnation: LIFE,
        peer_id: peer_id(node),
        kafka: address(node, 9092),
        mesh: address(node, 9192),
        http: address(node, 9292),
        zone: format!("zone-{node}"),
        weight: 1,
    };
    let identity = Identity { node: NodeId(node), incarnation: LIFE };
    let view = view.as_deref().and_then(|bytes| View::decode(bytes).ok());
    let setup = Setup { identity, registration, founding, view, seed };
    let scrub = ScrubConfig { every_ms: SCRUB_MS, ..ScrubConfig::default() };
    let config = NodeConfig { scrub, ..NodeConfig::default() };
    Node::open(setup, config, vec![(store, recovered)], now).expect("opens")
}
