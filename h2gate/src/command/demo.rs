//! `h2gate demo`.

use std::process::ExitCode;

use anyhow::Context as _;

use crate::cli::DemoArguments;
use crate::config::{Log, LogFormat};
use crate::demo::{self, Options};
use crate::logging::Logging;
use crate::process::refuse_core_dumps;

/// Runs the demonstration. Fails unless everything that it promises has held.
pub fn demo(arguments: &DemoArguments) -> anyhow::Result<ExitCode> {
    refuse_core_dumps().context("core dumps cannot be switched off")?;
    // What is routine would drown the live line. H2GATE_LOG shows it.
    // The watcher of folders complains when Kubernetes, or the demo, removes what it has watched.
    let level = "warn,notify=error".to_owned();
    let _logging = Logging::init(&Log {
        level,
        format: LogFormat::Text,
    })?;
    let options = Options {
        run_for: arguments.run_for,
        listen: arguments.listen,
        admin: arguments.admin,
        rotate_every: arguments.rotate_every,
        quiet: arguments.quiet,
    };
    // Backends and clients; the gateway brings its own threads.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("demo")
        .enable_all()
        .build()
        .context("cannot start the demo's threads")?;
    let good = runtime.block_on(demo::run(&options))?;
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
