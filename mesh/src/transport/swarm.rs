//! The libp2p swarm: TCP, noise, yamux; our streams, Kademlia, pings, connection limits.

use super::directory::{HINT_BYTES_MAX, HINTS_MAX};
use super::socket::Watched;
use super::streams::Streams;
use super::traced::Traced;
use super::{TransportConfig, TransportError};
use futures::StreamExt;
use futures::io::BufReader;
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::core::transport::timeout::TransportTimeout;
use libp2p::core::upgrade::Version;
use libp2p::swarm::{self, NetworkBehaviour, StreamProtocol, Swarm, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Transport as _, kad, multiaddr::Protocol, noise, ping, tcp, yamux};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// A peer whose ping stays unanswered this long although something comes from it is cut off; [`super::socket`] sees to those
/// of which nothing comes.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// Until a peer's machine takes a connection. Shorter than TCP's second attempt, which comes after a second and then ever more
/// rarely: a dial of ours is tried again sooner, so that a network that healed is noticed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// TCP, noise and yamux together.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(3);
/// What one hung peer costs a lookup; libp2p's own default is 10 s.
const SUBSTREAM_TIMEOUT: Duration = Duration::from_millis(1500);
/// Read from a socket at a time.
const READ_BYTES: usize = 128 << 10;
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections with one peer: one that lives, one that replaces it, one in each direction being set up.
const PER_PEER_MAX: u32 = 6;

#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    pub(super) limits: connection_limits::Behaviour,
    pub(super) streams: Streams,
    pub(super) directory: Traced,
    pub(super) ping: ping::Behaviour,
}

pub(super) fn build(config: &TransportConfig) -> Result<(Swarm<Behaviour>, PeerId), TransportError> {
    let local = config.identity.public().to_peer_id();
    let noise =
        noise::Config::new(&config.identity).map_err(|error| TransportError::Setup(error.to_string()))?;
    // The noise layer reads 8 KiB at a time; the buffer turns most of its reads into copies instead of system
    // calls.
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
    let transport = TransportTimeout::with_outgoing_timeout(tcp, CONNECT_TIMEOUT)
        .map(|stream, _| BufReader::with_capacity(READ_BYTES, Watched::new(stream)))
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(yamux::Config::default())
        .timeout(UPGRADE_TIMEOUT)
        .boxed();
    let swarm_config = swarm::Config::with_tokio_executor();
    Ok((Swarm::new(transport, behaviour(config, local), local, swarm_config), local))
}

fn behaviour(config: &TransportConfig, local: PeerId) -> Behaviour {
    let limits = ConnectionLimits::default()
        .with_max_pending_incoming(Some(config.connections_max / 4))
        .with_max_established(Some(config.connections_max))
        .with_max_established_per_peer(Some(PER_PEER_MAX));
    let ping = ping::Config::new().with_interval(PING_INTERVAL).with_timeout(PING_TIMEOUT);
    Behaviour {
        limits: connection_limits::Behaviour::new(limits),
        streams: Streams::default(),
        directory: Traced::new(kademlia(config, local)),
        ping: ping::Behaviour::new(ping),
    }
}

/// The protocol's name holds a mark of the cluster's secret: directories of two clusters cannot even talk.
fn kademlia(config: &TransportConfig, local: PeerId) -> kad::Behaviour<kad::store::MemoryStore> {
    let mark = blake3::keyed_hash(&config.secret, b"rafka mesh directory").to_hex();
    let name = StreamProtocol::try_from_owned(format!("/rafka/{}/kad/1", &mark[..16]))
        .expect("the name starts with a slash");
    let mut kad_config = kad::Config::new(name);
    kad_config
        .set_query_timeout(QUERY_TIMEOUT)
        .set_substreams_timeout(SUBSTREAM_TIMEOUT)
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_provider_publication_interval(None)
        .set_periodic_bootstrap_interval(None);
    let store_config = kad::store::MemoryStoreConfig {
        max_records: HINTS_MAX,
        max_value_bytes: HINT_BYTES_MAX,
        ..Default::default()
    };
    let store = kad::store::MemoryStore::with_config(local, store_config);
    let mut kad = kad::Behaviour::with_config(local, store, kad_config);
    kad.set_mode(Some(kad::Mode::Server));
    kad
}

/// Listens and waits until the port is known. libp2p's sockets of IPv6 take no IPv4: every address of this machine takes two.
pub(super) async fn listen(
    swarm: &mut Swarm<Behaviour>,
    address: SocketAddr,
) -> Result<SocketAddr, TransportError> {
    let listening = listen_at(swarm, address).await?;
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        listen_at(swarm, SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), listening.port())).await?;
    }
    Ok(listening)
}

async fn listen_at(swarm: &mut Swarm<Behaviour>, address: SocketAddr) -> Result<SocketAddr, TransportError> {
    let failed = |reason: String| TransportError::Listen { address, reason };
    let listener = swarm.listen_on(multiaddr(address)).map_err(|error| failed(innermost(&error)))?;
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::NewListenAddr { listener_id, address: got } if listener_id == listener => {
                let port = got.iter().find_map(|part| match part {
                    Protocol::Tcp(port) => Some(port),
                    _ => None,
                });
                return port
                    .map(|port| SocketAddr::new(address.ip(), port))
                    .ok_or_else(|| failed("no port was given".into()));
            }
            SwarmEvent::ListenerClosed { listener_id, reason, .. } if listener_id == listener => {
                return Err(failed(reason.err().map_or_else(|| "closed".into(), |error| innermost(&error))));
            }
            SwarmEvent::ListenerError { listener_id, error } if listener_id == listener => {
                return Err(failed(innermost(&error)));
            }
            _ => {}
        }
    }
}

/// The words of the error at the bottom: libp2p's own say nothing of an address that is taken.
fn innermost(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    let said = chain.map(ToString::to_string).filter(|words| !words.is_empty()).last();
    said.unwrap_or_else(|| "the address is taken, or is none of this machine".into())
}

pub(super) fn multiaddr(address: SocketAddr) -> Multiaddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) => Protocol::Ip4(ip),
        IpAddr::V6(ip) => Protocol::Ip6(ip),
    };
    Multiaddr::empty().with(ip).with(Protocol::Tcp(address.port()))
}

/// `host:port` for Kademlia's table. A name stays a name: it is resolved when it is dialed.
pub(super) fn named(address: &str) -> Option<Multiaddr> {
    if let Ok(address) = address.parse() {
        return Some(multiaddr(address));
    }
    let (host, port) = address.rsplit_once(':')?;
    Some(Multiaddr::empty().with(Protocol::Dns(host.into())).with(Protocol::Tcp(port.parse().ok()?)))
}
