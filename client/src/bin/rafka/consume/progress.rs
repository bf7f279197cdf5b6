//! The progress bar of `rafka consume`: drawn only when the records go into a file, for in a pipe they may come back to
//! the same terminal.

use super::Span;
use crate::clock;
use crate::output;
use crate::settings::Settings;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Draws on standard error at most ten times a second.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    began: Instant,
    drawn: Instant,
    left_at_start: u64,
}

/// Offsets that are still to be read; of a partition that is followed, none.
fn left(spans: &BTreeMap<i32, Span>) -> u64 {
    let left =
        |span: &Span| span.end.map_or(0, |end| u64::try_from(end.saturating_sub(span.next)).unwrap_or(0));
    spans.values().map(left).sum()
}

impl Progress {
    pub(super) fn start(settings: &Settings, spans: &BTreeMap<i32, Span>) -> Progress {
        let left_at_start = left(spans);
        let wanted = output::stderr_is_terminal() && output::stdout_is_file() && !settings.verbose;
        let bar = wanted.then(|| {
            let follows = spans.values().any(|span| span.end.is_none());
            let bar = if follows { ProgressBar::new_spinner() } else { ProgressBar::new(left_at_start) };
            let template = if follows { "{spinner} {msg}" } else { "{bar:30} {percent}%, {msg}, {eta} left" };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar
        });
        Progress { bar, began: clock::now(), drawn: clock::now(), left_at_start }
    }

    /// Draws, if it is time to.
    pub(super) fn show(&mut self, records: u64, bytes: u64, spans: &BTreeMap<i32, Span>) {
        let Some(bar) = &self.bar else { return };
        if self.drawn.elapsed() < Duration::from_millis(100) {
            return;
        }
        self.drawn = clock::now();
        let seconds = self.began.elapsed().as_secs_f64().max(0.001);
        bar.set_message(format!(
            "{records} records, {:.0} records/s, {}/s",
            records as f64 / seconds,
            output::bytes(bytes as f64 / seconds)
        ));
        bar.set_position(self.left_at_start.saturating_sub(left(spans)));
    }

    /// Removes the bar; the summary follows.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
