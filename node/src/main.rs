//! The broker as a process; all of it is in [`node::shell`].

use std::process::ExitCode;

fn main() -> ExitCode {
    node::shell::main()
}
