//! A seed with parts left out: what a failing seed shrinks to, and what replays it.
//!
//! A [`Case`] is data: which of the seed's faults, clients and topics stay, how long the faults go on, which of its oddities are gone.
//! Its text is the arguments of the command line. quickcheck generates small ones and knows smaller ones of each.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use quickcheck::{Arbitrary, Gen};

use crate::network::LinkProfile;
use crate::queue::{MS, Micros, SECOND};
use crate::random::Random;
use crate::scenario::{CALM, ClockProfile, DiskProfile, Kind, Scenario};
use crate::world;

/// One fault of the seed's list that stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its place in the list.
    pub number: usize,
    /// How long it lasts, if not as long as drawn.
    pub ms: Option<u64>,
}

/// A client or a topic that stays, by its place in the scenario. The administrator is client 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number(pub usize);

macro_rules! oddities {
    ($($name:ident $text:literal,)*) => {
        /// A part of a scenario that a seed may make unusual.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "their texts say it")]
        pub enum Oddity { $($name,)* }

        impl Oddity {
            const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its word on the command line.
            pub fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

oddities! {
    Network "network",
    Disk "disk",
    Clocks "clocks",
    Raft "raft",
    Store "store",
    Index "index",
    Churn "churn",
    Partitions "partitions",
}

/// A seed, and what is left of it. `None` is everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The named scenario.
    pub kind: Kind,
    /// What is drawn in it.
    pub seed: u64,
    /// Virtual minutes that it was drawn for.
    pub minutes: u64,
    /// Another draw of latencies and ties; 0 is the seed's own.
    pub salt: u64,
    /// Faults stop after so many virtual seconds.
    pub seconds: Option<u64>,
    /// The faults that stay.
    pub faults: Option<Vec<Kept>>,
    /// The clients that stay, beside the administrator.
    pub clients: Option<Vec<Number>>,
    /// The topics that stay.
    pub topics: Option<Vec<Number>>,
    /// What is as usual, whatever the seed drew.
    pub plain: Vec<Oddity>,
}

/// What the world leaves out of a scenario.
#[derive(Clone, Debug, Default)]
pub(crate) struct LeftOut {
    /// Places in the list of faults. They stay in the queue and do nothing, so that everything before them is unchanged.
    pub(crate) faults: BTreeSet<usize>,
    /// Places in the list of clients.
    pub(crate) clients: BTreeSet<usize>,
}

impl Case {
    /// All of a seed in the general scenario.
    pub fn of(seed: u64, minutes: u64) -> Self {
        Self {
            kind: Kind::default(),
            seed,
            minutes: minutes.max(1),
            salt: 0,
            seconds: None,
            faults: None,
            clients: None,
            topics: None,
            plain: Vec::new(),
        }
    }

    fn drawn(&self) -> Scenario {
        Scenario::draw(self.kind, self.seed, self.minutes)
    }

    /// The seed of everything that is drawn as the run goes.
    pub(crate) fn world_seed(&self) -> u64 {
        if self.salt == 0 { self.seed } else { Random::of(self.seed, &format!("salt {}", self.salt)).next() }
    }

    /// The scenario without what is left out of it, and the rest of that.
    pub(crate) fn scenario(&self) -> (Scenario, LeftOut) {
        let mut scenario = self.drawn();
        let mut left_out = LeftOut::default();
        if let Some(seconds) = self.seconds {
            scenario.duration = scenario.duration.min(seconds * SECOND);
        }
        if let Some(kept) = &self.faults {
            left_out.faults = (0..scenario.faults.len()).collect();
            for Kept { number, ms } in kept {
                left_out.faults.remove(number);
                let planned = scenario.faults.get_mut(*number);
                if let (Some(time), Some(ms)) = (planned.and_then(|planned| planned.fault.time_mut()), ms) {
                    *time = ms * MS;
                }
            }
        }
        if let Some(topics) = &self.topics {
            let mut number = (0..).map(Number);
            scenario.topics.retain(|_| number.next().is_some_and(|number| topics.contains(&number)));
        }
        self.plain.iter().for_each(|oddity| oddity.leave(&mut scenario));
        if let Some(clients) = &self.clients {
            let all = 1..world::clients(&scenario);
            left_out.clients = all.filter(|at| !clients.contains(&Number(*at))).collect();
        }
        (scenario, left_out)
    }

    /// The same with every list spelled out.
    pub fn spelled_out(&self) -> Self {
        let scenario = self.drawn();
        let numbers = |range: std::ops::Range<usize>| range.map(Number).collect::<Vec<_>>();
        let mut case = self.clone();
        case.seconds = Some(self.seconds.unwrap_or(self.minutes * 60));
        let all = || (0..scenario.faults.len()).map(|number| Kept { number, ms: None }).collect();
        let mut faults: Vec<Kept> = self.faults.clone().unwrap_or_else(all);
        for kept in &mut faults {
            let mut drawn = scenario.faults.get(kept.number).map(|planned| planned.fault);
            kept.ms = kept.ms.or_else(|| Some(*drawn.as_mut()?.time_mut()? / MS));
        }
        case.faults = Some(faults);
        case.clients = Some(self.clients.clone().unwrap_or_else(|| numbers(1..world::clients(&scenario))));
        case.topics = Some(self.topics.clone().unwrap_or_else(|| numbers(0..scenario.topics.len())));
        case
    }

    /// The same without what the seed says anyway.
    pub fn brief(&self) -> Self {
        let all = Case { kind: self.kind, ..Case::of(self.seed, self.minutes) }.spelled_out();
        let scenario = self.drawn();
        let mut case = self.clone();
        for kept in case.faults.iter_mut().flatten() {
            let mut drawn = scenario.faults.get(kept.number).map(|planned| planned.fault);
            let drawn_ms = drawn.as_mut().and_then(|fault| fault.time_mut()).map(|time| *time / MS);
            kept.ms = kept.ms.filter(|ms| Some(*ms) != drawn_ms);
        }
        let whole = |faults: &Vec<Kept>| {
            faults.len() == scenario.faults.len() && faults.iter().all(|kept| kept.ms.is_none())
        };
        case.faults = case.faults.filter(|faults| !whole(faults));
        case.clients = case.clients.filter(|clients| Some(clients) != all.clients.as_ref());
        case.topics = case.topics.filter(|topics| Some(topics) != all.topics.as_ref());
        case.seconds = case.seconds.filter(|seconds| *seconds != self.minutes * 60);
        case
    }

    /// The faults that stay, one line each: number, begin, what.
    pub fn told(&self) -> Vec<String> {
        let (scenario, left_out) = self.scenario();
        let stays = |(n, planned): (usize, &crate::fault::Planned)| {
            let begins = planned.at < scenario.duration && !left_out.faults.contains(&n);
            begins.then(|| format!("{n:>3} at {:>7.3} s: {:?}", planned.at as f64 / 1e6, planned.fault))
        };
        scenario.faults.iter().enumerate().filter_map(stays).collect()
    }

    /// Only what begins before this moment, which leaves everything before it as it was.
    pub(crate) fn until(&self, at: Micros) -> Self {
        let mut case = self.spelled_out();
        let seconds = (at / SECOND + 1).max(CALM / SECOND + 1);
        case.seconds = case.seconds.map(|limit| limit.min(seconds));
        let faults = self.drawn().faults;
        let begins = |kept: &Kept| faults.get(kept.number).is_some_and(|planned| planned.at <= at);
        case.faults = case.faults.map(|faults| faults.into_iter().filter(begins).collect());
        case
    }
}

impl Oddity {
    fn leave(self, scenario: &mut Scenario) {
        match self {
            Self::Network => {
                scenario.network = LinkProfile::healthy();
                scenario.silent_disconnects = 0;
            }
            Self::Disk => scenario.disk = DiskProfile { write: MS, sync: 3 * MS, read: MS },
            Self::Clocks => scenario.clocks.fill(ClockProfile::default()),
            Self::Raft => scenario.node.raft = node::core::NodeConfig::default().raft,
            Self::Store => scenario.store.segment_bytes = 1 << 20,
            Self::Index => scenario.forgetful_index = false,
            Self::Churn => scenario.topic_churn = None,
            Self::Partitions => scenario.topics.iter_mut().for_each(|topic| topic.partitions = 1),
        }
    }
}

impl Arbitrary for Number {
    fn arbitrary(g: &mut Gen) -> Self {
        Self(usize::arbitrary(g) % 8)
    }
}

impl Arbitrary for Kept {
    fn arbitrary(g: &mut Gen) -> Self {
        Self { number: usize::arbitrary(g) % 64, ms: None }
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        let Self { number, ms } = *self;
        let shorter = ms.filter(|ms| *ms >= 100).into_iter().flat_map(|ms| [ms / 4, ms / 2]);
        Box::new(shorter.map(move |ms| Self { number, ms: Some(ms) }))
    }
}

impl Arbitrary for Case {
    /// Half a minute of a fresh seed with some of its faults.
    fn arbitrary(g: &mut Gen) -> Self {
        let mut case = Case::of(u64::arbitrary(g) >> 24, 1).spelled_out();
        case.seconds = Some(15 + u64::arbitrary(g) % 15);
        case.salt = u64::arbitrary(g) % 100;
        case.faults.iter_mut().for_each(|faults| faults.retain(|_| u8::arbitrary(g) % 4 > 0));
        case
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        let case = self.spelled_out();
        let (faults, clients, topics) = (case.faults.clone(), case.clients.clone(), case.topics.clone());
        let fewer_faults = faults.unwrap_or_default().shrink().map({
            let case = case.clone();
            move |faults| Self { faults: Some(faults), ..case.clone() }
        });
        let fewer_clients = clients.unwrap_or_default().shrink().map({
            let case = case.clone();
            move |clients| Self { clients: Some(clients), ..case.clone() }
        });
        let fewer_topics = topics.unwrap_or_default().shrink().filter(|topics| !topics.is_empty());
        let fewer_topics = fewer_topics.map({
            let case = case.clone();
            move |topics| Self { topics: Some(topics), ..case.clone() }
        });
        let seconds = case.seconds.unwrap_or(0);
        let shorter = [seconds / 2, seconds * 3 / 4, seconds.saturating_sub(1)];
        let shorter = shorter.into_iter().filter(move |s| *s > CALM / SECOND && *s < seconds).map({
            let case = case.clone();
            move |seconds| Self { seconds: Some(seconds), ..case.clone() }
        });
        let odd: Vec<Oddity> = Oddity::ALL.iter().copied().filter(|odd| !case.plain.contains(odd)).collect();
        let plainer = odd.into_iter().map(move |oddity| {
            let mut plain = case.plain.clone();
            plain.push(oddity);
            Self { plain, ..case.clone() }
        });
        Box::new(fewer_faults.chain(fewer_clients).chain(fewer_topics).chain(plainer).chain(shorter))
    }
}

/// A list on the command line: `none`, or words between commas.
fn list<T: fmt::Display>(items: &[T]) -> String {
    let words: Vec<String> = items.iter().map(T::to_string).collect();
    if words.is_empty() { "none".into() } else { words.join(",") }
}

/// Reads such a list.
///
/// # Errors
///
/// The first word that is none.
pub fn parse_list<T: FromStr<Err = String>>(text: &str) -> Result<Vec<T>, String> {
    if text == "none" { Ok(Vec::new()) } else { text.split(',').map(str::parse).collect() }
}

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text} is not a number"))
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ms {
            Some(ms) => write!(f, "{}:{ms}", self.number),
            None => write!(f, "{}", self.number),
        }
    }
}

impl FromStr for Kept {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((of, ms)) => Ok(Self { number: number(of)?, ms: Some(number(ms)?) }),
            None => Ok(Self { number: number(text)?, ms: None }),
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Number {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        number(text).map(Self)
    }
}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl FromStr for Oddity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().copied().find(|oddity| oddity.text() == text);
        found.ok_or_else(|| format!("{text} is none of {}", list(Self::ALL)))
    }
}

/// The arguments that run it.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let case = self.brief();
        write!(f, "--seed {} --minutes {}", case.seed, case.minutes)?;
        if case.kind != Kind::default() {
            write!(f, " --scenario {}", case.kind.name)?;
        }
        if case.salt != 0 {
            write!(f, " --salt {}", case.salt)?;
        }
        if let Some(seconds) = case.seconds {
            write!(f, " --seconds {seconds}")?;
        }
        if let Some(faults) = &case.faults {
            write!(f, " --faults {}", list(faults))?;
        }
        if let Some(clients) = &case.clients {
            write!(f, " --clients {}", list(clients))?;
        }
        if let Some(topics) = &case.topics {
            write!(f, " --topics {}", list(topics))?;
        }
        if !case.plain.is_empty() {
            write!(f, " --plain {}", list(&case.plain))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_spelled_out_is_brief_again() {
        for seed in 0..50 {
            let case = Case::of(seed, 2);
            assert_eq!(case.spelled_out().brief(), case);
        }
    }

    #[test]
    fn lists_are_read_as_they_are_written() {
        let kept = vec![Kept { number: 3, ms: Some(250) }, Kept { number: 17, ms: None }];
        assert_eq!(list(&kept), "3:250,17");
        assert_eq!(parse_list::<Kept>("3:250,17"), Ok(kept));
        assert_eq!(parse_list::<Number>("none"), Ok(Vec::new()));
        assert!(parse_list::<Oddity>("network,weather").is_err());
    }

    #[test]
    fn smaller_cases_are_smaller_and_end() {
        let mut case = Case::of(1, 2).spelled_out();
        let size = |case: &Case| {
            let lists = [case.clients.as_ref().map_or(0, Vec::len), case.topics.as_ref().map_or(0, Vec::len)];
            let faults: u64 = case.faults.iter().flatten().map(|kept| 1 + kept.ms.unwrap_or(0)).sum();
            faults + case.seconds.unwrap_or(0) + lists.iter().sum::<usize>() as u64 + 8
                - case.plain.len() as u64
        };
        let mut steps = 0;
        while let Some(smaller) = case.shrink().next() {
            assert!(size(&smaller) < size(&case), "{smaller} after {case}");
            case = smaller;
            steps += 1;
        }
        assert!(steps < 100, "{steps}");
        assert_eq!(case.faults, Some(Vec::new()));
    }

    #[test]
    fn what_is_left_out_is_gone() {
        let case = Case {
            faults: Some(vec![Kept { number: 1, ms: Some(7) }]),
            clients: Some(vec![Number(1)]),
            topics: Some(vec![Number(1)]),
            plain: vec![Oddity::Partitions],
            ..Case::of(4, 2)
        };
        let (scenario, left_out) = case.scenario();
        assert_eq!(left_out.faults.len() + 1, scenario.faults.len());
        assert_eq!(scenario.topics.len(), 1);
        assert_eq!(scenario.topics[0].partitions, 1);
        assert_eq!(left_out.clients.len(), world::clients(&scenario) - 2);
        assert!(case.told().iter().all(|line| line.starts_with("  1 at")), "{:?}", case.told());
    }
}
