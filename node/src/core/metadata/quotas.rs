//! Client quotas (KIP-13, KIP-124, KIP-546): who may write and read how much on each node.
//!
//! A quota is for a user, a client id, or a pair of them; either may stand for all that have no quota of their own. Of those that fit a
//! client the most exact one counts, for each of the three limits by itself:
//!
//! | | user | client id | clients share it who have the same |
//! |---|---|---|---|
//! | 1 | by name | by name | user and client id |
//! | 2 | by name | default | user and client id |
//! | 3 | by name | - | user |
//! | 4 | default | by name | user and client id |
//! | 5 | default | default | user and client id |
//! | 6 | default | - | user |
//! | 7 | - | by name | client id |
//! | 8 | - | default | client id |
//!
//! As bytes an entity is `user, client id`, each a u8 (0 not named, 1 default, 2 by name) and with 2 a text.

use std::collections::BTreeMap;

use super::bytes::{Reader, Writer};
use super::descriptor::DecodeError;

/// Most entities with a quota.
pub const QUOTAS_MAX: usize = 10_000;
/// Longest name in bytes.
pub const NAME_BYTES_MAX: usize = 1_024;

/// Which one of a kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    /// Every one that has no quota of its own.
    Default,
    /// The one of this name.
    Named(String),
}

/// Whose quota it is: at least one of the two is there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entity {
    /// A user: the name of a principal, without `User:`.
    pub user: Option<Which>,
    /// A client id.
    pub client_id: Option<Which>,
}

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// Bytes of record batches written, per second.
    Produce,
    /// Bytes of record batches read, per second.
    Fetch,
    /// Time of the node's thread, in percent.
    Request,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Produce, Self::Fetch, Self::Request];

    /// Kafka's key of it.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Produce => "producer_byte_rate",
            Self::Fetch => "consumer_byte_rate",
            Self::Request => "request_percentage",
        }
    }

    fn byte(self) -> u8 {
        match self {
            Self::Produce => 0,
            Self::Fetch => 1,
            Self::Request => 2,
        }
    }
}

/// A limit's value: finite and above 0. Kept as its bits, so that equal ones are equal bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(u64);

impl Rate {
    /// Of a number that can be a limit.
    pub fn new(value: f64) -> Option<Self> {
        (value.is_finite() && value > 0.0).then_some(Self(value.to_bits()))
    }

    /// Its number.
    pub fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

/// The limits of one entity.
pub type Limits = BTreeMap<Limit, Rate>;

/// All quotas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quotas(pub(super) BTreeMap<Entity, Limits>);

/// Who shares a quota's use: their user, their client id, or both; empty where it does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sharers {
    /// The user's name.
    pub user: String,
    /// The client id.
    pub client_id: String,
}

impl Quotas {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// By entity.
    pub fn iter(&self) -> impl Iterator<Item = (&Entity, &Limits)> {
        self.0.iter()
    }

    /// Whether a client has any limit.
    pub fn limits_any(&self, user: &str, client_id: &str) -> bool {
        !self.is_empty() && Limit::ALL.iter().any(|limit| self.find(*limit, user, client_id).is_some())
    }

    /// The quota that counts for a client, and who shares it.
    pub fn find(&self, limit: Limit, user: &str, client_id: &str) -> Option<(Rate, Sharers)> {
        if self.is_empty() {
            return None;
        }
        let named = |name: &str| Some(Which::Named(name.to_owned()));
        let default = || Some(Which::Default);
        let candidates = [
            (named(user), named(client_id)),
            (named(user), default()),
            (named(user), None),
            (default(), named(client_id)),
            (default(), default()),
            (default(), None),
            (None, named(client_id)),
            (None, default()),
        ];
        candidates.into_iter().find_map(|(by_user, by_client)| {
            let (of_user, of_client) = (by_user.is_some(), by_client.is_some());
            let rate = *self.0.get(&Entity { user: by_user, client_id: by_client })?.get(&limit)?;
            let part = |counts: bool, name: &str| if counts { name.to_owned() } else { String::new() };
            Some((rate, Sharers { user: part(of_user, user), client_id: part(of_client, client_id) }))
        })
    }

    /// Whether these limits of an entity are as they should be.
    pub fn has(&self, entity: &Entity, changes: &[(Limit, Option<Rate>)]) -> bool {
        let now = |limit: &Limit| self.0.get(entity).and_then(|limits| limits.get(limit)).copied();
        changes.iter().all(|(limit, rate)| now(limit) == *rate)
    }

    /// Sets limits of an entity, or takes them back; false when there are too many entities.
    pub(crate) fn alter(&mut self, entity: Entity, changes: &[(Limit, Option<Rate>)]) -> bool {
        let mut limits = self.0.remove(&entity).unwrap_or_default();
        for (limit, rate) in changes {
            match rate {
                Some(rate) => _ = limits.insert(*limit, *rate),
                None => _ = limits.remove(limit),
            }
        }
        if limits.is_empty() {
            return true;
        }
        let fits = self.0.len() < QUOTAS_MAX;
        if fits {
            self.0.insert(entity, limits);
        }
        fits
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.count(self.0.len());
        for (entity, limits) in &self.0 {
            entity.write(w);
            w.count(limits.len());
            for (limit, rate) in limits {
                w.u8(limit.byte());
                w.u64(rate.0);
            }
        }
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let limits = |r: &mut Reader<'_>| r.list(9, |r| Ok((read_limit(r)?, read_rate(r)?)));
        let all = r.list(6, |r| Ok((Entity::read(r)?, limits(r)?)))?;
        let rises = |limits: &Vec<(Limit, Rate)>| limits.is_sorted_by(|a, b| a.0 < b.0) && !limits.is_empty();
        if !all.is_sorted_by(|a, b| a.0 < b.0) || !all.iter().all(|(_, limits)| rises(limits)) {
            return Err(DecodeError::Invalid);
        }
        Ok(Self(all.into_iter().map(|(entity, limits)| (entity, limits.into_iter().collect())).collect()))
    }
}

pub(super) fn write_changes(w: &mut Writer, changes: &[(Limit, Option<Rate>)]) {
    w.count(changes.len());
    for (limit, rate) in changes {
        w.u8(limit.byte());
        w.bool(rate.is_some());
        w.u64(rate.map_or(0, |rate| rate.0));
    }
}

pub(super) fn read_changes(r: &mut Reader<'_>) -> Result<Vec<(Limit, Option<Rate>)>, DecodeError> {
    r.list(10, |r| {
        let (limit, is_set) = (read_limit(r)?, r.bool()?);
        if is_set {
            return Ok((limit, Some(read_rate(r)?)));
        }
        if r.u64()? == 0 { Ok((limit, None)) } else { Err(DecodeError::Invalid) }
    })
}

fn read_limit(r: &mut Reader<'_>) -> Result<Limit, DecodeError> {
    let byte = r.u8()?;
    Limit::ALL.into_iter().find(|limit| limit.byte() == byte).ok_or(DecodeError::Unknown(byte))
}

fn read_rate(r: &mut Reader<'_>) -> Result<Rate, DecodeError> {
    Rate::new(f64::from_bits(r.u64()?)).ok_or(DecodeError::Invalid)
}

impl Entity {
    /// Whether it names somebody, by names that are not too long.
    pub fn is_valid(&self) -> bool {
        let fits = |which: &Option<Which>| match which {
            Some(Which::Named(name)) => name.len() <= NAME_BYTES_MAX,
            Some(Which::Default) | None => true,
        };
        (self.user.is_some() || self.client_id.is_some()) && fits(&self.user) && fits(&self.client_id)
    }

    pub(super) fn write(&self, w: &mut Writer) {
        for which in [&self.user, &self.client_id] {
            match which {
                None => w.u8(0),
                Some(Which::Default) => w.u8(1),
                Some(Which::Named(name)) => {
                    w.u8(2);
                    w.text(name);
                }
            }
        }
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let which = |r: &mut Reader<'_>| match r.u8()? {
            0 => Ok(None),
            1 => Ok(Some(Which::Default)),
            2 => Ok(Some(Which::Named(r.text()?))),
            unknown => Err(DecodeError::Unknown(unknown)),
        };
        let entity = Self { user: which(r)?, client_id: which(r)? };
        if entity.is_valid() { Ok(entity) } else { Err(DecodeError::Invalid) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(user: Option<&str>, client_id: Option<&str>) -> Entity {
        let which = |name: &str| match name {
            "*" => Which::Default,
            name => Which::Named(name.to_owned()),
        };
        Entity { user: user.map(which), client_id: client_id.map(which) }
    }

    /// User, client id, and the two of those who share it.
    type Level = (Option<&'static str>, Option<&'static str>, (&'static str, &'static str));

    /// From the least exact on.
    const LEVELS: [Level; 8] = [
        (None, Some("*"), ("", "c")),
        (None, Some("c"), ("", "c")),
        (Some("*"), None, ("u", "")),
        (Some("*"), Some("*"), ("u", "c")),
        (Some("*"), Some("c"), ("u", "c")),
        (Some("u"), None, ("u", "")),
        (Some("u"), Some("*"), ("u", "c")),
        (Some("u"), Some("c"), ("u", "c")),
    ];

    #[test]
    fn the_most_exact_quota_counts_for_each_limit() {
        let mut quotas = Quotas::default();
        assert!(!quotas.limits_any("u", "c"));
        for (number, (user, client_id, (shares_user, shares_client))) in (1..).zip(LEVELS) {
            let rate = Rate::new(f64::from(number)).expect("above 0");
            assert!(quotas.alter(entity(user, client_id), &[(Limit::Produce, Some(rate))]));
            let sharers = Sharers { user: shares_user.into(), client_id: shares_client.into() };
            assert_eq!(quotas.find(Limit::Produce, "u", "c"), Some((rate, sharers)), "{number}");
            assert_eq!(quotas.find(Limit::Fetch, "u", "c"), None, "another limit");
        }
        let other = quotas.find(Limit::Produce, "other", "else").expect("the defaults of pairs");
        assert_eq!(other.0.get(), 4.0);
        for (user, client_id, _) in LEVELS {
            assert!(quotas.alter(entity(user, client_id), &[(Limit::Produce, None)]));
        }
        assert!(quotas.is_empty());
    }

    #[test]
    fn quotas_survive_their_bytes() {
        let mut quotas = Quotas::default();
        for (number, (user, client_id, _)) in (1..).zip(LEVELS) {
            let changes = [
                (Limit::Request, Rate::new(f64::from(number) / 7.0)),
                (Limit::Fetch, Rate::new(1e9)),
                (Limit::Produce, None),
            ];
            assert!(quotas.alter(entity(user, client_id), &changes));
            let mut w = Writer::default();
            write_changes(&mut w, &changes);
            assert_eq!(read_changes(&mut Reader::new(&w.0)), Ok(changes.to_vec()));
        }
        let mut w = Writer::default();
        quotas.write(&mut w);
        assert_eq!(Quotas::read(&mut Reader::new(&w.0)), Ok(quotas));
        for end in 0..w.0.len() {
            assert!(Quotas::read(&mut Reader::new(&w.0[..end])).is_err());
        }
    }

    #[test]
    fn only_rates_can_be_rates() {
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY, -0.0] {
            assert_eq!(Rate::new(wrong), None);
        }
    }
}
