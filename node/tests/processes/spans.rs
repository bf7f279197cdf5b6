//! Spans of requests, as a collector of OpenTelemetry gets them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use serde_json::Value;

use crate::rig::{Ended, Kafka, Rig};

/// One POST: its path and its body. The collector answers as OTLP says.
fn take(stream: &mut TcpStream) -> (String, Value) {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    let (head, length) = loop {
        let read = stream.read(&mut part).expect("it sends");
        assert!(read > 0, "it hung up");
        bytes.extend_from_slice(&part[..read]);
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).expect("text");
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            let length: usize = length.and_then(|text| text.parse().ok()).expect("a length");
            break (head, end + 4 + length);
        }
    };
    while bytes.len() < length {
        let read = stream.read(&mut part).expect("it sends");
        assert!(read > 0, "it hung up");
        bytes.extend_from_slice(&part[..read]);
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").expect("it reads");
    let body = &bytes[bytes.len() - (length - head.len() - 4)..];
    (head.split(' ').nth(1).expect("a path").to_owned(), serde_json::from_slice(body).expect("an object"))
}

fn attribute<'a>(span: &'a Value, key: &str) -> &'a Value {
    let all = span["attributes"].as_array().expect("a list");
    all.iter().find(|one| one["key"] == key).map_or(&Value::Null, |one| &one["value"])
}

#[test]
fn a_collector_gets_a_span_of_each_request_and_of_its_parts() {
    let collector = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", collector.local_addr().expect("bound"));
    let rig = Rig::new();
    let mut node = rig.node("a").args(&["--otlp-endpoint", &endpoint]).start();
    node.ready();
    let mut client = Kafka::connect(&node);
    client.create_topic("t", 1, 1);
    assert_eq!(client.produce("t", 0, b"x"), Ok(0));
    let mut spans: Vec<Value> = Vec::new();
    let produce = loop {
        let (mut stream, _) = collector.accept().expect("it comes");
        let (path, body) = take(&mut stream);
        assert_eq!(path, "/v1/traces");
        let resource = &body["resourceSpans"][0];
        assert_eq!(attribute(&resource["resource"], "service.name")["stringValue"], "rafka-node");
        spans.extend(resource["scopeSpans"][0]["spans"].as_array().expect("a list").iter().cloned());
        if let Some(found) = spans.iter().find(|span| span["name"] == "Produce") {
            break found.clone();
        }
    };
    assert_eq!((&produce["kind"], &produce["parentSpanId"]), (&2.into(), &Value::Null));
    assert_eq!(attribute(&produce, "messaging.client.id")["stringValue"], "test");
    assert_eq!(attribute(&produce, "rafka.errors")["intValue"], "0");
    assert_eq!(attribute(&produce, "rafka.listener")["stringValue"], "PLAINTEXT");
    let parts: Vec<&Value> = spans
        .iter()
        .filter(|span| span["parentSpanId"] == produce["spanId"])
        .map(|span| &span["name"])
        .collect();
    assert_eq!(parts, ["answer", "write"], "{spans:#?}");
    drop(collector);
    // Without the collector the node goes on, and says so once.
    assert_eq!(client.produce("t", 0, b"y"), Ok(1));
    node.says("the collector does not take spans");
    let metrics = node.get("/metrics").1;
    let dropped = metrics.lines().find(|line| line.starts_with("rafka_trace_spans_dropped_total "));
    assert!(dropped.is_some_and(|line| !line.ends_with(" 0")), "{dropped:?}");
    assert_eq!(node.stop(), Ended::Code(0));
}
