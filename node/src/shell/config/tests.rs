//! What is taken, what is refused, and from where a value comes.

use super::*;
use crate::shell::Cli;
use clap::CommandFactory;

fn raw(text: &str) -> Result<Raw, toml::de::Error> {
    toml::from_str(text)
}

fn check(text: &str) -> Result<Config, ConfigError> {
    Config::check(raw(&format!("data-dir = 'd'\n{text}")).expect("the file parses"))
}

#[test]
fn the_command_line_is_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn every_flag_has_an_environment_variable_of_its_name_and_a_heading() {
    for argument in Cli::command().get_arguments().filter(|argument| argument.get_id() != "help") {
        let Some(long) = argument.get_long().filter(|long| *long != "version") else { continue };
        let variable = argument.get_env().and_then(|name| name.to_str()).unwrap_or_default();
        assert_eq!(variable, format!("RAFKA_{}", long.to_uppercase().replace('-', "_")));
        assert!(argument.get_help_heading().is_some(), "{long}");
    }
}

#[test]
fn a_flag_goes_before_the_file() {
    let flags = Raw { zone: Some("a".into()), ..Raw::default() };
    let both = flags.or(raw("zone = 'b'\nweight = 3").expect("parses"));
    assert_eq!((both.zone.as_deref(), both.weight), (Some("a"), Some(3)));
}

#[test]
fn unknown_keys_of_a_file_are_refused_by_name() {
    assert!(raw("no-such-key = 1").expect_err("unknown").to_string().contains("no-such-key"));
}

#[test]
fn errors_name_the_key_the_value_and_what_is_allowed() {
    for (text, words) in [
        ("default-partitions = 0", ["--default-partitions", "RAFKA_DEFAULT_PARTITIONS", "\"0\"", "1 to"]),
        ("listen-kafka = 'here'", ["--listen-kafka", "RAFKA_LISTEN_KAFKA", "here", "HOST:PORT"]),
        ("seeds = 'not-an-address'", ["--seeds", "RAFKA_SEEDS", "not-an-address", "HOST:PORT"]),
        ("log-level = 'shout'", ["--log-level", "RAFKA_LOG_LEVEL", "shout", "debug"]),
        ("segment-bytes = 7", ["--segment-bytes", "RAFKA_SEGMENT_BYTES", "\"7\"", "65536"]),
        ("election-ms = 100", ["--election-ms", "RAFKA_ELECTION_MS", "\"100\"", "600"]),
        ("advertise-mesh = 'a b:1'", ["--advertise-mesh", "RAFKA_ADVERTISE_MESH", "a b:1", "HOST:PORT"]),
        (
            "otlp-endpoint = 'https://a:1'",
            ["--otlp-endpoint", "RAFKA_OTLP_ENDPOINT", "https", "http://HOST:PORT"],
        ),
        ("zone = 'a b'", ["--zone", "RAFKA_ZONE", "a b", "visible"]),
    ] {
        let error = check(text).expect_err(text).to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
    let both = check("seeds = 'a:1'\njoin = 'b:1'").expect_err("both").to_string();
    assert!(both.contains("--join"), "{both}");
    assert!(Config::check(Raw::default()).expect_err("no directory").to_string().contains("--data-dir"));
}

#[test]
fn the_example_for_a_service_is_right() {
    // But for the token, which is another file, and the directory, which the unit names.
    let text = include_str!("../../../../deploy/node.toml").replace("token-file", "# token-file");
    let config = check(&text).and_then(reachable).expect("allowed");
    let names: Vec<&str> = config.listeners.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["INSIDE", "OUTSIDE"]);
    let own = config.advertise_mesh.expect("given");
    assert!(matches!(&config.entry, Entry::Seeds(seeds) if seeds.len() == 3 && seeds.contains(&own)));
}

#[test]
fn one_address_has_one_spelling() {
    let config =
        check("seeds = '[0:0::1]:9192,Node-1.Example:9192'\nadvertise-mesh = '[::1]:9192'").expect("allowed");
    let Entry::Seeds(seeds) = &config.entry else { panic!("{:?}", config.entry) };
    assert_eq!(seeds, &["[::1]:9192", "node-1.example:9192"]);
    assert_eq!(config.advertise_mesh.as_deref(), Some("[::1]:9192"));
    assert_eq!(own_mesh(&check("listen-mesh = '[0::1]:7'").expect("allowed").listen_mesh), "[::1]:7");
    for wrong in ["::1:9192", "[::1:9192", "[node]:1", "a/b:1", "h:0"] {
        assert!(check(&format!("advertise-mesh = '{wrong}'")).is_err(), "{wrong}");
    }
    assert!(check("listen-http = '::1:9292'").expect_err("no brackets").to_string().contains("brackets"));
}

#[test]
fn what_was_given_is_kept_by_the_names_of_the_flags() {
    let config = check("log-level = 'warn'").expect("allowed");
    assert_eq!(config.given["log-level"], "warn");
    assert!(config.given["zone"].is_null());
}

#[test]
fn seeds_are_a_set() {
    let config = check("seeds = 'b:2, a:1,b:2'").expect("allowed");
    assert_eq!(config.entry, Entry::Seeds(vec!["a:1".into(), "b:2".into()]));
}

#[test]
fn a_token_has_a_length() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("token");
    std::fs::write(&path, "short").expect("written");
    assert!(secret(&path).expect_err("short").to_string().contains("16"));
    std::fs::write(&path, "long enough, surely\n").expect("written");
    let first = secret(&path).expect("taken");
    std::fs::write(&path, "  long enough, surely").expect("written");
    assert_eq!(first, secret(&path).expect("taken"));
}
