//! One partition: what is asked next, and what the answers mean. It knows no network and no clock.

use super::{Place, Verdict, VerifiedPartition, VerifiedReplica};
use std::collections::BTreeMap;

/// Bytes of one piece.
const PIECE_BYTES: u64 = 8 << 20;
/// How often somebody who is behind is looked at again before it is called so.
const LOOKS_MAX: u32 = 20;
/// How often a replica may change while it is looked at, and how often a difference may get lost.
const CHANGES_MAX: u32 = 20;

/// What of a replica can be compared, in Raft indexes; `end` is exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u64,
    pub(super) end: u64,
}

/// A part of a replica's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// What is there, up to `to`.
    Whole { to: u64, offsets: Option<(i64, i64)>, records: u64, bytes: u64, digest: String },
    /// This index cannot be read.
    Damaged { index: u64, why: String },
    /// The replica does not have it any more, or not yet again.
    Moved,
}

/// The replicas of a partition, by node.
pub(super) trait Ask {
    /// What each has, or why that cannot be said.
    fn ranges(&self, nodes: &[i64]) -> Vec<Result<Range, String>>;

    /// The same piece of each, `[from, to)` but ending with the entry that fills so many bytes.
    fn pieces(&self, nodes: &[i64], from: u64, to: u64, bytes: u64) -> Vec<Result<Piece, String>>;

    /// Lets a moment pass.
    fn wait(&self);
}

/// Compares them; `said` is told of bytes that were.
pub(super) fn compare(ask: &dyn Ask, nodes: &[i64], said: &mut dyn FnMut(u64)) -> VerifiedPartition {
    let mut comparison = Comparison::new(ask, nodes);
    while let Some(piece) = comparison.next_piece() {
        comparison.take(piece, said);
    }
    comparison.finish()
}

struct Comparison<'a> {
    ask: &'a dyn Ask,
    /// Those that are compared, and the end of each.
    active: BTreeMap<i64, Range>,
    verdicts: BTreeMap<i64, Verdict>,
    next: u64,
    /// Where it ends.
    target: u64,
    changes: u32,
    compared: VerifiedPartition,
}

/// A piece of all that have it.
struct Answers {
    to: u64,
    by_node: Vec<(i64, Result<Piece, String>)>,
}

impl Answers {
    /// The piece, when all have the same.
    fn same(&self) -> Option<&Piece> {
        let mut pieces = self.by_node.iter().map(|(_, piece)| piece.as_ref().ok());
        let first = pieces.next()??;
        let same = matches!(first, Piece::Whole { .. }) && pieces.all(|piece| piece == Some(first));
        same.then_some(first)
    }

    /// Up to where all told what they have; none when not all did.
    fn told(&self) -> Option<u64> {
        let ends = self.by_node.iter().map(|(_, piece)| match piece {
            Ok(Piece::Whole { to, .. }) => Some(*to),
            _ => None,
        });
        ends.collect::<Option<Vec<u64>>>()?.into_iter().min()
    }
}

impl<'a> Comparison<'a> {
    fn new(ask: &'a dyn Ask, nodes: &[i64]) -> Self {
        let (active, verdicts) = (BTreeMap::new(), BTreeMap::new());
        let compared = VerifiedPartition::default();
        let mut new = Self { ask, active, verdicts, next: 0, target: 0, changes: 0, compared };
        new.look(nodes);
        new.target = new.active.values().map(|range| range.end).max().unwrap_or(0);
        // The others hear of what is committed a moment later.
        for _ in 0..LOOKS_MAX {
            let behind = new.active.iter().filter(|(_, range)| range.end < new.target).map(|(node, _)| *node);
            let behind: Vec<i64> = behind.collect();
            if behind.is_empty() {
                break;
            }
            ask.wait();
            new.look(&behind);
        }
        new
    }

    /// Asks these what they have; it begins where all of them have something.
    fn look(&mut self, nodes: &[i64]) {
        for (node, range) in nodes.iter().zip(self.ask.ranges(nodes)) {
            match range {
                Ok(range) => {
                    self.next = self.next.max(range.first);
                    self.active.insert(*node, range);
                }
                Err(why) => self.judge(*node, Verdict::Unknown(why)),
            }
        }
    }

    fn judge(&mut self, node: i64, verdict: Verdict) {
        self.active.remove(&node);
        self.verdicts.insert(node, verdict);
    }

    fn ask(&self, nodes: &[i64], to: u64) -> Answers {
        let answers = self.ask.pieces(nodes, self.next, to, PIECE_BYTES);
        Answers { to, by_node: nodes.iter().copied().zip(answers).collect() }
    }

    /// The next piece of all that are not at their end yet.
    fn next_piece(&mut self) -> Option<Answers> {
        let ended = self.active.iter().filter(|(_, range)| range.end <= self.next && range.end < self.target);
        let ended: Vec<i64> = ended.map(|(node, _)| *node).collect();
        for node in ended {
            self.judge(node, Verdict::Behind { offset: self.compared.to_offset });
        }
        let nodes: Vec<i64> = self.active.keys().copied().collect();
        let to = self.active.values().map(|range| range.end).min()?.min(self.target);
        (self.next < to).then(|| self.ask(&nodes, to))
    }

    fn take(&mut self, answers: Answers, said: &mut dyn FnMut(u64)) {
        if let Some(piece) = answers.same() {
            return self.pass(piece, said);
        }
        match answers.told() {
            Some(to) => self.narrow(to),
            None => self.trouble(answers),
        }
    }

    fn pass(&mut self, piece: &Piece, said: &mut dyn FnMut(u64)) {
        let Piece::Whole { to, offsets, records, bytes, .. } = piece else { return };
        if *to <= self.next {
            return self.changed();
        }
        self.next = *to;
        self.compared.records += records;
        self.compared.bytes += bytes;
        if let Some((first, next)) = offsets {
            self.compared.from_offset.get_or_insert(*first);
            self.compared.to_offset = Some(*next);
        }
        said(*bytes);
    }

    /// Not all told what they have there.
    fn trouble(&mut self, answers: Answers) {
        let mut moved = Vec::new();
        for (node, answer) in answers.by_node {
            match answer {
                Ok(Piece::Whole { .. }) => {}
                Ok(Piece::Moved) => moved.push(node),
                Ok(Piece::Damaged { index, why }) => {
                    let others: Vec<i64> =
                        self.active.keys().copied().filter(|other| *other != node).collect();
                    let place = self.place(&others, index);
                    self.judge(node, Verdict::Damaged(place, why));
                }
                Err(why) => self.judge(node, Verdict::Unknown(why)),
            }
        }
        if !moved.is_empty() {
            self.ask.wait();
            self.look(&moved);
            // A replica that is made anew has less than before.
            let lost = |node: &&i64| self.active.get(node).is_some_and(|range| range.end <= self.next);
            let lost: Vec<i64> = moved.iter().filter(lost).copied().collect();
            for node in lost {
                self.judge(node, Verdict::Behind { offset: self.compared.to_offset });
            }
            self.changed();
        }
    }

    /// What was asked for was not there any more; asked again, but not for ever.
    fn changed(&mut self) {
        self.changes += 1;
        if self.changes > CHANGES_MAX {
            let nodes: Vec<i64> = self.active.keys().copied().collect();
            for node in nodes {
                self.judge(
                    node,
                    Verdict::Unknown("it changed while it was looked at, again and again".to_owned()),
                );
            }
        }
    }

    /// The offsets of an entry, by who can say them.
    fn place(&self, nodes: &[i64], index: u64) -> Place {
        let answers = self.ask.pieces(nodes, index, index + 1, PIECE_BYTES);
        let offsets = answers.into_iter().find_map(|piece| match piece {
            Ok(Piece::Whole { offsets, .. }) => offsets,
            _ => None,
        });
        Place { index, offsets }
    }

    /// Somewhere before `to` they differ: finds the first entry that does, and who is to blame.
    fn narrow(&mut self, to: u64) {
        let nodes: Vec<i64> = self.active.keys().copied().collect();
        let mut end = to;
        loop {
            let middle = self.next + (end - self.next).div_ceil(2);
            let answers = self.ask(&nodes, middle);
            if answers.told().is_none() {
                return self.trouble(answers);
            }
            match answers.same() {
                Some(piece) => {
                    let piece = piece.clone();
                    self.pass(&piece, &mut |_| {});
                    if self.next >= end {
                        // Whatever it was, it is the same now.
                        return self.changed();
                    }
                }
                None if middle - self.next <= 1 => return self.blame(&answers),
                None => end = middle,
            }
        }
    }

    /// They differ in one entry: those that are not of the majority are wrong, and all are when there is none.
    fn blame(&mut self, answers: &Answers) {
        let count = |piece: &Piece| {
            answers.by_node.iter().filter(|(_, other)| other.as_ref().ok() == Some(piece)).count()
        };
        let is_most = |piece: &&Piece| count(piece) > answers.by_node.len() / 2;
        let most = answers.by_node.iter().filter_map(|(_, piece)| piece.as_ref().ok()).find(is_most);
        let index = answers.to - 1;
        for (node, piece) in &answers.by_node {
            if most.is_some() && piece.as_ref().ok() == most {
                continue;
            }
            let offsets = match most.or(piece.as_ref().ok()) {
                Some(Piece::Whole { offsets, .. }) => *offsets,
                _ => None,
            };
            self.judge(*node, Verdict::Differs(Place { index, offsets }));
        }
    }

    fn finish(mut self) -> VerifiedPartition {
        for node in self.active.keys() {
            self.verdicts.insert(*node, Verdict::Same);
        }
        let replicas = self.verdicts.into_iter().map(|(node, verdict)| VerifiedReplica { node, verdict });
        self.compared.replicas = replicas.collect();
        self.compared
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};

    /// Entry `index` has offset `10 * index`, ten records, and 1 MiB for each time its payload is repeated.
    #[derive(Clone)]
    struct Log {
        first: u64,
        entries: Vec<u64>,
        damaged: Option<u64>,
    }

    type ByNode = BTreeMap<i64, Result<Log, String>>;

    /// Logs that change when they are told to.
    #[derive(Default)]
    struct Logs {
        logs: RefCell<ByNode>,
        waits: Cell<u32>,
        on_wait: Option<fn(&mut ByNode)>,
    }

    impl Ask for Logs {
        fn ranges(&self, nodes: &[i64]) -> Vec<Result<Range, String>> {
            let logs = self.logs.borrow();
            let range = |log: &Log| Range { first: log.first, end: log.entries.len() as u64 + 1 };
            nodes.iter().map(|node| logs[node].as_ref().map(range).map_err(String::clone)).collect()
        }

        fn pieces(&self, nodes: &[i64], from: u64, to: u64, bytes: u64) -> Vec<Result<Piece, String>> {
            let logs = self.logs.borrow();
            nodes
                .iter()
                .map(|node| logs[node].as_ref().map(|log| piece(log, from, to, bytes)).map_err(String::clone))
                .collect()
        }

        fn wait(&self) {
            self.waits.set(self.waits.get() + 1);
            if let Some(change) = self.on_wait {
                change(&mut self.logs.borrow_mut());
            }
        }
    }

    fn piece(log: &Log, from: u64, to: u64, bytes_max: u64) -> Piece {
        if from < log.first || to > log.entries.len() as u64 + 1 {
            return Piece::Moved;
        }
        let (mut next, mut bytes, mut digest) = (from, 0, String::new());
        while next < to && bytes < bytes_max {
            if log.damaged == Some(next) {
                return Piece::Damaged { index: next, why: "rot".to_owned() };
            }
            let payload = log.entries[usize::try_from(next - 1).unwrap()];
            bytes += (payload % 3 + 1) << 20;
            digest.push_str(&format!("{payload} "));
            next += 1;
        }
        let offset = |index: u64| i64::try_from(index).unwrap() * 10;
        let offsets = Some((offset(from), offset(next)));
        Piece::Whole { to: next, offsets, records: (next - from) * 10, bytes, digest }
    }

    fn log(entries: u64) -> Log {
        Log { first: 1, entries: (1..=entries).collect(), damaged: None }
    }

    fn logs(logs: [Log; 3]) -> Logs {
        let logs = (1..).zip(logs).map(|(node, log)| (node, Ok(log))).collect();
        Logs { logs: RefCell::new(logs), ..Logs::default() }
    }

    fn verdicts(logs: &Logs) -> Vec<Verdict> {
        let compared = compare(logs, &[1, 2, 3], &mut |_| {});
        compared.replicas.into_iter().map(|replica| replica.verdict).collect()
    }

    fn differs(index: u64) -> Verdict {
        let offset = i64::try_from(index).unwrap() * 10;
        Verdict::Differs(Place { index, offsets: Some((offset, offset + 10)) })
    }

    #[test]
    fn equal_replicas_are_the_same_over_many_pieces() {
        let logs = logs([log(100), log(100), log(100)]);
        let mut told = 0;
        let compared = compare(&logs, &[1, 2, 3], &mut |bytes| told += bytes);
        assert!(compared.replicas.iter().all(|replica| replica.verdict == Verdict::Same));
        assert_eq!(
            (compared.from_offset, compared.to_offset, compared.records),
            (Some(10), Some(1010), 1000)
        );
        assert_eq!((compared.bytes, told), (200 << 20, 200 << 20));
        assert_eq!(logs.waits.get(), 0);
    }

    #[test]
    fn the_first_entry_that_differs_is_found_wherever_it_is() {
        for victim in 1..=40 {
            // Also where it is shorter or longer, so that pieces end elsewhere; and more that comes after it.
            for payload in [1_000, 1_001, 1_002] {
                let mut other = log(40);
                for at in (victim..=40).step_by(7) {
                    other.entries[at - 1] = payload;
                }
                let three = logs([log(40), other.clone(), log(40)]);
                assert_eq!(verdicts(&three), [Verdict::Same, differs(victim as u64), Verdict::Same]);
            }
        }
    }

    #[test]
    fn without_a_majority_all_are_named() {
        let (mut second, mut third) = (log(20), log(20));
        (second.entries[9], third.entries[9]) = (500, 700);
        assert_eq!(verdicts(&logs([log(20), second, third])), [differs(10), differs(10), differs(10)]);
        let mut two = log(20);
        two.entries[4] = 500;
        let pair = logs([log(20), two, log(1)]);
        let compared = compare(&pair, &[1, 2], &mut |_| {});
        assert!(compared.replicas.iter().all(|replica| replica.verdict == differs(5)));
    }

    #[test]
    fn one_after_the_other_may_be_wrong_for_reasons_of_its_own() {
        let (mut second, mut third) = (log(50), log(50));
        second.entries[3] = 500;
        third.damaged = Some(30);
        let offsets = Some((300, 310));
        let damaged = Verdict::Damaged(Place { index: 30, offsets }, "rot".to_owned());
        assert_eq!(verdicts(&logs([log(50), second, third])), [Verdict::Same, differs(4), damaged]);
    }

    #[test]
    fn a_replica_that_stays_behind_is_compared_as_far_as_it_is() {
        let behind = Verdict::Behind { offset: Some(310) };
        let three = logs([log(50), log(30), log(50)]);
        assert_eq!(verdicts(&three), [Verdict::Same, behind, Verdict::Same]);
        assert_eq!(three.waits.get(), LOOKS_MAX);
        let mut wrong = log(30);
        wrong.entries[29] = 500;
        assert_eq!(verdicts(&logs([log(50), wrong, log(50)])), [Verdict::Same, differs(30), Verdict::Same]);
        let catches_up = Logs {
            on_wait: Some(|logs| _ = logs.insert(2, Ok(log(60)))),
            ..logs([log(50), log(30), log(50)])
        };
        assert_eq!(verdicts(&catches_up), [Verdict::Same, Verdict::Same, Verdict::Same]);
        assert_eq!(catches_up.waits.get(), 1);
    }

    #[test]
    fn who_cannot_be_asked_is_told_and_the_others_are_compared() {
        let mut third = log(20);
        third.entries[19] = 500;
        let three = logs([log(20), log(20), third]);
        three.logs.borrow_mut().insert(1, Err("refused".to_owned()));
        assert_eq!(verdicts(&three), [Verdict::Unknown("refused".to_owned()), differs(20), differs(20)]);
    }

    #[test]
    fn it_begins_at_the_latest_log_start_and_follows_one_that_rises() {
        let late = Log { first: 11, ..log(20) };
        let compared = compare(&logs([log(20), late, log(20)]), &[1, 2, 3], &mut |_| {});
        assert_eq!((compared.from_offset, compared.records), (Some(110), 100));
        // The piece that is asked for is trimmed away after the first look.
        let rising = Logs {
            on_wait: Some(|logs| {
                logs.insert(1, Ok(Log { first: 15, ..log(30) }));
                logs.insert(2, Ok(Log { first: 18, ..log(30) }));
            }),
            ..logs([log(30), log(29), log(30)])
        };
        let compared = compare(&rising, &[1, 2, 3], &mut |_| {});
        assert!(compared.replicas.iter().all(|replica| replica.verdict == Verdict::Same), "{compared:?}");
        assert_eq!(compared.from_offset, Some(180));
    }

    #[test]
    fn what_never_holds_still_is_given_up() {
        struct Restless;
        impl Ask for Restless {
            fn ranges(&self, nodes: &[i64]) -> Vec<Result<Range, String>> {
                nodes.iter().map(|_| Ok(Range { first: 1, end: 10 })).collect()
            }
            fn pieces(&self, nodes: &[i64], _: u64, _: u64, _: u64) -> Vec<Result<Piece, String>> {
                nodes.iter().map(|_| Ok(Piece::Moved)).collect()
            }
            fn wait(&self) {}
        }
        let compared = compare(&Restless, &[1, 2], &mut |_| {});
        assert!(compared.replicas.iter().all(|replica| matches!(replica.verdict, Verdict::Unknown(_))));
    }

    #[test]
    fn an_empty_partition_is_the_same_everywhere() {
        let compared = compare(&logs([log(0), log(0), log(0)]), &[1, 2, 3], &mut |_| {});
        assert!(compared.replicas.iter().all(|replica| replica.verdict == Verdict::Same));
        assert_eq!((compared.from_offset, compared.bytes), (None, 0));
    }
}
