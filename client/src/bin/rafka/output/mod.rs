//! What a person or a script sees: aligned, coloured tables on a terminal, tab-separated rows in a pipe, JSON when asked.
//!
//! Everything written to standard output returns its error: a reader that went away ends the command quietly.

mod paint;
mod progress;
mod table;

pub(crate) use crate::units::bytes;
pub(crate) use paint::{ColorChoice, Look, Paint, styles};
pub(crate) use progress::Waiting;
pub(crate) use table::{Cell, Table};

use crate::error::CliError;
use serde_json::Value;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

/// Writes one line to standard output.
pub(crate) fn line(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// Writes one JSON value as one line to standard output.
pub(crate) fn json(value: &Value) -> Result<(), CliError> {
    line(&value.to_string())
}

/// Writes one line to standard error, where a failing write has nobody left to tell.
pub(crate) fn note(text: &str) {
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// Whether standard output goes into a file, so that nothing of it reaches a terminal by some way.
pub(crate) fn stdout_is_file() -> bool {
    let handle = io::stdout().as_fd().try_clone_to_owned();
    handle.map(File::from).and_then(|file| file.metadata()).is_ok_and(|metadata| metadata.is_file())
}

/// Whether somebody watches standard error.
pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// `[1, 2, 3]` as `1,2,3`, and nothing as `-`.
pub(crate) fn ids<T: ToString>(ids: &[T]) -> String {
    if ids.is_empty() {
        return "-".to_owned();
    }
    ids.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}

/// A number, or `-` where it is not known.
pub(crate) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::{bytes, ids};

    #[test]
    fn bytes_are_told_in_decimal_units() {
        assert_eq!(
            [0.0, 999.0, 1e3, 12.34e6, 4.5e9].map(bytes),
            ["0 B", "999 B", "1.0 kB", "12.3 MB", "4.5 GB"]
        );
    }

    #[test]
    fn no_ids_are_a_dash() {
        assert_eq!(ids::<i32>(&[]), "-");
        assert_eq!(ids(&[1, 2]), "1,2");
    }
}
