//! The program as scripts see it: exit codes, pipes that close, what it writes for shells and manuals. No mesh is needed: nobody
//! listens on port 1 of loopback.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A command that sees nothing of the user's own settings.
fn rafka(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rafka"));
    command.env_clear().env("HOME", home).stdin(Stdio::null());
    command
}

fn output(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("it runs");
    (
        status.code(),
        String::from_utf8_lossy(&stdout).into_owned(),
        String::from_utf8_lossy(&stderr).into_owned(),
    )
}

#[test]
fn exit_codes_tell_wrong_usage_from_nobody_there() {
    let home = tempfile::tempdir().expect("a directory");
    for (arguments, code, words) in [
        (&["topic", "list", "--bootstrap", "127.0.0.1:1"][..], 3, "--bootstrap HOST:PORT"),
        (&["lookup", "shard/1", "--http", "127.0.0.1:1"], 3, "--http HOST:PORT"),
        (&["topic", "list", "--bootstrap", "nowhere"], 2, "no port"),
        (&["topic", "create", "a b"], 2, "not a topic name"),
        (&["topic", "list", "--profile", "staging"], 2, "[profiles.staging]"),
        (&["topic", "list", "-X", "no.such.property=1"], 2, "no.such.property"),
        (&["produce", "t", "-X", "acks=2", "--bootstrap", "127.0.0.1:1"], 2, "0, 1 or all"),
        (&["topic", "list", "-X", "bootstrap.servers=a:1"], 2, "--bootstrap"),
        (&["config", "get", "topics/a"], 2, "broker/NUMBER"),
        (&["config", "set", "cluster"], 2, "KEY=VALUE"),
        (&["config", "get", "cluster", "--http", "127.0.0.1:1"], 3, "--http HOST:PORT"),
        (&["no-such-command"], 2, "no-such-command"),
    ] {
        let (status, out, err) = output(rafka(home.path()).args(arguments));
        assert_eq!(status, Some(code), "{arguments:?}: {err}");
        assert!(err.contains(words) && out.is_empty(), "{arguments:?}: {out} {err}");
        assert!(!err.contains('\u{1b}'), "no colours in a pipe: {err}");
    }
}

#[test]
fn doctor_says_why_nobody_answers() {
    let home = tempfile::tempdir().expect("a directory");
    let arguments = ["doctor", "--json", "--bootstrap", "127.0.0.1:1", "--http", "127.0.0.1:1"];
    let (status, out, err) = output(rafka(home.path()).args(arguments));
    assert_eq!(status, Some(3), "{out} {err}");
    assert!(out.contains("\"nobody_answers\"") && out.contains("127.0.0.1:1: Connection refused"), "{out}");
    let (status, out, err) =
        output(rafka(home.path()).args(["doctor", "--http", "127.0.0.1:1", "--timeout", "0"]));
    assert_eq!((status, out.as_str()), (Some(2), ""), "{err}");
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let home = tempfile::tempdir().expect("a directory");
    for arguments in [&["completions", "bash"][..], &["--help"], &["man", "pages"], &["profiles", "--json"]] {
        let mut command = rafka(home.path());
        let child =
            command.args(arguments).current_dir(home.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child.spawn().expect("it runs");
        drop(child.stdout.take());
        let mut err = String::new();
        child.stderr.take().expect("piped").read_to_string(&mut err).expect("readable");
        let status = child.wait().expect("it ends");
        assert_eq!((status.code(), err.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn shells_and_manuals_get_every_command() {
    let home = tempfile::tempdir().expect("a directory");
    for shell in ["bash", "zsh", "fish"] {
        let (status, out, _) = output(rafka(home.path()).args(["completions", shell]));
        assert_eq!(status, Some(0));
        for word in ["topic", "bench", "profiles", "round-robin", "if-not-exists"] {
            assert!(out.contains(word), "{shell}: {word}");
        }
    }
    let pages = home.path().join("deep/man1");
    let (status, out, err) = output(rafka(home.path()).arg("man").arg(&pages));
    assert_eq!(status, Some(0), "{out}{err}");
    let page = std::fs::read_to_string(pages.join("rafka-topic-create.1")).expect("written");
    assert!(page.starts_with(".ie") || page.contains(".TH"), "{page}");
    let (status, _, err) = output(rafka(home.path()).args(["man", "/proc/no/such/place"]));
    assert_eq!(status, Some(1));
    assert!(err.contains("Name a directory"), "{err}");
}

#[test]
fn the_completion_for_bash_is_a_script() {
    let home = tempfile::tempdir().expect("a directory");
    let (_, script, _) = output(rafka(home.path()).args(["completions", "bash"]));
    let file = home.path().join("rafka.bash");
    std::fs::write(&file, script).expect("written");
    let ask = "source \"$1\"; COMP_WORDS=(rafka topic cr) COMP_CWORD=2; _rafka rafka cr topic; echo \"${COMPREPLY[*]}\"";
    let (status, out, err) = output(Command::new("bash").args(["--norc", "-c", ask, "bash"]).arg(&file));
    assert_eq!((status, out.trim()), (Some(0), "create"), "{err}");
}

#[test]
fn a_profile_is_used_listed_and_outvoted_by_flags() {
    let home = tempfile::tempdir().expect("a directory");
    let place = home.path().join("conf/rafka");
    std::fs::create_dir_all(&place).expect("made");
    let text = "default-profile = 'one'\n[profiles.one]\nbootstrap = '127.0.0.1:1'\n[profiles.one.properties]\n\
                sasl.password = 'hush'\n[profiles.two]\nbootstrap = '127.0.0.1:2'\n";
    std::fs::write(place.join("config.toml"), text).expect("written");
    let with = |arguments: &[&str]| {
        output(rafka(home.path()).env("XDG_CONFIG_HOME", home.path().join("conf")).args(arguments))
    };
    let (status, out, _) = with(&["profiles"]);
    assert_eq!(status, Some(0));
    assert!(out.contains("one\tyes\t127.0.0.1:1\t-\t-\tsasl.password=***"), "{out}");
    let tried = |arguments: &[&str], variable: &str| {
        let mut command = rafka(home.path());
        command
            .env("XDG_CONFIG_HOME", home.path().join("conf"))
            .args(["topic", "list", "--timeout", "1"])
            .args(arguments);
        if !variable.is_empty() {
            command.env("RAFKA_BOOTSTRAP", variable);
        }
        let (status, _, err) = output(&mut command);
        assert_eq!(status, Some(3), "{err}");
        err
    };
    assert!(tried(&[], "").contains("at 127.0.0.1:1 "));
    assert!(
        tried(&[], "127.0.0.1:3").contains("at 127.0.0.1:3 "),
        "the environment goes before the default profile"
    );
    assert!(
        tried(&["--profile", "two"], "127.0.0.1:3").contains("at 127.0.0.1:2 "),
        "a typed profile before that"
    );
    assert!(tried(&["--profile", "two", "--bootstrap", "127.0.0.1:4"], "").contains("at 127.0.0.1:4 "));
    std::fs::write(place.join("config.toml"), "[profiles.one]\nbootstraps = 'a:1'").expect("written");
    let (status, _, err) = with(&["topic", "list"]);
    assert_eq!(status, Some(2));
    assert!(err.contains("config.toml") && err.contains("bootstraps"), "{err}");
}
