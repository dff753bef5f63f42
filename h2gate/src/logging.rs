//! The program's own log: events of `tracing`, written to standard error.
//!
//! `H2GATE_LOG` wins over the file, so that one start can log more without an edit.

mod queue;
mod throttle;

use std::io::IsTerminal as _;
use std::time::Duration;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

use self::queue::{Queue, Style};
use self::throttle::Throttled;
use crate::config::{LOG_PARTS, Log, LogFormat};

/// Names the environment variable that overrides the level of the file.
pub const ENVIRONMENT: &str = "H2GATE_LOG";

/// The longest wait for the last lines at the end of the program.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Changes the log while the program runs. To be kept until the end: dropping it waits for the lines that are
/// not written yet (and logging goes on).
#[derive(Debug)]
pub struct Logging {
    queue: Queue,
    filter: reload::Handle<EnvFilter, Registry>,
    from_environment: bool,
}

/// The reason why the log could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter has a mistake.
    #[error("the log level {text:?} of {origin} cannot be read")]
    Level {
        /// The text as it was given.
        text: String,
        /// The name of its source: a key of the file, or a variable.
        origin: &'static str,
        /// The parser's error.
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

/// The result of a changed `log` section.
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
            LogFormat::Text => lines
                .map_event_format(|format| Throttled::new(format, log.format))
                .boxed(),
            LogFormat::Json => lines
                .json()
                .flatten_event(true)
                .map_event_format(|format| Throttled::new(format, log.format))
                .boxed(),
        };
        tracing_subscriber::registry()
            .with(filter)
            .with(lines)
            .try_init()?;
        // A panic is logged in the form of every other line, for those who read the log by machine.
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
        // Fails only if the subscriber is gone, and then nothing is logged.
        let _ = self.filter.reload(parse(&log.level, "log.level")?);
        Ok(Change::Applied)
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.queue.flush(FLUSH_TIMEOUT);
    }
}

/// A level without a name is that of our own crates. Others, of whose lines strangers can cause any number, say errors
/// alone unless they are named.
fn parse(text: &str, origin: &'static str) -> Result<EnvFilter, LoggingError> {
    let mut directives = Vec::new();
    let mut general = None;
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        match part.parse::<LevelFilter>() {
            Ok(level) => general = Some(level),
            Err(_) => directives.push(part.to_owned()),
        }
    }
    if let Some(level) = general {
        let ours = LOG_PARTS.iter().map(|part| format!("{part}={level}"));
        let others = std::iter::once(level.min(LevelFilter::ERROR).to_string());
        // Of two for one name the last is in force.
        directives.splice(0..0, others.chain(ours));
    }
    EnvFilter::builder()
        .parse(directives.join(","))
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

    /// Which of these would be in the log.
    fn shown(level: &str) -> Vec<&'static str> {
        let subscriber = tracing_subscriber::registry().with(parse(level, "log.level").unwrap());
        tracing::subscriber::with_default(subscriber, || {
            macro_rules! shown {
                ($($name:literal: $target:literal $level:ident,)*) => {
                    [$(tracing::enabled!(target: $target, tracing::Level::$level).then_some($name)),*]
                };
            }
            let all = shown! {
                "gateway trace": "gateway::worker" TRACE,
                "gateway debug": "gateway::worker" DEBUG,
                "h2gate debug": "h2gate::run" DEBUG,
                "h2gate info": "h2gate::run" INFO,
                "certmgr info": "certmgr" INFO,
                "gateway error": "gateway::worker" ERROR,
                "rustls debug": "rustls::msgs::handshake" DEBUG,
                "rustls warn": "rustls::msgs::handshake" WARN,
                "aws error": "aws_config::profile" ERROR,
            };
            all.into_iter().flatten().collect()
        })
    }

    #[test]
    fn a_level_is_that_of_our_own_crates_and_others_say_errors_alone() {
        let errors = ["gateway error", "aws error"];
        let infos = [&["h2gate info", "certmgr info"][..], &errors].concat();
        assert_eq!(shown("error"), errors);
        assert_eq!(shown("info"), infos);
        assert_eq!(shown("INFO"), infos);
        let debug = [&["gateway debug", "h2gate debug"][..], &infos].concat();
        assert_eq!(shown("debug"), debug);
        assert_eq!(
            shown("info,gateway=debug"),
            [&["gateway debug"][..], &infos].concat()
        );
        assert_eq!(
            shown("gateway=debug,info"),
            [&["gateway debug"][..], &infos].concat()
        );
        assert_eq!(shown("off"), [""; 0]);
        assert_eq!(shown("off,gateway=error"), ["gateway error"]);
    }

    #[test]
    fn a_dependency_that_is_named_says_what_is_asked_of_it() {
        assert_eq!(
            shown("info,rustls=warn"),
            [
                "h2gate info",
                "certmgr info",
                "gateway error",
                "rustls warn",
                "aws error"
            ]
        );
        assert_eq!(shown("rustls=debug"), ["rustls debug", "rustls warn"]);
        assert_eq!(shown("error,aws_config=off"), ["gateway error"]);
    }
}
