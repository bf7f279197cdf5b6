//! Nodes as processes, and a small Kafka client.

mod kafka;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

pub(crate) use kafka::Kafka;
use serde_json::Value;
use tempfile::TempDir;

/// Nothing takes longer on a machine that is busy with everything else.
const PATIENCE: Duration = Duration::from_secs(60);
const FIRST_PORT: u32 = 12_000;
const PORTS: u32 = 14_000;
const PAUSE: Duration = Duration::from_millis(20);

/// Polls until it is so; panics when that does not come.
#[expect(clippy::disallowed_methods, reason = "a test polls real processes in real time")]
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
        std::thread::sleep(PAUSE);
    }
}

/// A port that is free, and that the system does not give to whoever asks for any: those begin at 32768.
pub(crate) fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let free = (0..PORTS).find_map(|_| {
        let number = (std::process::id() + TAKEN.fetch_add(1, Relaxed)) % PORTS + FIRST_PORT;
        let port = u16::try_from(number).expect("the range ends below 65536");
        TcpListener::bind(("127.0.0.1", port)).ok().map(|_| port)
    });
    free.expect("a free port")
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// By itself.
    Code(i32),
    /// By a signal.
    Signal,
}

/// A place for the data of nodes; gone afterwards.
pub(crate) struct Rig {
    root: TempDir,
}

impl Rig {
    pub(crate) fn new() -> Rig {
        Rig { root: tempfile::tempdir().expect("a directory") }
    }

    /// A node whose data is under that name.
    pub(crate) fn node(&self, name: &str) -> Setup {
        Setup {
            data: self.root.path().join(name),
            log: self.root.path().join(format!("{name}.log")),
            arguments: Vec::new(),
            wrapper: Vec::new(),
            variables: Vec::new(),
        }
    }

    /// Three seeds, started.
    pub(crate) fn three(&self) -> Vec<Process> {
        self.three_with(&[])
    }

    pub(crate) fn three_with(&self, arguments: &[&str]) -> Vec<Process> {
        let seeds: Vec<String> = (0..3).map(|_| format!("127.0.0.1:{}", free_port())).collect();
        let list = seeds.join(",");
        let start = |(name, own): (&&str, &String)| {
            self.node(name).args(&["--listen-mesh", own, "--seeds", &list]).args(arguments).start()
        };
        ["s1", "s2", "s3"].iter().zip(&seeds).map(start).collect()
    }

    /// A file with that content; its path.
    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let path = self.root.path().join(name);
        std::fs::write(&path, content).expect("written");
        path.display().to_string()
    }
}

/// A node that is not started.
#[derive(Clone)]
pub(crate) struct Setup {
    data: PathBuf,
    log: PathBuf,
    arguments: Vec<String>,
    wrapper: Vec<String>,
    variables: Vec<(String, String)>,
}

impl Setup {
    /// A shell script that ends with `exec "$@"`: the node.
    pub(crate) fn within(mut self, script: &str) -> Setup {
        self.wrapper = ["sh", "-c", script, "sh"].map(str::to_owned).to_vec();
        self
    }

    /// As [`Setup::within`], with mounts of its own. Nothing when the system does not let this user.
    pub(crate) fn within_mounts(mut self, script: &str) -> Option<Setup> {
        let unshare = ["unshare", "--mount", "--map-root-user"];
        let allowed = Command::new(unshare[0]).args(&unshare[1..]).arg("true").stderr(Stdio::null()).status();
        if !allowed.is_ok_and(|status| status.success()) {
            eprintln!("not shown: this user may not mount");
            return None;
        }
        self = self.within(script);
        self.wrapper.splice(0..0, unshare.map(str::to_owned));
        Some(self)
    }

    /// An environment variable.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Setup {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Where the data is.
    pub(crate) fn path(&self) -> &Path {
        &self.data
    }

    pub(crate) fn args(mut self, arguments: &[&str]) -> Setup {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// Starts it. Ports that nothing was said about are any free ones.
    pub(crate) fn start(self) -> Process {
        let _absent = std::fs::remove_file(self.data.join("ports.json"));
        self.start_beside()
    }

    /// Whether `storage verify` finds nothing wrong with the directory.
    pub(crate) fn verify(&self) -> bool {
        self.offline(&["verify"]).0 == 0
    }

    /// `storage` with these words: exit code, what it prints, and what it says beside.
    pub(crate) fn offline(&self, words: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rafka-node"));
        let ended = command.arg("storage").args(words).arg(&self.data).output().expect("it runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (ended.status.code().unwrap_or(-1), text(ended.stdout), text(ended.stderr))
    }

    /// As [`Setup::start`], while another process may use the directory.
    pub(crate) fn start_beside(self) -> Process {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log).expect("a log");
        let node = env!("CARGO_BIN_EXE_rafka-node").to_owned();
        let mut words = self.wrapper.iter().chain([&node]);
        let mut command = Command::new(words.next().expect("the node at least"));
        command.args(words).arg("--data-dir").arg(&self.data).envs(self.variables.clone());
        for flag in ["--listen-kafka", "--listen-mesh", "--listen-http"] {
            let named = flag == "--listen-kafka" && self.arguments.iter().any(|one| one == "--listeners");
            if !named && !self.arguments.iter().any(|argument| argument == flag) {
                command.args([flag, "127.0.0.1:0"]);
            }
        }
        command.args(["--heartbeat-ms", "100"]).args(&self.arguments);
        if !self.arguments.iter().any(|argument| argument == "--stop-ms") {
            command.args(["--stop-ms", "10000"]);
        }
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("it starts");
        Process { child, setup: self }
    }
}

/// A running node; killed when dropped.
pub(crate) struct Process {
    child: Child,
    setup: Setup,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("---- {}\n{}", self.setup.log.display(), self.log());
        }
    }
}

impl Process {
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.setup.log).unwrap_or_default()
    }

    fn port(&mut self, name: &str) -> u16 {
        until(&format!("ports.json of {}", self.setup.data.display()), || self.ports().is_some());
        port_in(&self.ports().expect("it was there"), name)
    }

    fn ports(&self) -> Option<Value> {
        read_ports(&self.seen(&self.setup.data))
    }

    /// A path as the process sees it, whatever it mounted.
    pub(crate) fn seen(&self, path: &Path) -> PathBuf {
        let root = format!("/proc/{}/root{}", self.pid(), path.display());
        if Path::new(&root).exists() { root.into() } else { path.to_owned() }
    }

    /// The port of a named listener.
    pub(crate) fn listener(&self, name: &str) -> u16 {
        port_in(&self.ports().expect("it is ready")["listeners"], name)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn address(&self, name: &str) -> String {
        format!("127.0.0.1:{}", port_in(&self.ports().expect("it is ready"), name))
    }

    pub(crate) fn kafka_address(&self) -> String {
        self.address("kafka")
    }

    pub(crate) fn http_address(&self) -> String {
        self.address("http")
    }

    /// Where its data is.
    pub(crate) fn data(&self) -> &Path {
        &self.setup.data
    }

    pub(crate) fn mesh_address(&self) -> String {
        self.address("mesh")
    }

    /// Waits until clients may be sent here.
    pub(crate) fn ready(&mut self) {
        self.port("http");
        until(&format!("{} ready", self.setup.data.display()), || {
            assert!(self.child.try_wait().expect("it can be asked").is_none(), "it ended:\n{}", self.log());
            self.get("/readyz").0 == 200
        });
    }

    /// Status and body; status 0 when nobody answers.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        self.asked(&format!("GET {path} HTTP/1.1\r\nHost: node\r\n\r\n"))
    }

    /// An operator decides.
    pub(crate) fn post(&self, path: &str) -> (u16, String) {
        self.asked(&format!("POST {path} HTTP/1.1\r\nHost: node\r\nX-Rafka-Operator: test\r\n\r\n"))
    }

    fn asked(&self, request: &str) -> (u16, String) {
        let answer = self.ports().and_then(|ports| exchange(port_in(&ports, "http"), request.as_bytes()));
        let answer = answer.unwrap_or_default();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or(("", ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        (status, body.to_owned())
    }

    pub(crate) fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).expect("an object")
    }

    /// Sends bytes to the HTTP port and waits until it has answered or hung up.
    pub(crate) fn raw_http(&self, bytes: &[u8]) {
        let _hung_up = exchange(port_in(&self.ports().expect("it is ready"), "http"), bytes);
    }

    /// SIGTERM, and how it ended.
    pub(crate) fn stop(&mut self) -> Ended {
        self.signal("TERM");
        self.wait()
    }

    /// A signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let (signal, pid) = (format!("-{name}"), self.pid().to_string());
        assert!(Command::new("kill").args([signal, pid]).status().expect("kill runs").success());
    }

    /// Waits until the log says it.
    pub(crate) fn says(&self, words: &str) {
        until(&format!("{words:?} in {}", self.setup.log.display()), || self.log().contains(words));
    }

    pub(crate) fn wait(&mut self) -> Ended {
        let mut ended = None;
        until("the end of a process", || {
            ended = self.child.try_wait().expect("it can be asked");
            ended.is_some()
        });
        ended.and_then(|status| status.code()).map_or(Ended::Signal, Ended::Code)
    }

    /// How it ends by itself, and what it said.
    pub(crate) fn end(mut self) -> (Ended, String) {
        (self.wait(), self.log())
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        let _ended_before = self.child.kill();
        let _reaped = self.child.wait();
    }

    /// As it was started before; its mesh port is kept when it was chosen.
    pub(crate) fn start_again(&mut self) {
        let again = self.setup.clone().start();
        let mut before = std::mem::replace(self, again);
        before.kill();
    }
}

fn read_ports(data: &Path) -> Option<Value> {
    serde_json::from_str(&std::fs::read_to_string(data.join("ports.json")).ok()?).ok()
}

fn port_in(ports: &Value, name: &str) -> u16 {
    ports[name].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port")
}

fn exchange(port: u16, request: &[u8]) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(request).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    String::from_utf8(answer).ok()
}
