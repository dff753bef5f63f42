//! Work beside the configured certificates: orders that nobody continues are cleared up after, and wishes to revoke are
//! carried out.

use std::future::ready;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};
use std::time::Duration;

use certstore::Name;
use futures_util::FutureExt as _;
use tokio::time::sleep;

use super::{Handle, Tasks, TasksState, all_reach};
use crate::certificate::{Leftover, clear};
use crate::config::{AcmeSource, Ca, Source};
use crate::event::EventKind;
use crate::revocations::Configured;
use crate::stage::Stage;
use crate::store::BoxFuture;

/// Wait before work that ended by a panic is begun anew.
const REST_AFTER_PANIC: Duration = Duration::from_secs(60);

impl Handle {
    /// Clears these beside everything else; ends with the handle.
    pub(super) fn clear(&self, tasks: &mut TasksState, leftovers: Vec<Leftover>) {
        while tasks.leftovers.try_join_next().is_some() {}
        if !leftovers.is_empty() {
            let cleared = clear(leftovers, self.is_ordered(), self.tasks.reporter.clone());
            tasks.leftovers.spawn_on(cleared, &self.runtime);
        }
    }

    /// Clears the remains of orders of an earlier process, of certificates that are not ordered now.
    pub(super) fn tidy(&self) {
        let Some(ordering) = self.ordering.clone() else {
            return;
        };
        let mut tasks = self.tasks.state();
        let sources: Vec<_> = tasks
            .running
            .values()
            .filter_map(|running| acme(&running.config.source).cloned())
            .collect();
        let is_ordered = self.is_ordered();
        let reporter = self.tasks.reporter.clone();
        let tidied = async move {
            let leftovers = Leftover::find(&ordering, &sources, &is_ordered, &reporter).await;
            clear(leftovers, is_ordered, reporter).await;
        };
        tasks.leftovers.spawn_on(tidied, &self.runtime);
    }

    /// Carries out wishes to revoke, of all certificates; ends with the handle.
    pub(super) fn revoke(&self) {
        let Some(revocations) = self.tasks.revocations.clone() else {
            return;
        };
        let (configured, reporter) = (
            RunningNow(Arc::downgrade(&self.tasks)),
            self.tasks.reporter.clone(),
        );
        let mut tasks = self.tasks.state();
        // Before it is known which bundles serve, none could be said not to.
        let restored = all_reach(Stage::Restored, tasks.stages());
        let work = async move {
            let mut restored: BoxFuture<'_, ()> = Box::pin(restored);
            loop {
                let work = revocations.work(restored, &configured);
                let _ = AssertUnwindSafe(work).catch_unwind().await;
                reporter.of_manager(EventKind::RevocationsPanicked);
                sleep(REST_AFTER_PANIC).await;
                restored = Box::pin(ready(()));
            }
        };
        tasks.leftovers.spawn_on(work, &self.runtime);
    }

    /// Tells if a certificate of this name is ordered at the time of the call.
    fn is_ordered(&self) -> impl Fn(&str) -> bool + Send + Sync + use<> {
        // The clearing belongs to the tasks, so it must not keep them.
        let tasks = Arc::downgrade(&self.tasks);
        move |name| {
            let Some(tasks) = tasks.upgrade() else {
                return true;
            };
            let running = &tasks.state().running;
            running
                .get(name)
                .is_some_and(|running| running.handles.orders.is_some())
        }
    }
}

fn acme(source: &Source) -> Option<&AcmeSource> {
    match source {
        Source::Acme(source) => Some(source),
        Source::Files(_) | Source::S3(_) | Source::SecretsManager(_) => None,
    }
}

/// The certificates in the configuration of the moment. The work on wishes belongs to the tasks, so it must not
/// keep them.
struct RunningNow(Weak<Tasks>);

impl Configured for RunningNow {
    fn ca(&self, is_it: &dyn Fn(&Ca) -> bool) -> Option<Ca> {
        let tasks = self.0.upgrade()?;
        let running = &tasks.state().running;
        running
            .values()
            .filter_map(|running| acme(&running.config.source))
            .flat_map(|source| &source.cas)
            .find(|ca| is_it(ca))
            .cloned()
    }

    fn domains(&self, certificate: &str) -> Option<Vec<Name>> {
        let tasks = self.0.upgrade()?;
        let running = &tasks.state().running;
        running
            .get(certificate)
            .map(|running| running.config.domains.clone())
    }
}
