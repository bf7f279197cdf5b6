//! Transports of one process on loopback. Nothing here waits for a time: every step waits for an event, and a
//! test that hangs is ended by a bound on the whole.

use bytes::Bytes;
use libp2p::PeerId;
use libp2p::identity::Keypair;
use mesh::directory::{Hint, node_key, shard_key};
use mesh::transport::{Event, FULL_MESH_OTHERS_MAX, HopResult, StreamClass, Transport, TransportConfig};
use std::collections::BTreeSet;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;

const PATIENCE: Duration = Duration::from_secs(60);
const SECRET: [u8; 32] = [7; 32];
const CLASSES: [StreamClass; 3] = [StreamClass::Control, StreamClass::Rpc, StreamClass::Replication];

/// A transport and what it reported.
struct Peer {
    transport: Transport,
    events: Receiver<Event>,
    connected: BTreeSet<PeerId>,
}

fn config(keys: &Keypair) -> TransportConfig {
    TransportConfig::new(keys.clone(), SocketAddr::from(([127, 0, 0, 1], 0)), SECRET)
}

impl Peer {
    async fn start(config: TransportConfig) -> Peer {
        let (transport, events) = Transport::start(config).await.expect("loopback can be listened on");
        Peer { transport, events, connected: BTreeSet::new() }
    }

    async fn new() -> Peer {
        Peer::start(config(&Keypair::generate_ed25519())).await
    }

    fn id(&self) -> PeerId {
        self.transport.local_peer()
    }

    fn address(&self) -> String {
        self.transport.advertised().into()
    }

    async fn event(&mut self) -> Event {
        let event = self.events.recv().await.expect("the transport runs");
        match &event {
            Event::Connected { peer, .. } => {
                assert!(self.connected.insert(*peer), "connected twice without a disconnect");
            }
            Event::Disconnected { peer } | Event::Parted { peer } => {
                assert!(self.connected.remove(peer), "disconnected without a connect");
            }
            Event::Frame { .. } | Event::Refused { .. } => {}
        }
        event
    }

    async fn until_connected(&mut self, peer: PeerId) {
        while !self.connected.contains(&peer) {
            self.event().await;
        }
    }

    async fn until_disconnected(&mut self, peer: PeerId) {
        while self.connected.contains(&peer) {
            self.event().await;
        }
    }

    async fn until_parted(&mut self, peer: PeerId) {
        loop {
            match self.event().await {
                Event::Parted { peer: parted } if parted == peer => return,
                Event::Disconnected { peer: lost } => assert_ne!(lost, peer, "given up, not lost"),
                _ => {}
            }
        }
    }

    async fn frame(&mut self) -> (PeerId, StreamClass, Bytes) {
        loop {
            if let Event::Frame { peer, class, frame } = self.event().await {
                return (peer, class, frame);
            }
        }
    }

    async fn refusal(&mut self) -> (PeerId, String) {
        loop {
            if let Event::Refused { peer, reason } = self.event().await {
                return (peer, reason);
            }
        }
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("the test ends in time") });
}

async fn three() -> [Peer; 3] {
    let mut peers = [Peer::new().await, Peer::new().await, Peer::new().await];
    connect_all(&mut peers).await;
    peers
}

/// Everyone dials everyone, itself included.
async fn connect_all(peers: &mut [Peer]) {
    let addresses: Vec<String> = peers.iter().map(Peer::address).collect();
    let ids: Vec<PeerId> = peers.iter().map(Peer::id).collect();
    for peer in &*peers {
        for address in &addresses {
            peer.transport.dial(address.clone());
        }
    }
    for peer in peers {
        let own = peer.id();
        for id in ids.iter().filter(|id| **id != own) {
            peer.until_connected(*id).await;
        }
    }
}

#[test]
fn frames_of_each_class_arrive_in_order() {
    run(async {
        // One dials: of two connections at once one is given up, with what is under way on it.
        let (mut a, mut b) = (Peer::new().await, Peer::new().await);
        a.transport.dial(b.address());
        a.until_connected(b.id()).await;
        b.until_connected(a.id()).await;
        let big = Bytes::from(vec![3; 5 << 20]);
        for class in CLASSES {
            for n in 0..100_u8 {
                assert!(a.transport.send(b.id(), class, Bytes::from(vec![n; usize::from(n) * 300])));
            }
            if class != StreamClass::Control {
                assert!(a.transport.send(b.id(), class, big.clone()));
            }
            for n in 0..100_u8 {
                assert_eq!(b.frame().await, (a.id(), class, Bytes::from(vec![n; usize::from(n) * 300])));
            }
            if class != StreamClass::Control {
                assert_eq!(b.frame().await, (a.id(), class, big.clone()));
            }
        }
        assert!(!a.transport.send(PeerId::random(), StreamClass::Rpc, Bytes::new()));
    });
}

#[test]
fn lanes_keep_the_order_of_a_key() {
    run(async {
        let with_lanes =
            |lanes| TransportConfig { replication_lanes: lanes, ..config(&Keypair::generate_ed25519()) };
        let (mut a, mut b) = (Peer::start(with_lanes(4)).await, Peer::start(with_lanes(3)).await);
        a.transport.dial(b.address());
        a.until_connected(b.id()).await;
        b.until_connected(a.id()).await;
        for n in 0..300_u16 {
            let frame = Bytes::from(n.to_be_bytes().to_vec());
            assert!(a.transport.send_keyed(b.id(), StreamClass::Replication, u64::from(n % 7), frame));
        }
        let mut last = [None; 7];
        for _ in 0..300 {
            let (_, _, frame) = b.frame().await;
            let n = u16::from_be_bytes([frame[0], frame[1]]);
            let last = &mut last[usize::from(n % 7)];
            assert!(*last < Some(n), "{n} after {last:?}");
            *last = Some(n);
        }
    });
}

#[test]
fn a_full_class_drops_and_leaves_the_others_alone() {
    run(async {
        let small = TransportConfig {
            in_flight_bytes_max: [1000, 1000, 1000],
            ..config(&Keypair::generate_ed25519())
        };
        // The receiver takes no events, so everything on the way fills up.
        let (mut a, mut b) = (Peer::start(small).await, Peer::new().await);
        a.transport.dial(b.address());
        a.until_connected(b.id()).await;
        b.until_connected(a.id()).await;
        let frame = Bytes::from(vec![0; 900]);
        let mut sent = 0_u32;
        let mut refused = 0_u32;
        while refused < 1000 {
            match a.transport.send(b.id(), StreamClass::Replication, frame.clone()) {
                true => (sent, refused) = (sent + 1, 0),
                false => refused += 1,
            }
            tokio::task::yield_now().await;
        }
        assert!(a.transport.send(b.id(), StreamClass::Control, Bytes::from_static(b"vote")));
        let mut votes = 0;
        for _ in 0..=sent {
            votes += u32::from(b.frame().await.1 == StreamClass::Control);
        }
        assert_eq!(votes, 1);
    });
}

#[test]
fn a_lost_peer_is_reported_and_comes_back() {
    run(async {
        let keys = Keypair::generate_ed25519();
        let [mut a, mut b, _] = three().await;
        let mut c = Peer::start(config(&keys)).await;
        let (address, listening) = (c.address(), c.transport.listening());
        a.transport.dial(address.clone());
        b.transport.dial(address);
        for peer in [&mut a, &mut b] {
            peer.until_connected(c.id()).await;
            c.until_connected(peer.id()).await;
        }
        c.transport.stop().await;
        for peer in [&mut a, &mut b] {
            peer.until_disconnected(keys.public().to_peer_id()).await;
            assert!(!peer.transport.send(keys.public().to_peer_id(), StreamClass::Rpc, Bytes::new()));
        }
        let mut c = Peer::start(TransportConfig { listen: listening, ..config(&keys) }).await;
        for peer in [&mut a, &mut b] {
            peer.until_connected(c.id()).await;
            c.until_connected(peer.id()).await;
            assert!(peer.transport.send(c.id(), StreamClass::Rpc, Bytes::from_static(b"again")));
            assert_eq!(c.frame().await, (peer.id(), StreamClass::Rpc, Bytes::from_static(b"again")));
        }
    });
}

#[test]
fn a_dropped_transport_is_a_lost_peer() {
    run(async {
        let [mut a, b, _c] = three().await;
        let id = b.id();
        drop(b);
        a.until_disconnected(id).await;
    });
}

#[test]
fn a_wrong_secret_is_refused_on_both_sides() {
    run(async {
        let other = TransportConfig { secret: [8; 32], ..config(&Keypair::generate_ed25519()) };
        let (mut a, mut b) = (Peer::new().await, Peer::start(other).await);
        a.transport.dial(b.address());
        for (one, other) in [(&mut a, b.id()), (&mut b, PeerId::random())] {
            let (peer, reason) = one.refusal().await;
            assert!(reason.contains("--token-file"), "{reason}");
            assert!(peer == other || one.id() == other || one.connected.is_empty());
            assert!(one.connected.is_empty(), "nothing may be delivered before the proof");
        }
    });
}

#[test]
fn two_clusters_never_merge() {
    run(async {
        let of = |cluster| TransportConfig { cluster, ..config(&Keypair::generate_ed25519()) };
        let (mut a, mut b) = (Peer::start(of(Some([1; 32]))).await, Peer::start(of(Some([2; 32]))).await);
        a.transport.dial(b.address());
        for peer in [&mut a, &mut b] {
            let (_, reason) = peer.refusal().await;
            assert!(reason.contains("010101010101") && reason.contains("020202020202"), "{reason}");
            assert!(peer.connected.is_empty());
        }
        // A node that belongs nowhere yet may meet either, and is cut off once it belongs elsewhere.
        let mut c = Peer::start(of(None)).await;
        c.transport.dial(a.address());
        a.until_connected(c.id()).await;
        c.until_connected(a.id()).await;
        c.transport.set_cluster([2; 32]);
        assert!(c.refusal().await.1.contains("never merge"));
        a.until_disconnected(c.id()).await;
    });
}

#[test]
fn a_cluster_learned_during_the_handshake_counts() {
    run(async {
        let mut a =
            Peer::start(TransportConfig { cluster: Some([1; 32]), ..config(&Keypair::generate_ed25519()) })
                .await;
        for _ in 0..20 {
            let mut b = Peer::new().await;
            b.transport.dial(a.address());
            tokio::task::yield_now().await;
            b.transport.set_cluster([2; 32]);
            assert!(b.refusal().await.1.contains("never merge"));
            assert!(b.connected.is_empty());
            let id = b.id();
            drop(b);
            if a.connected.contains(&id) {
                a.until_disconnected(id).await;
            }
        }
    });
}

#[test]
fn a_second_node_with_the_same_identity_is_refused() {
    run(async {
        let keys = Keypair::generate_ed25519();
        let (mut a, mut b) = (Peer::start(config(&keys)).await, Peer::new().await);
        a.transport.dial(b.address());
        a.until_connected(b.id()).await;
        b.until_connected(a.id()).await;
        let mut copy = Peer::start(config(&keys)).await;
        copy.transport.dial(b.address());
        let (peer, reason) = b.refusal().await;
        assert_eq!(peer, a.id());
        assert!(reason.contains("copied") && reason.contains(&copy.address()), "{reason}");
        assert!(copy.refusal().await.1.contains("copied"));
        assert!(b.connected.contains(&a.id()), "the first of the two stays");
        copy.transport.dial(a.address());
        let (peer, reason) = copy.refusal().await;
        assert_eq!(peer, copy.id());
        assert!(reason.contains("same identity") && reason.contains(&a.address()), "{reason}");
    });
}

#[test]
fn the_registry_says_who_stays() {
    run(async {
        let [mut a, mut b, mut c] = three().await;
        let both = vec![(b.id(), vec![b.address()]), (c.id(), vec![c.address()])];
        a.transport.allow(both, Vec::new());
        a.transport.allow(vec![(c.id(), vec![c.address()])], Vec::new());
        assert!(a.refusal().await.1.contains("removed"));
        assert!(b.refusal().await.1.contains("removed"));
        b.until_disconnected(a.id()).await;
        assert!(a.connected.contains(&c.id()));
        // An empty directory comes up at the address of a known node.
        let listening = c.transport.listening();
        let old = c.id();
        c.events.close();
        c.transport.stop().await;
        a.until_disconnected(old).await;
        let again = config(&Keypair::generate_ed25519());
        let mut again = Peer::start(TransportConfig { listen: listening, ..again }).await;
        // It may ask for the number of the node that was there; from then on that one's identity is refused.
        a.until_connected(again.id()).await;
        again.until_connected(a.id()).await;
        a.transport.allow(vec![(again.id(), vec![again.address()])], vec![old]);
        assert!(a.connected.contains(&again.id()));
    });
}

#[test]
fn an_identity_whose_number_others_have_is_refused() {
    run(async {
        let [mut a, mut b, c] = three().await;
        let registry = vec![(c.id(), vec![c.address()])];
        a.transport.allow(registry, vec![b.id()]);
        assert!(a.refusal().await.1.contains("another data directory since"));
        assert!(b.refusal().await.1.contains("Nothing in it was changed"));
        b.until_disconnected(a.id()).await;
        // An address of a node that is connected is nobody else's.
        let taken = TransportConfig { advertised: c.address(), ..config(&Keypair::generate_ed25519()) };
        let mut other = Peer::start(taken).await;
        other.transport.dial(a.address());
        assert!(other.refusal().await.1.contains("--advertise-mesh"));
        assert!(a.refusal().await.1.contains(&c.address()));
    });
}

fn hint(epoch: u64, term: u32, leader: i32) -> Hint {
    let addresses = vec![format!("host-{leader}:9192")];
    Hint { epoch, term, leader, expires_ms: u64::MAX, replicas: vec![1, 2, 3], addresses }
}

/// Looks up until the answer is what it must become: records travel in the background.
async fn until_found(peer: &Peer, key: [u8; 32], wanted: &Hint) {
    while peer.transport.lookup(key).await.value.as_ref() != Some(wanted) {}
}

#[test]
fn hints_are_found_hop_by_hop_and_only_grow() {
    run(async {
        let mut peers = Vec::new();
        for _ in 0..5 {
            peers.push(Peer::new().await);
        }
        connect_all(&mut peers).await;
        let key = shard_key(3);
        peers[0].transport.publish_hint(key, &hint(1, 5, 2)).await;
        for peer in &peers {
            until_found(peer, key, &hint(1, 5, 2)).await;
        }
        // Older ones change nothing, wherever they come from; newer ones win.
        peers[1].transport.publish_hint(key, &hint(1, 4, 9)).await;
        peers[2].transport.publish_hint(key, &hint(2, 1, 3)).await;
        for peer in &peers {
            until_found(peer, key, &hint(2, 1, 3)).await;
        }
        // A stranger's and an expired one are not even taken in.
        let stranger = Keypair::generate_ed25519();
        peers[3].transport.publish(key, hint(9, 9, 9).sign(&key, &stranger).unwrap()).await;
        peers[3].transport.publish_hint(key, &Hint { expires_ms: 1, ..hint(9, 9, 9) }).await;
        peers[3].transport.publish(key, Bytes::from_static(b"poison")).await;
        assert_eq!(peers[3].transport.lookup(key).await.value, Some(hint(2, 1, 3)));
        let found = peers[4].transport.lookup(key).await;
        assert!(
            found.hops.iter().any(|hop| hop.result == HopResult::Value)
                && found.hops.iter().all(|hop| hop.result != HopResult::Closer),
            "{found:?}"
        );
        let asked: BTreeSet<PeerId> = found.hops.iter().map(|hop| hop.peer).collect();
        assert!(asked.iter().all(|peer| peers[..4].iter().any(|known| known.id() == *peer)));
        let nothing = peers[4].transport.lookup(node_key(77)).await;
        assert_eq!(nothing.value, None);
        assert!(nothing.hops.iter().any(|hop| hop.result == HopResult::Closer), "{nothing:?}");
    });
}

#[test]
fn a_lookup_survives_a_peer_that_is_gone_and_an_emptied_directory() {
    run(async {
        let mut peers = Vec::new();
        for _ in 0..4 {
            peers.push(Peer::new().await);
        }
        connect_all(&mut peers).await;
        let key = node_key(1);
        peers[0].transport.publish_hint(key, &hint(1, 1, 1)).await;
        for peer in &peers {
            until_found(peer, key, &hint(1, 1, 1)).await;
        }
        let gone = peers.pop().unwrap();
        let id = gone.id();
        gone.transport.stop().await;
        for peer in &mut peers {
            peer.until_disconnected(id).await;
        }
        let found = peers[1].transport.lookup(key).await;
        assert_eq!(found.value, Some(hint(1, 1, 1)));
        assert!(found.hops.iter().any(|hop| hop.peer == id && hop.result == HopResult::Timeout), "{found:?}");
        // A newcomer's directory is empty; it finds the hint at the others.
        let mut fresh = Peer::new().await;
        for peer in &mut peers {
            fresh.transport.dial(peer.address());
            fresh.until_connected(peer.id()).await;
            peer.until_connected(fresh.id()).await;
        }
        until_found(&fresh, key, &hint(1, 1, 1)).await;
    });
}

#[test]
fn a_listener_of_every_address_is_reached_by_both_families() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return eprintln!("not shown: this machine has no IPv6");
    }
    run(async {
        let mut everywhere = config(&Keypair::generate_ed25519());
        everywhere.listen = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 0));
        let mut host = Peer::start(everywhere).await;
        let port = host.transport.listening().port();
        for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}"), format!("localhost:{port}")] {
            let mut guest = Peer::new().await;
            guest.transport.dial(address);
            guest.until_connected(host.id()).await;
            host.until_connected(guest.id()).await;
        }
    });
}

/// `size` transports that know each other by a registry alone.
async fn registered(size: usize) -> Vec<Peer> {
    let mut peers = Vec::new();
    for _ in 0..size {
        let idle_max = Duration::from_secs(2);
        peers.push(Peer::start(TransportConfig { idle_max, ..config(&Keypair::generate_ed25519()) }).await);
    }
    let registry: Vec<(PeerId, Vec<String>)> =
        peers.iter().map(|peer| (peer.id(), vec![peer.address()])).collect();
    peers.iter().for_each(|peer| peer.transport.allow(registry.clone(), Vec::new()));
    peers
}

#[test]
fn lookups_at_the_same_time_keep_their_traces_apart() {
    run(async {
        let mut peers = registered(10).await;
        let ids: Vec<PeerId> = peers.iter().map(Peer::id).collect();
        for peer in &mut peers {
            let own = peer.id();
            for id in ids.iter().filter(|id| **id != own) {
                peer.until_connected(*id).await;
            }
        }
        for (n, peer) in (0..).zip(&peers) {
            peer.transport.publish_hint(node_key(n), &hint(1, 1, n)).await;
        }
        for peer in &peers {
            peer.transport.settled().await;
        }
        // The last of them is gone; what it published is not.
        let gone = peers.pop().unwrap().id();
        peers[0].until_disconnected(gone).await;
        // More at a time than run, and one among them that nobody can answer.
        let wanted: Vec<i32> = (0..40).map(|n| n % 11).collect();
        let asker = &peers[0].transport;
        let found = futures::future::join_all(wanted.iter().map(|n| asker.lookup(node_key(*n)))).await;
        for (n, found) in wanted.into_iter().zip(found) {
            assert_eq!(found.value, (n < 10).then(|| hint(1, 1, n)), "{n}");
            let asked: BTreeSet<PeerId> = found.hops.iter().map(|hop| hop.peer).collect();
            assert_eq!(asked.len(), found.hops.len(), "each peer once: {found:?}");
            assert!(!asked.contains(&peers[0].id()) && asked.iter().all(|peer| ids.contains(peer)));
            assert!((1..=2).contains(&found.rounds()), "{found:?}");
            let told = |result| found.hops.iter().filter(|hop| hop.result == result).count();
            // Three who say the same are enough; that nobody knows is known when everybody was asked.
            match n {
                10 => {
                    assert_eq!((found.hops.len(), told(HopResult::Value)), (9, 0), "{found:?}");
                    let silent = found.hops.iter().find(|hop| hop.peer == gone).map(|hop| hop.result);
                    assert_eq!(silent, Some(HopResult::Timeout), "{found:?}");
                }
                _ => assert!(told(HopResult::Value) >= 3, "{found:?}"),
            }
        }
    });
}

#[test]
fn a_large_mesh_connects_on_demand() {
    run(async {
        let mut peers = registered(FULL_MESH_OTHERS_MAX + 2).await;
        let key = shard_key(1);
        // Frames find their way, the first one too, and both sides hear of the connection.
        let (to, from) = (peers[1].id(), peers[0].id());
        while !peers[0].transport.send(to, StreamClass::Rpc, Bytes::from_static(b"first")) {
            tokio::task::yield_now().await;
        }
        assert!(peers[0].transport.send(to, StreamClass::Rpc, Bytes::from_static(b"second")));
        assert_eq!(peers[1].frame().await, (from, StreamClass::Rpc, Bytes::from_static(b"first")));
        assert_eq!(peers[1].frame().await, (from, StreamClass::Rpc, Bytes::from_static(b"second")));
        assert!(peers[1].connected == BTreeSet::from([from]));
        assert!(!peers[0].transport.send(PeerId::random(), StreamClass::Rpc, Bytes::new()));
        // Kademlia reaches whom it needs, too.
        peers[2].transport.publish_hint(key, &hint(1, 1, 2)).await;
        peers[2].transport.settled().await;
        let found = peers[3].transport.lookup(key).await;
        assert_eq!(found.value, Some(hint(1, 1, 2)));
        assert!(found.rounds() <= 3, "{found:?}");
        // A connection that nothing uses is given up by one side, and neither takes the other for lost.
        peers[0].until_parted(to).await;
        peers[1].until_parted(from).await;
        assert!(peers[0].transport.send(to, StreamClass::Rpc, Bytes::from_static(b"again")));
        assert_eq!(peers[1].frame().await, (from, StreamClass::Rpc, Bytes::from_static(b"again")));
    });
}

#[test]
fn a_peer_that_stands_still_is_given_up_and_found_again() {
    run(async {
        let still =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut a = Peer::new().await;
        let mut b = still.spawn(Peer::new()).await.unwrap();
        a.transport.dial(b.address());
        a.until_connected(b.id()).await;
        b.until_connected(a.id()).await;
        // Its one thread waits for this: its sockets stay open, and nothing is read or sent.
        let (release, released) = std::sync::mpsc::channel::<()>();
        still.spawn(async move {
            let _ended = released.recv();
        });
        // More than sockets and multiplexer take, so that no graceful end can get through.
        while a.transport.send(b.id(), StreamClass::Replication, Bytes::from(vec![0; 1 << 20])) {}
        a.until_disconnected(b.id()).await;
        drop(release);
        a.until_connected(b.id()).await;
        still.shutdown_background();
    });
}
