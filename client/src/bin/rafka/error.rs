//! What can go wrong, as a person reads it, and the exit code a script reads.

use std::fmt;
use std::io;

/// The contract with scripts, as `--help` and the manual tell it.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed: somebody answered, and the answer was no, or a part of the work failed
  2    wrong usage: arguments, a property or the file of profiles
  3    nobody reachable at --bootstrap or --http
  4    what was named does not exist: a topic, a partition, a key of the mesh
  5    not known: it may have happened, but no answer came (records without acknowledgement, replicas that
       were not compared to the end)
  6    rafka doctor: something is not as it should be, nothing critical
  7    rafka doctor: something critical
  8    rafka verify: replicas differ or are damaged
  130  interrupted before the work was done
A reader of the output that goes away (as head does) is no failure.";

/// A command's failure. The text says what happened, to which topic or node, and what to do.
#[derive(Debug)]
pub(crate) enum CliError {
    /// The command was understood, reached somebody and did not succeed. Exit code 1.
    Failed(String),
    /// The arguments contradict each other or name something impossible. Exit code 2.
    Usage(String),
    /// No node answered. Exit code 3.
    Unreachable(String),
    /// What was named does not exist. Exit code 4.
    Missing(String),
    /// It may or may not have happened. Exit code 5.
    Unknown(String),
    /// Things are not as they should be. Exit code 6.
    Warnings(String),
    /// Something does not work. Exit code 7.
    Critical(String),
    /// Replicas are not what they should be. Exit code 8.
    Differs(String),
    /// The user ended it before it was done. Exit code 130.
    Interrupted(String),
    /// The reader of our output went away: not an error, but there is nobody left to work for.
    BrokenPipe,
}

impl CliError {
    /// The process exit code of the command-line contract, [`EXIT_CODES`].
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            CliError::BrokenPipe => 0,
            CliError::Failed(_) => 1,
            CliError::Usage(_) => 2,
            CliError::Unreachable(_) => 3,
            CliError::Missing(_) => 4,
            CliError::Unknown(_) => 5,
            CliError::Warnings(_) => 6,
            CliError::Critical(_) => 7,
            CliError::Differs(_) => 8,
            CliError::Interrupted(_) => 130,
        }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CliError::Failed(text)
            | CliError::Usage(text)
            | CliError::Unreachable(text)
            | CliError::Missing(text)
            | CliError::Unknown(text)
            | CliError::Warnings(text)
            | CliError::Critical(text)
            | CliError::Differs(text)
            | CliError::Interrupted(text) => f.write_str(text),
            CliError::BrokenPipe => f.write_str("the reader of the output went away"),
        }
    }
}

impl std::error::Error for CliError {}

/// What the library says, in the words of the command line: what to do there is a flag or a command.
impl From<rafka::Error> for CliError {
    fn from(error: rafka::Error) -> CliError {
        use rafka::Error;
        match &error {
            Error::KafkaUnreachable { addresses, reason } => CliError::Unreachable(format!(
                "no node answers at {addresses} ({reason}).\nIs it running? Name another with --bootstrap HOST:PORT or \
                 RAFKA_BOOTSTRAP; --verbose shows each attempt."
            )),
            Error::HttpUnreachable { address, reason } => CliError::Unreachable(format!(
                "no node answers at http://{address} ({reason}).\nName another with --http HOST:PORT or RAFKA_HTTP."
            )),
            Error::NotRafka { address, reason } => CliError::Failed(format!(
                "http://{address} does not answer as a rafka node does ({reason}).\nIs --http (or RAFKA_HTTP) a node's HTTP \
                 address?"
            )),
            Error::Property { key, value, reason } => CliError::Usage(format!(
                "the property {key}={value} is not taken: {reason}.\nSee --property (-X), and the profile that rafka profiles \
                 shows."
            )),
            Error::Properties { reason } => CliError::Usage(format!(
                "cannot start the Kafka client: {reason}.\nCheck --property (-X), and the profile that rafka profiles shows."
            )),
            Error::TopicName { .. } => CliError::Usage(error.to_string()),
            Error::TopicMissing { topic, addresses } => CliError::Missing(format!(
                "topic \"{topic}\" does not exist at {addresses}.\nSee what there is: rafka topic list. Create it: rafka topic \
                 create {topic}"
            )),
            Error::NoAnswer { addresses, what, reason } => CliError::Unknown(format!(
                "the mesh at {addresses} did not {what}: {reason}.\nIt may still happen: see rafka topic list."
            )),
            Error::Leaderless { topic, waited } => CliError::Unknown(format!(
                "topic \"{topic}\" was created, but after {} s not every partition has a leader.\nrafka topic describe \
                 {topic} shows which, rafka nodes who is up.",
                waited.as_secs()
            )),
            Error::Offsets { topic, partition, waited, reason } => CliError::Failed(format!(
                "partition {partition} of topic \"{topic}\": its leader does not say its offsets within {} s: {reason}.\n\
                 rafka topic describe {topic} shows the leader, rafka nodes whether it is up.",
                waited.as_secs()
            )),
            _ => CliError::Failed(error.to_string()),
        }
    }
}

/// Only standard output's errors convert by themselves; errors of files are given their path where they happen.
impl From<io::Error> for CliError {
    fn from(error: io::Error) -> CliError {
        match error.kind() {
            io::ErrorKind::BrokenPipe => CliError::BrokenPipe,
            _ => CliError::Failed(format!("cannot write to standard output: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CliError, EXIT_CODES};

    #[test]
    fn every_exit_code_is_documented() {
        let text = String::new;
        for error in [
            CliError::BrokenPipe,
            CliError::Failed(text()),
            CliError::Usage(text()),
            CliError::Unreachable(text()),
            CliError::Missing(text()),
            CliError::Unknown(text()),
            CliError::Warnings(text()),
            CliError::Critical(text()),
            CliError::Differs(text()),
            CliError::Interrupted(text()),
        ] {
            let told = format!("\n  {:<3}  ", error.exit_code());
            assert!(EXIT_CODES.contains(&told), "{error:?}");
        }
    }
}
