//! The one thread that writes, and the bounded buffer before it.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::telemetry::event::Event;

/// Bytes that wait for the writer; what comes beyond is dropped.
const MAX_PENDING: usize = 8 << 20;
/// And lines.
const MAX_PENDING_LINES: u64 = 64 << 10;
/// The writer is woken early once this much waits.
const WRITE_AT: usize = 256 << 10;
/// The time for which the writer lets lines gather: waking a thread for each would cost more than the lines.
const GATHER: Duration = Duration::from_millis(50);
/// The rights to a file that is made; one that is there keeps its own.
const FILE_MODE: u32 = 0o640;
/// A buffer that grew beyond this gives its memory back.
const KEEP: usize = 512 << 10;

/// The destination of lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Standard output.
    Stdout,
    /// A file, made if it is missing, appended to.
    File(PathBuf),
}

/// The counts of the lines so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AccessLogTotals {
    /// Lines in the file.
    pub written: u64,
    /// Lines lost because the writer could not keep up, had been closed, or could not write.
    pub dropped: u64,
    /// Lines that were not made because their connection had too many in a second.
    pub over_rate: u64,
}

/// The way to the writer. Cheap to clone; never waits for the disk.
#[derive(Debug, Clone)]
pub struct AccessLogSink(Arc<WriterState>);

/// The thread that writes. Dropping it ends the thread after what is pending, without waiting for that.
#[derive(Debug)]
pub struct AccessLogWriter {
    shared: Arc<WriterState>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct WriterState {
    pending: Mutex<Pending>,
    /// For the writer: there is something to do. For [`AccessLogWriter::close`]: it is done.
    changed: Condvar,
    written: AtomicU64,
    dropped: AtomicU64,
    over_rate: AtomicU64,
}

#[derive(Debug, Default)]
struct Pending {
    text: Vec<u8>,
    lines: u64,
    /// The writer sleeps until it is woken because there is something.
    asleep: bool,
    reopen: bool,
    closing: bool,
    done: bool,
}

impl AccessLogSink {
    /// Opens the destination and starts the thread that writes to it.
    pub fn open(destination: Destination) -> io::Result<(Self, AccessLogWriter)> {
        let output = Output::open(&destination)?;
        let shared = Arc::<WriterState>::default();
        let for_thread = shared.clone();
        let thread = std::thread::Builder::new().name("access-log".into());
        let thread = thread.spawn(move || for_thread.write_all_lines(&destination, output))?;
        Ok((
            Self(shared.clone()),
            AccessLogWriter {
                shared,
                thread: Some(thread),
            },
        ))
    }

    /// Opens the file anew, as after its rotation. If that fails, the old one is written on and the
    /// failure logged.
    pub fn reopen(&self) {
        self.0.lock().reopen = true;
        self.0.changed.notify_all();
    }

    /// Counts since the start.
    #[must_use]
    pub fn totals(&self) -> AccessLogTotals {
        AccessLogTotals {
            written: self.0.written.load(Relaxed),
            dropped: self.0.dropped.load(Relaxed),
            over_rate: self.0.over_rate.load(Relaxed),
        }
    }

    /// Takes whole lines if nobody else is just at the buffer; `false` means to come again. Lines for
    /// which there is no room are taken, too, and dropped.
    pub(super) fn offer(&self, text: &[u8], lines: u64) -> bool {
        let mut pending = match self.0.pending.try_lock() {
            Ok(pending) => pending,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        let full = pending.text.len() + text.len() > MAX_PENDING || pending.lines + lines > MAX_PENDING_LINES;
        if full || pending.closing {
            drop(pending);
            self.dropped(lines);
            return true;
        }
        let before = pending.text.len();
        pending.text.extend_from_slice(text);
        pending.lines += lines;
        let crossed = before < WRITE_AT && pending.text.len() >= WRITE_AT;
        let wake = std::mem::take(&mut pending.asleep) || crossed;
        drop(pending);
        if wake {
            self.0.changed.notify_all();
        }
        true
    }

    /// Runs something while the buffer is taken, as by a slow writer.
    #[cfg(test)]
    pub(super) fn while_busy(&self, run: impl FnOnce()) {
        let _busy = self.0.lock();
        run();
    }

    /// Counts lines that never got here.
    pub(super) fn dropped(&self, lines: u64) {
        self.0.dropped.fetch_add(lines, Relaxed);
    }

    /// Counts a line that was not made, because its connection had too many.
    pub(super) fn over_rate(&self) {
        self.0.over_rate.fetch_add(1, Relaxed);
    }
}

impl AccessLogWriter {
    /// Writes what is pending and ends. Waits at most `patience`; `false` if that was not enough, as
    /// when standard output is a pipe that nobody reads. Lines that come later are dropped.
    pub fn close(mut self, patience: Duration) -> bool {
        self.shared.begin_closing();
        let until = Instant::now() + patience;
        let mut pending = self.shared.lock();
        while !pending.done {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.shared.changed.wait_timeout(pending, left);
            pending = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(pending);
        self.thread.take().is_none_or(|thread| thread.join().is_ok())
    }
}

impl Drop for AccessLogWriter {
    fn drop(&mut self) {
        self.shared.begin_closing();
    }
}

impl WriterState {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin_closing(&self) {
        self.lock().closing = true;
        self.changed.notify_all();
    }

    /// The life of the thread.
    fn write_all_lines(&self, destination: &Destination, mut output: Output) {
        let mut taken = FilledBuffer::default();
        while self.take(&mut taken) {
            if std::mem::take(&mut taken.reopen) {
                match Output::open(destination) {
                    Ok(new) => output = new,
                    Err(error) => Event::AccessLogFailed {
                        error: &error,
                        lines: 0,
                    }
                    .report(Instant::now()),
                }
            }
            match output.write(&taken.text) {
                Ok(()) => self.written.fetch_add(taken.lines, Relaxed),
                Err(error) => {
                    Event::AccessLogFailed {
                        error: &error,
                        lines: taken.lines,
                    }
                    .report(Instant::now());
                    self.dropped.fetch_add(taken.lines, Relaxed)
                }
            };
        }
        self.lock().done = true;
        self.changed.notify_all();
    }

    /// Waits for lines or a request; `false` when all is written and nothing more will come.
    fn take(&self, taken: &mut FilledBuffer) -> bool {
        taken.text.clear();
        taken.text.shrink_to(KEEP);
        let mut pending = self.lock();
        while !pending.is_asked() && pending.text.is_empty() {
            pending.asleep = true;
            pending = self.changed.wait(pending).unwrap_or_else(PoisonError::into_inner);
        }
        pending.asleep = false;
        if !pending.is_asked() {
            let enough = |pending: &mut Pending| pending.is_asked() || pending.text.len() >= WRITE_AT;
            let waited = self
                .changed
                .wait_timeout_while(pending, GATHER, |pending| !enough(pending));
            pending = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let over = pending.closing && !pending.reopen && pending.text.is_empty();
        taken.reopen = std::mem::take(&mut pending.reopen);
        taken.lines = std::mem::take(&mut pending.lines);
        std::mem::swap(&mut pending.text, &mut taken.text);
        !over
    }
}

impl Pending {
    fn is_asked(&self) -> bool {
        self.reopen || self.closing
    }
}

/// The lines that the thread took from [`Pending`] in exchange for an empty buffer.
#[derive(Default)]
struct FilledBuffer {
    text: Vec<u8>,
    lines: u64,
    reopen: bool,
}

enum Output {
    Stdout,
    File(File),
}

impl Output {
    fn open(destination: &Destination) -> io::Result<Self> {
        match destination {
            Destination::Stdout => Ok(Self::Stdout),
            // The log names clients and what they ask for: others of the system have no business with it.
            Destination::File(path) => File::options()
                .append(true)
                .create(true)
                .mode(FILE_MODE)
                .open(path)
                .map(Self::File),
        }
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(text)?;
                stdout.flush()
            }
            Self::File(file) => file.write_all(text),
        }
    }
}
