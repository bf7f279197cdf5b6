//! What can go wrong, as a person reads it, and the exit code a script reads.

use std::fmt;
use std::io;

/// A command's failure. The text says what happened, to which topic or node, and what to do.
#[derive(Debug)]
pub(crate) enum CliError {
    /// The command was understood, reached somebody and did not succeed. Exit code 1.
    Failed(String),
    /// The arguments contradict each other or name something impossible. Exit code 2.
    Usage(String),
    /// No node answered. Exit code 3.
    Unreachable(String),
    /// The reader of our output went away: not an error, but there is nobody left to work for.
    BrokenPipe,
}

impl CliError {
    /// The process exit code of the command-line contract.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            CliError::BrokenPipe => 0,
            CliError::Failed(_) => 1,
            CliError::Usage(_) => 2,
            CliError::Unreachable(_) => 3,
        }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CliError::Failed(text) | CliError::Usage(text) | CliError::Unreachable(text) => f.write_str(text),
            CliError::BrokenPipe => f.write_str("the reader of the output went away"),
        }
    }
}

impl std::error::Error for CliError {}

/// Only standard output's errors convert by themselves; errors of files are given their path where they happen.
impl From<io::Error> for CliError {
    fn from(error: io::Error) -> CliError {
        match error.kind() {
            io::ErrorKind::BrokenPipe => CliError::BrokenPipe,
            _ => CliError::Failed(format!("cannot write to standard output: {error}")),
        }
    }
}
