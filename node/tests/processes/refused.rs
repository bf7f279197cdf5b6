//! What a node cannot start or go on with, and whether it says what to do.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use crate::rig::{Ended, Kafka, Rig, until};

/// Kafka's KAFKA_STORAGE_ERROR.
const STORAGE_ERROR: i16 = 56;

fn refused(ended: (Ended, String), words: &[&str]) {
    let (ended, log) = ended;
    assert_eq!(ended, Ended::Code(1), "{log}");
    assert!(words.iter().all(|word| log.contains(word)), "{words:?} are not in\n{log}");
}

#[test]
fn a_port_that_is_taken_or_not_of_this_machine_is_named() {
    let rig = Rig::new();
    let mut node = rig.node("a").start();
    node.ready();
    let taken = node.kafka_address();
    let port = taken.rsplit_once(':').expect("a port").1;
    let hint = format!("sport = :{port}");
    refused(
        rig.node("b").args(&["--listen-kafka", &taken]).start().end(),
        &["--listen-kafka: cannot listen on", "in use", &hint],
    );
    refused(
        rig.node("b").args(&["--listen-http", &taken]).start().end(),
        &["--listen-http: cannot listen on", &hint],
    );
    let two = format!("A://127.0.0.1:0,B://{taken}");
    refused(
        rig.node("b").args(&["--listeners", &two]).start().end(),
        &["--listeners: cannot listen on", &hint],
    );
    refused(
        rig.node("b").args(&["--listen-kafka", "192.0.2.1:9092"]).start().end(),
        &["--listen-kafka: cannot listen on 192.0.2.1:9092", "ip addr"],
    );
}

#[test]
fn a_name_without_an_address_may_be_tried_again() {
    let rig = Rig::new();
    let (ended, log) = rig.node("a").args(&["--listen-kafka", "no-such-host.invalid:9092"]).start().end();
    assert_eq!(ended, Ended::Code(69), "{log}");
    assert!(log.contains("\"no-such-host.invalid\" has no address"), "{log}");
}

#[test]
fn a_directory_of_another_format_is_refused_or_upgraded() {
    let rig = Rig::new();
    let mut node = rig.node("a").start();
    node.ready();
    let mut client = Kafka::connect(&node);
    client.create_topic("t", 1, 1);
    assert_eq!(client.produce("t", 0, b"x"), Ok(0));
    assert_eq!(node.stop(), Ended::Code(0));
    let data = rig.node("a").path().to_owned();
    let files = || {
        let names = fs::read_dir(&data).expect("a directory").map(|entry| entry.expect("an entry").path());
        let mut files: Vec<_> = names.filter(|path| path.is_file()).collect();
        files.sort();
        files.into_iter().map(|path| (fs::read(&path).expect("readable"), path)).collect::<Vec<_>>()
    };
    fs::remove_file(data.join("ports.json")).expect("removed");

    fs::write(data.join("format"), "99\n").expect("written");
    let before = files();
    refused(
        rig.node("a").start().end(),
        &["has format 99", "a newer release wrote it", "nothing was changed"],
    );
    assert!(files() == before, "nothing was changed");
    fs::write(data.join("format"), "0\n").expect("written");
    refused(rig.node("a").start().end(), &["has format 0", "a release in between"]);

    // The first version had no such file.
    fs::remove_file(data.join("format")).expect("removed");
    let mut node = rig.node("a").start();
    node.ready();
    node.says("upgraded in place");
    assert_eq!(Kafka::connect(&node).fetch("t", 0, 0), [b"x".to_vec()]);
    assert_eq!(node.stop(), Ended::Code(0));
    assert_eq!(fs::read_to_string(data.join("format")).expect("there"), "2\n");
}

#[test]
fn a_directory_of_somebody_else_is_named_with_its_user() {
    let rig = Rig::new();
    let data = rig.node("a").path().to_owned();
    fs::create_dir(&data).expect("made");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o500)).expect("set");
    // Root may write anywhere, unless it gives that up.
    let setup = rig.node("a").within(
        "if [ \"$(id -u)\" = 0 ]; then exec setpriv --bounding-set -all --inh-caps -all \"$@\"; fi; exec \"$@\"",
    );
    refused(setup.start().end(), &["Permission denied", "chown -R"]);
}

#[test]
fn a_file_in_the_place_of_the_directory_is_named() {
    let rig = Rig::new();
    let file = rig.file("a", "not a directory");
    refused(rig.node("a").start().end(), &["the data directory", &file, "another --data-dir"]);
}

const MOUNT: &str = "mkdir -p \"$DATA\" && mount -t tmpfs -o \"$OPTIONS\" none \"$DATA\" && exec \"$@\"";

#[test]
fn a_read_only_or_full_file_system_is_named() {
    let rig = Rig::new();
    for (options, words) in
        [("ro", &["Read-only file system", "remount"][..]), ("size=40k", &["its disk is full", "df -h"])]
    {
        let node = rig.node("a");
        let data = node.path().display().to_string();
        let node = node.variable("DATA", &data).variable("OPTIONS", options);
        let Some(node) = node.within_mounts(MOUNT) else { return };
        refused(node.start().end(), words);
    }
}

#[test]
fn a_disk_that_fills_up_is_told_and_so_is_its_end() {
    let rig = Rig::new();
    let node = rig.node("a");
    let data = node.path().to_owned();
    let node = node.variable("DATA", &data.display().to_string()).variable("OPTIONS", "size=32m");
    let Some(node) = node.within_mounts(MOUNT) else { return };
    let mut node = node.args(&["--segment-bytes", "1048576", "--reserve-bytes", "8388608"]).start();
    node.ready();
    let mut client = Kafka::connect(&node);
    client.create_topic("t", 1, 1);
    assert_eq!(client.produce("t", 0, b"before"), Ok(0));

    let filler = node.seen(&data).join("filler");
    let mut file = fs::File::create(&filler).expect("made");
    let block = vec![7; 1 << 20];
    while file.write_all(&block).is_ok() && file.metadata().expect("its length").len() < 24 << 20 {}
    node.says("the disk is full up to the reserve");
    assert_eq!(client.produce("t", 0, b"refused"), Err(STORAGE_ERROR));
    assert_eq!(client.fetch("t", 0, 0), [b"before".to_vec()], "reads go on");

    fs::remove_file(filler).expect("removed");
    drop(file);
    node.says("the disk has space again");
    until("it takes records again", || client.produce("t", 0, b"after").is_ok());
    assert_eq!(node.stop(), Ended::Code(0));
}

#[test]
fn the_limit_on_open_files_is_raised_and_a_low_one_is_told() {
    let rig = Rig::new();
    let mut node = rig.node("a").within("ulimit -Sn 300; exec \"$@\"").start();
    node.ready();
    let limits = fs::read_to_string(format!("/proc/{}/limits", node.pid())).expect("readable");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[3], words[4], "soft and hard: {line}");
    assert_eq!(node.stop(), Ended::Code(0));

    let mut node = rig.node("b").within("ulimit -n 400; exec \"$@\"").start();
    node.ready();
    node.says("this process may open 400 files");
    assert!(node.log().contains("LimitNOFILE="), "{}", node.log());
    assert_eq!(node.stop(), Ended::Code(0));
}
