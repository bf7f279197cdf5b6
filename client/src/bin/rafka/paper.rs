//! `rafka completions` and `rafka man`: what a package installs beside the program, made from the commands themselves.

use crate::error::CliError;
use crate::output;
use crate::settings::Settings;
use clap::{Args, Command};
use clap_complete::Shell;
use serde_json::json;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Arguments of `rafka completions`.
#[derive(Args, Debug)]
#[command(after_help = "\
Install it for yourself:
  bash  rafka completions bash > ~/.local/share/bash-completion/completions/rafka
  zsh   rafka completions zsh > ~/.zfunc/_rafka          (with fpath+=~/.zfunc before compinit)
  fish  rafka completions fish > ~/.config/fish/completions/rafka.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell to complete in
    shell: Shell,
}

/// Arguments of `rafka man`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  rafka man ~/.local/share/man/man1 && man rafka
  rafka man ./man1 && man -l ./man1/rafka-bench-latency.1")]
pub(crate) struct ManArgs {
    /// Write one page per command into this directory; made when it is not there
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    directory: PathBuf,
}

/// Prints the script.
pub(crate) fn completions(mut command: Command, args: &CompletionsArgs) -> Result<(), CliError> {
    // The generator panics when it cannot write, so it writes into memory.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "rafka", &mut script);
    let mut out = io::stdout().lock();
    out.write_all(&script)?;
    Ok(out.flush()?)
}

/// Writes the pages.
pub(crate) fn man(settings: &Settings, command: Command, args: &ManArgs) -> Result<(), CliError> {
    let directory = &args.directory;
    std::fs::create_dir_all(directory).map_err(|error| cannot("create", directory, &error))?;
    let pages = pages(command);
    for (name, text) in &pages {
        let path = directory.join(name);
        std::fs::write(&path, text).map_err(|error| cannot("write", &path, &error))?;
    }
    if settings.json {
        let names: Vec<&String> = pages.iter().map(|(name, _)| name).collect();
        return output::json(&json!({ "directory": directory.display().to_string(), "pages": names }));
    }
    output::line(&format!(
        "wrote {} pages to {}; read one with: man -l {}",
        pages.len(),
        directory.display(),
        directory.join("rafka.1").display()
    ))
}

/// File name and text of each page.
fn pages(command: Command) -> Vec<(String, Vec<u8>)> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    add(&command, "rafka", &mut pages);
    pages
}

fn add(command: &Command, name: &str, pages: &mut Vec<(String, Vec<u8>)>) {
    let page = clap_mangen::Man::new(command.clone()).title(name.to_uppercase()).section("1");
    let mut text = Vec::new();
    if page.render(&mut text).is_ok() {
        pages.push((format!("{name}.1"), text));
    }
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        add(below, &format!("{name}-{}", below.get_name()), pages);
    }
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> CliError {
    CliError::Failed(format!(
        "cannot {what} {}: {error}.\nName a directory that you may write to.",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::pages;
    use crate::Cli;
    use clap::CommandFactory;

    #[test]
    fn every_command_has_a_page_with_its_options_and_exit_codes() {
        let pages = pages(Cli::command());
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for name in
            ["rafka.1", "rafka-topic.1", "rafka-topic-create.1", "rafka-produce.1", "rafka-bench-latency.1"]
        {
            assert!(names.contains(&name), "{name} is not among {names:?}");
        }
        let text = |name: &str| {
            let page = pages.iter().find(|(found, _)| found == name);
            String::from_utf8(page.map(|(_, text)| text.clone()).unwrap_or_default()).unwrap()
        };
        assert!(text("rafka.1").contains("130"), "exit codes");
        assert!(text("rafka-produce.1").contains("separator") && text("rafka-produce.1").contains("RAFKA"));
    }
}
