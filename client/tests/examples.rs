//! The examples of the documentation, run against a real node: they are what a program sees that is made with the library.

use std::ffi::OsString;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Nothing takes longer on a machine that is busy with everything else.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where cargo has put this test: `release` or `debug` in the target directory.
fn built() -> PathBuf {
    let test = std::env::current_exe().expect("a path");
    let built = test.parent().and_then(Path::parent).expect("it is in deps, there");
    built.to_owned()
}

/// Has cargo build what is not there yet, into the directory that this test comes from.
fn build(arguments: &[&str]) {
    let built = built();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.arg("build").args(arguments).arg("--target-dir").arg(built.parent().expect("it has one"));
    if built.ends_with("release") {
        command.arg("--release");
    }
    let status = command.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs");
    assert!(status.success(), "cargo build {arguments:?}");
}

fn node_program() -> PathBuf {
    static ONCE: Once = Once::new();
    let program = built().join("rafka-node");
    ONCE.call_once(|| {
        if !program.exists() {
            build(&["--package", "node", "--bin", "rafka-node"]);
        }
    });
    program
}

/// What an example prints; it must succeed.
fn example(name: &str, arguments: &[&str]) -> String {
    let (success, out, err) = try_example(name, arguments);
    assert!(success, "{name} {arguments:?}: {out}{err}");
    out
}

/// `cargo test` builds all examples, unless it was told to run one test only.
fn try_example(name: &str, arguments: &[&str]) -> (bool, String, String) {
    static ONCE: Once = Once::new();
    let place = built().join("examples");
    ONCE.call_once(|| {
        if ["create", "produce", "consume", "doctor"].iter().any(|name| !place.join(name).exists()) {
            build(&["--package", "client", "--examples"]);
        }
    });
    let mut command = Command::new(place.join(name));
    let Output { status, stdout, stderr } = command.args(arguments).output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (status.success(), text(stdout), text(stderr))
}

/// A mesh of one node; killed when dropped.
struct Node {
    child: Child,
    data: TempDir,
    kafka: String,
    http: String,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ended_before = self.child.kill();
        let _reaped = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

impl Node {
    /// Starts one on any free ports, and waits until clients may be sent there.
    fn start() -> Node {
        let data = tempfile::tempdir().expect("a directory");
        let log = std::fs::File::create(data.path().join("log")).expect("a log");
        let child = Command::new(node_program())
            .arg("--data-dir")
            .arg(data.path().join("data"))
            .args(["--listen-kafka", "127.0.0.1:0", "--listen-mesh", "127.0.0.1:0"])
            .args(["--listen-http", "127.0.0.1:0", "--heartbeat-ms", "100"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("it starts");
        let mut node = Node { child, data, kafka: String::new(), http: String::new() };
        node.until("its ports", |node| {
            let ports = std::fs::read_to_string(node.data.path().join("data/ports.json")).ok()?;
            let ports: serde_json::Value = serde_json::from_str(&ports).ok()?;
            node.kafka = format!("127.0.0.1:{}", ports["kafka"].as_u64()?);
            node.http = format!("127.0.0.1:{}", ports["http"].as_u64()?);
            Some(())
        });
        node.until("it is ready", |node| ureq::get(format!("http://{}/readyz", node.http)).call().ok());
        node
    }

    /// Polls until there is an answer.
    #[expect(clippy::disallowed_methods, reason = "a test polls a real process in real time")]
    fn until<T>(&mut self, what: &str, mut asked: impl FnMut(&mut Node) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(answer) = asked(self) {
                return answer;
            }
            let ended = self.child.try_wait().expect("it can be asked");
            assert!(ended.is_none(), "{what}: it ended with {ended:?}");
            assert!(begun.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.data.path().join("log")).unwrap_or_default()
    }
}

#[test]
fn a_topic_is_created_written_and_read() {
    let node = Node::start();
    let (kafka, http) = (node.kafka.as_str(), node.http.as_str());

    let created = example("create", &[kafka, "greetings", http]);
    let mut lines = created.lines();
    assert_eq!(lines.next(), Some("created greetings with 3 partitions"), "{created}");
    for (number, line) in (0..3).zip(lines.by_ref()) {
        let leader = line.strip_prefix(&format!("partition/greetings/{number}: led by node ")).expect(line);
        let (leader, replicas) = leader.split_once(", replicas ").expect(line);
        assert_eq!(format!("[{leader}]"), replicas, "the only node leads: {created}");
    }
    assert_eq!(lines.next(), None, "{created}");
    let again = example("create", &[kafka, "greetings", http]);
    assert!(
        again.starts_with("there is a topic greetings already\npartition/greetings/0: led by"),
        "{again}"
    );

    let written = example("produce", &[kafka, "greetings"]);
    assert!(written.ends_with("\n10 of 10 acknowledged\n"), "{written}");
    let read = example("consume", &[kafka, "greetings"]);
    assert!(read.ends_with("\n10 records from 3 partitions\n"), "{read}");
    // Each record is read where its acknowledgement says it is.
    let mut told: Vec<String> = written
        .lines()
        .filter_map(|line| line.split_once(": partition "))
        .map(|(key, place)| {
            let number = key.trim_start_matches("key-");
            format!("{} {key} = hello {number}", place.replace(", offset ", "/"))
        })
        .collect();
    let mut found: Vec<&str> = read.lines().filter(|line| line.contains(" = ")).collect();
    told.sort_unstable();
    found.sort_unstable();
    assert_eq!((told.len(), found), (10, told.iter().map(String::as_str).collect()), "{written}{read}");
}

#[test]
fn a_mesh_that_answers_is_told_apart_from_one_that_does_not() {
    let mut node = Node::start();
    let (kafka, http) = (node.kafka.clone(), node.http.clone());
    let seen = example("doctor", &[&kafka, "1", &http]);
    assert!(seen.starts_with("node 1 at ") && seen.contains(&format!(" at {kafka}: up, leads ")), "{seen}");
    // A machine that is busy, or lets a process open few files, is worth a warning, and nothing more.
    assert!(!seen.contains("critical:"), "{seen}");
    let last = seen.lines().last().expect("a line").trim_start_matches("not ");
    assert!(last.starts_with("healthy: 1 of 1 node answered, with "), "{seen}");
    assert!(last.ends_with("Kafka answered at 1 advertised address"), "{seen}");

    node.child.kill().expect("it lives");
    node.child.wait().expect("it ends");
    let silent = example("doctor", &[&kafka, "1", &http]);
    assert!(silent.contains("critical: no node answers ("), "{silent}");
    assert!(silent.ends_with("not healthy: 0 of 0 nodes answered, with 0 replicas of 0 partitions (metadata shards among them) of 0 topics; Kafka answered at 0 advertised addresses\n"), "{silent}");
}

#[test]
fn a_program_is_told_why_nobody_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let nobody = listener.local_addr().expect("an address").to_string();
    drop(listener);
    for name in ["create", "consume"] {
        let (success, out, err) = try_example(name, &[&nobody, "greetings"]);
        assert!(!success && out.is_empty(), "{name}: {out}");
        assert!(err.contains(&format!("KafkaUnreachable {{ addresses: \"{nobody}\"")), "{name}: {err}");
        assert!(err.contains("Connection refused"), "{name}: {err}");
    }
    let error = rafka::Mesh::at(&nobody).topics().expect_err("nobody is there").to_string();
    assert!(error.starts_with(&format!("no node answers at {nobody} (")), "{error}");
    assert!(error.contains("\nIs it running? Name several nodes in Mesh::at"), "{error}");
}
