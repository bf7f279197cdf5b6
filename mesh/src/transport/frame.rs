//! Frames on a stream.
//!
//! | field | bytes | meaning |
//! |---|---|---|
//! | length | 4 | of the body alone, at most [`FRAME_BYTES_MAX`] |
//! | correlation | 8 | pairs an answer with its question; 0 = none |
//! | kind | 1 | [`Kind`] |
//! | body | length | |
//!
//! All integers are big-endian. A frame of an unknown kind is skipped, so that a newer neighbour may send
//! some.

use bytes::Bytes;
use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use std::io;
use tokio::sync::mpsc;

/// The longest body of one frame, bytes: the largest record batch that a topic may allow, and room around it.
pub const FRAME_BYTES_MAX: usize = 80 << 20;
/// Bytes of a frame before its body.
const HEADER_BYTES: usize = 13;
/// Bodies below this are copied next to each other, so that one write carries many; longer ones are written
/// in place.
const COALESCE_BELOW: usize = 8 << 10;
/// Coalesced bytes that are written out at once. Equals what the multiplexer puts in one of its own frames.
const COALESCED_BYTES: usize = 16 << 10;
/// Frames taken from the queue at a time.
const BATCH_FRAMES: usize = 256;
/// What one read asks of the stream while looking for headers and short bodies.
const READ_BYTES: usize = 16 << 10;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// For the owner of the transport.
    Message,
    /// The sender ends this connection; the body says why, as text for a person.
    Refused,
    /// The sender has had no use for this connection for a while and gives it up.
    Parting,
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Kind::Message => 0,
            Kind::Refused => 1,
            Kind::Parting => 2,
        }
    }

    fn of(byte: u8) -> Option<Kind> {
        match byte {
            0 => Some(Kind::Message),
            1 => Some(Kind::Refused),
            2 => Some(Kind::Parting),
            _ => None,
        }
    }
}

/// One frame to be written.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) correlation: u64,
    pub(super) body: Bytes,
}

fn header(frame: &Frame) -> io::Result<[u8; HEADER_BYTES]> {
    let length = u32::try_from(frame.body.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&length.to_be_bytes());
    header[4..12].copy_from_slice(&frame.correlation.to_be_bytes());
    header[12] = frame.kind.byte();
    Ok(header)
}

/// Writes what `queue` gives until every sender is gone, then closes the write side. `written` hears of each
/// body's length once the stream took it. Flushes only when the queue is empty: many frames share one flush
/// under load, and none waits when there is none.
///
/// # Errors
///
/// Whatever the stream reports; the connection is then of no use.
pub(super) async fn write_all<S: AsyncWrite + Unpin>(
    stream: &mut S,
    queue: &mut mpsc::Receiver<Frame>,
    written: impl Fn(usize),
) -> io::Result<()> {
    let mut batch = Vec::new();
    let mut coalesced = Vec::with_capacity(COALESCED_BYTES + COALESCE_BELOW + HEADER_BYTES);
    while queue.recv_many(&mut batch, BATCH_FRAMES).await > 0 {
        let mut waiting = 0;
        for frame in batch.drain(..) {
            coalesced.extend_from_slice(&header(&frame)?);
            if frame.body.len() < COALESCE_BELOW {
                coalesced.extend_from_slice(&frame.body);
                waiting += frame.body.len();
                if coalesced.len() < COALESCED_BYTES {
                    continue;
                }
                stream.write_all(&coalesced).await?;
            } else {
                stream.write_all(&coalesced).await?;
                stream.write_all(&frame.body).await?;
                waiting += frame.body.len();
            }
            coalesced.clear();
            written(std::mem::take(&mut waiting));
        }
        stream.write_all(&coalesced).await?;
        coalesced.clear();
        written(waiting);
        if queue.is_empty() {
            stream.flush().await?;
        }
    }
    stream.close().await
}

/// Reads frames from a stream. Each body is an allocation of its own, so that keeping one never keeps its
/// neighbours; a long body is read straight into its place.
pub(super) struct FrameReader<S> {
    stream: S,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl<S: AsyncRead + Unpin> FrameReader<S> {
    pub(super) fn new(stream: S) -> FrameReader<S> {
        FrameReader { stream, buffer: vec![0; READ_BYTES].into_boxed_slice(), start: 0, end: 0 }
    }

    /// The next frame of a kind that this version knows; `None` once the peer closed its side between two
    /// frames.
    ///
    /// # Errors
    ///
    /// `InvalidData` for a length above the bound, `UnexpectedEof` inside a frame, or what the stream
    /// reports.
    pub(super) async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            let mut header = [0; HEADER_BYTES];
            if self.start == self.end && !self.fill().await? {
                return Ok(None);
            }
            self.exact(&mut header).await?;
            let [l0, l1, l2, l3, correlation @ .., kind] = header;
            let length = usize::try_from(u32::from_be_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
            if length > FRAME_BYTES_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame above the bound"));
            }
            let mut body = vec![0; length];
            self.exact(&mut body).await?;
            if let Some(kind) = Kind::of(kind) {
                let correlation = u64::from_be_bytes(correlation);
                return Ok(Some(Frame { kind, correlation, body: Bytes::from(body) }));
            }
        }
    }

    /// False at the end of the stream. Called with an empty buffer only.
    async fn fill(&mut self) -> io::Result<bool> {
        self.start = 0;
        self.end = self.stream.read(&mut self.buffer).await?;
        Ok(self.end > 0)
    }

    async fn exact(&mut self, mut out: &mut [u8]) -> io::Result<()> {
        while !out.is_empty() {
            if self.start == self.end {
                if out.len() >= READ_BYTES {
                    return self.stream.read_exact(out).await;
                }
                if !self.fill().await? {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            let length = out.len().min(self.end - self.start);
            let (now, later) = out.split_at_mut(length);
            now.copy_from_slice(&self.buffer[self.start..self.start + length]);
            self.start += length;
            out = later;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;
    use futures::io::Cursor;

    fn bodies() -> Vec<Bytes> {
        [0, 1, 100, COALESCE_BELOW - 1, COALESCE_BELOW, 70_000, 3, READ_BYTES, 1_000_000]
            .iter()
            .enumerate()
            .map(|(n, length)| Bytes::from(vec![u8::try_from(n).unwrap(); *length]))
            .collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let (sender, mut queue) = mpsc::channel(64);
        for (n, body) in bodies().into_iter().enumerate() {
            sender.try_send(Frame { kind: Kind::Message, correlation: n as u64, body }).unwrap();
        }
        drop(sender);
        let mut stream = Cursor::new(Vec::new());
        let counted = std::cell::Cell::new(0);
        block_on(write_all(&mut stream, &mut queue, |n| counted.set(counted.get() + n))).unwrap();
        assert_eq!(counted.get(), bodies().iter().map(Bytes::len).sum::<usize>());
        let mut reader = FrameReader::new(Cursor::new(stream.into_inner()));
        for (n, body) in bodies().into_iter().enumerate() {
            let frame = block_on(reader.next()).unwrap().unwrap();
            assert_eq!((frame.correlation, frame.body), (n as u64, body));
        }
        assert!(block_on(reader.next()).unwrap().is_none());
    }

    #[test]
    fn unknown_kinds_are_skipped_and_bad_lengths_refused() {
        let mut bytes = vec![0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 77, 1, 2];
        bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 5]);
        let mut reader = FrameReader::new(Cursor::new(bytes.clone()));
        let frame = block_on(reader.next()).unwrap().unwrap();
        assert_eq!((frame.correlation, &frame.body[..]), (9, &[5][..]));
        bytes.truncate(20);
        let mut reader = FrameReader::new(Cursor::new(bytes));
        assert_eq!(block_on(reader.next()).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let mut reader = FrameReader::new(Cursor::new(vec![255; 64]));
        assert_eq!(block_on(reader.next()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
