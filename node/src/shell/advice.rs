//! What the system's errors mean to a person, and what to do about them.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::path::Path;

use storage::OpenError;

/// Of an address that cannot be listened on.
pub(super) fn listening(address: SocketAddr, error: &Error) -> String {
    let port = address.port();
    match error.kind() {
        ErrorKind::AddrInUse => format!(
            "{error}; stop what listens there (ss -ltnp 'sport = :{port}' names it), or choose another port"
        ),
        ErrorKind::AddrNotAvailable => {
            format!("{error}; this machine has no address {}: ip addr lists those that it has", address.ip())
        }
        ErrorKind::PermissionDenied => format!(
            "{error}; ports below 1024 take a privilege: choose a higher port, or give this program CAP_NET_BIND_SERVICE \
             (AmbientCapabilities= in its unit)"
        ),
        _ => format!("{error}; choose another address or port"),
    }
}

/// Of a data directory that cannot be used.
pub(super) fn disk(path: &Path, error: &Error) -> String {
    let shown = path.display();
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => full(path),
        ErrorKind::ReadOnlyFilesystem => format!(
            "{error}; its file system is mounted read-only: dmesg may say why (a failing disk does that). Mount it for writing \
             (mount -o remount,rw) and start again, or name another --data-dir"
        ),
        ErrorKind::PermissionDenied => {
            let user = rustix::process::geteuid();
            format!(
                "{error}; user {} may not use it: give it to that user (chown -R {0} {shown}), or start rafka-node as its owner",
                user.as_raw()
            )
        }
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
            format!("{error}; {shown} is no directory: name another --data-dir")
        }
        _ => format!("{error}; look at the disk (dmesg, smartctl)"),
    }
}

fn full(path: &Path) -> String {
    format!(
        "its disk is full: free some space there (df -h {}) and start again; nothing that was acknowledged is lost",
        path.display()
    )
}

/// Of a log that does not open.
pub(super) fn opening(path: &Path, error: &OpenError) -> String {
    match error {
        OpenError::Full => full(path),
        OpenError::Io(error) => disk(path, error),
        other => other.to_string(),
    }
}

/// Of the core's word for a disk that failed under a running node: it carries the system's words, and the number of the error
/// in them.
pub(super) fn failed(reason: &str) -> &'static str {
    let says = |number: u32| reason.contains(&format!("(os error {number})"));
    match () {
        () if says(28) || says(122) => {
            "The disk is full: free some space (df -h), then start the node again."
        }
        () if says(30) => {
            "Its file system became read-only, as it does when a disk fails: see dmesg; mount it for writing or replace the \
             disk, then start the node again."
        }
        () => "Look at the disk (dmesg, df, smartctl), then start the node again.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_says_what_to_do() {
        let path = Path::new("/data");
        for (number, words) in [
            (28, "df -h /data"),
            (30, "remount"),
            (13, "chown -R"),
            (20, "another --data-dir"),
            (5, "smartctl"),
        ] {
            let said = disk(path, &Error::from_raw_os_error(number));
            assert!(said.contains(words), "{said}");
        }
        let address: SocketAddr = "[::1]:92".parse().expect("an address");
        for (number, words) in [(98, "sport = :92"), (99, "no address ::1"), (13, "CAP_NET_BIND_SERVICE")] {
            let said = listening(address, &Error::from_raw_os_error(number));
            assert!(said.contains(words), "{said}");
        }
        assert!(opening(path, &OpenError::Full).contains("df -h"));
        assert!(failed(&format!("the sync failed: {}", Error::from_raw_os_error(28))).contains("full"));
        assert!(failed(&format!("the sync failed: {}", Error::from_raw_os_error(30))).contains("read-only"));
        assert!(failed("anything").contains("smartctl"));
    }
}
