//! Configs: what is set for a topic, for a node, for all of them, and what is in force where nobody said anything
//! (`/v1/configs`).

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use crate::error::Error;
use crate::http::{encode, get, post, typed};
use crate::mesh::Mesh;

/// Whose configs are meant.
///
/// ```
/// use rafka::configs::Resource;
///
/// assert_eq!("topic/orders".parse(), Ok(Resource::Topic("orders".to_owned())));
/// assert_eq!(Resource::Broker(2).to_string(), "broker/2");
/// assert_eq!("cluster".parse(), Ok(Resource::Cluster));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// A topic's, by its name.
    Topic(String),
    /// A node's, by Kafka's broker id.
    Broker(u32),
    /// Those of all nodes.
    Cluster,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resource::Topic(name) => write!(f, "topic/{name}"),
            Resource::Broker(node) => write!(f, "broker/{node}"),
            Resource::Cluster => f.write_str("cluster"),
        }
    }
}

impl FromStr for Resource {
    type Err = String;

    fn from_str(text: &str) -> Result<Resource, String> {
        let wrong = || format!("\"{text}\" is not topic/NAME, broker/NUMBER or cluster");
        match text.split_once('/') {
            Some(("topic", name)) if !name.is_empty() => Ok(Resource::Topic(name.to_owned())),
            Some(("broker", number)) => number.parse().map(Resource::Broker).map_err(|_not_a_number| wrong()),
            None if text == "cluster" => Ok(Resource::Cluster),
            _ => Err(wrong()),
        }
    }
}

/// A key with its value.
#[derive(Deserialize, Default, Debug, Clone, PartialEq, Eq)]
#[serde(default)]
#[non_exhaustive]
pub struct Config {
    /// Kafka's name of it.
    pub name: String,
    /// The value in force; none where there is none.
    pub value: Option<String>,
    /// Where that is set: `topic`, `node`, `cluster`, `flag`, or `default` for nowhere.
    pub source: String,
    /// It follows from a flag of the node, and is not altered here.
    pub read_only: bool,
    /// What it means.
    pub documentation: String,
}

/// A change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// It has this value.
    Set(String, String),
    /// It is as if nobody had said anything.
    Unset(String),
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Configs {
    configs: Vec<Config>,
}

impl Mesh {
    /// The configs of a resource by name: all of a topic's and a node's, and of all nodes together those that are set.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), rafka::Error> {
    /// for config in rafka::Mesh::default().configs(&"topic/greetings".parse().expect("a resource"))? {
    ///     println!("{} = {:?} ({})", config.name, config.value, config.source);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`get`]; [`Error::HttpRefused`] also when there is no such topic or node.
    pub fn configs(&self, resource: &Resource) -> Result<Vec<Config>, Error> {
        let mesh = self.asked_about(resource)?;
        let answer = get(&mesh, &format!("/v1/configs?resource={}", encode(&resource.to_string())))?;
        Ok(typed::<Configs>(&mesh, &answer)?.configs)
    }

    /// Changes configs: all of the edits or none. Answered when the change is committed, and in force on the node that is asked; the
    /// others follow within moments. With `validate_only` nothing is changed. `operator` is who decides, for the node's log.
    ///
    /// # Errors
    ///
    /// As [`Mesh::configs`]; [`Error::HttpRefused`] also for a key or a value that is not taken, with the reason.
    pub fn alter_configs(
        &self,
        resource: &Resource,
        edits: &[Edit],
        validate_only: bool,
        operator: &str,
    ) -> Result<(), Error> {
        let mut path = format!("/v1/configs?resource={}", encode(&resource.to_string()));
        for edit in edits {
            path += &match edit {
                Edit::Set(key, value) => format!("&set={}={}", encode(key), encode(value)),
                Edit::Unset(key) => format!("&delete={}", encode(key)),
            };
        }
        if validate_only {
            path += "&validate=true";
        }
        post(self, &path, operator)
    }

    /// A node tells its own configs only: the mesh whose HTTP address is that node's.
    fn asked_about(&self, resource: &Resource) -> Result<Mesh, Error> {
        let Resource::Broker(node) = resource else { return Ok(self.clone()) };
        let nodes = self.nodes()?.nodes;
        let found = nodes.into_iter().find(|known| known.node_id == i64::from(*node));
        // The node that answers says that there is none.
        Ok(found.map_or_else(|| self.clone(), |found| self.clone().http(found.http)))
    }
}

#[cfg(test)]
mod tests {
    use super::Resource;

    #[test]
    fn resources_are_read_as_they_are_written() {
        for resource in [Resource::Topic("a/b.c".to_owned()), Resource::Broker(7), Resource::Cluster] {
            assert_eq!(resource.to_string().parse(), Ok(resource));
        }
        for wrong in ["", "topic", "topic/", "broker/", "broker/-1", "broker/x", "clusters", "cluster/1"] {
            assert!(wrong.parse::<Resource>().is_err(), "{wrong}");
        }
    }
}
