//! Starts, stops and replaces the tasks as the configuration asks.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use certstore::{Installed, Proved, Reader, Refusal, Writer};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::certificate::{Certificate, keep};
use crate::config::{CertificateConfig, Options};
use crate::watch::Watcher;

/// Starts a task for each certificate, on the tokio runtime that this is called in.
///
/// All are declared in the store before this returns, so that listeners can be built at once.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn start(configs: Vec<CertificateConfig>, writer: Writer, options: Options) -> Handle {
    let handle = Handle {
        runtime: tokio::runtime::Handle::current(),
        watcher: options.watch.then(Watcher::new).flatten(),
        reader: writer.reader(),
        desk: Arc::new(Desk {
            state: Mutex::new(DeskState {
                writer,
                owners: HashMap::new(),
            }),
        }),
        options: Arc::new(options),
        tasks: Mutex::new(Tasks::default()),
    };
    handle.reload(configs);
    handle
}

/// The running certificate tasks. Dropping it stops them; what serves goes on serving.
#[must_use = "dropping the handle stops the certificate tasks"]
pub struct Handle {
    runtime: tokio::runtime::Handle,
    watcher: Option<Arc<Watcher>>,
    reader: Reader,
    desk: Arc<Desk>,
    options: Arc<Options>,
    tasks: Mutex<Tasks>,
}

#[derive(Default)]
struct Tasks {
    last_id: u64,
    running: BTreeMap<String, Running>,
}

struct Running {
    config: CertificateConfig,
    task: JoinHandle<()>,
    loaded: watch::Receiver<bool>,
}

impl Handle {
    /// Makes these the certificates. Equal ones are left alone; changed ones are read anew while the old
    /// bundle serves on; those no longer named are removed from the store. May be called from anywhere.
    pub fn reload(&self, configs: Vec<CertificateConfig>) {
        let mut tasks = self.tasks();
        let mut wanted: BTreeMap<String, CertificateConfig> = configs
            .into_iter()
            .map(|config| (config.name.clone(), config))
            .collect();
        let desk = &self.desk;
        tasks.running.retain(|name, running| {
            let same = wanted.get(name) == Some(&running.config);
            if same {
                wanted.remove(name);
            } else {
                running.task.abort();
                desk.dismiss(name, !wanted.contains_key(name));
            }
            same
        });
        for (name, config) in wanted {
            tasks.last_id = tasks.last_id.saturating_add(1);
            let running = self.run(config, tasks.last_id);
            tasks.running.insert(name, running);
        }
    }

    /// Ends once the first read of every certificate has ended, whether or not it brought something that can
    /// serve: from then on a replica may call itself ready. Certificates of a later reload are not waited for.
    pub fn first_load_done(&self) -> impl Future<Output = ()> + Send + 'static {
        let loading: Vec<_> = self
            .tasks()
            .running
            .values()
            .map(|running| running.loaded.clone())
            .collect();
        async move {
            for mut loaded in loading {
                // A task that is gone (replaced by a reload) has nothing left to wait for.
                let _ = loaded.wait_for(|loaded| *loaded).await;
            }
        }
    }

    /// Stops all tasks. What serves goes on serving.
    pub fn stop(self) {}

    fn run(&self, config: CertificateConfig, id: u64) -> Running {
        self.desk.appoint(&config.name, id);
        let (loaded_sender, loaded) = watch::channel(false);
        let post = Post {
            desk: Arc::clone(&self.desk),
            id,
            name: config.name.as_str().into(),
        };
        let certificate = Certificate::new(
            config.clone(),
            post,
            self.reader.clone(),
            Arc::clone(&self.options),
            self.watcher.clone(),
            loaded_sender,
        );
        Running {
            config,
            task: self.runtime.spawn(keep(certificate)),
            loaded,
        }
    }

    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        for (name, running) in &self.tasks().running {
            running.task.abort();
            self.desk.dismiss(name, false);
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("certificates", &self.tasks().running.len())
            .finish_non_exhaustive()
    }
}

/// The one writer, shared by the tasks, and who of them may use it for which name.
///
/// An aborted task may still be in the middle of its last step; since it owns its name no longer, that step
/// cannot bring back what a reload has removed.
#[derive(Debug)]
struct Desk {
    state: Mutex<DeskState>,
}

#[derive(Debug)]
struct DeskState {
    writer: Writer,
    owners: HashMap<String, u64>,
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, DeskState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn appoint(&self, name: &str, id: u64) {
        let mut state = self.state();
        state.owners.insert(name.to_owned(), id);
        state.writer.declare(name);
    }

    fn dismiss(&self, name: &str, remove: bool) {
        let mut state = self.state();
        state.owners.remove(name);
        if remove {
            state.writer.remove(name);
        }
    }
}

/// One task's way to the writer, for its own name alone.
#[derive(Debug)]
pub(crate) struct Post {
    desk: Arc<Desk>,
    id: u64,
    name: Arc<str>,
}

impl Post {
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// `None` if the task has been replaced.
    pub(crate) fn install(&self, proved: Proved) -> Option<Installed> {
        self.with_writer(|writer| writer.install(&self.name, proved))
    }

    pub(crate) fn refuse(&self, refusal: Refusal) {
        self.with_writer(|writer| writer.refuse(&self.name, refusal));
    }

    pub(crate) fn clear_refusal(&self) {
        self.with_writer(|writer| writer.clear_refusal(&self.name));
    }

    fn with_writer<T>(&self, act: impl FnOnce(&mut Writer) -> T) -> Option<T> {
        let mut state = self.desk.state();
        let owns = state.owners.get(&*self.name) == Some(&self.id);
        owns.then(|| act(&mut state.writer))
    }
}

#[cfg(test)]
mod tests {
    use certstore::{CertBundle, Profile, UnixTime, prove, store};
    use rcgen::generate_simple_self_signed;

    use super::*;

    #[test]
    fn a_replaced_task_cannot_bring_back_what_was_removed() {
        let pair = generate_simple_self_signed(vec!["a.test".to_owned()]).unwrap();
        let (chain, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
        let proved = || {
            let bundle = CertBundle::parse(chain.as_bytes(), key.as_bytes()).unwrap();
            prove(bundle, &Profile::default(), UnixTime::now()).unwrap()
        };
        let (writer, reader) = store();
        let desk = Arc::new(Desk {
            state: Mutex::new(DeskState {
                writer,
                owners: HashMap::new(),
            }),
        });
        let post = |id| Post {
            desk: Arc::clone(&desk),
            id,
            name: "api".into(),
        };
        desk.appoint("api", 1);
        assert!(post(1).install(proved()).is_some());
        desk.dismiss("api", true);
        assert!(post(1).install(proved()).is_none());
        assert!(reader.current("api").is_none() && reader.list().is_empty());
        desk.appoint("api", 2);
        assert!(post(1).install(proved()).is_none());
        assert!(post(2).install(proved()).is_some());
    }
}
