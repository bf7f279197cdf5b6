//! SIGTERM, SIGHUP, and the words to a service manager.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::rig::{Ended, Rig};

#[test]
fn a_second_signal_stops_at_once() {
    let rig = Rig::new();
    let mut nodes = rig.three_with(&["--stop-ms", "600000"]);
    nodes.iter_mut().for_each(|node| node.ready());
    let mut last = nodes.remove(0);
    // Nobody is left to take its leadership, but soon it has none, and then it stops well: so both signals come at one moment.
    nodes.iter_mut().for_each(|node| node.kill());
    ["STOP", "TERM", "INT", "CONT"].into_iter().for_each(|name| last.signal(name));
    last.says("leadership is handed over first");
    assert_eq!(last.wait(), Ended::Code(130));
    assert!(last.log().contains("a second signal: stopping at once"), "{}", last.log());
}

#[test]
fn a_reload_changes_the_log_level_and_names_what_takes_a_restart() {
    let rig = Rig::new();
    let config = rig.file("node.toml", "log-level = 'warn'\nzone = 'a'\n");
    let mut node = rig.node("a").args(&["--config", &config]).start();
    node.ready();
    assert!(!node.log().contains("this node is up"), "that is told at info:\n{}", node.log());
    rig.file("node.toml", "log-level = 'info'\nzone = 'b'\nweight = 2\n");
    node.signal("HUP");
    node.says("the configuration is read again");
    let log = node.log();
    let line =
        log.lines().find(|line| line.contains("take effect when the node starts again")).expect("a line");
    assert!(line.contains("--zone") && line.contains("--weight") && !line.contains("--log-level"), "{line}");
    rig.file("node.toml", "log-level = 'shout'\n");
    node.signal("HUP");
    node.says("the configuration is not reloaded, the one in force stays");
    node.ready();
    assert_eq!(node.stop(), Ended::Code(0));
    node.says("stopped");
}

#[test]
fn log_lines_are_objects_when_asked_for() {
    let rig = Rig::new();
    let mut node = rig.node("a").args(&["--log-format", "json"]).start();
    node.ready();
    assert_eq!(node.stop(), Ended::Code(0));
    let lines: Vec<serde_json::Value> =
        node.log().lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    let up = lines.iter().find(|line| line["message"] == "this node is up").expect("a line");
    assert_eq!((&up["level"], &up["node_id"]), (&"INFO".into(), &1.into()));
    assert!(up["timestamp"].is_string() && up["target"] == "node::shell", "{up}");
}

/// A service manager that only listens.
struct Manager(UnixDatagram);

impl Manager {
    fn hear(&self) -> String {
        let mut words = [0; 4096];
        let length = self.0.recv(&mut words).expect("a word in time");
        String::from_utf8_lossy(&words[..length]).into_owned()
    }

    fn hear_until(&self, wanted: &str) -> Vec<String> {
        let mut heard = Vec::new();
        while !heard.last().is_some_and(|last: &String| last.lines().any(|line| line.starts_with(wanted))) {
            heard.push(self.hear());
        }
        heard
    }
}

#[test]
fn a_service_manager_hears_of_start_life_reload_and_stop() {
    let rig = Rig::new();
    let path = rig.file("unused", "") + ".socket";
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
    let manager = Manager(socket);
    let mut node = rig.node("a").variable("NOTIFY_SOCKET", &path).variable("WATCHDOG_USEC", "300000").start();
    let before = manager.hear_until("READY=1");
    assert!(before[0].starts_with("STATUS=recovering"), "{before:?}");
    node.ready();
    manager.hear_until("WATCHDOG=1");
    node.signal("HUP");
    let reload = manager.hear_until("RELOADING=1");
    assert!(reload.last().is_some_and(|last| last.contains("MONOTONIC_USEC=")), "{reload:?}");
    manager.hear_until("READY=1");
    node.signal("TERM");
    manager.hear_until("STOPPING=1");
    assert_eq!(node.wait(), Ended::Code(0));
}
