//! A sign of life while a command waits, on a terminal only.

use crate::settings::Settings;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// A spinner that is gone when this is dropped.
pub(crate) struct Waiting(Option<ProgressBar>);

impl Waiting {
    /// Says what is waited for; shows nothing unless somebody watches standard error.
    pub(crate) fn new(settings: &Settings, what: String) -> Waiting {
        Waiting(settings.draws().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
                bar.set_style(style);
            }
            bar.set_message(what);
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        }))
    }

    /// Says something else from now on.
    pub(crate) fn say(&self, what: String) {
        if let Some(bar) = &self.0 {
            bar.set_message(what);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
