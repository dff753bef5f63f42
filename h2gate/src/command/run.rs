//! `h2gate run`: serve what a file describes, until a signal stops it.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use crate::cli::RunArguments;
use crate::config::{self, Resolved};
use crate::logging::{Change, Logging};
use crate::process::{raise_open_file_limit, refuse_core_dumps};
use crate::remote_text::in_lines;
use crate::run::file_watch::{FileWatch, Look};
use crate::run::{self, Running};

/// Threads of the control work: certificates, discovery, admin. The data path has its own.
const CONTROL_THREADS: usize = 2;
/// Threads for what blocks. `certmgr` lets a few work at once; what hangs in a file system keeps one for each file.
const BLOCKING_THREADS: usize = 320;
/// The period of looks at the file; and the time to the next look once it has changed.
const LOOK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(250));
/// For control work that still reads a file when everything else has ended.
const LEFTOVERS: Duration = Duration::from_secs(1);

/// Runs until a signal stops it.
pub fn run(arguments: &RunArguments) -> anyhow::Result<ExitCode> {
    let resolved = match config::load(&arguments.config) {
        Ok(resolved) => resolved,
        Err(mistakes) => {
            eprint!("{}", in_lines(&mistakes.to_string()));
            return Ok(ExitCode::FAILURE);
        }
    };
    let logging = Logging::init(&resolved.log)?;
    if !resolved.core_dumps {
        refuse_core_dumps().context("core dumps cannot be switched off; `core_dumps: true` allows them")?;
    }
    match raise_open_file_limit() {
        Ok(limit) => tracing::debug!(limit, "limit of open files"),
        Err(error) => tracing::warn!(%error, "the limit of open files stays as it is"),
    }
    let runtime = control_runtime()?;
    let code = runtime.block_on(serve(&arguments.config, resolved, &logging))?;
    runtime.shutdown_timeout(LEFTOVERS);
    Ok(code)
}

/// The runtime of the control work.
pub fn control_runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("control")
        .enable_all()
        .build()
}

/// The life of the process: start, reload any number of times, drain.
async fn serve(path: &Path, resolved: Resolved, logging: &Logging) -> anyhow::Result<ExitCode> {
    // Before anything else: a signal that comes during the start must not simply kill.
    let mut signals = Signals::new().context("signals cannot be handled")?;
    let mut file = FileWatch::new(path);
    warn_all(&resolved);
    let running = run::start(resolved).await?;
    announce(&running);
    let mut next_look = LOOK.0;
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
            _ = signals.hangup.recv() => {
                file.known();
                reload(path, &running, logging).await;
            }
            _ = signals.user1.recv() => running.reopen_logs(),
            () = sleep(next_look) => {
                let look = file.look();
                next_look = if look == Look::Moving { LOOK.1 } else { LOOK.0 };
                match look {
                    Look::Changed => reload(path, &running, logging).await,
                    Look::Gone => tracing::warn!(
                        file = %path.display(),
                        "the configuration file is gone or cannot be read; the running configuration is kept"
                    ),
                    Look::Same | Look::Moving => {}
                }
            }
        }
    }
    Ok(drain(running, &mut signals).await)
}

/// One line for each thing that somebody may want to connect to.
fn announce(running: &Running) {
    for (name, address) in running.listeners() {
        tracing::info!(listener = name, %address, "listening");
    }
    tracing::info!(address = %running.admin_address(), "admin interface");
}

/// Reads the file and applies it; a bad one changes nothing, and each of its mistakes is logged.
async fn reload(path: &Path, running: &Running, logging: &Logging) {
    let resolved = match config::load(path) {
        Ok(resolved) => resolved,
        Err(mistakes) => {
            running.reload_refused();
            tracing::error!("reload refused, the running configuration is kept:");
            // A line of the log for each line: there, what looks like the end of one is escaped.
            for line in mistakes.to_string().lines() {
                tracing::error!("{line}");
            }
            return;
        }
    };
    warn_all(&resolved);
    let log = resolved.log.clone();
    match running.reload(resolved).await {
        Ok(applied) => {
            let (kept, new) = (applied.gateway.listeners_kept, applied.gateway.listeners_new);
            tracing::info!(listeners_kept = kept, listeners_new = new, "reload applied");
            for setting in applied.needs_restart {
                tracing::warn!(
                    setting,
                    "this change takes effect with the next start of the process"
                );
            }
            apply_log(logging, &log);
        }
        Err(error) => {
            let error = anyhow::Error::from(error);
            tracing::error!("reload refused, the running configuration is kept: {error:#}");
        }
    }
}

fn apply_log(logging: &Logging, log: &config::Log) {
    match logging.apply(log) {
        Ok(Change::Applied) => {}
        Ok(Change::LevelFromEnvironment) => {
            tracing::debug!("log.level is overridden by the environment");
        }
        Err(error) => {
            let error = anyhow::Error::from(error);
            tracing::error!("the log stays as it is: {error:#}");
        }
    }
}

fn warn_all(resolved: &Resolved) {
    if !resolved.warnings.is_empty() {
        tracing::warn!("the configuration can run, but:");
        for line in resolved.warnings.to_string().lines() {
            tracing::warn!("{line}");
        }
    }
}

/// Streams may end; then it is over. A SIGINT on the way ends it at once.
async fn drain(running: Running, signals: &mut Signals) -> ExitCode {
    let grace = running.drain_grace().await;
    tracing::info!(grace_s = grace.as_secs_f64(), "draining; SIGINT ends it at once");
    tokio::select! {
        drained = running.drain(grace) => {
            if drained.cut == 0 {
                tracing::info!("drained; every stream has ended");
            } else {
                tracing::warn!(connections = drained.cut, "the grace is over; connections that were still open were cut");
            }
            running.stop().await;
            ExitCode::SUCCESS
        }
        _ = signals.interrupt.recv() => {
            tracing::warn!("drain ended by SIGINT; open streams were cut");
            running.stop().await;
            ExitCode::FAILURE
        }
    }
}

/// The signals that stand for a request.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user1: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
        })
    }
}
