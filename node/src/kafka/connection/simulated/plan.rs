//! What the clients of a seed send, and what they expect.

use super::super::tests::{fetch, header, metadata, produce};
use super::*;
use crate::kafka::batch::tests::sound;

/// Tags from here on are of requests behind a bad frame.
pub(super) const FORBIDDEN: u32 = 1_000_000;

/// A deterministic source of choices (splitmix64).
pub(super) struct Draw(pub(super) u64);

impl Draw {
    pub(super) fn of(seed: u64, purpose: u64) -> Draw {
        let mut draw =
            Draw(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ purpose.wrapping_mul(0xd134_2543_de82_ef95));
        draw.next();
        draw
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 32).unwrap() % bound.max(1)
    }

    pub(super) fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    pub(super) fn millis(&mut self, most: usize) -> Duration {
        Duration::from_millis(self.below(most).try_into().unwrap())
    }
}

/// What a client does with its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Sends all, reads all.
    Reads,
    /// The same, a few bytes at a time.
    Slow,
    /// Sends and never reads.
    Deaf,
    /// Leaves after so many bytes.
    Cuts(usize),
    /// Sends frames with flipped bits after this many good ones.
    Flips,
    /// Sends a frame that is none.
    Garbage,
}

/// A response that a client waits for: its correlation id, and what says that it is the answer to this request and no other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    pub(super) correlation: i32,
    /// Where in the frame, and which 64-bit number.
    pub(super) tag: Option<(usize, i64)>,
}

pub(super) struct Plan {
    pub(super) manner: Manner,
    pub(super) stream: Vec<u8>,
    /// In the order in which they must come.
    pub(super) expected: Vec<Expected>,
}

fn framed(out: &mut Vec<u8>, frame: &[u8]) {
    out.extend(u32::try_from(frame.len()).unwrap().to_be_bytes());
    out.extend(frame);
}

/// A good request and what its response looks like, `None` when there is none.
fn request(draw: &mut Draw, tag: u32) -> (Vec<u8>, Option<Expected>) {
    let correlation = i32::try_from(tag).unwrap();
    let expected = |tag| Some(Expected { correlation, tag });
    let number = i64::from(tag);
    match draw.below(8) {
        0..3 => {
            let acks = draw.pick(&[0, 1, 1, -1]);
            let (records, bytes) = (1 + draw.below(3), draw.below(120));
            let mut frame = produce(correlation, acks, &sound(i32::try_from(records).unwrap(), bytes));
            // Behind header, transactional id and acks is the timeout, which the node gives back as the offset.
            frame[16..20].copy_from_slice(&tag.to_be_bytes());
            (frame, if acks == 0 { None } else { expected(Some((21, number))) })
        }
        3..6 => {
            let mut frame = fetch(correlation, u32::try_from(draw.pick(&[0, 50, 400, 5_000])).unwrap());
            // Behind header and replica is the longest wait, which the node gives back as the high watermark.
            frame[16..20].copy_from_slice(&tag.to_be_bytes());
            (frame, expected(Some((25, number))))
        }
        6 => (metadata(correlation), expected(None)),
        // ApiVersions: answered without the node, but in its turn.
        _ => (header(18, 0, correlation), expected(None)),
    }
}

/// A frame that must end the connection.
fn garbage(draw: &mut Draw) -> Vec<u8> {
    let mut out = Vec::new();
    match draw.below(5) {
        0 => framed(&mut out, &header(999, 0, 1)),
        1 => framed(&mut out, &header(3, 99, 1)),
        2 => framed(&mut out, &[header(3, 1, 1), vec![0x7f, 0xff, 0xff, 0xff]].concat()),
        3 => framed(&mut out, &vec![0; draw.below(8)]),
        _ => out.extend((20_000_u32 + u32::try_from(draw.below(1 << 30)).unwrap()).to_be_bytes()),
    }
    out
}

pub(super) fn plan(draw: &mut Draw, connection: u32) -> Plan {
    let mut stream = Vec::new();
    let mut expected = Vec::new();
    for n in 0..1 + u32::try_from(draw.below(12)).unwrap() {
        let (frame, response) = request(draw, connection * 1_000 + n);
        framed(&mut stream, &frame);
        expected.extend(response);
    }
    let manner = match draw.below(12) {
        0..4 => Manner::Reads,
        4..6 => Manner::Slow,
        6 => Manner::Deaf,
        7..10 => Manner::Cuts(draw.below(stream.len())),
        10 => Manner::Flips,
        _ => Manner::Garbage,
    };
    match manner {
        Manner::Flips => {
            for n in 0..1 + draw.below(4) {
                let (frame, _) = request(draw, connection * 1_000 + 500 + u32::try_from(n).unwrap());
                let from = stream.len();
                framed(&mut stream, &frame);
                for _ in 0..=draw.below(4) {
                    let at = from + draw.below(stream.len() - from);
                    stream[at] ^= 1 << draw.below(8);
                }
            }
        }
        Manner::Garbage => {
            stream.extend(garbage(draw));
            for n in 0..u32::try_from(draw.below(3)).unwrap() {
                framed(&mut stream, &request(draw, FORBIDDEN + connection * 1_000 + n).0);
            }
        }
        _ => {}
    }
    Plan { manner, stream, expected }
}

/// Tag and frame length of each good request of a plan.
pub(super) fn tagged(plan: &Plan) -> Vec<(u32, u32)> {
    let mut tags = Vec::new();
    let mut rest = &plan.stream[..];
    while let Some((length, frame)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length);
        let Some(body) = frame.get(..length as usize) else { break };
        if matches!(body.get(..2), Some([0, 0 | 1]))
            && let Some(tag) = body.get(16..).and_then(|tag| tag.first_chunk::<4>())
        {
            tags.push((u32::from_be_bytes(*tag), length));
        }
        rest = &frame[length as usize..];
    }
    tags
}
