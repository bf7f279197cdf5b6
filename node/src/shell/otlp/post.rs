//! Batches of spans to a collector, over HTTP/1.1 with one request per connection.

use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::{Dropped, Ended, export};

/// Spans of one request.
const BATCH: usize = 512;
/// How long a batch gathers.
const GATHER: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(5);
/// Of the collector's answer only its first line is of interest.
const ANSWER_BYTES_MAX: usize = 512;
const PATH: &str = "/v1/traces";

/// Where the collector is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `host:port`, the host of IPv6 in brackets.
    authority: String,
    path: String,
}

impl Endpoint {
    /// Of `http://HOST:PORT`, with a path if it is another one than OTLP's own; `None` of anything else.
    pub(in crate::shell) fn parse(text: &str) -> Option<Endpoint> {
        let rest = text.trim().strip_prefix("http://")?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = authority.rsplit_once(':')?;
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        let right = !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) && plain(rest);
        let path = if path.len() > 1 { path } else { PATH };
        right.then(|| Endpoint { authority: authority.to_owned(), path: path.to_owned() })
    }
}

/// Sends what ends, until dropped. A batch that the collector does not take is dropped and counted.
pub(in crate::shell) async fn send(
    mut spans: mpsc::Receiver<Ended>,
    to: Endpoint,
    node: String,
    dropped: Dropped,
) {
    let mut batch = Vec::new();
    let mut failing = false;
    while spans.recv_many(&mut batch, BATCH).await > 0 {
        if batch.len() < BATCH {
            sleep(GATHER).await;
            while batch.len() < BATCH
                && let Ok(one) = spans.try_recv()
            {
                batch.push(one);
            }
        }
        let body = export(&node, &batch).to_string();
        let sent =
            timeout(PATIENCE, post(&to, &body)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        if let Err(error) = &sent {
            dropped.fetch_add(batch.len() as u64, Relaxed);
            if !failing {
                tracing::warn!(collector = to.authority, %error, "the collector does not take spans; they are dropped");
            }
        } else if failing {
            tracing::info!(collector = to.authority, "the collector takes spans again");
        }
        failing = sent.is_err();
        batch.clear();
    }
}

async fn post(to: &Endpoint, body: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(&to.authority).await?;
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        to.path,
        to.authority,
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    let mut answer = Vec::new();
    while answer.len() < ANSWER_BYTES_MAX && !answer.contains(&b'\n') {
        if stream.read_buf(&mut answer).await? == 0 {
            break;
        }
    }
    let line = String::from_utf8_lossy(&answer);
    let line = line.lines().next().unwrap_or_default();
    match line.split(' ').nth(1) {
        Some(status) if status.len() == 3 && status.starts_with('2') => Ok(()),
        _ => Err(io::Error::other(format!("it answers {line:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_an_address_of_http() {
        let of = |text| Endpoint::parse(text).map(|end| (end.authority, end.path));
        assert_eq!(of("http://127.0.0.1:4318"), Some(("127.0.0.1:4318".into(), PATH.into())));
        assert_eq!(of("http://[::1]:4318/"), Some(("[::1]:4318".into(), PATH.into())));
        assert_eq!(of("http://host:1/otlp/x"), Some(("host:1".into(), "/otlp/x".into())));
        for wrong in ["https://host:1", "host:1", "http://host", "http://:1", "http://host:0", "http://a b:1"]
        {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
