//! The vocabulary of faults, and which of them a seed gets when.

use crate::queue::{MS, Micros, SECOND};
use crate::random::Random;
use crate::scenario::CALM;

/// Who is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// This host.
    Host(usize),
    /// Whoever leads some replica set then; the number says which.
    Leader(u64),
}

/// A moment at which a crash hurts most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// A replica gave its vote.
    Voted,
    /// A replica acknowledged entries.
    Acknowledged,
    /// A replica began to lead.
    Leads,
    /// A leader appended a membership.
    Membership,
    /// A replica was told to start from a reset.
    Reset,
    /// A node says that a replica is created.
    Created,
}

/// What an ambush does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blow {
    /// The process dies.
    Kill,
    /// The machine loses power.
    PowerCut,
    /// The machine is cut off from the others.
    Isolate,
}

/// Something that goes wrong. Times are how long it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process dies; the page cache stays.
    Kill { target: Target, time: Micros },
    /// The machine loses power: any subset of the unsynced pages stays.
    PowerCut { target: Target, time: Micros },
    /// The process dies, comes back, and then the machine loses power soon after.
    KillThenCut { target: Target, time: Micros },
    /// All processes die.
    KillAll { time: Micros },
    /// All machines lose power.
    CutAll { time: Micros },
    /// Whoever is at this moment is hit there, so many times in a row.
    Ambush { moment: Moment, blow: Blow, times: u32, time: Micros },
    /// SIGSTOP, later SIGCONT.
    Pause { target: Target, time: Micros },
    /// A graceful stop, later a start.
    Stop { target: Target, time: Micros },
    /// The hosts whose bit is set are split from the others.
    Split { side: u64, time: Micros },
    /// One host is cut off, clients too if `clients`.
    Isolate { target: Target, clients: bool, time: Micros },
    /// What the host says is not heard (or what others say, when `deaf`).
    OneWay { target: Target, deaf: bool, time: Micros },
    /// Links from the host hold everything and release it in one burst.
    Clog { target: Target, time: Micros },
    /// Every link loses, doubles and reorders a lot.
    Storm { time: Micros },
    /// Commits and reads of the host do not end for this long.
    Stall { target: Target, time: Micros },
    /// The next sync of the host fails; its pages read back clean.
    FailedSync { target: Target },
    /// No room is left.
    Full { target: Target, time: Micros },
    /// A metadata shard, which the number chooses, has no majority: its voters are split from each other when `isolate`, or most
    /// of them die. Topics come and go meanwhile.
    Leaderless { draw: u64, isolate: bool, time: Micros },
    /// The wall clock jumps by this many milliseconds.
    ClockJump { target: Target, ms: i64 },
    /// Damage: a bit of synced data flips, and the process restarts, or goes on when `live` and finds it whenever it reads it.
    Rot { target: Target, live: bool },
    /// Damage: a synced page holds another page's content, and the process restarts.
    Misdirect { target: Target },
    /// Damage: the whole disk is empty.
    Wipe { target: Target, time: Micros },
    /// Damage: an old copy of the data directory is put back.
    RestoreOld { target: Target },
}

impl Fault {
    /// Whether promises may be lost by it: these need a majority that is well.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Rot { .. } | Self::Misdirect { .. } | Self::Wipe { .. } | Self::RestoreOld { .. }
        )
    }

    /// Its kind, as in its list.
    pub(crate) fn kind(&self) -> String {
        let text = format!("{self:?}");
        text.split(' ').next().unwrap_or_default().to_owned()
    }

    /// How long it lasts, for those that do.
    pub(crate) fn time_mut(&mut self) -> Option<&mut Micros> {
        match self {
            Self::Kill { time, .. }
            | Self::PowerCut { time, .. }
            | Self::KillThenCut { time, .. }
            | Self::KillAll { time }
            | Self::CutAll { time }
            | Self::Ambush { time, .. }
            | Self::Pause { time, .. }
            | Self::Stop { time, .. }
            | Self::Split { time, .. }
            | Self::Isolate { time, .. }
            | Self::OneWay { time, .. }
            | Self::Clog { time, .. }
            | Self::Storm { time }
            | Self::Stall { time, .. }
            | Self::Full { time, .. }
            | Self::Wipe { time, .. } => Some(time),
            _ => None,
        }
    }
}

/// A fault and when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) at: Micros,
    pub(crate) fault: Fault,
}

/// A kind of trouble, of which a seed has some.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Crashes,
    PowerCuts,
    Pauses,
    Splits,
    OneWays,
    Clogs,
    Storms,
    Stalls,
    FailedSyncs,
    FullDisks,
    ClockJumps,
    Damage,
    Stops,
    Ambushes,
    OldCopies,
    Leaderless,
}

const CLASSES: [(Class, &str, u32); 16] = [
    (Class::Crashes, "kills", 70),
    (Class::PowerCuts, "power cuts", 60),
    (Class::Pauses, "pauses", 40),
    (Class::Splits, "splits", 50),
    (Class::OneWays, "one-way splits", 35),
    (Class::Clogs, "clogs", 35),
    (Class::Storms, "storms", 25),
    (Class::Stalls, "disk stalls", 35),
    (Class::FailedSyncs, "failed syncs", 30),
    (Class::FullDisks, "full disks", 20),
    (Class::ClockJumps, "clock jumps", 25),
    (Class::Damage, "damage", 40),
    (Class::Stops, "graceful stops", 20),
    (Class::Ambushes, "ambushes", 60),
    (Class::OldCopies, "old copies", 25),
    (Class::Leaderless, "shards without a leader", 25),
];

/// How many there are to be hit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) hosts: usize,
    /// Only these hold shards: fewer than three cannot lose a promise.
    pub(crate) founders: usize,
}

/// Draws the faults of a run, and says in words which classes there are: `only` these, or each by its own chance.
pub(crate) fn plan(
    random: &mut Random,
    only: &[Class],
    sizes: Sizes,
    duration: Micros,
    traits: &mut Vec<String>,
) -> Vec<Planned> {
    let mut classes = Vec::new();
    for (class, name, percent) in CLASSES {
        let damages = matches!(class, Class::Damage | Class::OldCopies);
        let drawn = random.percent(percent);
        let wanted = if only.is_empty() { drawn } else { only.contains(&class) };
        if wanted && (!damages || sizes.founders >= 3) {
            classes.push(class);
            traits.push(name.to_owned());
        }
    }
    if classes.is_empty() {
        classes.push(Class::Crashes);
        traits.push("kills".into());
    }
    let gap = *random.pick(&[2, 5, 10, 20]) * SECOND;
    let bursts = *random.pick(&[0, 20, 50]);
    let mut planned = Vec::new();
    let mut at = CALM;
    while at < duration {
        let class = *random.pick(&classes);
        planned.push(Planned { at, fault: draw(random, class, sizes.hosts) });
        at += if random.percent(bursts) {
            random.within(10, 1500) * MS
        } else {
            random.within(gap / 2, gap * 3 / 2)
        };
    }
    planned
}

fn target(random: &mut Random, hosts: usize) -> Target {
    if random.percent(50) { Target::Host(random.position(hosts)) } else { Target::Leader(random.next()) }
}

fn draw(random: &mut Random, class: Class, hosts: usize) -> Fault {
    let target = target(random, hosts);
    let time = match random.below(10) {
        0..4 => random.within(50, 800) * MS,
        4..8 => random.within(800, 4000) * MS,
        _ => random.within(4, 15) * SECOND,
    };
    match class {
        Class::Crashes if random.percent(15) => Fault::KillAll { time },
        Class::Crashes => Fault::Kill { target, time },
        Class::PowerCuts => match random.below(10) {
            0..2 => Fault::CutAll { time },
            2..4 => Fault::KillThenCut { target, time },
            _ => Fault::PowerCut { target, time },
        },
        Class::Ambushes => {
            let moment = *random.pick(&[
                Moment::Voted,
                Moment::Voted,
                Moment::Acknowledged,
                Moment::Leads,
                Moment::Leads,
                Moment::Membership,
                Moment::Membership,
                Moment::Reset,
                Moment::Created,
            ]);
            let blow = *random.pick(&[Blow::Kill, Blow::PowerCut, Blow::Isolate]);
            // One new leader after the other, cut off with entries that nobody else has.
            let lonely = moment == Moment::Leads && blow == Blow::Isolate;
            let brief = (blow != Blow::Isolate || lonely) && random.percent(70);
            let most = match moment {
                Moment::Voted => 30,
                _ if lonely => 1500,
                _ => 150,
            };
            let time = if brief { random.within(1, most) * MS } else { time };
            let times = if brief { *random.pick(&[1, 3, 8]) } else { 1 };
            Fault::Ambush { moment, blow, times, time }
        }
        Class::Pauses => Fault::Pause { target, time },
        Class::Stops => Fault::Stop { target, time },
        Class::Splits if random.percent(50) => Fault::Isolate { target, clients: random.percent(50), time },
        Class::Splits => Fault::Split { side: random.next(), time },
        Class::OneWays => Fault::OneWay { target, deaf: random.percent(50), time },
        Class::Clogs => Fault::Clog { target, time },
        Class::Storms => Fault::Storm { time },
        Class::Stalls => Fault::Stall { target, time: time / 2 },
        Class::FailedSyncs => Fault::FailedSync { target },
        Class::FullDisks => Fault::Full { target, time },
        Class::ClockJumps => {
            Fault::ClockJump { target, ms: random.below(7_200_000).cast_signed() - 3_600_000 }
        }
        Class::Damage => match random.below(4) {
            0 => Fault::Rot { target, live: random.percent(50) },
            1 => Fault::Misdirect { target },
            _ => Fault::Wipe { target, time },
        },
        Class::OldCopies => Fault::RestoreOld { target },
        Class::Leaderless => Fault::Leaderless {
            draw: random.next(),
            isolate: random.percent(50),
            time: random.within(2, 15) * SECOND,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_minute_has_a_fault_and_a_lone_node_no_damage() {
        for seed in 0..200 {
            let sizes = Sizes { hosts: 3, founders: 1 };
            let planned = plan(&mut Random::new(seed), &[], sizes, 180 * SECOND, &mut Vec::new());
            assert!(planned.iter().all(|planned| !planned.fault.is_damage()));
            assert!(planned.len() >= 3, "seed {seed}: {planned:?}");
        }
    }
}
