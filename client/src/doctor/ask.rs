//! One node's HTTP port and one Kafka address, each asked once, with words for every way in which that may fail.

use super::facts::{Answer, KafkaSaid, Said, Silence, State};
use crate::error::Error as Trouble;
use crate::http::{Nodes, Partitions, encode};
use crate::kafka;
use crate::mesh::Mesh;
use rdkafka::consumer::Consumer;
use serde::Deserialize;
use serde_json::Value;
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;
use ureq::{Error, Timeout};

/// Who should be at an HTTP address; nothing when anybody may.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    pub(super) cluster_id: String,
    pub(super) node_id: i64,
}

/// Asks an HTTP port for what it says of itself and of the others.
pub(super) fn http(address: &str, wait: Duration, expected: Option<&Expected>) -> Answer {
    let state = match get(address, "/v1/state", wait) {
        Ok((200, text)) => match serde_json::from_str::<State>(&text) {
            Ok(state) if state.node.is_none() => return Answer::Stuck,
            Ok(state) => Some(state),
            Err(_) => return stranger(address),
        },
        // An older release has no such page.
        Ok((404, _)) => None,
        Ok((503, text)) => return Answer::Starting(error_in(&text)),
        Ok(_) => return stranger(address),
        Err(silence) => return Answer::Silent(silence),
    };
    let nodes: Nodes = match get(address, "/v1/nodes", wait) {
        Ok((200, text)) => match serde_json::from_str(&text) {
            Ok(nodes) => nodes,
            Err(_) => return stranger(address),
        },
        Ok((503, text)) => return Answer::Starting(error_in(&text)),
        Ok(_) => return stranger(address),
        Err(silence) => return Answer::Silent(silence),
    };
    if nodes.cluster_id.is_empty() {
        return stranger(address);
    }
    match expected {
        Some(who) if who.cluster_id != nodes.cluster_id || who.node_id != nodes.node_id => Answer::Stranger(
            format!("node {} of cluster {} answers at {address}", nodes.node_id, nodes.cluster_id),
        ),
        _ => Answer::Full(Box::new(Said { nodes, state })),
    }
}

/// The next offset of each of a topic's partitions whose replica is on the node there.
pub(super) fn log_ends(address: &str, topic: &str, wait: Duration) -> Vec<(String, i64)> {
    let Ok((200, text)) = get(address, &format!("/v1/partitions?topic={}", encode(topic)), wait) else {
        return Vec::new();
    };
    let answer: Partitions = serde_json::from_str(&text).unwrap_or_default();
    let ends = answer.partitions.iter();
    ends.filter_map(|one| Some((format!("{topic}/{}", one.partition), one.log_end?))).collect()
}

/// Asks a Kafka address for the cluster and its nodes, as any client does first.
pub(super) fn kafka(mesh: &Mesh, address: &str) -> Result<KafkaSaid, String> {
    connects(address, mesh.wait())?;
    let one = mesh.elsewhere(address);
    let asked = || {
        let observer = kafka::observer(&one)?;
        let metadata = kafka::metadata(&one, &observer, None)?;
        let cluster_id = observer.client().fetch_cluster_id(one.wait()).unwrap_or_default();
        let brokers = metadata.brokers().iter();
        let brokers =
            brokers.map(|broker| (i64::from(broker.id()), format!("{}:{}", broker.host(), broker.port())));
        Ok(KafkaSaid { cluster_id, brokers: brokers.collect() })
    };
    asked().map_err(|error: Trouble| short(&error.to_string()))
}

/// librdkafka tries again for a while where one connect says all.
fn connects(address: &str, wait: Duration) -> Result<(), String> {
    let resolved = address.to_socket_addrs().map_err(|_| "the name has no address".to_owned())?;
    let mut reason = "the name has no address".to_owned();
    for one in resolved {
        match TcpStream::connect_timeout(&one, wait) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                reason = "Connection refused".to_owned();
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                reason = "no connection in time".to_owned();
            }
            Err(error) => reason = error.to_string(),
        }
    }
    Err(reason)
}

/// What stands in brackets of "no node answers at HOST:PORT (why)", or all of another message's first line.
fn short(error: &str) -> String {
    let first = error.lines().next().unwrap_or_default();
    let inner = first.split_once(" (").map_or(first, |(_, inner)| inner);
    inner.trim_end_matches('.').trim_end_matches(')').to_owned()
}

fn get(address: &str, path: &str, wait: Duration) -> Result<(u16, String), Silence> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_connect(Some(wait))
        .timeout_recv_response(Some(wait))
        .timeout_recv_body(Some(wait))
        .http_status_as_error(false)
        .proxy(None)
        .build()
        .into();
    let mut response =
        agent.get(format!("http://{address}{path}")).call().map_err(|error| silence(&error))?;
    let status = response.status().as_u16();
    Ok((status, response.body_mut().read_to_string().map_err(|error| silence(&error))?))
}

fn silence(error: &Error) -> Silence {
    match error {
        Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => Silence::Refused,
        // Closed at once: too many are asking, or the process is ending.
        Error::Io(error)
            if matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof) =>
        {
            Silence::NoWay("the connection was closed at once".to_owned())
        }
        Error::Io(error) => Silence::NoWay(error.to_string()),
        Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
            Silence::NoWay("no connection in time".to_owned())
        }
        Error::Timeout(_) => Silence::Hung,
        Error::HostNotFound => Silence::NoWay("the name has no address".to_owned()),
        error => Silence::NoWay(error.to_string()),
    }
}

fn stranger(address: &str) -> Answer {
    Answer::Stranger(format!("{address} does not answer as a node of rafka does"))
}

fn error_in(text: &str) -> String {
    #[derive(Deserialize)]
    struct Said {
        error: Value,
    }
    let said = serde_json::from_str::<Said>(text).ok();
    said.and_then(|said| said.error.as_str().map(str::to_owned)).unwrap_or_else(|| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Answer, Silence, error_in, http, short, silence};
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::Duration;

    const WAIT: Duration = Duration::from_secs(10);

    /// Answers connections one after the other with these bodies.
    fn serve(answers: Vec<(u16, &'static str)>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        crate::clock::spawn(move || {
            for (status, body) in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut head = [0; 1024];
                assert!(stream.read(&mut head).unwrap() > 0);
                let length = body.len();
                write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
            }
        });
        address
    }

    #[test]
    fn a_node_answers_in_full_or_says_what_it_waits_for() {
        let nodes = r#"{"cluster_id":"c","node_id":1,"nodes":[]}"#;
        let Answer::Full(said) =
            http(&serve(vec![(200, r#"{"version":"1","node":{}}"#), (200, nodes)]), WAIT, None)
        else {
            panic!("not in full")
        };
        assert_eq!((said.nodes.node_id, said.state.map(|state| state.version)), (1, Some("1".to_owned())));
        let older = http(&serve(vec![(404, "{}"), (200, nodes)]), WAIT, None);
        assert!(matches!(older, Answer::Full(said) if said.state.is_none()));
        let starting = http(&serve(vec![(503, r#"{"error":"waiting for seeds"}"#)]), WAIT, None);
        assert!(matches!(starting, Answer::Starting(why) if why == "waiting for seeds"));
        let stuck = http(&serve(vec![(200, r#"{"version":"1","node":null}"#)]), WAIT, None);
        assert!(matches!(stuck, Answer::Stuck));
    }

    #[test]
    fn who_is_no_node_or_another_one_is_a_stranger() {
        assert!(matches!(http(&serve(vec![(200, "<html>")]), WAIT, None), Answer::Stranger(_)));
        let expected = super::Expected { cluster_id: "c".to_owned(), node_id: 2 };
        let nodes = r#"{"cluster_id":"c","node_id":1,"nodes":[]}"#;
        let other = http(&serve(vec![(404, ""), (200, nodes)]), WAIT, Some(&expected));
        assert!(matches!(other, Answer::Stranger(words) if words.contains("node 1 of cluster c")));
    }

    #[test]
    fn each_silence_has_its_reason() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        assert!(matches!(http(&closed, WAIT, None), Answer::Silent(Silence::Refused)));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let hung = listener.local_addr().unwrap().to_string();
        let answer = http(&hung, Duration::from_millis(50), None);
        assert!(matches!(answer, Answer::Silent(Silence::Hung)), "{answer:?}");
        assert_eq!(silence(&ureq::Error::HostNotFound), Silence::NoWay("the name has no address".to_owned()));
    }

    #[test]
    fn a_kafka_error_is_cut_to_its_reason() {
        assert_eq!(
            short("no node answers at a:1 (Connection refused).\nIs it running?"),
            "Connection refused"
        );
        assert_eq!(short("other"), "other");
        assert_eq!(error_in("plain\n"), "plain");
    }
}
