//! Names of endpoints become addresses: at the start and every 30 s, on the control runtime.
//!
//! The last good answer for a name stays in use until there is a better one; an empty answer is none.

mod book;

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use self::book::{Book, Name, Novelty};
use crate::settings::EndpointAddress;
use crate::snapshot::RunningBackend;
use crate::telemetry::event::Event;

/// From one look-up of a name to the next, give or take a tenth.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(30);
/// The wait before the next look-up of a name that has no address yet; doubled until it is [`RESOLVE_INTERVAL`].
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// A resolver that takes longer has failed.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Keeps [`Backend::addresses`] of its backends up to date until it is dropped.
pub(crate) struct Discovery {
    runtime: Handle,
    lookup: Lookup,
    state: Arc<Mutex<DiscoveryState>>,
    /// Some name has had its first answer.
    looked_up: Arc<Notify>,
}

/// The function that looks up a name. The system's resolver, but for tests.
type Lookup = Arc<dyn Fn(Name) -> LookupFuture + Send + Sync>;
type LookupFuture = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

#[derive(Default)]
struct DiscoveryState {
    book: Book,
    backends: Vec<Arc<RunningBackend>>,
    /// One task for each name, whoever uses it.
    tasks: HashMap<Name, AbortHandle>,
    /// Names that were never answered for, well or badly.
    pending: BTreeSet<Name>,
}

impl Discovery {
    /// Without backends. Must be called inside a Tokio runtime, where look-ups will run.
    pub(crate) fn start() -> Self {
        Self::with(Arc::new(|name| Box::pin(ask_system(name))))
    }

    fn with(lookup: Lookup) -> Self {
        Self {
            runtime: Handle::current(),
            lookup,
            state: Arc::default(),
            looked_up: Arc::default(),
        }
    }

    /// Looks up the names of these backends and of no others. Each has the addresses that are known for it when this
    /// returns; names that are new are asked for at once.
    pub(crate) fn set_backends(&self, backends: &[Arc<RunningBackend>]) {
        let mut state = lock(&self.state);
        let names = book::names(backends.iter().flat_map(|backend| &backend.settings.endpoints));
        state.tasks.retain(|name, task| {
            names.contains(name) || {
                task.abort();
                false
            }
        });
        state.book.keep_only(&names);
        state.pending.retain(|name| names.contains(name));
        self.looked_up.notify_waiters();
        state.backends = backends.to_vec();
        for backend in backends {
            publish(&state.book, backend);
        }
        for name in names {
            if state.tasks.contains_key(&name) {
                continue;
            }
            let asking = LookupTask {
                name: name.clone(),
                lookup: self.lookup.clone(),
                state: self.state.clone(),
                looked_up: self.looked_up.clone(),
            };
            state.pending.insert(name.clone());
            state
                .tasks
                .insert(name, self.runtime.spawn(asking.for_ever()).abort_handle());
        }
    }

    /// Waits until every name has had an answer, be it a failure; at most ten seconds each.
    pub(crate) async fn settled(&self) {
        loop {
            // Made before looking, so that nothing is missed between the look and the wait.
            let looked_up = self.looked_up.notified();
            if lock(&self.state).pending.is_empty() {
                return;
            }
            looked_up.await;
        }
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        lock(&self.state).tasks.drain().for_each(|(_, task)| task.abort());
    }
}

fn lock(state: &Mutex<DiscoveryState>) -> MutexGuard<'_, DiscoveryState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A store only where something has changed: workers look at the pointer.
fn publish(book: &Book, backend: &RunningBackend) {
    let addresses = book.addresses(&backend.settings.endpoints);
    if **backend.addresses.load() != addresses {
        backend.addresses.store(Arc::new(addresses));
    }
}

async fn ask_system((host, port): Name) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((host, port)).await?.collect())
}

/// The task of one name.
struct LookupTask {
    name: Name,
    lookup: Lookup,
    state: Arc<Mutex<DiscoveryState>>,
    looked_up: Arc<Notify>,
}

impl LookupTask {
    /// Ends by being aborted.
    async fn for_ever(self) {
        let random = RandomState::new();
        let mut retry = FIRST_RETRY;
        for round in 0_u64.. {
            let answer = tokio::time::timeout(RESOLVE_TIMEOUT, (self.lookup)(self.name.clone())).await;
            let known = self.take(answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())));
            let pause = if known { RESOLVE_INTERVAL } else { retry };
            retry = (retry * 2).min(RESOLVE_INTERVAL);
            tokio::time::sleep(book::jittered(pause, random.hash_one(round))).await;
        }
    }

    /// `true` if the name has an address now.
    fn take(&self, answer: io::Result<Vec<SocketAddr>>) -> bool {
        let mut state = lock(&self.state);
        let novelty = state.book.apply_lookup(&self.name, answer);
        let (host, now) = (self.name.0.as_str(), Instant::now().into_std());
        let known = state.book.known(&self.name);
        match &novelty {
            Novelty::Same => {}
            Novelty::Changed => {
                let asks = |endpoint: &EndpointAddress| is(endpoint, &self.name);
                let uses = |backend: &&Arc<RunningBackend>| backend.settings.endpoints.iter().any(asks);
                state
                    .backends
                    .iter()
                    .filter(uses)
                    .for_each(|backend| publish(&state.book, backend));
                Event::NameResolved {
                    host,
                    addresses: known,
                }
                .report(now);
            }
            Novelty::Failed(error) => Event::NameUnresolved {
                host,
                error,
                kept: known,
            }
            .report(now),
        }
        if state.pending.remove(&self.name) {
            self.looked_up.notify_waiters();
        }
        known > 0
    }
}

fn is(endpoint: &EndpointAddress, (wanted, at): &Name) -> bool {
    matches!(endpoint, EndpointAddress::Name { host, port } if host == wanted && port == at)
}

#[cfg(test)]
mod tests;
