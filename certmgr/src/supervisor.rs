//! The supervisor: starts, stops and replaces the tasks when the configuration changes.

mod control;
mod leftovers;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use certstore::bundle::MAX_PEM_BYTES;
use certstore::trust::MAX_TRUST_BYTES;
use certstore::{CertBundle, Reader, TrustBundle, Writer};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::acme::{self, Issuers};
use crate::certificate::{Channels, Core, Leftover, Ordered, Ordering, Orders, first_view};
use crate::command::{Command, CommandError, MAX_COMMANDS, Reply};
use crate::config::{CertificateConfig, Source, TrustConfig};
use crate::event::{Event, Reporter};
use crate::fetched::run_fetched;
use crate::ledger::Ledger;
use crate::options::Options;
use crate::plan::{self, Plan, PlanError};
use crate::publish::Registry;
use crate::revocations::Revocations;
use crate::source;
use crate::stage::Stage;
use crate::state::State;
use crate::trust::Trust;
use crate::view::{Revocation, View};
use crate::watch::Watcher;

pub use control::Control;

/// Starts a task for each certificate, on the tokio runtime of the caller.
///
/// All names are declared in the store before this returns, so that listeners can be built at once.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn start(configs: Vec<CertificateConfig>, writer: Writer, options: Options) -> Handle {
    start_with(configs, writer, options, None)
}

/// Calls [`start`], with other issuers in the place of real CAs.
pub(crate) fn start_with(
    configs: Vec<CertificateConfig>,
    writer: Writer,
    options: Options,
    issuers: Option<Issuers>,
) -> Handle {
    let reader = writer.reader();
    let reporter = Reporter::new(options.observer.clone());
    let ordering = options.state.clone().map(|state| {
        let ledger = Arc::new(Ledger::new(
            state.clone(),
            Arc::clone(&options.now),
            Arc::clone(&options.random),
            reporter.clone(),
        ));
        let issuers =
            issuers.unwrap_or_else(|| real_issuers(&state, &reader, &ledger, options.max_orders, &reporter));
        Ordering::new(state, ledger, issuers, reader.clone(), &options, reporter.clone())
    });
    let ledger = ordering.as_ref().map(|all| Arc::clone(&all.ledger));
    let revocations = ordering.as_ref().map(|all| Arc::clone(&all.revocations));
    let handle = Handle {
        runtime: tokio::runtime::Handle::current(),
        watcher: options.watch.then(|| Watcher::new(reporter.clone())).flatten(),
        reader,
        registry: Arc::new(Registry::new(writer, reporter.clone())),
        ordering,
        options: Arc::new(options),
        tasks: Arc::new(Tasks {
            ledger,
            revocations,
            state: Mutex::default(),
            reporter,
        }),
    };
    handle.reload(configs);
    handle.tidy();
    handle.revoke();
    handle
}

fn real_issuers(
    state: &State,
    reader: &Reader,
    ledger: &Arc<Ledger>,
    max_orders: usize,
    reporter: &Reporter,
) -> Issuers {
    let registrar = Arc::clone(ledger) as Arc<dyn acme::Registrar>;
    let shared = acme::Shared::new(
        state.clone(),
        reader.challenges().clone(),
        registrar,
        max_orders,
        reporter.clone(),
    );
    Arc::new(move |source| Arc::new(acme::Client::new(source, &shared)))
}

/// The running certificate tasks.
///
/// It promises one task for each configured certificate and trust bundle, and that only this task publishes under its
/// name: a replaced task is aborted, and can install nothing more. A failure of one certificate leaves its serving
/// bundle and the other tasks alone; errors are reported by events and in [`Control`], none is returned. The caller
/// keeps the handle for as long as certificates are to be renewed. Dropping it aborts all tasks: serving bundles go
/// on serving, and the next start continues the orders and wishes that are noted on disk.
#[must_use = "dropping the handle stops the certificate tasks"]
pub struct Handle {
    runtime: tokio::runtime::Handle,
    watcher: Option<Arc<Watcher>>,
    reader: Reader,
    registry: Arc<Registry>,
    ordering: Option<Ordering>,
    options: Arc<Options>,
    tasks: Arc<Tasks>,
}

impl Handle {
    /// Makes these the certificates. Equal ones are left alone; changed ones are read anew while the old
    /// bundle serves on; those no longer named are removed from the store. May be called from any thread.
    pub fn reload(&self, configs: Vec<CertificateConfig>) {
        let mut tasks = self.tasks.state();
        let configs = configs.into_iter().map(|config| (config.name.clone(), config));
        let (mut before, mut leftovers) = (HashMap::new(), Vec::new());
        let changed = stop_changed(&mut tasks.running, configs.collect(), |name, handles, config| {
            self.registry.unregister::<CertBundle>(name, config.is_none());
            let is_ordered = |config: &CertificateConfig| matches!(config.source, Source::Acme(_));
            match handles.orders.take() {
                Some(orders) if config.is_some_and(is_ordered) => {
                    before.insert(name.to_owned(), orders);
                }
                Some(orders) => leftovers.push(Leftover::of(&orders)),
                None => {}
            }
        });
        for (name, config) in changed {
            tasks.last_id = tasks.last_id.saturating_add(1);
            let running = self.run(config, tasks.last_id, before.remove(&name));
            tasks.running.insert(name, running);
        }
        self.clear(&mut tasks, leftovers);
        if let Some(revocations) = &self.tasks.revocations {
            // A removed certificate does not serve any more.
            revocations.wake();
        }
    }

    /// Makes these the trust bundles. Equal ones are left alone; changed ones are read anew while the old bundle
    /// stays in force; those no longer named are removed from the store. May be called from any thread.
    ///
    /// Certificates that must lead to a bundle's anchors wait for it, and are proved again when it changes.
    pub fn reload_trust(&self, configs: Vec<TrustConfig>) {
        let mut tasks = self.tasks.state();
        let configs = configs.into_iter().map(|config| (config.name.clone(), config));
        let changed = stop_changed(&mut tasks.trust, configs.collect(), |name, (), config| {
            self.registry.unregister::<TrustBundle>(name, config.is_none());
        });
        for (name, config) in changed {
            tasks.last_id = tasks.last_id.saturating_add(1);
            if let Some(running) = self.run_trust(config, tasks.last_id) {
                tasks.trust.insert(name, running);
            }
        }
    }

    /// Ends once the kept version of every certificate and trust bundle serves, or is known not to: from then on a
    /// handshake is answered with the version that served last.
    pub fn restored(&self) -> impl Future<Output = ()> + Send + 'static {
        all_reach(Stage::Restored, self.tasks.state().stages())
    }

    /// Ends once every certificate and trust bundle has either been read once (with any outcome) or serves a kept
    /// version: from then on a replica may report ready. A certificate from ACME is waited for only until its kept
    /// versions are known, for the CA's challenge has to reach us. Names that a later reload adds are not waited for.
    pub fn first_load_done(&self) -> impl Future<Output = ()> + Send + 'static {
        all_reach(Stage::Loaded, self.tasks.state().stages())
    }

    /// The face for operators: views, commands, events.
    pub fn control(&self) -> Control {
        Control::new(Arc::clone(&self.tasks))
    }

    /// Stops all tasks. Serving bundles go on serving.
    pub fn stop(self) {}

    fn run(
        &self,
        config: CertificateConfig,
        id: u64,
        before: Option<Arc<Orders>>,
    ) -> Running<CertificateConfig, Handles> {
        let publisher = self.registry.register::<CertBundle>(&config.name, id);
        let (stage_sender, stage) = watch::channel(Stage::Started);
        let (commands, received) = mpsc::channel(MAX_COMMANDS);
        let first = first_view(publisher.name(), &config, (self.options.now)());
        let (view_sender, view) = watch::channel(first);
        let orders = match &config.source {
            Source::Acme(source) => self.ordering.as_ref().map(|all| all.orders(&config, source)),
            Source::Files(_) | Source::S3(_) | Source::SecretsManager(_) => None,
        };
        let core = Core::new(
            config.clone(),
            publisher,
            self.reader.clone(),
            Arc::clone(&self.options),
            orders.clone(),
            self.tasks.revocations.clone(),
            Channels {
                commands: received,
                view: view_sender,
                stage: stage_sender,
            },
        );
        let reader = source::SourceReader::new(
            &config.source,
            MAX_PEM_BYTES,
            self.options.poll,
            self.watcher.as_ref(),
            &self.tasks.reporter,
        );
        let task = match (reader, &orders) {
            (Some(reader), _) => {
                let random = Arc::clone(&self.options.random);
                self.runtime.spawn(run_fetched(core, reader, random))
            }
            (None, Some(orders)) => {
                let ordered = Ordered::new(core, Arc::clone(orders));
                self.runtime.spawn(ordered.run(before))
            }
            (None, None) => self.runtime.spawn(core.run_without_state()),
        };
        Running {
            config,
            task,
            stage,
            handles: Handles {
                orders,
                commands,
                view,
            },
        }
    }

    /// `None` for a source that cannot have one: CA certificates are not ordered from a CA.
    fn run_trust(&self, config: TrustConfig, id: u64) -> Option<Running<TrustConfig>> {
        let source = source::SourceReader::new(
            &config.source,
            MAX_TRUST_BYTES,
            self.options.poll,
            self.watcher.as_ref(),
            &self.tasks.reporter,
        )?;
        let publisher = self.registry.register(&config.name, id);
        let (stage_sender, stage) = watch::channel(Stage::Started);
        let trust = Trust::new(
            config.clone(),
            publisher,
            self.reader.clone(),
            Arc::clone(&self.options),
            stage_sender,
        );
        let random = Arc::clone(&self.options.random);
        Some(Running {
            config,
            task: self.runtime.spawn(run_fetched(trust, source, random)),
            stage,
            handles: (),
        })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        for (name, running) in std::mem::take(&mut self.tasks.state().running) {
            running.task.abort();
            self.registry.unregister::<CertBundle>(&name, false);
        }
        drop(std::mem::take(&mut self.tasks.state().leftovers));
        for (name, running) in std::mem::take(&mut self.tasks.state().trust) {
            running.task.abort();
            self.registry.unregister::<TrustBundle>(&name, false);
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("certificates", &self.tasks.state().running.len())
            .finish_non_exhaustive()
    }
}

/// Ends once all of them have reached the stage.
async fn all_reach(stage: Stage, of: Vec<watch::Receiver<Stage>>) {
    for mut one in of {
        // A task that is gone (replaced by a reload) ends the wait.
        let _ = one.wait_for(|reached| *reached >= stage).await;
    }
}

/// The running tasks, and the channels to them.
pub(crate) struct Tasks {
    /// `None`: there is no state directory, so nothing is ordered.
    ledger: Option<Arc<Ledger>>,
    /// `None`: there is no state directory.
    revocations: Option<Arc<Revocations>>,
    state: Mutex<TasksState>,
    reporter: Reporter,
}

#[derive(Default)]
struct TasksState {
    last_id: u64,
    running: BTreeMap<String, Running<CertificateConfig, Handles>>,
    trust: BTreeMap<String, Running<TrustConfig>>,
    /// Tasks that clear up after orders that nobody continues.
    leftovers: JoinSet<()>,
}

impl TasksState {
    /// The stages of the running tasks.
    fn stages(&self) -> Vec<watch::Receiver<Stage>> {
        let bundles = self.trust.values().map(|running| running.stage.clone());
        let certificates = self.running.values().map(|running| running.stage.clone());
        bundles.chain(certificates).collect()
    }
}

/// A running task, and the configuration that it was started with.
struct Running<C, H = ()> {
    config: C,
    task: JoinHandle<()>,
    stage: watch::Receiver<Stage>,
    handles: H,
}

/// The ways to a certificate's task.
struct Handles {
    /// The requirements of its orders, if it is ordered.
    orders: Option<Arc<Orders>>,
    commands: mpsc::Sender<Command>,
    view: watch::Receiver<View>,
}

/// Stops the tasks whose configuration has changed or is gone; `stopped` gets the new one. Returns the
/// configurations that have no task.
fn stop_changed<C: PartialEq, H>(
    running: &mut BTreeMap<String, Running<C, H>>,
    mut configs: BTreeMap<String, C>,
    mut stopped: impl FnMut(&str, &mut H, Option<&C>),
) -> BTreeMap<String, C> {
    running.retain(|name, one| {
        let same = configs.get(name) == Some(&one.config);
        if same {
            configs.remove(name);
        } else {
            one.task.abort();
            stopped(name, &mut one.handles, configs.get(name));
        }
        same
    });
    configs
}

impl Tasks {
    pub(crate) fn views(&self) -> Vec<View> {
        let revocations = self.revocations();
        let running = &self.state().running;
        running
            .values()
            .map(|running| with_revocations(running.handles.view.borrow().clone(), &revocations))
            .collect()
    }

    /// The certificates to be revoked, and the revoked ones, also of names that are not configured.
    pub(crate) fn revocations(&self) -> Vec<Revocation> {
        let revocations = self.revocations.as_ref();
        revocations.map_or_else(Vec::new, |revocations| revocations.views())
    }

    pub(crate) fn view(&self, name: &str) -> Result<View, CommandError> {
        let state = self.state();
        let running = state.running.get(name).ok_or_else(|| unknown(&state, name))?;
        let view = running.handles.view.borrow().clone();
        Ok(with_revocations(view, &self.revocations()))
    }

    pub(crate) async fn plan(&self, horizon: Duration) -> Result<Plan, PlanError> {
        let Some(ledger) = &self.ledger else {
            return Ok(Plan::default());
        };
        let (history, stamps) = ledger.history().await?;
        let candidates: Vec<_> = self
            .state()
            .running
            .values()
            .filter_map(|running| plan::candidate(&running.config, &running.handles.view.borrow()))
            .collect();
        Ok(plan::look_ahead(
            &candidates,
            history,
            stamps,
            ledger.now(),
            horizon,
        ))
    }

    pub(crate) fn watch(&self) -> broadcast::Receiver<Event> {
        self.reporter.watch()
    }

    /// Sends a command to a certificate's task and waits for its answer. A cancelled command may still be carried out.
    pub(crate) async fn ask<T>(
        &self,
        name: &str,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, CommandError> {
        let (reply, answer) = oneshot::channel();
        {
            let state = self.state();
            let running = state.running.get(name).ok_or_else(|| unknown(&state, name))?;
            match running.handles.commands.try_send(command(reply)) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(_)) => {
                    return Err(CommandError::Busy {
                        name: name.to_owned(),
                    });
                }
                Err(mpsc::error::TrySendError::Closed(_)) => {
                    return Err(CommandError::Gone {
                        name: name.to_owned(),
                    });
                }
            }
        }
        answer.await.unwrap_or_else(|_| {
            Err(CommandError::Gone {
                name: name.to_owned(),
            })
        })
    }

    fn state(&self) -> MutexGuard<'_, TasksState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A view with the wishes to revoke of its certificate. Their versions do not serve again.
fn with_revocations(mut view: View, revocations: &[Revocation]) -> View {
    let is_to_go = |fingerprint| revocations.iter().any(|one| one.fingerprint == fingerprint);
    view.previous.retain(|version| !is_to_go(version.fingerprint));
    let of_it = |one: &&Revocation| one.certificate == *view.name;
    view.revocations = revocations.iter().filter(of_it).cloned().collect();
    view
}

fn unknown(state: &TasksState, name: &str) -> CommandError {
    CommandError::Unknown {
        name: name.to_owned(),
        known: state.running.keys().cloned().collect(),
    }
}
