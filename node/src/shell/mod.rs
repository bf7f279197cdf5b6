//! The process around the core: files, threads, sockets, signals. It pumps and decides nothing about partitions.
//!
//! In reading order: [`config`] (what a person may set), [`data_dir`] (who this node is), [`membership`] (how it comes to a
//! mesh), [`worker`] (the thread that owns the node), `disk` (the threads that wait for it), [`wire`] (frames between
//! nodes), `publisher` (hints), `http` and `pages`, [`metrics`], and this file: start and stop. Beside them: [`listeners`],
//! `signals`, `reload`, `log`, `otlp` (spans of requests), `notify` (the service manager), `open_files`, `skew` (other clocks), `space` (the disk), `figures`, `elections` and `process` (what /metrics says), `state` and `recent` (what a node tells of itself), `digest` (of its replicas), `advice` (what errors mean).
//!
//! ```text
//! format checked -> lock, log recovered -> identity -> listeners bound, ports.json -> mesh founded or joined -> node -> clients served
//! SIGTERM: hand leadership over -> listeners closed, answers written -> threads end -> lock released, exit 0
//! SIGHUP: configuration read again, the log level changed, what takes a restart named
//! ```
//!
//! Invariants: only the worker touches the node, and it never waits for disk or network; every queue is bounded; every task
//! is joined; a panic anywhere ends the process.

mod advice;
mod clock;
pub mod config;
mod configs;
pub mod data_dir;
mod digest;
mod disk;
mod elections;
mod figures;
mod http;
mod index;
pub mod listeners;
mod log;
mod logs;
pub mod membership;
pub mod metrics;
mod notify;
mod offline;
mod open_files;
pub mod otlp;
mod pages;
mod process;
mod publisher;
mod recent;
mod recover;
mod reference;
mod registry;
mod reload;
mod signals;
mod skew;
mod space;
mod state;
pub mod wire;
mod worker;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches, Parser};
use futures::future::join_all;
use mesh::founding::{Addresses, Recorded, Seed};
use mesh::liveness::LivenessConfig;
use mesh::transport::{Transport, TransportConfig};
use storage::disk::file::FileDisk;
use storage::{Recovered, Store, StoreConfig};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::core::metadata::configs::{BrokerSettings, Defaults};
use crate::core::metadata::endpoint::{endpoints, registered};
use crate::core::metadata::{Registration, View};
use crate::core::{Identity, Node, NodeConfig, ScrubConfig, Setup};
use crate::kafka::NodeHandle;
use crate::kafka::connection::{Admission, Shared, serve_listener};
use crate::kafka::limits::Limits;
use crate::kafka::metrics::Metrics as KafkaMetrics;
use clock::Clock;
use config::{Config, ConfigError, Listen, Raw, own_mesh};
use data_dir::DataDir;
use listeners::KafkaListener;
use logs::Logs;
use membership::{Member, MembershipError, Mesh, founding_of};
use metrics::Metrics;
use notify::Notifier;
use pages::{Pages, Phase};
use publisher::Hints;
use reload::Reload;
use signals::stop_on_signal;
use skew::Clocks;
use worker::{Parts, WorkerHandle};

/// A node on real files.
type ShellNode = Node<FileDisk>;

/// Exit code for a defect (EX_SOFTWARE of sysexits.h).
const EXIT_DEFECT: i32 = 70;
/// Exit code for wrong flags, as clap's.
const EXIT_USAGE: u8 = 2;
/// Exit code when a host has no address (EX_UNAVAILABLE of sysexits.h).
const EXIT_UNRESOLVED: u8 = 69;
/// Requests of clients that may wait for the worker.
const CALLS_MAX: usize = 4096;
/// The most that a topic's max.message.bytes allows.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// After the node said that it stopped: how long clients may take to get their answers.
const CLOSING: Duration = Duration::from_millis(500);
/// What a graceful stop may take above the node's own time for it.
const STOP_SLACK: Duration = Duration::from_secs(5);

#[derive(Parser)]
#[command(
    name = "rafka-node",
    version,
    about = "A node of a rafka mesh: a Kafka-compatible broker without a controller",
    after_help = config::EXAMPLES,
    args_conflicts_with_subcommands = true,
    max_term_width = 110
)]
struct Cli {
    #[command(flatten)]
    flags: Raw,
    #[command(subcommand)]
    offline: Option<offline::Offline>,
}

/// The whole program: reads flags and environment, runs a node until it is told to stop.
pub fn main() -> ExitCode {
    // The names of the variables follow from those of the flags, as the end of the help says.
    let command = Cli::command().mut_args(|argument| argument.hide_env(true));
    let cli = Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit());
    if let Some(command) = &cli.offline {
        return offline::run(command, &Cli::command());
    }
    let config = match Config::load(cli.flags.clone()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("rafka-node: {error}\nSee rafka-node --help.");
            // Worth another try: the name service may come up after the node.
            let passes = matches!(error, ConfigError::Unresolved { .. });
            return ExitCode::from(if passes { EXIT_UNRESOLVED } else { EXIT_USAGE });
        }
    };
    let seed = match data_dir::random() {
        Ok(seed) => seed,
        Err(error) => {
            eprintln!("rafka-node: this system has no randomness: {error}");
            return ExitCode::FAILURE;
        }
    };
    let log = log::start(&config, seed);
    end_on_panic();
    clock::set_offset(config.clock_offset_ms);
    check_open_files(&config);
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "this node does not start: the system has no threads for it");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(config, cli.flags, log)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("this node ends: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn check_open_files(config: &Config) {
    if let Some(complaint) = open_files::complaint(open_files::raise(), config.max_connections) {
        tracing::warn!("{complaint}");
    }
}

/// A stopped node is better than a wrong one.
fn end_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        let thread = std::thread::current();
        if thread.name().is_some_and(|name| name.starts_with("rafka-index") || name.starts_with("sled")) {
            // Nothing is promised from the index: without it footers are read.
            return tracing::warn!(%panic, "the index of the log failed and is not used any more");
        }
        tracing::error!(%panic, "a defect: this node stops rather than go on wrong. Please report the lines above");
        std::process::exit(EXIT_DEFECT);
    }));
}

/// What a node opened before it knows its mesh.
struct Opened {
    config: Config,
    directory: DataDir,
    disk: FileDisk,
    logs: Vec<(Store<FileDisk>, Recovered)>,
    kafka: Vec<BoundListener>,
    addresses: Addresses,
}

/// A listener for Kafka clients that has its port.
struct BoundListener {
    name: String,
    socket: TcpListener,
    port: u16,
}

/// What everything that watches the node shares.
struct Watched {
    metrics: Arc<Metrics>,
    kafka: Arc<KafkaMetrics>,
    clocks: Arc<Clocks>,
    phase: watch::Sender<Phase>,
    notifier: Notifier,
}

async fn run(config: Config, flags: Raw, log: log::Log) -> anyhow::Result<()> {
    let notifier = Notifier::from_environment();
    let reloading = tokio::spawn(Reload::new(flags, &config, log.level, notifier.clone())?.run());
    let tracing = log.spans.zip(config.otlp_endpoint.clone()).map(|(spans, endpoint)| {
        let node = config.listeners.first().map(|one| one.told(one.listen.port())).unwrap_or_default();
        tokio::spawn(otlp::send(spans, endpoint, node, Arc::clone(&log.dropped)))
    });
    let stop = stop_on_signal(notifier.clone())?;
    notifier.status("recovering the log");
    let (opened, http_socket) = open(config).await?;
    let (opened, transport, events) = connect(opened).await?;
    let ports: Vec<(String, u16)> = opened.kafka.iter().map(|one| (one.name.clone(), one.port)).collect();
    opened.directory.set_ports(&ports, transport.listening().port(), http_socket.local_addr()?.port())?;
    let (phase, seen) = watch::channel(Phase::Starting("looking for the mesh".into()));
    let watched = Watched {
        metrics: Arc::default(),
        kafka: Arc::default(),
        clocks: Arc::default(),
        phase,
        notifier: notifier.clone(),
    };
    let suspect = opened.logs.iter().any(|(_, recovered)| recovered.suspect);
    watched.metrics.damaged_at_start.store(suspect, Relaxed);
    let vouching = tokio::spawn(notifier.vouch(seen.clone()));
    let pages = Pages {
        phase: seen,
        transport: transport.clone(),
        metrics: Arc::clone(&watched.metrics),
        kafka: Arc::clone(&watched.kafka),
        clocks: Arc::clone(&watched.clocks),
        spans_dropped: log.dropped,
        digests: digest::Turns::default(),
        began: Instant::now(),
    };
    let http_stop = CancellationToken::new();
    let serving_http = tokio::spawn(http::serve(http_socket, Arc::new(pages), http_stop.clone()));
    let served = serve(opened, transport.clone(), events, watched, stop).await;
    transport.stop().await;
    http_stop.cancel();
    serving_http.await?;
    vouching.abort();
    tracing.inspect(|sending| sending.abort());
    reloading.abort();
    match served {
        // Told to stop while it still waited for others: that is no failure.
        Err(error) if !matches!(error.downcast_ref(), Some(MembershipError::Stopped)) => Err(error),
        _ => {
            tracing::info!("stopped");
            Ok(())
        }
    }
}

/// Takes the directory's lock, recovers the log, and takes the ports.
async fn open(config: Config) -> anyhow::Result<(Opened, TcpListener)> {
    let path = config.data_dir.clone();
    let store_config = StoreConfig {
        segment_bytes: config.segment_bytes,
        reserve_bytes: config.reserve_bytes,
        cache_bytes: config.cache_bytes,
        salt: data_dir::random()?,
        ..StoreConfig::default()
    };
    let workers = config.workers;
    let Logs { directory, disk, opened } =
        tokio::task::spawn_blocking(move || logs::open(&path, &store_config, workers)).await??;
    tracing::info!(
        data_dir = %config.data_dir.display(),
        boot = opened.first().map(|(_, recovered)| recovered.boot),
        workers = opened.len(),
        logs = opened.iter().map(|(_, recovered)| recovered.logs.len()).sum::<usize>(),
        cut_bytes = opened.iter().map(|(_, recovered)| recovered.cut_bytes).sum::<u64>(),
        "the log is recovered"
    );
    if opened.iter().any(|(_, recovered)| recovered.suspect) {
        tracing::error!(
            "the log is damaged below what had been synced: the replicas of this node take no part until they are rebuilt from \
             others. Look at the disk (dmesg, smartctl)"
        );
    }
    let kafka = bind_kafka(&config.listeners).await?;
    let http = bind("listen-http", &config.listen_http).await?;
    let http_port = http.local_addr()?.port();
    let told =
        config.listeners.iter().zip(&kafka).map(|(one, bound)| (one.name.as_str(), one.told(bound.port)));
    let told: Vec<(&str, String)> = told.collect();
    let http_address = if config.listen_http.is_unspecified() {
        let first = told.first().and_then(|(_, address)| address.rsplit_once(':'));
        format!("{}:{http_port}", first.map_or("", |(host, _)| host))
    } else {
        config.listen_http.with_port(http_port)
    };
    let addresses =
        Addresses { mesh: String::new(), kafka: registered(told.into_iter()), http: http_address };
    Ok((Opened { config, directory, disk, logs: opened, kafka, addresses }, http))
}

async fn bind_kafka(listeners: &[KafkaListener]) -> anyhow::Result<Vec<BoundListener>> {
    let flag = if listeners.len() > 1 { "listeners" } else { "listen-kafka" };
    let mut bound = Vec::new();
    for one in listeners {
        let socket = bind(flag, &one.listen).await?;
        let port = socket.local_addr()?.port();
        bound.push(BoundListener { name: one.name.clone(), socket, port });
    }
    Ok(bound)
}

/// Of the addresses that a host has, the first that the system gives.
async fn bind(flag: &str, listen: &Listen) -> anyhow::Result<TcpListener> {
    let mut refused = None;
    for address in &listen.addresses {
        match TcpListener::bind(address).await {
            Ok(socket) => return Ok(socket),
            Err(error) => refused = refused.or(Some((*address, error))),
        }
    }
    Err(match refused {
        Some((address, error)) => {
            anyhow::anyhow!("--{flag}: cannot listen on {address}: {}", advice::listening(address, &error))
        }
        None => anyhow::anyhow!("--{flag}: {} has no address", listen.host),
    })
}

async fn connect(
    mut opened: Opened,
) -> anyhow::Result<(Opened, Transport, tokio::sync::mpsc::Receiver<mesh::transport::Event>)> {
    let config = &opened.config;
    let secret = config.secret.unwrap_or_else(|| blake3::derive_key("rafka mesh secret 1", b""));
    if config.secret.is_none() && !config.listen_mesh.is_loopback() {
        tracing::warn!(
            listen_mesh = config.listen_mesh.with_port(config.listen_mesh.port()),
            "no --token-file: everyone who reaches the mesh port can join this mesh"
        );
    }
    let identity = opened.directory.keys().clone();
    // libp2p shares its ports (SO_REUSEPORT): without this look a second node on this address would take half of the connections.
    let looked = bind("listen-mesh", &config.listen_mesh).await?.local_addr()?;
    let listen = SocketAddr::new(looked.ip(), config.listen_mesh.port());
    let mut transport = TransportConfig::new(identity, listen, secret);
    transport.advertised = config.advertise_mesh.clone().unwrap_or_else(|| own_mesh(&config.listen_mesh));
    transport.cluster = founded_cluster(&opened.directory)?;
    let (transport, events) = Transport::start(transport).await.map_err(|error| {
        anyhow::anyhow!("--listen-mesh: {error}; stop what listens there, or choose another port")
    })?;
    opened.addresses.mesh = transport.advertised().to_owned();
    Ok((opened, transport, events))
}

/// The cluster that the data directory belongs to already: known before anyone is spoken to, so that no other is let in.
fn founded_cluster(directory: &DataDir) -> anyhow::Result<Option<[u8; 32]>> {
    let Some(bytes) = directory.founding()? else { return Ok(None) };
    let recorded = Recorded::decode(&bytes)?;
    Ok(recorded.founded.then_some(recorded.record.cluster_id))
}

/// From the mesh's founding to the end of the node.
async fn serve(
    opened: Opened,
    transport: Transport,
    events: tokio::sync::mpsc::Receiver<mesh::transport::Event>,
    watched: Watched,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let Watched { metrics, kafka: kafka_metrics, clocks, phase, notifier } = watched;
    let own = Seed {
        peer_id: transport.local_peer().to_bytes(),
        incarnation: opened.directory.incarnation().0,
        addresses: opened.addresses.clone(),
        zone: opened.config.zone.clone(),
    };
    let entry = (opened.config.entry.clone(), opened.config.replaces);
    let (directory, counted) = (opened.directory.clone(), Arc::clone(&metrics));
    let mut mesh = Mesh::new(transport.clone(), events, directory, own, entry, counted, clocks)?;
    let member = establish(&mut mesh, &phase, &notifier, &stop).await?;
    let (calls, inbox) =
        NodeHandle::new(CALLS_MAX, opened.config.queued_max_bytes, opened.config.responses_max_bytes);
    let hints = Arc::new(Hints::default());
    let record = member.record.clone();
    let Opened { config, directory, disk, logs, kafka, addresses } = opened;
    let clock = Clock::start();
    let setup = setup(&member, &directory, &addresses, &config)?;
    let node_config = node_config(&config, &member, &addresses);
    let (node, effects) =
        tokio::task::spawn_blocking(move || Node::open(setup, node_config, logs, clock.now()))
            .await?
            .map_err(|error| anyhow::anyhow!("the data directory does not open: {error}"))?;
    let parts = Parts {
        node,
        effects,
        clock,
        inbox,
        calls: calls.clone(),
        transport: transport.clone(),
        hints: Arc::clone(&hints),
        metrics: Arc::clone(&metrics),
        directory,
    };
    let (worker, thread) = worker::start(parts, Handle::current())?;
    phase.send_replace(Phase::Running(worker.clone()));
    tracing::info!(
        node_id = member.node.0,
        cluster_id = membership::cluster_id(&record),
        kafka = addresses.kafka,
        mesh = addresses.mesh,
        http = addresses.http,
        "this node is up"
    );

    let (mesh_stop, kafka_stop) = (CancellationToken::new(), CancellationToken::new());
    let pumping =
        tokio::spawn(mesh.run(member.node, worker.clone(), record, calls.clone(), mesh_stop.clone()));
    let publishing = tokio::spawn({
        let (transport, metrics) = (transport.clone(), Arc::clone(&metrics));
        async move { hints.publish(&transport, &metrics).await }
    });
    let watching_space = tokio::spawn(space::watch(disk, config.reserve_bytes, Arc::clone(&metrics)));
    let limits = Arc::new(limits(&config));
    let admission =
        Admission::new(Arc::clone(&kafka_metrics), limits.connections_max, limits.connections_of_address_max);
    metrics.reserve_bytes.store(config.reserve_bytes, Relaxed);
    metrics.connections_max.store(limits.connections_max as u64, Relaxed);
    let listening: Vec<_> = kafka
        .into_iter()
        .map(|listener| {
            let shared = Shared {
                listener: Arc::from(listener.name),
                handle: calls.clone(),
                limits: Arc::clone(&limits),
                admission: Arc::clone(&admission),
                metrics: Arc::clone(&kafka_metrics),
                stop: kafka_stop.clone(),
            };
            tokio::spawn(serve_listener(listener.socket, shared))
        })
        .collect();
    drop(calls);
    notifier.ready();

    let mut pumping = pumping;
    let failed = tokio::select! {
        () = stop.cancelled() => None,
        ended = &mut pumping => Some(ended),
    };
    phase.send_replace(Phase::Stopping);
    if failed.is_none() {
        hand_over(&worker, Duration::from_millis(config.stop_ms) + STOP_SLACK).await;
    }
    kafka_stop.cancel();
    let closing = timeout(CLOSING, join_all(listening)).await;
    if closing.is_err() {
        tracing::debug!("some clients did not take their answers in time");
    }
    publishing.abort();
    watching_space.abort();
    mesh_stop.cancel();
    worker.end().await;
    tokio::task::spawn_blocking(move || thread.join())
        .await?
        .map_err(|_panic| anyhow::anyhow!("the worker panicked"))?;
    match failed {
        Some(ended) => Ok(ended??),
        None => Ok(pumping.await??),
    }
}

async fn establish(
    mesh: &mut Mesh,
    phase: &watch::Sender<Phase>,
    notifier: &Notifier,
    stop: &CancellationToken,
) -> anyhow::Result<Member> {
    let (told, mut heard) = watch::channel(String::new());
    let establishing = mesh.establish(&told, stop);
    tokio::pin!(establishing);
    loop {
        tokio::select! {
            member = &mut establishing => return Ok(member?),
            Ok(()) = heard.changed() => {
                let text = heard.borrow_and_update().clone();
                notifier.status(&text);
                phase.send_replace(Phase::Starting(text));
            }
        }
    }
}

/// Clients are served until others lead what this node led.
async fn hand_over(worker: &WorkerHandle, patience: Duration) {
    worker.stop().await;
    if timeout(patience, worker.stopped().cancelled()).await.is_err() {
        tracing::warn!("leadership could not be handed over in time; the others will elect new leaders");
    }
}

fn setup(
    member: &Member,
    directory: &DataDir,
    addresses: &Addresses,
    config: &Config,
) -> anyhow::Result<Setup> {
    let identity = Identity { node: member.node, incarnation: directory.life() };
    let registration = Registration {
        node: Some(member.node),
        incarnation: identity.incarnation,
        peer_id: directory.keys().public().to_peer_id().to_bytes(),
        kafka: addresses.kafka.clone(),
        mesh: addresses.mesh.clone(),
        http: addresses.http.clone(),
        zone: config.zone.clone(),
        weight: config.weight,
    };
    let founding = founding_of(&member.record);
    let view = member.view.as_deref().and_then(|bytes| View::decode(bytes).ok());
    Ok(Setup { identity, registration, founding, view, seed: data_dir::random()? })
}

fn node_config(config: &Config, member: &Member, addresses: &Addresses) -> NodeConfig {
    let raft = mesh::raft::Config {
        heartbeat_us: config.heartbeat_ms * 1_000,
        election_min_us: config.election_ms * 1_000,
        election_max_us: config.election_ms * 2_000,
        ..NodeConfig::default().raft
    };
    NodeConfig {
        raft,
        liveness: LivenessConfig {
            interval_us: config.heartbeat_ms * 1_000,
            timeout_us: config.suspect_ms * 1_000,
        },
        retention_ms: config.retention_check_ms,
        defaults: Defaults {
            partitions: config.default_partitions,
            replication_factor: config.default_replication_factor,
            auto_create_topics: config.auto_create_topics,
            ..Defaults::default()
        },
        settings: BrokerSettings {
            node: member.node.0,
            listen: named(
                config.listeners.iter().map(|one| (&*one.name, one.listen.with_port(one.listen.port()))),
            ),
            advertised: named(endpoints(&addresses.kafka).map(|end| (end.listener, registry::shown(&end)))),
            zone: config.zone.clone(),
            data_dir: config.data_dir.display().to_string(),
        },
        stop_ms: config.stop_ms,
        workers: config.workers,
        dead_after_ms: config.dead_after_ms,
        groups: config.groups.clone(),
        replace_after_ms: config.replace_after_ms,
        moves_at_once: config.moves_at_once,
        prefer_after_ms: config.leader_return_ms,
        scrub: ScrubConfig {
            bytes_per_second: config.scrub_mib_s << 20,
            every_ms: config.scrub_every_ms,
            ..ScrubConfig::default()
        },
        rebuild_bytes_per_second: config.rebuild_mib_s << 20,
        ..NodeConfig::default()
    }
}

/// Listeners as Kafka writes them.
fn named<'a>(listeners: impl Iterator<Item = (&'a str, String)>) -> String {
    let all: Vec<String> = listeners.map(|(name, address)| format!("{name}://{address}")).collect();
    all.join(",")
}

fn limits(config: &Config) -> Limits {
    Limits {
        request_bytes_max: config.socket_request_max_bytes,
        // Topics say what a batch may be, up to this.
        message_bytes_max: MESSAGE_BYTES_MAX,
        connections_max: config.max_connections,
        connections_of_address_max: config.max_connections_per_ip,
        ..Limits::default()
    }
}
