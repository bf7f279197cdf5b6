//! Changes of configs: from a client's wish to what a shard is asked, and what the shard does then (KIP-226, KIP-339).
//!
//! Values are checked by the node that is asked. The shard carries edits out in the order of its log, so that two clients that append
//! to one list at the same time both have their way.

use super::super::bytes::{Reader, Writer, all_distinct};
use super::super::descriptor::DecodeError;
use super::super::plan::Refusal;
use super::topic::{self, Key};
use super::{Configs, Kind, broker};
use crate::core::error::ErrorCode;

/// What becomes of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It has this value.
    Set(String),
    /// It is as nobody had said anything.
    Delete,
    /// A list has these elements, too; commas between.
    Append(String),
    /// A list has these elements no more.
    Subtract(String),
}

/// One key's change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Kafka's name.
    pub key: String,
    /// What becomes of it.
    pub operation: Operation,
}

impl Edit {
    pub(in super::super) fn write(&self, w: &mut Writer) {
        w.text(&self.key);
        let (operation, value) = match &self.operation {
            Operation::Set(value) => (0, value.as_str()),
            Operation::Delete => (1, ""),
            Operation::Append(value) => (2, value.as_str()),
            Operation::Subtract(value) => (3, value.as_str()),
        };
        w.u8(operation);
        w.text(value);
    }

    pub(in super::super) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (key, operation, value) = (r.text()?, r.u8()?, r.text()?);
        let operation = match operation {
            0 => Operation::Set(value),
            1 if value.is_empty() => Operation::Delete,
            1 => return Err(DecodeError::Invalid),
            2 => Operation::Append(value),
            3 => Operation::Subtract(value),
            unknown => return Err(DecodeError::Unknown(unknown)),
        };
        Ok(Self { key, operation })
    }
}

/// Carries edits out; with `replace` what they do not name is as if nobody had said anything. Doing it twice is doing it once.
pub fn apply(set: &mut Configs, replace: bool, edits: &[Edit]) {
    if replace {
        set.retain(|key, _| edits.iter().any(|edit| edit.key == *key));
    }
    for Edit { key, operation } in edits {
        match operation {
            Operation::Set(value) => _ = set.insert(key.clone(), value.clone()),
            Operation::Delete => _ = set.remove(key),
            Operation::Append(_) | Operation::Subtract(_) => {
                let known = topic::find(key).or_else(|| topic::of_node(key));
                let default = || known.map_or("", |key| key.default).to_owned();
                let now = set.get(key).cloned().unwrap_or_else(default);
                set.insert(key.clone(), edited(&now, operation));
            }
        }
    }
}

fn edited(list: &str, operation: &Operation) -> String {
    fn elements(list: &str) -> Vec<&str> {
        list.split(',').map(str::trim).filter(|element| !element.is_empty()).collect()
    }
    let mut now = elements(list);
    match operation {
        Operation::Append(more) => {
            for element in elements(more) {
                if !now.contains(&element) {
                    now.push(element);
                }
            }
        }
        Operation::Subtract(less) => now.retain(|element| !elements(less).contains(element)),
        Operation::Set(_) | Operation::Delete => {}
    }
    now.join(",")
}

/// Checks edits of a topic that has `now` set, and returns them as they are to be stored.
///
/// # Errors
/// [`Refusal`] with Kafka's error code.
pub fn plan_topic_configs(now: &Configs, edits: &[Edit]) -> Result<Vec<Edit>, Refusal> {
    let find = |name: &str| {
        topic::find(name).ok_or_else(|| Refusal::new(ErrorCode::InvalidConfig, topic::unknown(name)))
    };
    plan(now, edits, find)
}

/// The same of a node, or of all nodes.
///
/// # Errors
/// [`Refusal`] with Kafka's error code.
pub fn plan_broker(now: &Configs, edits: &[Edit]) -> Result<Vec<Edit>, Refusal> {
    let find = |name: &str| match topic::of_node(name) {
        Some(key) => Ok(key),
        None if broker::KEYS.iter().any(|key| key.name == name) => Err(Refusal::new(
            ErrorCode::InvalidRequest,
            format!(
                "Cannot update these configs dynamically: {name}. It follows from the flags of rafka-node: change them there \
                 and start the node again"
            ),
        )),
        None => Err(Refusal::new(
            ErrorCode::InvalidRequest,
            format!(
                "Unknown broker config name: {name}; DescribeConfigs of a broker lists those that there are"
            ),
        )),
    };
    plan(now, edits, find)
}

fn plan(
    now: &Configs,
    edits: &[Edit],
    find: impl Fn(&str) -> Result<&'static Key, Refusal>,
) -> Result<Vec<Edit>, Refusal> {
    let keys: Vec<&str> = edits.iter().map(|edit| edit.key.as_str()).collect();
    if !all_distinct(&keys) {
        return Err(Refusal::new(ErrorCode::InvalidRequest, "Error due to duplicate config keys"));
    }
    let mut planned = Vec::with_capacity(edits.len());
    for edit in edits {
        let name = &edit.key;
        let invalid = |message: String| Refusal::new(ErrorCode::InvalidConfig, message);
        let operation = match &edit.operation {
            // Also of a key that a later release knows.
            Operation::Delete => Operation::Delete,
            Operation::Set(value) => {
                Operation::Set(topic::checked(find(name)?, name, value).map_err(invalid)?)
            }
            change @ (Operation::Append(_) | Operation::Subtract(_)) => {
                let key = find(name)?;
                if key.kind != Kind::List {
                    let word = if matches!(change, Operation::Append(_)) { "APPEND" } else { "SUBTRACT" };
                    return Err(invalid(format!("Can't {word} to key {name} because its type is not LIST.")));
                }
                let value = now.get(name).map_or(key.default, String::as_str);
                topic::checked(key, name, &edited(value, change)).map_err(invalid)?;
                change.clone()
            }
        };
        planned.push(Edit { key: name.clone(), operation });
    }
    Ok(planned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::metadata::configs::tests::{NOTHING, pairs};

    fn edit(key: &str, operation: Operation) -> Edit {
        Edit { key: key.to_owned(), operation }
    }

    fn set(key: &str, value: &str) -> Edit {
        edit(key, Operation::Set(value.to_owned()))
    }

    #[test]
    fn edits_are_carried_out_in_order_and_once() {
        let mut configs = pairs(&[("retention.ms", "1"), ("flush.ms", "2")]);
        let edits = [set("retention.ms", "7"), edit("flush.ms", Operation::Delete), set("segment.ms", "9")];
        for _ in 0..2 {
            apply(&mut configs, false, &edits);
            assert_eq!(configs, pairs(&[("retention.ms", "7"), ("segment.ms", "9")]));
        }
        apply(&mut configs, true, &[set("flush.ms", "3")]);
        assert_eq!(configs, pairs(&[("flush.ms", "3")]));
        let append = edit("cleanup.policy", Operation::Append("compact, delete".to_owned()));
        for _ in 0..2 {
            apply(&mut configs, false, std::slice::from_ref(&append));
            assert_eq!(configs["cleanup.policy"], "delete,compact");
        }
        apply(&mut configs, false, &[edit("cleanup.policy", Operation::Subtract("delete".to_owned()))]);
        assert_eq!(configs["cleanup.policy"], "compact");
    }

    #[test]
    fn refusals_are_kafkas() {
        use ErrorCode::{InvalidConfig, InvalidRequest};
        let append = |key| edit(key, Operation::Append("compact".to_owned()));
        for (edits, error, word) in [
            (vec![set("no.such", "1")], InvalidConfig, "no.such"),
            (vec![set("retention.ms", "x")], InvalidConfig, "retention.ms"),
            (vec![append("retention.ms")], InvalidConfig, "not LIST"),
            (vec![append("cleanup.policy")], InvalidConfig, "compaction is not there yet"),
            (vec![set("flush.ms", "1"), set("flush.ms", "2")], InvalidRequest, "duplicate"),
        ] {
            let refusal = plan_topic_configs(&NOTHING, &edits).expect_err(word);
            assert_eq!(refusal.error, error, "{}", refusal.message);
            assert!(refusal.message.contains(word), "{}", refusal.message);
        }
        for (edits, word) in
            [(vec![set("broker.id", "1")], "flags"), (vec![set("retention.ms", "1")], "retention.ms")]
        {
            let refusal = plan_broker(&NOTHING, &edits).expect_err(word);
            assert_eq!(refusal.error, InvalidRequest, "{}", refusal.message);
            assert!(refusal.message.contains(word), "{}", refusal.message);
        }
        let planned = plan_broker(&NOTHING, &[set("log.retention.ms", " 5 ")]).expect("good");
        assert_eq!(planned, [set("log.retention.ms", "5")]);
        let gone = [edit("no.such", Operation::Delete)];
        assert_eq!(plan_topic_configs(&NOTHING, &gone), Ok(gone.to_vec()));
    }

    #[test]
    fn edits_survive_their_bytes() {
        let edits = [
            set("a", "b"),
            edit("a", Operation::Delete),
            edit("a", Operation::Append("x".into())),
            edit("a", Operation::Subtract(String::new())),
        ];
        for edit in edits {
            let mut w = Writer::default();
            edit.write(&mut w);
            assert_eq!(Edit::read(&mut Reader::new(&w.0)), Ok(edit));
            for end in 0..w.0.len() {
                assert!(Edit::read(&mut Reader::new(&w.0[..end])).is_err());
            }
        }
    }
}
