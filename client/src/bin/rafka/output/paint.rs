//! Colours: which, and whether.

use clap::ValueEnum;
use clap::builder::Styles;
use clap::builder::styling::{AnsiColor, Effects, Style};
use serde::Deserialize;
use std::io::{self, IsTerminal};

/// `--color`.
#[derive(ValueEnum, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set or the terminal is dumb
    Auto,
    /// As on a terminal, even in a pipe
    Always,
    /// No colours
    Never,
}

/// What a text is to say by its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    Plain,
    Heading,
    Good,
    Warning,
    Bad,
    Dim,
}

impl Look {
    fn style(self) -> Style {
        let color = |color: AnsiColor| Style::new().fg_color(Some(color.into()));
        match self {
            Look::Plain => Style::new(),
            Look::Heading => Style::new().effects(Effects::BOLD),
            Look::Good => color(AnsiColor::Green),
            Look::Warning => color(AnsiColor::Yellow),
            Look::Bad => color(AnsiColor::Red),
            Look::Dim => Style::new().effects(Effects::DIMMED),
        }
    }
}

/// Whether each of the two outputs is coloured, and whether tables are for eyes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Paint {
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
    /// Tables are aligned and have a heading.
    pub(crate) aligned: bool,
}

impl Paint {
    /// Looks at the terminal and the environment.
    pub(crate) fn new(choice: ColorChoice) -> Paint {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let plain = set("NO_COLOR") || dumb;
        Paint::of(choice, plain, io::stdout().is_terminal(), io::stderr().is_terminal())
    }

    fn of(choice: ColorChoice, plain: bool, stdout: bool, stderr: bool) -> Paint {
        match choice {
            ColorChoice::Always => Paint { stdout: true, stderr: true, aligned: true },
            ColorChoice::Never => Paint { stdout: false, stderr: false, aligned: stdout },
            ColorChoice::Auto => {
                Paint { stdout: stdout && !plain, stderr: stderr && !plain, aligned: stdout }
            }
        }
    }

    /// `text` for standard output.
    pub(crate) fn out(self, look: Look, text: &str) -> String {
        painted(self.stdout, look, text)
    }

    /// `text` for standard error.
    pub(crate) fn err(self, look: Look, text: &str) -> String {
        painted(self.stderr, look, text)
    }
}

fn painted(on: bool, look: Look, text: &str) -> String {
    if !on || look == Look::Plain || text.is_empty() {
        return text.to_owned();
    }
    let style = look.style();
    format!("{style}{text}{style:#}")
}

/// The colours of `--help`.
pub(crate) const fn styles() -> Styles {
    Styles::styled()
        .header(AnsiColor::Green.on_default().effects(Effects::BOLD))
        .usage(AnsiColor::Green.on_default().effects(Effects::BOLD))
        .literal(AnsiColor::Cyan.on_default().effects(Effects::BOLD))
        .placeholder(AnsiColor::Cyan.on_default())
}

#[cfg(test)]
mod tests {
    use super::{ColorChoice, Look, Paint};

    #[test]
    fn a_pipe_is_plain_unless_asked() {
        let paint = |choice, plain, stdout| {
            let paint = Paint::of(choice, plain, stdout, stdout);
            (paint.stdout, paint.aligned)
        };
        assert_eq!(paint(ColorChoice::Auto, false, true), (true, true));
        assert_eq!(paint(ColorChoice::Auto, false, false), (false, false));
        assert_eq!(paint(ColorChoice::Auto, true, true), (false, true));
        assert_eq!(paint(ColorChoice::Never, false, true), (false, true));
        assert_eq!(paint(ColorChoice::Always, true, false), (true, true));
    }

    #[test]
    fn a_painted_text_is_closed() {
        let paint = Paint { stdout: true, ..Paint::default() };
        assert_eq!(paint.out(Look::Bad, "down"), "\u{1b}[31mdown\u{1b}[0m");
        assert_eq!(paint.out(Look::Plain, "up"), "up");
        assert_eq!(paint.err(Look::Bad, "down"), "down");
    }
}
