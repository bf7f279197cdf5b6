//! What somebody who waits sees: where the run is, how fast it goes now, and how fast it went.

use crate::clock;
use crate::output;
use crate::settings::Settings;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Where nobody watches, a line is written so often, for the log of a long run.
const LINE_EVERY: Duration = Duration::from_secs(10);
const CURVE: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// So many of the last seconds are drawn.
const CURVE_SECONDS: usize = 60;

/// What one second came to.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Sample {
    pub(super) records: u64,
    pub(super) bytes: u64,
    /// Of the records of this second, where latency is measured.
    pub(super) latency_us: Option<(u64, u64)>,
}

/// How far a run is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Goal {
    /// So many records.
    Records(u64),
    /// So much time.
    Time(Duration),
}

/// The view, and the samples for the report.
pub(super) struct Live {
    bar: Option<ProgressBar>,
    lines: bool,
    goal: Goal,
    began: Instant,
    second_began: Instant,
    line_written: Instant,
    seen: (u64, u64),
    samples: Vec<(f64, Sample)>,
}

impl Live {
    pub(super) fn start(settings: &Settings, goal: Goal) -> Live {
        let bar = settings.draws().then(|| {
            let length = match goal {
                Goal::Records(records) => records,
                Goal::Time(time) => u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
            };
            let bar = ProgressBar::new(length);
            if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent:>3}%  {msg}") {
                bar.set_style(style);
            }
            bar
        });
        let now = clock::now();
        let lines = bar.is_none() && !settings.json;
        Live {
            bar,
            lines,
            goal,
            began: now,
            second_began: now,
            line_written: now,
            seen: (0, 0),
            samples: Vec::new(),
        }
    }

    /// Begins anew, for what came before was the warm-up.
    pub(super) fn restart(&mut self) {
        let now = clock::now();
        (self.began, self.second_began, self.line_written) = (now, now, now);
        self.seen = (0, 0);
        self.samples.clear();
    }

    /// Says that the warm-up runs.
    pub(super) fn warming(&self) {
        if let Some(bar) = &self.bar {
            bar.set_message("warming up");
        }
    }

    /// Takes the totals since the start; `latency` is asked once a second for the median and the 99th percentile of what
    /// came since it was asked last.
    pub(super) fn show(&mut self, records: u64, bytes: u64, latency: impl FnOnce() -> Option<(u64, u64)>) {
        let elapsed = self.second_began.elapsed();
        if elapsed >= Duration::from_secs(1) {
            let seconds = elapsed.as_secs_f64();
            let per_second = |now: u64, then: u64| rounded(now.saturating_sub(then) as f64 / seconds);
            let sample = Sample {
                records: per_second(records, self.seen.0),
                bytes: per_second(bytes, self.seen.1),
                latency_us: latency(),
            };
            self.samples.push((self.began.elapsed().as_secs_f64(), sample));
            self.seen = (records, bytes);
            self.second_began = clock::now();
            self.write_line();
        }
        self.draw(records);
    }

    fn write_line(&mut self) {
        if !self.lines || self.line_written.elapsed() < LINE_EVERY {
            return;
        }
        self.line_written = clock::now();
        if let Some((at, sample)) = self.samples.last() {
            output::note(&format!("{at:.0} s: {}", words(sample)));
        }
    }

    fn draw(&self, records: u64) {
        let Some(bar) = &self.bar else { return };
        let elapsed = self.began.elapsed();
        let position = match self.goal {
            Goal::Records(_) => records,
            Goal::Time(_) => u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        };
        bar.set_position(position);
        let mut text = format!("{:.0} s", elapsed.as_secs_f64());
        if let Some((_, now)) = self.samples.last() {
            let bytes: Vec<u64> = self.samples.iter().map(|(_, sample)| sample.bytes).collect();
            let tail = &bytes[bytes.len().saturating_sub(CURVE_SECONDS)..];
            let best = output::bytes(bytes.iter().copied().max().unwrap_or(0) as f64);
            text.push_str(&format!("\n  now   {}\n  rate  {}  best {best}/s", words(now), curve(tail)));
        }
        bar.set_message(text);
    }

    /// Removes the view; the report follows.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// One object per second.
    pub(super) fn samples(&self) -> Value {
        let sample = |(at, sample): &(f64, Sample)| {
            json!({
                "second": (at * 10.0).round() / 10.0, "records_per_second": sample.records,
                "bytes_per_second": sample.bytes,
                "p50_ms": sample.latency_us.map(|(p50, _)| p50 as f64 / 1000.0),
                "p99_ms": sample.latency_us.map(|(_, p99)| p99 as f64 / 1000.0)
            })
        };
        Value::Array(self.samples.iter().map(sample).collect())
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is not negative, and saturates"
)]
fn rounded(rate: f64) -> u64 {
    rate.round() as u64
}

fn words(sample: &Sample) -> String {
    let mut text = format!("{} records/s, {}/s", sample.records, output::bytes(sample.bytes as f64));
    if let Some((p50, p99)) = sample.latency_us {
        text.push_str(&format!(", p50 {:.1} ms, p99 {:.1} ms", p50 as f64 / 1000.0, p99 as f64 / 1000.0));
    }
    text
}

/// One character a value, its height relative to the highest.
fn curve(values: &[u64]) -> String {
    let highest = values.iter().copied().max().unwrap_or(0).max(1);
    let height = |value: u64| {
        let step = u128::from(value) * (CURVE.len() as u128 - 1) / u128::from(highest);
        CURVE[usize::try_from(step).unwrap_or(0)]
    };
    values.iter().map(|value| height(*value)).collect()
}

#[cfg(test)]
mod tests {
    use super::{Sample, curve, words};

    #[test]
    fn a_curve_rises_with_its_values() {
        assert_eq!(curve(&[0, 1, 2, 3, 4, 5, 6, 7]), "▁▂▃▄▅▆▇█");
        assert_eq!(curve(&[0, 0]), "▁▁");
        assert_eq!(curve(&[u64::MAX]), "█");
        assert_eq!(curve(&[]), "");
    }

    #[test]
    fn a_second_is_told_in_words() {
        let sample = Sample { records: 1000, bytes: 1_024_000, latency_us: Some((1500, 9000)) };
        assert_eq!(words(&sample), "1000 records/s, 1.0 MB/s, p50 1.5 ms, p99 9.0 ms");
    }
}
