//! The founding state machine of one node.
//!
//! | from | when | to |
//! |---|---|---|
//! | watching | a founded node speaks | ended: join it |
//! | gathering | every address of the list has answered, nobody holds another set | agreeing, and the set is written |
//! | gathering | a founded node speaks that does not know this address | ended: join it |
//! | gathering | a founded node speaks that knows this address, and another identity at it | ended: ask for that node's number |
//! | gathering | a founded node speaks that knows this identity | ended: parts of the directory are gone |
//! | agreeing | the set is synced | agreed, and everyone hears it |
//! | agreed | every seed says that it agreed to the same set, or one says that it is founded | sealing, and that is written |
//! | agreed | every seed has spoken, and one cannot be the one that was agreed | ended: start over |
//! | sealing | that is synced | founded, and everyone hears it |
//!
//! A lone node goes from gathering to sealing. A restart begins at what was synced: gathering, agreed or
//! founded.

use super::FoundingError;
use super::message::{Message, Stage};
use super::record::{FoundingRecord, METADATA_SHARDS, Recorded, SEEDS_MAX, Seed, SeedSet, TEXT_BYTES_MAX};
use super::record::{peer_text, short};
use std::collections::{BTreeMap, BTreeSet};

/// What a founder is told.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a handful live at a time, and none for long")]
pub enum Input {
    /// A connection with a peer is up.
    Connected {
        /// Its peer id, as bytes.
        peer_id: Vec<u8>,
    },
    /// It is gone.
    Disconnected {
        /// Its peer id, as bytes.
        peer_id: Vec<u8>,
    },
    /// A peer spoke.
    Message {
        /// Its peer id, as the transport authenticated it.
        from: Vec<u8>,
        /// What it said.
        message: Message,
    },
    /// The bytes of the oldest [`Effect::Record`] are synced, the directory entry of their file included.
    Recorded,
    /// Some time has passed: says everything again. A few times a second is enough.
    Tick,
}

/// How a founding ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The cluster exists, and this node's part in it is synced.
    Founded(FoundingRecord),
    /// A cluster exists without this node: ask to join it there.
    Join {
        /// The mesh address of a member.
        address: String,
    },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Replace the founding record on disk by these bytes, sync, and report [`Input::Recorded`].
    Record(Vec<u8>),
    /// Send to a connected peer.
    Send {
        /// Its peer id, as bytes.
        to: Vec<u8>,
        /// What to say.
        message: Message,
    },
    /// Given once.
    Outcome(Outcome),
    /// This founding cannot go on; the process should say so and end.
    Failed(FoundingError),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Local {
    Watching,
    Gathering,
    Agreeing(SeedSet),
    Agreed(SeedSet),
    Sealing(FoundingRecord),
    Founded(FoundingRecord),
    Ended,
}

/// One node's part in a founding. Keep stepping it after the cluster is founded: it answers seeds that come
/// late.
#[derive(Clone, Debug)]
pub struct Founder {
    own: Seed,
    seeds: BTreeSet<String>,
    local: Local,
    /// The last that each seed said, by its mesh address.
    heard: BTreeMap<String, Message>,
    connected: BTreeSet<Vec<u8>>,
    shards: u16,
}

impl Founder {
    /// Begins or, with what the data directory holds, goes on. `seeds` is `--seeds`; a node that names none
    /// is alone in its list. A node whose mesh address is not in the list waits for a cluster to join.
    ///
    /// # Errors
    ///
    /// When the list is too long, or the record is damaged or another node's.
    pub fn new(
        mut own: Seed,
        seeds: &[String],
        recorded: Option<&[u8]>,
    ) -> Result<(Founder, Vec<Effect>), FoundingError> {
        if seeds.len() > SEEDS_MAX || seeds.iter().any(|address| address.len() > TEXT_BYTES_MAX) {
            return Err(FoundingError::TooManySeeds { max: SEEDS_MAX });
        }
        let mut seeds: BTreeSet<String> = seeds.iter().cloned().collect();
        if seeds.is_empty() {
            seeds.insert(own.addresses.mesh.clone());
        }
        let local = match recorded.map(Recorded::decode).transpose()? {
            None if seeds.contains(&own.addresses.mesh) => Local::Gathering,
            None => Local::Watching,
            Some(recorded) => {
                check_own(&own, &recorded)?;
                if recorded.founded {
                    Local::Founded(recorded.record)
                } else {
                    let set = recorded.record.set().clone();
                    // What was agreed holds, whatever the flags say now.
                    seeds = set.seeds().iter().map(|seed| seed.addresses.mesh.clone()).collect();
                    if let Some(agreed) = set.seeds().iter().find(|seed| seed.peer_id == own.peer_id) {
                        own.addresses.mesh = agreed.addresses.mesh.clone();
                    }
                    Local::Agreed(set)
                }
            }
        };
        let mut founder = Founder {
            own,
            seeds,
            local,
            heard: BTreeMap::new(),
            connected: BTreeSet::new(),
            shards: METADATA_SHARDS,
        };
        let mut effects = Vec::new();
        if let Local::Founded(record) = &founder.local {
            effects.push(Effect::Outcome(Outcome::Founded(record.clone())));
        }
        founder.advance(&mut effects);
        Ok((founder, effects))
    }

    /// Where the other seeds are: dial them until the outcome is known.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        let own = &self.own.addresses.mesh;
        self.seeds.iter().filter(move |address| *address != own).map(String::as_str)
    }

    /// Seeds that have not spoken yet: what to tell a person who waits.
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        self.addresses().filter(|address| !self.heard.contains_key(*address))
    }

    /// Takes one input.
    pub fn step(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Connected { peer_id } => {
                self.say(&peer_id, &mut effects);
                self.connected.insert(peer_id);
            }
            Input::Disconnected { peer_id } => {
                self.connected.remove(&peer_id);
            }
            Input::Message { from, message } => self.hear(&from, message, &mut effects),
            Input::Recorded => self.on_recorded(&mut effects),
            Input::Tick if matches!(self.local, Local::Founded(_)) => {}
            Input::Tick => self.say_all(&mut effects),
        }
        self.advance(&mut effects);
        effects
    }

    /// What this node may say of itself: nothing that is not synced.
    fn stage(&self) -> Option<Stage> {
        match &self.local {
            Local::Watching => Some(Stage::Watching),
            Local::Gathering | Local::Agreeing(_) => Some(Stage::Gathering),
            Local::Agreed(set) => Some(Stage::Agreed(set.clone())),
            // A lone node seals without having agreed with anyone before.
            Local::Sealing(record) if record.nodes.len() == 1 => Some(Stage::Gathering),
            Local::Sealing(record) => Some(Stage::Agreed(record.set().clone())),
            Local::Founded(record) => Some(Stage::Founded(record.clone())),
            Local::Ended => None,
        }
    }

    fn say(&self, to: &[u8], effects: &mut Vec<Effect>) {
        let Some(stage) = self.stage() else { return };
        let seeds = self.seeds.iter().cloned().collect();
        let message = Message { seed: self.own.clone(), seeds, stage };
        effects.push(Effect::Send { to: to.to_vec(), message });
    }

    fn say_all(&self, effects: &mut Vec<Effect>) {
        for peer_id in &self.connected {
            self.say(peer_id, effects);
        }
    }

    fn end(&mut self, with: Effect, effects: &mut Vec<Effect>) {
        self.local = Local::Ended;
        effects.push(with);
    }

    fn fail(&mut self, error: FoundingError, effects: &mut Vec<Effect>) {
        self.end(Effect::Failed(error), effects);
    }

    fn record(&self, founded: bool, record: FoundingRecord, effects: &mut Vec<Effect>) {
        let by = self.own.peer_id.clone();
        effects.push(Effect::Record(Recorded { by, founded, record }.encode()));
    }

    fn seal(&mut self, record: FoundingRecord, effects: &mut Vec<Effect>) {
        self.record(true, record.clone(), effects);
        self.local = Local::Sealing(record);
    }

    fn on_recorded(&mut self, effects: &mut Vec<Effect>) {
        match std::mem::replace(&mut self.local, Local::Ended) {
            Local::Agreeing(set) => self.local = Local::Agreed(set),
            Local::Sealing(record) => {
                self.local = Local::Founded(record.clone());
                effects.push(Effect::Outcome(Outcome::Founded(record)));
            }
            other => {
                self.local = other;
                return;
            }
        }
        self.say_all(effects);
    }

    fn hear(&mut self, from: &[u8], message: Message, effects: &mut Vec<Effect>) {
        if message.seed.peer_id != from || matches!(self.local, Local::Ended) {
            return;
        }
        let is_founded = matches!(message.stage, Stage::Founded(_));
        if matches!(self.local, Local::Founded(_)) {
            if !is_founded {
                self.say(from, effects);
            }
            return;
        }
        let address = message.seed.addresses.mesh.clone();
        if let Stage::Founded(record) = &message.stage {
            let record = record.clone();
            self.hear_founded(&address, record, effects);
        }
        if self.seeds.contains(&address) && !matches!(message.stage, Stage::Watching) {
            self.heard.insert(address, message);
        }
    }

    fn hear_founded(&mut self, address: &str, record: FoundingRecord, effects: &mut Vec<Effect>) {
        match &self.local {
            Local::Agreed(set) if set.digest() == record.cluster_id => self.seal(record, effects),
            // Not before this node's own acceptance is synced: the founder says it again.
            Local::Agreeing(set) if set.digest() == record.cluster_id => {}
            Local::Agreeing(set) | Local::Agreed(set) => {
                let error = FoundingError::OtherCluster {
                    address: address.into(),
                    theirs: short(&record.cluster_id),
                    ours: short(&set.digest()),
                };
                self.fail(error, effects);
            }
            Local::Watching | Local::Gathering => {
                let own = &self.own;
                // A founder whose disk was emptied has another identity at its old address: the registry says what becomes of it.
                match record.node_of(&own.peer_id) {
                    Some(node) => {
                        let error = FoundingError::RecordLost {
                            cluster: short(&record.cluster_id),
                            node_id: node.node_id,
                        };
                        self.fail(error, effects);
                    }
                    None => {
                        let join = Outcome::Join { address: address.into() };
                        self.end(Effect::Outcome(join), effects);
                    }
                }
            }
            Local::Sealing(_) | Local::Founded(_) | Local::Ended => {}
        }
    }

    /// Does what the last input made possible.
    fn advance(&mut self, effects: &mut Vec<Effect>) {
        match &self.local {
            Local::Gathering => self.try_agree(effects),
            Local::Agreed(set) => {
                let set = set.clone();
                self.try_seal(set, effects);
            }
            _ => {}
        }
    }

    fn try_agree(&mut self, effects: &mut Vec<Effect>) {
        let ours: Vec<String> = self.seeds.iter().cloned().collect();
        if let Some((address, other)) = self.heard.iter().find(|(_, message)| message.seeds != ours) {
            let error = FoundingError::SeedsDiffer {
                address: address.clone(),
                theirs: other.seeds.join(","),
                ours: ours.join(","),
            };
            return self.fail(error, effects);
        }
        if self.missing().next().is_some() {
            return;
        }
        let mut seeds: Vec<Seed> = self.heard.values().map(|message| message.seed.clone()).collect();
        seeds.push(self.own.clone());
        let set = match SeedSet::new(seeds) {
            Ok(set) => set,
            Err(error) => return self.fail(error, effects),
        };
        if let Some(error) = self.contradiction(&set) {
            return self.fail(error, effects);
        }
        let record = FoundingRecord::of(set.clone(), self.shards);
        if self.seeds.len() == 1 {
            return self.seal(record, effects);
        }
        self.record(false, record, effects);
        self.local = Local::Agreeing(set);
    }

    /// An agreed set of someone that cannot be completed with the seeds as they answer now.
    fn contradiction(&self, now: &SeedSet) -> Option<FoundingError> {
        let agreed = self.heard.values().find_map(|message| match &message.stage {
            Stage::Agreed(set) if set.digest() != now.digest() => Some(set),
            _ => None,
        })?;
        self.replaced(agreed, now)
    }

    fn replaced(&self, agreed: &SeedSet, now: &SeedSet) -> Option<FoundingError> {
        let found = now.seeds().iter().find(|seed| !agreed.holds(seed))?;
        let address = found.addresses.mesh.clone();
        let recorded = agreed.at(&address).map_or_else(|| "absent".into(), |seed| peer_text(&seed.peer_id));
        let mut delete: Vec<&str> = self
            .heard
            .values()
            .filter(|message| matches!(message.stage, Stage::Agreed(_)))
            .map(|message| message.seed.addresses.mesh.as_str())
            .collect();
        if matches!(self.local, Local::Agreed(_)) {
            delete.push(&self.own.addresses.mesh);
        }
        delete.sort_unstable();
        let (found, delete) = (peer_text(&found.peer_id), delete.join(", "));
        Some(FoundingError::SeedReplaced { address, recorded, found, delete })
    }

    fn try_seal(&mut self, set: SeedSet, effects: &mut Vec<Effect>) {
        let digest = set.digest();
        let accepted = |seed: &Seed| {
            *seed.peer_id == self.own.peer_id
                || self.heard.get(&seed.addresses.mesh).is_some_and(|message| {
                    message.seed.identity() == seed.identity()
                        && matches!(&message.stage, Stage::Agreed(theirs) if theirs.digest() == digest)
                })
        };
        if set.seeds().iter().all(accepted) {
            return self.seal(FoundingRecord::of(set, self.shards), effects);
        }
        // Only once every seed has spoken is it known that none of them is founded.
        if self.missing().next().is_some() {
            return;
        }
        let mut now: Vec<Seed> = self.heard.values().map(|message| message.seed.clone()).collect();
        now.push(self.own.clone());
        let error = match SeedSet::new(now) {
            Err(error) => Some(error),
            Ok(now) => self.replaced(&set, &now).or_else(|| {
                let differs = self.heard.values().find(
                    |message| matches!(&message.stage, Stage::Agreed(theirs) if theirs.digest() != digest),
                )?;
                Some(FoundingError::SetsDiffer { address: differs.seed.addresses.mesh.clone() })
            }),
        };
        if let Some(error) = error {
            self.fail(error, effects);
        }
    }
}

fn check_own(own: &Seed, recorded: &Recorded) -> Result<(), FoundingError> {
    let lives_on = recorded
        .record
        .node_of(&own.peer_id)
        .map_or(recorded.founded, |node| node.incarnation == own.incarnation);
    if recorded.by == own.peer_id && lives_on {
        return Ok(());
    }
    Err(FoundingError::Mixed { recorded: peer_text(&recorded.by), own: peer_text(&own.peer_id) })
}

#[cfg(test)]
mod tests;
