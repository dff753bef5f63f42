//! `h2gate demo`: the real gateway between two RouteGuide backends and clients of its own, while
//! its certificate is replaced again and again. Everything lives in one process and one
//! temporary folder.
//!
//! The gateway itself comes from the caller ([`Gateway`]): this crate writes its configuration file and
//! dials it, and knows nothing else of it.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustls::pki_types::CertificateDer;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::Instant;

mod authority;
pub mod configuration;
mod dialer;
mod folder;
mod instructions;
mod latency;
mod live;
mod rotation;
pub mod route_guide;
mod stop;
mod summary;
mod tally;
mod traffic;

use authority::Authority;
use dialer::Dialer;
use folder::Folder;
use rotation::Rotation;
use route_guide::Backend;
use stop::Stopper;
use summary::Summary;
use tally::Tally;

/// For clients to finish after the stop, then again for gateway and backends together.
const ENDING: Duration = Duration::from_secs(10);

/// Between two rotations: below it, certificates would be replaced before anybody could see them.
const MIN_PERIOD: Duration = Duration::from_millis(100);

/// The options of the demo.
#[derive(Debug, Clone)]
pub struct Options {
    /// End after this long; `None`: at Ctrl-C.
    pub run_for: Option<Duration>,
    /// The address that the gateway listens on; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// The address that the admin interface listens on; port 0 lets the system choose.
    pub admin: SocketAddr,
    /// Time between two new certificates.
    pub rotate_every: Duration,
    /// Only the summary.
    pub quiet: bool,
}

/// A gateway that reads a configuration file and serves in this process.
pub trait Gateway: Sized {
    /// Starts the gateway that the file describes, and returns when clients are welcome.
    fn start(config: &Path) -> impl Future<Output = anyhow::Result<Self>>;

    /// The address of the first listener, with the port that the system chose.
    fn address(&self) -> SocketAddr;

    /// The address of the admin interface, with the port that the system chose.
    fn admin(&self) -> SocketAddr;

    /// Ends the gateway. Connections of others may take a moment to finish; those of the demo are closed by now.
    fn stop(self) -> impl Future<Output = ()>;
}

/// Runs the demo from start to summary. `false`: something that it promises did not hold, and
/// the summary says what.
pub async fn run<G: Gateway>(options: &Options) -> anyhow::Result<bool> {
    let every = options.rotate_every;
    anyhow::ensure!(
        every >= MIN_PERIOD,
        "--rotate-every must be at least {MIN_PERIOD:?}, not {every:?}"
    );
    free(options.listen, "--listen")?;
    free(options.admin, "--admin")?;
    let end = End::prepare(options.run_for)?;

    let scene = Scene::<G>::set(options).await?;
    if !options.quiet {
        say(&instructions::text(
            &scene.folder,
            scene.gateway.address(),
            scene.gateway.admin(),
        ));
    }
    let play = Play::begin(&scene, options)?;
    end.reached().await;
    let summary = play.end(scene, every).await;

    say(&summary.to_string());
    Ok(summary.problems().is_empty())
}

/// The end of the demo: after its time, or at a signal.
struct End {
    run_for: Option<Duration>,
    interrupted: Signal,
    terminated: Signal,
}

impl End {
    /// From here on a signal ends the demo in good order, folder included.
    fn prepare(run_for: Option<Duration>) -> std::io::Result<Self> {
        let interrupted = signal(SignalKind::interrupt())?;
        Ok(Self {
            run_for,
            interrupted,
            terminated: signal(SignalKind::terminate())?,
        })
    }

    async fn reached(mut self) {
        let time = async {
            match self.run_for {
                Some(time) => tokio::time::sleep(time).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = time => {}
            _ = self.interrupted.recv() => {}
            _ = self.terminated.recv() => {}
        }
    }
}

/// The servers of the demo: backends, the folder with certificates and configuration, the gateway.
struct Scene<G> {
    backends: [Backend; 2],
    folder: Arc<Folder>,
    rotation: Arc<Rotation>,
    ca: CertificateDer<'static>,
    gateway: G,
}

impl<G: Gateway> Scene<G> {
    async fn set(options: &Options) -> anyhow::Result<Self> {
        let backends = [Backend::start("guide-1").await?, Backend::start("guide-2").await?];
        let authority = Authority::new(names(options.listen))?;
        let ca = authority.der().clone();
        let folder = Folder::create(&authority.pem()).context("cannot create a temporary folder")?;
        let folder = Arc::new(folder);
        let rotation = Arc::new(Rotation::new(authority, Arc::clone(&folder)));
        rotation.rotate()?;
        let endpoints = backends.each_ref().map(Backend::address);
        let text = configuration::text(options.listen, options.admin, &endpoints);
        std::fs::write(folder.config(), text).context("cannot write the demo's configuration")?;
        let gateway = G::start(&folder.config()).await?;
        Ok(Self {
            backends,
            folder,
            rotation,
            ca,
            gateway,
        })
    }

    /// The gateway first, so that it does not see its backends go.
    async fn strike(self) {
        self.gateway.stop().await;
        for backend in self.backends {
            backend.stop().await;
        }
    }
}

/// The tasks that run against the scene, and their counts.
struct Play {
    tally: Arc<Tally>,
    stopper: Stopper,
    tasks: Vec<(&'static str, JoinHandle<()>)>,
}

impl Play {
    fn begin<G: Gateway>(scene: &Scene<G>, options: &Options) -> anyhow::Result<Self> {
        let tally = Arc::new(Tally::new());
        let (stopper, stop) = stop::channel();
        let issued = scene.rotation.issued();
        let dialer = Dialer::new(scene.gateway.address(), &scene.ca, issued, Arc::clone(&tally))?;
        let clients = traffic::run(dialer, Arc::clone(&tally), stop.clone());
        let rotation =
            Arc::clone(&scene.rotation).run(options.rotate_every, Arc::clone(&tally), stop.clone());
        let mut tasks = vec![
            ("the clients", tokio::spawn(clients)),
            ("the rotation", tokio::spawn(rotation)),
        ];
        if !options.quiet {
            tasks.push(("the display", tokio::spawn(live::run(Arc::clone(&tally), stop))));
        }
        Ok(Self {
            tally,
            stopper,
            tasks,
        })
    }

    /// Ends clients, gateway and backends, in this order.
    async fn end<G: Gateway>(self, scene: Scene<G>, rotate_every: Duration) -> Summary {
        let Self {
            tally,
            stopper,
            tasks,
        } = self;
        let ran_for = tally.elapsed();
        let issued = scene.rotation.issued();
        let due = issued.due(Instant::now());
        stopper.stop();
        for (what, task) in tasks {
            finish(task, what, &tally).await;
        }
        if tokio::time::timeout(ENDING, scene.strike()).await.is_err() {
            tally.failure(&anyhow::anyhow!(
                "gateway and backends did not end within {ENDING:?}"
            ));
        }
        Summary {
            ran_for,
            rotate_every,
            written: issued.newest(),
            due,
            counts: tally.counts().clone(),
        }
    }
}

async fn finish(mut task: JoinHandle<()>, what: &str, tally: &Tally) {
    match tokio::time::timeout(ENDING, &mut task).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tally.failure(&anyhow::Error::from(error).context(format!("{what} broke"))),
        Err(_) => {
            task.abort();
            tally.failure(&anyhow::anyhow!("{what} did not end within {ENDING:?}"));
        }
    }
}

/// The names that the certificate must cover: those that the instructions and our own clients dial.
fn names(listen: SocketAddr) -> Vec<String> {
    let mut names = ["localhost", "127.0.0.1", "::1", "*.demo.local"]
        .map(str::to_owned)
        .to_vec();
    let address = dialer::reachable(listen).ip().to_string();
    if !names.contains(&address) {
        names.push(address);
    }
    names
}

/// Fails if something listens there already. The gateway itself would not notice: its workers
/// share their port (`SO_REUSEPORT`), and so would two demos, each getting half of the clients.
fn free(address: SocketAddr, option: &str) -> anyhow::Result<()> {
    let other = SocketAddr::new(address.ip(), 0);
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => anyhow::bail!(
            "{address} is in use by another program\n  \
             remedy: choose another address with {option}; {option} {other} lets the system choose a free port"
        ),
        Err(error) => Err(error).with_context(|| format!("cannot listen on {address} ({option})")),
    }
}

/// Prints for people. A reader that went away (`h2gate demo | head`) is no reason to stop.
fn say(text: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok();
}
