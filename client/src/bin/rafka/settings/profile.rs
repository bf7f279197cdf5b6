//! The file of profiles: named sets of settings, so that `--profile staging` stands for a mesh.
//!
//! ```toml
//! default-profile = "local"
//!
//! [profiles.local]
//! bootstrap = "127.0.0.1:9092"
//!
//! [profiles.staging]
//! bootstrap = "10.0.0.1:9092,10.0.0.2:9092"
//! http = "10.0.0.1:9292"
//! timeout = 30
//! [profiles.staging.properties]
//! compression.type = "zstd"
//! ```

use super::{parse_address, parse_addresses};
use crate::error::CliError;
use crate::output::{self, Cell, ColorChoice, Look, Table};
use crate::settings::Settings;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What the file holds.
#[derive(Deserialize, Default, Debug)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct File {
    /// Taken when neither `--profile` nor `RAFKA_PROFILE` names one.
    pub(crate) default_profile: Option<String>,
    pub(crate) profiles: BTreeMap<String, Profile>,
}

/// One profile. What it leaves out has its default.
#[derive(Deserialize, Default, Debug, Clone)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Profile {
    pub(crate) bootstrap: Option<String>,
    pub(crate) http: Option<String>,
    /// Seconds.
    pub(crate) timeout: Option<u64>,
    pub(crate) color: Option<ColorChoice>,
    /// librdkafka's; `a.b = 1` in TOML is a table in a table, so they are nested here and flat in [`Profile::flat`].
    pub(crate) properties: toml::Table,
}

/// Where the file is: `--profiles`, else `$XDG_CONFIG_HOME/rafka/config.toml`, else `~/.config/rafka/config.toml`.
pub(crate) fn path(named: Option<&Path>, environment: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let set = |name: &str| environment(name).filter(|value| !value.is_empty());
    // The XDG specification has relative paths ignored.
    let xdg = || set("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || set("HOME").map(|home| Path::new(&home).join(".config"));
    named.map(Path::to_owned).or_else(|| Some(xdg().or_else(home)?.join("rafka").join("config.toml")))
}

/// Reads the file. One that nobody named need not be there.
///
/// # Errors
///
/// [`CliError::Usage`] with the file's name, the line and what may stand there.
pub(crate) fn read(path: &Path, named: bool) -> Result<File, CliError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !named => return Ok(File::default()),
        Err(error) => {
            return Err(CliError::Usage(format!(
                "cannot read the profiles in {}: {error}.\nName another file with --profiles FILE or RAFKA_PROFILES.",
                path.display()
            )));
        }
    };
    parse(&text).map_err(|error| CliError::Usage(format!("{} is not right: {error}", path.display())))
}

fn parse(text: &str) -> Result<File, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    for (name, profile) in &file.profiles {
        profile.check().map_err(|error| format!("profile \"{name}\": {error}"))?;
    }
    Ok(file)
}

impl File {
    /// The profile of that name, or the default one, or none where nothing names one.
    ///
    /// # Errors
    ///
    /// [`CliError::Usage`] for a name that the file does not have.
    pub(crate) fn pick(&self, name: Option<&str>, path: &Path) -> Result<Option<&Profile>, CliError> {
        let Some(name) = name.or(self.default_profile.as_deref()) else { return Ok(None) };
        if let Some(profile) = self.profiles.get(name) {
            return Ok(Some(profile));
        }
        let known: Vec<&str> = self.profiles.keys().map(String::as_str).collect();
        let path = path.display();
        Err(CliError::Usage(match known.as_slice() {
            [] => format!(
                "there is no profile \"{name}\": {path} holds none.\nWrite one there:\n  [profiles.{name}]\n  bootstrap = \
                 \"HOST:PORT\""
            ),
            known => format!("there is no profile \"{name}\" in {path}; it has {}.", known.join(", ")),
        }))
    }
}

impl Profile {
    fn check(&self) -> Result<(), String> {
        self.bootstrap.as_deref().map(parse_addresses).transpose().map_err(|e| format!("bootstrap: {e}"))?;
        self.http.as_deref().map(parse_address).transpose().map_err(|e| format!("http: {e}"))?;
        if let Some(seconds) = self.timeout.filter(|seconds| !(1..=86_400).contains(seconds)) {
            return Err(format!("timeout: {seconds} is not 1 to 86400 seconds"));
        }
        let properties = self.flat()?;
        if properties.iter().any(|(key, _)| key == "bootstrap.servers") {
            return Err("properties: write bootstrap = \"..\" instead of bootstrap.servers".to_owned());
        }
        Ok(())
    }

    /// The properties under their full names, in order.
    pub(crate) fn flat(&self) -> Result<Vec<(String, String)>, String> {
        let mut flat = Vec::new();
        flatten("", &self.properties, &mut flat)?;
        Ok(flat)
    }
}

fn flatten(above: &str, table: &toml::Table, flat: &mut Vec<(String, String)>) -> Result<(), String> {
    for (key, value) in table {
        let name = if above.is_empty() { key.clone() } else { format!("{above}.{key}") };
        let text = match value {
            toml::Value::Table(table) => {
                flatten(&name, table, flat)?;
                continue;
            }
            toml::Value::String(text) => text.clone(),
            toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_) => value.to_string(),
            _ => return Err(format!("properties: {name} is neither text, a number, true nor false")),
        };
        flat.push((name, text));
    }
    Ok(())
}

/// `rafka profiles`: what there is, and which one is in use. Secrets are not printed.
pub(crate) fn run(settings: &Settings) -> Result<(), CliError> {
    let path = settings.profiles.clone().unwrap_or_default();
    let file = if path.as_os_str().is_empty() { File::default() } else { read(&path, false)? };
    if settings.json {
        let profiles: Vec<Value> =
            file.profiles.iter().map(|(name, profile)| as_json(settings, name, profile)).collect();
        return output::json(&json!({ "file": path.display().to_string(), "profiles": profiles }));
    }
    if file.profiles.is_empty() {
        output::note(&format!(
            "no profiles in {}. Write one there:\n  [profiles.local]\n  bootstrap = \"127.0.0.1:9092\"",
            path.display()
        ));
        return Ok(());
    }
    let mut table = Table::new(&["PROFILE", "IN USE", "BOOTSTRAP", "HTTP", "TIMEOUT", "PROPERTIES"]);
    for (name, profile) in &file.profiles {
        let used = settings.profile.as_ref() == Some(name);
        let shown: Vec<String> = shown(profile).iter().map(|(key, value)| format!("{key}={value}")).collect();
        table.row(vec![
            name.as_str().into(),
            if used { Cell::new(Look::Good, "yes") } else { "-".into() },
            output::or_dash(profile.bootstrap.as_deref()).into(),
            output::or_dash(profile.http.as_deref()).into(),
            output::or_dash(profile.timeout).into(),
            output::ids(&shown).into(),
        ]);
    }
    table.print(settings.paint)?;
    output::note(&format!("from {}", path.display()));
    Ok(())
}

fn as_json(settings: &Settings, name: &str, profile: &Profile) -> Value {
    let properties: serde_json::Map<String, Value> =
        shown(profile).into_iter().map(|(key, value)| (key, value.into())).collect();
    json!({
        "profile": name, "in_use": settings.profile.as_deref() == Some(name), "bootstrap": profile.bootstrap,
        "http": profile.http, "timeout": profile.timeout, "properties": properties
    })
}

/// The properties, without what nobody should see on a screen.
fn shown(profile: &Profile) -> Vec<(String, String)> {
    let secret = |key: &str| key.contains("password") || key.contains("secret") || key.ends_with("key.pem");
    let hide =
        |(key, value): (String, String)| if secret(&key) { (key, "***".to_owned()) } else { (key, value) };
    profile.flat().unwrap_or_default().into_iter().map(hide).collect()
}

#[cfg(test)]
mod tests {
    use super::{File, parse, path};
    use std::path::{Path, PathBuf};

    #[test]
    fn properties_are_flat_however_they_are_written() {
        let text = "[profiles.a.properties]\nssl.ca.location = '/ca'\n\"linger.ms\" = 5\nenable.idempotence = true\n";
        let file = parse(text).unwrap();
        let mut flat = file.profiles["a"].flat().unwrap();
        flat.sort();
        let flat: Vec<(&str, &str)> =
            flat.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(flat, [("enable.idempotence", "true"), ("linger.ms", "5"), ("ssl.ca.location", "/ca")]);
    }

    #[test]
    fn secrets_are_not_shown() {
        let file = parse("[profiles.a.properties]\nsasl.password = 'hush'\nsasl.username = 'ada'").unwrap();
        let shown = super::shown(&file.profiles["a"]);
        assert!(shown.contains(&("sasl.username".into(), "ada".into())), "{shown:?}");
        assert!(!format!("{shown:?}").contains("hush"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, named) in [
            ("[profiles.a]\nbootstrap = 'nowhere'", "profile \"a\": bootstrap"),
            ("[profiles.a]\ntimeout = 0", "86400"),
            ("[profiles.a]\nbootstraps = 'a:1'", "bootstraps"),
            ("[profiles.a]\ncolor = 'red'", "red"),
            ("[profiles.a.properties]\nbootstrap.servers = 'a:1'", "instead of bootstrap.servers"),
            ("[profiles.a.properties]\nx = [1]", "x is neither"),
            ("profile = 1", "profile"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn a_profile_is_picked_by_name_or_by_default() {
        let file =
            parse("default-profile = 'a'\n[profiles.a]\nhttp = 'a:1'\n[profiles.b]\nhttp = 'b:1'").unwrap();
        let http = |name| file.pick(name, Path::new("f")).unwrap().and_then(|profile| profile.http.clone());
        assert_eq!((http(None).as_deref(), http(Some("b")).as_deref()), (Some("a:1"), Some("b:1")));
        let error = file.pick(Some("c"), Path::new("f")).unwrap_err().to_string();
        assert!(error.contains("\"c\"") && error.contains("a, b"), "{error}");
        assert!(File::default().pick(None, Path::new("f")).unwrap().is_none());
        assert!(
            File::default().pick(Some("a"), Path::new("f")).unwrap_err().to_string().contains("[profiles.a]")
        );
    }

    #[test]
    fn the_file_is_where_xdg_says() {
        let at = |xdg: &'static str, home: &'static str| {
            path(None, move |name| Some(if name == "HOME" { home } else { xdg }.to_owned()))
        };
        assert_eq!(at("/x", "/h"), Some(PathBuf::from("/x/rafka/config.toml")));
        assert_eq!(at("", "/h"), Some(PathBuf::from("/h/.config/rafka/config.toml")));
        assert_eq!(at("x", "/h"), Some(PathBuf::from("/h/.config/rafka/config.toml")));
        assert_eq!(at("", ""), None);
        assert_eq!(path(Some(Path::new("f")), |_| None), Some(PathBuf::from("f")));
    }
}
