//! Where a node listens for Kafka clients: named listeners, each with what clients are told to connect to.
//!
//! `--listeners` and `--advertised-listeners` have Kafka's form, `NAME://HOST:PORT` with commas between. `--listen-kafka` and
//! `--advertise-kafka` are the short form for the one listener `PLAINTEXT`.

use std::collections::BTreeMap;

use super::config::{ConfigError, Listen, address, socket, wrong};
use crate::core::metadata::endpoint::{PLAINTEXT, registered};

/// What a listener's name may not promise: nothing is encrypted or authenticated yet.
const NOT_SERVED: [&str; 3] = ["SSL", "SASL_PLAINTEXT", "SASL_SSL"];
const LISTENERS_MAX: usize = 8;
const NAME_BYTES_MAX: usize = 32;
/// All of them, as the registry keeps them.
const REGISTERED_BYTES_MAX: usize = 512;
const FORM: &str =
    "write NAME://HOST:PORT with commas between, for example INSIDE://10.0.0.1:9092,OUTSIDE://0.0.0.0:9094";

/// One listener for Kafka clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaListener {
    /// Its name, in capitals.
    pub name: String,
    /// Where it listens.
    pub listen: Listen,
    /// `host:port` that its clients are told, if it was given.
    pub advertised: Option<String>,
}

impl KafkaListener {
    /// What its clients are told, with the port that the listener got.
    pub fn told(&self, port: u16) -> String {
        self.advertised.clone().unwrap_or_else(|| self.listen.with_port(port))
    }
}

/// The four flags as they were given.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) listen_kafka: Option<String>,
    pub(super) advertise_kafka: Option<String>,
    pub(super) listeners: Option<String>,
    pub(super) advertised_listeners: Option<String>,
}

/// The listeners, the first one first.
pub(super) fn parse(given: Given) -> Result<Vec<KafkaListener>, ConfigError> {
    let Given { listen_kafka, advertise_kafka, listeners, advertised_listeners } = given;
    let Some(listeners) = listeners else {
        let advertised = match (advertise_kafka, advertised_listeners) {
            (Some(_), Some(_)) => return Err(twice("--advertise-kafka and --advertised-listeners")),
            (None, Some(text)) => only_plaintext(&text)?,
            (short, None) => short.map(|text| address("advertise-kafka", &text)).transpose()?,
        };
        let listen = socket("listen-kafka", listen_kafka, "127.0.0.1:9092")?;
        return check(vec![KafkaListener { name: PLAINTEXT.into(), listen, advertised }], "listen-kafka");
    };
    if listen_kafka.is_some() || advertise_kafka.is_some() {
        return Err(twice("--listeners, and --listen-kafka or --advertise-kafka,"));
    }
    let mut advertised = match &advertised_listeners {
        Some(text) => named("advertised-listeners", text)?,
        None => BTreeMap::new(),
    };
    let mut all = Vec::new();
    for (name, place) in in_order("listeners", &listeners)? {
        let listen = socket("listeners", Some(place), "")?;
        let advertised =
            advertised.remove(&name).map(|place| address("advertised-listeners", &place)).transpose()?;
        all.push(KafkaListener { name, listen, advertised });
    }
    match advertised.keys().next() {
        Some(name) => {
            Err(wrong("advertised-listeners", name, "every name in it must be a name in --listeners"))
        }
        None => check(all, "listeners"),
    }
}

fn twice(what: &str) -> ConfigError {
    ConfigError::Usage(format!("{what} exclude each other: name every listener in one of them"))
}

fn only_plaintext(text: &str) -> Result<Option<String>, ConfigError> {
    let mut all = named("advertised-listeners", text)?;
    let place = all.remove(PLAINTEXT);
    match (place, all.is_empty()) {
        (Some(place), true) => address("advertised-listeners", &place).map(Some),
        _ => Err(wrong("advertised-listeners", text, "without --listeners there is only PLAINTEXT")),
    }
}

fn named(key: &'static str, text: &str) -> Result<BTreeMap<String, String>, ConfigError> {
    Ok(in_order(key, text)?.into_iter().collect())
}

/// Names and places, checked for form and doubles.
fn in_order(key: &'static str, text: &str) -> Result<Vec<(String, String)>, ConfigError> {
    let mut all: Vec<(String, String)> = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, place) = part.split_once("://").ok_or_else(|| wrong(key, part, FORM))?;
        let name = name.to_ascii_uppercase();
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !plain || name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(wrong(key, part, FORM));
        }
        if NOT_SERVED.contains(&name.as_str()) {
            return Err(wrong(
                key,
                part,
                "TLS and SASL are not served yet: use PLAINTEXT or a name of your own",
            ));
        }
        if all.iter().any(|(other, _)| *other == name) {
            return Err(wrong(key, part, "a name stands for one listener only"));
        }
        all.push((name, place.to_owned()));
    }
    match all.len() {
        1..=LISTENERS_MAX => Ok(all),
        _ => Err(wrong(key, text, format!("one to {LISTENERS_MAX} listeners"))),
    }
}

/// Nobody can connect to "any address of this machine".
fn check(all: Vec<KafkaListener>, key: &'static str) -> Result<Vec<KafkaListener>, ConfigError> {
    let hidden = |one: &&KafkaListener| one.listen.is_unspecified() && one.advertised.is_none();
    if let Some(one) = all.iter().find(hidden) {
        let flag = match key {
            "listeners" => format!("--advertised-listeners {}://HOST:PORT", one.name),
            _ => "--advertise-kafka HOST:PORT".to_owned(),
        };
        return Err(ConfigError::Usage(format!(
            "--{key} listens on every address of this machine: say with {flag} which one clients use"
        )));
    }
    let longest = registered(all.iter().map(|one| (one.name.as_str(), one.told(u16::MAX))));
    if longest.len() > REGISTERED_BYTES_MAX {
        let allowed = format!("names and addresses together have at most {REGISTERED_BYTES_MAX} bytes");
        return Err(wrong(key, longest, allowed));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(listeners: &str, advertised: &str) -> Result<Vec<KafkaListener>, ConfigError> {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        parse(Given {
            listeners: some(listeners),
            advertised_listeners: some(advertised),
            ..Given::default()
        })
    }

    fn told(all: &[KafkaListener]) -> Vec<(&str, String)> {
        all.iter().map(|one| (one.name.as_str(), one.told(7))).collect()
    }

    #[test]
    fn several_listeners_have_names_and_addresses_of_their_own() {
        let all = given(
            "inside://127.0.0.1:9092, OUTSIDE://0.0.0.0:9094,SIX://[::1]:0",
            "outside://node-1.example:19094",
        );
        let expected = [
            ("INSIDE", "127.0.0.1:7".to_owned()),
            ("OUTSIDE", "node-1.example:19094".to_owned()),
            ("SIX", "[::1]:7".to_owned()),
        ];
        assert_eq!(told(&all.expect("allowed")), expected);
    }

    #[test]
    fn a_listener_without_a_host_is_one_of_every_address() {
        let all = given("PLAINTEXT://:9092", "PLAINTEXT://node-1:9092").expect("allowed");
        assert!(all[0].listen.is_unspecified());
        let error = given("A://127.0.0.1:1,B://:9092", "").expect_err("nobody can use it").to_string();
        assert!(error.contains("--advertised-listeners B://HOST:PORT"), "{error}");
    }

    #[test]
    fn the_short_form_is_the_listener_plaintext() {
        let short = |listen: &str, advertise: Option<&str>| {
            parse(Given {
                listen_kafka: Some(listen.into()),
                advertise_kafka: advertise.map(str::to_owned),
                ..Given::default()
            })
        };
        assert_eq!(
            told(&short("127.0.0.1:0", None).expect("allowed")),
            [("PLAINTEXT", "127.0.0.1:7".into())]
        );
        assert_eq!(told(&short("0.0.0.0:0", Some("h:9")).expect("allowed")), [("PLAINTEXT", "h:9".into())]);
        let error = short("0.0.0.0:9092", None).expect_err("nobody can use it").to_string();
        assert!(error.contains("--advertise-kafka"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (listeners, advertised, words) in [
            ("127.0.0.1:9092", "", "NAME://HOST:PORT"),
            ("A://127.0.0.1:1,a://127.0.0.1:2", "", "one listener only"),
            ("SSL://127.0.0.1:1", "", "not served yet"),
            ("A B://127.0.0.1:1", "", "NAME://HOST:PORT"),
            ("A://127.0.0.1:1", "B://h:1", "a name in --listeners"),
            ("A://127.0.0.1:1", "A://h:0", "HOST:PORT"),
            (",", "", "one to 8"),
        ] {
            let error = given(listeners, advertised).expect_err(listeners).to_string();
            assert!(error.contains(words), "{error}");
        }
        let both = parse(Given {
            listeners: Some("A://127.0.0.1:1".into()),
            listen_kafka: Some("127.0.0.1:1".into()),
            ..Given::default()
        });
        assert!(both.expect_err("both").to_string().contains("exclude each other"));
    }
}
