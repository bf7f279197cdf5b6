//! Frames of other nodes: Raft, metadata, founding, joining; and what SWIM makes of bytes, as they are and behind a header that it takes.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mesh::raft::{Incarnation, NodeId, Time};
use mesh::swim::{Event, Input, Swim, SwimConfig};

const LIFE: Incarnation = Incarnation(7);

/// A node that lists two others and was told by one of them that it is there.
fn swim() -> Swim {
    let config = SwimConfig { interval_us: 200_000, timeout_us: 1_200_000 };
    let mut swim = Swim::new(NodeId(1), LIFE, 3, config, 1, Time(0));
    swim.step(Time(0), Input::Roster([(NodeId(2), LIFE), (NodeId(3), LIFE)].into()));
    swim
}

fn id(node: i32, boot: u64) -> Vec<u8> {
    let parts = [&node.to_le_bytes()[..], &LIFE.0.to_le_bytes(), &boot.to_le_bytes(), &0_u32.to_le_bytes()];
    parts.concat()
}

/// Tag and probe number from the input, a sender and a receiver that are right, then the rest of the input.
fn addressed(input: &[u8]) -> Option<Vec<u8>> {
    let (start, rest) = input.split_first_chunk::<2>()?;
    Some([&start[..], &id(2, 1), &[0, 0], &id(1, 3), rest].concat())
}

fuzz_target!(|input: &[u8]| {
    _ = node::shell::wire::decode(input);
    let mut swim = swim();
    let messages = [Some(input.to_vec()), addressed(input)];
    for (at, bytes) in (1..).zip(messages.into_iter().flatten()) {
        let now = Time(at * 1_000);
        let mut said = swim.step(now, Input::Message { from: NodeId(2), bytes: Bytes::from(bytes) });
        for _ in 0..32 {
            let Some(due) = swim.next_deadline() else { break };
            said.extend(swim.step(due, Input::Tick));
        }
        for event in said {
            let (Event::Up(node) | Event::Down(node) | Event::Send(node, _)) = event;
            assert!((2..=3).contains(&node.0), "nobody but the roster is known");
        }
    }
});
