//! The process around the core: files, threads, sockets, signals. It pumps and decides nothing about partitions.
//!
//! In reading order: [`config`] (what a person may set), [`data_dir`] (who this node is), [`membership`] (how it comes to a
//! mesh), [`worker`] (the thread that owns the node), `disk` (the threads that wait for it), [`wire`] (frames between
//! nodes), `publisher` (hints), [`http`] and `pages`, [`metrics`], and this file: start and stop.
//!
//! ```text
//! lock and recover the log -> identity -> listeners bound, ports.json -> mesh founded or joined -> node -> clients served
//! SIGTERM: hand leadership over -> listeners closed, answers written -> threads end -> lock released, exit 0
//! ```
//!
//! Invariants: only the worker touches the node, and it never waits for disk or network; every queue is bounded; every task
//! is joined; a panic anywhere ends the process.

mod clock;
pub mod config;
pub mod data_dir;
mod disk;
mod http;
mod index;
pub mod membership;
pub mod metrics;
mod offline;
mod pages;
mod publisher;
mod registry;
pub mod wire;
mod worker;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches, Parser};
use mesh::founding::{Addresses, Recorded, Seed};
use mesh::liveness::LivenessConfig;
use mesh::transport::{Transport, TransportConfig};
use storage::disk::file::FileDisk;
use storage::{OpenError, Recovered, Store, StoreConfig};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::core::metadata::Registration;
use crate::core::metadata::configs::{BrokerSettings, Defaults};
use crate::core::{Identity, Node, NodeConfig, Setup};
use crate::kafka::NodeHandle;
use crate::kafka::connection::{Shared, serve_listener};
use crate::kafka::limits::Limits;
use crate::kafka::metrics::Metrics as KafkaMetrics;
use clock::Clock;
use config::{Config, Listen, LogFormat, Raw};
use data_dir::DataDir;
use index::LazyIndex;
use membership::{Member, MembershipError, Mesh, founding_of};
use metrics::Metrics;
use pages::{Pages, Phase};
use publisher::Hints;
use worker::{Parts, WorkerHandle};

/// A node on real files.
type ShellNode = Node<FileDisk>;

/// Exit code for a defect (EX_SOFTWARE of sysexits.h).
const EXIT_DEFECT: i32 = 70;
/// Exit code when a second signal came.
const EXIT_SIGNAL: i32 = 130;
/// Exit code for wrong flags, as clap's.
const EXIT_USAGE: u8 = 2;
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
        return offline::run(command);
    }
    let config = match Config::load(cli.flags) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("rafka-node: {error}\nSee rafka-node --help.");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    start_log(&config);
    end_on_panic();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "this node does not start: the system has no threads for it");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("this node ends: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start_log(config: &Config) {
    // libp2p's own words are for its developers, unless a person asks for them.
    let filter = match config.log_level.contains('=') {
        true => EnvFilter::new(&config.log_level),
        false => {
            EnvFilter::new(format!("{},libp2p_swarm=warn,libp2p_kad=error,yamux=error", config.log_level))
        }
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        LogFormat::Json => log.json().init(),
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

/// Cancelled by the first SIGTERM or SIGINT; the second ends the process.
fn stop_on_signal() -> std::io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let token = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if token.is_cancelled() {
                tracing::warn!("a second signal: stopping at once");
                std::process::exit(EXIT_SIGNAL);
            }
            tracing::info!("stopping: leadership is handed over first; a second signal stops at once");
            token.cancel();
        }
    });
    Ok(stop)
}

/// What a node opened before it knows its mesh.
struct Opened {
    config: Config,
    directory: DataDir,
    store: Store<FileDisk>,
    recovered: Recovered,
    kafka: TcpListener,
    addresses: Addresses,
}

async fn run(config: Config) -> anyhow::Result<()> {
    let stop = stop_on_signal()?;
    let (opened, http_socket) = open(config).await?;
    let metrics = Arc::new(Metrics::default());
    let kafka_metrics = Arc::new(KafkaMetrics::default());
    let (opened, transport, events) = connect(opened).await?;
    let kafka_port = opened.kafka.local_addr()?.port();
    opened.directory.set_ports(kafka_port, transport.listening().port(), http_socket.local_addr()?.port())?;
    let (phase, watched) = watch::channel(Phase::Starting("looking for the mesh".into()));
    let pages = Pages {
        phase: watched,
        transport: transport.clone(),
        metrics: Arc::clone(&metrics),
        kafka: Arc::clone(&kafka_metrics),
    };
    let http_stop = CancellationToken::new();
    let serving_http = tokio::spawn(http::serve(http_socket, Arc::new(pages), http_stop.clone()));
    let served = serve(opened, transport.clone(), events, metrics, kafka_metrics, phase, stop).await;
    transport.stop().await;
    http_stop.cancel();
    serving_http.await?;
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
    let (store, recovered, directory) = tokio::task::spawn_blocking(move || -> anyhow::Result<_> {
        let shown = path.display();
        let disk = FileDisk::new(&path)
            .map_err(|error| anyhow::anyhow!("the data directory {shown} cannot be used: {error}"))?;
        let index = Box::new(LazyIndex::new(&path));
        let note = || data_dir::begin_life(&path);
        let (store, recovered) = Store::open_noting_damage(disk, store_config, index, note).map_err(|error| match error {
            OpenError::Locked => anyhow::anyhow!(
                "another rafka-node runs on this data directory, {shown} is in use (locked): stop that one, or name another --data-dir"
            ),
            error => anyhow::anyhow!("the data directory {shown} does not open: {error}"),
        })?;
        let directory = DataDir::open(&path, store.logs().next().is_some())?;
        Ok((store, recovered, directory))
    })
    .await??;
    tracing::info!(
        data_dir = %config.data_dir.display(),
        boot = recovered.boot,
        logs = recovered.logs.len(),
        cut_bytes = recovered.cut_bytes,
        "the log is recovered"
    );
    if recovered.suspect {
        tracing::error!(
            "the log is damaged below what had been synced: the replicas of this node take no part until they are rebuilt from \
             others. Look at the disk (dmesg, smartctl)"
        );
    }
    let kafka = bind("listen-kafka", &config.listen_kafka).await?;
    let http = bind("listen-http", &config.listen_http).await?;
    let advertised = |given: &Option<String>, listen: &Listen, port| {
        given.clone().unwrap_or_else(|| listen.with_port(port))
    };
    let kafka_address = advertised(&config.advertise_kafka, &config.listen_kafka, kafka.local_addr()?.port());
    let http_port = http.local_addr()?.port();
    let http_address = if config.listen_http.address.ip().is_unspecified() {
        let host = kafka_address.rsplit_once(':').map_or("", |(host, _)| host);
        format!("{host}:{http_port}")
    } else {
        config.listen_http.with_port(http_port)
    };
    let addresses = Addresses { mesh: String::new(), kafka: kafka_address, http: http_address };
    Ok((Opened { config, directory, store, recovered, kafka, addresses }, http))
}

async fn bind(flag: &str, listen: &Listen) -> anyhow::Result<TcpListener> {
    TcpListener::bind(listen.address).await.map_err(|error| {
        anyhow::anyhow!(
            "--{flag}: cannot listen on {}: {error}; stop what listens there, or choose another port",
            listen.address
        )
    })
}

async fn connect(
    mut opened: Opened,
) -> anyhow::Result<(Opened, Transport, tokio::sync::mpsc::Receiver<mesh::transport::Event>)> {
    let config = &opened.config;
    let secret = config.secret.unwrap_or_else(|| blake3::derive_key("rafka mesh secret 1", b""));
    if config.secret.is_none() && !config.listen_mesh.address.ip().is_loopback() {
        tracing::warn!(
            listen_mesh = %config.listen_mesh.address,
            "no --token-file: everyone who reaches the mesh port can join this mesh"
        );
    }
    let identity = opened.directory.keys().clone();
    let mut transport = TransportConfig::new(identity, config.listen_mesh.address, secret);
    transport.advertised = config
        .advertise_mesh
        .clone()
        .unwrap_or_else(|| config.listen_mesh.with_port(config.listen_mesh.address.port()));
    // libp2p shares its ports (SO_REUSEPORT): without this look a second node on this address would take half of the connections.
    drop(bind("listen-mesh", &config.listen_mesh).await?);
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
    metrics: Arc<Metrics>,
    kafka_metrics: Arc<KafkaMetrics>,
    phase: watch::Sender<Phase>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let own = Seed {
        peer_id: transport.local_peer().to_bytes(),
        incarnation: opened.directory.incarnation().0,
        addresses: opened.addresses.clone(),
        zone: opened.config.zone.clone(),
    };
    let entry = opened.config.entry.clone();
    let mut mesh =
        Mesh::new(transport.clone(), events, opened.directory.clone(), own, entry, Arc::clone(&metrics))?;
    let member = establish(&mut mesh, &phase, &stop).await?;
    let (calls, inbox) = NodeHandle::new(CALLS_MAX, opened.config.queued_max_bytes);
    let hints = Arc::new(Hints::default());
    let record = member.record.clone();
    let Opened { config, directory, store, recovered, kafka, addresses } = opened;
    let clock = Clock::start();
    let setup = setup(&member, &directory, &addresses, &config)?;
    let node_config = node_config(&config, &member, &addresses);
    let (node, effects) =
        tokio::task::spawn_blocking(move || Node::open(setup, node_config, store, recovered, clock.now()))
            .await?
            .map_err(|error| anyhow::anyhow!("the data directory does not open: {error}"))?;
    let parts = Parts {
        node,
        effects,
        clock,
        inbox,
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
    let pumping = tokio::spawn(mesh.run(worker.clone(), record, calls.clone(), mesh_stop.clone()));
    let publishing = tokio::spawn({
        let (transport, metrics) = (transport.clone(), Arc::clone(&metrics));
        async move { hints.publish(&transport, &metrics).await }
    });
    let shared = Shared {
        listener: Arc::from("PLAINTEXT"),
        handle: calls,
        limits: Arc::new(limits(&config)),
        metrics: kafka_metrics,
        stop: kafka_stop.clone(),
    };
    let listening = tokio::spawn(serve_listener(kafka, shared));

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
    let closing = timeout(CLOSING, listening).await;
    if closing.is_err() {
        tracing::debug!("some clients did not take their answers in time");
    }
    publishing.abort();
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
    Ok(Setup { identity, registration, founding, view: member.view.clone(), seed: data_dir::random()? })
}

fn node_config(config: &Config, member: &Member, addresses: &Addresses) -> NodeConfig {
    let raft = mesh::raft::Config {
        heartbeat_us: config.heartbeat_ms * 1_000,
        election_min_us: config.election_ms * 1_000,
        election_max_us: config.election_ms * 2_000,
        ..mesh::raft::Config::default()
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
            listen: config.listen_kafka.address.to_string(),
            advertised: addresses.kafka.clone(),
            zone: config.zone.clone(),
            data_dir: config.data_dir.display().to_string(),
        },
        stop_ms: config.stop_ms,
        ..NodeConfig::default()
    }
}

fn limits(config: &Config) -> Limits {
    Limits {
        request_bytes_max: config.socket_request_max_bytes,
        // Topics say what a batch may be, up to this.
        message_bytes_max: MESSAGE_BYTES_MAX,
        connections_max: config.max_connections,
        ..Limits::default()
    }
}
