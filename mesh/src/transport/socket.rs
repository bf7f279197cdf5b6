//! A socket that breaks off by itself once nothing came from the other side for a while.
//!
//! Both ends of a connection ping each other every second, so silence is no idleness: the peer stands still, or the
//! network between is gone. TCP itself finds that out only after minutes when there is something to send, and never
//! when there is not; and a multiplexer that closes such a connection waits for its last words to leave. Here every
//! operation fails from then on, so the connection is over at once, and may be dialed again the moment that the
//! network heals.
//!
//! | in wait for | of which nothing came for | then |
//! |---|---|---|
//! | bytes of the peer, or room for bytes to it | [`SILENCE_MAX`] | `TimedOut`, for this and each later operation |
//! | the same, but this process stood still itself | [`SILENCE_MAX`] | [`GRACE`] to read what came meanwhile |

use futures::io::{AsyncRead, AsyncWrite};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// Four pings that did not come. Long enough for a peer that is starved of CPU: the failure detector, which takes leaders away
/// after 1.2 s, does not wait for this.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(4);
/// A timer that fires this late says that this process stood still, not its peer.
const STALL: Duration = Duration::from_millis(500);
/// What the peer sent during such a stall is read in this time.
const GRACE: Duration = Duration::from_secs(1);

/// A socket and when it was heard last.
pub(super) struct Watched<S> {
    socket: S,
    heard: Instant,
    check: Pin<Box<Sleep>>,
    broken: bool,
}

impl<S: Unpin> Watched<S> {
    pub(super) fn new(socket: S) -> Watched<S> {
        let heard = Instant::now();
        Watched { socket, heard, check: Box::pin(sleep_until(heard + SILENCE_MAX)), broken: false }
    }

    /// What to answer when the socket has nothing to give and takes nothing.
    fn wait<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        while self.check.as_mut().poll(cx).is_ready() {
            match judge(Instant::now(), self.heard, self.check.deadline()) {
                Some(next) => self.check.as_mut().reset(next),
                None => {
                    self.broken = true;
                    return Poll::Ready(Err(silent()));
                }
            }
        }
        Poll::Pending
    }

    /// Passes an operation on, unless the connection broke.
    fn attempt<T>(
        &mut self,
        cx: &mut Context<'_>,
        operation: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.broken {
            return Poll::Ready(Err(silent()));
        }
        match operation(Pin::new(&mut self.socket), cx) {
            Poll::Pending => self.wait(cx),
            done => done,
        }
    }

    fn heard(&mut self) {
        self.heard = Instant::now();
    }
}

/// When to look again, at a look that was due at `deadline`; none when the silence lasted too long.
fn judge(now: Instant, heard: Instant, deadline: Instant) -> Option<Instant> {
    let due = heard + SILENCE_MAX;
    if now < due {
        return Some(due);
    }
    (now - deadline > STALL).then(|| now + GRACE)
}

fn silent() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("nothing came for {} s", SILENCE_MAX.as_secs()))
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let read = self.attempt(cx, |socket, cx| socket.poll_read(cx, buffer));
        if let Poll::Ready(Ok(_)) = &read {
            self.heard();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.attempt(cx, |socket, cx| socket.poll_write(cx, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.attempt(cx, |socket, cx| socket.poll_flush(cx))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.attempt(cx, |socket, cx| socket.poll_close(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::io::{AsyncReadExt, AsyncWriteExt};

    /// Takes nothing and gives what it holds.
    struct Line(Vec<u8>);

    impl AsyncRead for Line {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            let Some(byte) = self.0.pop() else { return Poll::Pending };
            buffer[0] = byte;
            Poll::Ready(Ok(1))
        }
    }

    impl AsyncWrite for Line {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    #[test]
    fn only_silence_ends_it_and_a_stall_of_this_process_does_not_count() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(judge(at(3999), at(0), at(3999)), Some(at(4000)));
        assert_eq!(judge(at(4000), at(1500), at(4000)), Some(at(5500)), "heard since the look was set");
        assert_eq!(judge(at(4001), at(0), at(4000)), None);
        assert_eq!(judge(at(60_000), at(0), at(4000)), Some(at(61_000)), "what came meanwhile is read first");
        assert_eq!(judge(at(61_001), at(0), at(61_000)), None, "and was nothing");
    }

    #[test]
    fn after_that_nothing_is_read_written_or_closed() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime starts").block_on(async {
            let mut socket = Watched::new(Line(b"pong".to_vec()));
            socket.heard -= SILENCE_MAX;
            socket.check.as_mut().reset(Instant::now());
            let mut buffer = [0; 8];
            assert_eq!(socket.read(&mut buffer).await.unwrap(), 1, "what is there is read, however late");
            assert!(socket.heard.elapsed() < SILENCE_MAX, "and counts");
            for end in 0..3 {
                let mut socket = Watched::new(Line(Vec::new()));
                socket.heard -= SILENCE_MAX;
                socket.check.as_mut().reset(Instant::now());
                let first = match end {
                    0 => socket.read(&mut buffer).await.map(drop),
                    1 => socket.write(b"x").await.map(drop),
                    _ => socket.close().await,
                };
                assert_eq!(first.unwrap_err().kind(), io::ErrorKind::TimedOut);
                socket.socket.0.push(1);
                assert!(socket.read(&mut buffer).await.is_err(), "it is over");
            }
        });
    }
}
