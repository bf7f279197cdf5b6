//! Reading a topic by assignment: partitions and positions are given by hand, and no consumer group is joined.

use crate::clock;
use crate::error::Error;
use crate::kafka::{self, Listener};
use crate::mesh::Mesh;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long reading may stand still before its end, in the face of leaders that move, until it is given up.
pub const STALL: Duration = Duration::from_secs(60);

/// Where reading begins, in each partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the first record that is kept.
    Earliest,
    /// With the first record that comes from now on.
    Latest,
    /// At this offset, or the nearest one that is kept.
    At(i64),
    /// So many offsets before the end, as far as they are kept.
    Tail(i64),
}

/// What is still to be read of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The next offset wanted.
    pub next: i64,
    /// Exclusive; none when there is no end to it.
    pub end: Option<i64>,
}

impl Span {
    /// From the start asked for to the end known now, or without an end; a start outside of what is kept, from `low` to `high`
    /// exclusive, moves to its nearest border.
    #[must_use]
    pub fn new(from: Start, (low, high): (i64, i64), endless: bool) -> Span {
        let next = match from {
            Start::Earliest => low,
            Start::Latest => high,
            Start::At(offset) => offset.clamp(low, high.max(low)),
            Start::Tail(count) => high.saturating_sub(count).max(low),
        };
        Span { next, end: (!endless).then_some(high) }
    }

    /// Whether all of it is read.
    #[must_use]
    pub fn done(self) -> bool {
        self.end.is_some_and(|end| self.next >= end)
    }
}

/// Reads all partitions of a topic. Order holds within a partition; partitions arrive interleaved.
///
/// Leaders may move meanwhile: their followers are found, and no record is skipped or told twice.
pub struct Reader {
    topic: String,
    consumer: BaseConsumer<Listener>,
    spans: BTreeMap<i32, Span>,
    moved: Instant,
}

impl Mesh {
    /// Starts to read a topic. It has an end, which is that of each partition now: [`Reader::caught_up`] tells when it is
    /// reached. Going on after that follows the topic, and records that were written since may come before it.
    ///
    /// ```no_run
    /// use rafka::rdkafka::Message;
    /// use rafka::reader::Start;
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), rafka::Error> {
    /// let mut reader = rafka::Mesh::at("127.0.0.1:9092").reader("greetings", Start::Earliest)?;
    /// while !reader.caught_up() {
    ///     if let Some(record) = reader.poll(Duration::from_millis(100))? {
    ///         println!("{}/{}: {} bytes", record.partition(), record.offset(), record.payload_len());
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`kafka::existing_topic`], [`kafka::watermarks`] and [`kafka::cannot_start`].
    pub fn reader(&self, topic: &str, from: Start) -> Result<Reader, Error> {
        let consumer = kafka::consumer(self)?;
        let metadata = kafka::existing_topic(self, &consumer, topic)?;
        let mut spans = BTreeMap::new();
        for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
            let kept = kafka::watermarks(self, &consumer, topic, partition.id())?;
            spans.insert(partition.id(), Span::new(from, kept, false));
        }
        assign(&consumer, topic, &spans)?;
        Ok(Reader { topic: topic.to_owned(), consumer, spans, moved: clock::now() })
    }
}

impl Reader {
    /// The next record, if one comes within `wait`. Until the topic's end [`STALL`] without any is an error; after it there may
    /// be none for as long as it takes.
    ///
    /// # Errors
    ///
    /// [`Error::Reading`] when records were removed before they were read, the topic was deleted, it must not be read or what
    /// arrives is damaged; [`Error::Stalled`].
    pub fn poll(&mut self, wait: Duration) -> Result<Option<BorrowedMessage<'_>>, Error> {
        let (topic, spans) = (&self.topic, &mut self.spans);
        match self.consumer.poll(wait) {
            Some(Ok(record)) => {
                self.moved = clock::now();
                let Some(span) = spans.get_mut(&record.partition()) else { return Ok(None) };
                if record.offset() < span.next {
                    return Ok(None);
                }
                span.next = record.offset().saturating_add(1);
                Ok(Some(record))
            }
            // Offsets that hold no record, such as transaction markers, are passed by this.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                self.moved = clock::now();
                if let Some(span) = spans.get_mut(&partition) {
                    span.next = span.end.map_or(span.next, |end| end.max(span.next));
                }
                Ok(None)
            }
            Some(Err(error)) => match lasting(&error) {
                Some(why) => Err(Error::Reading { topic: topic.clone(), reason: kafka::reason(&error), why }),
                None => check_stall(topic, spans, self.moved),
            },
            None => check_stall(topic, spans, self.moved),
        }
    }

    /// Whether all that was in the topic when reading began was read.
    #[must_use]
    pub fn caught_up(&self) -> bool {
        self.spans.values().all(|span| span.done())
    }

    /// What is still to be read of each partition up to its end when reading began.
    #[must_use]
    pub fn spans(&self) -> &BTreeMap<i32, Span> {
        &self.spans
    }
}

/// Has a consumer read from the position of each partition on.
///
/// # Errors
///
/// [`Error::Client`].
pub fn assign(
    consumer: &BaseConsumer<Listener>,
    topic: &str,
    spans: &BTreeMap<i32, Span>,
) -> Result<(), Error> {
    let mut assignment = TopicPartitionList::new();
    for (partition, span) in spans {
        assignment
            .add_partition_offset(topic, *partition, Offset::Offset(span.next))
            .map_err(|error| kafka::cannot_start(&error))?;
    }
    consumer.assign(&assignment).map_err(|error| kafka::cannot_start(&error))
}

fn check_stall<'a>(
    topic: &str,
    spans: &BTreeMap<i32, Span>,
    moved: Instant,
) -> Result<Option<BorrowedMessage<'a>>, Error> {
    let open = spans.iter().filter(|(_, span)| !span.done());
    let partitions: Vec<i32> = open.map(|(partition, _)| *partition).collect();
    match partitions.is_empty() || moved.elapsed() < STALL {
        true => Ok(None),
        false => Err(Error::Stalled { topic: topic.to_owned(), partitions, waited: STALL }),
    }
}

/// What it means, of an error that goes on for as long as one tries. Most pass by themselves once the leader moved.
#[must_use]
pub fn lasting(error: &KafkaError) -> Option<&'static str> {
    Some(match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
            "records were removed (retention, or the topic was created anew) while they were being read. Start again."
        }
        Some(
            RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownPartition,
        ) => "it was deleted while it was being read.",
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => "reading it is not allowed.",
        Some(
            RDKafkaErrorCode::BadMessage
            | RDKafkaErrorCode::InvalidMessage
            | RDKafkaErrorCode::BadCompression,
        ) => {
            "what arrived is damaged or in an unknown codec; nothing was skipped. Try to read through another node."
        }
        _ if matches!(error, KafkaError::MessageConsumptionFatal(_)) => "the client cannot go on.",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{Span, Start};

    #[test]
    fn a_span_stays_within_what_is_kept() {
        let next = |from| Span::new(from, (10, 20), false).next;
        assert_eq!(next(Start::Earliest), 10);
        assert_eq!(next(Start::Latest), 20);
        assert_eq!((next(Start::At(15)), next(Start::At(3)), next(Start::At(99))), (15, 10, 20));
        assert_eq!((next(Start::Tail(3)), next(Start::Tail(99)), next(Start::Tail(i64::MAX))), (17, 10, 10));
    }

    #[test]
    fn a_span_is_done_at_its_end_unless_it_has_none() {
        assert!(Span::new(Start::Latest, (0, 5), false).done());
        assert!(!Span::new(Start::At(4), (0, 5), false).done());
        assert!(!Span::new(Start::Latest, (0, 5), true).done());
        assert!(Span::new(Start::Earliest, (0, 0), false).done());
    }
}
