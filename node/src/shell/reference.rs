//! `rafka-node reference`: `docs/configuration.md`, made from the flags and keys that the code knows. A test compares the two.

use std::collections::BTreeMap;
use std::fmt::Write;

use clap::{Arg, Command};

use crate::core::metadata::configs::{
    BrokerSettings, Configs, Defaults, Layers, allowed, allowed_of_node, describe_broker, describe_topic,
};

const HEAD: &str = "\
# Configuration

Made by `rafka-node reference > docs/configuration.md`; a test fails when this page and the code differ.

## A node

Every flag `--some-key` is also the variable `RAFKA_SOME_KEY` and the key `some-key` of the TOML file that `--config` names. The first
of these that has a value wins: the flag, the variable, the file, the default. An unknown key or a value that is not allowed is refused at the
start, with its name and what may stand there. `rafka-node --help` prints the same. Values that must agree on all nodes are those of
*Topics*, *Groups*, *Advanced* and the token.

```toml
# /etc/rafka/node.toml, for: rafka-node --config /etc/rafka/node.toml
data-dir = \"/var/lib/rafka\"
listen-kafka = \"0.0.0.0:9092\"
advertise-kafka = \"node-1.example:9092\"
listen-mesh = \"0.0.0.0:9192\"
advertise-mesh = \"node-1.example:9192\"
seeds = \"node-1.example:9192,node-2.example:9192,node-3.example:9192\"
token-file = \"/etc/rafka/token\"
zone = \"a\"
```
";

const TOPICS: &str = "
## A topic

Set when the topic is created (`rafka topic create NAME --config KEY=VALUE`, CreateTopics of any Kafka client) or at any time after that
(`rafka config set topic/NAME KEY=VALUE`, IncrementalAlterConfigs, `kafka-configs.sh`), under Kafka's names, and in force on all nodes within
moments, without a restart. Shown by `rafka config get topic/NAME` and DescribeConfigs. A value outside of what is allowed is refused, and so
is a key that is not in this table: nothing is taken silently that is not done.

| key | default | allowed | meaning |
|---|---|---|---|
";

const BROKERS: &str = "
## What a node tells Kafka clients of itself

DescribeConfigs of a broker answers with these keys. Those that are defaults of a topic's key are altered for one node (`rafka config set broker/1
KEY=VALUE`) or for all of them (`rafka config set cluster KEY=VALUE`); for a partition those of its leader count. The nearest wins: what is
set for the topic, for the node, for all nodes, by a flag. The other keys follow from the node's own flags above.

| key | value of a node with defaults | may be altered to | meaning |
|---|---|---|---|
";

/// The whole page.
pub(super) fn page(command: &Command) -> String {
    let mut text = HEAD.to_owned();
    let mut headings: BTreeMap<usize, (&str, Vec<&Arg>)> = BTreeMap::new();
    for argument in
        command.get_arguments().filter(|argument| argument.get_env().is_some() && !argument.is_hide_set())
    {
        let name = argument.get_help_heading().unwrap_or("Other");
        let known = headings.iter().find(|(_, (known, _))| *known == name).map(|(place, _)| *place);
        let place = known.unwrap_or(headings.len());
        headings.entry(place).or_insert_with(|| (name, Vec::new())).1.push(argument);
    }
    for (name, arguments) in headings.values() {
        text.push_str(&format!("\n### {name}\n\n| key | value | default | meaning |\n|---|---|---|---|\n"));
        arguments.iter().for_each(|argument| flag(argument, &mut text));
    }
    text.push_str(TOPICS);
    let (nothing, defaults) = (Configs::new(), Defaults::default());
    let layers = Layers { topic: &nothing, node: &nothing, cluster: &nothing, defaults: &defaults };
    for entry in describe_topic(&layers, None) {
        let may = allowed(&entry.name).unwrap_or_default();
        let default = entry.value.unwrap_or_default();
        row(&mut text, &[&code(&entry.name), &code(&default), &may, &entry.documentation]);
    }
    text.push_str(BROKERS);
    for entry in describe_broker(&BrokerSettings::default(), &layers, None) {
        let own = ["advertised.listeners", "broker.id", "broker.rack", "listeners", "log.dirs", "node.id"];
        let value = match entry.value {
            Some(value) if !own.contains(&entry.name.as_str()) => code(&value),
            _ => "its own".to_owned(),
        };
        let may = allowed_of_node(&entry.name).unwrap_or_else(|| "a flag of the node".to_owned());
        row(&mut text, &[&code(&entry.name), &value, &may, &entry.documentation]);
    }
    text
}

/// Defaults are told in the help text, because there a missing value may mean several things.
fn flag(argument: &Arg, text: &mut String) {
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let (meaning, default) = match help.rsplit_once(" [default: ") {
        Some((meaning, default)) => (meaning.to_owned(), default.trim_end_matches(']').to_owned()),
        None => (help, "none".to_owned()),
    };
    let value = argument.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
    let key = argument.get_long().unwrap_or_default();
    row(text, &[&code(key), &code(&value.unwrap_or_default()), &default, &meaning]);
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

fn row(text: &mut String, cells: &[&str]) {
    // Writing to a String does not fail.
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    let _infallible = writeln!(text, "| {} |", cells.join(" | "));
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use crate::shell::Cli;

    #[test]
    fn the_page_in_docs_is_what_the_code_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        let made = super::page(&Cli::command());
        let differing = made.lines().zip(kept.lines()).find(|(made, kept)| made != kept);
        assert!(
            made == kept,
            "docs/configuration.md is stale, first at {differing:?}; make it again: cargo run --release -p node -- reference > \
             docs/configuration.md"
        );
    }
}
