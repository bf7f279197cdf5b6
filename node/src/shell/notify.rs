//! Words to the service manager: `sd_notify(3)`, a datagram of a few lines to the socket that `NOTIFY_SOCKET` names. Without one
//! every word is dropped.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::watch;
use tokio::time::interval;

use super::pages::Phase;

/// The way to the service manager; clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Notifier {
    socket: Option<Arc<UnixDatagram>>,
    watchdog: Option<Duration>,
    /// Clients are served: until then a reload is nobody's business.
    served: Arc<AtomicBool>,
}

impl Notifier {
    /// As the environment says. A socket that cannot be reached is reported and passed over.
    pub(super) fn from_environment() -> Notifier {
        let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let Some(path) = variable("NOTIFY_SOCKET") else { return Notifier::default() };
        let socket = match connect(&path) {
            Ok(socket) => Some(Arc::new(socket)),
            Err(error) => {
                tracing::warn!(path, %error, "the service manager cannot be reached at NOTIFY_SOCKET");
                None
            }
        };
        // Of another process when it was inherited.
        let mine = variable("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        let micros =
            variable("WATCHDOG_USEC").and_then(|text| text.parse().ok()).filter(|micros| *micros > 0);
        let watchdog = micros.filter(|_| mine).map(Duration::from_micros);
        Notifier { socket, watchdog, served: Arc::default() }
    }

    fn say(&self, words: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(words.as_bytes())
        {
            tracing::debug!(%error, words, "the service manager did not take a word");
        }
    }

    /// Clients are served.
    pub(super) fn ready(&self) {
        self.served.store(true, Relaxed);
        self.say("READY=1\nSTATUS=serving");
    }

    /// What a person may want to know of.
    pub(super) fn status(&self, text: &str) {
        self.say(&format!("STATUS={}", text.replace('\n', " ")));
    }

    /// The configuration is read again, until [`Notifier::reloaded`].
    pub(super) fn reloading(&self) {
        if !self.served.load(Relaxed) {
            return;
        }
        let now = clock_gettime(ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// The configuration was read.
    pub(super) fn reloaded(&self) {
        if self.served.load(Relaxed) {
            self.ready();
        }
    }

    /// The node hands over and ends.
    pub(super) fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=handing leadership over");
    }

    /// Says again and again that the node is alive, for as long as it is: a worker that does not answer is not vouched for.
    /// Returns at once when nobody watches. Dropped with its task.
    pub(super) async fn vouch(self, mut phase: watch::Receiver<Phase>) {
        let Some(limit) = self.watchdog.filter(|_| self.socket.is_some()) else { return };
        let mut beat = interval(limit / 3);
        loop {
            beat.tick().await;
            let now = phase.borrow_and_update().clone();
            let alive = match now {
                Phase::Running(worker) => worker.inspect(|_| ()).await.is_ok(),
                Phase::Starting(_) | Phase::Stopping => true,
            };
            match alive {
                true => self.say("WATCHDOG=1"),
                false => tracing::error!(
                    "the worker does not answer, and the service manager is not told otherwise"
                ),
            }
        }
    }
}

fn connect(path: &str) -> std::io::Result<UnixDatagram> {
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(path)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    // A manager that does not read must not stop the node.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_arrive_at_paths_and_at_abstract_names() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("notify");
        let heard = UnixDatagram::bind(&path).expect("a socket");
        let name = format!("@rafka-test-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name[1..]).expect("a name");
        let also_heard = UnixDatagram::bind_addr(&abstract_name).expect("a socket");
        for (path, heard) in [(path.to_str().expect("a text"), heard), (name.as_str(), also_heard)] {
            let socket = connect(path).expect("it is there");
            let notifier = Notifier { socket: Some(Arc::new(socket)), ..Notifier::default() };
            notifier.status("two\nlines");
            let mut words = [0; 64];
            let length = heard.recv(&mut words).expect("a word");
            assert_eq!(&words[..length], b"STATUS=two lines");
        }
        assert!(connect("/no/such/socket").is_err());
        Notifier::default().ready();
    }
}
