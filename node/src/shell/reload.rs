//! SIGHUP: the configuration is read again. What can change in a running node changes, what cannot is named.

use serde_json::{Map, Value};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::config::{Config, ConfigError, Raw};
use super::log::Level;
use super::notify::Notifier;

/// The flags that take effect at once.
const AT_ONCE: [&str; 1] = ["log-level"];

/// What a reload starts from.
pub(super) struct Reload {
    hangup: Signal,
    /// Flags and environment, which stay what they were.
    flags: Raw,
    /// What is in force.
    given: Map<String, Value>,
    level: Level,
    notifier: Notifier,
}

/// How a configuration differs from the one in force.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    at_once: Vec<String>,
    at_start: Vec<String>,
}

fn compare(before: &Map<String, Value>, after: &Map<String, Value>) -> Changes {
    let changed = after.iter().filter(|(key, value)| before.get(*key) != Some(value));
    let (at_once, at_start) =
        changed.map(|(key, _)| key.clone()).partition(|key| AT_ONCE.contains(&key.as_str()));
    Changes { at_once, at_start }
}

impl Reload {
    /// Takes SIGHUP, which would end the process otherwise.
    pub(super) fn new(
        flags: Raw,
        config: &Config,
        level: Level,
        notifier: Notifier,
    ) -> std::io::Result<Reload> {
        let hangup = signal(SignalKind::hangup())?;
        Ok(Reload { hangup, flags, given: config.given.clone(), level, notifier })
    }

    /// Reloads at each signal, until dropped.
    pub(super) async fn run(mut self) {
        while self.hangup.recv().await.is_some() {
            self.notifier.reloading();
            let flags = self.flags.clone();
            let read = tokio::task::spawn_blocking(move || Config::load(flags)).await;
            if let Ok(read) = read {
                self.take(read);
            }
            self.notifier.reloaded();
        }
    }

    fn take(&mut self, read: Result<Config, ConfigError>) {
        let config = match read {
            Ok(config) => config,
            Err(error) => {
                return tracing::error!(%error, "the configuration is not reloaded, the one in force stays");
            }
        };
        let changes = compare(&self.given, &config.given);
        if !changes.at_once.is_empty() && !self.level.set(&config.log_level) {
            tracing::error!("the log level could not be changed");
        }
        for key in &changes.at_once {
            self.given.insert(key.clone(), config.given[key].clone());
        }
        let names = |keys: &[String]| keys.iter().map(|key| format!("--{key}")).collect::<Vec<_>>().join(" ");
        if !changes.at_start.is_empty() {
            tracing::warn!(
                changed = names(&changes.at_start),
                "these settings take effect when the node starts again, not by a reload"
            );
        }
        tracing::info!(
            changed = names(&changes.at_once),
            log_level = config.log_level,
            "the configuration is read again"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_changed_is_told_apart() {
        let map = |value: Value| value.as_object().cloned().expect("an object");
        let before = map(json!({ "log-level": "info", "zone": null, "weight": 1 }));
        assert_eq!(compare(&before, &before), Changes::default());
        let after = map(json!({ "log-level": "debug", "zone": "a", "weight": 1 }));
        let changes = Changes { at_once: vec!["log-level".into()], at_start: vec!["zone".into()] };
        assert_eq!(compare(&before, &after), changes);
    }
}
