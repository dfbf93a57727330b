//! What a person sees of a running push: bars on a terminal, a line for every path that is done, and the sum.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::error::PushError;
use crate::clock::Stopwatch;
use crate::render::{self, Render};

/// NARs from this size on are reported with their rate.
const RATE_FROM: u64 = 1 << 20;

/// A push in numbers.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Summary {
    /// Paths that are new in the cache.
    pub(crate) pushed: Vec<String>,
    /// How many of them only the server has until it reaches its cluster again.
    pub(crate) provisional: u64,
    /// Paths that the cache had.
    pub(crate) already_cached: usize,
    /// Paths that an upstream cache has signed.
    pub(crate) in_upstream: usize,
    /// NAR bytes of the pushed paths.
    pub(crate) nar_bytes: u64,
    /// Bytes that went over the wire for them, retries included.
    pub(crate) sent_bytes: u64,
    /// NAR bytes that were not sent because the server had them.
    pub(crate) deduplicated_bytes: u64,
    /// Seconds from the first byte to the last commit.
    pub(crate) seconds: f64,
    /// Paths that could not be pushed, with the reason.
    pub(crate) failed: Vec<Failure>,
}

/// A path that could not be pushed.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Failure {
    pub(crate) path: String,
    pub(crate) why: String,
    /// Whether the server refused it; otherwise something is wrong here.
    pub(crate) refused: bool,
}

/// What is known about a path once its NAR has arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrived {
    pub(crate) nar_size: u64,
    pub(crate) deduplicated: u64,
    pub(crate) took: Duration,
}

/// The progress of one push.
#[derive(Debug)]
pub(crate) struct Progress {
    render: Render,
    bars: MultiProgress,
    total: ProgressBar,
    started: Stopwatch,
    sent: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pushed: Vec<String>,
    failed: Vec<Failure>,
    provisional: u64,
    nar_bytes: u64,
    deduplicated: u64,
}

impl Progress {
    /// Begins; bars are drawn only if stderr is a terminal.
    pub(crate) fn start(render: Render, nar_bytes: u64) -> Self {
        let target = if render::stderr_is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bars = MultiProgress::with_draw_target(target);
        let total = bars.add(ProgressBar::new(nar_bytes).with_style(style(
            "{bar:30} {binary_bytes:>10} of {binary_total_bytes}  {binary_bytes_per_sec:>12}  {eta} left{msg}",
        )));
        Self {
            render,
            bars,
            total,
            started: Stopwatch::start(),
            sent: AtomicU64::new(0),
            state: Mutex::default(),
        }
    }

    /// A bar for one large NAR.
    pub(crate) fn nar(&self, name: &str, nar_size: u64) -> NarProgress<'_> {
        let bar = ProgressBar::new(nar_size)
            .with_style(style(
                "{bar:30} {binary_bytes:>10} of {binary_total_bytes}  {binary_bytes_per_sec:>12}  {msg}",
            ))
            .with_message(name.to_owned());
        NarProgress {
            progress: self,
            bar: self.bars.insert_before(&self.total, bar),
        }
    }

    /// Counts NAR bytes that are on the server now.
    pub(crate) fn advance(&self, raw_bytes: u64) {
        self.total.inc(raw_bytes);
    }

    /// Counts bytes given to the network.
    pub(crate) fn sent(&self, bytes: usize) {
        let sent = self.sent.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        if !self.bars.is_hidden() {
            self.total.set_message(format!(", sent {}", render::bytes(sent)));
        }
    }

    /// A line of talk, above the bars.
    pub(crate) fn note(&self, line: &str) {
        self.bars.suspend(|| self.render.talk(line));
    }

    /// An upload broke and begins again.
    pub(crate) fn retrying(&self, path: &str, error: &PushError, wait: Duration) {
        self.note(&format!(
            "{path}: {error}; trying again in {:.1} s",
            wait.as_secs_f64()
        ));
    }

    /// A path is in the cache.
    pub(crate) fn pushed(&self, path: String, arrived: Arrived) {
        // The rate of a small NAR says only how many others went along with it.
        let size = match arrived.nar_size {
            ..RATE_FROM => render::bytes(arrived.nar_size),
            size => rate(size, arrived.took),
        };
        let dedup = match percent(arrived.deduplicated, arrived.nar_size) {
            Some(percent) => format!(", {percent} deduplicated"),
            None => String::new(),
        };
        self.note(&format!("✅ {path} ({size}{dedup})"));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.pushed.push(path);
        state.nar_bytes += arrived.nar_size;
        state.deduplicated += arrived.deduplicated;
    }

    /// Counts paths that only the server has for now.
    pub(crate) fn provisional(&self, paths: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.provisional += paths;
    }

    /// A path could not be pushed.
    pub(crate) fn failed(&self, failure: Failure) {
        self.note(&format!("❌ {}: {}", failure.path, failure.why));
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .failed
            .push(failure);
    }

    /// Takes the bars away and sums up.
    pub(crate) fn finish(&self, already_cached: usize, in_upstream: usize) -> Summary {
        self.total.finish_and_clear();
        let state = std::mem::take(&mut *self.state.lock().unwrap_or_else(PoisonError::into_inner));
        Summary {
            pushed: state.pushed,
            provisional: state.provisional,
            already_cached,
            in_upstream,
            nar_bytes: state.nar_bytes,
            sent_bytes: self.sent.load(Ordering::Relaxed),
            deduplicated_bytes: state.deduplicated,
            seconds: self.started.elapsed().as_secs_f64(),
            failed: state.failed,
        }
    }
}

impl Summary {
    /// Both halves of a push that was continued in a second session.
    pub(crate) fn and(mut self, mut later: Self) -> Self {
        self.pushed.append(&mut later.pushed);
        self.failed.append(&mut later.failed);
        self.provisional += later.provisional;
        self.nar_bytes += later.nar_bytes;
        self.sent_bytes += later.sent_bytes;
        self.deduplicated_bytes += later.deduplicated_bytes;
        self.seconds += later.seconds;
        self
    }

    /// One line for people.
    pub(crate) fn text(&self) -> String {
        let dedup = match percent(self.deduplicated_bytes, self.nar_bytes) {
            Some(percent) => format!(", {percent} deduplicated"),
            None => String::new(),
        };
        format!(
            "sent {} of {} in {:.2} s ({}{dedup})",
            render::bytes(self.sent_bytes),
            render::bytes(self.nar_bytes),
            self.seconds,
            rate(self.nar_bytes, Duration::from_secs_f64(self.seconds)),
        )
    }
}

/// The progress of one large NAR; its bar goes when this is dropped.
#[derive(Debug)]
pub(crate) struct NarProgress<'a> {
    progress: &'a Progress,
    bar: ProgressBar,
}

impl NarProgress<'_> {
    /// Counts NAR bytes that are on the server now.
    pub(crate) fn advance(&self, raw_bytes: u64) {
        self.bar.inc(raw_bytes);
        self.progress.advance(raw_bytes);
    }
}

impl Drop for NarProgress<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is a constant that a test has parsed")
}

#[expect(clippy::cast_precision_loss, reason = "it is printed with two decimals")]
fn rate(bytes: u64, took: Duration) -> String {
    format!(
        "{:.2} MiB/s",
        bytes as f64 / f64::from(1 << 20) / took.as_secs_f64().max(1e-6)
    )
}

/// `None` if it would print as zero.
#[expect(clippy::cast_precision_loss, reason = "it is printed with one decimal")]
fn percent(part: u64, whole: u64) -> Option<String> {
    let percent = part as f64 * 100.0 / whole.max(1) as f64;
    (percent >= 0.05).then(|| format!("{percent:.1}%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_tells_what_was_sent_of_what() {
        let summary = Summary {
            pushed: vec!["a".into()],
            provisional: 0,
            already_cached: 0,
            in_upstream: 0,
            nar_bytes: 514 << 20,
            sent_bytes: 3 << 20,
            deduplicated_bytes: 500 << 20,
            seconds: 2.0,
            failed: Vec::new(),
        };
        assert_eq!(
            summary.text(),
            "sent 3.0 MiB of 514.0 MiB in 2.00 s (257.00 MiB/s, 97.3% deduplicated)"
        );
    }

    #[test]
    fn the_bars_can_be_made() {
        let progress = Progress::start(Render::new(false), 10);
        let nar = progress.nar("x", 10);
        nar.advance(10);
        progress.sent(7);
        drop(nar);
        assert_eq!(progress.finish(1, 2).sent_bytes, 7);
    }
}
