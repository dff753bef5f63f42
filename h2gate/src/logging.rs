//! The program's own log: events of `tracing`, written to standard error.
//!
//! `H2GATE_LOG` wins over the file, so that one start can be made talkative without an edit.

mod queue;

use std::io::IsTerminal as _;
use std::time::Duration;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

use self::queue::{Queue, Style};
use crate::config::{Log, LogFormat};

/// Names the environment variable that overrides the level of the file.
pub const ENVIRONMENT: &str = "H2GATE_LOG";

/// How long the end of the program waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Changes the log while the program runs. To be kept until the end: dropping it waits for the lines that are
/// not written yet (and logging goes on).
#[derive(Debug)]
pub struct Logging {
    queue: Queue,
    filter: reload::Handle<EnvFilter, Registry>,
    from_environment: bool,
}

/// Why the log could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter has a mistake.
    #[error("the log level {text:?} of {origin} cannot be read")]
    Level {
        /// What was given.
        text: String,
        /// Who gave it.
        origin: &'static str,
        /// What is wrong with it.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Something else in the process logs already.
    #[error("a log was set up before")]
    SetUpBefore(#[from] tracing_subscriber::util::TryInitError),
    /// The system gave no thread.
    #[error("the thread that writes the log cannot be started")]
    Thread(#[source] std::io::Error),
}

/// What a changed `log` section came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is in force.
    Applied,
    /// The environment variable goes on to decide the level.
    LevelFromEnvironment,
}

impl Logging {
    /// Sets up the log of the process. Once per process.
    pub fn init(log: &Log) -> Result<Self, LoggingError> {
        let environment = std::env::var(ENVIRONMENT)
            .ok()
            .filter(|text| !text.trim().is_empty());
        let filter = match &environment {
            Some(text) => parse(text, "the environment variable H2GATE_LOG")?,
            None => parse(&log.level, "log.level")?,
        };
        let (filter, handle) = reload::Layer::new(filter);
        let style = Style {
            format: log.format,
            coloured: std::io::stderr().is_terminal(),
        };
        let queue = Queue::start(std::io::stderr(), style).map_err(LoggingError::Thread)?;
        let lines = fmt::layer().with_writer(queue.clone()).with_ansi(style.coloured);
        let lines = match log.format {
            LogFormat::Text => lines.boxed(),
            LogFormat::Json => lines.json().flatten_event(true).boxed(),
        };
        tracing_subscriber::registry()
            .with(filter)
            .with(lines)
            .try_init()?;
        // A panic is told in the form of every other line, for those who read the log by machine.
        std::panic::set_hook(Box::new(|panic| {
            let thread = std::thread::current();
            let place = panic.location().map(tracing::field::display);
            let message = panic.payload_as_str().unwrap_or("a payload that is no text");
            tracing::error!(thread = thread.name(), place, "panicked: {message}");
            // A line of the log is a line, so each frame has its own.
            let backtrace = std::backtrace::Backtrace::capture();
            if backtrace.status() == std::backtrace::BacktraceStatus::Captured {
                for frame in backtrace.to_string().lines() {
                    tracing::error!(thread = thread.name(), "{}", frame.trim());
                }
            }
        }));
        Ok(Self {
            queue,
            filter: handle,
            from_environment: environment.is_some(),
        })
    }

    /// Puts the level of a changed `log` section in force. The format stays until a restart.
    pub fn apply(&self, log: &Log) -> Result<Change, LoggingError> {
        if self.from_environment {
            return Ok(Change::LevelFromEnvironment);
        }
        // Fails only if the subscriber is gone, and then there is nobody to tell.
        let _ = self.filter.reload(parse(&log.level, "log.level")?);
        Ok(Change::Applied)
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.queue.flush(LAST_LINES);
    }
}

fn parse(text: &str, origin: &'static str) -> Result<EnvFilter, LoggingError> {
    EnvFilter::builder()
        .parse(text)
        .map_err(|source| LoggingError::Level {
            text: text.to_owned(),
            origin,
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_per_component_is_read_and_a_mistake_is_quoted() {
        parse("info,gateway=debug,certmgr=trace", "log.level").unwrap();
        let error = parse("gateway=loud", "log.level").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the log level \"gateway=loud\" of log.level cannot be read"
        );
    }
}
