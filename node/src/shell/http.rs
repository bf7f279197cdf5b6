//! The HTTP port: a few GETs for people and monitoring, and POSTs of operators, over HTTP/1.1 with one request per connection.
//!
//! A POST has no body and must carry the header `X-Rafka-Operator: NAME`: whoever decides is named in the log, and no web page that a
//! person looks at can do it for them. Written by hand, as it takes less than a framework's dependency tree would add: requests have no body and answers are
//! small. Bounds: 64 connections, 8 KiB of request head, five seconds for each side.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::pages::Pages;

/// Connections at the same time.
pub(super) const CONNECTIONS_MAX: usize = 64;
const HEAD_BYTES_MAX: usize = 8 << 10;
const PATIENCE: Duration = Duration::from_secs(5);
/// An answer may take as long as a lookup in the directory does.
const ANSWER_PATIENCE: Duration = Duration::from_secs(15);
/// The header of a POST that names who decides.
const OPERATOR: &str = "x-rafka-operator";
const OPERATOR_BYTES_MAX: usize = 200;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a page says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// HTTP's status code.
    pub(super) status: u16,
    /// Of the body.
    pub(super) content_type: &'static str,
    /// All of it.
    pub(super) body: String,
}

impl Answer {
    /// Words for people and scripts.
    pub(super) fn text(status: u16, body: impl Into<String>) -> Answer {
        Answer { status, content_type: "text/plain; charset=utf-8", body: format!("{}\n", body.into()) }
    }

    /// A JSON object.
    pub(super) fn json(status: u16, body: &serde_json::Value) -> Answer {
        Answer { status, content_type: "application/json", body: format!("{body}\n") }
    }

    /// `{"error": ".."}`.
    pub(super) fn error(status: u16, error: impl Into<String>) -> Answer {
        Answer::json(status, &serde_json::json!({ "error": error.into() }))
    }

    fn encode(&self) -> Vec<u8> {
        let reason = match self.status {
            200 => "OK",
            400 => "Bad Request",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            409 => "Conflict",
            503 => "Service Unavailable",
            _ => "Error",
        };
        format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n{}",
            self.status,
            self.content_type,
            self.body.len(),
            self.body
        )
        .into_bytes()
    }
}

/// Answers until told to stop.
pub(super) async fn serve(socket: TcpListener, pages: Arc<Pages>, stop: CancellationToken) {
    let (tracker, places) = (TaskTracker::new(), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::error!(%error, "accepting an HTTP connection failed");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // More than that are closed at once.
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let (pages, stop) = (Arc::clone(&pages), stop.clone());
        pages.metrics.http_connections.fetch_add(1, Relaxed);
        tracker.spawn(async move {
            tokio::select! {
                () = answer(stream, &pages) => {}
                () = stop.cancelled() => {}
            }
            pages.metrics.http_connections.fetch_sub(1, Relaxed);
            drop(place);
        });
    }
    tracker.close();
    tracker.wait().await;
}

async fn answer(mut stream: TcpStream, pages: &Pages) {
    let Ok(Some(head)) = timeout(PATIENCE, head(&mut stream)).await else { return };
    let answering = async {
        match target(&head) {
            Ok(("POST", target)) => match operator(&head) {
                Some(operator) => pages.post(target, operator).await,
                None => Answer::error(403, "say who decides: a POST needs the header X-Rafka-Operator"),
            },
            Ok((_, target)) => pages.get(target).await,
            Err(answer) => answer,
        }
    };
    let late = |_elapsed| Answer::error(503, "the node did not answer in time");
    let answer = timeout(ANSWER_PATIENCE, answering).await.unwrap_or_else(late);
    let written = async {
        stream.write_all(&answer.encode()).await?;
        stream.shutdown().await
    };
    // A client that does not read its answer does not get it.
    let _gone = timeout(PATIENCE, written).await;
}

/// The bytes up to the empty line; nothing when the client leaves or says too much.
async fn head(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    let mut part = [0; 1024];
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        let read = stream.read(&mut part).await.ok().filter(|read| *read > 0)?;
        head.extend_from_slice(&part[..read]);
        if head.len() > HEAD_BYTES_MAX {
            return None;
        }
    }
    Some(head)
}

/// The method and what is asked for, or what to say instead.
fn target(head: &[u8]) -> Result<(&str, &str), Answer> {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_binary| Answer::error(400, "not an HTTP request"))?;
    let mut words = line.split(' ');
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some(method @ ("GET" | "POST")), Some(target), Some(version), None)
            if target.starts_with('/') && version.starts_with("HTTP/1.") =>
        {
            Ok((method, target))
        }
        (Some(_), Some(_), Some(version), None) if version.starts_with("HTTP/1.") => {
            Err(Answer::error(405, "only GET and POST are served"))
        }
        _ => Err(Answer::error(400, "not an HTTP request")),
    }
}

/// Who decides, by the header of that name.
fn operator(head: &[u8]) -> Option<&str> {
    let head = std::str::from_utf8(head).ok()?;
    let mut fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let (_, name) = fields.find(|(field, _)| field.trim().eq_ignore_ascii_case(OPERATOR))?;
    let name = name.trim();
    (!name.is_empty() && name.len() <= OPERATOR_BYTES_MAX && !name.contains(char::is_control)).then_some(name)
}

/// The value of a query's field, with its percent encoding undone; nothing when it is absent or not UTF-8.
pub(super) fn field(query: &str, name: &str) -> Option<String> {
    fields(query, name).next().flatten()
}

/// The values of all fields of that name; nothing in place of one that is not UTF-8.
pub(super) fn fields<'a>(query: &'a str, name: &'a str) -> impl Iterator<Item = Option<String>> + 'a {
    let values = query.split('&').filter_map(move |pair| pair.strip_prefix(name)?.strip_prefix('='));
    values.map(decoded)
}

fn decoded(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| {
                    char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
                };
                digit(rest.next())? << 4 | digit(rest.next())?
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    #[test]
    fn who_decides_is_named() {
        let head = |field: &str| format!("POST / HTTP/1.1\r\nHost: x\r\n{field}\r\n\r\n");
        assert_eq!(operator(head("x-rafka-operator:  ann@host ").as_bytes()), Some("ann@host"));
        assert_eq!(operator(head("X-Rafka-Operator: ").as_bytes()), None);
        assert_eq!(operator(head("Origin: http://evil").as_bytes()), None);
        assert_eq!(operator(head(&format!("X-Rafka-Operator: {}", "a".repeat(201))).as_bytes()), None);
    }

    #[test]
    fn only_gets_and_posts_are_understood() {
        assert_eq!(target(b"GET /v1/nodes?a=b HTTP/1.1\r\nHost: x\r\n\r\n"), Ok(("GET", "/v1/nodes?a=b")));
        assert_eq!(target(b"POST /a HTTP/1.1\r\n\r\n"), Ok(("POST", "/a")));
        assert_eq!(target(b"PUT / HTTP/1.1\r\n\r\n").expect_err("neither").status, 405);
        for wrong in [
            &b"GET /\r\n\r\n"[..],
            b"GET / HTTP/2\r\n",
            b"\x16\x03\x01\r\n\r\n",
            b"\xff\xff",
            b"",
            b"GET a HTTP/1.1 b",
        ] {
            assert_eq!(target(wrong).expect_err("not HTTP").status, 400);
        }
    }

    #[test]
    fn a_field_is_decoded() {
        assert_eq!(field("a=1&key=partition/a%20b%C3%BC/7", "key").as_deref(), Some("partition/a bü/7"));
        assert_eq!(field("keys=1&key=2", "key").as_deref(), Some("2"));
        assert_eq!(field("", "key"), None);
        for wrong in ["key=%", "key=%f", "key=%zz", "key=%ff"] {
            assert_eq!(field(wrong, "key"), None, "{wrong}");
        }
    }

    quickcheck! {
        fn hostile_bytes_do_no_harm(head: Vec<u8>, query: String) -> bool {
            let _ = (target(&head), operator(&head));
            let _ = field(&query, "key");
            true
        }
    }
}
