//! Spans of requests for OpenTelemetry: a layer of `tracing` that turns closed spans of the target `REQUESTS` into OTLP, and `post`,
//! which sends them to a collector as JSON over HTTP (`POST /v1/traces`).
//!
//! Written by hand: the protocol is one JSON object, and the usual exporter brings more code than this node has. Bounded: of
//! every `sample` requests one is traced, [`QUEUE_MAX`] spans may wait, and what does not fit is counted and dropped. Without
//! `--otlp-endpoint` nothing of this runs, and the spans cost a look at one flag.

mod post;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::clock::wall_ns;
use crate::kafka::REQUESTS;
pub use post::Endpoint;
pub(super) use post::send;

/// The field whose value names the exported span.
const NAME: &str = "rafka.api";
/// Spans that may wait for the collector.
const QUEUE_MAX: usize = 8_192;
/// OTLP's kinds of a span.
const INTERNAL: u8 = 1;
const SERVER: u8 = 2;

/// Spans that the collector did not get.
pub(super) type Dropped = Arc<AtomicU64>;

/// A span that ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ended {
    open: Open,
    end_ns: u64,
}

/// A span that is under way.
#[derive(Clone, Debug, PartialEq)]
struct Open {
    trace: [u8; 16],
    span: [u8; 8],
    parent: Option<[u8; 8]>,
    name: String,
    start_ns: u64,
    attributes: Vec<(&'static str, Value)>,
}

/// The layer.
pub(super) struct Exporter {
    ended: mpsc::Sender<Ended>,
    seed: [u8; 32],
    drawn: AtomicU64,
    /// Of so many requests one is traced.
    sample: u64,
    requests: AtomicU64,
    dropped: Dropped,
}

impl Exporter {
    /// A layer, and where its spans come out. `seed` is drawn by the process.
    pub(super) fn new(seed: u64, sample: u64, dropped: Dropped) -> (Exporter, mpsc::Receiver<Ended>) {
        let (ended, out) = mpsc::channel(QUEUE_MAX);
        let seed = blake3::derive_key("rafka trace ids 1", &seed.to_le_bytes());
        let (drawn, requests) = (AtomicU64::new(0), AtomicU64::new(0));
        (Exporter { ended, seed, drawn, sample: sample.max(1), requests, dropped }, out)
    }

    /// 24 bytes that nobody else draws.
    fn draw(&self) -> ([u8; 16], [u8; 8]) {
        let number = self.drawn.fetch_add(1, Relaxed);
        let hash = *blake3::keyed_hash(&self.seed, &number.to_le_bytes()).as_bytes();
        let (mut trace, mut span) = ([0; 16], [0; 8]);
        trace.copy_from_slice(&hash[..16]);
        span.copy_from_slice(&hash[16..24]);
        (trace, span)
    }
}

impl<S> Layer<S> for Exporter
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let (trace, own) = self.draw();
        let (trace, parent) = match span.parent() {
            // Only what belongs to a traced request is traced.
            Some(parent) => match parent.extensions().get::<Open>() {
                Some(open) => (open.trace, Some(open.span)),
                None => return,
            },
            None if self.requests.fetch_add(1, Relaxed).is_multiple_of(self.sample) => (trace, None),
            None => return,
        };
        let name = span.name().to_owned();
        let mut open = Open { trace, span: own, parent, name, start_ns: wall_ns(), attributes: Vec::new() };
        attributes.record(&mut open);
        span.extensions_mut().insert(open);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(open) = span.extensions_mut().get_mut::<Open>()
        {
            values.record(open);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let open = context.span(&id).and_then(|span| span.extensions_mut().remove::<Open>());
        if let Some(open) = open
            && self.ended.try_send(Ended { open, end_ns: wall_ns() }).is_err()
        {
            self.dropped.fetch_add(1, Relaxed);
        }
    }
}

impl Open {
    fn push(&mut self, field: &Field, value: Value) {
        self.attributes.push((field.name(), value));
    }
}

impl Visit for Open {
    fn record_i64(&mut self, field: &Field, value: i64) {
        // OTLP writes 64-bit numbers as texts.
        self.push(field, json!({ "intValue": value.to_string() }));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, json!({ "intValue": value.to_string() }));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, json!({ "boolValue": value }));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == NAME {
            value.clone_into(&mut self.name);
        }
        self.push(field, json!({ "stringValue": value }));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.push(field, json!({ "stringValue": format!("{value:?}") }));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Ended {
    fn object(&self) -> Value {
        let Open { trace, span, parent, name, start_ns, attributes } = &self.open;
        let attributes: Vec<Value> =
            attributes.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
        let mut object = json!({
            "traceId": hex(trace),
            "spanId": hex(span),
            "name": name,
            "kind": if parent.is_none() { SERVER } else { INTERNAL },
            "startTimeUnixNano": start_ns.to_string(),
            "endTimeUnixNano": self.end_ns.max(*start_ns).to_string(),
            "attributes": attributes,
        });
        if let Some(parent) = parent {
            object["parentSpanId"] = hex(parent).into();
        }
        object
    }
}

/// One request to a collector. `node` tells this node from others.
fn export(node: &str, spans: &[Ended]) -> Value {
    let text = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
    let resource = [
        text("service.name", "rafka-node"),
        text("service.version", env!("CARGO_PKG_VERSION")),
        text("service.instance.id", node),
    ];
    let spans: Vec<Value> = spans.iter().map(Ended::object).collect();
    json!({ "resourceSpans": [{
        "resource": { "attributes": resource },
        "scopeSpans": [{ "scope": { "name": REQUESTS, "version": env!("CARGO_PKG_VERSION") }, "spans": spans }],
    }] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::{debug_span, field::Empty};
    use tracing_subscriber::layer::SubscriberExt;

    fn ended(sample: u64, work: impl FnOnce()) -> (Vec<Ended>, u64) {
        let dropped = Dropped::default();
        let (exporter, mut out) = Exporter::new(7, sample, Arc::clone(&dropped));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(exporter), work);
        let mut all = Vec::new();
        while let Ok(one) = out.try_recv() {
            all.push(one);
        }
        (all, dropped.load(Relaxed))
    }

    fn request() {
        let span = debug_span!("request", rafka.api = "Produce", rafka.version = 9_i64, errors = Empty);
        drop(debug_span!(parent: &span, "answer"));
        span.record("errors", 2_u64);
    }

    #[test]
    fn a_request_and_its_parts_are_one_trace() {
        let (all, dropped) = ended(1, request);
        assert_eq!((all.len(), dropped), (2, 0));
        let (answer, request) = (&all[0], &all[1]);
        assert_eq!((answer.open.trace, answer.open.parent), (request.open.trace, Some(request.open.span)));
        let object = export("node-1", &all);
        let spans = &object["resourceSpans"][0]["scopeSpans"][0]["spans"];
        let (answer, request) = (&spans[0], &spans[1]);
        assert_eq!((&request["name"], &request["kind"]), (&"Produce".into(), &SERVER.into()));
        assert_eq!((&answer["name"], &answer["kind"]), (&"answer".into(), &INTERNAL.into()));
        assert_eq!(answer["parentSpanId"], request["spanId"]);
        assert_eq!(request["traceId"].as_str().map(str::len), Some(32));
        assert!(request["parentSpanId"].is_null());
        let errors = json!({ "key": "errors", "value": { "intValue": "2" } });
        assert!(request["attributes"].as_array().is_some_and(|all| all.contains(&errors)), "{request}");
        let ns = |key: &str| request[key].as_str().and_then(|text| text.parse::<u64>().ok());
        assert!(ns("startTimeUnixNano") > Some(1_700_000_000_000_000_000));
        assert!(ns("endTimeUnixNano") >= ns("startTimeUnixNano"));
    }

    #[test]
    fn of_so_many_requests_one_is_traced_whole() {
        let (all, _) = ended(3, || (0..7).for_each(|_| request()));
        assert_eq!(all.len(), 3 * 2);
        let roots = all.iter().filter(|one| one.open.parent.is_none()).count();
        assert_eq!(roots, 3);
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let (all, dropped) = ended(1, || (0..QUEUE_MAX).for_each(|_| request()));
        assert_eq!((all.len(), dropped), (QUEUE_MAX, QUEUE_MAX as u64));
    }
}
