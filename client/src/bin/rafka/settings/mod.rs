//! What every command shares: where the mesh is, how to print, how long to wait.
//!
//! A value comes from the first that has it: the command line's flag, a profile that the command line names, the
//! environment, a profile that the environment or the file names, the default. So what is written in the command always
//! goes before what was set up earlier.

pub(crate) mod profile;

use crate::error::CliError;
use crate::output::{self, ColorChoice, Paint};
use clap::parser::ValueSource;
use clap::{ArgMatches, Args};
use rafka::Mesh;
use std::path::PathBuf;
use std::time::Duration;

const BOOTSTRAP: &str = "127.0.0.1:9092";
const HTTP: &str = "127.0.0.1:9292";
const TIMEOUT_S: u64 = 10;

/// Global options as given; each may stand before or after the command.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Flags {
    /// Kafka addresses to start from; any node of the mesh will do [default: 127.0.0.1:9092]
    #[arg(long, global = true, env = "RAFKA_BOOTSTRAP", value_name = "HOST:PORT[,..]", value_parser = parse_addresses)]
    bootstrap: Option<String>,
    /// HTTP address of a node, for `nodes`, `lookup`, `doctor` and the details of `topic describe` [default: 127.0.0.1:9292]
    #[arg(long, global = true, env = "RAFKA_HTTP", value_name = "HOST:PORT", value_parser = parse_address)]
    http: Option<String>,
    /// Take what is not given here from this profile of the profiles' file
    #[arg(long, global = true, env = "RAFKA_PROFILE", value_name = "NAME")]
    profile: Option<String>,
    /// The file of profiles [default: $XDG_CONFIG_HOME/rafka/config.toml or ~/.config/rafka/config.toml]
    #[arg(long, global = true, env = "RAFKA_PROFILES", value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    profiles: Option<PathBuf>,
    /// Set a property of librdkafka, the Kafka client inside; may be repeated
    #[arg(long, short = 'X', global = true, value_name = "KEY=VALUE", value_parser = parse_property)]
    property: Vec<(String, String)>,
    /// Print JSON, for scripts: one object, or one per line for records
    #[arg(long, global = true)]
    json: bool,
    /// Colours and aligned tables [default: auto, which is on a terminal, unless NO_COLOR is set]
    #[arg(long, global = true, value_enum, value_name = "WHEN")]
    color: Option<ColorChoice>,
    /// Seconds to wait for an answer before giving up [default: 10]
    #[arg(long, global = true, env = "RAFKA_TIMEOUT", value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: Option<u64>,
    /// Show what librdkafka, the Kafka client inside, logs
    #[arg(long, short, global = true)]
    verbose: bool,
}

/// The options, each with its value.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) bootstrap: String,
    pub(crate) http: String,
    pub(crate) json: bool,
    /// Seconds.
    pub(crate) timeout: u64,
    pub(crate) verbose: bool,
    /// librdkafka's properties, of the profile first, so that a later one goes before an earlier one.
    pub(crate) properties: Vec<(String, String)>,
    pub(crate) paint: Paint,
    /// Name of the profile in use.
    pub(crate) profile: Option<String>,
    /// The file that profiles are looked for in.
    pub(crate) profiles: Option<PathBuf>,
}

impl Settings {
    /// Adds the profile and the defaults to what was given.
    ///
    /// # Errors
    ///
    /// [`CliError::Usage`] for a file of profiles that cannot be read, and for a profile that it does not have.
    pub(crate) fn new(flags: &Flags, given: &ArgMatches) -> Result<Settings, CliError> {
        let path = profile::path(flags.profiles.as_deref(), |name| std::env::var(name).ok());
        let file = match &path {
            Some(path) => profile::read(path, flags.profiles.is_some())?,
            None => profile::File::default(),
        };
        let shown = path.clone().unwrap_or_default();
        let profile = file.pick(flags.profile.as_deref(), &shown)?.cloned().unwrap_or_default();
        let typed = |id: &str| given.value_source(id) == Some(ValueSource::CommandLine);
        let pick = Pick { profile_is_typed: typed("profile") };
        let mut properties = profile.flat().map_err(CliError::Usage)?;
        properties.extend(flags.property.iter().cloned());
        let color = flags.color.or(profile.color).unwrap_or(ColorChoice::Auto);
        Ok(Settings {
            bootstrap: pick
                .first(typed("bootstrap"), flags.bootstrap.clone(), profile.bootstrap)
                .unwrap_or_else(|| BOOTSTRAP.to_owned()),
            http: pick
                .first(typed("http"), flags.http.clone(), profile.http)
                .unwrap_or_else(|| HTTP.to_owned()),
            json: flags.json,
            timeout: pick.first(typed("timeout"), flags.timeout, profile.timeout).unwrap_or(TIMEOUT_S),
            verbose: flags.verbose,
            properties,
            paint: Paint::new(color),
            profile: flags.profile.clone().or(file.default_profile),
            profiles: path,
        })
    }

    /// `--timeout` as a duration.
    pub(crate) fn wait(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    /// The mesh as the library knows it.
    pub(crate) fn mesh(&self) -> Mesh {
        let mesh = Mesh::at(&self.bootstrap).http(&self.http).timeout(self.wait());
        let mesh = if self.verbose { mesh.log_to(output::note) } else { mesh };
        self.properties.iter().fold(mesh, |mesh, (key, value)| mesh.property(key, value))
    }

    /// The last value that was given to one of a property's names.
    pub(crate) fn property(&self, names: &[&str]) -> Option<&str> {
        let found = self.properties.iter().rev().find(|(key, _)| names.contains(&key.as_str()));
        found.map(|(_, value)| value.as_str())
    }

    /// Whether to draw progress: on a terminal, where nothing else is printed meanwhile.
    pub(crate) fn draws(&self) -> bool {
        output::stderr_is_terminal() && !self.json && !self.verbose
    }
}

struct Pick {
    profile_is_typed: bool,
}

impl Pick {
    /// `given` is the flag's value or the environment's.
    fn first<T>(&self, is_typed: bool, given: Option<T>, profile: Option<T>) -> Option<T> {
        if self.profile_is_typed && !is_typed { profile.or(given) } else { given.or(profile) }
    }
}

fn parse_address(text: &str) -> Result<String, String> {
    let text = text.trim();
    let text = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    let (host, port) =
        text.rsplit_once(':').ok_or_else(|| format!("\"{text}\" has no port; write HOST:PORT"))?;
    if host.is_empty() || host.contains(['/', ' ', ',']) {
        return Err(format!("\"{host}\" is not a host name; write HOST:PORT"));
    }
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(text.to_owned()),
        _ => Err(format!("\"{port}\" is not a port from 1 to 65535; write HOST:PORT")),
    }
}

fn parse_addresses(text: &str) -> Result<String, String> {
    let addresses: Result<Vec<String>, String> = text.split(',').map(parse_address).collect();
    Ok(addresses?.join(","))
}

fn parse_property(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some(("bootstrap.servers", _)) => Err("write --bootstrap instead of bootstrap.servers".to_owned()),
        Some((key, value)) if !key.is_empty() && !text.contains('\0') => {
            Ok((key.trim().to_owned(), value.to_owned()))
        }
        _ => Err(format!("\"{text}\" is not KEY=VALUE, such as linger.ms=50")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Pick, parse_address, parse_addresses, parse_property};

    #[test]
    fn an_address_is_a_host_and_a_port() {
        assert_eq!(parse_address("http://node-1:9292/").unwrap(), "node-1:9292");
        assert_eq!(parse_address("[::1]:9292").unwrap(), "[::1]:9292");
        for wrong in ["node-1", ":9092", "node-1:0", "node-1:70000", "node-1:http", "a b:1", "a/b:1", ""] {
            assert!(parse_address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_list_of_addresses_is_checked_one_by_one() {
        assert_eq!(parse_addresses("a:1, b:2").unwrap(), "a:1,b:2");
        assert!(parse_addresses("a:1,,b:2").is_err());
        assert!(parse_addresses("a:1,b").is_err());
    }

    #[test]
    fn the_command_line_goes_before_what_was_set_up_earlier() {
        let first = |profile_is_typed, is_typed, given, profile| {
            Pick { profile_is_typed }.first(is_typed, given, profile)
        };
        let (flag, env, profile) = (Some("flag"), Some("env"), Some("profile"));
        assert_eq!(first(true, true, flag, profile), flag);
        assert_eq!(first(true, false, env, profile), profile);
        assert_eq!(first(true, false, env, None), env);
        assert_eq!(first(false, false, env, profile), env);
        assert_eq!(first(false, false, None, profile), profile);
        assert_eq!(first(false, false, None::<&str>, None), None);
    }

    #[test]
    fn a_property_is_a_key_and_a_value() {
        assert_eq!(parse_property("a.b=c=d").unwrap(), ("a.b".to_owned(), "c=d".to_owned()));
        for wrong in ["a", "=b", "bootstrap.servers=a:1"] {
            assert!(parse_property(wrong).is_err(), "{wrong}");
        }
    }
}
