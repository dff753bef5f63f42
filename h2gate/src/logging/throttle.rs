//! Log lines of dependencies: strangers can cause some of them at every connection, so each place in their code has one
//! line a minute. Our own crates bound their lines themselves.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::config::{LOG_PARTS, LogFormat};

/// The time in which a call site has one line.
const INTERVAL: Duration = Duration::from_secs(60);
/// Call sites are in the code, so there are few; a bound all the same, beyond which nothing is logged.
const MAX_CALL_SITES: usize = 1024;

/// Formats as `format` does, and leaves out lines of call sites that had one lately.
#[derive(Debug)]
pub(super) struct Throttled<F> {
    format: F,
    style: LogFormat,
    recent: Mutex<RecentLines>,
}

impl<F> Throttled<F> {
    pub(super) fn new(format: F, style: LogFormat) -> Self {
        Self {
            format,
            style,
            recent: Mutex::default(),
        }
    }
}

impl<S, N, F> FormatEvent<S, N> for Throttled<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let times = match CallSite::of_dependency(event) {
            None => 1,
            Some(place) => {
                let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
                recent.times(place, Instant::now())
            }
        };
        match times {
            // Of a line without octets nothing is written.
            0 => Ok(()),
            1 => self.format.format_event(context, writer, event),
            _ => {
                let mut line = String::new();
                self.format.format_event(context, Writer::new(&mut line), event)?;
                writer.write_str(&with_times(&line, times, self.style))
            }
        }
    }
}

/// The line with how many it stands for.
fn with_times(line: &str, times: u64, style: LogFormat) -> String {
    let line = line.strip_suffix('\n').unwrap_or(line);
    match style {
        LogFormat::Text => format!("{line} times={times}\n"),
        LogFormat::Json => match line.strip_suffix('}') {
            Some(open) => format!("{open},\"times\":{times}}}\n"),
            None => format!("{line}\n"),
        },
    }
}

/// The place in a dependency's code that a line comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct CallSite {
    target: String,
    file: String,
    line: u64,
}

impl CallSite {
    /// `None` for what is not throttled: our own lines, and those of which somebody has asked to see each (DEBUG and
    /// TRACE of a dependency, which has to be named for that).
    fn of_dependency(event: &Event<'_>) -> Option<Self> {
        let metadata = event.metadata();
        let part = metadata.target().split("::").next().unwrap_or_default();
        if *metadata.level() > Level::INFO || LOG_PARTS.contains(&part) {
            return None;
        }
        let mut place = Self {
            target: metadata.target().to_owned(),
            file: metadata.file().unwrap_or_default().to_owned(),
            line: metadata.line().unwrap_or_default().into(),
        };
        // What comes by way of the `log` crate has its place in fields.
        if metadata.target() == "log" {
            event.record(&mut place);
        }
        Some(place)
    }
}

impl Visit for CallSite {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "log.target" => value.clone_into(&mut self.target),
            "log.file" => value.clone_into(&mut self.file),
            _ => {}
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "log.line" {
            self.line = value;
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// The last line of each call site: its time, and the number of lines left out since.
#[derive(Debug, Default)]
struct RecentLines(HashMap<CallSite, (Instant, u64)>);

impl RecentLines {
    /// The number of events that a line now stands for; 0 for no line.
    fn times(&mut self, place: CallSite, now: Instant) -> u64 {
        let is_recent = |logged_at: Instant| now.saturating_duration_since(logged_at) < INTERVAL;
        if let Some((logged_at, suppressed)) = self.0.get_mut(&place) {
            if is_recent(*logged_at) {
                *suppressed += 1;
                return 0;
            }
            *logged_at = now;
            return 1 + std::mem::take(suppressed);
        }
        if self.0.len() >= MAX_CALL_SITES {
            self.0.retain(|_, (logged_at, _)| is_recent(*logged_at));
        }
        if self.0.len() >= MAX_CALL_SITES {
            return 0;
        }
        self.0.insert(place, (now, 0));
        1
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracing_subscriber::fmt;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn place(line: u64) -> CallSite {
        CallSite {
            target: "rustls::msgs::handshake".to_owned(),
            line,
            ..CallSite::default()
        }
    }

    #[test]
    fn a_place_has_one_line_a_minute_with_how_many_it_stands_for() {
        let (mut recent, start) = (RecentLines::default(), Instant::now());
        assert_eq!(recent.times(place(1), start), 1);
        for _ in 0..2_000 {
            assert_eq!(recent.times(place(1), start + Duration::from_secs(59)), 0);
        }
        assert_eq!(recent.times(place(2), start + Duration::from_secs(59)), 1);
        assert_eq!(recent.times(place(1), start + Duration::from_secs(60)), 2_001);
        assert_eq!(recent.times(place(1), start + Duration::from_secs(120)), 1);
    }

    #[test]
    fn places_are_bounded_and_the_new_ones_wait_for_the_old() {
        let (mut recent, start) = (RecentLines::default(), Instant::now());
        let lines = 0..2 * MAX_CALL_SITES as u64;
        let logged: u64 = lines.map(|line| recent.times(place(line), start)).sum();
        assert_eq!(logged, MAX_CALL_SITES as u64);
        assert_eq!(recent.times(place(9_999), start + INTERVAL), 1);
        assert_eq!(recent.0.len(), 1);
    }

    #[derive(Debug, Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn lines_of(run: impl FnOnce()) -> Vec<String> {
        let written = Written::default();
        let sink = written.clone();
        let lines = fmt::layer()
            .with_ansi(false)
            .with_writer(move || sink.clone())
            .map_event_format(|format| Throttled::new(format, LogFormat::Text));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), run);
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_dependency_that_repeats_itself_has_one_line_and_our_own_crates_have_all() {
        let lines = lines_of(|| {
            for number in 0..100 {
                tracing::warn!(target: "rustls::msgs::handshake", "Illegal SNI hostname received {number}");
                tracing::error!(target: "hickory_net", "other place");
                tracing::debug!(target: "rustls::conn", "named, and asked for");
                tracing::warn!(target: "certmgr::plan", "ours {number}");
            }
        });
        let count = |what: &str| lines.iter().filter(|line| line.contains(what)).count();
        assert_eq!(count("Illegal SNI hostname received 0"), 1);
        assert_eq!(count("Illegal SNI"), 1);
        assert_eq!(count("other place"), 1);
        assert_eq!(count("asked for"), 100);
        assert_eq!(count("ours"), 100);
    }

    #[test]
    fn what_comes_by_the_log_crate_is_throttled_by_the_place_in_its_fields() {
        let lines = lines_of(|| {
            for line in [1_u64, 1, 2] {
                tracing::warn!(
                    target: "log",
                    { "log.target" = "rustls::msgs::handshake", "log.line" = line },
                    "Illegal SNI hostname received"
                );
            }
        });
        assert_eq!(lines.len(), 2, "{lines:?}");
    }

    #[test]
    fn a_line_that_stands_for_many_says_so_in_both_formats() {
        assert_eq!(
            with_times("WARN a: b\n", 7, LogFormat::Text),
            "WARN a: b times=7\n"
        );
        assert_eq!(
            with_times("{\"message\":\"b\"}\n", 7, LogFormat::Json),
            "{\"message\":\"b\",\"times\":7}\n"
        );
    }
}
