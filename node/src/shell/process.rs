//! What the system says of this process, under the names that all programs use.

use std::fs;

use rustix::process::{Resource, getrlimit};

use crate::exposition::Exposition;

/// Ticks per second of the figures in /proc: USER_HZ, which is 100 on every architecture that Linux has.
const TICKS: u64 = 100;

/// Appends what can be read.
pub(super) fn render(out: &mut Exposition) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    if let Some(ticks) = cpu_ticks(&stat) {
        let (whole, part) = (ticks / TICKS, ticks % TICKS);
        out.counter("process_cpu_seconds_total", "Time on the processors.")
            .is(format_args!("{whole}.{part:02}"));
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    for (name, help, key) in [
        ("process_resident_memory_bytes", "Memory in use.", "VmRSS:"),
        ("process_virtual_memory_bytes", "Address space in use.", "VmSize:"),
    ] {
        if let Some(kilobytes) = field(&status, key) {
            out.gauge(name, help).is(kilobytes.saturating_mul(1024));
        }
    }
    if let Some(threads) = field(&status, "Threads:") {
        out.gauge("process_threads", "Threads.").is(threads);
    }
    let (open, limit) = open_files();
    if let Some(open) = open {
        out.gauge("process_open_fds", "Open files.").is(open);
    }
    let mut max = out.gauge("process_max_fds", "Files that may be open.");
    match limit {
        Some(limit) => max.is(limit),
        None => max.is("+Inf"),
    }
    if let Some(start) = started(&stat) {
        out.gauge("process_start_time_seconds", "When this process began, in seconds since 1970.").is(start);
    }
}

/// How many files are open, and how many may be; nothing where that is not known, or not bounded.
pub(super) fn open_files() -> (Option<u64>, Option<u64>) {
    let open = fs::read_dir("/proc/self/fd").map(|entries| entries.count() as u64).ok();
    (open, getrlimit(Resource::Nofile).current)
}

/// The fields after the program's name, which may hold anything.
fn fields(stat: &str) -> Option<impl Iterator<Item = &str>> {
    Some(stat.rsplit_once(')')?.1.split_whitespace())
}

fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = fields(stat)?.skip(11).map(|field| field.parse::<u64>().ok());
    fields.next()??.checked_add(fields.next()??)
}

fn started(stat: &str) -> Option<u64> {
    let ticks: u64 = fields(stat)?.nth(19)?.parse().ok()?;
    let boot = fs::read_to_string("/proc/stat").ok()?;
    let boot = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse::<u64>().ok()?;
    boot.checked_add(ticks / TICKS)
}

fn field(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_proc_says_is_read() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 51 0 0 20 0 9 0 12345 99 88";
        assert_eq!(cpu_ticks(stat), Some(201));
        assert_eq!(fields(stat).and_then(|mut fields| fields.nth(19)), Some("12345"));
        assert_eq!(field("Threads:\t9\nVmRSS:\t  12 kB\n", "VmRSS:"), Some(12));
        assert_eq!((cpu_ticks("x"), field("", "VmRSS:")), (None, None));
        let mut out = Exposition::default();
        render(&mut out);
        let text = out.finish();
        for name in
            ["cpu_seconds_total", "resident_memory_bytes", "open_fds", "max_fds", "start_time_seconds"]
        {
            assert!(
                text.lines().any(|line| line.starts_with(&format!("process_{name} "))),
                "{name} in\n{text}"
            );
        }
    }
}
