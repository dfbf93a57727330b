//! What happened, line by line: hashed as it comes, so that two runs of a seed can be compared, and the last lines kept
//! for whoever has to find out why.

use std::collections::VecDeque;
use std::fmt::Display;
use std::time::Duration;

use parking_lot::Mutex;

/// Lines kept.
const KEPT: usize = 200;

#[derive(Debug)]
pub(super) struct Trace(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    hash: blake3::Hasher,
    last: VecDeque<String>,
    lines: u64,
    is_printed: bool,
}

impl Trace {
    /// `is_printed`: each line also goes to standard output at once.
    pub(super) fn new(is_printed: bool) -> Self {
        Self(Mutex::new(Inner {
            hash: blake3::Hasher::new(),
            last: VecDeque::new(),
            lines: 0,
            is_printed,
        }))
    }

    #[expect(clippy::print_stdout, reason = "the trace is what --trace asks for")]
    pub(super) fn add(&self, now: Duration, event: &dyn Display) {
        let line = format!("[{:>12.3}s] {event}", now.as_secs_f64());
        let mut inner = self.0.lock();
        inner.hash.update(line.as_bytes());
        inner.hash.update(b"\n");
        inner.lines += 1;
        if inner.is_printed {
            println!("{line}");
        }
        if inner.last.len() == KEPT {
            inner.last.pop_front();
        }
        inner.last.push_back(line);
    }

    /// The hash over all lines, in hexadecimal, and how many there were.
    pub(super) fn digest(&self) -> (String, u64) {
        let inner = self.0.lock();
        (inner.hash.finalize().to_hex().to_string(), inner.lines)
    }

    pub(super) fn last(&self) -> Vec<String> {
        self.0.lock().last.iter().cloned().collect()
    }
}
