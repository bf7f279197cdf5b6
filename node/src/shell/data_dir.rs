//! The small files of a data directory. The segment log and its lock are storage's.
//!
//! | file | what | written |
//! |---|---|---|
//! | `format` | the version of the directory, decimal; absent in version 1 | once, and by an upgrade |
//! | `identity` | libp2p's key pair in its protobuf form | once |
//! | `incarnation` | the directory's first life, 16 hex digits | once |
//! | `life` | its present life, if damage of the segment log has ended an earlier one | when damage is found |
//! | `workers` | how many workers have a log here, decimal | by each start |
//! | `worker-1`, .. | the segment log of each worker but the first, whose is in the directory itself | |
//! | `founding` | what was agreed when the mesh was founded, see `mesh::founding` | twice |
//! | `view` | what this node knew of topics and nodes, see `core::metadata::View`; an old one is no harm | now and then |
//! | `ports.json` | the ports that this process listens on | each start |
//!
//! Each is replaced whole: written beside, synced, renamed, and the directory synced. Only the owner may read them.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use libp2p::identity::Keypair;
use mesh::founding::Recorded;
use mesh::raft::Incarnation;

use super::advice;
use crate::core::metadata::View;

const FORMAT: &str = "format";
const IDENTITY: &str = "identity";
const INCARNATION: &str = "incarnation";
const LIFE: &str = "life";
const WORKERS: &str = "workers";
const FOUNDING: &str = "founding";
const VIEW: &str = "view";
const PORTS: &str = "ports.json";
/// What this release writes: the files of the table above, and the segments of `storage`.
const FORMAT_NOW: u32 = 2;
/// The oldest that this release upgrades. Version 1 had no `format` file, and nothing else differs.
const FORMAT_OLDEST: u32 = 1;
/// Most workers that a node may have.
pub(super) const WORKERS_MAX: u64 = 64;
/// None of these files is larger.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Why a data directory is not taken.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The disk, or what the user may do there.
    #[error("the data directory {} cannot be used: {file}: {}", path.display(), advice::disk(path, error))]
    Io {
        /// The directory.
        path: PathBuf,
        /// The file in it.
        file: &'static str,
        /// Why.
        error: io::Error,
    },
    /// A file is not what it should be.
    #[error(
        "{file} in the data directory {} is damaged. Restore it from a backup of this directory; if there is none, \
         empty the directory and let the node --join again",
        path.display()
    )]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// The file in it.
        file: &'static str,
    },
    /// Some of the files are there, and this one is not.
    #[error(
        "{file} is missing in the data directory {}, which is not empty: parts of it were deleted. Restore it from a backup \
         of this directory; if there is none, empty the directory and let the node --join again",
        path.display()
    )]
    Missing {
        /// The directory.
        path: PathBuf,
        /// The file in it.
        file: &'static str,
    },
    /// Written by a release that came after this one.
    #[error(
        "the data directory {} has format {found}, and this release knows up to {FORMAT_NOW}: a newer release wrote it. Start \
         that release, or name another --data-dir; nothing was changed",
        path.display()
    )]
    Newer {
        /// The directory.
        path: PathBuf,
        /// As recorded.
        found: u32,
    },
    /// Written by a release too long ago.
    #[error(
        "the data directory {} has format {found}, and this release upgrades from {FORMAT_OLDEST} on: start a release in between \
         first; nothing was changed",
        path.display()
    )]
    Older {
        /// The directory.
        path: PathBuf,
        /// As recorded.
        found: u32,
    },
}

/// An open data directory: the caller holds storage's lock.
#[derive(Clone, Debug)]
pub struct DataDir {
    path: PathBuf,
    keys: Keypair,
    incarnation: Incarnation,
    life: Incarnation,
}

impl DataDir {
    /// Reads who this directory is, or draws that for an empty one. `has_logs` says whether the segment log holds anything.
    ///
    /// # Errors
    /// When the directory is incomplete, damaged, or not readable.
    pub fn open(path: &Path, has_logs: bool) -> Result<DataDir, DataDirError> {
        let damaged = |file| DataDirError::Damaged { path: path.to_owned(), file };
        let keys = match read(path, IDENTITY)? {
            Some(bytes) => {
                Keypair::from_protobuf_encoding(&bytes).map_err(|_undecodable| damaged(IDENTITY))?
            }
            None => {
                if has_logs || read(path, FOUNDING)?.is_some() {
                    return Err(DataDirError::Missing { path: path.to_owned(), file: IDENTITY });
                }
                draw(path)?
            }
        };
        let number = |file: &'static str| match read(path, file)? {
            Some(bytes) => std::str::from_utf8(&bytes)
                .ok()
                .and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
                .map(|number| Some(Incarnation(number)))
                .ok_or_else(|| damaged(file)),
            None => Ok(None),
        };
        let Some(incarnation) = number(INCARNATION)? else {
            return Err(DataDirError::Missing { path: path.to_owned(), file: INCARNATION });
        };
        let life = number(LIFE)?.unwrap_or(incarnation);
        upgrade(path)?;
        Ok(DataDir { path: path.to_owned(), keys, incarnation, life })
    }

    /// Refuses a directory of another time before anything in it is touched, its lock included.
    ///
    /// # Errors
    /// When this release must not use it.
    pub fn check_format(path: &Path) -> Result<(), DataDirError> {
        match format(path)? {
            found if found > FORMAT_NOW => Err(DataDirError::Newer { path: path.to_owned(), found }),
            found if found < FORMAT_OLDEST => Err(DataDirError::Older { path: path.to_owned(), found }),
            _ => Ok(()),
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Who this node is on the mesh.
    pub fn keys(&self) -> &Keypair {
        &self.keys
    }

    /// The directory's first life: what the founding knows it by.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The directory's present life: replicas are made for it.
    pub fn life(&self) -> Incarnation {
        self.life
    }

    /// Records how many workers have a log here; durable on return.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn set_workers(&self, count: usize) -> Result<(), DataDirError> {
        if workers(&self.path)? == count {
            return Ok(());
        }
        write(&self.path, WORKERS, format!("{count}\n").as_bytes())
    }

    /// The founding record, if there is one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn founding(&self) -> Result<Option<Bytes>, DataDirError> {
        read(&self.path, FOUNDING)
    }

    /// Replaces the founding record; durable on return.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn set_founding(&self, bytes: &[u8]) -> Result<(), DataDirError> {
        write(&self.path, FOUNDING, bytes)
    }

    /// The copy of the view, if there is one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn view(&self) -> Result<Option<Bytes>, DataDirError> {
        read(&self.path, VIEW)
    }

    /// Replaces the copy of the view; durable on return.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn set_view(&self, bytes: &[u8]) -> Result<(), DataDirError> {
        write(&self.path, VIEW, bytes)
    }

    /// Says where this process listens: `kafka` is the first of the named `listeners`.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn set_ports(&self, listeners: &[(String, u16)], mesh: u16, http: u16) -> Result<(), DataDirError> {
        let kafka = listeners.first().map(|(_, port)| *port);
        let listeners: BTreeMap<&str, u16> =
            listeners.iter().map(|(name, port)| (name.as_str(), *port)).collect();
        let ports = serde_json::json!({ "kafka": kafka, "mesh": mesh, "http": http, "listeners": listeners });
        write(&self.path, PORTS, format!("{ports}\n").as_bytes())
    }
}

/// How many workers have a log in this directory; an empty one is the first worker's.
///
/// # Errors
/// When that cannot be read.
pub fn workers(path: &Path) -> Result<usize, DataDirError> {
    let Some(bytes) = read(path, WORKERS)? else { return Ok(1) };
    let count = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse::<u64>().ok());
    count
        .filter(|count| (1..=WORKERS_MAX).contains(count))
        .and_then(|count| usize::try_from(count).ok())
        .ok_or_else(|| DataDirError::Damaged { path: path.to_owned(), file: WORKERS })
}

/// Where a worker's segment log is.
pub fn worker_path(path: &Path, number: usize) -> PathBuf {
    if number == 0 { path.to_owned() } else { path.join(format!("worker-{number}")) }
}

/// What is wrong with the small files, for a look from outside; the segment log is storage's.
pub(super) fn problems(path: &Path) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut check = |result: Result<bool, DataDirError>, file: &str, what: &str| match result {
        Ok(true) => {}
        Ok(false) => found.push(format!("{file} is damaged: {what}")),
        Err(error) => found.push(error.to_string()),
    };
    let hex = |file: &'static str, needed: bool| {
        let bytes = read(path, file)?;
        let text = bytes.as_ref().and_then(|bytes| std::str::from_utf8(bytes).ok()).map(str::trim);
        Ok(text.map_or(!needed, |text| u64::from_str_radix(text, 16).is_ok()))
    };
    check(DataDir::check_format(path).map(|()| true), FORMAT, "");
    let identity = read(path, IDENTITY);
    let whole =
        identity.map(|bytes| bytes.is_some_and(|bytes| Keypair::from_protobuf_encoding(&bytes).is_ok()));
    check(whole, IDENTITY, "the node's key pair cannot be read");
    check(hex(INCARNATION, true), INCARNATION, "the directory's first life cannot be read");
    check(hex(LIFE, false), LIFE, "the directory's present life cannot be read");
    check(workers(path).map(|_| true), WORKERS, "");
    let decodes =
        |file, decodes: fn(&[u8]) -> bool| Ok(read(path, file)?.is_none_or(|bytes| decodes(&bytes)));
    check(
        decodes(FOUNDING, |bytes| Recorded::decode(bytes).is_ok()),
        FOUNDING,
        "the founding record cannot be read",
    );
    check(
        decodes(VIEW, |bytes| View::decode(bytes).is_ok()),
        VIEW,
        "the copy of the metadata cannot be read; a start does without it",
    );
    found
}

/// The copy of the metadata of a directory that no node uses, if there is one that can be read.
pub(super) fn view_of(path: &Path) -> Option<View> {
    View::decode(&read(path, VIEW).ok()??).ok()
}

/// Whether anything of a node is there.
pub(super) fn is_one(path: &Path) -> bool {
    let segment = |name: std::ffi::OsString| name.to_str().is_some_and(|name| name.ends_with(".segment"));
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    path.join(IDENTITY).exists() || entries.map(|entry| entry.file_name()).any(segment)
}

/// As recorded; a directory that does not say is of version 1, or empty.
fn format(path: &Path) -> Result<u32, DataDirError> {
    let Some(bytes) = read(path, FORMAT)? else { return Ok(1) };
    let text = std::str::from_utf8(&bytes).ok().map(str::trim);
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| DataDirError::Damaged { path: path.to_owned(), file: FORMAT })
}

/// In place, step by step from what is recorded to what this release writes; a crash in between is gone over again.
fn upgrade(path: &Path) -> Result<(), DataDirError> {
    let found = format(path)?;
    if found >= FORMAT_NOW {
        return Ok(());
    }
    write(path, FORMAT, format!("{FORMAT_NOW}\n").as_bytes())?;
    tracing::info!(from = found, to = FORMAT_NOW, "the data directory is upgraded in place");
    Ok(())
}

/// A new identity and incarnation. The identity comes last: with it the directory is complete.
fn draw(path: &Path) -> Result<Keypair, DataDirError> {
    let keys = Keypair::generate_ed25519();
    let bytes = keys
        .to_protobuf_encoding()
        .map_err(|_unsupported| DataDirError::Damaged { path: path.to_owned(), file: IDENTITY })?;
    let incarnation =
        random().map_err(|error| DataDirError::Io { path: path.to_owned(), file: INCARNATION, error })?;
    write(path, FORMAT, format!("{FORMAT_NOW}\n").as_bytes())?;
    write(path, WORKERS, b"1\n")?;
    write(path, INCARNATION, format!("{incarnation:016x}\n").as_bytes())?;
    write(path, IDENTITY, &bytes)?;
    Ok(keys)
}

/// The segment log is damaged: what the replicas here had promised may be forgotten, also that they existed. So the directory
/// begins another life, in which they have promised nothing; their data stays as a head start.
///
/// # Errors
/// When the disk fails.
pub fn begin_life(path: &Path) -> io::Result<()> {
    replace(path, LIFE, format!("{:016x}\n", random()?).as_bytes())
}

/// Eight bytes of the system's randomness.
///
/// # Errors
/// When the system has none.
pub fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

fn read(path: &Path, file: &'static str) -> Result<Option<Bytes>, DataDirError> {
    let failed = |error| DataDirError::Io { path: path.to_owned(), file, error };
    let opened = match File::open(path.join(file)) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    opened.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Some(bytes.into()))
}

fn write(path: &Path, file: &'static str, bytes: &[u8]) -> Result<(), DataDirError> {
    replace(path, file, bytes).map_err(|error| DataDirError::Io { path: path.to_owned(), file, error })
}

fn replace(path: &Path, file: &str, bytes: &[u8]) -> io::Result<()> {
    let beside = path.join(format!("{file}.new"));
    let mut written = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&beside)?;
    written.write_all(bytes)?;
    written.sync_all()?;
    fs::rename(&beside, path.join(file))?;
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_stays_who_it_is() {
        let root = tempfile::tempdir().expect("a directory");
        let first = DataDir::open(root.path(), false).expect("opens");
        first.set_founding(b"one").expect("written");
        first.set_founding(b"two").expect("written");
        let again = DataDir::open(root.path(), true).expect("opens");
        assert_eq!(again.keys().public(), first.keys().public());
        assert_eq!(again.incarnation(), first.incarnation());
        assert_eq!(again.founding().expect("readable").as_deref(), Some(&b"two"[..]));
        assert_eq!(again.view().expect("readable"), None);
        let other = tempfile::tempdir().expect("a directory");
        let other = DataDir::open(other.path(), false).expect("opens");
        assert_ne!(other.incarnation(), first.incarnation());
    }

    #[test]
    fn damage_begins_another_life_of_the_same_node() {
        let root = tempfile::tempdir().expect("a directory");
        let first = DataDir::open(root.path(), false).expect("opens");
        assert_eq!(first.life(), first.incarnation());
        begin_life(root.path()).expect("written");
        let second = DataDir::open(root.path(), true).expect("opens");
        assert_eq!(
            (second.incarnation(), second.keys().public()),
            (first.incarnation(), first.keys().public())
        );
        assert_ne!(second.life(), first.life());
        assert_eq!(DataDir::open(root.path(), true).expect("opens").life(), second.life());
    }

    #[test]
    fn a_drawing_that_was_interrupted_is_drawn_again() {
        // The identity is written last; without it nothing was promised to anyone.
        let root = tempfile::tempdir().expect("a directory");
        write(root.path(), WORKERS, b"1\n").expect("written");
        write(root.path(), INCARNATION, b"7\n").expect("written");
        assert_ne!(DataDir::open(root.path(), false).expect("opens").incarnation(), Incarnation(7));
    }

    #[test]
    fn another_format_is_refused_or_upgraded() {
        let root = tempfile::tempdir().expect("a directory");
        DataDir::check_format(root.path()).expect("an empty directory is any release's");
        DataDir::open(root.path(), false).expect("opens");
        assert_eq!(format(root.path()).expect("readable"), FORMAT_NOW);
        fs::remove_file(root.path().join(FORMAT)).expect("removed");
        DataDir::check_format(root.path()).expect("version 1");
        DataDir::open(root.path(), true).expect("opens");
        assert_eq!(format(root.path()).expect("readable"), FORMAT_NOW);
        for (found, words) in
            [("3", "newer release"), ("0", "a release in between"), ("x", "format in the data")]
        {
            write(root.path(), FORMAT, found.as_bytes()).expect("written");
            let error = DataDir::check_format(root.path()).expect_err("refused").to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn what_is_missing_or_damaged_is_named() {
        let root = tempfile::tempdir().expect("a directory");
        DataDir::open(root.path(), false).expect("opens").set_founding(b"x").expect("written");
        for wrong in [&b"0\n"[..], b"65\n", b"four\n", b"\xff"] {
            write(root.path(), WORKERS, wrong).expect("written");
            let error = workers(root.path()).expect_err("no number of workers").to_string();
            assert!(error.contains("workers in the data") && error.contains("damaged"), "{error}");
        }
        write(root.path(), INCARNATION, b"life").expect("written");
        let error = DataDir::open(root.path(), false).expect_err("damaged").to_string();
        assert!(error.contains("incarnation") && error.contains("damaged"), "{error}");
        fs::remove_file(root.path().join(IDENTITY)).expect("removed");
        let error = DataDir::open(root.path(), false).expect_err("missing").to_string();
        assert!(error.contains("identity is missing"), "{error}");
        let error = DataDir::open(tempfile::tempdir().expect("a directory").path(), true)
            .expect_err("logs")
            .to_string();
        assert!(error.contains("identity is missing"), "{error}");
    }
}
