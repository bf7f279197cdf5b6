//! The clients.

use tokio::io::{DuplexStream, ReadHalf, WriteHalf};

use super::plan::{Draw, Expected, Manner, Plan};
use super::*;

pub(super) struct Client {
    pub(super) plan: Plan,
    pub(super) draw: Draw,
    pub(super) world: World,
    pub(super) connection: u16,
}

impl Client {
    /// Plays the plan; how many responses came in their order.
    pub(super) async fn run(mut self, stream: DuplexStream) -> usize {
        let (mut from, mut to) = tokio::io::split(stream);
        let mut writes = Draw::of(self.draw.next(), 1);
        let upto = match self.plan.manner {
            Manner::Cuts(at) => at,
            _ => self.plan.stream.len(),
        };
        let bytes = self.plan.stream[..upto].to_vec();
        let expected = std::mem::take(&mut self.plan.expected);
        let mut got = 0;
        match self.plan.manner {
            Manner::Reads | Manner::Slow => {
                tokio::join!(send(&mut to, &bytes, &mut writes), self.read(&mut from, &expected, &mut got));
            }
            Manner::Deaf => {
                send(&mut to, &bytes, &mut writes).await;
                sleep(PATIENCE).await;
            }
            Manner::Cuts(_) => {
                let cut = async {
                    send(&mut to, &bytes, &mut writes).await;
                    sleep(writes.millis(800)).await;
                };
                tokio::select! {
                    biased;
                    () = cut => {}
                    () = async { self.read(&mut from, &expected, &mut got).await; sleep(PATIENCE).await } => {}
                }
            }
            Manner::Flips | Manner::Garbage => {
                let all = async {
                    tokio::join!(
                        send(&mut to, &bytes, &mut writes),
                        self.read(&mut from, &expected, &mut got)
                    );
                    // Whatever the rest was taken for.
                    let _closed = from.read_to_end(&mut Vec::new()).await;
                };
                let _gave_up = timeout(PATIENCE, all).await;
            }
        }
        self.world
            .tell(self.connection, &format!("the client leaves with {got} of {} responses", expected.len()));
        got
    }

    async fn read(&mut self, from: &mut ReadHalf<DuplexStream>, expected: &[Expected], got: &mut usize) {
        let slow = self.plan.manner == Manner::Slow;
        let mut bytes = Vec::new();
        while *got < expected.len() {
            let mut room = vec![0; 1 + self.draw.below(if slow { 9 } else { 300 })];
            if slow {
                sleep(self.draw.millis(900)).await;
            }
            match from.read(&mut room).await {
                Ok(0) | Err(_) => return self.world.tell(self.connection, "the stream ends"),
                Ok(read) => bytes.extend(&room[..read]),
            }
            while let Some(frame) = take_frame(&mut bytes) {
                let Some(wanted) = expected.get(*got) else {
                    // Behind flipped bits, whatever they said.
                    return;
                };
                let number = |at: usize| frame.get(at..).and_then(|rest| rest.first_chunk::<8>());
                let right = frame.get(..4) == Some(&wanted.correlation.to_be_bytes())
                    && wanted.tag.is_none_or(|(at, tag)| number(at) == Some(&tag.to_be_bytes()));
                if !right {
                    return self.world.wrong(self.connection, format!("{frame:?} in place of {wanted:?}"));
                }
                self.world.tell(self.connection, &format!("gets response {}", wanted.correlation));
                *got += 1;
            }
        }
    }
}

async fn send(to: &mut WriteHalf<DuplexStream>, bytes: &[u8], draw: &mut Draw) {
    let mut left = bytes;
    while !left.is_empty() {
        let (chunk, rest) = left.split_at(left.len().min(1 + draw.below(draw_chunk(left.len()))));
        if to.write_all(chunk).await.is_err() {
            return;
        }
        left = rest;
        if draw.percent(30) {
            sleep(draw.millis(300)).await;
        }
    }
}

/// Chunks from a byte to several frames: the largest is as long as what is left, modulo something that varies with it.
fn draw_chunk(left: usize) -> usize {
    [1, 5, 40, 600][left % 4]
}

fn take_frame(bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = u32::from_be_bytes(*bytes.first_chunk::<4>()?) as usize;
    (bytes.len() >= 4 + length).then(|| bytes.drain(..4 + length).skip(4).collect())
}
