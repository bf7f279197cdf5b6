//! What a client may take of a node.

use std::time::Duration;

/// Bounds of the Kafka layer. The defaults are those of Kafka where Kafka has the setting.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of one request frame (`socket.request.max.bytes`).
    pub request_bytes_max: u32,
    /// Bytes of one record batch, whatever the topic allows (`message.max.bytes`).
    pub message_bytes_max: usize,
    /// Bytes of one fetch response, but for a first batch that is larger (`fetch.max.bytes`).
    pub fetch_bytes_max: u32,
    /// Bytes of requests and promised fetch responses in flight on one connection. One that is larger passes alone.
    pub connection_bytes_max: u32,
    /// Requests in flight on one connection.
    pub connection_requests_max: usize,
    /// Connections of all listeners together; more are closed at once.
    pub connections_max: usize,
    /// Of these, connections of one address (`max.connections.per.ip`); of IPv6, of one /64.
    pub connections_of_address_max: usize,
    /// How long a new connection may take to begin its first request.
    pub first_timeout: Duration,
    /// How long a connection may be silent between requests (`connections.max.idle.ms`).
    pub idle_timeout: Duration,
    /// How long a client may leave a request half sent or a response half read without any progress.
    pub stall_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            request_bytes_max: 100 << 20,
            message_bytes_max: 1_048_588,
            fetch_bytes_max: 55 << 20,
            connection_bytes_max: 128 << 20,
            connection_requests_max: 64,
            connections_max: 10_000,
            connections_of_address_max: 9_000,
            first_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(600),
            stall_timeout: Duration::from_secs(30),
        }
    }
}
