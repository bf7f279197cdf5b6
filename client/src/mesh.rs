//! Where a mesh is, how long to wait for it, and what to tell librdkafka.

use std::time::Duration;

/// Where a node takes Kafka clients unless somebody chose otherwise.
const BOOTSTRAP: &str = "127.0.0.1:9092";
/// Where a node answers HTTP unless somebody chose otherwise.
const HTTP: &str = "127.0.0.1:9292";
/// How far a node's HTTP port is above its Kafka port unless somebody chose otherwise.
const HTTP_ABOVE_KAFKA: u16 = 200;
/// How long an answer may take unless somebody chose otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A mesh, by the addresses of some of its nodes. It is no connection: each question opens its own, so that it can be
/// cloned, kept and sent between threads at no cost.
///
/// ```
/// use std::time::Duration;
///
/// let mesh = rafka::Mesh::at("10.0.0.1:9092,10.0.0.2:9092")
///     .http("10.0.0.1:8080")
///     .timeout(Duration::from_secs(30))
///     .property("compression.type", "zstd");
/// assert_eq!(mesh.addresses(), "10.0.0.1:9092,10.0.0.2:9092");
/// assert_eq!(mesh.http_address(), "10.0.0.1:8080");
/// ```
#[derive(Debug, Clone)]
pub struct Mesh {
    bootstrap: String,
    http: String,
    timeout: Duration,
    properties: Vec<(String, String)>,
    log: Option<fn(&str)>,
}

impl Default for Mesh {
    /// A node on this machine with its default ports.
    fn default() -> Mesh {
        Mesh::at(BOOTSTRAP)
    }
}

impl Mesh {
    /// The mesh whose nodes take Kafka clients at these addresses, `HOST:PORT[,HOST:PORT..]`. Any node will do, for it
    /// sends clients on to the leaders; name several, so that one may be down. Nothing is asked yet.
    ///
    /// HTTP is taken to be 200 ports above the first address, as it is by default (9092 and 9292).
    #[must_use]
    pub fn at(addresses: impl Into<String>) -> Mesh {
        let bootstrap = addresses.into();
        let http = http_beside(bootstrap.split(',').next().unwrap_or_default());
        Mesh { bootstrap, http, timeout: TIMEOUT, properties: Vec::new(), log: None }
    }

    /// The HTTP address of one of its nodes, `HOST:PORT`, when it is not 200 above the Kafka port.
    #[must_use]
    pub fn http(mut self, address: impl Into<String>) -> Mesh {
        self.http = address.into();
        self
    }

    /// How long to wait for an answer before it is an error; 10 s unless said otherwise. Asking for several things in turn
    /// may take as many times longer. Writing and reading records have limits of their own: see
    /// [`kafka::PRODUCER_DEFAULTS`](crate::kafka::PRODUCER_DEFAULTS) and [`reader::STALL`](crate::reader::STALL).
    #[must_use]
    pub fn timeout(mut self, wait: Duration) -> Mesh {
        self.timeout = wait;
        self
    }

    /// A property for each of librdkafka's clients that is made for this mesh, such as `security.protocol` or `linger.ms`. It
    /// goes before the defaults and before what the same property was set to earlier, but not before what writing and
    /// reading cannot be safe without. A property that librdkafka does not know is an error when a client is made.
    #[must_use]
    pub fn property(mut self, key: impl Into<String>, value: impl Into<String>) -> Mesh {
        self.properties.push((key.into(), value.into()));
        self
    }

    /// Where lines of librdkafka's log go, which are many; nowhere unless said otherwise. It is called on threads of
    /// librdkafka, and must not wait.
    #[must_use]
    pub fn log_to(mut self, log: fn(&str)) -> Mesh {
        self.log = Some(log);
        self
    }

    /// The Kafka addresses, as they were given.
    #[must_use]
    pub fn addresses(&self) -> &str {
        &self.bootstrap
    }

    /// The HTTP address in use, given or guessed.
    #[must_use]
    pub fn http_address(&self) -> &str {
        &self.http
    }

    /// How long an answer may take.
    #[must_use]
    pub fn wait(&self) -> Duration {
        self.timeout
    }

    /// What was set by [`Mesh::property`], in that order.
    pub(crate) fn properties(&self) -> impl Iterator<Item = (&str, &str)> {
        self.properties.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// What was set by [`Mesh::log_to`].
    pub(crate) fn log(&self) -> Option<fn(&str)> {
        self.log
    }

    /// Whether HTTP is at the default address and Kafka elsewhere: then the two may be different meshes.
    pub(crate) fn guesses_http(&self) -> bool {
        self.http == HTTP && self.bootstrap != BOOTSTRAP
    }

    /// The same mesh, asked with no more patience than that.
    pub(crate) fn hurried(&self, wait: Duration) -> Mesh {
        Mesh { timeout: self.timeout.min(wait), ..self.clone() }
    }

    /// The same settings for other Kafka addresses.
    pub(crate) fn elsewhere(&self, addresses: &str) -> Mesh {
        Mesh { bootstrap: addresses.to_owned(), ..self.clone() }
    }
}

/// Where HTTP is beside a Kafka address, if nobody chose otherwise.
pub(crate) fn http_beside(kafka: &str) -> String {
    let split = kafka.rsplit_once(':');
    let port = split.and_then(|(_, port)| port.parse::<u16>().ok()).unwrap_or_default();
    let host = split.map_or(kafka, |(host, _)| host);
    format!("{host}:{}", port.wrapping_add(HTTP_ABOVE_KAFKA))
}

#[cfg(test)]
mod tests {
    use super::{Mesh, http_beside};

    #[test]
    fn the_http_port_is_guessed_from_the_kafka_port() {
        assert_eq!(http_beside("node-1:9092"), "node-1:9292");
        assert_eq!(http_beside("[::1]:19092"), "[::1]:19292");
        assert_eq!(Mesh::at("a:1,b:2").http_address(), "a:201");
        assert_eq!(Mesh::default().http_address(), super::HTTP);
    }

    #[test]
    fn the_default_http_address_beside_another_kafka_address_is_a_guess() {
        assert!(Mesh::at("a:9092").http(super::HTTP).guesses_http());
        assert!(!Mesh::at("a:9092").guesses_http());
        assert!(!Mesh::default().http(super::HTTP).guesses_http());
    }
}
