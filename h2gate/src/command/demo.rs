//! `h2gate demo`: the crate `demo` with the gateway that `h2gate run` runs.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use demo::Options;

use crate::cli::DemoArguments;
use crate::config::{self, Log, LogFormat};
use crate::logging::Logging;
use crate::process::refuse_core_dumps;
use crate::run::{self, Running};

/// For the first read of the certificate.
const STARTING: Duration = Duration::from_secs(10);

/// For connections of others when the demo ends; our own clients are gone by then.
const GRACE: Duration = Duration::from_secs(2);

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
    Ok(super::exit_code(
        runtime.block_on(demo::run::<Gateway>(&options))?,
    ))
}

/// The assembly that `h2gate run` runs, reading the demo's file.
struct Gateway {
    running: Running,
    address: SocketAddr,
}

impl demo::Gateway for Gateway {
    async fn start(config: &Path) -> anyhow::Result<Self> {
        let running = run::start(config::load(config)?).await?;
        let ready = tokio::time::timeout(STARTING, running.ready()).await;
        ready.context("the gateway did not read its certificate in time")?;
        let listeners = running.listeners();
        let (_, address) = *listeners.first().context("the gateway has no listener")?;
        Ok(Self { running, address })
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn admin(&self) -> SocketAddr {
        self.running.admin_address()
    }

    async fn stop(self) {
        self.running.drain(GRACE).await;
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_program_reads_the_demos_file_without_a_complaint() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("h2gate.yaml");
        let address = |text: &str| text.parse().unwrap();
        let text = demo::configuration::text(
            address("[::1]:0"),
            address("127.0.0.1:0"),
            &[address("127.0.0.1:1")],
        );
        std::fs::write(&file, text).unwrap();
        let resolved = crate::config::load(&file).unwrap();
        assert_eq!(resolved.gateway.routes.len(), 4);
        let certmgr::Source::Files(files) = &resolved.certificates[0].source else {
            panic!("{:?}", resolved.certificates[0].source)
        };
        assert_eq!(files.chain, folder.path().join("certs/tls.crt"));
        assert_eq!(resolved.state_dir, Some(folder.path().join("state")));
        assert_eq!(resolved.log.level, "warn");
    }
}
