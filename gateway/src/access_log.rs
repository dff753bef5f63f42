//! One JSON line per RPC, from the workers to a file, without ever making a worker wait.
//!
//! A worker renders lines into a batch of its own and hands it over once per turn. One thread
//! writes. Between them is a bounded buffer: when the disk is slower than the traffic, lines are
//! dropped and counted, and RPCs go on.
//!
//! The content of lines is the choice of strangers: each value has a bound, and each connection a rate (`Spent`).

mod json;
mod line;
mod rate;
mod time;
mod writer;

use std::time::SystemTime;

pub(crate) use self::line::Line;
pub(crate) use self::rate::{Spent, Verdict};
use self::time::Timestamp;
pub use self::writer::{AccessLogSink, AccessLogTotals, AccessLogWriter, Destination};

/// Lines that a worker keeps while the buffer is busy; the oldest go first, all at once.
const MAX_BATCH: usize = 1 << 20;
/// A batch that grew beyond this gives its memory back.
const KEEP_BATCH: usize = 64 << 10;

/// The lines of one worker's turn.
#[derive(Debug)]
pub(crate) struct Batch {
    sink: Option<AccessLogSink>,
    text: Vec<u8>,
    lines: u64,
    /// Read once per turn: to the millisecond, a turn has one time.
    now: Option<Timestamp>,
}

impl Batch {
    /// Without a sink nothing is rendered.
    pub(crate) fn new(sink: Option<AccessLogSink>) -> Self {
        Self {
            sink,
            text: Vec::new(),
            lines: 0,
            now: None,
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.sink.is_some()
    }

    /// An RPC has no line, because its connection had too many.
    pub(crate) fn over_rate(&self) {
        if let Some(sink) = &self.sink {
            sink.over_rate();
        }
    }

    /// Gives the lines to the writer, or keeps them until the next turn if it is just taking some.
    pub(crate) fn hand_over(&mut self) {
        self.now = None;
        if self.lines == 0 {
            return;
        }
        let Some(sink) = &self.sink else { return };
        if sink.offer(&self.text, self.lines) {
            self.text.clear();
            self.text.shrink_to(KEEP_BATCH);
            self.lines = 0;
        }
    }

    /// Renders the line; returns its length in octets.
    #[expect(
        clippy::disallowed_methods,
        reason = "a batch of lines has the time of day of its first"
    )]
    pub(crate) fn add(&mut self, line: &Line<'_>) -> usize {
        let Some(sink) = &self.sink else { return 0 };
        if self.text.len() >= MAX_BATCH {
            sink.dropped(self.lines);
            self.text.clear();
            self.lines = 0;
        }
        let now = self.now.get_or_insert_with(|| Timestamp::of(SystemTime::now()));
        let before = self.text.len();
        line.render(now, &mut self.text);
        self.lines += 1;
        self.text.len() - before
    }
}

#[cfg(test)]
mod tests;
