//! Between those who log and standard error: a bounded queue and a thread, so that a pipe that nobody reads
//! stops no worker.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::LogFormat;
use crate::remote_text::{in_json, in_line};

/// Bytes that may wait; what comes beyond is dropped and counted.
const MAX_PENDING: usize = 1 << 20;
/// Octets of one line without its end, of our own crates and of dependencies; the rest is cut off.
const MAX_LINE: usize = 4 << 10;
/// Octets of one value of a JSON line that had to be cut, before others' characters are escaped.
const MAX_VALUE: usize = 256;
/// The fields that stay of a JSON line whose values do not fit even when they are cut.
const ESSENTIAL: [&str; 5] = ["timestamp", "level", "target", "message", "times"];

/// The way to the thread that writes.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    shared: Arc<Shared>,
    style: Style,
}

/// The style of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Style {
    pub(super) format: LogFormat,
    /// With escape sequences of its own.
    pub(super) coloured: bool,
}

#[derive(Debug, Default)]
struct Shared {
    pending: Mutex<Pending>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Pending {
    text: Vec<u8>,
    dropped: u64,
    /// The thread is in the middle of a write.
    writing: bool,
}

impl Queue {
    /// Starts the thread. It ends with the process.
    pub(super) fn start(output: impl Write + Send + 'static, style: Style) -> io::Result<Self> {
        let queue = Self {
            shared: Arc::default(),
            style,
        };
        let shared = Arc::clone(&queue.shared);
        let thread = std::thread::Builder::new().name("log".to_owned());
        thread.spawn(move || shared.write_for_ever(output, style.format))?;
        Ok(queue)
    }

    /// Waits until everything so far is written; `false` if that took longer than `timeout`.
    pub(super) fn flush(&self, timeout: Duration) -> bool {
        let busy = |pending: &mut Pending| pending.writing || !pending.text.is_empty();
        let waited = self
            .shared
            .changed
            .wait_timeout_while(self.shared.lock(), timeout, busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

/// Every write is one whole line: that is how the formatter calls. Whatever others' words are in it, it stays one
/// line, and a terminal has nothing to obey.
impl Write for &Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let written = line.len();
        let line = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(line));
        let line = match self.style.format {
            LogFormat::Text => text_line(&line, self.style.coloured),
            LogFormat::Json => json_line(&line),
        };
        let mut pending = self.shared.lock();
        if pending.text.len() + line.len() > MAX_PENDING {
            pending.dropped += 1;
        } else {
            pending.text.extend_from_slice(line.as_bytes());
            pending.text.push(b'\n');
            drop(pending);
            self.shared.changed.notify_all();
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_for_ever(&self, mut output: impl Write, format: LogFormat) {
        let mut text = Vec::new();
        loop {
            let dropped = self.take(&mut text);
            if dropped > 0 {
                text.extend_from_slice(lost(dropped, format).as_bytes());
            }
            // If standard error is gone nothing can be reported.
            let _ = output.write_all(&text).and_then(|()| output.flush());
            text.clear();
            self.lock().writing = false;
            self.changed.notify_all();
        }
    }

    /// Waits for text and takes it; gives the number of lines dropped behind it.
    fn take(&self, text: &mut Vec<u8>) -> u64 {
        let nothing = |pending: &mut Pending| pending.text.is_empty() && pending.dropped == 0;
        let waited = self.changed.wait_while(self.lock(), nothing);
        let mut pending = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut pending.text, text);
        pending.writing = true;
        std::mem::take(&mut pending.dropped)
    }
}

/// At most [`MAX_LINE`] octets.
fn text_line(line: &str, coloured: bool) -> Cow<'_, str> {
    // What is cut off is not worth escaping.
    let shown = in_line(begin(line, MAX_LINE), coloured);
    if line.len() <= MAX_LINE && shown.len() <= MAX_LINE {
        return shown;
    }
    let end = if coloured { "…\x1b[0m" } else { "…" };
    let mut cut = begin(&shown, MAX_LINE - end.len());
    // Half of an escape sequence would take what follows with it.
    if let Some((before, sequence)) = cut.rsplit_once('\x1b')
        && !sequence.contains('m')
    {
        cut = before;
    }
    format!("{cut}{end}").into()
}

/// JSON of at most [`MAX_LINE`] octets: values are cut, or left out.
fn json_line(line: &str) -> Cow<'_, str> {
    if line.len() <= MAX_LINE {
        let shown = in_json(line);
        if shown.len() <= MAX_LINE {
            return shown;
        }
    }
    // It comes from the formatter, so it is JSON.
    let mut value: Value = serde_json::from_str(line).unwrap_or_default();
    shorten(&mut value);
    for essential in [false, true] {
        if let (true, Some(map)) = (essential, value.as_object_mut()) {
            map.retain(|key, _| ESSENTIAL.contains(&key.as_str()));
        }
        let text = value.to_string();
        let shown = in_json(&text);
        if shown.len() <= MAX_LINE {
            return shown.into_owned().into();
        }
    }
    r#"{"level":"WARN","target":"h2gate::logging","message":"a line was too long for this log"}"#.into()
}

fn shorten(value: &mut Value) {
    match value {
        Value::String(text) if text.len() > MAX_VALUE => {
            *text = format!("{}…", begin(text, MAX_VALUE));
        }
        Value::Array(items) => items.iter_mut().for_each(shorten),
        Value::Object(map) => map.values_mut().for_each(shorten),
        _ => {}
    }
}

/// The longest beginning of the text that fits into so many octets.
fn begin(text: &str, octets: usize) -> &str {
    text.get(..text.floor_char_boundary(octets)).unwrap_or_default()
}

fn lost(lines: u64, format: LogFormat) -> String {
    let message = "lines of this log were lost because nobody read them";
    match format {
        LogFormat::Text => format!("WARN h2gate::logging: {message} lines={lines}\n"),
        LogFormat::Json => {
            let line = serde_json::json!({
                "level": "WARN",
                "message": message,
                "lines": lines,
                "target": "h2gate::logging",
            });
            format!("{line}\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    /// Writes only what it is allowed to, one write for each permission.
    struct Stuck {
        permissions: Receiver<()>,
        written: SyncSender<Vec<u8>>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.permissions.recv();
            let _ = self.written.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const TEXT: Style = Style {
        format: LogFormat::Text,
        coloured: false,
    };

    fn stuck() -> (Queue, SyncSender<()>, Receiver<Vec<u8>>) {
        let (permit, permissions) = sync_channel(10);
        let (written, text) = sync_channel(10);
        (
            Queue::start(Stuck { permissions, written }, TEXT).unwrap(),
            permit,
            text,
        )
    }

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn a_reader_that_stands_still_stops_nobody_and_is_told_what_it_missed() {
        let (queue, permit, text) = stuck();
        let line = [b'x'; (1 << 10) - 1];
        for _ in 0..4096 {
            (&queue).write_all(&line).unwrap();
        }
        assert!(!queue.flush(Duration::from_millis(1)));
        let mut all = Vec::new();
        while !String::from_utf8_lossy(&all).contains("lines of this log were lost") {
            permit.send(()).unwrap();
            all.extend(text.recv_timeout(SOON).unwrap());
        }
        let kept = all.iter().filter(|byte| **byte == b'x').count() / line.len();
        assert!((1024..=2048).contains(&kept), "{kept}");
        let rest = String::from_utf8(all.into_iter().skip(kept << 10).collect()).unwrap();
        assert!(
            rest.contains("lines of this log were lost") && rest.contains("lines="),
            "{rest}"
        );
    }

    #[test]
    fn others_words_forge_no_line_and_command_no_terminal() {
        let words = "said=\u{1b}[2J\u{202e}a\n2026 ERROR forged";
        for format in [LogFormat::Text, LogFormat::Json] {
            let (permit, permissions) = sync_channel(10);
            let (wrote, text) = sync_channel(10);
            let stuck = Stuck {
                permissions,
                written: wrote,
            };
            let queue = Queue::start(stuck, Style { format, ..TEXT }).unwrap();
            // The formatter has escaped what JSON's grammar asks for.
            let line = match format {
                LogFormat::Text => format!("{words}\n"),
                LogFormat::Json => format!("{}\n", serde_json::json!({ "said": words })),
            };
            (&queue).write_all(line.as_bytes()).unwrap();
            permit.send(()).unwrap();
            let text = String::from_utf8(text.recv_timeout(SOON).unwrap()).unwrap();
            let line = text.strip_suffix('\n').unwrap();
            assert!(line.chars().all(certstore::is_shown), "{line:?}");
            if format == LogFormat::Text {
                assert_eq!(line, r"said=\u{1b}[2J\u{202e}a\n2026 ERROR forged");
            } else {
                let value: Value = serde_json::from_str(line).unwrap();
                assert_eq!(value["said"], words);
            }
        }
    }

    #[test]
    fn no_line_is_longer_than_its_bound_and_a_cut_one_says_so() {
        for said in ["x".repeat(15_000), "\u{1}".repeat(15_000), "ü".repeat(15_000)] {
            let line = text_line(&format!("WARN rustls: said={said}"), false).into_owned();
            assert!(
                (MAX_LINE - 16..=MAX_LINE).contains(&line.len()),
                "{} octets",
                line.len()
            );
            assert!(
                line.starts_with("WARN rustls: said=") && line.ends_with('…'),
                "{line}"
            );
            let coloured = format!("\x1b[33mWARN\x1b[0m {said}\x1b[2m");
            let line = text_line(&coloured, true).into_owned();
            assert!(line.len() <= MAX_LINE && line.ends_with("…\x1b[0m"), "{line}");
            let many: serde_json::Map<_, _> = (0..100)
                .map(|n| (format!("key{n}"), Value::from(said.clone())))
                .collect();
            for more in [Value::Null, many.into()] {
                let whole =
                    serde_json::json!({ "level": "WARN", "message": said, "target": "rustls", "more": more });
                let line = json_line(&whole.to_string()).into_owned();
                assert!(line.len() <= MAX_LINE, "{} octets", line.len());
                let value: Value = serde_json::from_str(&line).unwrap();
                assert_eq!(
                    (&value["level"], &value["target"]),
                    (&"WARN".into(), &"rustls".into())
                );
                let message = value["message"].as_str().unwrap();
                assert!(message.len() > 200 && message.ends_with('…'), "{message}");
            }
        }
    }

    #[test]
    fn a_line_near_its_bound_is_whole() {
        let said = "x".repeat(MAX_LINE - 100);
        assert_eq!(text_line(&said, false), said);
        let json = serde_json::json!({ "message": said }).to_string();
        assert_eq!(json_line(&json), json);
    }

    #[test]
    fn flush_waits_for_the_last_line() {
        let (queue, permit, text) = stuck();
        (&queue).write_all(b"last\n").unwrap();
        assert!(!queue.flush(Duration::from_millis(1)));
        permit.send(()).unwrap();
        assert!(queue.flush(SOON));
        assert_eq!(text.try_recv().unwrap(), b"last\n");
    }
}
