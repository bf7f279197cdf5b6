//! The progress bar, on a terminal only.

use super::ledger::Ledger;
use crate::clock;
use crate::output;
use crate::settings::Settings;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

/// Draws on standard error at most ten times a second.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    began: Instant,
    drawn: Option<Instant>,
}

impl Progress {
    /// `input_bytes` is the input's length where known. Nothing is drawn unless standard error is a terminal that
    /// nobody types input into.
    pub(super) fn start(settings: &Settings, input_bytes: Option<u64>) -> Progress {
        let typed = input_bytes.is_none() && io::stdin().is_terminal();
        let wanted = settings.draws() && !typed;
        let bar = wanted.then(|| {
            let bar = input_bytes.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
            let template = match input_bytes {
                Some(_) => "{bar:30} {bytes}/{total_bytes} read, {msg}, {eta} left",
                None => "{spinner} {bytes} read, {msg}",
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar
        });
        Progress { bar, began: clock::now(), drawn: None }
    }

    /// Draws, if it is time to.
    pub(super) fn show(&mut self, ledger: &Ledger, read_bytes: u64) {
        let Some(bar) = &self.bar else { return };
        if self.drawn.is_some_and(|drawn| drawn.elapsed() < Duration::from_millis(100)) {
            return;
        }
        self.drawn = Some(clock::now());
        let (records, bytes) = ledger.acknowledged();
        let seconds = self.began.elapsed().as_secs_f64().max(0.001);
        bar.set_message(format!(
            "{records} acknowledged, {} in flight, {:.0} records/s, {}/s",
            ledger.in_flight(),
            records as f64 / seconds,
            output::bytes(bytes as f64 / seconds)
        ));
        bar.set_position(read_bytes);
    }

    /// Removes the bar; the summary follows.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
