//! The client of a rafka mesh: a broker that speaks Kafka's protocol and is a peer-to-peer mesh without a controller.
//!
//! Any Kafka client works with rafka. This one has the settings that are safe and quick on a mesh whose leaders move, and asks what
//! Kafka's protocol does not tell: who hears whom, where a key lives, what is wrong. The `rafka` command line is made of it.
//!
//! # Five minutes
//!
//! Start a node: `rafka-node --data-dir first`. It takes Kafka clients at port 9092 and answers HTTP at 9292, which is what
//! [`Mesh::default`] expects. A mesh is named by some of its addresses; nothing is connected until something is asked.
//!
//! ```
//! use std::time::Duration;
//! use rafka::Mesh;
//!
//! let here = Mesh::default();
//! let staging = Mesh::at("10.0.0.1:9092,10.0.0.2:9092").timeout(Duration::from_secs(30));
//! # assert_eq!((here.addresses(), staging.http_address()), ("127.0.0.1:9092", "10.0.0.1:9292"));
//! ```
//!
//! A topic is there once it was created, and usable once its partitions have leaders; [`Mesh::create_topic`] waits for that.
//!
//! ```no_run
//! # fn main() -> Result<(), rafka::Error> {
//! use rafka::{Mesh, NewTopic};
//!
//! let mesh = Mesh::default();
//! mesh.create_topic(&NewTopic::named("greetings").partitions(3))?;
//! # Ok(())
//! # }
//! ```
//!
//! Records are written with a producer of [`rdkafka`], made with `acks=all` and idempotence: a record that it calls written is on
//! the disks of a majority of the partition's replicas, once. A key has the partition that Java's clients give it.
//!
//! ```no_run
//! use rafka::rdkafka::producer::FutureRecord;
//! use rafka::rdkafka::util::Timeout;
//!
//! # async fn write(mesh: rafka::Mesh) -> Result<(), rafka::Error> {
//! let producer = mesh.producer()?;
//! let record = FutureRecord::to("greetings").key("ada").payload("hello, mesh");
//! match producer.send(record, Timeout::Never).await.map_err(rafka::Error::from) {
//!     Ok(written) => println!("partition {}, offset {}", written.partition, written.offset),
//!     Err(error @ rafka::Error::NotWritten { .. }) => println!("never: {error}"),
//!     Err(error) => println!("perhaps: {error}"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Records are read by assignment, without a consumer group: each [`Reader`] reads all partitions, from where it is told.
//!
//! ```no_run
//! # fn main() -> Result<(), rafka::Error> {
//! use rafka::rdkafka::Message;
//! use rafka::reader::Start;
//! use std::time::Duration;
//!
//! let mut reader = rafka::Mesh::default().reader("greetings", Start::Earliest)?;
//! while !reader.caught_up() {
//!     if let Some(record) = reader.poll(Duration::from_millis(100))? {
//!         println!("{}", String::from_utf8_lossy(record.payload().unwrap_or_default()));
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What the mesh itself knows comes over HTTP: its [nodes](Mesh::nodes), a topic's [partitions](Mesh::describe_topic), the way to a
//! [key](Mesh::lookup). [`doctor::examine`] asks all nodes and says in words what is wrong and what to do.
//!
//! ```no_run
//! # fn main() -> Result<(), rafka::Error> {
//! use rafka::http::Key;
//!
//! let mesh = rafka::Mesh::default();
//! println!("{} node(s)", mesh.nodes()?.nodes.len());
//! println!("led by {:?}", mesh.lookup(Key::Partition("greetings", 0))?.leader());
//! for finding in rafka::doctor::examine(&mesh).findings {
//!     println!("{}: {} Do: {}", finding.severity, finding.what, finding.advice);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Whole programs are in `client/examples`: `cargo run --release -p client --example create`, then `produce`, `consume` and `doctor`.
//!
//! # What holds everywhere
//!
//! - **Everything but the producer's `send` blocks** for up to [`Mesh::wait`], or longer where it says so: in async code it belongs
//!   on a thread for that, such as `tokio::task::spawn_blocking` has.
//! - **Nothing hangs**: whatever waits has a limit, which is 10 s unless [`Mesh::timeout`] says otherwise, and then it is an [`Error`]
//!   that says what to do.
//! - **Nothing is told that was not heard**: where it cannot be known whether something happened, the error says so
//!   ([`Error::NoAnswer`], [`Error::Unacknowledged`]).
//! - Offsets are Kafka's, from 0; an end is exclusive; ids of nodes are Kafka's broker ids.
//! - Nothing is printed, no signal is handled, no consumer group is joined, and nothing is kept between two questions.
//!
//! # Reading order
//!
//! [`Mesh`], [`Error`], [`kafka`] (librdkafka, tuned), [`topic`], [`reader`], [`http`] (a node's own port), [`configs`], [`doctor`], [`verify`].

mod clock;
pub mod configs;
pub mod doctor;
mod error;
pub mod http;
pub mod kafka;
mod mesh;
pub mod reader;
pub mod topic;
mod units;
pub mod verify;

pub use error::Error;
pub use mesh::Mesh;
/// The Kafka client that this is made of, so that programs have the same release of it.
pub use rdkafka;
pub use reader::Reader;
pub use topic::NewTopic;
