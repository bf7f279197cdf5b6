//! An old copy of a data directory is told by the others: they drop what it says, say which boot they know, and it ends.

mod founders;

use founders::{LIFE, TestNode};
use mesh::life::Life;
use mesh::raft::{NodeId, Time};
use node::core::message::PeerMessage;
use node::core::{Effect, Input, Now, OLD_COPY};
use storage::fake::FakeDisk;

fn now(ms: u64) -> Now {
    Now { mono: Time(ms * 1_000), wall_ms: 0, behind: false }
}

/// Starts a process of `node` on a disk.
fn start(node: i32, disk: &FakeDisk, seed: u64) -> TestNode {
    founders::open(node, disk, founders::founding(3), None, seed, now(0)).0
}

fn hear(node: &mut TestNode, from: i32, life: Life, message: PeerMessage) -> Vec<Effect<FakeDisk>> {
    node.step(now(10), Input::Message { from: NodeId(from), life, message })
}

fn outlived(effects: &[Effect<FakeDisk>]) -> Vec<(NodeId, Life)> {
    let one = |effect: &Effect<FakeDisk>| match effect {
        Effect::Send { to, message: PeerMessage::Outlived(by), .. } => Some((*to, *by)),
        _ => None,
    };
    effects.iter().filter_map(one).collect()
}

fn failed(effects: &[Effect<FakeDisk>]) -> Option<&str> {
    effects.iter().find_map(|effect| match effect {
        Effect::Failed(reason) => Some(reason.as_str()),
        _ => None,
    })
}

const ASK: PeerMessage = PeerMessage::ShardPoll { shard: 0, version: 0 };

#[test]
fn an_old_copy_is_refused_and_ends_itself() {
    let mut other = start(2, &FakeDisk::default(), 1);
    let disk = FakeDisk::default();
    drop(start(1, &disk, 2));
    let copy = disk.kill().fork();
    let disk = disk.kill();
    let current = start(1, &disk, 3);
    assert_eq!(current.boot(), 2);
    let said = hear(&mut other, 1, current.life(), ASK);
    assert!(outlived(&said).is_empty() && said.iter().any(|effect| matches!(effect, Effect::Send { .. })));

    disk.restore(&copy);
    let mut old = start(1, &disk.kill(), 4);
    assert_eq!(old.boot(), 2, "the copy of boot 1 does not know of boot 2");
    let said = hear(&mut other, 1, old.life(), ASK);
    assert_eq!(outlived(&said), [(NodeId(1), current.life())]);
    assert!(said.iter().all(|effect| !matches!(
        effect,
        Effect::Send { to: NodeId(1), message: PeerMessage::ShardUpdate(_), .. }
    )));

    let ended = hear(&mut old, 2, other.life(), PeerMessage::Outlived(current.life()));
    let reason = failed(&ended).expect("it ends");
    assert!(reason.starts_with(OLD_COPY) && reason.contains("boot 2"), "{reason}");
    assert_eq!(ended.len(), 1, "nothing else is said");
}

#[test]
fn a_late_message_of_an_earlier_boot_harms_nobody() {
    let mut other = start(2, &FakeDisk::default(), 1);
    let disk = FakeDisk::default();
    let first = start(1, &disk, 2).life();
    let mut second = start(1, &disk.kill(), 3);
    hear(&mut other, 1, second.life(), ASK);
    let said = hear(&mut other, 1, first, ASK);
    assert_eq!(outlived(&said), [(NodeId(1), second.life())]);
    let own = second.life();
    let heard = hear(&mut second, 2, other.life(), PeerMessage::Outlived(own));
    assert_eq!(failed(&heard), None);
}

#[test]
fn two_old_copies_end_each_other() {
    let mut copy = start(1, &FakeDisk::default(), 1);
    let later = Life { boot: 5, ..copy.life() };
    // What it hears from is one of the past itself, by what it heard before.
    let peer = Life { incarnation: LIFE, boot: 7, session: 1 };
    hear(&mut copy, 2, peer, ASK);
    let past = Life { boot: 6, ..peer };
    let ended = hear(&mut copy, 2, past, PeerMessage::Outlived(later));
    assert!(failed(&ended).is_some());
}
